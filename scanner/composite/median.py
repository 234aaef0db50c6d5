"""The masked median of a stack of looks. Integers throughout.

A stack is uint16 (look, row, column) of stored values, 0 where a look has nothing. The median runs a sorting network
(Batcher's odd-even merge sort, 1968) over strips of one row, so that the inner loop is a vector minimum and maximum.
Kernels release the GIL and are not parallel: the worker threads around them are.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.states import COVERED, SELECTED, bounds, repeat

__all__ = ["Masked", "masked_median", "selected_median"]

LANES = 128
"""Pixels sorted at once: with a hundred looks the scratch still fits the first two caches."""


@lru_cache(maxsize=64)
def sorting_network(n: int) -> NDArray[np.int32]:
    """Pairs (low, high) of a network that sorts n values: Batcher's for the next power of two, cut at n.

    Every comparator puts the smaller value at the lower index, so infinite values beyond n would stay where they are.
    """
    size = 1 << max(n - 1, 0).bit_length()
    pairs: list[tuple[int, int]] = []
    merge = 1
    while merge < size:
        step = merge
        while step >= 1:
            for start in range(step % merge, size - step, 2 * step):
                pairs += [
                    (low, low + step)
                    for low in range(start, start + min(step, size - start - step))
                    if low // (2 * merge) == (low + step) // (2 * merge) and low + step < n
                ]
            step //= 2
        merge *= 2
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


def masked_median(stack: NDArray[np.uint16], median: NDArray[np.uint16], count: NDArray[np.uint16]) -> None:
    """Median of the values that are not 0, per pixel; of an even count the mean of the middle two, half rounded up.

    Args:
        stack: (look, row, column), 0 = no value.
        median: (row, column), overwritten; 0 where there is no value.
        count: (row, column), overwritten with the number of values.
    """
    if stack.shape[0] == 0:
        median[...] = 0
        count[...] = 0
        return
    _median(stack, sorting_network(stack.shape[0]), median, count)


def selected_median(
    stack: NDArray[np.uint16], masks: "Masked", median: NDArray[np.uint16], count: NDArray[np.uint16]
) -> bool:
    """`masked_median` of DN as files hold them, of which the masks say what counts: the stack is gone through once.

    Args:
        stack: (look, row, column) DN.
        masks: what becomes of them.
        median: (row, column), overwritten; 0 where there is no value.
        count: (row, column), overwritten with the number of values.

    Returns:
        Whether in a checked look a pixel was selected in vain, or has a value where the mask knew of none: then the
        selection is wrong, and so is the median.
    """
    return bool(
        _selected_median(
            stack, masks.states, masks.at, masks.codings, sorting_network(stack.shape[0]), median, count
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Masked:
    """What the masks say of a stack of DN."""

    states: NDArray[np.uint8]
    """(look, row, column) of the mask; only what is selected counts."""
    at: tuple[int, int, int]
    """Row and column of the first pixel in the mask, counted in pixels, and pixels per mask pixel."""
    codings: NDArray[np.int64]
    """(look, 3): the DN that is no value; stored value minus DN; whether the selection is held against the values."""


@njit(nogil=True, cache=True)
def _median(
    stack: NDArray[np.uint16], pairs: NDArray[np.int32], median: NDArray[np.uint16], count: NDArray[np.uint16]
) -> None:
    looks, rows, cols = stack.shape
    lanes = np.empty((looks, LANES), np.uint16)
    valid = np.empty(LANES, np.uint16)
    one = np.uint16(1)
    for y in range(rows):
        for x0 in range(0, cols, LANES):
            width = min(LANES, cols - x0)
            valid[:] = 0
            for k in range(looks):
                source = stack[k, y, x0 : x0 + width]
                lane = lanes[k]
                for x in range(width):
                    # 0 wraps to 65535 and sorts last; numba computes in 64 bits unless it is cast back at once.
                    lane[x] = np.uint16(source[x] - one)
                    valid[x] = np.uint16(valid[x] + np.uint16(source[x] != 0))
            for pair in range(pairs.shape[0]):
                low, high = lanes[pairs[pair, 0]], lanes[pairs[pair, 1]]
                for x in range(LANES):
                    a, b = low[x], high[x]
                    low[x] = min(a, b)
                    high[x] = max(a, b)
            _middle(lanes, valid, median[y, x0 : x0 + width], count[y, x0 : x0 + width])


@njit(nogil=True, cache=True)
def _middle(
    lanes: NDArray[np.uint16], valid: NDArray[np.uint16], median: NDArray[np.uint16], count: NDArray[np.uint16]
) -> None:
    """The middle of the first `valid` of each pixel's values, which are sorted and one less than they should be."""
    for x in range(median.shape[0]):
        n = np.int64(valid[x])
        count[x] = valid[x]
        if n == 0:
            median[x] = 0
        else:
            total = np.uint32(lanes[(n - 1) >> 1, x]) + np.uint32(lanes[n >> 1, x]) + np.uint32(1)
            median[x] = np.uint16((total >> np.uint32(1)) + np.uint32(1))


@njit(nogil=True, cache=True)
def _selected_median(  # noqa: C901, PLR0913, PLR0917  a kernel takes plain arrays and its loops are plain
    stack: NDArray[np.uint16], states: NDArray[np.uint8], at: tuple[int, int, int], codings: NDArray[np.int64],
    pairs: NDArray[np.int32], median: NDArray[np.uint16], count: NDArray[np.uint16],
) -> bool:  # fmt: skip
    """The sorting stands here a second time: to hand slices over to a function costs as much as to go through them."""
    looks, rows, cols = stack.shape
    lanes = np.empty((looks, LANES), np.uint16)
    valid, wrong = np.empty(LANES, np.uint16), np.zeros(LANES, np.uint16)
    under = np.empty((looks, cols), np.uint8)
    ones, none, one = np.uint16(65535), np.uint16(0), np.uint16(1)
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            for k in range(looks):
                repeat(states[k, (at[0] + y) // at[2]], at[1], at[2], under[k])
        for x0 in range(0, cols, LANES):
            width = min(LANES, cols - x0)
            valid[:] = 0
            for k in range(looks):
                absent, step, least, most = bounds(codings[k, 0], codings[k, 1])
                less = np.uint16(step - one)
                source, bits, lane = stack[k, y, x0 : x0 + width], under[k, x0 : x0 + width], lanes[k]
                for x in range(width):
                    # What is selected and has data as its stored value less one, else 65535, which sorts last.
                    stored = np.uint16(min(max(source[x], least), most) + less)
                    use = ones if (bits[x] & SELECTED) and source[x] != absent else none
                    lane[x] = np.uint16(stored | ~use)
                    valid[x] = np.uint16(valid[x] - use)
                if codings[k, 2]:
                    for x in range(width):
                        has = ones if source[x] != absent else none
                        knows = ones if bits[x] & COVERED else none
                        takes = ones if bits[x] & SELECTED else none
                        wrong[x] = np.uint16(wrong[x] | ((has ^ knows) & takes))
            for pair in range(pairs.shape[0]):
                low, high = lanes[pairs[pair, 0]], lanes[pairs[pair, 1]]
                for x in range(LANES):
                    a, b = low[x], high[x]
                    low[x] = min(a, b)
                    high[x] = max(a, b)
            _middle(lanes, valid, median[y, x0 : x0 + width], count[y, x0 : x0 + width])
    return bool(wrong.any())
