"""What probabilities are worth: figures at every threshold, and whether a probability of 0.7 comes true in 7 of 10."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "THRESHOLDS", "average_precision", "calibration", "curve"]

THRESHOLDS = 100
"""Steps of the threshold from 0 to 1."""

BINS = 10
"""Bins of equal width that calibration is looked at in."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


def curve(positive: Bools, probability: Floats) -> dict[str, list[Any]]:
    """Precision, recall and F1 of "above the threshold" at each threshold; None where there is nothing to divide by.

    Args:
        positive: (n,) which units are of the class.
        probability: (n,) of the class.
    """
    thresholds = np.linspace(0, 1, THRESHOLDS + 1)
    # In the scores' own precision, as a scan compares them.
    cuts = thresholds.astype(probability.dtype)
    called = len(probability) - np.searchsorted(np.sort(probability), cuts, side="right")
    hits = positive.sum() - np.searchsorted(np.sort(probability[positive]), cuts, side="right")
    return {
        "thresholds": [round(float(cut), 4) for cut in thresholds],
        "precision": _divided(hits, called),
        "recall": _divided(hits, np.full_like(hits, positive.sum())),
        "f1": _divided(2 * hits, called + positive.sum()),
    }


def average_precision(positive: Bools, probability: Floats) -> float | None:
    """Precision averaged over the steps of recall, as scikit-learn does; None without a unit of the class."""
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  it takes a second to import

    return float(average_precision_score(positive, probability)) if positive.any() else None


def calibration(positive: Bools, probability: Floats) -> dict[str, Any]:
    """Reliability by bins of probability, with the expected calibration error and the Brier score; None of none.

    The error is the mean over units of how far their bin's share of positives lies from its mean probability (Naeini
    et al. 2015).
    """
    place = np.minimum((probability.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    said, true = (np.bincount(place, values, BINS) for values in (probability, positive))
    bins = [
        {"from": low / BINS, "to": (low + 1) / BINS, "units": int(count), "probability": mean, "share": share}
        for low, (count, mean, share) in enumerate(
            zip(counts, _divided(said, counts), _divided(true, counts), strict=True)
        )
    ]
    total = len(probability)
    squares = (probability.astype(np.float64) - positive) ** 2
    return {
        "bins": bins,
        "expected_calibration_error": float(np.abs(said - true).sum() / total) if total else None,
        "brier": float(squares.mean()) if total else None,
    }


def _divided(parts: NDArray[Any], wholes: NDArray[Any]) -> list[float | None]:
    return [float(part) / float(whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
