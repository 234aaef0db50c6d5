"""Fields of a STAC item that catalogues write in different ways, read in one."""

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from scanner.aoi import unwrap, wrap_longitudes
from scanner.types import Level

__all__ = [
    "Item",
    "ItemError",
    "baseline_of",
    "cloud_cover_of",
    "epsg_of",
    "first_band",
    "footprint_of",
    "level_of",
    "look_of",
    "platform_of",
    "sensing_time",
    "strip_of",
    "tile_of",
    "version_of",
]

Item = Mapping[str, Any]

_LEVEL = re.compile(r"(?<![a-z0-9])(?:msi)?l(?:evel-?)?(1c|2a)(?![a-z0-9])")
_BASELINE = re.compile(r"_N(\d\d)\.?(\d\d)(?:_|$)")
_ORBIT = re.compile(r"_R(\d{3})_")
_MGRS = re.compile(r"(?:^|_)T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?=_|$)")
_STRIP = re.compile(r"_S(\d{8}T\d{6})")
_SEQUENCE = re.compile(r"_\d{8}_(\d+)_L(?:1C|2A)$")
_SATELLITE = re.compile(r"(?:^|_)G?S2([A-Z])(?=_|MSI)")
_DAY = re.compile(r"(?<!\d)20\d{6}(?!\d)")


class ItemError(ValueError):
    """An item lacks what a scene needs. The message is the reason, without the item's id."""


def sensing_time(item: Item) -> dt.datetime:
    """When the granule was seen, UTC.

    Raises:
        ItemError: the item states no time that can be read.
    """
    properties = item["properties"]
    for name in ("datetime", "start_datetime"):
        moment = _moment(properties.get(name))
        if moment is not None:
            return moment
    raise ItemError("it states no time")


def _moment(value: Any) -> dt.datetime | None:
    if not isinstance(value, str | dt.datetime):
        return None
    try:
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def level_of(item: Item) -> Level | None:
    """Processing level by product type, `processing:level`, collection or id; None when nothing says."""
    properties = item["properties"]
    product = {"S2MSI1C": "1c", "S2MSI2A": "2a", "S2MSI2AP": "2a"}.get(str(properties.get("s2:product_type")).upper())
    if product is None:
        sources = (properties.get("processing:level"), item.get("collection"), item.get("id"))
        texts = [str(source).lower().replace("_", "-") for source in sources if source]
        product = next((found[1] for found in map(_LEVEL.search, texts) if found), None)
    return None if product is None else "l1c" if product == "1c" else "l2a"


def baseline_of(item: Item) -> str | None:
    """Processing baseline as NN.NN, also from the product's or the datatake's name; None when nothing says."""
    properties = item["properties"]
    for name in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        found = re.fullmatch(r"\s*N?(\d{1,2})\.?(\d\d)\s*", str(properties.get(name, "")))
        if found:
            return f"{int(found[1]):02d}.{found[2]}"
    for text in (properties.get("s2:product_uri"), properties.get("s2:datatake_id"), item.get("id")):
        found = _BASELINE.search(str(text).removesuffix(".SAFE"))
        if found:
            return f"{found[1]}.{found[2]}"
    return None


def version_of(item: Item) -> str:
    """When the product was generated and its item last written, so that later sorts after earlier."""
    properties = item["properties"]
    generated = _moment(properties.get("s2:generation_time"))
    written = _moment(properties.get("updated")) or _moment(properties.get("created"))
    return "/".join("" if one is None else one.isoformat(timespec="milliseconds") for one in (generated, written))


def platform_of(item: Item) -> str:
    """Satellite in lower case, as `sentinel-2a`; from the id where the catalogue does not say."""
    stated = str(item["properties"].get("platform") or "").strip().lower().replace(" ", "-")
    if stated:
        return stated
    found = _SATELLITE.search(str(item.get("id")))
    return f"sentinel-2{found[1].lower()}" if found else "sentinel-2"


def cloud_cover_of(item: Item) -> float | None:
    """Percent, or None."""
    value = item["properties"].get("eo:cloud_cover")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def epsg_of(*holders: Mapping[str, Any]) -> int | None:
    """CRS of the pixels by `proj:epsg` or `proj:code`, of the first holder that says."""
    for holder in holders:
        code = _integer(holder.get("proj:epsg")) or _integer(str(holder.get("proj:code")).upper().removeprefix("EPSG:"))
        if code:
            return code
    return None


def _integer(value: Any) -> int | None:
    """An integer that a table may have turned into a float or a text."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def first_band(asset: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first of `raster:bands` (STAC 1.0) or `bands` (STAC 1.1), or an empty mapping."""
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    return bands[0] if isinstance(bands, list) and isinstance(bands[0], Mapping) else {}


def footprint_of(item: Item) -> BaseGeometry:
    """The granule's ground in EPSG:4326, flat, valid, within [-180, 180] and split at the antimeridian.

    Raises:
        ItemError: the item has neither geometry nor bounds, or they are not geometry.
    """
    try:
        if item.get("geometry"):
            ground = unwrap(shapely.force_2d(shape(item["geometry"])))
        elif item.get("bbox"):
            ground = _from_bbox(list(item["bbox"]))
        else:
            raise ItemError("it has neither geometry nor bbox")
        ground = wrap_longitudes(ground if ground.is_valid else shapely.make_valid(ground))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
        raise error if isinstance(error, ItemError) else ItemError(f"its geometry cannot be read: {error}") from None
    if ground.is_empty:
        raise ItemError("its geometry is empty")
    return ground


def _from_bbox(bbox: list[float]) -> BaseGeometry:
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    return box(west, south, east + 360 if west > east else east, north)


def tile_of(item: Item, footprint: BaseGeometry) -> str:
    """MGRS tile as `33UWS`, or the footprint's bounds rounded to a hundredth of a degree."""
    properties = item["properties"]
    grid = str(properties.get("grid:code") or "")
    fields = [properties.get(f"mgrs:{name}") for name in ("utm_zone", "latitude_band", "grid_square")]
    texts = (
        grid.removeprefix("MGRS-") if grid.startswith("MGRS-") else None,
        properties.get("s2:mgrs_tile"),
        "".join(map(str, fields)) if all(fields) else None,
        item.get("id"),
    )
    found = next((match for match in (_MGRS.search(str(text)) for text in texts if text) if match), None)
    return found[1].zfill(5) if found else ",".join(f"{edge:.2f}" for edge in footprint.bounds)


def look_of(item: Item, footprint: BaseGeometry) -> str:
    """Key of the look: the datatake without its baseline; else platform, relative orbit (where known) and solar day."""
    properties = item["properties"]
    datatake = re.sub(r"_N\d\d\.\d\d$", "", str(properties.get("s2:datatake_id") or ""))
    if _DAY.search(datatake):
        return datatake
    orbit = _integer(properties.get("sat:relative_orbit"))
    if orbit is None:
        named = _ORBIT.search(f"{properties.get('s2:product_uri')} {item.get('id')}")
        orbit = int(named[1]) if named else None
    track = () if orbit is None else (f"R{orbit:03d}",)
    return "_".join((platform_of(item), *track, f"{_solar_day(sensing_time(item), footprint):%Y%m%d}"))


def _solar_day(time: dt.datetime, footprint: BaseGeometry) -> dt.date:
    # The centroid of a footprint split at the antimeridian would lie in Africa: take its larger part.
    largest = max(shapely.get_parts(footprint), key=lambda part: (part.area, part.length))
    return (time + dt.timedelta(hours=largest.centroid.x / 15)).date()


def strip_of(item: Item) -> str:
    """What tells granules of one look and tile apart that are not reprocessings: the start of their datastrip.

    Where no datastrip is named, the sequence number of Earth Search; else nothing.
    """
    properties = item["properties"]
    datastrip = _STRIP.search(str(properties.get("s2:datastrip_id")))
    if datastrip:
        return datastrip[1]
    named = _SEQUENCE.search(str(item.get("id")))
    return str(properties.get("s2:sequence") or (named[1] if named else ""))
