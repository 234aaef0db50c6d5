"""The masked median of a stack of looks, and the kernels that fill the stack. Integers throughout.

A stack is uint16 (look, row, column) of stored values, 0 where a look has nothing. The median runs a sorting network
(Batcher's odd-even merge sort, 1968) over strips of one row, so that the inner loop is a vector minimum and maximum.
Kernels release the GIL and are not parallel: the worker threads around them are.
"""

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["CLEAR", "CLOUD", "COVERED", "masked_median", "open_look", "put_first", "put_limited", "put_more", "wants"]

COVERED, CLEAR, CLOUD = 1, 2, 4
"""Bits of a granule's state at a mask pixel: it has data; it is usable; the mask calls it cloud (not shadow)."""

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
            for x in range(width):
                n = np.int64(valid[x])
                count[y, x0 + x] = valid[x]
                if n == 0:
                    median[y, x0 + x] = 0
                else:
                    total = np.uint32(lanes[(n - 1) >> 1, x]) + np.uint32(lanes[n >> 1, x]) + np.uint32(1)
                    median[y, x0 + x] = np.uint16((total >> np.uint32(1)) + np.uint32(1))


@njit(nogil=True, cache=True)
def _spread(state: NDArray[np.uint8], row: int, column: int, factor: int, out: NDArray[np.uint8]) -> None:
    """One row of mask pixels, each `factor` times, from pixel (row, column) on; no division in the loop."""
    source = state[row // factor]
    place, within = column // factor, column % factor
    for x in range(out.shape[0]):
        out[x] = source[place]
        within += 1
        if within == factor:
            within = 0
            place += 1


@njit(nogil=True, cache=True)
def put_first(
    dn: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int], nodata: int, shift: int,
    out: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Set `out` to the stored value where the granule is clear and has data, else 0.

    Args:
        dn: (row, column).
        state: the granule's mask.
        at: row and column of dn's first pixel in the mask, counted in dn's pixels, and dn pixels per mask pixel.
        nodata: DN that is no value.
        shift: stored value minus DN.
        out: (row, column).
    """
    rows, cols = dn.shape
    mask = np.empty(cols, np.uint8)
    absent, step, top, low = np.int32(nodata), np.int32(shift), np.int32(65535), np.int32(1)
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            _spread(state, at[0] + y, at[1], at[2], mask)
        source, target = dn[y], out[y]
        for x in range(cols):
            value = np.int32(source[x])
            stored = np.int32(min(max(np.int32(value + step), low), top))
            usable = (mask[x] & np.uint8(CLEAR)) != 0 and value != absent
            target[x] = np.uint16(stored) if usable else np.uint16(0)


@njit(nogil=True, cache=True)
def put_more(
    dn: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int], nodata: int, shift: int,
    out: NDArray[np.uint16],
) -> None:  # fmt: skip
    """As `put_first`, but only where `out` is still 0: a later granule of the same look."""
    rows, cols = dn.shape
    mask = np.empty(cols, np.uint8)
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            _spread(state, at[0] + y, at[1], at[2], mask)
        for x in range(cols):
            if out[y, x] == 0 and dn[y, x] != nodata and mask[x] & CLEAR:
                stored = np.int64(min(max(np.int64(dn[y, x]) + shift, np.int64(1)), np.int64(65535)))
                out[y, x] = np.uint16(stored)


@njit(nogil=True, cache=True)
def wants(blank: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int]) -> bool:
    """Whether some pixel where `blank` is 0 is clear in this granule."""
    rows, cols = blank.shape
    mask = np.empty(cols, np.uint8)
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            _spread(state, at[0] + y, at[1], at[2], mask)
        some = False
        for x in range(cols):
            some |= blank[y, x] == 0 and (mask[x] & CLEAR) != 0
        if some:
            return True
    return False


@njit(nogil=True, cache=True)
def open_look(  # noqa: PLR0913, PLR0917  a kernel takes plain arrays
    states: NDArray[np.uint8], classes: NDArray[np.int64], at: tuple[int, int, int], limits: tuple[int, int, int],
    count: NDArray[np.uint16], seen: NDArray[np.uint16], closed: NDArray[np.uint16],
) -> bool:  # fmt: skip
    """Mark the pixels at which an entry of the order still counts.

    An entry counts at a pixel when the best class among the look's granules that cover the pixel is the entry's, the
    pixel has been covered by fewer than M looks before, and it has fewer than K values. Where no mask says whether a
    look covers the pixel (clear, but not covered), the band's own nodata will, and the look does not count for M.

    Args:
        states: (granule, y, x) masks of the look's granules.
        classes: (granule,) their cloud classes.
        at: as in `put_first`.
        limits: the entry's class, K, M.
        count: (row, column) values so far.
        seen: (row, column) covering looks so far, updated.
        closed: (row, column), overwritten: 0 where the entry counts.

    Returns:
        Whether it counts anywhere.
    """
    rows, cols = count.shape
    mask = np.empty(cols, np.uint8)
    best = np.empty(cols, np.uint8)
    known = np.empty(cols, np.uint8)
    wanted, most_values, most_seen = np.uint8(limits[0]), np.uint16(limits[1]), np.uint16(limits[2])
    total = 0
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            best[:] = 9
            known[:] = 0
            for granule in range(states.shape[0]):
                _spread(states[granule], at[0] + y, at[1], at[2], mask)
                own = np.uint8(classes[granule])
                for x in range(cols):
                    best[x] = own if (mask[x] & (COVERED | CLEAR)) != 0 and own < best[x] else best[x]
                    known[x] = known[x] | (mask[x] & COVERED)
        counts, views, shut = count[y], seen[y], closed[y]
        for x in range(cols):
            here = best[x] == wanted and (views[x] < most_seen or known[x] == 0)
            views[x] = np.uint16(views[x] + np.uint16(here and known[x] != 0))
            opened = here and counts[x] < most_values
            shut[x] = np.uint16(not opened)
            total += opened
    return total > 0


@njit(nogil=True, cache=True)
def put_limited(  # noqa: PLR0913, PLR0917  a kernel takes plain arrays
    dn: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int], coding: tuple[int, int],
    closed: NDArray[np.uint16], stack: NDArray[np.uint16], count: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Append a value at every open pixel where the granule is clear and has data, and close the pixel.

    Args:
        dn: (row, column).
        state: the granule's mask.
        at: as in `put_first`.
        coding: nodata and shift, as in `put_first`.
        closed: (row, column), 0 where open; updated.
        stack: (slot, row, column), filled from slot 0 at every pixel.
        count: (row, column) slots filled; updated.
    """
    rows, cols = dn.shape
    mask = np.empty(cols, np.uint8)
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            _spread(state, at[0] + y, at[1], at[2], mask)
        for x in range(cols):
            if closed[y, x] == 0 and dn[y, x] != coding[0] and mask[x] & CLEAR:
                stored = np.int64(min(max(np.int64(dn[y, x]) + coding[1], np.int64(1)), np.int64(65535)))
                stack[count[y, x], y, x] = np.uint16(stored)
                count[y, x] += np.uint16(1)
                closed[y, x] = 1
