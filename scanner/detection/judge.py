"""From found cells to hits: where they lie, what the judge says, and the verdict."""

import datetime as dt
from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.detection.detect import Detections, Found
from scanner.detection.hits import Hit
from scanner.types import Scene
from tiling import CellId, CellRange, Lattice, TileId, cell_polygon, lonlat

__all__ = ["Bench", "hits_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What turns a grid position into a hit."""

    tile: TileId
    """The tile that owns the cells."""
    cells: CellRange
    """The tile's whole range of cells."""
    impact: ModelCard | None
    """The judge's card, whose classes name its probabilities."""
    scenes: tuple[Scene, ...]
    """Scenes of the tile."""


def hits_of(detections: Detections, bench: Bench) -> tuple[Hit, ...]:
    """Every cell above the threshold, with its verdict; none is left out."""
    lattice = Lattice(zone=bench.cells.zone, stride_px=bench.cells.stride_px)
    return tuple(
        _hit(found, int(detections.looks[found.row, found.column]), bench, lattice) for found in detections.found
    )


def _hit(found: Found, looks: int, bench: Bench, lattice: Lattice) -> Hit:
    cell = CellId(
        zone=lattice.zone, stride_px=lattice.stride_px,
        column=bench.cells.column0 + found.column, row=bench.cells.row1 - 1 - found.row,
    )  # fmt: skip
    polygon = cell_polygon(lattice, cell)
    half = lattice.stride_px * 5.0
    lon, lat = lonlat(lattice.zone, cell.column * 2 * half + half, cell.row * 2 * half + half)
    impact = dict(zip(bench.impact.classes, found.impact, strict=True)) if bench.impact and found.impact else {}
    behind = _scenes_behind(polygon, bench.scenes)
    return Hit(
        cell=str(cell), tile=str(bench.tile), lon=float(lon), lat=float(lat), score=found.score,
        impact_high=impact.get("high_impact", float("nan")), impact_low=impact.get("low_impact", float("nan")),
        no_ore=impact.get("no_ore", float("nan")), clear_looks=looks, verdict=_verdict(found, impact),
        first_scene=str(behind[0]) if behind else "", last_scene=str(behind[-1]) if behind else "", polygon=polygon,
    )  # fmt: skip


def _verdict(found: Found, impact: dict[str, float]) -> str:
    if not found.observed:
        return "unobserved"
    if impact and max(impact, key=impact.__getitem__) == "no_ore":
        return "no_ore"
    return "accepted"


def _scenes_behind(polygon: BaseGeometry, scenes: tuple[Scene, ...]) -> list[dt.date]:
    shapely.prepare(polygon)
    return sorted(scene.time.date() for scene in scenes if polygon.intersects(scene.footprint))
