"""Polygons in degrees: united across the antimeridian, measured on the ellipsoid, with a point inside."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

__all__ = ["area_m2", "each_within", "earth_centred_m", "point_inside", "unite"]

DECIMALS = 8
"""Of the degrees of a polygon's corners: one millimetre."""

SLIVER_DEG = 1e-6
"""Zones overlap by a centimetre: what reaches over the antimeridian by less than this is that overlap, not ground."""

_A_M = 6378137.0
_F = 1 / 298.257223563
_GEOD = Geod(a=_A_M, f=_F)

Floats = npt.NDArray[np.float64]


def earth_centred_m(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Floats:
    """Earth-centred x, y, z (n, 3) in metres of points on the WGS 84 ellipsoid (EPSG:4978)."""
    lam, phi = np.radians(np.asarray(lon, dtype=float)), np.radians(np.asarray(lat, dtype=float))
    e2 = _F * (2 - _F)
    normal = _A_M / np.sqrt(1 - e2 * np.sin(phi) ** 2)
    across = normal * np.cos(phi)
    return np.column_stack([across * np.cos(lam), across * np.sin(lam), normal * (1 - e2) * np.sin(phi)])


def area_m2(geometry: BaseGeometry) -> float:
    """Geodesic area on WGS 84; holes do not count."""
    return abs(float(_GEOD.geometry_area_perimeter(shapely.orient_polygons(geometry))[0]))


def unite(polygons: Sequence[BaseGeometry], lon: float) -> BaseGeometry:
    """The union of polygons near a longitude, as Polygon or MultiPolygon within -180 to 180 degrees.

    Whatever side of the antimeridian a corner was written on, it is first brought to the side of `lon`, so that
    a cell whose corners jump from 180 to -180 does not become a belt around the globe. The result is split there
    again, counter-clockwise outside, and the same whatever the order of the polygons.
    """
    near = shapely.transform(np.asarray(polygons, dtype=object), lambda xy: _beside(xy, lon))
    near = np.where(shapely.is_valid(near), near, shapely.make_valid(near))
    if shapely.coverage_is_valid(near):
        # Squares side by side: their overlay takes a minute for fifty thousand pixels, dropping shared edges a moment.
        near = shapely.coverage_union_all(near)
    whole = shapely.union_all(near, grid_size=10.0**-DECIMALS)
    west, _, east, _ = whole.bounds
    if west < -180 or east > 180:
        whole = _split(whole)
    whole = shapely.transform(_areas_only(whole), lambda xy: np.round(xy, DECIMALS))
    return shapely.orient_polygons(shapely.normalize(whole))


def each_within(polygons: Sequence[BaseGeometry], lons: Sequence[float]) -> list[BaseGeometry]:
    """The same polygons, those that leave -180 to 180 degrees, or jump across, split as `unite` does."""
    west, _, east, _ = shapely.bounds(np.asarray(polygons, dtype=object).reshape(-1)).T
    astray = (west < -180) | (east > 180) | (east - west > 180)
    return [unite([shape], lon) if far else shape for shape, lon, far in zip(polygons, lons, astray, strict=True)]


def _beside(xy: Floats, lon: float) -> Floats:
    turned = xy.copy()
    turned[:, 0] -= 360 * np.round((xy[:, 0] - lon) / 360)
    return turned


def _split(whole: BaseGeometry) -> BaseGeometry:
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        piece = _areas_only(shapely.clip_by_rect(whole, turn - 180, -90, turn + 180, 90))
        pieces += [shapely.transform(part, lambda xy, turn=turn: xy - (turn, 0)) for part in shapely.get_parts(piece)]
    wide = [piece for piece in pieces if piece.bounds[2] - piece.bounds[0] > SLIVER_DEG]
    return shapely.union_all(wide or pieces, grid_size=10.0**-DECIMALS)


def _areas_only(geometry: BaseGeometry) -> BaseGeometry:
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in {"Polygon", "MultiPolygon"}]
    if geometry.geom_type == "Polygon" or len(parts) == 0:
        return geometry
    return parts[0] if len(parts) == 1 else shapely.multipolygons(shapely.get_parts(parts))


def point_inside(geometry: BaseGeometry) -> tuple[float, float]:
    """Longitude and latitude, rounded to 6 decimals, that still lie inside.

    Rounding moves a point by 5 cm at most. Only a sliver thinner than that has none: its nearest is given.
    """
    largest = max(shapely.get_parts(geometry), key=lambda part: part.area)
    for base in (geometry, largest):
        point = shapely.point_on_surface(base)
        tries = [(round(point.x + dx * 1e-6, 6), round(point.y + dy * 1e-6, 6)) for dx, dy in _STEPS]
        inside = shapely.contains_xy(geometry, tries)
        if inside.any():
            return tries[int(np.argmax(inside))]
    return tries[0]


_STEPS = sorted(itertools.product((-1, 0, 1), repeat=2), key=lambda step: (abs(step[0]) + abs(step[1]), step))
