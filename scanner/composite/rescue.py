"""The masks of a panel, all scenes together, and the rescue of bare ground that is always called cloud.

Bright quarries look like cloud to SCL and to s2cloudless on nearly every date. A pixel called cloud in more than 80 %
of the looks that count for it (all, or the first M; three at least) is suspect; in a look whose other ground within a
kilometre is clear, a suspect pixel is taken as clear. Masks are read a kilometre wider than the panel, so the answer
does not depend on how the ground is cut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.median import CLEAR, CLOUD, COVERED
from scanner.composite.order import Entry, cloud_class
from tiling import Window

__all__ = ["MARGIN_PX", "PanelMasks", "Planes", "Tally", "scene_key"]

MARGIN_PX = 102
"""Zone pixels that masks are read beyond a panel: a kilometre, rounded up to whole pixels of 20 and 60 m."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """Masks at the pixel size of a band, or coarser by a whole factor."""

    states: NDArray[np.uint8]
    """(scene, row, column)."""
    origin: tuple[int, int]
    """Row and column of the first mask pixel, in the band's pixels."""
    factor: int
    """Band pixels along an edge of a mask pixel."""

    def at(self, row: int, column: int) -> tuple[int, int, int]:
        """Where a band pixel lies, as the kernels want it."""
        return row - self.origin[0], column - self.origin[1], self.factor

    def part(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the mask that lie under a window of the band."""
        row, column, factor = self.at(window.y0, window.x0)
        return (
            slice(row // factor, -(-(row + window.height_px) // factor)),
            slice(column // factor, -(-(column + window.width_px) // factor)),
        )


@dataclass(slots=True, kw_only=True)
class PanelMasks:
    """The state of every scene over a panel and its margin."""

    core: Window
    """Zone px, grown to whole 60 m pixels: where the rescue's answer holds."""
    gsd_m: int
    """Pixel size of the masks."""
    index: Mapping[SceneKey, int]
    """Plane of each scene."""
    states: NDArray[np.uint8]
    """(scene, row, column) over the core and its margin."""
    _planes: dict[int, Planes] = field(default_factory=dict)

    @property
    def window(self) -> Window:
        """What `states` covers, in mask pixels."""
        return self.core.buffer(MARGIN_PX).at(self.gsd_m // 10)

    def look(self, entry: Entry) -> tuple[list[int], NDArray[np.int64]]:
        """Planes and cloud classes of a look's granules here, in the order their values are taken."""
        here = [scene for scene in entry.scenes if scene_key(scene) in self.index]
        classes = np.array([cloud_class(scene.cloud_cover) for scene in here], np.int64)
        return [self.index[scene_key(scene)] for scene in here], classes

    def rescue(self, looks: Iterable[Entry], suspect: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take suspect pixels as clear in the looks that are clear around them.

        Returns:
            Pixels of the core taken as clear in at least one look.
        """
        outer = self.window
        rows, cols = self.core.at(self.gsd_m // 10).slices_in(outer)
        rescued = np.zeros(outer.shape, np.bool_)
        core_suspect = np.zeros(outer.shape, np.bool_)
        core_suspect[rows, cols] = suspect[rows, cols]
        if core_suspect.any():
            for entry in looks:
                planes, _ = self.look(entry)
                if planes:
                    rescued |= self._rescue_look(planes, suspect, core_suspect)
        inside: NDArray[np.bool_] = rescued[rows, cols]
        return inside

    def _rescue_look(
        self, planes: Sequence[int], suspect: NDArray[np.bool_], core_suspect: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        merged = np.bitwise_or.reduce(self.states[planes], axis=0)
        wanted: NDArray[np.bool_] = core_suspect & ((merged & (CLEAR | CLOUD)) == CLOUD)
        if not wanted.any():
            return wanted
        ground = ((merged & COVERED) != 0) & ~suspect
        found: NDArray[np.bool_] = _clear_around(wanted, ground, (merged & CLEAR) != 0, RADIUS_M // self.gsd_m)
        for plane in planes:
            state = self.states[plane]
            state[found & ((state & CLOUD) != 0)] |= CLEAR
        return found

    def planes(self, gsd_m: int) -> Planes:
        """The masks as a band of `gsd_m` sees them: clear where all mask pixels under it are, covered where any is.

        Call it first from one thread.
        """
        if gsd_m not in self._planes:
            self._planes[gsd_m] = self._reduced(gsd_m) if gsd_m > self.gsd_m else self._direct(gsd_m)
        return self._planes[gsd_m]

    def _direct(self, gsd_m: int) -> Planes:
        factor, window = self.gsd_m // gsd_m, self.window
        return Planes(states=self.states, origin=(window.y0 * factor, window.x0 * factor), factor=factor)

    def _reduced(self, gsd_m: int) -> Planes:
        factor = gsd_m // self.gsd_m
        inner, coarse = self.core.at(self.gsd_m // 10), self.core.at(gsd_m // 10)
        rows, cols = inner.slices_in(self.window)
        out = np.empty((len(self.states), *coarse.shape), np.uint8)
        for plane, state in enumerate(self.states):
            squares = state[rows, cols].reshape(coarse.height_px, factor, coarse.width_px, factor)
            out[plane] = np.bitwise_or.reduce(squares, axis=(1, 3)) & COVERED
            out[plane] |= np.bitwise_and.reduce(squares, axis=(1, 3)) & CLEAR
        return Planes(states=out, origin=(coarse.y0, coarse.x0), factor=1)


@njit(nogil=True, cache=True)
def _tally(
    states: NDArray[np.uint8], classes: NDArray[np.int64], limits: tuple[int, int],
    seen: NDArray[np.uint16], called: NDArray[np.uint16],
) -> None:  # fmt: skip
    granules, rows, cols = states.shape
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
