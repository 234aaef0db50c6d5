"""From found cells to hits: where they lie, what the judge says, and the verdict."""

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import shapely

from models import ModelCard
from scanner.detection.detect import Asked, Detections, Found
from scanner.detection.hits import Hit, Verdict
from tiling import Window, lonlat

__all__ = ["Bench", "hits_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What stands behind the hits of a tile."""

    impact: ModelCard | None
    """The judge's card, whose classes name its probabilities."""
    scenes: Mapping[str, dt.date]
    """Ids of the tile's scenes and the days they were taken."""
    clear_in: Callable[[Window], tuple[str, ...]]
    """Ids of the scenes that are clear somewhere in a window of zone pixels."""


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
    behind = sorted(bench.clear_in(lattice.window(cell)), key=lambda scene: (bench.scenes[scene], scene))
    first, last = (str(bench.scenes[behind[place]]) if behind else "" for place in (0, -1))
    return Hit(
        cell=str(cell), tile=str(asked.tile), lon=float(lon), lat=float(lat), score=found.score,
        impact_high=impact.get("high_impact", math.nan), impact_low=impact.get("low_impact", math.nan),
        no_ore=impact.get("no_ore", math.nan), clear_looks=looks, verdict=_verdict(found, impact), polygon=polygon,
        first_scene=first, last_scene=last, scenes=tuple(behind),
    )  # fmt: skip


def _verdict(found: Found, impact: dict[str, float]) -> Verdict:
    if not found.observed:
        return "unobserved"
    if impact and max(impact, key=impact.__getitem__) == "no_ore":
        return "no_ore"
    return "accepted"
