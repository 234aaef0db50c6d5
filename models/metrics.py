"""Counts and the figures made of them. What has nothing to divide by is NaN, in reports None: never a silent zero."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Counts",
    "accuracy",
    "confusion",
    "f1",
    "figures",
    "flat",
    "iou",
    "kappa",
    "precision",
    "recall",
    "report",
    "specificity",
]

Counts = NDArray[np.int64]

_MEANS = {
    "macro_f1": "f1",
    "mean_producers_accuracy": "recall",
    "mean_users_accuracy": "precision",
    "macro_iou": "iou",
    "macro_specificity": "specificity",
    "macro_accuracy": "accuracy",
}
"""Means over classes, and what they are the mean of."""

_OF_CLASS = (
    "accuracy",
    "specificity",
    "producers_accuracy",
    "users_accuracy",
    "precision",
    "recall",
    "f1",
    "iou",
)
"""Fractions of one class."""


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """(class, class) counts: rows are the truth, columns what was predicted. Negative truth is left out."""
    true = np.asarray(truth).ravel()
    guess = np.asarray(predicted).ravel()
    if true.shape != guess.shape:
        raise ValueError(f"got {true.size} true and {guess.size} predicted labels, expected as many of each")
    known = true >= 0
    flat = true[known].astype(np.int64) * classes + guess[known].astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: Counts) -> float:
    """Right ones among all; NaN of none."""
    return _ratio(np.trace(counts), counts.sum())


def kappa(counts: Counts) -> float:
    """Cohen's: agreement beyond what the row and column sums alone would give; NaN where they leave no room."""
    total = counts.sum()
    by_chance = _ratio(counts.sum(0).astype(float) @ counts.sum(1).astype(float), float(total) ** 2)
    return _ratio(accuracy(counts) - by_chance, 1 - by_chance)


def precision(counts: Counts, target: int) -> float:
    """User's accuracy: right ones among those called the target; NaN when none was."""
    return _ratio(counts[target, target], counts[:, target].sum())


def recall(counts: Counts, target: int) -> float:
    """Producer's accuracy: found ones among the target's; NaN when there are none."""
    return _ratio(counts[target, target], counts[target].sum())


def specificity(counts: Counts, target: int) -> float:
    """Those left alone among all that are not the target's; NaN when there are none."""
    others = counts.sum() - counts[target].sum()
    false = counts[:, target].sum() - counts[target, target]
    return _ratio(others - false, others)


def f1(counts: Counts, target: int) -> float:
    """Harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn); NaN when the target is nowhere."""
    hits = counts[target, target]
    return _ratio(2 * hits, counts[target].sum() + counts[:, target].sum())


def iou(counts: Counts, target: int) -> float:
    """Intersection over union: tp / (tp + fp + fn); NaN when the target is nowhere."""
    hits = counts[target, target]
    return _ratio(hits, counts[target].sum() + counts[:, target].sum() - hits)


def report(counts: Counts, classes: Sequence[str], target: int) -> dict[str, object]:
    """What a card keeps: accuracy, the target's precision, recall and F1, the counts. None stands for NaN."""
    figures = {
        "accuracy": accuracy(counts),
        "precision": precision(counts, target),
        "recall": recall(counts, target),
        "f1": f1(counts, target),
    }
    kept: dict[str, object] = {name: None if np.isnan(value) else round(value, 4) for name, value in figures.items()}
    return kept | {"confusion": counts.tolist(), "classes": list(classes), "target": classes[target]}


def figures(counts: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """Every figure of a confusion matrix: overall, means over classes, per class by name. None stands for NaN.

    A mean is over the classes that have the figure: one that nobody labelled and nobody predicted is in none of them.
    """
    per_class = {name: _of_class(counts, index) for index, name in enumerate(classes)}
    means = {name: _mean([row[figure] for row in per_class.values()]) for name, figure in _MEANS.items()}
    return {
        "units": int(counts.sum()),
        "overall_accuracy": _plain(accuracy(counts)),
        "kappa": _plain(kappa(counts)),
        **means,
        "classes": list(classes),
        "confusion": counts.tolist(),
        "per_class": per_class,
    }


def flat(found: Mapping[str, Any]) -> dict[str, float | None]:
    """The fractions among `figures` by one name each, such as `kappa` and `mine.f1`."""
    rows: dict[str, float | None] = {name: found[name] for name in ("overall_accuracy", "kappa", *_MEANS)}
    for name, row in found["per_class"].items():
        rows |= {f"{name}.{figure}": row[figure] for figure in _OF_CLASS}
    return rows


def _of_class(counts: Counts, index: int) -> dict[str, float | int | None]:
    wrong = counts[index].sum() + counts[:, index].sum() - 2 * counts[index, index]
    found = {
        "accuracy": _ratio(counts.sum() - wrong, counts.sum()),
        "specificity": specificity(counts, index),
        "producers_accuracy": recall(counts, index),
        "users_accuracy": precision(counts, index),
        "precision": precision(counts, index),
        "recall": recall(counts, index),
        "f1": f1(counts, index),
        "iou": iou(counts, index),
    }
    sums = {"support": int(counts[index].sum()), "predicted": int(counts[:, index].sum())}
    return {name: _plain(value) for name, value in found.items()} | sums


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _ratio(part: float | np.integer, whole: float | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")
