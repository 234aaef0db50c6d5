"""Reflectance in, probabilities, coverage and hits out: one tile, chunk by chunk."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import Detector, Judge, ModelCard
from scanner.detection.cells import median_looks, observed_cells
from scanner.types import OFFSET_DN
from tiling import CellRange, Chunk, Lattice, TileId, Window

__all__ = ["UNJUDGED", "Asked", "Detections", "Found", "Reader", "detect_tile", "reflectance_of"]

UNJUDGED = 65535
"""Value of the coverage grid outside the area of interest or the zone."""

Slices = tuple[slice, slice]
"""Rows and columns of a grid."""

Stored = tuple[NDArray[np.uint16], NDArray[np.uint16]]
"""Composite (band, y, x) and clear looks (y, x)."""

Reader = Callable[[Window], Stored]
"""A window of zone pixels in; composite (band, y, x) and clear looks (y, x) out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One cell whose score is above the threshold."""

    row: int
    """Row in the tile's grid, 0 the northernmost."""
    column: int
    """Column in the tile's grid."""
    score: float
    """Probability of the target class."""
    impact: tuple[float, ...]
    """Probabilities of the judge's classes; empty without a judge."""
    observed: bool
    """False where too little of the cell's window was seen for the score to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What one tile gave; every grid has one pixel a cell, row 0 the northernmost."""

    probabilities: NDArray[np.float32]
    """(class, row, column); NaN where not observed or not judged."""
    looks: NDArray[np.uint16]
    """(row, column): median clear looks over the cell's own pixels; UNJUDGED where not judged."""
    observed: NDArray[np.bool_]
    """(row, column)."""
    found: tuple[Found, ...]
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

    def parts(self, halo_px: int) -> Iterator[tuple[Slices, Window]]:
        """Rows, columns and window to read of each chunk, shrunk to the box of its judged cells."""
        for chunk in self.chunks:
            rows, columns = chunk.cells.slices_in(self.cells)
            box = self.judged[rows, columns]
            if not box.any():
                continue
            ys, xs = np.flatnonzero(box.any(axis=1)).tolist(), np.flatnonzero(box.any(axis=0)).tolist()
            shrunk = CellRange(
                column0=chunk.cells.column0 + xs[0], column1=chunk.cells.column0 + xs[-1] + 1,
                row0=chunk.cells.row1 - ys[-1] - 1, row1=chunk.cells.row1 - ys[0],
            )  # fmt: skip
            yield shrunk.slices_in(self.cells), shrunk.window(self.lattice).buffer(halo_px)


def detect_tile(asked: Asked, read: Reader, detector: Detector, judge: Judge | None, threshold: float) -> Detections:
    """Score every judged cell of a tile; the result does not depend on how the chunks were cut.

    Args:
        asked: the tile's cells, those judged, and the chunks.
        read: gives composite and looks of any window.
        detector: scores cores with their halo.
        judge: gives impact probabilities of the pixels around a hit, or None.
        threshold: score above which a cell is a hit.
    """
    card = detector.card
    probabilities = np.full((len(card.classes), *asked.judged.shape), np.nan, np.float32)
    looks = np.full(asked.judged.shape, UNJUDGED, np.uint16)
    observed = np.zeros(asked.judged.shape, bool)
    found: list[Found] = []
    for (rows, columns), (composite, clear) in _read_ahead(list(asked.parts(card.halo_px)), read):
        here = asked.judged[rows, columns]
        looks[rows, columns] = np.where(here, median_looks(clear, card), UNJUDGED)
        if not composite.any():
            continue
        seen = observed_cells(composite, card) & here
        scores = detector.score_core(composite)
        probabilities[:, rows, columns] = np.where(seen, scores, np.nan)
        observed[rows, columns] = seen
        above = np.argwhere((scores[-1] > threshold) & here)
        impacts = _impacts(judge, composite, above, card)
        found += [
            Found(
                row=rows.start + row, column=columns.start + column, score=float(scores[-1, row, column]),
                impact=impact, observed=bool(seen[row, column]),
            )
            for (row, column), impact in zip(above.tolist(), impacts, strict=True)
        ]  # fmt: skip
    found.sort(key=lambda item: (item.row, item.column))
    return Detections(probabilities=probabilities, looks=looks, observed=observed, found=tuple(found))


def _read_ahead(parts: Sequence[tuple[Slices, Window]], read: Reader) -> Iterator[tuple[Slices, Stored]]:
    """Each part with its pixels, the next one's being read meanwhile: two are held at most."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = [pool.submit(read, window) for _, window in parts[:1]]
        for number, (place, _) in enumerate(parts):
            pixels = coming.pop().result()
            coming += [pool.submit(read, window) for _, window in parts[number + 1 : number + 2]]
            yield place, pixels


def _impacts(
    judge: Judge | None, composite: NDArray[np.uint16], above: NDArray[np.int64], card: ModelCard
) -> list[tuple[float, ...]]:
    """Judge probabilities of each hit from the pixels around its cell's centre."""
    if judge is None or not len(above):
        return [()] * len(above)
    size = judge.card.window_px
    order = [card.bands.index(band) for band in judge.card.bands]
    corners = above * card.stride_px + card.halo_px + (card.stride_px - size) // 2
    chips = np.stack([composite[:, y : y + size, x : x + size][order] for y, x in corners.tolist()])
    return [tuple(float(value) for value in row) for row in judge.score(chips)]
