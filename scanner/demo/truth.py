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
from scanner.demo.plane import EDGE_LON, ZONES, to_lonlat
from tiling import TILE_PX, Window, utm, zone_of

__all__ = ["ImpactPoint", "edges_of", "impact_points", "labels", "outlines", "write_truth"]

_CELL_M: Final = 270.0
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
    """Which edges a polygon in degrees lies astride: zone, tile, tile_corner, cell."""
    west, _, east, _ = outline.bounds
    found = ["zone"] if west < EDGE_LON < east else []
    seen = set()
    for zone in ZONES:
        points = shapely.get_coordinates(outline)
        mine = np.asarray(zone_of(points[:, 0], points[:, 1])) == zone
        if not mine.any():
            continue
        e, n = (np.asarray(axis) for axis in utm(zone, points[:, 0], points[:, 1]))
        tile_m = TILE_PX * 10.0
        columns, rows = np.unique(e[mine] // tile_m), np.unique(n[mine] // tile_m)
        seen |= {"tile"} if columns.size > 1 or rows.size > 1 else set()
        seen |= {"tile_corner"} if columns.size > 1 and rows.size > 1 else set()
        astride = np.unique(e[mine] // _CELL_M).size > 1 or np.unique(n[mine] // _CELL_M).size > 1
        seen |= {"cell"} if astride else set()
    return (*found, *sorted(seen))


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
