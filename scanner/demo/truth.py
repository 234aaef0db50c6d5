"""What was planted: as polygons, as label rasters, as points for training a judge."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import features
from rasterio.transform import Affine
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from scanner.demo.ground import Ground
from scanner.demo.plane import ZONES, to_lonlat
from tiling import TILE_PX, Window, lonlat, utm, zone_of

__all__ = ["ImpactPoint", "edges_of", "impact_points", "labels", "outlines", "write_truth"]

_CELL_M: Final = 270.0
_TILE_M: Final = TILE_PX * 10.0
Impact = Literal["high_impact", "low_impact", "no_ore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactPoint:
    """A labelled place to learn impact from."""

    lon: float
    """Degrees."""
    lat: float
    """Degrees."""
    label: Impact
    """What is there."""


def labels(ground: Ground, zone: int, window: Window) -> NDArray[np.uint8]:
    """1 where a pixel of a window of zone pixels is mine (its tailings pond too), 0 where it is anything else."""
    mines = np.asarray([0] + [site.kind != "decoy" for site in ground.sites], np.uint8)
    return mines[ground.sites_in(zone, window)]


def outlines(ground: Ground) -> tuple[BaseGeometry, ...]:
    """The outline of each site in degrees, in the order of `ground.sites`; empty where another site covers it all."""
    plane = ground.plane
    to_metres = Affine(10, 0, plane.west_m, 0, -10, plane.north_m)
    parts: dict[int, list[BaseGeometry]] = {}
    for outline, value in features.shapes(ground.site, mask=ground.site > 0, transform=to_metres):
        parts.setdefault(int(value), []).append(shape(outline))
    return tuple(_degrees(shapely.union_all(parts.get(index + 1, []))) for index in range(len(ground.sites)))


def impact_points(ground: Ground, seed: int, per_site: int = 4) -> tuple[ImpactPoint, ...]:
    """Points inside mines and decoys, and as many on plain ground as on decoys: the same for the same seed."""
    rng = np.random.default_rng([seed, 6])
    points: list[ImpactPoint] = []
    for index, site in enumerate(ground.sites):
        label: Impact = {"high": "high_impact", "low": "low_impact"}.get(site.kind, "no_ore")  # type: ignore[assignment]
        points += _points(ground, ground.site == index + 1, label, per_site, rng)
    plain = sum(point.label == "no_ore" for point in points) or per_site
    return (*points, *_points(ground, ground.site == 0, "no_ore", plain, rng))


def edges_of(outline: BaseGeometry) -> tuple[str, ...]:
    """Which edges a polygon in degrees lies astride, each on the ground of the zone it counts in: cell, tile, zone.

    `tile_corner` when the meeting point of four tiles lies inside it.
    """
    points = shapely.get_coordinates(outline)
    owner = np.asarray(zone_of(points[:, 0], points[:, 1]))
    found = {"zone"} if np.unique(owner).size > 1 else set()
    for zone in ZONES:
        if not (owner == zone).any():
            continue
        e, n = (np.asarray(axis)[owner == zone] for axis in utm(zone, points[:, 0], points[:, 1]))
        for name, step_m in (("cell", _CELL_M), ("tile", _TILE_M)):
            if np.unique(e // step_m).size > 1 or np.unique(n // step_m).size > 1:
                found.add(name)
        # One corner at most: tiles are a hundred times larger than anything planted.
        corner = lonlat(zone, *(np.ceil(axis.min() / _TILE_M) * _TILE_M for axis in (e, n)))
        if shapely.contains_xy(outline, *(float(np.ravel(axis)[0]) for axis in corner)):
            found.add("tile_corner")
    return tuple(sorted(found))


def write_truth(ground: Ground, file: Path) -> None:
    """Writes what is planted as GeoJSON: `kind` high, low or decoy, `what`, `always_cloud`, `on_edge`, `size_m`."""
    rows = [
        {
            "type": "Feature", "id": site.id, "geometry": mapping(outline),
            "properties": {
                "id": site.id, "kind": site.kind, "what": site.what, "size_m": round(2 * site.radius_m),
                "always_cloud": site.always_cloud, "on_edge": ",".join(edges_of(outline)),
            },
        }
        for site, outline in zip(ground.sites, outlines(ground), strict=True) if not outline.is_empty
    ]  # fmt: skip
    file.write_text(json.dumps({"type": "FeatureCollection", "features": rows}, indent=1) + "\n")


def _points(
    ground: Ground, mask: NDArray[np.bool_], label: Impact, count: int, rng: np.random.Generator
) -> list[ImpactPoint]:
    """Random pixels of a mask, the plane's border left out, as labelled points."""
    border = 60
    rows, columns = np.nonzero(mask[border:-border, border:-border])
    if rows.size == 0:
        return []
    drawn = rng.choice(rows.size, min(count, rows.size), replace=False)
    u, v = ground.plane.axes()
    lon, lat = to_lonlat(u[columns[drawn] + border].astype(np.float64), v[rows[drawn] + border].astype(np.float64))
    return [ImpactPoint(lon=float(x), lat=float(y), label=label) for x, y in zip(lon, lat, strict=True)]


def _degrees(outline: BaseGeometry) -> BaseGeometry:
    turned = shapely.transform(outline, lambda points: np.column_stack(to_lonlat(points[:, 0], points[:, 1])))
    return shapely.set_precision(turned, 1e-7)
