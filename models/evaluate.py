"""What a model's probabilities are worth beside labels: every figure, and what it adds to remembering the place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.curves import average_precision, calibration, curve
from models.metrics import confusion, figures, flat
from models.units import UNLABELLED

__all__ = ["Grouping", "Units", "evaluate", "predicted", "together"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Which group each unit is of: a date, a region."""

    names: tuple[str, ...]
    """Of the groups."""
    index: NDArray[np.int32]
    """(n,) into the names; below zero for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Cells or pixels that somebody labelled and the model saw."""

    truth: NDArray[np.int16]
    """(n,) index into the classes."""
    probabilities: NDArray[np.float32]
    """(n, class)."""
    remembered: NDArray[np.int16]
    """(n,) class that the training labels of the same place say; UNLABELLED where they say nothing."""
    doubtful: Bools
    """(n,) near an edge between labelled classes."""
    groups: Mapping[str, Grouping] = field(default_factory=dict)
    """What figures are wanted by."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        count = len(self.truth)
        others = [len(self.probabilities), len(self.remembered), len(self.doubtful)]
        others += [len(group.index) for group in self.groups.values()]
        if set(others) != {count}:
            raise ValueError(f"got {count} labels and arrays of {', '.join(map(str, others))}")

    def where(self, kept: Bools) -> "Units":
        """Some of them, without their groups."""
        return Units(
            truth=self.truth[kept], probabilities=self.probabilities[kept], remembered=self.remembered[kept],
            doubtful=self.doubtful[kept],
        )  # fmt: skip


def together(parts: Sequence[Units]) -> Units:
    """All units of several places and dates; groups are joined by name."""
    groups = {kind: _joined([part.groups[kind] for part in parts]) for kind in parts[0].groups}
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "probabilities", "remembered", "doubtful")
    }
    return Units(**arrays, groups=groups)


def _joined(parts: Sequence[Grouping]) -> Grouping:
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    place = [np.array([*(names.index(name) for name in part.names), -1], np.int32)[part.index] for part in parts]
    return Grouping(names=names, index=np.concatenate(place))


def predicted(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.int16]:
    """(n, class) -> (n,): of two classes the last where above the threshold; of more the most probable."""
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] > threshold).astype(np.int16)
    most: NDArray[np.int16] = probabilities.argmax(axis=1).astype(np.int16)
    return most


def evaluate(units: Units, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """Every figure of the papers, ready for JSON; None where there is nothing to divide by.

    `remembering` and `trivial` hold the same figures for the remembered class and for always saying the most frequent
    one; the former is compared with the model on the units that both have an answer for. Keys `by_...` hold all that
    by group.

    Raises:
        ValueError: there is no unit, or probabilities are not of these classes.
    """
    if not len(units.truth) or units.probabilities.shape[1] != len(classes):
        raise ValueError(
            f"got probabilities of shape {units.probabilities.shape}, expected (1 or more, {len(classes)})"
        )
    found = _compared(units, classes, threshold)
    found |= {"curves": {}, "calibration": {}}
    for index, name in enumerate(classes):
        positive, probability = units.truth == index, units.probabilities[:, index]
        found["per_class"][name]["average_precision"] = average_precision(positive, probability)
        found["curves"][name] = curve(positive, probability)
        found["calibration"][name] = calibration(positive, probability)
    if units.doubtful.any():
        found["relaxed"] = _relaxed(units, classes, threshold)
    for kind, grouping in units.groups.items():
        found[f"by_{kind}"] = {
            name: _compared(units.where(grouping.index == place), classes, threshold)
            for place, name in enumerate(grouping.names)
            if (grouping.index == place).any()
        }
    return found


def _compared(units: Units, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """The model's figures, with remembering's and the most frequent class's beside them."""
    guess = predicted(units.probabilities, threshold)
    found = figures(confusion(units.truth, guess, len(classes)), classes)
    most = int(np.bincount(units.truth, minlength=len(classes)).argmax())
    trivial = figures(confusion(units.truth, np.full(len(guess), most), len(classes)), classes)
    return found | {"remembering": _remembering(units, guess, classes), "trivial": {"always": classes[most], **trivial}}


def _remembering(units: Units, guess: NDArray[np.int16], classes: Sequence[str]) -> dict[str, Any] | None:
    known = units.remembered != UNLABELLED
    if not known.any():
        return None
    there, model = (
        figures(confusion(units.truth[known], answer[known], len(classes)), classes)
        for answer in (units.remembered, guess)
    )
    ours, theirs = flat(model), flat(there)
    return there | {"model": model, "difference": {name: _less(ours[name], theirs[name]) for name in ours}}


def _less(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _relaxed(units: Units, classes: Sequence[str], threshold: float) -> dict[str, Any] | None:
    """The comparison without doubtful units; None where nothing else is left."""
    kept = replace(units, groups={}).where(~units.doubtful)
    if not len(kept.truth):
        return None
    return {"left_out": int(units.doubtful.sum()), **_compared(kept, classes, threshold)}
