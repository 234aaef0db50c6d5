"""What the masks say, settled once a unit: clear pixels, rescued ground, and which look's value each pixel takes.

First every mask is read, each block of its file once, in the global order and until no pixel counts further looks. Then
the ground is settled patch by patch, side by side: bare ground that is always called cloud is rescued, and in the order
of looks each pixel selects the granules it takes its values from. Bands then read what is selected and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.mask_store import CHUNK_PX, MaskStore
from scanner.composite.order import Entry, cloud_class
from scanner.composite.rescue import MARGIN_PX, SceneKey, Tally, rescue, scene_key
from scanner.composite.states import CLEAR, COVERED, SELECTED, select
from scanner.types import Scene
from tiling import Window

__all__ = ["PATCH_PX", "Layers", "Limits"]

ENTRIES_AT_ONCE = 16
"""Masks of so many entries of the order are read side by side, before it is asked whether more are needed."""

PATCH_PX = 3072
"""Edge of the ground settled at once, zone px: whole chunks of masks of 10, 20 and 60 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many looks a pixel takes."""

    looks: int
    """Clear looks at most (K)."""
    most: int
    """Covering looks among which they are sought (M)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The masks as a band sees them."""

    store: MaskStore
    """At the band's pixels, or coarser by `factor`."""
    factor: int
    """Band pixels along an edge of a mask pixel."""

    def under(self, window: Window) -> Window:
        """The mask pixels under a window of the band."""
        return window.at(self.factor)

    def at(self, window: Window) -> tuple[int, int, int]:
        """Where a window of the band begins in the mask pixels under it, in band pixels, and `factor`: for kernels."""
        under = self.under(window)
        return window.y0 - under.y0 * self.factor, window.x0 - under.x0 * self.factor, self.factor


@dataclass(slots=True, kw_only=True)
class Layers:
    """The masks of a unit. Read them, settle them, then ask."""

    windows: tuple[Window, ...]
    """Zone px, multiples of 6: where bands are wanted."""
    origin: tuple[int, int]
    """(row, column) in zone px of the granule that most scenes share: chunks and patches are cut from it."""
    gsd_m: int
    """Pixel size of the masks."""
    order: tuple[Entry, ...]
    """The global order."""
    limits: Limits
    """K and M."""
    most_nbytes: int
    """Of masks held in memory."""
    index: dict[SceneKey, int] = field(default_factory=dict)
    """Plane of each scene whose mask was had."""
    raw: list[MaskStore] = field(default_factory=list)
    """The masks as read, until they are settled."""
    stores: dict[int, MaskStore] = field(default_factory=dict)
    """Settled masks by pixel size."""

    def read(
        self, scenes: Sequence[Scene], put: Callable[[Scene, int, MaskStore], bool],
        announce: Callable[[Scene], None], pool: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        """Read every mask that counts.

        Args:
            scenes: the unit's.
            put: puts a scene's mask into a plane of the store; False when it cannot be had.
            announce: is called some time before `put`.
            pool: runs `put`.
        """
        raw = self._store(self.gsd_m, self.outer, len(scenes))
        self.raw.append(raw)
        planes = {scene_key(scene): plane for plane, scene in enumerate(scenes)}
        full = np.zeros(raw.all_of(0).shape, np.uint16)
        asked: set[str] = set()
        last = {entry.look: place for place, entry in enumerate(self.order)}
        for start in range(0, len(self.order), ENTRIES_AT_ONCE):
            batch = self.order[start : start + ENTRIES_AT_ONCE]
            fresh = {entry.look: entry for entry in batch if entry.look not in asked}
            asked |= fresh.keys()
            here = {scene_key(scene): scene for entry in fresh.values() for scene in entry.scenes}
            for scene in here.values():
                announce(scene)
            good = pool.map(lambda key: put(here[key], planes[key], raw), here)  # noqa: B023  used at once
            self.index |= {key: planes[key] for key, had in zip(here, list(good), strict=True) if had}
            for place, entry in enumerate(batch, start):
                if place == last[entry.look]:
                    whole = [raw.all_of(plane) & COVERED for plane in self.planes_of(entry)]
                    full += np.bitwise_or.reduce(whole, axis=0).astype(np.uint16) if whole else np.uint16(0)
            if (full >= self.limits.most).all():
                break

    def close(self) -> None:
        """Forget the masks."""
        for store in (*self.raw, *self.stores.values()):
            store.close()

    @property
    def window(self) -> Window:
        """The box of all windows, zone px."""
        return reduce(Window.union_bounds, self.windows)

    @property
    def outer(self) -> Window:
        """Mask pixels of the box and of the rescue's margin."""
        return self.window.buffer(MARGIN_PX).at(self.gsd_m // 10)

    @property
    def limited(self) -> bool:
        """Whether a pixel may have more clear looks than it takes."""
        return self.limits.looks < len(self.index)

    def strips(self, rows: int) -> Iterator[Window]:
        """`outer` in strips of whole chunks, each as wide as the windows near it ask for."""
        wide = [window.buffer(MARGIN_PX).at(self.gsd_m // 10) for window in self.windows]
        row, column = (place * 10 // self.gsd_m for place in self.origin)
        for y0 in range(row + (self.outer.y0 - row) // rows * rows, self.outer.y1, rows):
            strip = Window(x0=self.outer.x0, y0=y0, x1=self.outer.x1, y1=y0 + rows)
            near = [part for window in wide if (part := window.intersect(strip))]
            if near:
                box = reduce(Window.union_bounds, near)
                x0 = column + (box.x0 - column) // CHUNK_PX * CHUNK_PX
                x1 = column - (column - box.x1) // CHUNK_PX * CHUNK_PX
                yield Window(x0=x0, y0=y0, x1=x1, y1=y0 + rows).intersect(self.outer) or box

    def scenes_of(self, entry: Entry) -> list[Scene]:
        """A look's granules whose mask was had, in the order in which their values are taken."""
        return [scene for scene in entry.scenes if scene_key(scene) in self.index]

    def planes_of(self, entry: Entry) -> list[int]:
        """Their planes."""
        return [self.index[scene_key(scene)] for scene in self.scenes_of(entry)]

    def classes_of(self, entry: Entry) -> NDArray[np.int64]:
        """Their cloud classes."""
        return np.array([cloud_class(scene.cloud_cover) for scene in self.scenes_of(entry)], np.int64)

    def settle(self, sizes: Iterable[int], own: Window, pool: ThreadPoolExecutor) -> int:
        """Rescue bare ground and select values, for bands of these pixel sizes.

        Returns:
            Zone px inside `own` that were rescued.
        """
        planes = max(self.index.values(), default=-1) + 1
        for gsd in {max(gsd, self.gsd_m) for gsd in sizes} | {self.gsd_m}:
            self.stores[gsd] = self._store(gsd, self.window.at(gsd // 10), planes)
        raw = self.raw.pop()
        try:
            return sum(pool.map(lambda patch: self._settle_patch(patch, raw, own), list(self._patches())))
        finally:
            raw.close()

    def is_selected(self, scene: Scene) -> bool:
        """Whether some pixel takes a value from a scene."""
        plane = self.index.get(scene_key(scene))
        stores = self.stores.values() if plane is not None else ()
        return any(store.any_of(plane or 0, store.window) & SELECTED for store in stores)

    def view(self, gsd_m: int) -> View:
        """The settled masks for a band of this pixel size."""
        size = max(gsd_m, self.gsd_m)
        return View(store=self.stores[size], factor=size // gsd_m)

    def _store(self, gsd_m: int, window: Window, planes: int) -> MaskStore:
        row, column = (place * 10 // gsd_m for place in self.origin)
        return MaskStore(window, planes, origin=(row, column), most_nbytes=self.most_nbytes // 2)

    def _patches(self) -> Iterator[Window]:
        row, column = self.origin
        for y0 in range(row + (self.window.y0 - row) // PATCH_PX * PATCH_PX, self.window.y1, PATCH_PX):
            for x0 in range(column + (self.window.x0 - column) // PATCH_PX * PATCH_PX, self.window.x1, PATCH_PX):
                patch = Window(x0=x0, y0=y0, x1=x0 + PATCH_PX, y1=y0 + PATCH_PX).intersect(self.window)
                if patch is not None and any(patch.intersect(window) for window in self.windows):
                    yield patch

    def _settle_patch(self, patch: Window, raw: MaskStore, own: Window) -> int:
        wide = patch.buffer(MARGIN_PX).at(self.gsd_m // 10)
        entries = [entry for entry in self.order if self._looks_into(raw, wide, entry)]
        tally = Tally.over(wide.shape, self.limits.most)
        for entry in entries:
            if tally.full:
                break
            tally.add(self._states(raw, wide, entry), self.classes_of(entry), entry.cloud_class)
        suspect = tally.suspect
        core = patch.at(self.gsd_m // 10)
        inner = core.slices_in(wide)
        rescued = np.zeros(core.shape, np.bool_)
        chosen = _Chosen(layers=self, patch=patch)
        for entry in entries:
            states = self._states(raw, wide, entry)
            rescued |= rescue(states, suspect, inner, self.gsd_m)
            chosen.add(entry, states[:, *inner])
        counted = core.intersect(own.at(self.gsd_m // 10))
        return int(rescued[counted.slices_in(core)].sum()) * (self.gsd_m // 10) ** 2 if counted else 0

    def _looks_into(self, raw: MaskStore, window: Window, entry: Entry) -> bool:
        return any(raw.any_of(plane, window) for plane in self.planes_of(entry))

    def _states(self, store: MaskStore, window: Window, entry: Entry) -> NDArray[np.uint8]:
        planes = self.planes_of(entry)
        states = np.empty((len(planes), *window.shape), np.uint8)
        for out, plane in zip(states, planes, strict=True):
            store.get(plane, window, out)
        return states


@dataclass(slots=True, kw_only=True)
class _Chosen:
    """A patch's selection, entry by entry, at every pixel size."""

    layers: Layers
    """Whose stores are filled."""
    patch: Window
    """Zone px."""
    counts: dict[int, tuple[NDArray[np.uint16], NDArray[np.uint16]]] = field(default_factory=dict)
    """By pixel size: values so far, covering looks so far (row, column)."""

    def add(self, entry: Entry, states: NDArray[np.uint8]) -> None:
        """Select from the next entry's granules, (granule, row, column) of the masks."""
        layers = self.layers
        planes, classes = layers.planes_of(entry), layers.classes_of(entry)
        limits = (entry.cloud_class, layers.limits.looks, layers.limits.most)
        # The masks' own size last: it is marked in place.
        for gsd in sorted(layers.stores, reverse=True):
            store, window = layers.stores[gsd], self.patch.at(gsd // 10)
            if gsd not in self.counts:
                self.counts[gsd] = (np.zeros(window.shape, np.uint16), np.zeros(window.shape, np.uint16))
            factor = gsd // layers.gsd_m
            here = coarsened(states, factor) if factor > 1 else states
            select(here, classes, limits, *self.counts[gsd])
            for plane, state in zip(planes, here, strict=True):
                self._keep(store, plane, window, state)

    @staticmethod
    def _keep(store: MaskStore, plane: int, window: Window, state: NDArray[np.uint8]) -> None:
        """An entry of the same look that came before has selected too."""
        if store.any_of(plane, window):
            before = np.empty(window.shape, np.uint8)
            store.get(plane, window, before)
            state |= before
        store.put(plane, window, state)


@njit(nogil=True, cache=True)
def coarsened(states: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """States of squares of `factor` pixels: covered where any pixel is, clear where all are."""
    planes, rows, cols = states.shape
    out = np.zeros((planes, rows // factor, cols // factor), np.uint8)
    for plane in range(planes):
        for y in range(rows // factor):
            target = out[plane, y]
            some = np.zeros(cols // factor, np.uint8)
            every = np.full(cols // factor, 255, np.uint8)
            for inner in range(factor):
                source = states[plane, y * factor + inner]
                for x in range(cols // factor):
                    for k in range(factor):
                        some[x] |= source[x * factor + k]
                        every[x] &= source[x * factor + k]
            for x in range(cols // factor):
                target[x] = np.uint8((some[x] & COVERED) | (every[x] & CLEAR))
    return out
