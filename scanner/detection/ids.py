"""Ids that stay: a later scan of the same folder calls the same mine by the same name."""

import dataclasses
from collections.abc import Sequence

import geopandas as gpd
import shapely

from scanner.detection.hits import Candidate
from scanner.detection.shapes import area_m2

__all__ = ["keep_ids", "name_cells"]

TOUCH_M2 = 1.0
"""Polygons that share less than this only touch."""


def keep_ids(candidates: Sequence[Candidate], previous: gpd.GeoDataFrame | None) -> tuple[Candidate, ...]:
    """Candidates that keep the id of the earlier one they overlap most; sorted by score, then id.

    The largest overlaps choose first and each earlier id is used once, so of a mine that fell apart the part with the
    larger overlap keeps the name. Ids of `previous` are never given to another mine: a new one whose best cell
    gave its name away takes the name of its next best cell.

    Args:
        candidates: of this scan, as `join` gave them.
        previous: `candidates.parquet` of the scan before (columns `id` and `geometry`), or None.
    """
    if previous is None or previous.empty:
        return _ranked(candidates)
    kept = _matches(candidates, previous)
    taken = set(previous["id"])
    named = []
    for candidate in _ranked(candidates):
        name = kept.get(candidate.id) or _mint(candidate, taken)
        taken.add(name)
        named.append(dataclasses.replace(candidate, id=name))
    return _ranked(named)


def _ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda candidate: (-candidate.score, candidate.id)))


def _matches(candidates: Sequence[Candidate], previous: gpd.GeoDataFrame) -> dict[str, str]:
    """Earlier id by minted id, largest overlap first."""
    names, shapes = list(previous["id"]), previous.geometry.to_numpy()
    tree = shapely.STRtree([candidate.polygon for candidate in candidates])
    overlaps = []
    for old, new in zip(*tree.query(shapes, predicate="intersects"), strict=True):
        shared = area_m2(shapely.intersection(shapes[old], candidates[new].polygon))
        overlaps.append((-round(shared, 1), names[old], candidates[new].id))
    kept: dict[str, str] = {}
    used: set[str] = set()
    for shared, old_name, new_name in sorted(overlaps):
        if -shared >= TOUCH_M2 and new_name not in kept and old_name not in used:
            kept[new_name] = old_name
            used.add(old_name)
    return kept


def _mint(candidate: Candidate, taken: set[str]) -> str:
    names = [f"m-{cell}" for cell in candidate.cell_ids]
    free = next((name for name in names if name not in taken), None)
    if free is not None:
        return free
    count = 2
    while f"{names[0]}-{count}" in taken:
        count += 1
    return f"{names[0]}-{count}"


def name_cells(cells: gpd.GeoDataFrame, candidates: Sequence[Candidate]) -> gpd.GeoDataFrame:
    """The frame of all hits with its `candidate` column rewritten, for candidates that were renamed."""
    owner = {cell: candidate.id for candidate in candidates for cell in candidate.cell_ids}
    return cells.assign(candidate=cells["cell"].map(owner).astype("str"))
