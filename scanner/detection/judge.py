"""From found cells to hits: where they lie, what the judge says, and the verdict."""

import math
from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.detection.detect import Asked, Detections, Found
from scanner.detection.hits import Hit, Verdict
from scanner.types import Scene
from tiling import lonlat

__all__ = ["Bench", "hits_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What stands behind the hits of a tile."""

    impact: ModelCard | None
    """The judge's card, whose classes name its probabilities."""
    scenes: tuple[Scene, ...]
    """Scenes of the tile."""


def hits_of(detections: Detections, asked: Asked, bench: Bench) -> tuple[Hit, ...]:
    """Every cell above the threshold, with its verdict; none is left out."""
    return tuple(
        _hit(found, int(detections.looks[found.row, found.column]), asked, bench) for found in detections.found
    )


def _hit(found: Found, looks: int, asked: Asked, bench: Bench) -> Hit:
    lattice = asked.lattice
    cell = lattice.cell_in(asked.cells, found.row, found.column)
    polygon = lattice.polygon(cell)
    centre = shapely.centroid(lattice.box(cell))
    lon, lat = lonlat(lattice.zone, centre.x, centre.y)
    impact = dict(zip(bench.impact.classes, found.impact, strict=True)) if bench.impact and found.impact else {}
    behind = _scenes_behind(polygon, bench.scenes)
    return Hit(
        cell=str(cell), tile=str(asked.tile), lon=float(lon), lat=float(lat), score=found.score,
        impact_high=impact.get("high_impact", math.nan), impact_low=impact.get("low_impact", math.nan),
        no_ore=impact.get("no_ore", math.nan), clear_looks=looks, verdict=_verdict(found, impact), polygon=polygon,
        first_scene=str(behind[0].time.date()) if behind else "",
        last_scene=str(behind[-1].time.date()) if behind else "",
        scenes=tuple(scene.id for scene in behind),
    )  # fmt: skip


def _verdict(found: Found, impact: dict[str, float]) -> Verdict:
    if not found.observed:
        return "unobserved"
    if impact and max(impact, key=impact.__getitem__) == "no_ore":
        return "no_ore"
    return "accepted"


def _scenes_behind(polygon: BaseGeometry, scenes: tuple[Scene, ...]) -> list[Scene]:
    """Scenes whose footprint meets the cell, in the order they were taken."""
    shapely.prepare(polygon)
    return sorted(
        (scene for scene in scenes if polygon.intersects(scene.footprint)), key=lambda scene: (scene.time, scene.id)
    )
