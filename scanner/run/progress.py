"""What a person sees while a scan runs: bars on a terminal, plain lines elsewhere, JSON where asked."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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

    def reach(self, name: str, unit: str, share: float) -> None:
        """A unit in hand has come so far, 0 to 1; 0 when it is no longer in hand."""


@dataclass(slots=True)
class _Count:
    """How far a stage is."""

    total: int
    before: int
    done: int
    began: float = field(default_factory=time.monotonic)
    told: float = -EVERY_S
    in_hand: dict[str, float] = field(default_factory=dict)

    def reach(self, unit: str, share: float) -> None:
        if share:
            self.in_hand[unit] = share
        else:
            self.in_hand.pop(unit, None)

    @property
    def reached(self) -> float:
        """Units that are done, and the shares of those in hand."""
        return self.done + sum(self.in_hand.copy().values())


class _Bars:
    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._counts: dict[str, _Count] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._counts[name] = _Count(total, done, done)
        self._tasks[name] = self._bars.add_task(name, total=total, completed=done, note="")

    def advance(self, name: str, note: str = "") -> None:
        self._counts[name].done += 1
        self._bars.update(self._tasks[name], completed=self._counts[name].reached, note=note)

    def reach(self, name: str, unit: str, share: float) -> None:
        self._counts[name].reach(unit, share)
        self._bars.update(self._tasks[name], completed=self._counts[name].reached)


class _Lines:
    """A line a unit, but never more than one every few seconds: logs are read by people."""

    def __init__(self) -> None:
        self._stages: dict[str, _Count] = {}

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._stages[name] = _Count(total, done, done)
        LOGGER.info("%s: %d of %d to do", name, total - done, total)

    def advance(self, name: str, note: str = "") -> None:
        count = self._stages[name]
        count.done += 1
        self._tell(name, count, note, now=count.done == count.total)

    def reach(self, name: str, unit: str, share: float) -> None:
        count = self._stages[name]
        count.reach(unit, share)
        if share:
            self._tell(name, count, f"{share:.0%} of {unit}", now=False)

    @staticmethod
    def _tell(name: str, count: _Count, note: str, *, now: bool) -> None:
        at, had = time.monotonic(), count.reached - count.before
        # Of less nothing can be told: the first words would be of days.
        if had < 0.02 or (not now and at - count.told < EVERY_S):
            return
        count.told = at
        left = (at - count.began) / had * (count.total - count.reached)
        LOGGER.info("%s: %d of %d, %.0f s left%s", name, count.done, count.total, left, f", {note}" if note else "")


class _Silent:
    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Nobody looks."""

    def advance(self, name: str, note: str = "") -> None:
        """Nobody looks."""

    def reach(self, name: str, unit: str, share: float) -> None:
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
