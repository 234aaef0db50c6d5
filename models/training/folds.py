"""Several trainings of one recipe: each measured, and the figures' mean and spread."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.metrics import figures, flat, report

__all__ = ["median_step", "over_folds"]

FIGURES = ("accuracy", "precision", "recall", "f1")


def over_folds(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a card says of several trainings: means, spreads, summed confusion, and each by its name.

    Args:
        metrics: of each training, as `Trained.metrics`.
    """
    rows = list(metrics.values())
    classes, counts = rows[0]["classes"], np.sum([row["confusion"] for row in rows], axis=0)
    known = {name: [row[name] for row in rows if row[name] is not None] for name in FIGURES}
    each = {
        name: {figure: row[figure] for figure in FIGURES}
        | {"per_class_f1": {key: value for key, value in flat(figures(np.array(row["confusion"]), classes)).items()
                            if key.endswith(".f1")}}
        | {"confusion": row["confusion"], "held_out": row["held_out"], "step": row["step"]}
        for name, row in metrics.items()
    }  # fmt: skip
    return dict(report(counts, classes, len(classes) - 1)) | {
        **{name: round(float(np.mean(values)), 4) if values else None for name, values in known.items()},
        "spread": {
            name: round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None for name, values in known.items()
        },
        "measured_on": f"{len(rows)} trainings, each on what it held out; the weights are of one more, on everything",
        "trainings": each,
    }


def median_step(metrics: Mapping[str, Mapping[str, Any]]) -> int:
    """How long a training on everything goes, which has nothing to stop it: the median of the best steps."""
    return max(1, int(np.median([row["step"] for row in metrics.values()])))
