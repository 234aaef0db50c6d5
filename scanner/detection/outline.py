"""Candidates with the outline that a segmenter drew: the pieces that touch their cells, of all tiles together."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from scanner.detection.delineate import united
from scanner.detection.hits import Candidate
from scanner.detection.join import tile_of
from scanner.detection.shapes import area_m2, point_inside, unite
from tiling import CellId, Lattice, lonlat, northing
from tiling.grid import GSD_M

__all__ = ["outlined"]

Geometries = npt.NDArray[Any]
Shapes = dict[int, list[BaseGeometry]]
"""By the candidate's place, its pieces in degrees."""


def outlined(
    candidates: Sequence[Candidate], pieces: Mapping[int, Sequence[Geometries]], finer: int
) -> tuple[Candidate, ...]:
    """The same candidates, with the outline, its area and a point in it where there is one; else as they were.

    Args:
        candidates: as `join` gave them.
        pieces: by zone, what `delineate` drew in each of its tiles. What two tiles drew of one ground is one.
        finer: output pixels of the delineator along the edge of an input pixel.
    """
    drawn: Shapes = defaultdict(list)
    for zone, some in pieces.items():
        whole = united([piece for tile in some for piece in tile])
        owners, boxes = _cells(candidates, zone, finer)
        for owner, piece in _shares(whole, owners, boxes):
            drawn[owner].append(_in_degrees(piece, zone, finer))
    return tuple(_with_outline(one, drawn[number]) if drawn[number] else one for number, one in enumerate(candidates))


def _cells(candidates: Sequence[Candidate], zone: int, finer: int) -> tuple[npt.NDArray[np.int64], Geometries]:
    """Which candidate each cell of a zone belongs to, and its square in output pixels of the delineator."""
    owned = [
        (number, cell)
        for number, one in enumerate(candidates)
        for cell in map(CellId.parse, one.cell_ids)
        if cell.zone == zone
    ]
    if not owned:
        return np.zeros(0, np.int64), np.zeros(0, object)
    first = owned[0][1]
    lattice = Lattice(zone=zone, stride_px=first.stride_px, finer=first.finer)
    column, row = np.array([(cell.column, cell.row) for _, cell in owned]).T
    west, south, east, north = (lattice.metres(edge) * finer / GSD_M for edge in (column, row, column + 1, row + 1))
    anchor = lattice.anchor_y * finer
    return np.array([number for number, _ in owned]), shapely.box(west, anchor - north, east, anchor - south)


def _shares(pieces: Geometries, owners: npt.NDArray[np.int64], boxes: Geometries) -> list[tuple[int, BaseGeometry]]:
    """Candidate and piece, for every piece that a cell of it touches.

    Of a piece between several candidates each has the part nearest to its cells.
    """
    cell, piece = shapely.STRtree(pieces).query(boxes, predicate="intersects")
    touched: dict[int, set[int]] = defaultdict(set)
    for owner, number in zip(owners[cell].tolist(), piece.tolist(), strict=True):
        touched[number].add(owner)
    shares: list[tuple[int, BaseGeometry]] = []
    for number, some in sorted(touched.items()):
        if len(some) == 1:
            shares += [(owner, pieces[number]) for owner in some]
        else:
            shares += _parted(pieces[number], sorted(some), owners, boxes)
    return shares


def _parted(
    piece: BaseGeometry, some: Sequence[int], owners: npt.NDArray[np.int64], boxes: Geometries
) -> list[tuple[int, BaseGeometry]]:
    """A piece between several candidates, cut where the nearest cell's centre changes hands."""
    ours = np.isin(owners, some)
    points = shapely.multipoints(shapely.centroid(boxes[ours]))
    nearest = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=piece, ordered=True))
    parts = [(owner, shapely.intersection(piece, shapely.union_all(nearest[owners[ours] == owner]))) for owner in some]
    return [(owner, part) for owner, part in parts if shapely.area(part) > 0]


def _in_degrees(piece: BaseGeometry, zone: int, finer: int) -> BaseGeometry:
    def degrees(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(lonlat(zone, xy[:, 0] * GSD_M / finer, northing(zone, xy[:, 1] / finer)))

    return shapely.transform(piece, degrees)


def _with_outline(one: Candidate, pieces: Sequence[BaseGeometry]) -> Candidate:
    polygon = unite(pieces, one.lon)
    lon, lat = point_inside(polygon)
    return dataclasses.replace(
        one, polygon=polygon, lon=lon, lat=lat, tile=tile_of(lon, lat), area_m2=round(area_m2(polygon), 1),
        outline="delineated",
    )  # fmt: skip
