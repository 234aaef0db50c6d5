"""What chips are asked for: every option of `minescan chips`, checked, and nothing found out from the world yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import shapely

from scanner.catalog.search import SceneQuery
from scanner.config import DEFAULT_CATALOG, parse_dates
from scanner.errors import InputError
from scanner.types import BANDS, Level

__all__ = ["ChipsConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsConfig:
    """What chips are asked for, as on the command line."""

    out: Path
    """The Zarr group."""
    points: tuple[tuple[str, Path], ...] = ()
    """Files of places, each with the class of all its rows, or an empty text."""
    dates: tuple[str, ...] = ()
    """`START/END` each: a chip a place and a composite."""
    column: str | None = None
    """The column that holds the class."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Value of the column, or code of the raster, to the name of a class; empty takes all as they are."""
    group: str | None = None
    """The column that holds what is held out together; by default blocks of 0.1 degrees."""
    size_px: int | None = None
    """Edge of a chip; None takes each geometry's bounding box."""
    labels: Path | None = None
    """A raster of class codes, 0 where not labelled unless `classes` names it."""
    background: str | None = None
    """Class of pixels in no polygon; by default they are not labelled."""
    negatives: tuple[tuple[str, Path], ...] = ()
    """Class and folder of scans whose rejected hits are places too."""
    catalog: str = DEFAULT_CATALOG
    """As of a scan."""
    collection: str | None = None
    """As of a scan."""
    level: Level = "l2a"
    """Processing level."""
    bands: tuple[str, ...] = ()
    """In the order wanted; by default all of the level."""
    looks: int | Literal["all"] = 8
    """As of a scan."""
    max_cloud: float | None = None
    """As of a scan."""
    balance: bool = False
    """As many chips of each class as the rarest has."""
    seed: int = 0
    """Of the draw for `balance`."""

    def __post_init__(self) -> None:
        bands = self.bands or tuple(band for band in BANDS if self.level == "l1c" or band != "B10")
        object.__setattr__(self, "bands", bands)
        checks = (
            (bool(self.points or self.labels), "--points is missing: a vector file, or a CSV with coordinates"),
            (bool(self.dates), "--dates is missing: START/END"),
            (set(bands) <= set(BANDS), f"--bands {' '.join(bands)}: expected some of {' '.join(BANDS)}"),
            (self.size_px is None or 1 <= self.size_px <= 4096, f"--size {self.size_px}: expected 1 to 4096 px"),
            (
                bool(self.labels or self.column or all(name for name, _ in self.points)),
                "no class: give --column, --points NAME=FILE, or --labels RASTER",
            ),
            (not (self.labels and self.column), "--labels and --column both say the class: give one of them"),
            (self.max_cloud is None or 0 <= self.max_cloud <= 100, f"--max-cloud {self.max_cloud}: expected 0 to 100"),
            (self.looks == "all" or self.looks >= 1, f"--looks {self.looks}: expected all or a whole number from 1"),
        )
        for good, complaint in checks:
            if not good:
                raise InputError(complaint)
        for dates in self.dates:
            parse_dates(dates)

    def query(self, dates: str) -> SceneQuery:
        """What is asked of the catalogue for one composite; the area is put in later."""
        start, end = parse_dates(dates)
        return SceneQuery(
            catalog=self.catalog, collection=self.collection, level=self.level, start=start, end=end,
            aoi=shapely.Point(0, 0), max_cloud=self.max_cloud,
        )  # fmt: skip
