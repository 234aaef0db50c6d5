"""A training recipe: what is learnt from which images and labels, as a TOML file that anybody can run again."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models import CardError
from models.networks import FCN, IMPACT
from models.training.config import TrainConfig
from models.training.split import Split
from scanner.config import DEFAULT_CATALOG, parse_dates
from scanner.errors import InputError
from scanner.types import BANDS, Level

__all__ = ["ChipsFile", "LabelledPoints", "LabelledRaster", "Recipe", "read_recipe"]

Task = Literal["detector", "impact"]

CLASSES: Mapping[str, tuple[str, ...]] = {
    "detector": ("not_mine", "mine"),
    "impact": ("high_impact", "low_impact", "no_ore"),
}
NETWORKS: Mapping[str, str] = {"detector": FCN, "impact": IMPACT}


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
    """Any vector file, or a CSV with coordinates."""
    dates: str
    """`START/END` of the composites around the points."""
    column: str
    """The column that holds the class."""
    classes: Mapping[str, str]
    """Value of that column to the name of a class; rows with other values are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsFile:
    """What `minescan chips` made."""

    file: Path
    """The Zarr group."""


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
    network: str = ""
    """A key of `models.networks`; by default the paper's network of the task."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the network is built with: width, depth, …"""
    mode: Literal["", "fcn", "window"] = ""
    """fcn: one pass over all ground; window: patches; by default what the network is known for."""
    window_px: int | None = None
    """Edge of the squares that the network learns from; in mode window of the patches of a scan too."""
    stride_px: int | None = None
    """Step of the patches of a scan; by default half a window."""
    scaling: Literal["standard", "clip", "patch"] = "standard"
    """As of a card."""
    classes: tuple[str, ...] = ()
    """In the order of the scores, a detector's target last; by default the task's."""
    catalog: str = DEFAULT_CATALOG
    """As of a scan."""
    collection: str | None = None
    """As of a scan."""
    max_cloud: float | None = None
    """As of a scan."""
    looks: int | Literal["all"] = 8
    """As of a scan."""
    targets: tuple[int, ...] = ()
    """Class codes of the label rasters that are the target; all others are not."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """In place of `targets`, for more than two classes: code to name; other codes are not labelled."""
    threshold: float = 0.6
    """Score above which a cell is a hit."""
    impact: str | None = None
    """Partner card of a detector."""
    rasters: tuple[LabelledRaster, ...] = ()
    """Labelled images."""
    points: tuple[LabelledPoints, ...] = ()
    """Labelled points."""
    chips: ChipsFile | None = None
    """Chips that are made already."""
    split: Split | None = None
    """What is held out; by default a fifth of the blocks of 0.1 degrees, of rasters nothing."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Hyper-parameters."""

    def __post_init__(self) -> None:
        sources = sum(map(bool, (self.rasters, self.points, self.chips)))
        checks = (
            (self.task in get_args(Task), f"task {self.task!r}: expected detector or impact"),
            (self.level in get_args(Level), f"level {self.level!r}: expected l1c or l2a"),
            (bool(self.bands) and set(self.bands) <= set(BANDS), f"bands: expected some of {' '.join(BANDS)}"),
            (sources == 1, "expected either [[rasters]], [[points]] or [chips]"),
            (not self.rasters or self.task == "detector", "an impact card is trained on [[points]] or [chips]"),
            (
                not self.rasters or bool(self.targets) != bool(self.codes),
                "targets: name the rasters' class codes that are the target, or all classes as [codes]",
            ),
            (self.mode in ("", "fcn", "window"), f"mode {self.mode!r}: expected fcn or window"),
            (0 <= self.threshold < 1, f"threshold {self.threshold}: expected 0 to below 1"),
            (len(set(self.classes)) == len(self.classes) != 1, "classes: expected two or more, each once"),
        )  # fmt: skip
        for good, complaint in checks:
            if not good:
                raise InputError(f"recipe {self.name}: {complaint}")
        object.__setattr__(self, "classes", self.classes or CLASSES[self.task])
        object.__setattr__(self, "network", self.network or NETWORKS[self.task])
        object.__setattr__(self, "split", self.split or Split(kind="none" if self.rasters else "once"))
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
        raise InputError(f"recipe {path}: {' '.join(str(error).split())}") from None
    base = path.resolve().parent
    try:
        options = _listed(raw)
        options["train"] = _made(TrainConfig, _listed(raw.get("train", {})), "train")
        options["rasters"] = tuple(_located(LabelledRaster, "labels", item, base) for item in raw.get("rasters", []))
        options["points"] = tuple(_located(LabelledPoints, "file", item, base) for item in raw.get("points", []))
        if "chips" in raw:
            options["chips"] = _located(ChipsFile, "file", raw["chips"], base)
        if "split" in raw:
            options["split"] = _made(Split, _listed(raw["split"]), "split")
        if "catalog" in raw and "://" not in raw["catalog"]:
            options["catalog"] = str(base / raw["catalog"])
        recipe: Recipe = _made(Recipe, options, "recipe")
    except (KeyError, TypeError, ValueError, CardError) as error:
        raise InputError(f"recipe {path}: {' '.join(str(error).split())}") from None
    return recipe


def _listed(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _located(kind: Any, key: str, table: Mapping[str, Any], base: Path) -> Any:
    """A table whose file is relative to the recipe's folder."""
    name = kind.__name__
    if key not in table:
        raise InputError(f"[{name}] {key} is missing")
    return _made(kind, dict(table) | {key: base / table[key]}, name)


def _made(kind: Any, values: Mapping[str, Any], table: str) -> Any:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"[{table}] unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return kind(**values)
