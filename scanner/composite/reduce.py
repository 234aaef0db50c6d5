"""One block of one band: its selected looks read one after another into a buffer, and their median."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scanner.composite.layers import Layers, View
from scanner.composite.median import Masked, masked_median, selected_median
from scanner.composite.order import Entry
from scanner.composite.read import AssetKey, Reader
from scanner.composite.rescue import scene_key
from scanner.composite.states import SELECTED, put
from scanner.composite.strips import Strips
from scanner.composite.warp import Placement, PlacementCache
from scanner.errors import AssetError
from scanner.types import OFFSET_DN, Asset, Scene
from tiling import Window, stack_rows

__all__ = ["BandJob", "Coding", "Granule", "Look", "Scratch", "reduce_block"]

Pair = tuple[NDArray[np.uint16], NDArray[np.uint16]]


class Scratch:
    """Reused memory, a set per thread."""

    def __init__(self, stack_nbytes: int, streams_nbytes: int) -> None:
        self.stack_nbytes = stack_nbytes
        self.streams_nbytes = streams_nbytes
        self._local = threading.local()

    def stack(self, slots: int, shape: tuple[int, int]) -> NDArray[np.uint16]:
        """A stack (slot, row, column) that holds anything; the thread's next call takes it back."""
        return self._buffer("stack", slots * shape[0] * shape[1] * 2).view(np.uint16).reshape(slots, *shape)

    def states(self, slots: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Masks (slot, row, column) that hold anything; the thread's next call takes them back."""
        return self._buffer("states", slots * shape[0] * shape[1]).reshape(slots, *shape)

    def state(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """A mask that holds anything; the thread's next call takes it back."""
        return self._buffer("state", shape[0] * shape[1]).reshape(shape)

    def pixels(self, nbytes: int) -> NDArray[np.uint8]:
        """Bytes for the pixels of one look; the thread's next call takes them back."""
        return self._buffer("pixels", nbytes)

    def _buffer(self, name: str, nbytes: int) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] | None = getattr(self._local, name, None)
        if buffer is None or buffer.size < nbytes:
            setattr(self._local, name, None)
            buffer = np.empty(nbytes, np.uint8)
            setattr(self._local, name, buffer)
        return buffer[:nbytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """A granule that a block takes values from."""

    scene: Scene
    """Which."""
    plane: int
    """Its mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The selected granules of one look over a block."""

    key: str
    """Of the look."""
    granules: tuple[Granule, ...]
    """In the order in which values are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandJob:
    """What every block of a band shares."""

    reader: Reader
    """Reads."""
    zone: int
    """EPSG code."""
    band: str
    """Name."""
    gsd_m: int
    """Pixel size of the band in the composite."""
    layers: Layers
    """The settled masks."""
    scratch: Scratch
    """Stacks."""
    placements: PlacementCache
    """Warps that other bands need too."""
    strips: Strips | None = None
    """What is kept between the strips of the block in hand, where it is taken in strips."""

    @property
    def view(self) -> View:
        """The masks at the band's size."""
        return self.layers.view(self.gsd_m)

    def looks(self, block: Window) -> list[Look]:
        """The looks that a block (pixels of the band) takes values from, in the global order."""
        view, found = self.view, {}
        under = view.under(block)
        for entry in self.layers.order:
            if entry.look not in found:
                found[entry.look] = Look(key=entry.look, granules=tuple(self._granules(entry, view, under)))
        return [look for look in found.values() if look.granules]

    def _granules(self, entry: Entry, view: View, under: Window) -> Iterator[Granule]:
        for scene in entry.scenes:
            plane = self.layers.index.get(scene_key(scene))
            if plane is not None and self.band in scene.assets and view.store.any_of(plane, under) & SELECTED:
                yield Granule(scene=scene, plane=plane)

    def placement(self, scene: Scene, window: Window) -> Placement | None:
        """How a window of the band is filled from a scene's file.

        Raises:
            AssetError: it cannot be opened.
        """
        return self.placements.get(self.reader.grid(scene, self.band), self.zone, self.gsd_m, window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How an asset's DN become stored values."""

    nodata: int
    """DN that is no value, after `table`."""
    shift: int
    """Stored value minus DN."""
    table: NDArray[np.uint16] | None
    """Stored value by DN, where the scale is not 1e-4; then shift is 0."""

    @property
    def pair(self) -> tuple[int, int]:
        """As kernels take it."""
        return self.nodata, self.shift


@lru_cache(maxsize=256)
def coding_of(scale: float, offset: float, nodata: int) -> Coding:
    """Stored value = reflectance * 10000 + 1000, from 1 to 65535."""
    # Signed files are read with negative DN as 0, so a negative nodata is 0 too.
    nodata = nodata if 0 <= nodata < 65536 else 0
    shift = round(offset * 1e4) + OFFSET_DN
    if abs(scale * 1e4 - 1) < 1e-9 and abs(shift) < 65535:
        return Coding(nodata=nodata, shift=shift, table=None)
    values = np.floor(np.arange(65536) * (scale * 1e4) + offset * 1e4 + OFFSET_DN + 0.5)
    table = np.clip(values, 1, 65535).astype(np.uint16)
    table[nodata] = 0
    return Coding(nodata=0, shift=0, table=table)


def reduce_block(job: BandJob, block: Window) -> Pair:
    """Median and number of clear looks of a block (pixels of the band), in strips of rows where memory asks for it."""
    looks = job.looks(block)
    if not looks:
        return np.zeros(block.shape, np.uint16), np.zeros(block.shape, np.uint16)
    median, count = np.empty(block.shape, np.uint16), np.empty(block.shape, np.uint16)
    slots = max(len(looks), job.layers.limits.looks) if job.layers.limited else len(looks)
    step = stack_rows(slots=slots, width_px=block.width_px, height_px=block.height_px, nbytes=job.scratch.stack_nbytes)

    def reduce_strips(job: BandJob) -> None:
        for top in range(0, block.height_px, step):
            bottom = min(top + step, block.height_px)
            strip = Window(x0=block.x0, y0=block.y0 + top, x1=block.x1, y1=block.y0 + bottom)
            _reduce(job, strip, looks, slots, (median[top:bottom], count[top:bottom]))

    if step >= block.height_px:
        reduce_strips(job)
        return median, count
    # A file found spoilt gives the block nothing, above the spoilt bytes either: then all strips are taken once more.
    refused: dict[AssetKey, str] = {}
    sound = False
    while not sound:
        with Strips(job.reader, block, refused, most_nbytes=job.scratch.streams_nbytes) as strips:
            reduce_strips(replace(job, strips=strips))
            sound = strips.finish()
    return median, count


def _reduce(job: BandJob, strip: Window, looks: list[Look], slots: int, out: Pair) -> None:
    """A strip's median and count into `out`."""
    from scanner.composite.mend import mend  # noqa: PLC0415

    stack = job.scratch.stack(slots, strip.shape)
    used = stack[: len(looks)]
    under = job.view.under(strip)
    masks = Masked(
        states=job.scratch.states(len(looks), under.shape), at=job.view.at(strip),
        codings=np.zeros((len(looks), 3), np.int64),
    )  # fmt: skip
    right = True
    for place, look in enumerate(looks):
        if len(look.granules) > 1 or not _is_plain(job, strip, look.granules[0].scene):
            right &= _put_values(job, strip, look, used[place])
            masks.states[place] = SELECTED
        else:
            right &= _read_whole(job, strip, look.granules[0], place, (used, masks))
    wrong = selected_median(used, masks, *out)
    if right and not wrong:
        return
    for values, state, coding in zip(used, masks.states, masks.codings.tolist(), strict=True):
        put(values, state, masks.at, (coding[0], coding[1]), True, values)  # noqa: FBT003
    stack[len(looks) :] = 0
    mend(job, strip, looks, stack)
    masked_median(stack, *out)


def _is_plain(job: BandJob, strip: Window, scene: Scene) -> bool:
    """Whether a granule's DN of a strip can lie in the stack as they are: its own pixels, all of them, of 16 bits."""
    asset = scene.assets[job.band]
    try:
        placement = job.placement(scene, strip)
        itemsize = job.reader.grid(scene, job.band).itemsize
    except AssetError:
        return False
    whole = placement is not None and placement.index is None and placement.target.shape == strip.shape
    return whole and itemsize == 2 and coding_of(asset.scale, asset.offset, asset.nodata).table is None


def _read_whole(
    job: BandJob, strip: Window, granule: Granule, slot: int, into: tuple[NDArray[np.uint16], Masked]
) -> bool:  # fmt: skip
    """A look's DN and mask into their slot; returns whether it could be read or nothing is missed without it."""
    stack, masks = into
    found = read_pixels(job, strip, granule.scene, stack[slot].reshape(-1).view(np.uint8))
    if found is None:
        stack[slot] = 0
        masks.states[slot] = 0
        return not job.layers.limited
    dn, _, coding = found
    assert np.shares_memory(dn, stack[slot])  # noqa: S101  `_is_plain` has said so
    job.view.store.get(granule.plane, job.view.under(strip), masks.states[slot])
    masks.codings[slot] = (*coding.pair, job.layers.limited)
    return True


def _put_values(job: BandJob, strip: Window, look: Look, slot: NDArray[np.uint16]) -> bool:
    """A look's stored values into its slot, where its granules are selected; whether each pixel got what it should."""
    fresh, good = True, True
    for granule in look.granules:
        found = read_pixels(job, strip, granule.scene)
        good &= found is not None
        if found is not None:
            dn, target, coding = found
            if fresh and target.shape != strip.shape:
                slot[...] = 0
                fresh = False
            state, at = mask_of(job, strip, target, granule.plane)
            out = slot[target.y0 : target.y1, target.x0 : target.x1]
            good &= not put(dn, state, at, coding.pair, fresh, out)
            fresh = False
    if fresh:
        slot[...] = 0
    return good or not (job.layers.limited or len(look.granules) > 1)


def mask_of(job: BandJob, strip: Window, target: Window, plane: int) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
    """The states under part of a strip, and where the part's first pixel lies in them."""
    view = job.view
    part = Window(x0=strip.x0 + target.x0, y0=strip.y0 + target.y0, x1=strip.x0 + target.x1, y1=strip.y0 + target.y1)
    under = view.under(part)
    states = job.scratch.state(under.shape)
    view.store.get(plane, under, states)
    return states, view.at(part)


def read_pixels(
    job: BandJob, strip: Window, scene: Scene, out: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.uint16], Window, Coding] | None:
    """DN of a granule over (part of) a strip, that part, and their coding; None when it has none or cannot be read.

    They lie in `out`, bytes, where they are the file's own pixels; else in memory that the thread's next call takes.
    """
    asset: Asset = scene.assets[job.band]
    coding = coding_of(asset.scale, asset.offset, asset.nodata)
    try:
        placement = job.placement(scene, strip)
        if placement is None:
            return None
        source = placement.source
        scratch = job.scratch.pixels(source.height_px * source.width_px * 2) if out is None else out
        if job.strips is None:
            dn = job.reader.read(scene, job.band, source, out=scratch)
        else:
            whole = job.placement(scene, job.strips.block)
            dn = job.strips.read(scene, job.band, (whole or placement).source, source, scratch)
    except AssetError as error:
        job.reader.fault(scene, job.band, error.reason)
        return None
    if coding.table is not None:
        dn = coding.table[dn]
    return placement.apply(dn, coding.nodata), placement.target, coding
