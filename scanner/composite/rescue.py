"""The rescue of bare ground that masks always call cloud.

Bright quarries look like cloud to SCL and to s2cloudless on nearly every date. A pixel called cloud in more than 80 %
of the looks that count for it (all, or the first M; three at least) is suspect; in a look whose other ground within a
kilometre is clear, a suspect pixel is taken as clear. Masks are asked for a kilometre wider than the ground, so the
answer does not depend on how it is cut.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.states import CLEAR, CLOUD, COVERED

__all__ = ["MARGIN_PX", "SceneKey", "Tally", "rescue", "scene_key"]

MARGIN_PX = 102
"""Zone pixels that masks are read beyond a unit: a kilometre, rounded up to whole pixels of 20 and 60 m."""

RADIUS_M = 1000
SUSPECT = (4, 5)
"""More than this share of a pixel's looks called cloud makes it suspect."""
LEAST_LOOKS = 3
"""With fewer looks a small cloud over clear ground cannot be told from bare ground."""
CLEAR_AROUND = (9, 10)
"""At least this share of the ground around must be clear in the look."""
GROUND_AROUND = (1, 4)
"""At least this share of the box around must be covered and not suspect."""

SceneKey = tuple[str, str]


def scene_key(scene: object) -> SceneKey:
    """What tells scenes apart."""
    return scene.collection, scene.id  # type: ignore[attr-defined]


@dataclass(slots=True)
class Tally:
    """Per mask pixel: looks that count so far, and how many of them call it cloud."""

    most: int
    """Looks that count at most (M)."""
    seen: NDArray[np.uint16]
    """(row, column)."""
    called: NDArray[np.uint16]
    """(row, column)."""

    @classmethod
    def over(cls, shape: tuple[int, int], most: int) -> "Tally":
        """Nothing counted yet."""
        return cls(most, np.zeros(shape, np.uint16), np.zeros(shape, np.uint16))

    def add(self, states: NDArray[np.uint8], classes: NDArray[np.int64], entry_class: int) -> None:
        """Count one entry of the order, given the masks (granule, row, column) of its look."""
        _tally(states, classes, (entry_class, self.most), self.seen, self.called)

    @property
    def full(self) -> bool:
        """Whether no pixel counts further looks."""
        return bool((self.seen >= self.most).all())

    @property
    def suspect(self) -> NDArray[np.bool_]:
        """Pixels called cloud too often."""
        part, whole = SUSPECT
        often = self.called.astype(np.int32) * whole > self.seen.astype(np.int32) * part
        found: NDArray[np.bool_] = often & (self.seen >= LEAST_LOOKS)
        return found


def rescue(
    states: NDArray[np.uint8], suspect: NDArray[np.bool_], inner: tuple[slice, slice], gsd_m: int
) -> NDArray[np.bool_]:
    """Take suspect pixels as clear where the look is clear around them.

    Args:
        states: (granule, row, column) masks of a look; changed inside `inner`.
        suspect: (row, column).
        inner: where the answer is wanted; a kilometre around it is seen.
        gsd_m: pixel size.

    Returns:
        (row, column) of `inner`: pixels taken as clear.
    """
    found: NDArray[np.bool_] = np.zeros(suspect[inner].shape, np.bool_)
    if not suspect[inner].any():
        return found
    merged = np.bitwise_or.reduce(states, axis=0)
    wanted = np.zeros(suspect.shape, np.bool_)
    wanted[inner] = suspect[inner] & ((merged[inner] & (CLEAR | CLOUD)) == CLOUD)
    if not wanted.any():
        return found
    ground = ((merged & COVERED) != 0) & ~suspect
    found = _clear_around(wanted, ground, (merged & CLEAR) != 0, RADIUS_M // gsd_m)[inner]
    for state in states:
        state[inner][found & ((state[inner] & CLOUD) != 0)] |= CLEAR
    return found


@njit(nogil=True, cache=True)
def _tally_alone(state: NDArray[np.uint8], most: int, seen: NDArray[np.uint16], called: NDArray[np.uint16]) -> None:
    """As `_tally` for a look of one granule: without branches, for vector code."""
    limit = np.uint16(most)
    for y in range(state.shape[0]):
        states, views, calls = state[y], seen[y], called[y]
        for x in range(state.shape[1]):
            here = np.uint16(states[x] & np.uint8(COVERED)) & np.uint16(views[x] < limit)
            views[x] = np.uint16(views[x] + here)
            clouded = np.uint16((states[x] & np.uint8(CLEAR | CLOUD)) == np.uint8(CLOUD))
            calls[x] = np.uint16(calls[x] + (here & clouded))


@njit(nogil=True, cache=True)
def _tally(
    states: NDArray[np.uint8], classes: NDArray[np.int64], limits: tuple[int, int],
    seen: NDArray[np.uint16], called: NDArray[np.uint16],
) -> None:  # fmt: skip
    granules, rows, cols = states.shape
    if granules == 1:
        if classes[0] == limits[0]:
            _tally_alone(states[0], limits[1], seen, called)
        return
    for y in range(rows):
        for x in range(cols):
            best, merged = 9, 0
            for granule in range(granules):
                state = states[granule, y, x]
                merged |= state
                if state & COVERED:
                    best = min(best, classes[granule])
            if best == limits[0] and seen[y, x] < limits[1]:
                seen[y, x] += np.uint16(1)
                if merged & (CLEAR | CLOUD) == CLOUD:
                    called[y, x] += np.uint16(1)


@njit(nogil=True, cache=True)
def _clear_around(
    wanted: NDArray[np.bool_], ground: NDArray[np.bool_], clear: NDArray[np.bool_], radius: int
) -> NDArray[np.bool_]:
    """Which wanted pixels have enough ground in the box around them, and that clear; sums by integral images."""
    rows, cols = wanted.shape
    grounds = np.zeros((rows + 1, cols + 1), np.int32)
    clears = np.zeros((rows + 1, cols + 1), np.int32)
    for y in range(rows):
        for x in range(cols):
            here = np.int32(ground[y, x])
            grounds[y + 1, x + 1] = here + grounds[y, x + 1] + grounds[y + 1, x] - grounds[y, x]
            both = np.int32(ground[y, x] and clear[y, x])
            clears[y + 1, x + 1] = both + clears[y, x + 1] + clears[y + 1, x] - clears[y, x]
    box = (2 * radius + 1) ** 2
    found = np.zeros((rows, cols), np.bool_)
    for y in range(rows):
        for x in range(cols):
            if wanted[y, x]:
                top, bottom = max(y - radius, 0), min(y + radius + 1, rows)
                left, right = max(x - radius, 0), min(x + radius + 1, cols)
                n = grounds[bottom, right] - grounds[top, right] - grounds[bottom, left] + grounds[top, left]
                n_clear = clears[bottom, right] - clears[top, right] - clears[bottom, left] + clears[top, left]
                found[y, x] = (
                    n * GROUND_AROUND[1] >= box * GROUND_AROUND[0] and n_clear * CLEAR_AROUND[1] >= n * CLEAR_AROUND[0]
                )
    return found
