"""Who owns a point of the ground: one UTM zone by the MGRS rule, and the shape of that zone's ground."""

import threading
from functools import lru_cache
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from tiling.grid import GSD_M, check_zone, equator_m, northing
from tiling.window import Window

__all__ = [
    "OutsideGridError",
    "frame_of",
    "ground_without_margin",
    "lonlat",
    "project_aoi",
    "utm",
    "zone_ground",
    "zone_of",
    "zones_of",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Geometries = npt.NDArray[Any]

SOUTH_DEG, NORTH_DEG = -80.0, 84.0
GROUND_STEP_DEG = 0.001
AOI_STEP_DEG = 0.002
METRE_DEG = 1 / 110_574
MARGIN_M = 0.01
CLEARANCE_DEG = 0.01

_EXCEPTIONS = {
    31: ((0, 0, 6, 56), (0, 56, 3, 64), (0, 64, 6, 72), (0, 72, 9, 84)),
    32: ((6, 0, 12, 56), (3, 56, 12, 64), (6, 64, 12, 72)),
    33: ((12, 0, 18, 72), (9, 72, 21, 84)),
    34: ((18, 0, 24, 72),),
    35: ((24, 0, 30, 72), (21, 72, 33, 84)),
    36: ((30, 0, 36, 72),),
    37: ((36, 0, 42, 72), (33, 72, 42, 84)),
}
"""The northern zones that are no plain strip: (west, south, east, north) in degrees."""

_thread = threading.local()


class OutsideGridError(ValueError):
    """A latitude that the UTM grid does not cover: not in [-80, 84)."""


def _refuse(lat: float) -> OutsideGridError:
    return OutsideGridError(
        f"latitude {lat:g} is outside the UTM grid, which covers -80 to just below 84 degrees; leave the poles out"
    )


@overload
def zone_of(lon: float, lat: float) -> int: ...
@overload
def zone_of(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Ints: ...
def zone_of(lon: npt.ArrayLike, lat: npt.ArrayLike) -> int | Ints:
    """The EPSG code of the one UTM zone that owns each point (degrees), by the MGRS rule.

    West and south edges belong to a zone, east and north edges to the next; latitude 0 is north, 180 east is 180 west.
    Norway (32V) and Svalbard (31X, 33X, 35X, 37X) are the exceptions MGRS makes.

    Raises:
        OutsideGridError: a latitude is not in [-80, 84), or is not a number.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    bad = ~((lat >= SOUTH_DEG) & (lat < NORTH_DEG))
    if bad.any():
        raise _refuse(float(lat[bad].flat[0]))
    if not np.isfinite(lon).all():
        raise OutsideGridError("a longitude is not a finite number")
    inside = (lon >= -180) & (lon < 180)
    turned = np.remainder(lon + 180, 360) - 180
    # Adding 180 to a longitude just below 0 rounds it to 0: turn only what lies outside.
    lon = np.where(inside, lon, np.where(turned >= 180, -180.0, turned))
    number = lon // 6 + 31
    number = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, number)
    svalbard = (lat >= 72) & (lon >= 0) & (lon < 42)
    number = np.where(svalbard, 31 + 2 * np.searchsorted([9, 21, 33], lon, side="right"), number)
    zone = (np.where(lat >= 0, 32600, 32700) + number).astype(np.int64)
    return int(zone) if zone.ndim == 0 else zone


@lru_cache(maxsize=128)
def _strips(zone: int) -> tuple[tuple[float, float, float, float], ...]:
    """The zone's ground as rectangles (west, south, east, north) in degrees."""
    check_zone(zone)
    number = zone % 100
    west = number * 6 - 186.0
    if zone > 32700:
        return ((west, SOUTH_DEG, west + 6, 0.0),)
    return _EXCEPTIONS.get(number, ((west, 0.0, west + 6, NORTH_DEG),))


def _transformer(zone: int, *, inverse: bool) -> Transformer:
    cache: dict[tuple[int, bool], Transformer] = _thread.__dict__.setdefault("transformers", {})
    key = (zone, inverse)
    if key not in cache:
        check_zone(zone)
        ends = (zone, 4326) if inverse else (4326, zone)
        cache[key] = Transformer.from_crs(*ends, always_xy=True)
    return cache[key]


def utm(zone: int, lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Any, Any]:
    """Easting and northing (m) in `zone` of points in degrees: floats for floats, arrays for arrays."""
    e, n = _transformer(zone, inverse=False).transform(lon, lat)
    return e, n


def lonlat(zone: int, e: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Any, Any]:
    """Longitude and latitude (degrees, longitude in [-180, 180]) of UTM metres in `zone`."""
    lon, lat = _transformer(zone, inverse=True).transform(e, n)
    return lon, lat


def frame_of(zone: int, window: Window) -> BaseGeometry:
    """A window of zone pixels as a box in UTM metres."""
    south, north = northing(zone, window.y1), northing(zone, window.y0)
    return shapely.box(window.x0 * GSD_M, south, window.x1 * GSD_M, north)


def zone_ground(zone: int, window: Window) -> BaseGeometry:
    """The zone's ground inside a window, in UTM metres, a hair (1 cm) wider than the truth.

    Zones end at meridians and parallels, which are curves in UTM. They are followed in steps of 0.001 degree, off by
    less than half a millimetre, and the ground is grown by 1 cm so that no owned point falls outside for rounding: a
    cell at a zone's edge is then judged once too often at worst, with no area (`cell_areas` leaves the centimetre
    out). The equator is a straight line in UTM and is not grown. Only the window's latitudes are built. Empty where
    it misses the zone.
    """
    return _ground(zone, window, MARGIN_M)


def ground_without_margin(zone: int, window: Window) -> BaseGeometry:
    """The zone's ground inside a window without the centimetre: for areas, so that zones add up."""
    return _ground(zone, window, 0.0)


@lru_cache(maxsize=512)
def _ground(zone: int, window: Window, margin_m: float) -> BaseGeometry:
    frame = frame_of(zone, window)
    west, south, east, north = _degrees(zone, window)
    pieces = []
    for strip in _strips(zone):
        if (
            strip[0] < west - CLEARANCE_DEG
            and strip[1] < south - CLEARANCE_DEG
            and strip[2] > east + CLEARANCE_DEG
            and strip[3] > north + CLEARANCE_DEG
        ):
            return frame
        piece = (
            max(strip[0], west - CLEARANCE_DEG),
            max(strip[1], south - CLEARANCE_DEG),
            min(strip[2], east + CLEARANCE_DEG),
            min(strip[3], north + CLEARANCE_DEG),
        )
        if piece[0] < piece[2] and piece[1] < piece[3]:
            pieces.append(_outline(zone, piece, margin_m))
    x0, y0, x1, y1 = frame.bounds
    y0, y1 = (max(y0, equator_m(zone)), y1) if zone < 32700 else (y0, min(y1, equator_m(zone)))
    if not pieces or y0 >= y1:
        return shapely.Polygon()
    return _polygons(shapely.intersection(shapely.union_all(pieces), shapely.box(x0, y0, x1, y1)))


def _degrees(zone: int, window: Window) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a window; longitudes run on past 180 so that they are continuous in the zone."""
    count = 9 + max(window.shape) // 1000
    t = np.linspace(0, 1, count)
    x = window.x0 + t * window.width_px
    y = window.y0 + t * window.height_px
    edge_x = np.concatenate([x, x, np.full(count, window.x0), np.full(count, window.x1)])
    edge_y = np.concatenate([np.full(count, window.y0), np.full(count, window.y1), y, y])
    lon, lat = lonlat(zone, edge_x * GSD_M, northing(zone, edge_y))
    lon = near_meridian(zone, lon)
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def near_meridian(zone: int, lon: Floats) -> Floats:
    """Longitudes turned to lie within 180 degrees of the zone's central meridian."""
    central = zone % 100 * 6 - 183
    turned: Floats = np.remainder(lon - central + 180, 360) - 180 + central
    return turned


def _outline(zone: int, piece: tuple[float, float, float, float], margin_m: float) -> BaseGeometry:
    """A rectangle of degrees as a UTM polygon, grown by the margin along its own meridians and parallels."""
    west, south, east, north = piece
    grow = margin_m * METRE_DEG
    lats = np.linspace(south - grow, north + grow, _count(north - south))
    wide = grow / np.cos(np.radians(lats))
    lons = np.linspace(west - wide[0], east + wide[0], _count(east - west))
    tops = np.linspace(west - wide[-1], east + wide[-1], len(lons))
    lon = np.concatenate([lons, east + wide, tops[::-1], (west - wide)[::-1]])
    lat = np.concatenate([np.full(len(lons), lats[0]), lats, np.full(len(lons), lats[-1]), lats[::-1]])
    return shapely.Polygon(np.column_stack(utm(zone, lon, lat)))


def _count(length_deg: float) -> int:
    return int(np.ceil(length_deg / GROUND_STEP_DEG)) + 2


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of an overlay's result, without the points and lines where things merely touched."""
    parts = explode(geometry)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def explode(geometry: BaseGeometry) -> Geometries:
    """The single, non-empty geometries of any collection of collections."""
    parts = np.atleast_1d(np.asarray(geometry, dtype=object))
    while (shapely.get_type_id(parts) > 3).any():
        parts = shapely.get_parts(parts)
    kept: Geometries = parts[~shapely.is_empty(parts)]
    return kept


def zones_of(aoi: BaseGeometry) -> tuple[int, ...]:
    """The zones whose ground an AOI (lon, lat) meets, sorted.

    Raises:
        OutsideGridError: the AOI reaches beyond the UTM grid.
        ValueError: it is not a valid geometry.
    """
    parts = _normalised(shapely.to_wkb(aoi))
    zones = [code + number for code in (32600, 32700) for number in range(1, 61)]
    return tuple(zone for zone in zones if len(_owned(parts, zone)))


def project_aoi(aoi: BaseGeometry, zone: int, window: Window | None = None) -> BaseGeometry:
    """What of an AOI (lon, lat) concerns `zone`, in UTM metres, cut to `window` where one is given.

    Edges stay straight in lon and lat: they are cut into steps of 0.002 degree first (off by about a millimetre).
    Holes, several parts, points and lines, and longitudes beyond 180 are taken as they come. A part that shares no
    ground with the zone is left out, even where it touches the zone's edge; of the others a rim of 0.01 degree beyond
    the zone is kept, for `judged` to cut off. Empty where nothing is left.

    Raises:
        OutsideGridError: the AOI reaches beyond the UTM grid.
        ValueError: it is not a valid geometry.
    """
    projected = _projected(shapely.to_wkb(aoi), zone)
    return projected if window is None else shapely.intersection(projected, frame_of(zone, window))


@lru_cache(maxsize=32)
def _projected(aoi: bytes, zone: int) -> BaseGeometry:
    parts = _owned(_normalised(aoi), zone)
    if not len(parts):
        return shapely.GeometryCollection()
    rim = CLEARANCE_DEG
    strips = [shapely.box(w - rim, s - rim, e + rim, n + rim) for w, s, e, n in _strips(zone)]
    clipped, _ = _clip(parts, shapely.union_all(strips))
    fine = shapely.segmentize(shapely.union_all(clipped), AOI_STEP_DEG)
    ground = shapely.transform(fine, lambda xy: np.column_stack(utm(zone, xy[:, 0], xy[:, 1])))
    return ground if shapely.is_valid(ground) else shapely.make_valid(ground)


@lru_cache(maxsize=8)
def _normalised(aoi: bytes) -> Geometries:
    """The AOI's single parts with longitudes in [-180, 180], cut at the antimeridian."""
    parts = explode(shapely.force_2d(shapely.from_wkb(aoi)))
    if not shapely.is_valid(parts).all():
        raise ValueError(
            f"the AOI is not a valid geometry: {shapely.is_valid_reason(parts[~shapely.is_valid(parts)][0])}"
        )
    if not len(parts):
        return parts
    west, south, east, north = shapely.total_bounds(parts)
    if not (south >= SOUTH_DEG and north <= NORTH_DEG):
        raise _refuse(south if south < SOUTH_DEG else north)
    if west >= -180 and east <= 180:
        return parts
    pieces = []
    for turn in range(int((west + 180) // 360), int((east + 180) // 360) + 1):
        clipped, _ = _clip(parts, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90))
        pieces.append(_turned(clipped, -360 * turn))
    return np.concatenate(pieces)


def _turned(parts: Geometries, by_deg: int) -> Geometries:
    turned: Geometries = shapely.transform(parts, lambda lonlats: lonlats + np.array([by_deg, 0]))
    return turned


def _clip(parts: Geometries, region: BaseGeometry) -> tuple[Geometries, Ints]:
    """The pieces of each part inside `region` that have the part's own dimension, and which part each came from."""
    pieces, index = shapely.get_parts(shapely.intersection(parts, region), return_index=True)
    keep = (shapely.get_dimensions(pieces) == shapely.get_dimensions(parts)[index]) & ~shapely.is_empty(pieces)
    return pieces[keep], index[keep]


def _rejoined(parts: Geometries) -> Geometries:
    """The parts as the zones beside the antimeridian see them: going on beyond 180 degrees, on both sides."""
    west, _, east, _ = shapely.total_bounds(parts)
    if west > -180 and east < 180:
        return parts
    return explode(shapely.union_all(np.concatenate([parts, _turned(parts, -360), _turned(parts, 360)])))


def _owned(parts: Geometries, zone: int) -> Geometries:
    """The parts that share ground with the zone: area, a stretch of line, or the point itself."""
    if zone % 100 in (1, 60) and len(parts):
        parts = _rejoined(parts)
    owned = np.zeros(len(parts), dtype=bool)
    for strip in _strips(zone):
        pieces, index = _clip(parts, shapely.box(*strip))
        # A line along a zone's edge, or a point on it, has one owner: ask the rule, at the middle of the line.
        kind = shapely.get_dimensions(pieces)
        lines, points = kind == 1, kind == 0
        owned[index[kind == 2]] = True
        pieces[lines] = shapely.line_interpolate_point(pieces[lines], 0.5, normalized=True)
        thin = lines | points
        owner = zone_of(shapely.get_x(pieces[thin]), shapely.get_y(pieces[thin]))
        owned[index[thin][owner == zone]] = True
    return parts[owned]
