"""Pictures of an evaluation as PNG: the same figures give the same bytes."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["draw_calibration", "draw_confusion", "draw_curves"]

SIZE_INCHES = (6.0, 5.0)
DOTS_PER_INCH = 110


def _png(draw: Callable[[Any], None]) -> bytes:
    """One pair of axes, drawn by a canvas of its own: no window, no state shared with the caller's plots."""
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    data = io.BytesIO()
    with style.context("default"):
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        # Matplotlib would write its version, which changes the bytes.
        canvas.print_png(data, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return data.getvalue()


def draw_confusion(found: Mapping[str, Any]) -> bytes:
    """The confusion matrix: counts, coloured by the share of each true class."""

    def draw(axes: Any) -> None:
        counts, classes = np.asarray(found["confusion"]), found["classes"]
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            dark = share[row, column] > 0.5
            axes.text(column, row, f"{count}", ha="center", va="center", color="white" if dark else "black", fontsize=8)
        places = range(len(classes))
        axes.set_xticks(places, classes, rotation=45 if len(classes) > 4 else 0)
        axes.set_yticks(places, classes)
        axes.set(xlabel="predicted", ylabel="labelled", title="Confusion")

    return _png(draw)


def draw_curves(found: Mapping[str, Any], target: str, threshold: float | None) -> bytes:
    """Precision, recall and F1 of the target against the threshold."""

    def draw(axes: Any) -> None:
        curve = found["curves"][target]
        for name, style in (("precision", "-"), ("recall", "--"), ("f1", "-.")):
            values = [np.nan if value is None else value for value in curve[name]]
            axes.plot(curve["thresholds"], values, style, label={"f1": "F1"}.get(name, name))
        if threshold is not None:
            axes.axvline(threshold, color="grey", lw=0.8)
        precision = found["per_class"][target]["average_precision"]
        shown = "no unit of the class" if precision is None else f"average precision {precision:.3f}"
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold", title=f"{target}: {shown}")
        axes.legend(loc="lower left")

    return _png(draw)


def draw_calibration(found: Mapping[str, Any], target: str) -> bytes:
    """How often the target is there, against how probable it was said to be; the units of each bin beside it."""

    def draw(axes: Any) -> None:
        measured = found["calibration"][target]
        error, brier = measured["expected_calibration_error"], measured["brier"]
        bins = [part for part in measured["bins"] if part["units"]]
        axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
        axes.plot([part["probability"] for part in bins], [part["share"] for part in bins], "o-")
        for part in bins:
            axes.annotate(
                str(part["units"]),
                (part["probability"], part["share"]),
                (4, -10),
                textcoords="offset points",
                fontsize=7,
            )
        axes.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability said", ylabel=f"share that is {target}",
            title=f"{target}: calibration error {error:.3f}, Brier {brier:.3f}",
        )  # fmt: skip

    return _png(draw)
