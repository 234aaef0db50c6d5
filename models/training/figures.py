"""What a training looked like: curves and confusion as PNG, without a screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.metrics import f1

__all__ = ["draw_confusion", "draw_curves"]

DPI = 120


def draw_curves(path: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Losses above, F1 of the target on what is held out below, by step; a line a training.

    Args:
        path: of the PNG.
        histories: of each training, as `Fitted.history`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 6), dpi=DPI, layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    for number, (name, rows) in enumerate(histories.items()):
        colour, held = f"C{number % 10}", [row for row in rows if "confusion" in row]
        losses.plot([row["step"] for row in rows], [row["loss"] for row in rows], color=colour, label=name)
        losses.plot([row["step"] for row in held], [row["held_out_loss"] for row in held], color=colour, ls="--")
        target = [f1(np.array(row["confusion"]), -1) for row in held]
        scores.plot([row["step"] for row in held], target, color=colour)
    losses.set_ylabel("loss (dashed: held out)")
    losses.legend(fontsize="small", ncols=2)
    scores.set(ylabel="F1 of the target, held out", xlabel="step", ylim=(0, 1.02))
    figure.savefig(path)


def draw_confusion(path: Path, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Counts and their share of the true class: rows the truth, columns what was predicted."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2.2 + 0.9 * len(classes), 1.8 + 0.8 * len(classes)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{count}\n{100 * share[row, column]:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    figure.savefig(path)
