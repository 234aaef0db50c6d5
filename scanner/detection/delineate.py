"""A segmenter in and around a tile's hits: the scars' outlines, as polygons of whole output pixels.

Polygons are kept in output pixels of the zone (x = easting / size, y southward from the equator): integers, so that
the pieces of neighbouring tiles fit each other exactly.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.detection.found import Reader, Stored, read_ahead
from scanner.detection.pixels import seen_in
from scanner.detection.reach import DELINEATE_PX
from scanner.store.layout import write_atomic
from tiling import Lattice, Tile, Window

if TYPE_CHECKING:
    from models import Detector

__all__ = ["block_px", "delineate", "read_pieces", "united", "write_pieces"]

BLOCK_PX = 256
"""Least edge of a block: the network runs on blocks of one fixed lattice, so that no cut of tile or chunk shows."""

Pieces = NDArray[Any]
"""Polygons, disjoint, in output pixels of the zone."""


def block_px(card: ModelCard) -> int:
    """Edge of the blocks that a delineator runs on: whole steps of its lattice, at least as wide as its halo."""
    return -(-max(BLOCK_PX, card.halo_px) // card.stride_px) * card.stride_px


def delineate(tile: Tile, cells: NDArray[np.int64], read: Reader, segmenter: "Detector") -> Pieces:
    """Pixels above the card's threshold within 500 m of the given cells, as polygons (edges join, corners do not).

    Args:
        tile: whose composite is read; its margin holds what the cells' surroundings need.
        cells: (cell, 4): x0, y0, x1, y1 of the hit cells' pixels.
        read: gives the segmenter's bands.
        segmenter: of either mode.
    """
    card = segmenter.card
    lattice = Lattice(zone=tile.id.zone, stride_px=block_px(card))
    around = cells + np.array([-DELINEATE_PX, -DELINEATE_PX, DELINEATE_PX, DELINEATE_PX])
    parts = [(place, place[0].buffer(card.halo_px)) for place in _blocks(lattice, around)]

    def padded(window: Window) -> Stored:
        inside = window.intersect(tile.read)
        values, clear = np.zeros((len(card.bands), *window.shape), np.uint16), np.zeros(window.shape, np.uint16)
        if inside:
            rows, columns = inside.slices_in(window)
            values[:, rows, columns], clear[rows, columns] = read(inside)
        return values, clear

    drawn: list[BaseGeometry] = []
    for (block, near), (composite, _) in read_ahead(parts, padded):
        rows, columns = block.slices_in(block.buffer(card.halo_px))
        asked = seen_in(composite[:, rows, columns]) & _painted(near, block)
        if asked.any():
            above = segmenter.score_core(composite)[-1] > card.threshold
            above &= asked.repeat(card.finer, axis=0).repeat(card.finer, axis=1)
            drawn += _polygons(above, block.times(card.finer))
    return united(drawn)


def _blocks(lattice: Lattice, around: NDArray[np.int64]) -> Iterator[tuple[Window, NDArray[np.int64]]]:
    """Blocks of the lattice that hold something of the surroundings, and which."""
    if not len(around):
        return
    low, high = around.min(axis=0), around.max(axis=0)
    every = lattice.covering(Window(x0=int(low[0]), y0=int(low[1]), x1=int(high[2]), y1=int(high[3])))
    for row, column in np.ndindex(every.shape):
        block = lattice.window(lattice.cell_in(every, row, column))
        meets = (around[:, 0] < block.x1) & (around[:, 2] > block.x0)
        meets &= (around[:, 1] < block.y1) & (around[:, 3] > block.y0)
        if meets.any():
            yield block, around[meets]


def _painted(boxes: NDArray[np.int64], block: Window) -> NDArray[np.bool_]:
    """Pixels of a block that lie in any of the boxes: each adds one at its corners, sums do the rest."""
    corners = np.zeros((block.height_px + 1, block.width_px + 1), np.int64)
    x0, x1 = (np.clip(boxes[:, side] - block.x0, 0, block.width_px) for side in (0, 2))
    y0, y1 = (np.clip(boxes[:, side] - block.y0, 0, block.height_px) for side in (1, 3))
    for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        np.add.at(corners, (y, x), sign)
    return np.asarray(corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0)


def _polygons(above: NDArray[np.bool_], frame: Window) -> list[BaseGeometry]:
    place = Affine.translation(frame.x0, frame.y0)
    found = shapes(above.astype(np.uint8), mask=above, connectivity=4, transform=place)
    return [shapely.geometry.shape(polygon) for polygon, _ in found]


def united(polygons: Sequence[BaseGeometry]) -> Pieces:
    """The union's single polygons, corners alone, in an order of their own: however the ground was cut, the same."""
    parts = shapely.get_parts(shapely.union_all(np.array([*polygons], dtype=object)))
    # A union keeps points where edges met. A ring begins at its first corner once it is normal, so none of them stays.
    whole = shapely.normalize(shapely.simplify(shapely.normalize(parts), 0))
    return np.array(sorted(whole, key=lambda piece: piece.wkb), dtype=object)


def write_pieces(path: Path, pieces: Pieces) -> None:
    """The same pieces give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"piece": pa.array(shapely.to_wkb(pieces).tolist(), pa.binary())}), sink)
    write_atomic(path, sink.getvalue())


def read_pieces(path: Path) -> Pieces:
    """What `write_pieces` wrote."""
    found: Pieces = shapely.from_wkb(np.array(pq.read_table(path)["piece"].to_pylist(), dtype=object))
    return found
