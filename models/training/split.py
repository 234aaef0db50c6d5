"""What is trained on and what is held out: by region, block of ground or date, never a pixel in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fold", "Split", "folds_of"]

By = Literal["group", "block", "date"]
Kind = Literal["once", "kfold", "repeated", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a training holds out."""

    kind: Kind = "once"
    """once; kfold: every unit is held out in one of `folds`; repeated: `repeats` draws of a share; none."""
    by: By = "block"
    """What is held out together: a group (region), a block of ground, or a date."""
    share: float = 0.2
    """Of the units, for once and repeated."""
    held_out: tuple[str, ...] = ()
    """Names of the units held out, in place of a share; for once."""
    folds: int = 5
    """For kfold."""
    repeats: int = 10
    """For repeated."""
    block: float = 0.1
    """Edge of a block, in the frame of the boxes: degrees."""

    def __post_init__(self) -> None:
        """Refuse what cannot split."""
        checks = (
            (self.kind in get_args(Kind), f"[split] kind {self.kind!r}: expected {', '.join(get_args(Kind))}"),
            (self.by in get_args(By), f"[split] by {self.by!r}: expected {', '.join(get_args(By))}"),
            (0 < self.share < 1, f"[split] share {self.share}: expected between 0 and 1"),
            (self.folds >= 2 and self.repeats >= 1, "[split] folds must be 2 or more, repeats 1 or more"),
            (self.block > 0, f"[split] block {self.block}: expected above 0"),
            (not self.held_out or self.kind == "once", "[split] held_out names units for kind once"),
        )
        for good, complaint in checks:
            if not good:
                raise ValueError(complaint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One training."""

    name: str
    """once, fold-1, repeat-1, whole …"""
    train: NDArray[np.int64]
    """Numbers of the samples that are trained on."""
    held_out: NDArray[np.int64]
    """Numbers of those that are not; empty where nothing is held out."""
    units: tuple[str, ...]
    """Names of what is held out."""
    beside: int = 0
    """Samples in neither, for their ground overlaps what is held out."""


def folds_of(
    split: Split, groups: Sequence[str], dates: Sequence[str], boxes: NDArray[np.float64], seed: int
) -> tuple[Fold, ...]:
    """The trainings that a split asks for, the same for the same seed.

    Of the samples that are not held out, those whose ground meets that of one that is are in neither part. By date the
    same ground may be in both: there it is another image.

    Args:
        split: how.
        groups: of each sample.
        dates: of each sample.
        boxes: (n, 4) least and greatest of both axes: all ground that its pixels lie on.
        seed: of the draws.

    Raises:
        ValueError: no such unit, or too few to hold any out.
    """
    everything = np.arange(len(groups), dtype=np.int64)
    if split.kind == "none":
        return (Fold(name="whole", train=everything, held_out=everything[:0], units=()),)
    names = np.array(_units(split, groups, dates, boxes), dtype=object)
    units = sorted(set(names.tolist()))
    found = []
    for name, held in _drawn(split, units, np.random.default_rng(seed)):
        outside = np.isin(names.astype(str), held)
        beside = ~outside & _meets(boxes, outside) if split.by != "date" else np.zeros_like(outside)
        train, kept = everything[~outside & ~beside], everything[outside]
        if not len(train):
            raise ValueError(f"[split] {split.kind} by {split.by} leaves nothing to train on: hold out less")
        found.append(Fold(name=name, train=train, held_out=kept, units=tuple(held), beside=int(beside.sum())))
    return tuple(found)


def _units(split: Split, groups: Sequence[str], dates: Sequence[str], boxes: NDArray[np.float64]) -> list[str]:
    if split.by == "group":
        return list(groups)
    if split.by == "date":
        return list(dates)
    middles = np.stack([boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)], axis=1)
    return [f"{x:.0f} {y:.0f}" for x, y in np.floor(middles / split.block).tolist()]


def _drawn(split: Split, units: list[str], rng: np.random.Generator) -> list[tuple[str, list[str]]]:
    """The units held out in each training."""
    if split.held_out:
        if unknown := sorted(set(split.held_out) - set(units)):
            raise ValueError(f"[split] held_out {unknown[0]!r} is no {split.by}; there are {', '.join(units)}")
        return [("once", list(split.held_out))]
    if len(units) < (split.folds if split.kind == "kfold" else 2):
        raise ValueError(
            f"[split] {split.kind} by {split.by}: there is {len(units)} alone, too few; split by something else"
        )
    if split.kind == "kfold":
        parts = np.array_split(rng.permutation(units), split.folds)
        return [(f"fold-{number}", sorted(part.tolist())) for number, part in enumerate(parts, start=1)]
    count = min(max(1, round(split.share * len(units))), len(units) - 1)
    if split.kind == "once":
        return [("once", sorted(rng.permutation(units)[:count].tolist()))]
    return [
        (f"repeat-{number}", sorted(rng.permutation(units)[:count].tolist())) for number in range(1, split.repeats + 1)
    ]


def _meets(boxes: NDArray[np.float64], held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes overlap one that is held out; edges that touch do not."""
    west, south, east, north = boxes.T
    meets = np.zeros(len(boxes), bool)
    for number in np.flatnonzero(held_out):
        meets |= (west < east[number]) & (east > west[number]) & (south < north[number]) & (north > south[number])
    return meets
