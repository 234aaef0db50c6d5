"""Hits of all tiles and zones become candidate mines, by one rule: cells whose centres are near enough are one mine."""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scanner.detection.hits import Candidate, Hit, Impact, Isolation, Provenance
from scanner.detection.shapes import area_m2, each_within, earth_centred_m, point_inside, unite
from scanner.errors import InputError
from tiling.grid import GSD_M, TILE_PX, TileId
from tiling.ownership import utm, zone_of

__all__ = ["DISTANCE_M", "cells_frame", "join", "joining_distance_m", "tile_of"]

DISTANCE_M = 400.0
"""For cells of 270 m: corner to corner they are 382 m apart, also where two zones' cells touch askew; the next, 540."""

PAIRS = 4_000_000
"""Pairs of cubes held at once, 24 bytes each."""

MOST_NEIGHBOURS = 125
"""Cubes at most two apart from one on each axis, itself included."""

CELL_COLUMNS = (
    "cell",
    "tile",
    "lon",
    "lat",
    "score",
    "impact_high",
    "impact_low",
    "no_ore",
    "clear_looks",
    "verdict",
    "candidate",
)

Floats = npt.NDArray[np.float64]


def joining_distance_m(edge_m: float) -> float:
    """The default distance for cells of another edge: 400 m at 270 m, in proportion."""
    return DISTANCE_M * edge_m / 270


def join(
    hits: Iterable[Hit],
    *,
    distance_m: float = DISTANCE_M,
    isolation: Mapping[str, float] | None = None,
    provenance: Provenance | None = None,
) -> tuple[tuple[Candidate, ...], gpd.GeoDataFrame]:
    """Candidates, best score first, and the frame of all hits, whatever the order in which the hits come.

    Args:
        hits: of all tiles, one per cell, with any verdict; only the accepted join.
        distance_m: centres nearer than this, straight through the earth, are one mine.
        isolation: `k`, `distance_m`, `threshold`: accepted hits whose k-th neighbour among the accepted is
            farther need the higher threshold. None: no such rule; `isolated` is told by 5 and 3 km all the same.
        provenance: weights and threshold that made the hits.

    Returns:
        The candidates, and the frame of `cells.parquet` sorted by cell.

    Raises:
        InputError: the distance is not positive.
        ValueError: two hits for one cell.
    """
    if not distance_m > 0:
        raise InputError(f"joining distance {distance_m} m: expected more than 0")
    ordered = sorted(hits, key=lambda hit: hit.cell)
    twice = [a.cell for a, b in itertools.pairwise(ordered) if a.cell == b.cell]
    if twice:
        raise ValueError(f"cell {twice[0]} has two hits")
    rule = Isolation(**isolation) if isolation else Isolation()  # type: ignore[arg-type]
    alone = _alone(ordered, rule)
    if isolation:
        ordered = [_weigh(hit, rule, alone=hit.cell in alone) for hit in ordered]
    candidates = [
        _candidate(members, provenance or Provenance(), isolated=all(hit.cell in alone for hit in members))
        for members in _groups([hit for hit in ordered if hit.verdict == "accepted"], distance_m)
    ]
    ranked = tuple(sorted(candidates, key=lambda candidate: (-candidate.score, candidate.id)))
    return ranked, cells_frame(ordered, ranked)


def _centres_m(hits: Sequence[Hit]) -> Floats:
    return earth_centred_m([hit.lon for hit in hits], [hit.lat for hit in hits])


def _alone(hits: Sequence[Hit], rule: Isolation) -> frozenset[str]:
    """Cells of the accepted hits whose k-th neighbour among them is too far."""
    accepted = [hit for hit in hits if hit.verdict == "accepted"]
    if not accepted:
        return frozenset()
    centres = _centres_m(accepted)
    # The nearest is the hit itself; with fewer than k others the distance is infinite.
    distances, _ = cKDTree(centres).query(centres, k=[int(rule.k) + 1])
    return frozenset(hit.cell for hit, far in zip(accepted, distances[:, 0] > rule.distance_m, strict=True) if far)


def _weigh(hit: Hit, rule: Isolation, *, alone: bool) -> Hit:
    if alone and hit.score < rule.threshold:
        return dataclasses.replace(hit, verdict="below_isolated_threshold")
    return hit


def _groups(hits: Sequence[Hit], distance_m: float) -> list[list[Hit]]:
    groups: dict[int, list[Hit]] = defaultdict(list)
    for hit, label in zip(hits, _labels(_centres_m(hits), distance_m), strict=True):
        groups[int(label)].append(hit)
    return list(groups.values())


def _labels(centres: Floats, distance_m: float) -> npt.NDArray[np.intp]:
    """One number per connected component.

    Centres in one cube whose diagonal is the distance are all near each other, so cubes are linked, not centres: a
    scar of a hundred thousand pixels has fewer cubes than it has pixels, and no pair inside one is ever listed. First
    by one centre of each, then, where that leaves two neighbouring cubes apart, by all their centres.
    """
    if not len(centres):
        return np.zeros(0, np.intp)
    edge_m = distance_m / math.sqrt(3) * (1 - 1e-6)
    places = np.floor((centres - centres.min(axis=0)) / edge_m)
    cubes, first, cube_of = np.unique(places, axis=0, return_index=True, return_inverse=True)
    held = np.bincount(cube_of)
    members = np.split(np.argsort(cube_of, kind="stable"), np.cumsum(held)[:-1])
    links = coo_array((len(cubes), len(cubes)), dtype=bool)
    for ends in _neighbours(cubes):
        near = np.linalg.norm(centres[first[ends[:, 0]]] - centres[first[ends[:, 1]]], axis=1) < distance_m
        links = _joined(links, ends[near])
    ours = connected_components(links, directed=False)[1]
    for ends in _neighbours(cubes):
        several = (held[ends] > 1).any(axis=1)  # of cubes with one centre each the question is answered
        apart = ends[several & (ours[ends[:, 0]] != ours[ends[:, 1]])]
        links = _joined(links, apart[_near(centres, members, apart, distance_m)])
    return np.asarray(connected_components(links, directed=False)[1][cube_of])


def _neighbours(cubes: Floats) -> Iterator[npt.NDArray[np.intp]]:
    """Pairs of cubes that may hold near centres, a bounded number at a time: at most two cubes apart on each axis."""
    tree = cKDTree(cubes)
    step = max(PAIRS // MOST_NEIGHBOURS, 1)
    for start in range(0, len(cubes), step):
        rows = np.arange(start, min(start + step, len(cubes)))
        pairs = cKDTree(cubes[rows]).sparse_distance_matrix(tree, 2, p=math.inf, output_type="ndarray")
        ends = np.column_stack([rows[pairs["i"]], pairs["j"]])
        yield ends[ends[:, 0] < ends[:, 1]]


def _near(
    centres: Floats, members: Sequence[npt.NDArray[np.intp]], ends: npt.NDArray[np.intp], distance_m: float
) -> list[bool]:
    """Whether any centre of one cube is nearer than the distance to any of the other."""
    trees: dict[int, cKDTree] = {}
    near = []
    for one, other in ends.tolist():
        if one not in trees:
            trees[one] = cKDTree(centres[members[one]])
        distances, _ = trees[one].query(centres[members[other]], distance_upper_bound=distance_m)
        near.append(bool((distances < distance_m).any()))
    return near


def _joined(links: coo_array, ends: npt.NDArray[np.intp]) -> coo_array:
    new = coo_array((np.ones(len(ends), dtype=bool), tuple(ends.T)), shape=links.shape)
    return coo_array(links + new)


def _candidate(hits: Sequence[Hit], provenance: Provenance, *, isolated: bool) -> Candidate:
    best_first = sorted(hits, key=lambda hit: (-hit.score, hit.cell))
    best = best_first[0]
    polygon = unite([hit.polygon for hit in hits], best.lon)
    lon, lat = point_inside(polygon)
    area = round(area_m2(polygon), 1)
    high, low, no_ore = (_mean(getattr(hit, name) for hit in hits) for name in ("impact_high", "impact_low", "no_ore"))
    return Candidate(
        id=f"m-{best.cell}",
        lon=lon,
        lat=lat,
        score=round(float(best.score), 6),
        mean_score=_mean(hit.score for hit in hits),
        impact=_impact(high, low),
        impact_high=high,
        impact_low=low,
        no_ore=no_ore,
        area_m2=area,
        cells_area_m2=area,
        cells=len(hits),
        clear_looks=math.floor(np.median([hit.clear_looks for hit in hits]) + 0.5),
        first_scene=min((hit.first_scene for hit in hits if hit.first_scene), default=""),
        last_scene=max((hit.last_scene for hit in hits), default=""),
        isolated=isolated,
        tile=tile_of(lon, lat),
        polygon=polygon,
        cell_ids=tuple(hit.cell for hit in best_first),
        scenes=tuple(sorted({scene for hit in hits for scene in hit.scenes})),
        provenance=provenance,
    )


def _mean(values: Iterable[float]) -> float:
    """Mean of what is known, 6 decimals; NaN where nothing is. fsum, so that no order of adding shows."""
    known = [float(value) for value in values if not math.isnan(value)]
    return round(math.fsum(known) / len(known), 6) if known else math.nan


def _impact(high: float, low: float) -> Impact:
    if math.isnan(high) or math.isnan(low):
        return "unknown"
    return "high" if high >= low else "low"


def tile_of(lon: float, lat: float) -> str:
    """Id of the tile that owns a point."""
    zone = int(zone_of(lon, lat))
    easting, northing = utm(zone, lon, lat)
    edge_m = TILE_PX * GSD_M
    return str(TileId(zone=zone, column=math.floor(easting / edge_m), row=math.floor(northing / edge_m)))


def cells_frame(hits: Sequence[Hit], candidates: Iterable[Candidate]) -> gpd.GeoDataFrame:
    """The frame of `cells.parquet`: every hit, sorted by cell, with the id of its candidate where it has one."""
    owner = {cell: candidate.id for candidate in candidates for cell in candidate.cell_ids}
    rows = sorted(hits, key=lambda hit: hit.cell)
    columns: dict[str, Any] = {
        name: [owner.get(hit.cell) if name == "candidate" else getattr(hit, name) for hit in rows]
        for name in CELL_COLUMNS
    }
    shapes = each_within([hit.polygon for hit in rows], [hit.lon for hit in rows])
    return _typed(gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326"))


def _typed(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The same frame with the types that a frame with rows has, also without rows or without a judge."""
    texts = {"cell", "tile", "verdict", "candidate"}
    kinds = {name: "str" if name in texts else "int64" if name == "clear_looks" else "float64" for name in CELL_COLUMNS}
    return frame.astype(kinds).round({"lon": 6, "lat": 6})
