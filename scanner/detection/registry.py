"""Candidates against registries: is a mine where somebody says that there is one?"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from scanner.detection.hits import Candidate, Registered
from scanner.detection.shapes import earth_centred_m
from scanner.errors import InputError

__all__ = ["NEAR_M", "check"]

NEAR_M = 1000.0
"""Near means this or less."""

REACHES_M = (NEAR_M, 20_000.0, 200_000.0)
"""Entries are looked for in growing squares; beyond the last, distance is measured from corner to corner."""

NAMES = ("name", "nome", "nombre", "nom", "nazwa", "title", "titulo", "site", "mine", "id")
"""Columns that may hold an entry's name, in order, whatever their case; else the first column of text."""

RESERVED = frozenset({field.name for field in dataclasses.fields(Candidate)} | {"geometry", "candidate", "description"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registry:
    shapes: npt.NDArray[Any]
    """Geometries in degrees lon, lat."""
    names: tuple[str, ...]
    """One per geometry."""
    tree: shapely.STRtree
    """Over the geometries."""


def check(candidates: Sequence[Candidate], registries: Mapping[str, str | Path]) -> tuple[Candidate, ...]:
    """The same candidates, each with how it lies to every registry, in the order given.

    Args:
        candidates: as `join` or `keep_ids` gave them.
        registries: vector files of any format GDAL reads, of any CRS, by name.

    Raises:
        InputError: a file cannot be read, holds no geometry or no CRS; a name is blank or names another column.
    """
    _check_names(registries)
    checked = list(candidates)
    for name, path in registries.items():
        registry = _read(name, Path(path))
        checked = [
            dataclasses.replace(
                one, registries={**one.registries, name: _place(one.polygon, (one.lon, one.lat), registry)}
            )
            for one in checked
        ]
    return tuple(checked)


def _check_names(registries: Mapping[str, str | Path]) -> None:
    columns: set[str] = set(RESERVED)
    for name in registries:
        if not name.strip() or not name.isprintable():
            raise InputError(f"registry name {name!r}: expected a word, as in --registry permits=permits.gpkg")
        for column in (name, f"{name}_name", f"{name}_distance_m"):
            if column.lower() in columns:
                raise InputError(f"registry name {name!r}: there is a column {column!r} already; choose another name")
            columns.add(column.lower())


def _read(name: str, path: Path) -> _Registry:
    try:
        frame = pyogrio.read_dataframe(path, layer=0)
        wrong = _wrong(frame)
        if not wrong:
            frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())].to_crs("EPSG:4326")
    except Exception as error:  # whatever the drivers raise, the file is what is wrong
        reason = " ".join(str(error).split())
        raise InputError(f"registry {name}: cannot read {path} as a vector file: {reason}") from error
    if wrong:
        raise InputError(f"registry {name}: {path} {wrong}")
    shapes = shapely.force_2d(frame.geometry.to_numpy())
    shapes = np.where(shapely.is_valid(shapes), shapes, shapely.make_valid(shapes))
    return _Registry(shapes=shapes, names=_names(frame), tree=shapely.STRtree(shapes))


def _wrong(frame: Any) -> str:
    if not isinstance(frame, gpd.GeoDataFrame):
        return "has no geometry; expected points, lines or polygons"
    return "" if frame.crs else "has no CRS; give it one, with ogr2ogr -a_srs"


def _names(frame: gpd.GeoDataFrame) -> tuple[str, ...]:
    by_lower = {str(column).lower(): column for column in reversed(frame.columns)}
    texts = [column for column in frame.columns if column != frame.geometry.name and frame[column].dtype.kind in "OUT"]
    column = next((by_lower[name] for name in NAMES if name in by_lower), texts[0] if texts else None)
    if column is None:
        return tuple(str(number + 1) for number in range(len(frame)))
    return tuple(
        "" if missing else str(value) for value, missing in zip(frame[column], frame[column].isna(), strict=True)
    )


def _place(polygon: BaseGeometry, point: tuple[float, float], registry: _Registry) -> Registered:
    if not registry.names:
        return Registered(where="outside", name="", distance_m=math.nan)
    for reach_m in REACHES_M:
        found = _nearest(polygon, point, registry, reach_m)
        if found is not None:
            break
    else:
        found = _far(point, registry)
    distance_m, name = found
    where = "inside" if distance_m == 0 else "near" if distance_m <= NEAR_M else "outside"
    return Registered(where=where, name=name, distance_m=round(distance_m, 1))  # type: ignore[arg-type]


def _nearest(
    polygon: BaseGeometry, point: tuple[float, float], registry: _Registry, reach_m: float
) -> tuple[float, str] | None:
    """Distance and name of the nearest entry within reach: the one that shares most, where several meet the polygon."""
    near = np.unique(np.concatenate([registry.tree.query(box) for box in _around(polygon, reach_m)]))
    if not len(near):
        return None
    flat = _flat(point)
    ours = _project(np.asarray([polygon], dtype=object), flat)[0]
    theirs = _project(registry.shapes[near], flat)
    distances = shapely.distance(ours, theirs)
    order = sorted(
        range(len(near)),
        key=lambda i: (distances[i], -shapely.area(shapely.intersection(ours, theirs[i])), registry.names[near[i]]),
    )
    best = order[0]
    return (float(distances[best]), registry.names[near[best]]) if distances[best] <= reach_m else None


def _around(polygon: BaseGeometry, reach_m: float) -> list[BaseGeometry]:
    """Boxes in degrees that hold all within reach, on both sides of the antimeridian."""
    boxes = []
    for part in shapely.get_parts(polygon):
        west, south, east, north = part.bounds
        up = reach_m / 110_000
        lat = min(max(abs(south), abs(north)) + up, 89.5)
        along = up / math.cos(math.radians(lat))
        boxes += [
            shapely.box(west - along + turn, south - up, east + along + turn, north + up) for turn in (-360, 0, 360)
        ]
    return boxes


def _flat(point: tuple[float, float]) -> Transformer:
    lon, lat = point
    local = CRS.from_proj4(f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    return Transformer.from_crs("EPSG:4326", local, always_xy=True)


def _project(shapes: npt.NDArray[Any], flat: Transformer) -> npt.NDArray[Any]:
    return np.asarray(shapely.transform(shapes, lambda xy: np.column_stack(flat.transform(xy[:, 0], xy[:, 1]))))


def _far(point: tuple[float, float], registry: _Registry) -> tuple[float, str]:
    corners, index = shapely.get_coordinates(registry.shapes, return_index=True)
    apart = np.linalg.norm(earth_centred_m(*corners.T) - earth_centred_m([point[0]], [point[1]]), axis=1)
    nearest = int(np.argmin(apart))
    radius_m = 6371008.8
    return 2 * radius_m * math.asin(min(1.0, apart[nearest] / (2 * radius_m))), registry.names[index[nearest]]
