"""Labelled ground cut into blocks of a detector's cells, and what a block gives: units to compare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import ModelCard
from models.units import UNLABELLED, Shares, cell_classes, majority, near_edges
from scanner.detection.cells import observed_cells
from scanner.detection.pixels import seen_in
from scanner.run.labels import Labels
from tiling import CellRange, Lattice, Window

__all__ = ["Block", "Rules", "Truth", "blocks_of", "observed", "remembered", "truth_of"]

POINT = Shares(target=1e-9, labelled=1e-9)
"""A point speaks for the cell that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How labels of pixels become labels of what the model answers for."""

    card: ModelCard
    """The detector's."""
    shares: Shares
    """When a cell has a class."""
    relax_px: int
    """Output pixels from a class edge that are in doubt; 0 doubts none."""

    @property
    def unit_px(self) -> int:
        """Output pixels along the edge of a unit."""
        return self.card.stride_px if self.card.output == "cells" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Ground with labels in it: whole strides of the lattice, so that a scan's cells come out."""

    zone: int
    """EPSG code of the UTM zone."""
    core: Window
    """Zone pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The labels of a block's units, (rows, columns)."""

    classes: NDArray[np.int16]
    """UNLABELLED where nobody said, or where too little of a cell is the target's."""
    left_out: NDArray[np.bool_]
    """Cells with some of the target, but too little."""
    doubtful: NDArray[np.bool_]
    """Pixels near a class edge."""
    regions: NDArray[np.int32]
    """Region of each unit; below zero for none."""


def blocks_of(labels: Labels, card: ModelCard, edge_px: int) -> Iterator[Block]:
    """Blocks of at most so many pixels each way, each shrunk to what is labelled in it; by zone, south to north.

    They are cut from the labels' own corner, so that a small raster is one: each costs a composite.
    """
    step = max(1, edge_px // card.stride_px)
    zones: dict[int, list[CellRange]] = {}
    for zone, window in labels.places():
        zones.setdefault(zone, []).append(Lattice(zone=zone, stride_px=card.stride_px).covering(window))
    for zone, ranges in sorted(zones.items()):
        lattice = Lattice(zone=zone, stride_px=card.stride_px)
        for block in _cut(ranges, step):
            shrunk = _shrunk(labels, lattice, block)
            if shrunk is not None:
                yield Block(zone=zone, core=shrunk)


def _cut(ranges: Sequence[CellRange], step: int) -> Iterator[CellRange]:
    """Squares of so many cells that the ranges meet, each once."""
    south, west = min(cells.row0 for cells in ranges), min(cells.column0 for cells in ranges)
    wanted = {
        (row, column)
        for cells in ranges
        for row in range((cells.row0 - south) // step, (cells.row1 - 1 - south) // step + 1)
        for column in range((cells.column0 - west) // step, (cells.column1 - 1 - west) // step + 1)
    }
    for row, column in sorted(wanted):
        row0, column0 = south + row * step, west + column * step
        yield CellRange(row0=row0, row1=row0 + step, column0=column0, column1=column0 + step)


def _shrunk(labels: Labels, lattice: Lattice, block: CellRange) -> Window | None:
    window, stride = block.window(lattice), lattice.stride_px
    classes, _ = labels.read(lattice.zone, window, 1)
    rows, columns = block.shape
    cells = (classes != UNLABELLED).reshape(rows, stride, columns, stride).any(axis=(1, 3))
    if not cells.any():
        return None
    ys, xs = np.flatnonzero(cells.any(axis=1)).tolist(), np.flatnonzero(cells.any(axis=0)).tolist()
    return Window(
        x0=window.x0 + xs[0] * stride, y0=window.y0 + ys[0] * stride,
        x1=window.x0 + (xs[-1] + 1) * stride, y1=window.y0 + (ys[-1] + 1) * stride,
    )  # fmt: skip


def truth_of(labels: Labels, block: Block, rules: Rules) -> Truth:
    """The labels of a block's units."""
    pixels, regions, doubtful = _pixels(labels, block, rules)
    size, count = rules.unit_px, len(rules.card.classes)
    if size == 1:
        return Truth(classes=pixels, left_out=np.zeros(pixels.shape, bool), doubtful=doubtful, regions=regions)
    classes, left_out = cell_classes(pixels, size, count, POINT if labels.points else rules.shares)
    rows, columns = classes.shape
    return Truth(
        classes=np.where(left_out, np.int16(UNLABELLED), classes), left_out=left_out,
        doubtful=np.zeros(classes.shape, bool),
        regions=regions.reshape(rows, size, columns, size).max(axis=(1, 3)),
    )  # fmt: skip


def _pixels(
    labels: Labels, block: Block, rules: Rules
) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.bool_]]:
    """Class, region and doubt of the block's output pixels; edges are looked for beyond it."""
    finer = rules.card.finer
    rim = -(-rules.relax_px // finer)
    outer = block.core.buffer(rim)
    inside = block.core.times(finer).slices_in(outer.times(finer))
    classes, regions = labels.read(block.zone, outer, finer)
    doubtful = near_edges(classes, rules.relax_px) if rules.relax_px else np.zeros(classes.shape, bool)
    return classes[inside], regions[inside], doubtful[inside]


def remembered(sources: Sequence[Labels], block: Block, rules: Rules) -> NDArray[np.int16] | None:
    """What most of the sources say of each unit; None without any.

    A cell with too little of the target is one without it: memory has an answer for each cell it has seen.
    """
    votes = []
    for labels in sources:
        pixels, _, _ = _pixels(labels, block, rules)
        shares = POINT if labels.points else rules.shares
        size, count = rules.unit_px, len(rules.card.classes)
        votes.append(pixels if size == 1 else cell_classes(pixels, size, count, shares)[0])
    return majority(votes, len(rules.card.classes)) if votes else None


def observed(stored: NDArray[np.uint16], card: ModelCard) -> NDArray[np.bool_]:
    """Which units of a core with halo a scan would call seen: enough of a cell's window, a pixel in every band."""
    if card.output == "cells":
        return observed_cells(stored, card)
    halo = slice(card.halo_px, -card.halo_px or None)
    seen = seen_in(stored[:, halo, halo])
    return seen.repeat(card.finer, axis=0).repeat(card.finer, axis=1)
