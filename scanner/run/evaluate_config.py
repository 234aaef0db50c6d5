"""The options of an evaluation, checked before anything is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scanner.config import parse_dates
from scanner.errors import InputError
from scanner.types import Level

__all__ = ["EvaluateConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """The options of `minescan evaluate`, as on the command line.

    Raises:
        InputError: a number is out of its range, or dates and labels do not pair.
    """

    card: str
    """A detector's card, by name or folder."""
    catalog: str
    """As of a scan."""
    dates: tuple[str, ...]
    """`START/END` of each composite."""
    labels: tuple[Path, ...]
    """One file a range of dates, or one for all; or several of one range."""
    out: Path
    """Folder for the figures."""
    collection: str | None = None
    """As of a scan."""
    level: Level | None = None
    """By default the card's."""
    max_cloud: float | None = None
    """As of a scan."""
    looks: int | Literal["all"] = 8
    """As of a scan."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""
    threshold: float | None = None
    """Above which a unit is the target's, with two classes; by default the card's."""
    column: str = "class"
    """Of label files of points and polygons: holds the class."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Code or name in the labels to a class of the card."""
    share: float = 0.1
    """Of a cell's pixels that make it the target's."""
    labelled: float = 0.5
    """Of a cell's pixels that must be labelled for it to be another class's."""
    relax: int = 0
    """Output pixels from a class edge that are left out of the relaxed figures; 0 gives none."""
    remember: tuple[Path, ...] = ()
    """Training labels of the same place; by default the other label files."""
    season: bool = False
    """Figures by season too."""
    by: str | None = None
    """Column of the labels that figures are wanted by too."""

    def __post_init__(self) -> None:
        if not self.dates or not self.labels:
            raise InputError("--dates and --labels are both needed, once or more")
        if len(self.dates) != len(self.labels) and 1 not in (len(self.dates), len(self.labels)):
            raise InputError(
                f"got {len(self.dates)} --dates and {len(self.labels)} --labels: expected as many, or one of either"
            )
        for dates in self.dates:
            parse_dates(dates)
        checks = (
            ("max-cloud", self.max_cloud is None or 0 <= self.max_cloud <= 100, "a number from 0 to 100"),
            ("threshold", self.threshold is None or 0 <= self.threshold < 1, "a number from 0 to below 1"),
            ("looks", self.looks == "all" or 1 <= self.looks <= 1000, "all, or a number from 1 to 1000"),
            ("share", 0 < self.share <= 1, "a number above 0 to 1"),
            ("labelled", 0 < self.labelled <= 1, "a number above 0 to 1"),
            ("relax", 0 <= self.relax <= 100, "a number from 0 to 100"),
        )
        for name, good, expected in checks:
            if not good:
                raise InputError(f"--{name} {getattr(self, name.replace('-', '_'))!r}: expected {expected}")

    @property
    def pairs(self) -> tuple[tuple[str, Path], ...]:
        """Dates and the labels of their ground."""
        count = max(len(self.dates), len(self.labels))
        dates = self.dates * (count // len(self.dates))
        return tuple(zip(dates, self.labels * (count // len(self.labels)), strict=True))
