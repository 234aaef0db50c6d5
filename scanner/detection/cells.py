"""What the pixels of a chunk say of its cells: enough looks in the window, looks over the cell. Integers throughout."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models import ModelCard

__all__ = ["median_looks", "observed_cells"]

OBSERVED_TENTHS = 9
"""A cell is observed when at least nine tenths of its window has a look in every band."""


def observed_cells(composite: NDArray[np.uint16], card: ModelCard) -> NDArray[np.bool_]:
    """Per cell of the core: has nine tenths of its window a look in every band?

    Args:
        composite: (band, y, x), the core and the card's halo; 0 is no look.
        card: the detector's.
    """
    before = (card.window_px - card.stride_px) // 2
    tops, lefts = (
        np.arange(card.halo_px, size - card.halo_px, card.stride_px) - before for size in composite.shape[1:]
    )
    across = np.empty((composite.shape[1] + 1, len(lefts)), np.int64)
    _seen_across(composite, lefts, card.window_px, across)
    np.cumsum(across, axis=0, out=across)
    seen = across[tops + card.window_px] - across[tops]
    return np.asarray(10 * seen >= OBSERVED_TENTHS * card.window_px**2)


@njit(nogil=True, cache=True)
def _seen_across(
    composite: NDArray[np.uint16], lefts: NDArray[np.int64], width_px: int, across: NDArray[np.int64]
) -> None:
    """Pixels of each row, after an empty one, that have a look in every band, between each left edge and its right."""
    bands, rows, columns = composite.shape
    seen = np.empty(columns, np.uint8)
    before = np.zeros(columns + 1, np.int64)
    across[0] = 0
    for y in range(rows):
        seen[:] = 1
        for band in range(bands):
            for x in range(columns):
                seen[x] &= np.uint8(composite[band, y, x] != 0)
        for x in range(columns):
            before[x + 1] = before[x] + seen[x]
        for cell in range(lefts.shape[0]):
            across[y + 1, cell] = before[lefts[cell] + width_px] - before[lefts[cell]]


def median_looks(clear: NDArray[np.uint16], card: ModelCard) -> NDArray[np.uint16]:
    """Median of the clear looks (y, x) over each cell's own pixels, an even count rounded half up."""
    rows, columns = ((size - 2 * card.halo_px) // card.stride_px for size in clear.shape)
    medians = np.empty((rows, columns), np.uint16)
    _median_looks(clear, card.halo_px, card.stride_px, np.empty(int(clear.max()) + 1, np.int64), medians)
    return medians


@njit(nogil=True, cache=True)
def _median_looks(
    clear: NDArray[np.uint16], halo_px: int, stride_px: int, counts: NDArray[np.int64], medians: NDArray[np.uint16]
) -> None:
    """By counting: looks are few, so their counts are walked through sooner than their pixels are sorted."""
    middle = stride_px**2 // 2
    for row in range(medians.shape[0]):
        for column in range(medians.shape[1]):
            y0, x0 = halo_px + row * stride_px, halo_px + column * stride_px
            counts[:] = 0
            for y in range(y0, y0 + stride_px):
                for x in range(x0, x0 + stride_px):
                    counts[clear[y, x]] += 1
            high = 0
            below = counts[0]
            while below <= middle:
                high += 1
                below += counts[high]
            low = high
            # Of an even count the lower middle value may be a smaller one.
            if stride_px % 2 == 0 and below - counts[high] == middle:
                low -= 1
                while counts[low] == 0:
                    low -= 1
            medians[row, column] = (low + high + 1) // 2
