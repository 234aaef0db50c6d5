"""Cards in plain words, for a terminal 120 columns wide."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models import ModelCard

__all__ = ["described", "table"]

_WIDTH = 120
_COLUMNS = 6
"""Before the last, which takes what is left of the line."""
_SCALINGS = {
    "standard": "less the training set's mean, over its deviation, band by band",
    "clip": "reflectance, cut to 0 … 1",
    "patch": "each patch by its own least and greatest value",
}


def table(entries: Iterable[tuple[Path, "ModelCard"]]) -> list[str]:
    """One line a card, in columns: name, task, level, bands, mode, size, its use (cut at the end)."""
    rows = [_row(folder, card) for folder, card in entries]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(_COLUMNS)]
    room = max(_WIDTH - sum(widths) - 2 * len(widths), 20)
    return [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), _cut(row[-1], room)]
        ).rstrip()
        for row in rows
    ]


def described(folder: Path, card: "ModelCard") -> list[str]:
    """A card as a person reads it."""
    lines = [card.name, ""]
    for label, text in _facts(folder, card):
        head = f"  {label:13}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    return lines


def _row(folder: Path, card: "ModelCard") -> tuple[str, ...]:
    good_for = card.purpose or card.limits.splitlines()[0].split(". ")[0]
    mode = card.mode if card.output == "cells" else f"{card.mode}, pixels"
    return card.name, card.task, card.level, f"{len(card.bands)} bands", mode, _size(folder / card.file), good_for


def _facts(folder: Path, card: "ModelCard") -> Iterator[tuple[str, str]]:
    yield "good for", card.purpose or "not said"
    yield "not for", card.limits
    yield "task", f"{card.task}: {', '.join(card.classes)}"
    yield "level", card.level.upper()
    yield "bands", f"{len(card.bands)} at {card.gsd_m:g} m: {' '.join(card.bands)}"
    yield "scaling", _SCALINGS[card.scaling]
    yield "mode", _mode(card)
    if card.task == "detector":
        yield "threshold", f"{card.threshold:g}: a {_unit(card)} whose {card.classes[-1]} score is above it is a hit"
        yield "isolation", _isolation(card.isolation)
        yield "partner", card.impact or "none: no impact is judged"
    yield from _measured(card.metrics)
    yield "network", f"{card.network}, {_size(folder / card.file).strip()} in {card.file}"
    yield "origin", card.origin
    yield "licence", card.licence
    yield "sha256", card.sha256
    yield "folder", str(folder)


def _mode(card: "ModelCard") -> str:
    metres = card.gsd_m * card.stride_px
    if card.task == "impact":
        return f"chips of {card.window_px} px round each hit"
    if card.output == "pixels":
        return f"{card.mode}: a score a pixel of {card.gsd_m / card.finer:g} m, lattice of {card.stride_px} px"
    if card.mode == "window":
        return f"window: patches of {card.window_px} px, each scored alone, every {card.stride_px} px ({metres:g} m)"
    return f"fcn: one exact pass; a score a cell of {card.stride_px} px ({metres:g} m), which sees {card.window_px} px"


def _isolation(rule: Mapping[str, float] | None) -> str:
    if rule is None:
        return "none: a hit far from others is a hit like any other"
    return (
        f"{rule['threshold']:g} for a hit whose neighbour number {rule['k']:g} is farther than {rule['distance_m']:g} m"
    )


def _measured(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What it was measured on, and the figures that everybody asks for."""
    yield "measured on", _sentence(metrics)
    sets = {name: _figures(values) for name, values in metrics.get("sets", {}).items()}
    lines = [text for text in (_figures(metrics), *(f"{name}: {text}" for name, text in sets.items())) if text]
    for number, line in enumerate(lines or ["none"]):
        yield "" if number else "figures", line


def _sentence(metrics: Mapping[str, Any]) -> str:
    held_out = metrics.get("held_out")
    if "measured_on" in metrics:
        return str(metrics["measured_on"])
    return f"held out: {', '.join(map(str, held_out))}" if held_out else "nothing that the card tells of"


def _figures(values: Mapping[str, Any]) -> str:
    names = ("accuracy", "precision", "recall", "f1", "iou", "support")
    return ", ".join(f"{name} {values[name]:g}" for name in names if isinstance(values.get(name), int | float))


def _unit(card: "ModelCard") -> str:
    return "cell" if card.output == "cells" else "pixel"


def _size(path: Path) -> str:
    try:
        nbytes = path.stat().st_size
    except OSError:
        return "missing"
    return f"{nbytes / 1e6:5.1f} MB"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else textwrap.shorten(text, room, placeholder=" …")
