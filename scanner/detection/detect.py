"""Reflectance in, probabilities, coverage and hits out: one tile of a classifier, chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.detection.cells import median_looks, observed_cells
from scanner.detection.found import UNJUDGED, Found, Reader, read_ahead
from scanner.detection.reach import core_reach_px
from scanner.types import OFFSET_DN
from tiling import CellRange, Chunk, Lattice, TileId, Window

if TYPE_CHECKING:
    from models import Detector, Judge

__all__ = ["Asked", "Detections", "detect_tile", "impacts_at", "reflectance_of"]

Slices = tuple[slice, slice]
"""Rows and columns of a grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What one tile gave; every grid has one pixel a cell, row 0 the northernmost."""

    probabilities: NDArray[np.float32]
    """(class, row, column); NaN where not observed or not judged."""
    looks: NDArray[np.uint16]
    """(row, column): median clear looks over the cell's own pixels; UNJUDGED where not judged."""
    observed: NDArray[np.bool_]
    """(row, column)."""
    found: Found
    """Cells above the threshold, north to south, west to east."""


def reflectance_of(composite: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Stored values as reflectance, NaN where there was no clear look. (band, y, x)."""
    reflectance = (composite.astype(np.float32) - np.float32(OFFSET_DN)) * np.float32(1e-4)
    reflectance[composite == 0] = np.nan
    return reflectance


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a scan asks of one tile."""

    tile: TileId
    """The tile."""
    lattice: Lattice
    """The detector's cells in the tile's zone."""
    cells: CellRange
    """The cells the tile owns; every grid here is over them."""
    judged: NDArray[np.bool_]
    """(row, column): the cells this scan answers for."""
    chunks: tuple[Chunk, ...]
    """Their cores together are the tile's cells."""

    def parts(self, reach_px: int) -> Iterator[tuple[Slices, Window]]:
        """Rows, columns and window to read of each chunk, shrunk to the box of its judged cells."""
        for chunk in self.chunks:
            rows, columns = chunk.cells.slices_in(self.cells)
            box = self.judged[rows, columns]
            if not box.any():
                continue
            ys, xs = (np.flatnonzero(box.any(axis=axis)).tolist() for axis in (1, 0))
            shrunk = chunk.cells.part(slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
            yield shrunk.slices_in(self.cells), shrunk.window(self.lattice).buffer(reach_px)


def detect_tile(
    asked: Asked, read: Reader, detector: "Detector", judge: "Judge | None", threshold: float
) -> Detections:
    """Score every judged cell of a tile; the result does not depend on how the chunks were cut.

    Args:
        asked: the tile's cells, those judged, and the chunks.
        read: gives composite and looks of any window.
        detector: scores cores with their halo.
        judge: gives impact probabilities of the pixels around a hit, or None.
        threshold: score above which a cell is a hit.
    """
    card = detector.card
    reach_px = core_reach_px(card, judge.card if judge else None)
    probabilities = np.full((len(card.classes), *asked.judged.shape), np.nan, np.float32)
    looks = np.full(asked.judged.shape, UNJUDGED, np.uint16)
    observed = np.zeros(asked.judged.shape, bool)
    found: list[Found] = []
    for (rows, columns), (wide, wide_clear) in read_ahead(list(asked.parts(reach_px)), read):
        composite, clear = (_inner(grid, reach_px - card.halo_px) for grid in (wide, wide_clear))
        here = asked.judged[rows, columns]
        looks[rows, columns] = np.where(here, median_looks(clear, card), UNJUDGED)
        if not composite.any():
            continue
        seen = observed_cells(composite, card) & here
        scores = detector.score_core(composite)
        probabilities[:, rows, columns] = np.where(seen, scores, np.nan)
        observed[rows, columns] = seen
        above = np.argwhere((scores[-1] > threshold) & here)
        y, x = above.T
        found.append(
            Found(
                rows=rows.start + y, columns=columns.start + x, scores=scores[-1, y, x],
                impacts=impacts_at(judge, wide, above * card.stride_px + reach_px, card.stride_px, card.bands),
                looks=looks[rows, columns][y, x], observed=seen[y, x],
            )
        )  # fmt: skip
    return Detections(probabilities=probabilities, looks=looks, observed=observed, found=Found.together(found))


def _inner(grid: NDArray[np.uint16], edge_px: int) -> NDArray[np.uint16]:
    """Without so many pixels on every side."""
    if not edge_px:
        return grid
    return np.ascontiguousarray(grid[..., edge_px:-edge_px, edge_px:-edge_px])


def impacts_at(
    judge: "Judge | None",
    composite: NDArray[np.uint16],
    corners: NDArray[np.int64],
    cell_px: int,
    bands: tuple[str, ...],
) -> NDArray[np.float32]:
    """(cell, class): the judge's probabilities from the pixels round the middle of each cell; no class without one.

    Args:
        judge: or None.
        composite: (band, y, x).
        corners: (cell, 2): row and column of each cell's north-western pixel in it.
        cell_px: their edge.
        bands: of the composite.
    """
    if judge is None:
        return np.zeros((len(corners), 0), np.float32)
    if not len(corners):
        return np.zeros((0, len(judge.card.classes)), np.float32)
    size = judge.card.window_px
    order = [bands.index(band) for band in judge.card.bands]
    first = corners + (cell_px - size) // 2
    return judge.score(np.stack([composite[:, y : y + size, x : x + size][order] for y, x in first.tolist()]))
