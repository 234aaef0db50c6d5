"""What a person sees while a scan runs: bars on a terminal, plain lines elsewhere, JSON where asked."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["LOGGER", "Progress", "open_progress", "set_up_logging"]

LOGGER = logging.getLogger("minescan")

EVERY_S = 5.0
"""Seconds between two lines of one stage."""

Style = Literal["bars", "lines", "quiet"]


class Progress(Protocol):
    """Stages that advance."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage with so many units, some of them done by an earlier run."""

    def advance(self, name: str, note: str = "") -> None:
        """One more unit of a stage is done."""


class _Bars:
    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._tasks[name] = self._bars.add_task(name, total=total, completed=done, note="")

    def advance(self, name: str, note: str = "") -> None:
        self._bars.update(self._tasks[name], advance=1, note=note)


@dataclass(slots=True)
class _Count:
    total: int
    before: int
    done: int
    began: float
    told: float


class _Lines:
    """A line a unit, but never more than one every few seconds: logs are read by people."""

    def __init__(self) -> None:
        self._stages: dict[str, _Count] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        now = time.monotonic()
        self._stages[name] = _Count(total, done, done, now, now - EVERY_S)
        LOGGER.info("%s: %d of %d to do", name, total - done, total)

    def advance(self, name: str, note: str = "") -> None:
        count, now = self._stages[name], time.monotonic()
        count.done += 1
        if now - count.told < EVERY_S and count.done < count.total:
            return
        count.told = now
        left = (now - count.began) / (count.done - count.before) * (count.total - count.done)
        LOGGER.info("%s: %d of %d, %.0f s left%s", name, count.done, count.total, left, f", {note}" if note else "")


class _Silent:
    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Nobody looks."""

    def advance(self, name: str, note: str = "") -> None:
        """Nobody looks."""


@contextmanager
def open_progress(style: Style | None = None) -> Iterator[Progress]:
    """Bars on a terminal, log lines elsewhere, nothing when quiet."""
    style = style or ("bars" if sys.stderr.isatty() and LOGGER.isEnabledFor(logging.INFO) else "lines")
    if style != "bars":
        yield _Lines() if style == "lines" else _Silent()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(bars)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return json.dumps({"time": at, "level": record.levelname.lower(), "message": record.getMessage()})


def set_up_logging(*, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Log lines to stderr, for the command line alone; a library's user sets up their own."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
