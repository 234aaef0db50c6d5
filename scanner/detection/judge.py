"""From found cells to hits: where they lie, what the judge says, and the verdict."""

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import ModelCard
from scanner.detection.found import Found
from scanner.detection.hits import Hit
from tiling import CellRange, Lattice, TileId, Window, lonlat

__all__ = ["Bench", "hits_of", "verdicts_of"]

_KNOWN = ("high_impact", "low_impact", "no_ore")
"""The judge's classes that a hit has columns for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What stands behind the hits of a tile."""

    tile: TileId
    """The tile."""
    lattice: Lattice
    """The detector's cells."""
    cells: CellRange
    """The cells the tile owns, which rows and columns are counted in."""
    impact: ModelCard | None
    """The judge's card, whose classes name its probabilities."""
    scenes: Mapping[str, dt.date]
    """Ids of the tile's scenes and the days they were taken."""
    clear_in: Callable[[Sequence[Window]], Sequence[tuple[str, ...]]]
    """Ids of the scenes that are clear somewhere in each of some windows of zone pixels."""


def hits_of(found: Found, bench: Bench) -> tuple[Hit, ...]:
    """Every cell above the threshold, with its verdict; none is left out."""
    if not len(found):
        return ()
    lattice, cells = bench.lattice, bench.cells
    ids = [lattice.cell_in(cells, *place) for place in zip(found.rows.tolist(), found.columns.tolist(), strict=True)]
    e, n = lattice.centres_m(cells)
    lon, lat = lonlat(lattice.zone, e[found.columns], n[found.rows])
    behind = _behind(bench, [lattice.window(cell) for cell in ids])
    return tuple(
        Hit(
            cell=str(cell), tile=str(bench.tile), lon=lon, lat=lat, score=score, impact_high=high, impact_low=low,
            no_ore=no_ore, clear_looks=looks, verdict=verdict, polygon=polygon, first_scene=scenes[0],
            last_scene=scenes[1], scenes=scenes[2],
        )
        for cell, lon, lat, score, (high, low, no_ore), looks, verdict, polygon, scenes in zip(
            ids, lon.tolist(), lat.tolist(), found.scores.tolist(), _impacts(found, bench.impact),
            found.looks.tolist(), verdicts_of(found, bench.impact),
            lattice.polygons(cells, found.rows, found.columns), behind, strict=True,
        )
    )  # fmt: skip


def _behind(bench: Bench, windows: Sequence[Window]) -> list[tuple[str, str, tuple[str, ...]]]:
    """First day, last day and ids, earliest first, of the scenes behind each window."""
    known: dict[tuple[str, ...], tuple[str, str, tuple[str, ...]]] = {}
    answers = bench.clear_in(windows)
    for names in answers:
        if names not in known:
            order = tuple(sorted(names, key=lambda scene: (bench.scenes[scene], scene)))
            first, last = (str(bench.scenes[order[end]]) if order else "" for end in (0, -1))
            known[names] = (first, last, order)
    return [known[names] for names in answers]


def _impacts(found: Found, impact: ModelCard | None) -> list[list[float]]:
    """Probabilities of high and low impact and of no ore; NaN where the judge has no such class, or is none."""
    columns = np.full((len(found), len(_KNOWN)), math.nan)
    for place, name in enumerate(_KNOWN):
        if impact is not None and name in impact.classes:
            columns[:, place] = found.impacts[:, impact.classes.index(name)]
    rows: list[list[float]] = columns.tolist()
    return rows


def verdicts_of(found: Found, impact: ModelCard | None) -> NDArray[np.object_]:
    """What becomes of each cell, before any is held against its neighbours."""
    verdicts = np.full(len(found), "accepted", object)
    if impact is not None and "no_ore" in impact.classes:
        verdicts[found.impacts.argmax(axis=1) == impact.classes.index("no_ore")] = "no_ore"
    verdicts[~found.observed] = "unobserved"
    return verdicts
