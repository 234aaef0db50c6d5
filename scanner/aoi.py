"""Reading the area of interest: whatever the user gave, as one geometry in longitude and latitude."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import LineString, Point, box, shape
from shapely.geometry.base import BaseGeometry

from scanner.errors import AoiError

__all__ = ["LATITUDES", "read_aoi", "unwrap", "wrap_longitudes"]

LATITUDES = (-80.0, 84.0)
"""What the UTM grid covers, degrees."""

_LOG = logging.getLogger("minescan")
_SHORT = 60
_EDGE_PIECES = 64


def read_aoi(given: str | Path | BaseGeometry) -> BaseGeometry:
    """The area of interest in EPSG:4326, longitudes within [-180, 180], split where it crosses the antimeridian.

    Args:
        given: A vector file (any format GDAL reads, any CRS), `west,south,east,north` in degrees (west > east crosses
            the antimeridian), GeoJSON text (RFC 7946), or a geometry in EPSG:4326. Points and lines are areas too.

    Raises:
        AoiError: there is no such file, or it cannot be read; the area is empty, crosses itself, is not in longitude
            and latitude, or leaves the latitudes of the UTM grid.
    """
    if isinstance(given, BaseGeometry):
        _refuse_invalid([given], "geometry")
        return _checked([given], "geometry")
    text = str(given).strip()
    if not text:
        raise AoiError("--aoi is empty: expected a vector file, west,south,east,north or GeoJSON text")
    if text.startswith("{"):
        return _checked(_from_geojson(text), f"GeoJSON {_short(text)}")
    if (edges := _numbers(text)) is not None:
        return _checked([_from_bounds(edges, text)], text)
    return _checked(_from_file(text), text)


def wrap_longitudes(geometry: BaseGeometry) -> BaseGeometry:
    """The same ground with longitudes within [-180, 180]: what lies beyond is moved by whole turns and split off."""
    if geometry.is_empty:
        return geometry
    west, south, east, north = geometry.bounds
    if west >= -180 and east <= 180:
        return geometry
    pieces = []
    for turn in range(math.floor((west + 180) / 360), math.floor((east + 180) / 360) + 1):
        span = box(turn * 360 - 180, south - 1, turn * 360 + 180, north + 1)
        piece = translate(shapely.intersection(geometry, span), xoff=-360.0 * turn)
        pieces += [part for part in shapely.get_parts(piece) if _dimension(part) == _dimension(geometry)]
    return shapely.union_all(pieces)


def unwrap(geometry: BaseGeometry) -> BaseGeometry:
    """Each part made continuous in longitude: a step of more than 180 degrees was the short way over the antimeridian.

    The answer may reach beyond 180; `wrap_longitudes` splits it. Not for areas a user wrote down: in RFC 7946 a long
    edge is a long edge.
    """
    parts = [part for part in shapely.get_parts(geometry) if not part.is_empty]
    return shapely.union_all([_unwrap_part(part) for part in parts]) if parts else geometry


def _unwrap_part(part: BaseGeometry) -> BaseGeometry:
    west, _, east, _ = part.bounds
    if east - west <= 180:
        return part
    if part.geom_type != "Polygon":
        return shapely.transform(part, _continuous)
    shell = _continuous(shapely.get_coordinates(part.exterior))
    holes = []
    for ring in part.interiors:
        hole = _continuous(shapely.get_coordinates(ring))
        # A hole's own first longitude may be a turn away from the shell's.
        hole[:, 0] += 360 * np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360)
        holes.append(hole)
    return shapely.Polygon(shell, holes)


def _continuous(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.unwrap(coordinates[:, 0], period=360), coordinates[:, 1]])


def _dimension(geometry: BaseGeometry) -> int:
    return int(shapely.get_dimensions(geometry))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHORT else flat[: _SHORT - 1] + "…"


def _numbers(text: str) -> list[float] | None:
    """The comma-separated numbers of a text that holds nothing else."""
    if "," not in text:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def _from_bounds(edges: Sequence[float], text: str) -> BaseGeometry:
    if len(edges) != 4:
        raise AoiError(f"--aoi {text}: got {len(edges)} numbers, expected four: west,south,east,north")
    if not all(map(math.isfinite, edges)):
        raise AoiError(f"--aoi {text}: every edge must be a finite number of degrees")
    west, south, east, north = edges
    if south > north:
        raise AoiError(f"--aoi {text}: south {south:g} is above north {north:g}; the order is west,south,east,north")
    if west > east:
        east += 360
    if west == east and south == north:
        return Point(west, south)
    if west == east or south == north:
        return LineString([(west, south), (east, north)])
    return box(west, south, east, north)


def _from_geojson(text: str) -> list[BaseGeometry]:
    try:
        data = json.loads(text)
        found = [shape(geometry) for geometry in _geometries(data) if geometry is not None]
        named = data["crs"]["properties"]["name"] if data.get("crs") else None
    except json.JSONDecodeError as error:
        raise AoiError(f"--aoi {_short(text)}: not valid JSON: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
        raise AoiError(f"--aoi {_short(text)}: not valid GeoJSON: {_short(str(error))}") from None
    _refuse_invalid(found, _short(text))
    return _to_lonlat(found, named, _short(text))


def _geometries(data: Any) -> list[Any]:
    if not isinstance(data.get("type"), str):
        raise TypeError("it has no type; expected a geometry, a Feature or a FeatureCollection")
    if data["type"] == "FeatureCollection":
        return [feature["geometry"] for feature in data["features"]]
    return [data["geometry"] if data["type"] == "Feature" else data]


def _from_file(text: str) -> list[BaseGeometry]:
    import pyogrio  # noqa: PLC0415
    from pyogrio.errors import DataLayerError, DataSourceError  # noqa: PLC0415

    source = _source(text)
    found: list[BaseGeometry] = []
    try:
        layers = [layer for layer, kind in pyogrio.list_layers(source) if kind is not None]
        if len(layers) > 1:
            _LOG.warning("--aoi %s: the area is that of all its layers together: %s", text, ", ".join(layers))
        for layer in layers:
            meta, _, wkb, _ = pyogrio.raw.read(source, layer=layer, columns=[], force_2d=True)
            geometries = [one for one in shapely.from_wkb(wkb) if one is not None and not one.is_empty]
            _refuse_invalid(geometries, text)
            found += _to_lonlat(geometries, meta["crs"], text)
    except (DataSourceError, DataLayerError, shapely.errors.ShapelyError, UnicodeDecodeError) as error:
        raise AoiError(f"--aoi {text}: cannot be read as a vector file: {_short(str(error))}") from None
    return found


def _source(text: str) -> str:
    if "://" in text or text.startswith("/vsi"):
        return text
    try:
        file = Path(text).expanduser()
        there = file.exists()
    except (OSError, RuntimeError):  # a name too long to be one, a home that is not there
        there = False
    if not there:
        raise AoiError(
            f"--aoi {_short(text)}: no such file; expected a vector file, west,south,east,north or GeoJSON text"
        )
    return str(file)


def _refuse_invalid(geometries: Iterable[BaseGeometry], name: str) -> None:
    for number, geometry in enumerate(geometries, start=1):
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise AoiError(f"--aoi {name}: feature {number} has a coordinate that is not a number")
        if not geometry.is_valid:
            reason = shapely.is_valid_reason(geometry)
            what = "crosses itself" if reason.startswith(("Self", "Ring Self")) else "is not a valid area"
            raise AoiError(f"--aoi {name}: feature {number} {what}: {reason}; repair it, for instance with make_valid")


def _to_lonlat(geometries: list[BaseGeometry], crs: str | None, name: str) -> list[BaseGeometry]:
    """Longitude and latitude; straight edges of a projected CRS are bent as they must be."""
    if crs is None or not geometries:
        return geometries
    from pyproj import CRS, Transformer  # noqa: PLC0415
    from pyproj.exceptions import ProjError  # noqa: PLC0415

    try:
        source = CRS.from_user_input(crs)
        if source.equals(CRS.from_epsg(4326), ignore_axis_order=True):
            return geometries
        transform = Transformer.from_crs(source, 4326, always_xy=True).transform
    except ProjError as error:
        raise AoiError(f"--aoi {name}: its CRS cannot be used: {_short(str(error))}") from None
    moved = []
    for geometry in geometries:
        west, south, east, north = geometry.bounds
        step = max(east - west, north - south) / _EDGE_PIECES
        dense = shapely.segmentize(geometry, step) if source.is_projected and step > 0 else geometry
        there = shapely.transform(dense, lambda xy: np.column_stack(transform(xy[:, 0], xy[:, 1])))
        if not np.isfinite(shapely.get_coordinates(there)).all():
            raise AoiError(f"--aoi {name}: coordinates lie outside the area of its CRS {source.name}")
        moved.append(shapely.make_valid(unwrap(there) if source.is_projected else there))
    return moved


def _checked(geometries: Iterable[BaseGeometry], name: str) -> BaseGeometry:
    """One geometry, flat, within range."""
    flat = [shapely.force_2d(geometry) for geometry in geometries]
    parts = [part for geometry in flat for part in shapely.get_parts(geometry) if not part.is_empty]
    if not parts:
        raise AoiError(f"--aoi {name}: holds no geometry; expected at least one point, line or area")
    _refuse_out_of_range(shapely.total_bounds(parts), name)
    return shapely.union_all([wrap_longitudes(part) for part in parts])


def _refuse_out_of_range(bounds: NDArray[np.float64], name: str) -> None:
    west, south, east, north = map(float, bounds)
    if max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 90:
        largest = max(map(abs, (west, south, east, north)))
        raise AoiError(
            f"--aoi {name}: coordinates up to {largest:g} are no longitudes and latitudes; they look projected:"
            " reproject to EPSG:4326, or give a file that states its CRS"
        )
    low, high = LATITUDES
    if south < low or north > high or south >= high:
        raise AoiError(
            f"--aoi {name}: latitudes {south:g} to {north:g} leave the UTM grid, which covers {low:g} to {high:g}"
        )
