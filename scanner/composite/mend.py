"""Where the masks promised a value that the band has not: the looks of a strip taken again in order, pixel by pixel.

Masks and bands differ at the edge of a swath, where a file cannot be read, and over water so dark that its DN is 0. The
selection was made from masks alone; here the values in hand are counted, those beyond K are dropped, and what a pixel
still lacks is read from the looks that follow.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.order import Entry, cloud_class
from scanner.composite.reduce import BandJob, Look, read_pixels
from scanner.composite.states import CLEAR, COVERED, SELECTED
from scanner.types import Scene
from tiling import Window

__all__ = ["mend"]

OPEN, ELSEWHERE, FULL = 0, 1, 2
"""What an entry is to a pixel: it counts; it does not stand here; it stands, and the pixel takes no more."""


def mend(job: BandJob, strip: Window, looks: list[Look], stack: NDArray[np.uint16]) -> None:
    """Make the stack hold the first K clear values of every pixel among the first M looks that cover it.

    Args:
        job: the band's.
        strip: pixels of the band.
        looks: those of the first slots.
        stack: (slot, row, column) of values where pixels are selected, 0 elsewhere; changed in place.
    """
    _Mender(job, strip, looks, stack).run()


class _Mender:
    """The state of one strip."""

    def __init__(self, job: BandJob, strip: Window, looks: list[Look], stack: NDArray[np.uint16]) -> None:
        self.job, self.strip, self.stack = job, strip, stack
        self.slots = {look.key: slot for slot, look in enumerate(looks)}
        self.count, self.seen = np.zeros(strip.shape, np.uint16), np.zeros(strip.shape, np.uint16)
        self.standing = np.empty(strip.shape, np.uint8)
        # A slot may take other looks' values once its own are counted.
        self.usable = np.ones(len(stack), np.bool_)
        self.usable[: len(looks)] = False
        self.had: dict[str, NDArray[np.bool_]] = {}

    def run(self) -> None:
        """Every entry in order."""
        entries = [(entry, here) for entry in self.job.layers.order if (here := self._granules_of(entry))]
        last = {entry.look: place for place, (entry, _) in enumerate(entries)}
        several = {entry.look for place, (entry, _) in enumerate(entries) if last[entry.look] != place}
        for look in several & self.slots.keys():
            self.had[look] = self.stack[self.slots[look]] != 0
            self.usable[self.slots[look]] = True
        for entry, here in entries:
            self._take(entry, here)

    def _granules_of(self, entry: Entry) -> list[tuple[int, Scene]]:
        """(plane, scene) of the look's granules that reach the strip, if one may stand at this entry."""
        view = self.job.view
        under = view.under(self.strip)
        planes = zip(self.job.layers.planes_of(entry), self.job.layers.scenes_of(entry), strict=True)
        here = [(plane, scene) for plane, scene in planes if view.store.any_of(plane, under)]
        return here if any(cloud_class(scene.cloud_cover) == entry.cloud_class for _, scene in here) else []

    def _take(self, entry: Entry, here: list[tuple[int, Scene]]) -> None:
        states, at = self._states([plane for plane, _ in here])
        classes = np.array([cloud_class(scene.cloud_cover) for _, scene in here], np.int64)
        limits = self.job.layers.limits
        _stand(
            states, classes, at, (entry.cloud_class, limits.looks, limits.most), self.count, self.seen, self.standing
        )
        slot = self.slots.get(entry.look)
        if slot is not None:
            values = self.stack[slot]
            had = self.had.get(entry.look)
            for state in states:
                _confirm(state, at, values if had is None else values * had, self.standing, self.count, values)
            self.usable[slot] = True
        for state, (_, scene) in zip(states, here, strict=True):
            if _lacks(state, at, self.standing) and (found := read_pixels(self.job, self.strip, scene)) is not None:
                dn, target, coding = found
                inner = slice(target.y0, target.y1), slice(target.x0, target.x1)
                own = (at[0] + target.y0, at[1] + target.x0, at[2])
                left = _fill(
                    dn, state, own, coding.pair, self.standing[inner], self.usable, self.stack[:, *inner],
                    self.count[inner],
                )  # fmt: skip
                assert not left  # noqa: S101  where a pixel is open, fewer than K slots hold its values

    def _states(self, planes: list[int]) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
        """(granule, row, column) under the strip, and where its first pixel lies in them."""
        view = self.job.view
        under = view.under(self.strip)
        states = np.empty((len(planes), *under.shape), np.uint8)
        for state, plane in zip(states, planes, strict=True):
            view.store.get(plane, under, state)
        return states, view.at(self.strip)


@njit(nogil=True, cache=True)
def _stand(  # noqa: PLR0913, PLR0917  a kernel takes plain arrays
    states: NDArray[np.uint8], classes: NDArray[np.int64], at: tuple[int, int, int], limits: tuple[int, int, int],
    count: NDArray[np.uint16], seen: NDArray[np.uint16], standing: NDArray[np.uint8],
) -> None:  # fmt: skip
    """What an entry is to each pixel, as in `median.select`; `seen` is updated."""
    rows, cols = count.shape
    for y in range(rows):
        row = (at[0] + y) // at[2]
        for x in range(cols):
            column = (at[1] + x) // at[2]
            best, known = 9, 0
            for granule in range(states.shape[0]):
                state = states[granule, row, column]
                known |= state & COVERED
                if state & (COVERED | CLEAR) and classes[granule] < best:
                    best = classes[granule]
            if best != limits[0]:
                standing[y, x] = ELSEWHERE
            elif (known and seen[y, x] >= limits[2]) or count[y, x] >= limits[1]:
                standing[y, x] = FULL
            else:
                standing[y, x] = OPEN
            if best == limits[0] and known and seen[y, x] < limits[2]:
                seen[y, x] += np.uint16(1)


@njit(nogil=True, cache=True)
def _confirm(
    state: NDArray[np.uint8], at: tuple[int, int, int], had: NDArray[np.uint16], standing: NDArray[np.uint8],
    count: NDArray[np.uint16], values: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Count the values a granule has given where they count, and drop them where the pixel takes no more."""
    rows, cols = count.shape
    for y in range(rows):
        row = (at[0] + y) // at[2]
        for x in range(cols):
            if had[y, x] == 0 or state[row, (at[1] + x) // at[2]] & SELECTED == 0:
                continue
            if standing[y, x] == OPEN:
                count[y, x] += np.uint16(1)
                standing[y, x] = FULL
            elif standing[y, x] == FULL:
                values[y, x] = 0


@njit(nogil=True, cache=True)
def _lacks(state: NDArray[np.uint8], at: tuple[int, int, int], standing: NDArray[np.uint8]) -> bool:
    """Whether a granule is clear, and not yet read, at a pixel to which the entry is open."""
    rows, cols = standing.shape
    for y in range(rows):
        row = (at[0] + y) // at[2]
        for x in range(cols):
            if standing[y, x] == OPEN and state[row, (at[1] + x) // at[2]] & (CLEAR | SELECTED) == CLEAR:
                return True
    return False


@njit(nogil=True, cache=True)
def _fill(  # noqa: PLR0913, PLR0917  a kernel takes plain arrays
    dn: NDArray[np.uint16], state: NDArray[np.uint8], at: tuple[int, int, int], coding: tuple[int, int],
    standing: NDArray[np.uint8], usable: NDArray[np.bool_], stack: NDArray[np.uint16], count: NDArray[np.uint16],
) -> int:  # fmt: skip
    """Give open pixels the value of a granule that is clear there; returns how many found no free slot."""
    rows, cols = dn.shape
    left = 0
    for y in range(rows):
        row = (at[0] + y) // at[2]
        for x in range(cols):
            wanted = standing[y, x] == OPEN and state[row, (at[1] + x) // at[2]] & (CLEAR | SELECTED) == CLEAR
            if not wanted or dn[y, x] == coding[0]:
                continue
            placed = False
            for slot in range(stack.shape[0]):
                if usable[slot] and stack[slot, y, x] == 0:
                    stored = min(max(np.int64(dn[y, x]) + coding[1], np.int64(1)), np.int64(65535))
                    stack[slot, y, x] = np.uint16(stored)
                    count[y, x] += np.uint16(1)
                    standing[y, x] = FULL
                    placed = True
                    break
            left += not placed
    return left
