"""A training recipe: what is learnt from which images and labels, as a TOML file that anybody can run again."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models import CardError
from models.training.config import TrainConfig
from scanner.config import DEFAULT_CATALOG, parse_dates
from scanner.errors import InputError
from scanner.types import BANDS, Level

__all__ = ["LabelledPoints", "LabelledRaster", "Recipe", "read_recipe"]

Task = Literal["detector", "impact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRaster:
    """A raster of class codes and the dates whose composite it labels."""

    labels: Path
    """A raster of whole numbers, any format GDAL reads."""
    dates: str
    """`START/END` of the composite."""
    group: str
    """What is held out together."""
    place: str = ""
    """Rasters of one place lie on each other pixel by pixel and may be blended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPoints:
    """A vector file of points with a class each."""

    file: Path
    """Any vector file, or a CSV with lon and lat columns."""
    dates: str
    """`START/END` of the composites around the points."""
    column: str
    """The column that holds the class."""
    classes: Mapping[str, str]
    """Value of that column to the name of a class; rows with other values are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a training depends on.

    Raises:
        InputError: a value is out of its range, or there is nothing to train on.
    """

    name: str
    """Of the card."""
    task: Task
    """detector or impact."""
    level: Level
    """Processing level."""
    bands: tuple[str, ...]
    """In the order the network sees them."""
    limits: str
    """In plain words: what the weights know and what they do not."""
    origin: str
    """Where the labels come from."""
    licence: str = "Apache-2.0"
    """Of the weights."""
    catalog: str = DEFAULT_CATALOG
    """As of a scan."""
    collection: str | None = None
    """As of a scan."""
    max_cloud: float | None = None
    """As of a scan."""
    targets: tuple[int, ...] = ()
    """Class codes of the label rasters that are the target."""
    held_out: tuple[str, ...] = ()
    """Groups of rasters that choose the step and give the metrics."""
    held_out_share: float = 0.2
    """Of the blocks that points lie in: held out together, never by single points."""
    threshold: float = 0.6
    """Score above which a cell is a hit."""
    impact: str | None = None
    """Partner card of a detector."""
    rasters: tuple[LabelledRaster, ...] = ()
    """Labelled images."""
    points: tuple[LabelledPoints, ...] = ()
    """Labelled points."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Hyper-parameters."""

    def __post_init__(self) -> None:
        checks = (
            (self.task in get_args(Task), f"task {self.task!r}: expected detector or impact"),
            (self.level in get_args(Level), f"level {self.level!r}: expected l1c or l2a"),
            (bool(self.bands) and set(self.bands) <= set(BANDS), f"bands: expected some of {' '.join(BANDS)}"),
            (bool(self.rasters) != bool(self.points), "expected either [[rasters]] or [[points]]"),
            (not self.rasters or self.task == "detector", "an impact card is trained on [[points]]"),
            (not self.rasters or bool(self.targets), "targets: name the rasters' class codes that are the target"),
            (0 <= self.held_out_share < 1, f"held_out_share {self.held_out_share}: expected 0 to below 1"),
            (0 <= self.threshold < 1, f"threshold {self.threshold}: expected 0 to below 1"),
        )  # fmt: skip
        for good, complaint in checks:
            if not good:
                raise InputError(f"recipe {self.name}: {complaint}")
        for dates in [item.dates for item in self.rasters] + [item.dates for item in self.points]:
            parse_dates(dates)


def read_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; its paths are relative to the file.

    Raises:
        InputError: the file cannot be read, or does not say what is needed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"recipe {path}: {error}") from None
    base = path.resolve().parent
    try:
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
        options["train"] = _made(TrainConfig, raw.get("train", {}), "train")
        options["rasters"] = tuple(
            _made(LabelledRaster, item | {"labels": base / item["labels"]}, "rasters")
            for item in raw.get("rasters", [])
        )
        options["points"] = tuple(
            _made(LabelledPoints, item | {"file": base / item["file"]}, "points") for item in raw.get("points", [])
        )
        if "catalog" in raw and "://" not in raw["catalog"]:
            options["catalog"] = str(base / raw["catalog"])
        recipe: Recipe = _made(Recipe, options, "recipe")
    except (KeyError, TypeError, ValueError, CardError) as error:
        raise InputError(f"recipe {path}: {' '.join(str(error).split())}") from None
    return recipe


def _made(kind: Any, values: Mapping[str, Any], table: str) -> Any:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"[{table}] unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return kind(**values)
