"""Labelled ground: images with a class a pixel, chips with a class each, and the cells that images are cut in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.networks.geometry import HALO_PX, STRIDE_PX, WINDOW_PX

__all__ = ["LEFT_OUT", "ChipSet", "DetectorSample", "cell_labels", "cells_fitting", "core_of"]

LEFT_OUT = -1
"""Label of a cell that is neither: some of it is target, but too little."""

RIM_PX = HALO_PX - (WINDOW_PX - STRIDE_PX) // 2
"""What the field reaches beyond the window: 13 px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSample:
    """An image and what is in it."""

    reflectance: NDArray[np.float32]
    """(band, y, x), NaN where missing."""
    labels: NDArray[np.integer]
    """(y, x) class codes, whole numbers."""
    group: str
    """What is held out together: a date, a place."""
    phase_px: tuple[int, int] = (0, 0)
    """(rows, columns) from pixel (0, 0) to the first edge of the zone's lattice, 0 to 26."""
    place: str = ""
    """Samples of one place and shape lie on each other pixel by pixel, and may be blended. Empty: never blended."""

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.reflectance.ndim != 3 or self.reflectance.shape[1:] != self.labels.shape:
            raise ValueError(f"sample {self.group!r}: reflectance {self.reflectance.shape}, labels {self.labels.shape}")
        if min(self.labels.shape) < WINDOW_PX + STRIDE_PX - 1:
            raise ValueError(
                f"sample {self.group!r} is {self.labels.shape} px, expected {WINDOW_PX + STRIDE_PX - 1} each way"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipSet:
    """Squares of ground with one class each, at their centre."""

    chips: NDArray[np.float32]
    """(n, band, edge, edge) reflectance, NaN where missing."""
    labels: NDArray[np.integer]
    """(n,) index into the classes."""
    groups: Sequence[str]
    """(n,) what is held out together."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if self.chips.ndim != 4 or not len(self.chips) == len(self.labels) == len(self.groups):
            raise ValueError(f"got chips {self.chips.shape}, {len(self.labels)} labels, {len(self.groups)} groups")


def cells_fitting(edge_px: int, phase_px: int = 0) -> int:
    """How many cells from that phase on have their whole 189 px window inside an edge."""
    return max(0, (edge_px - phase_px - WINDOW_PX) // STRIDE_PX + 1)


def core_of(image: NDArray[np.float32], start: tuple[int, int], cells: tuple[int, int]) -> NDArray[np.float32]:
    """(band, 27 r + 188, 27 c + 188): cells from the window that starts at `start`, with halo; NaN beyond the image.

    The rim of 13 px beyond a window may lie outside the image; a scan sees NaN there too.
    """
    shape = tuple(STRIDE_PX * count + 2 * HALO_PX for count in cells)
    core = np.full((len(image), *shape), np.nan, np.float32)
    from_px = [begin - RIM_PX for begin in start]
    inside = [
        slice(max(0, begin), min(edge, begin + size))
        for begin, edge, size in zip(from_px, image.shape[1:], shape, strict=True)
    ]
    into = [slice(part.start - begin, part.stop - begin) for part, begin in zip(inside, from_px, strict=True)]
    core[:, into[0], into[1]] = image[:, inside[0], inside[1]]
    return core


def cell_labels(target: NDArray[np.bool_], positive_share: float) -> NDArray[np.int64]:
    """(27 r, 27 c) target pixels -> (r, c): 1 from that share on, LEFT_OUT with some but less, else 0."""
    rows, columns = (edge // STRIDE_PX for edge in target.shape)
    share = target.reshape(rows, STRIDE_PX, columns, STRIDE_PX).mean(axis=(1, 3))
    return np.select([share >= positive_share, share > 0], [1, LEFT_OUT], 0).astype(np.int64)
