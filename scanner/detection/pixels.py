"""One tile of a segmenter, chunk by chunk: nothing is held of the whole tile but its hits.

A tile has 85 million pixels, so each chunk's grids are handed on as soon as they are known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models import ModelCard
from scanner.detection.detect import impacts_at
from scanner.detection.found import UNJUDGED, Found, Reader, Stored, read_ahead
from scanner.detection.reach import JUDGED_PX, core_reach_px
from tiling import CellRange, Chunk, Ground, Lattice, TileId, Window, chunks

if TYPE_CHECKING:
    from models import Detector, Judge

__all__ = ["AskedPixels", "Part", "detect_pixels", "held_nbytes_per_px", "seen_in"]

AREA_ROWS = 64
"""Rows whose areas are computed at once: float64, several times."""

SQUARE_PX = 512
"""Of the squares that grids are made of: a tile has 18 by 18, and a village needs one."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPixels:
    """What a scan asks of one tile."""

    tile: TileId
    """The tile."""
    card: ModelCard
    """The segmenter's."""
    ground: Ground
    """What of the tile the scan answers for."""
    chunk_px: int
    """Edge of a chunk's core."""

    @property
    def lattice(self) -> Lattice:
        """Of output pixels."""
        return Lattice(zone=self.tile.zone, stride_px=1, finer=self.card.finer)

    @property
    def pixels(self) -> Lattice:
        """Of input pixels."""
        return Lattice(zone=self.tile.zone, stride_px=1)

    @property
    def steps(self) -> Lattice:
        """Of patches or poolings: cores are whole squares of it, wherever the tile ends."""
        return Lattice(zone=self.tile.zone, stride_px=self.card.stride_px)

    @property
    def cells(self) -> CellRange:
        """The output pixels of the tile."""
        return self.lattice.covering(self.tile.window)

    @property
    def frame(self) -> Window:
        """The pixels that grids are written of: squares of SQUARE_PX, from the tile's corner, round all judged ones."""
        own = self.tile.window
        within = self.ground.bounds and self.ground.bounds.intersect(own)
        if not within:
            return Window(x0=own.x0, y0=own.y0, x1=own.x0 + SQUARE_PX, y1=own.y0 + SQUARE_PX)
        inner = Window(x0=within.x0 - own.x0, y0=within.y0 - own.y0, x1=within.x1 - own.x0, y1=within.y1 - own.y0)
        squares = inner.at(SQUARE_PX).times(SQUARE_PX)
        x0, y0, x1, y1 = squares.x0 + own.x0, squares.y0 + own.y0, squares.x1 + own.x0, squares.y1 + own.y0
        return Window(x0=x0, y0=y0, x1=x1, y1=y1)

    def parts(self, reach_px: int) -> Iterator[tuple["_Place", Window]]:
        """Core, own pixels and window to read of each chunk, shrunk to the box of its judged pixels."""
        for chunk in self._chunks():
            own = chunk.core.intersect(self.frame)
            box = own and self._box(own)
            if box:
                core = self.steps.covering(box).window(self.steps)
                read = core.buffer(reach_px)
                yield _Place(core=core, own=box, read=read), read

    def _chunks(self) -> tuple[Chunk, ...]:
        return chunks(
            self.steps, self.steps.covering(self.tile.window), chunk_px=self.chunk_px, halo_px=self.card.halo_px
        )

    def _box(self, own: Window) -> Window | None:
        judged = self.ground.judged(self.pixels, self.pixels.covering(own))
        ys, xs = (np.flatnonzero(judged.any(axis=axis)).tolist() for axis in (1, 0))
        if not ys:
            return None
        return Window(x0=own.x0 + xs[0], x1=own.x0 + xs[-1] + 1, y0=own.y0 + ys[0], y1=own.y0 + ys[-1] + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    core: Window
    """What the network is given, less its halo: whole squares of its lattice."""
    own: Window
    """The pixels of it that are asked about."""
    read: Window
    """Core and reach."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What one chunk gave."""

    window: Window
    """Input pixels that it speaks of."""
    probabilities: NDArray[np.float32] | None
    """(class, row, column) of output pixels, NaN where not observed or not judged; None where nothing was seen."""
    looks: NDArray[np.uint16]
    """(row, column) of input pixels: clear looks; UNJUDGED where not judged."""
    stats: Mapping[str, float]
    """Output pixels judged and observed (`cells`, `observed_cells`), and their ground (`judged_km2`, `seen_km2`)."""
    found: Found
    """Output pixels above the threshold."""


def held_nbytes_per_px(card: ModelCard) -> int:
    """Bytes that a part takes for each pixel of its core beside what scoring takes.

    The next chunk is read ahead (its values, its looks twice); of each output pixel the scores and the copy that is
    written, and whether it is judged, observed, above; of each input pixel its looks, and areas some rows at a time.
    """
    return 2 * len(card.bands) + 4 + card.finer**2 * (2 * 4 * len(card.classes) + 4) + 8


def seen_in(composite: NDArray[np.uint16]) -> Bools:
    """(y, x): has the pixel a look in every band? For segmenters that is being observed."""
    seen = np.asarray(composite[0] != 0)
    for band in composite[1:]:
        seen &= band != 0
    return seen


def detect_pixels(
    asked: AskedPixels, read: Reader, detector: "Detector", judge: "Judge | None", threshold: float
) -> Iterator[Part]:
    """Score every judged pixel of a tile; what a pixel is given does not depend on how the chunks were cut.

    Args:
        asked: the tile, what of it is judged, and how it is cut.
        read: gives composite and looks of any window.
        detector: a segmenter.
        judge: gives impact probabilities of the ground around a hit, or None.
        threshold: score above which a pixel is a hit. What was not observed has no score.
    """
    reach_px = core_reach_px(detector.card, judge.card if judge else None)
    for place, stored in read_ahead(list(asked.parts(reach_px)), read):
        yield _part(asked, place, stored, detector, judge, threshold)


def _part(
    asked: AskedPixels, place: _Place, stored: Stored, detector: "Detector", judge: "Judge | None", threshold: float
) -> Part:
    composite, clear = stored
    rows, columns = place.own.slices_in(place.read)
    judged = asked.ground.judged(asked.lattice, asked.lattice.covering(place.own))
    here = _coarser(judged, asked.card.finer)
    seen = seen_in(composite[:, rows, columns]) & here
    cells = int(judged.sum())
    judged &= _finer(seen, asked.card.finer)
    probabilities, found = None, Found.together([])
    if seen.any():
        probabilities = _scores(place, composite, detector)
        for layer in probabilities:
            np.copyto(layer, np.nan, where=~judged)
        y, x = np.nonzero(probabilities[-1] > threshold)
        top, left = (part.start for part in asked.lattice.covering(place.own).slices_in(asked.cells))
        pixels = np.column_stack([y, x]) // asked.card.finer
        found = Found(
            rows=top + y, columns=left + x, scores=probabilities[-1, y, x],
            impacts=_impacts(asked, place, composite, pixels, judge),
            looks=clear[rows, columns][pixels[:, 0], pixels[:, 1]], observed=np.ones(len(y), bool),
        )  # fmt: skip
    return Part(
        window=place.own, probabilities=probabilities, found=found,
        looks=np.where(here, clear[rows, columns], UNJUDGED).astype(np.uint16),
        stats={
            "cells": cells, "observed_cells": int(judged.sum()),
            "judged_km2": _km2(asked, place.own, here), "seen_km2": _km2(asked, place.own, seen),
        },
    )  # fmt: skip


def _scores(place: _Place, composite: NDArray[np.uint16], detector: "Detector") -> NDArray[np.float32]:
    """(class, row, column) of the place's own pixels."""
    card = detector.card
    rows, columns = place.core.buffer(card.halo_px).slices_in(place.read)
    scores = detector.score_core(np.ascontiguousarray(composite[:, rows, columns]))
    top, left = (slice(part.start * card.finer, part.stop * card.finer) for part in place.own.slices_in(place.core))
    return scores[:, top, left]


def _impacts(
    asked: AskedPixels, place: _Place, composite: NDArray[np.uint16], pixels: NDArray[np.int64], judge: "Judge | None"
) -> NDArray[np.float32]:
    """(hit, class): pixels (row, column of `own`) of one cell of JUDGED_PX share what its middle's chip says."""
    anchor_y = asked.lattice.anchor_y
    ground = pixels + np.array([place.own.y0 - anchor_y, place.own.x0])
    corners, which = np.unique(ground // JUDGED_PX * JUDGED_PX, axis=0, return_inverse=True)
    inside = corners + np.array([anchor_y - place.read.y0, -place.read.x0])
    return impacts_at(judge, composite, inside, JUDGED_PX, asked.card.bands)[which]


def _km2(asked: AskedPixels, window: Window, mask: Bools) -> float:
    total = 0.0
    for top in range(0, window.height_px, AREA_ROWS):
        rows = slice(top, min(top + AREA_ROWS, window.height_px))
        cells = asked.pixels.covering(window).part(rows, slice(0, window.width_px))
        total += float(asked.ground.areas(asked.pixels, cells, mask[rows]).sum())
    return total


def _coarser(mask: Bools, finer: int) -> Bools:
    """Input pixels of which any part is marked."""
    if finer == 1:
        return mask
    height, width = (size // finer for size in mask.shape)
    return np.asarray(mask.reshape(height, finer, width, finer).any(axis=(1, 3)))


def _finer(mask: Bools, finer: int) -> Bools:
    """Every part of the input pixels that are marked."""
    return mask if finer == 1 else mask.repeat(finer, axis=0).repeat(finer, axis=1)
