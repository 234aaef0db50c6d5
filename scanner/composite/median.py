"""The masked median of a stack of looks, and the kernels that fill the stack. Integers throughout.

A stack is uint16 (look, row, column) of stored values, 0 where a look has nothing. The median runs a sorting network
(Batcher's odd-even merge sort, 1968) over strips of one row, so that the inner loop is a vector minimum and maximum.
Kernels release the GIL and are not parallel: the worker threads around them are.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["CLEAR", "CLOUD", "COVERED", "SELECTED", "Masked", "masked_median", "put", "select", "selected_median"]

COVERED, CLEAR, CLOUD, SELECTED = 1, 2, 4, 8
"""Bits of a granule's state at a mask pixel: it has data; it is usable; the mask calls it cloud (not shadow); the
pixel takes its value of the look from this granule."""

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
                _repeat(states[k, (at[0] + y) // at[2]], at[1], at[2], under[k])
        for x0 in range(0, cols, LANES):
            width = min(LANES, cols - x0)
            valid[:] = 0
            for k in range(looks):
                absent, step, least, most = _bounds(codings[k, 0], codings[k, 1])
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


@njit(nogil=True, cache=True)
def _repeat(row: NDArray[np.uint8], first: int, factor: int, out: NDArray[np.uint8]) -> None:
    """A row of mask pixels, each `factor` times, from pixel `first` on."""
    place, within, x, cols = first // factor, first % factor, 0, out.shape[0]
    if within == 0 and factor == 1:
        same = row[place : place + cols]
        for pixel in range(cols):
            out[pixel] = same[pixel]
        return
    if within == 0 and factor == 2:
        # The usual case, masks of 20 m under bands of 10 m: two bytes at once become vector code.
        x = cols // 2 * 2
        half, pairs = row[place : place + cols // 2], out[:x].view(np.uint16)
        for pair in range(cols // 2):
            pairs[pair] = np.uint16(half[pair]) * np.uint16(257)
        place += cols // 2
    while x < cols:
        out[x] = row[place]
        x += 1
        within += 1
        if within == factor:
            within = 0
            place += 1


@njit(nogil=True, cache=True)
def _bounds(nodata: int, shift: int) -> tuple[np.uint16, np.uint16, np.uint16, np.uint16]:
    """The DN that is no value, what is added to others, and the DN below and above which the sum would wrap.

    All in 16 bits, which holds twice the pixels of 32 in a vector.
    """
    low, high = np.uint16(min(max(0, 1 - shift), 65535)), np.uint16(max(min(65535, 65535 - shift), 0))
    return np.uint16(nodata), np.uint16(shift & 65535), low, high


@njit(nogil=True, cache=True)
def _spread(
    state: NDArray[np.uint8], row: int, column: int, factor: int, chosen: NDArray[np.uint16], known: NDArray[np.uint16]
) -> None:
    """One row of mask pixels, each `factor` times, from pixel (row, column) on: all bits where selected, covered."""
    source, place, within = state[row // factor], column // factor, column % factor
    cols, x = chosen.shape[0], 0
    ones, none = np.uint16(65535), np.uint16(0)
    if factor == 2 and within == 0:
        # The usual case, masks of 20 m under bands of 10 m: a loop of pairs becomes vector code.
        halves = source[place : place + cols // 2]
        for pair in range(cols // 2):
            bits = halves[pair]
            select = ones if bits & SELECTED else none
            cover = ones if bits & COVERED else none
            chosen[2 * pair] = select
            chosen[2 * pair + 1] = select
            known[2 * pair] = cover
            known[2 * pair + 1] = cover
        x, place = cols // 2 * 2, place + cols // 2
    elif factor == 1:
        # And the same pixels.
        whole = source[place : place + cols]
        for pixel in range(cols):
            chosen[pixel] = ones if whole[pixel] & SELECTED else none
            known[pixel] = ones if whole[pixel] & COVERED else none
        x = cols
    while x < cols:
        chosen[x] = ones if source[place] & SELECTED else none
        known[x] = ones if source[place] & COVERED else none
        x += 1
        within += 1
        if within == factor:
            within = 0
            place += 1


@njit(nogil=True, cache=True)
def _span(chosen: NDArray[np.uint16]) -> tuple[int, int]:
    """The first selected pixel, and the one after the last."""
    first, last = 0, chosen.shape[0]
    while first < last and chosen[first] == 0:
        first += 1
    while last > first and chosen[last - 1] == 0:
        last -= 1
    return first, last


@njit(nogil=True, cache=True)
def put(
    dn: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int], coding: tuple[int, int],
    fresh: bool, out: NDArray[np.uint16],  # noqa: FBT001
) -> bool:  # fmt: skip
    """Set `out` to the stored value where the granule is selected and has data.

    Args:
        dn: (row, column).
        state: the granule's mask.
        at: row and column of dn's first pixel in the mask, counted in dn's pixels, and dn pixels per mask pixel.
        coding: the DN that is no value, and stored value minus DN.
        fresh: whether the rest becomes 0, else it is left.
        out: (row, column) of a look.

    Returns:
        Whether a pixel was selected in vain, or has a value where the mask knew of none: then the selection is wrong.
    """
    rows, cols = dn.shape
    chosen, known, wrong = np.empty(cols, np.uint16), np.empty(cols, np.uint16), np.zeros(cols, np.uint16)
    ones, none, one = np.uint16(65535), np.uint16(0), np.uint16(1)
    absent, step, low, high = _bounds(coding[0], coding[1])
    first, last = 0, cols
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            _spread(state, at[0] + y, at[1], at[2], chosen, known)
            first, last = _span(chosen)
        if fresh:
            out[y, :first] = none
            out[y, last:] = none
        # Slices, since a loop that does not begin at 0 would ask of every index whether it is negative.
        source, target = dn[y, first:last], out[y, first:last]
        takes, knows, errs = chosen[first:last], known[first:last], wrong[first:last]
        for x in range(source.shape[0]):
            value = source[x]
            stored = np.uint16(value + step)
            stored = one if value < low else stored
            stored = ones if value > high else stored
            has = none if value == absent else ones
            use = np.uint16(has & takes[x])
            errs[x] = np.uint16(errs[x] | ((has ^ knows[x]) & takes[x]))
            if fresh:
                target[x] = np.uint16(stored & use)
            else:
                target[x] = np.uint16((stored & use) | (target[x] & ~use))
    return bool(wrong.any())


@njit(nogil=True, cache=True)
def _select_alone(
    state: NDArray[np.uint8], looks: int, most: int, count: NDArray[np.uint16], seen: NDArray[np.uint16]
) -> None:
    """As `select` for a look of one granule, which is the usual one: without branches, for vector code."""
    rows, cols = state.shape
    looks_, most_ = np.uint16(looks), np.uint16(most)
    for y in range(rows):
        states, counts, views = state[y], count[y], seen[y]
        for x in range(cols):
            known = np.uint16(states[x] & np.uint8(COVERED))
            clear = np.uint16((states[x] & np.uint8(CLEAR)) >> np.uint8(1))
            here = np.uint16((views[x] < most_) | (known == 0)) & (known | clear)
            views[x] = np.uint16(views[x] + (known & here))
            taken = np.uint16(counts[x] < looks_) & here & clear
            states[x] = np.uint8(states[x] | np.uint8(taken * np.uint8(SELECTED)))
            counts[x] = np.uint16(counts[x] + (taken & known))


@njit(nogil=True, cache=True)
def select(
    states: NDArray[np.uint8], classes: NDArray[np.int64], limits: tuple[int, int, int],
    count: NDArray[np.uint16], seen: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Mark in an entry of the order which granule each pixel takes its value from, if it takes one.

    An entry stands at a pixel when the best class among the look's granules that cover the pixel is the entry's. It
    counts when the pixel has been covered by fewer than M looks before; its value is taken, from the first granule that
    is clear, when the pixel has fewer than K. A granule that is clear where no mask says whether it covers the pixel is
    selected and not counted: the band's own nodata will tell.

    Args:
        states: (granule, row, column) masks of the look's granules; SELECTED is added.
        classes: (granule,) their cloud classes.
        limits: the entry's class, K, M.
        count: (row, column) values so far; updated.
        seen: (row, column) covering looks so far; updated.
    """
    granules, rows, cols = states.shape
    if granules == 1:
        if classes[0] == limits[0]:
            _select_alone(states[0], limits[1], limits[2], count, seen)
        return
    for y in range(rows):
        for x in range(cols):
            best, known, first = 9, 0, -1
            for granule in range(granules):
                state = states[granule, y, x]
                known |= state & COVERED
                if state & (COVERED | CLEAR) and classes[granule] < best:
                    best = classes[granule]
                if state & CLEAR and first < 0:
                    first = granule
            if best != limits[0] or (known and seen[y, x] >= limits[2]):
                continue
            seen[y, x] += np.uint16(known)
            if first >= 0 and count[y, x] < limits[1]:
                states[first, y, x] |= SELECTED
                count[y, x] += np.uint16(known)
