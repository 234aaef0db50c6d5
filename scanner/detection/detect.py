"""Reflectance in, probabilities, coverage and hits out: one tile, chunk by chunk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import Detector, Judge
from scanner.types import OFFSET_DN
from tiling import CellRange, Chunk, Lattice, Window

__all__ = ["UNJUDGED", "Detections", "Found", "Reader", "detect_tile", "reflectance_of"]

UNJUDGED = 65535
"""Value of the coverage grid outside the area of interest or the zone."""

OBSERVED_TENTHS = 9
"""A cell is observed when at least nine tenths of its window has a look in every band."""

Reader = Callable[[Window], tuple[NDArray[np.uint16], NDArray[np.uint16]]]
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


def detect_tile(
    chunks: tuple[Chunk, ...],
    judged: NDArray[np.bool_],
    read: Reader,
    detector: Detector,
    judge: Judge | None,
    threshold: float,
) -> Detections:
    """Score every judged cell of a tile; the result does not depend on how the chunks were cut.

    Args:
        chunks: the tile's chunks; together their cores are its whole range of cells.
        judged: (row, column) over that range: the cells this scan answers for.
        read: gives composite and looks of any window.
        detector: scores cores with their halo.
        judge: gives impact probabilities of 21 x 21 px chips, or None.
        threshold: score above which a cell is a hit.
    """
    card = detector.card
    probabilities = np.full((len(card.classes), *judged.shape), np.nan, np.float32)
    looks = np.full(judged.shape, UNJUDGED, np.uint16)
    observed = np.zeros(judged.shape, bool)
    found: list[Found] = []
    for part in _parts(chunks, judged, Lattice(zone=chunks[0].cells.zone, stride_px=card.stride_px), card.halo_px):
        composite, clear = read(part.read)
        reflectance = reflectance_of(composite)
        here = judged[part.rows, part.columns]
        seen = _observed(composite, card.window_px, card.stride_px, card.halo_px) & here
        scores = detector.score_core(reflectance)
        probabilities[:, part.rows, part.columns] = np.where(seen, scores, np.nan)
        looks[part.rows, part.columns] = np.where(here, _median_looks(clear, card.stride_px, card.halo_px), UNJUDGED)
        observed[part.rows, part.columns] = seen
        above = np.argwhere((scores[-1] > threshold) & here)
        impacts = _impacts(judge, reflectance, above, card.stride_px, card.halo_px)
        for (row, column), impact in zip(above.tolist(), impacts, strict=True):
            found.append(
                Found(
                    row=part.rows.start + row, column=part.columns.start + column, score=float(scores[-1, row, column]),
                    impact=impact, observed=bool(seen[row, column]),
                )
            )  # fmt: skip
    found.sort(key=lambda item: (item.row, item.column))
    return Detections(probabilities=probabilities, looks=looks, observed=observed, found=tuple(found))


@dataclass(frozen=True, slots=True)
class _Part:
    """The judged cells of one chunk, boxed, with the halo to read."""

    rows: slice
    columns: slice
    read: Window


def _parts(chunks: tuple[Chunk, ...], judged: NDArray[np.bool_], lattice: Lattice, halo_px: int) -> Iterator[_Part]:
    """Skip what nobody asked about: each chunk shrinks to the box of its judged cells."""
    top = max(chunk.cells.row1 for chunk in chunks)
    left = min(chunk.cells.column0 for chunk in chunks)
    for chunk in chunks:
        row0, column0 = top - chunk.cells.row1, chunk.cells.column0 - left
        rows, columns = chunk.cells.shape
        box = judged[row0 : row0 + rows, column0 : column0 + columns]
        if not box.any():
            continue
        ys, xs = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        y0, y1, x0, x1 = int(ys[0]) + row0, int(ys[-1]) + row0 + 1, int(xs[0]) + column0, int(xs[-1]) + column0 + 1
        cells = CellRange(
            zone=lattice.zone, stride_px=lattice.stride_px,
            column0=left + x0, column1=left + x1, row0=top - y1, row1=top - y0,
        )  # fmt: skip
        yield _Part(slice(y0, y1), slice(x0, x1), cells.window(lattice).buffer(halo_px))


def _observed(composite: NDArray[np.uint16], window_px: int, stride_px: int, halo_px: int) -> NDArray[np.bool_]:
    """Per cell of the core: has nine tenths of its window a look in every band? Integers throughout."""
    valid = (composite != 0).all(axis=0)
    total = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(valid, axis=0, dtype=np.int64), axis=1, out=total[1:, 1:])
    before = (window_px - stride_px) // 2
    starts = [np.arange(halo_px, size - halo_px, stride_px) - before for size in valid.shape]
    (y0, x0), (y1, x1) = starts, (start + window_px for start in starts)
    seen = total[np.ix_(y1, x1)] - total[np.ix_(y0, x1)] - total[np.ix_(y1, x0)] + total[np.ix_(y0, x0)]
    return np.asarray(10 * seen >= OBSERVED_TENTHS * window_px**2)


def _median_looks(clear: NDArray[np.uint16], stride_px: int, halo_px: int) -> NDArray[np.uint16]:
    """Median of the clear looks over each cell's own pixels, an even count rounded half up."""
    core = clear[halo_px : clear.shape[0] - halo_px, halo_px : clear.shape[1] - halo_px]
    rows, columns = core.shape[0] // stride_px, core.shape[1] // stride_px
    cells = core.reshape(rows, stride_px, columns, stride_px).swapaxes(1, 2).reshape(rows, columns, stride_px**2)
    middle = stride_px**2 // 2
    low = middle if stride_px % 2 else middle - 1
    parted = np.partition(cells, (low, middle), axis=2).astype(np.uint32)
    return ((parted[:, :, low] + parted[:, :, middle] + 1) // 2).astype(np.uint16)


def _impacts(
    judge: Judge | None, reflectance: NDArray[np.float32], above: NDArray[np.int64], stride_px: int, halo_px: int
) -> list[tuple[float, ...]]:
    """Judge probabilities of each hit from the pixels around its cell's centre."""
    if judge is None or not len(above):
        return [()] * len(above)
    size = judge.card.window_px
    corners = above * stride_px + halo_px + (stride_px - size) // 2
    chips = np.stack([reflectance[:, y : y + size, x : x + size] for y, x in corners.tolist()])
    return [tuple(float(value) for value in row) for row in judge.score(chips)]
