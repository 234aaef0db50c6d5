"""What masks say of a pixel, which looks it takes by them, and how a look's values are laid under its mask.

Kernels release the GIL and are not parallel: the worker threads around them are.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["CLEAR", "CLOUD", "COVERED", "SELECTED", "bounds", "put", "repeat", "select"]

COVERED, CLEAR, CLOUD, SELECTED = 1, 2, 4, 8
"""Bits of a granule's state at a mask pixel: it has data; it is usable; the mask calls it cloud (not shadow); the
pixel takes its value of the look from this granule."""


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
    bits, wrong = np.empty(cols, np.uint8), np.zeros(cols, np.uint16)
    ones, none = np.uint16(65535), np.uint16(0)
    absent, step, least, most = bounds(coding[0], coding[1])
    for y in range(rows):
        if y == 0 or (at[0] + y) % at[2] == 0:
            repeat(state[(at[0] + y) // at[2]], at[1], at[2], bits)
        source, target = dn[y], out[y]
        for x in range(cols):
            stored = np.uint16(min(max(source[x], least), most) + step)
            has = ones if source[x] != absent else none
            takes = ones if bits[x] & SELECTED else none
            knows = ones if bits[x] & COVERED else none
            use = np.uint16(has & takes)
            wrong[x] = np.uint16(wrong[x] | ((has ^ knows) & takes))
            if fresh:
                target[x] = np.uint16(stored & use)
            else:
                target[x] = np.uint16((stored & use) | (target[x] & ~use))
    return bool(wrong.any())


@njit(nogil=True, cache=True)
def repeat(row: NDArray[np.uint8], first: int, factor: int, out: NDArray[np.uint8]) -> None:
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
def bounds(nodata: int, shift: int) -> tuple[np.uint16, np.uint16, np.uint16, np.uint16]:
    """The DN that is no value, what is added to others, and the DN below and above which the sum would wrap.

    All in 16 bits, which holds twice the pixels of 32 in a vector.
    """
    low, high = np.uint16(min(max(0, 1 - shift), 65535)), np.uint16(max(min(65535, 65535 - shift), 0))
    return np.uint16(nodata), np.uint16(shift & 65535), low, high
