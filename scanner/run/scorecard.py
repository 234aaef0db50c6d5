"""What an evaluation found, for people and for programs: lines, metrics.json, metrics.csv, pictures."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.metrics import flat
from scanner.errors import FolderError
from scanner.store.layout import write_atomic

__all__ = ["Scorecard", "check_out"]

WRITTEN = ("metrics.json", "metrics.csv", "confusion.png", "curves.png", "calibration.png")

COLUMNS = ("model", "model_there", "remembering", "difference", "trivial")
"""Of a figure: over all units; model, remembering and what is added over those that both know; the trivial answer."""

ROWS = {
    "overall_accuracy": "overall accuracy",
    "kappa": "kappa",
    "macro_f1": "macro F1",
    "mean_producers_accuracy": "mean producer's accuracy",
    "mean_users_accuracy": "mean user's accuracy",
    "macro_iou": "macro IoU",
}
"""The figures over all classes that are printed."""

OF_TARGET = ("precision", "recall", "f1", "iou", "specificity")
"""The target's figures that are printed."""


def check_out(folder: Path) -> None:
    """The folder is new, empty, or holds an evaluation, which is written anew.

    Raises:
        FolderError: it holds something else, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"--out {folder} is a file; expected a folder")
    others = sorted({path.name for path in folder.iterdir()} - set(WRITTEN)) if folder.exists() else []
    if others:
        raise FolderError(f"--out {folder} holds {others[0]}, which is no evaluation's; choose another folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """An evaluation, measured."""

    said: Mapping[str, Any]
    """What was compared with what."""
    found: Mapping[str, Any]
    """The figures, as `models.evaluate.evaluate` gives them."""
    target: str
    """The class that is looked for."""
    failures: tuple[str, ...]
    """Files of scenes that could not be had."""

    @property
    def exit_code(self) -> int:
        """1 where some files could not be had."""
        return 1 if self.failures else 0

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        per_class, unit = self.found["per_class"], self.said["unit"]
        notes = [
            f"no labelled {unit} is {name}: what is divided by their number is null"
            for name, row in per_class.items() if not row["support"]
        ]  # fmt: skip
        memory = self.found["remembering"]
        if memory is None:
            why = self.said["remembered"]
            notes.append(
                f"not compared with remembering: {why}" + ("" if why.startswith("no ") else " know no such unit")
            )
        elif memory["units"] < self.found["units"]:
            notes.append(
                f"remembering knows {memory['units']} of {self.found['units']} {unit}s: "
                "it and the model are compared on those"
            )
        return notes

    def write(self, folder: Path) -> None:
        """All files of the folder."""
        from scanner.export.figures import draw_calibration, draw_confusion, draw_curves  # noqa: PLC0415

        whole = {**self.said, "target": self.target, "notes": self.notes, **self.found}
        contents = (
            (json.dumps(whole, indent=1) + "\n").encode(),
            self._csv().encode(),
            draw_confusion(self.found),
            draw_curves(self.found, self.target, self.said["threshold"]),
            draw_calibration(self.found, self.target),
        )
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in zip(WRITTEN, contents, strict=True):
            write_atomic(folder / name, data)

    def lines(self) -> Iterator[str]:
        """What is printed: the whole, then a row for each class and each group."""
        said, found, target = self.said, self.found, self.target
        left_out = f", {said['left_out']} left out (too little of the target)" if said["unit"] == "cell" else ""
        yield (
            f"{said['card']} ({said['level']}): {found['units']} {said['unit']}s of {said['unit_m']:g} m compared, "
            f"{said['unobserved']} unobserved{left_out}"
        )
        yield from self.notes
        names = ROWS | {f"{target}.{figure}": f"{target}: {figure}" for figure in OF_TARGET}
        yield from _table("", [(shown, found, name) for name, shown in names.items()])
        if len(found["classes"]) > 2:
            yield from _table("F1 of each class", [(name, found, f"{name}.f1") for name in found["classes"]])
        if "relaxed" in found:
            relaxed = found["relaxed"]
            title = f"without {relaxed['left_out']} pixels near an edge"
            yield from _table(title, [(shown, relaxed, name) for name, shown in names.items()])
        for scope in (key for key in found if key.startswith("by_")):
            for name, shown in ((f"{target}.f1", f"{target}: F1"), ("kappa", "kappa")):
                title = f"{shown} {scope.replace('_', ' ', 1)}"
                yield from _table(title, [(group, part, name) for group, part in found[scope].items()])

    def _csv(self) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["scope", "group", "units", "metric", *COLUMNS])
        for scope, group, part in self._parts():
            for name in flat(part):
                cells = ["" if cell is None else cell for cell in _cells(part, name)]
                table.writerow([scope, group, part["units"], name, *cells])
        return text.getvalue()

    def _parts(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        yield "all", "", self.found
        if "relaxed" in self.found:
            yield "relaxed", "", self.found["relaxed"]
        for scope in (key for key in self.found if key.startswith("by_")):
            for group, part in self.found[scope].items():
                yield scope, group, part


def _cells(part: Mapping[str, Any], name: str) -> tuple[float | None, ...]:
    """One figure, in the order of COLUMNS."""
    memory = part["remembering"]
    compared = (flat(memory["model"])[name], flat(memory)[name], memory["difference"][name]) if memory else (None,) * 3
    return (flat(part)[name], *compared, flat(part["trivial"])[name])


def _table(title: str, rows: Sequence[tuple[str, Mapping[str, Any], str]]) -> Iterator[str]:
    """A line a row, of a name, the part measured and its figure; - stands for what has no value.

    Where remembering does not know all units, the model's figure on those that it knows stands beside it.
    """
    parts = [part for _, part, _ in rows]
    partly = any(part["remembering"] and part["remembering"]["units"] < part["units"] for part in parts)
    always = {part["trivial"]["always"] for part in parts}
    last = f"always {always.pop()}" if len(always) == 1 else "most frequent"
    heads = ["units", "model", "there", "remembering", "difference", last]
    width = max(len(title), *(len(name) for name, _, _ in rows))
    kept = [head for head in heads if partly or head != "there"]
    yield ""
    yield f"{title:{width}}  " + "  ".join(f"{head:>{_width(head)}}" for head in kept)
    for name, part, figure in rows:
        values = dict(zip(heads, (part["units"], *_cells(part, figure)), strict=True))
        yield f"{name:{width}}  " + "  ".join(f"{_shown(head, values[head]):>{_width(head)}}" for head in kept)


def _width(head: str) -> int:
    return max(len(head), 7)


def _shown(head: str, value: float | None) -> str:
    if value is None:
        return "-"
    if head == "units":
        return f"{value}"
    return f"{value:+.4f}" if head == "difference" else f"{value:.4f}"
