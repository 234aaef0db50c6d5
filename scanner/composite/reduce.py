"""One block of one band: its looks read one after another into a buffer, and their median."""

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scanner.composite.median import CLEAR, masked_median, open_look, put_first, put_limited, put_more, wants
from scanner.composite.order import Entry
from scanner.composite.read import Reader
from scanner.composite.rescue import PanelMasks, Planes, scene_key
from scanner.composite.warp import PlacementCache
from scanner.errors import AssetError
from scanner.types import OFFSET_DN, Asset, Scene
from tiling import Window

__all__ = ["BandJob", "Limits", "Scratch", "reduce_block"]

Pair = tuple[NDArray[np.uint16], NDArray[np.uint16]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many looks a pixel takes."""

    looks: int
    """Clear looks at most (K)."""
    most: int
    """Covering looks among which they are sought (M)."""


class Scratch:
    """One reused stack per thread."""

    def __init__(self, nbytes_per_thread: int) -> None:
        self.values_per_thread = max(nbytes_per_thread // 2, 1)
        self._local = threading.local()

    def rows(self, slots: int, width_px: int) -> int:
        """Rows of a block whose stack fits; one at least."""
        return max(1, self.values_per_thread // max(slots * width_px, 1))

    def stack(self, slots: int, shape: tuple[int, int]) -> NDArray[np.uint16]:
        """A stack (slot, row, column) that holds anything; the thread's next call takes it back."""
        size = slots * shape[0] * shape[1]
        buffer: NDArray[np.uint16] | None = getattr(self._local, "buffer", None)
        if buffer is None or buffer.size < size:
            self._local.buffer = None
            buffer = self._local.buffer = np.empty(size, np.uint16)
        return buffer[:size].reshape(slots, *shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class BandJob:
    """What every block of a band and panel shares."""

    reader: Reader
    """Reads."""
    zone: int
    """EPSG code."""
    band: str
    """Name."""
    gsd_m: int
    """Pixel size of the band in the composite."""
    entries: tuple[Entry, ...]
    """The global order."""
    limits: Limits | None
    """None: every look counts."""
    masks: PanelMasks
    """The panel's."""
    scratch: Scratch
    """Stacks."""
    placements: PlacementCache
    """Warps that other bands need too."""

    @property
    def planes(self) -> Planes:
        """The masks at the band's size."""
        return self.masks.planes(self.gsd_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How an asset's DN become stored values."""

    nodata: int
    """DN that is no value, after `table`."""
    shift: int
    """Stored value minus DN."""
    table: NDArray[np.uint16] | None
    """Stored value by DN, where the scale is not 1e-4; then shift is 0."""


@lru_cache(maxsize=256)
def coding_of(scale: float, offset: float, nodata: int) -> Coding:
    """Stored value = reflectance * 10000 + 1000, from 1 to 65535."""
    if abs(scale * 1e4 - 1) < 1e-9:
        return Coding(nodata=nodata, shift=round(offset * 1e4) + OFFSET_DN, table=None)
    values = np.floor(np.arange(65536) * (scale * 1e4) + offset * 1e4 + OFFSET_DN + 0.5)
    table = np.clip(values, 1, 65535).astype(np.uint16)
    if 0 <= nodata < 65536:
        table[nodata] = 0
    return Coding(nodata=0, shift=0, table=table)


def reduce_block(job: BandJob, block: Window) -> Pair:
    """Median and number of clear looks of a block (pixels of the band), in strips of rows where memory asks for it."""
    median, count = np.zeros(block.shape, np.uint16), np.zeros(block.shape, np.uint16)
    rows, cols = job.planes.part(block)
    clear = np.asarray((job.planes.states[:, rows, cols] & CLEAR).any(axis=(1, 2)))
    slots = min(len(_looks(job, clear)), job.limits.looks if job.limits else 65535)
    if slots == 0:
        return median, count
    step = job.scratch.rows(slots, block.width_px)
    for top in range(0, block.height_px, step):
        bottom = min(top + step, block.height_px)
        strip = Window(x0=block.x0, y0=block.y0 + top, x1=block.x1, y1=block.y0 + bottom)
        stack = job.scratch.stack(slots, strip.shape)
        fill = _fill_all if job.limits is None else _fill_limited
        used = fill(job, strip, clear, stack)
        masked_median(stack[:used], median[top:bottom], count[top:bottom])
    return median, count


def _looks(job: BandJob, clear: NDArray[np.bool_]) -> list[list[Scene]]:
    """The looks that have something clear, each with its granules in order."""
    looks: dict[str, list[Scene]] = {}
    for entry in job.entries:
        if entry.look not in looks:
            looks[entry.look] = _here(job, entry, clear)
    return [scenes for scenes in looks.values() if scenes]


def _here(job: BandJob, entry: Entry, clear: NDArray[np.bool_]) -> list[Scene]:
    index = job.masks.index
    return [s for s in entry.scenes if scene_key(s) in index and clear[index[scene_key(s)]] and job.band in s.assets]


def _fill_all(job: BandJob, strip: Window, clear: NDArray[np.bool_], stack: NDArray[np.uint16]) -> int:
    """Every look in a slot of its own; returns the slots used."""
    used = 0
    at = job.planes.at(strip.y0, strip.x0)
    for scenes in _looks(job, clear):
        slot = stack[used]
        begun = False
        for scene in scenes:
            state = job.planes.states[job.masks.index[scene_key(scene)]]
            if begun and not wants(slot, state, at):
                continue
            begun |= _put(job, strip, scene, state, slot, begun=begun)
        used += begun
    return used


def _put(
    job: BandJob, strip: Window, scene: Scene, state: NDArray[np.uint8], slot: NDArray[np.uint16], *, begun: bool
) -> bool:
    """Put one granule into a slot; False when it has nothing to give."""
    found = _pixels(job, strip, scene)
    if found is None:
        return False
    dn, target, coding = found
    rows, cols = slice(target.y0, target.y1), slice(target.x0, target.x1)
    at = job.planes.at(strip.y0 + target.y0, strip.x0 + target.x0)
    if begun:
        put_more(dn, state, at, coding.nodata, coding.shift, slot[rows, cols])
        return True
    if target.shape != strip.shape:
        slot[...] = 0
    put_first(dn, state, at, coding.nodata, coding.shift, slot[rows, cols])
    return True


def _fill_limited(job: BandJob, strip: Window, clear: NDArray[np.bool_], stack: NDArray[np.uint16]) -> int:
    """The first K clear looks of every pixel among the first M that cover it; returns the slots used."""
    limits, planes = job.limits, job.planes
    if limits is None:
        raise AssertionError
    stack[...] = 0
    count, seen, closed = (np.zeros(strip.shape, np.uint16) for _ in range(3))
    at = planes.at(strip.y0, strip.x0)
    for entry in job.entries:
        granules, classes = job.masks.look(entry)
        if not granules:
            continue
        states = planes.states[granules[0] : granules[0] + 1] if len(granules) == 1 else planes.states[granules]
        if not open_look(states, classes, at, (entry.cloud_class, limits.looks, limits.most), count, seen, closed):
            continue
        for scene in _here(job, entry, clear):
            state = planes.states[job.masks.index[scene_key(scene)]]
            if not wants(closed, state, at) or (found := _pixels(job, strip, scene)) is None:
                continue
            dn, target, coding = found
            rows, cols = slice(target.y0, target.y1), slice(target.x0, target.x1)
            here = planes.at(strip.y0 + target.y0, strip.x0 + target.x0)
            pair = (coding.nodata, coding.shift)
            put_limited(dn, state, here, pair, closed[rows, cols], stack[:, rows, cols], count[rows, cols])
    return int(count.max())


def _pixels(job: BandJob, strip: Window, scene: Scene) -> tuple[NDArray[np.uint16], Window, Coding] | None:
    """DN of a granule over (part of) a strip, that part, and their coding; None when it has none or cannot be read."""
    asset: Asset = scene.assets[job.band]
    coding = coding_of(asset.scale, asset.offset, asset.nodata)
    try:
        placement = job.placements.get(job.reader.grid(scene, job.band), job.zone, job.gsd_m, strip)
        if placement is None:
            return None
        dn = job.reader.read(scene, job.band, placement.source)
    except AssetError as error:
        job.reader.fault(scene, job.band, error.reason)
        return None
    if coding.table is not None:
        dn = coding.table[dn]
    return placement.apply(dn, coding.nodata), placement.target, coding
