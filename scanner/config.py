"""What a scan was asked to do: every option, checked, and nothing found out from the world yet."""

import datetime as dt
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from scanner.errors import DatesError, InputError
from scanner.types import Level

__all__ = ["DEFAULT_CATALOG", "ScanConfig", "digest_of", "load_config", "parse_dates"]

DEFAULT_CATALOG = "https://earth-search.aws.element84.com/v1"


def parse_dates(text: str) -> tuple[dt.date, dt.date]:
    """`START/END`, both days included, UTC.

    Raises:
        DatesError: not two ISO days, or in the wrong order.
    """
    try:
        start, end = (dt.date.fromisoformat(part.strip()) for part in text.split("/"))
    except ValueError:
        raise DatesError(
            f"--dates {text!r} is not START/END with two ISO days, such as 2023-05-01/2023-09-30"
        ) from None
    if end < start:
        raise DatesError(f"--dates {text!r} ends before it starts: write {end}/{start}")
    return start, end


def digest_of(value: object) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanConfig:
    """A scan's options, as on the command line; `scan.toml` and Python use the same names.

    Raises:
        DatesError: the dates are reversed or no dates.
        InputError: a number is out of its range or a word is not among those known.
    """

    aoi: Any
    """A vector file, `west,south,east,north`, GeoJSON text, or a shapely geometry in EPSG:4326."""
    dates: str
    """`START/END`, both days included, UTC."""
    out: Path
    """The scan's folder."""
    detector: str
    """A card's name or folder."""
    catalog: str = DEFAULT_CATALOG
    """A STAC API's URL, or a local ItemCollection, static catalogue or stac-geoparquet."""
    collection: str | None = None
    """Collection id; by default the catalogue's Sentinel-2 collection of the level."""
    level: Level | None = None
    """Processing level; by default the detector's."""
    max_cloud: float | None = None
    """Percent; scenes above it are left out, scenes that do not say are kept."""
    looks: int | Literal["all"] = 8
    """Clear looks a pixel takes at most (K), among the first 3 K that cover it."""
    impact: str | None = None
    """A card's name or folder; by default the detector's partner; `none` for none."""
    threshold: float | None = None
    """Score above which a cell is a hit; by default the card's."""
    delineate: str | None = None
    """Name or folder of a segmenter's card that draws each candidate's outline; by default the cells are it."""
    isolation: bool = True
    """Hold a hit far from its neighbours to the higher threshold, where the detector's card has that rule."""
    keep_composites: Literal["all", "hits", "none"] = "all"
    """Which tiles' composites stay on disk."""
    join_distance: float | None = None
    """Metres between cell centres below which hits are one candidate; by default 400 for 27 px cells, in proportion."""
    chunk: int | Literal["auto"] = "auto"
    """Edge of a chunk's core in 10 m pixels, rounded down to whole cells."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What the detector computes in; bf16 where its card permits it."""
    registry: Mapping[str, str] = field(default_factory=dict)
    """Name to vector file: each candidate is placed inside, near or outside it."""
    cluster: str = "local"
    """`local`, a scheduler's address, or a cluster's name."""
    workers: int | None = None
    """Worker processes; by default what cores and memory allow."""
    max_bytes: int | None = None
    """Stop before the first byte when the estimate is above this."""
    max_hours: float | None = None
    """Stop before the first byte when the estimate is above this."""

    def __post_init__(self) -> None:
        self._of_type("dates", self.dates, str)
        self._of_type("out", self.out, str | Path)
        for name in ("detector", "catalog", "cluster"):
            self._of_type(name, getattr(self, name), str)
        for name in ("collection", "impact", "delineate"):
            self._of_type(name, getattr(self, name), str | None)
        for name in ("workers", "max_bytes"):
            self._of_type(name, getattr(self, name), int | None)
        self._of_type("isolation", self.isolation, bool)
        self._of_type("registry", self.registry, Mapping)
        parse_dates(self.dates)
        object.__setattr__(self, "out", Path(self.out))
        self._within("max_cloud", self.max_cloud, 0, 100)
        self._within("threshold", self.threshold, 0, 1)
        self._within("join_distance", self.join_distance, 1, 100_000)
        self._within("workers", self.workers, 1, 100_000)
        self._word_or_within("looks", self.looks, "all", 1000)
        self._word_or_within("chunk", self.chunk, "auto", 100_000)
        for name in ("max_bytes", "max_hours"):
            self._within(name, getattr(self, name), 0, float("inf"))
        self._among("level", self.level, (None, "l1c", "l2a"))
        self._among("keep_composites", self.keep_composites, ("all", "hits", "none"))
        self._among("device", self.device, ("auto", "cpu", "cuda"))
        self._among("precision", self.precision, ("fp32", "bf16"))

    def _of_type(self, name: str, value: Any, kind: Any) -> None:
        if not isinstance(value, kind):
            words = {str: "text", str | Path: "a path", str | None: "text", int | None: "a whole number",
                     bool: "true or false", Mapping: "a table of name = file"}  # fmt: skip
            raise InputError(f"--{name.replace('_', '-')} {value!r}: expected {words[kind]}")

    def _within(self, name: str, value: Any, low: float, high: float) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value!r}: expected a number from {low} to {high}")

    def _word_or_within(self, name: str, value: Any, word: str, high: int) -> None:
        if value != word and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high):
            raise InputError(
                f"--{name.replace('_', '-')} {value!r}: expected {word} or a whole number from 1 to {high}"
            )

    def _among(self, name: str, value: Any, words: tuple[Any, ...]) -> None:
        if value not in words:
            known = ", ".join(str(word) for word in words if word is not None)
            raise InputError(f"--{name.replace('_', '-')} {value!r}: expected one of {known}")

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First and last day, both included."""
        return parse_dates(self.dates)


def load_config(file: Path | None, given: Mapping[str, Any]) -> ScanConfig:
    """The options of a TOML file, overruled by those given on the command line.

    Raises:
        InputError: the file cannot be read, names an unknown option, or a needed option is missing.
    """
    options: dict[str, Any] = {}
    if file is not None:
        try:
            options = {key.replace("-", "_"): value for key, value in tomllib.loads(file.read_text()).items()}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"--config {file}: {error}") from None
    options |= {key: value for key, value in given.items() if value is not None}
    known = {item.name for item in fields(ScanConfig)}
    if unknown := sorted(set(options) - known):
        raise InputError(f"--config {file}: unknown option {unknown[0]!r}; known are {', '.join(sorted(known))}")
    for name in ("aoi", "dates", "out"):
        if name not in options:
            raise InputError(f"--{name} is missing: say it on the command line or in --config")
    if "detector" not in options:
        raise InputError(
            f"--detector is missing: there is no detector for the whole world; cards here: {_card_names()}"
        )
    return ScanConfig(**options)


def _card_names() -> str:
    from models.registry import cards  # noqa: PLC0415

    return ", ".join(sorted(card.name for card in cards())) or "none"
