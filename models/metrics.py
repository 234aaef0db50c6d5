"""Counts and the figures made of them, in plain numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["accuracy", "confusion", "f1", "precision", "recall", "report"]

Counts = NDArray[np.int64]


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


def precision(counts: Counts, target: int) -> float:
    """Right ones among those called the target; NaN when none was."""
    return _ratio(counts[target, target], counts[:, target].sum())


def recall(counts: Counts, target: int) -> float:
    """Found ones among the target's; NaN when there are none."""
    return _ratio(counts[target, target], counts[target].sum())


def f1(counts: Counts, target: int) -> float:
    """Harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn); NaN when the target is nowhere."""
    hits = counts[target, target]
    return _ratio(2 * hits, counts[target].sum() + counts[:, target].sum())


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


def _ratio(part: np.integer, whole: np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")
