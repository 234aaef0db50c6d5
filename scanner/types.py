"""The values that cross between the rooms: frozen, picklable, checked where they are made."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shapely.geometry.base import BaseGeometry

__all__ = ["BANDS", "NODATA", "OFFSET_DN", "Asset", "Fault", "Level", "MaskKind", "Receipt", "Scene", "Status"]

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Every Sentinel-2 band by its one name here, in the order of wavelength names."""

OFFSET_DN = 1000
"""Composites hold reflectance x 10000 + 1000, saturating, as uint16."""

NODATA = 0
"""Composite value of a pixel without a clear look."""

Level = Literal["l1c", "l2a"]
MaskKind = Literal["scl", "s2cloudless", "nodata"]
Status = Literal["planned", "running", "done", "partial", "failed", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of a scene: where it is and how its numbers become reflectance."""

    href: str
    """Absolute path, URL or s3 URI, unsigned."""
    gsd_m: float
    """Native pixel size in metres, as the catalogue states it."""
    scale: float = 1e-4
    """Reflectance per DN."""
    offset: float = 0.0
    """Reflectance at DN 0, after every flag of the catalogue has been weighed: applied exactly once."""
    nodata: int = 0
    """DN that means no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One granule of one datatake, as the catalogue gave it."""

    id: str
    """The catalogue's item id."""
    collection: str
    """The catalogue's collection id."""
    level: Level
    """Processing level."""
    time: dt.datetime
    """Sensing time, UTC."""
    platform: str
    """Satellite, lower case."""
    look: str
    """Key of the look: datatake without its baseline; else platform, relative orbit, solar day; else platform, day."""
    tile: str
    """MGRS tile, or the footprint's rounded bounds. Granules of one look and tile are reprocessings of each other."""
    baseline: str
    """Processing baseline as NN.NN; '00.00' when unknown."""
    version: str
    """When the item was generated or updated: a new version makes units stale."""
    cloud_cover: float | None
    """Percent, or None when the catalogue does not say."""
    epsg: int | None
    """CRS of the assets, where the catalogue says."""
    footprint: BaseGeometry = field(compare=False)
    """EPSG:4326."""
    assets: Mapping[str, Asset] = field(compare=False)
    """By band name (B01 ...), and `SCL` where there is one."""
    signer: Literal["planetary_computer"] | None = None
    """How hrefs are signed at the moment of reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A file that could not be had."""

    scene: str
    """Scene id."""
    asset: str
    """Band name, or SCL."""
    href: str
    """Where it was looked for."""
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a unit leaves when its data is on disk. Pickles to less than 10 kB."""

    stage: Literal["composite", "detect"]
    """Which stage ran."""
    unit: str
    """Tile id."""
    digest: str
    """sha256 over everything that shaped the unit."""
    status: Status
    """done; partial when some assets could not be read; failed."""
    nbytes: int = 0
    """Bytes of decoded pixels read."""
    seconds: float = 0.0
    """Wall time of the unit."""
    faults: tuple[Fault, ...] = ()
    """At most the first 20 files that could not be had."""
    fault_count: int = 0
    """How many there were in all."""
    offsets: tuple[Mapping[str, str | float | None], ...] = ()
    """At most the first 10 scenes whose pixels contradict their stated offset, as `composite.radiometry.row`."""
    error: str = ""
    """One line, when the unit failed."""
    stats: Mapping[str, float] = field(default_factory=dict)
    """Numbers for run.json: rescued pixels, looks, decoded and needed bytes, stage seconds."""
