"""Every shard is written once: what has come of one waits until the rest of its wanted ground comes.

Ground comes in blocks that follow those of the files, not our shards. A shard that a block fills whole is stored from
the block itself; of one that it fills in part a copy waits. How many bytes wait is bounded.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling import Window

__all__ = ["BAND_CUTS", "SCENES_CUT", "Cut", "Room", "Shards"]

Plane = NDArray[Any]
Store = Callable[[Window, Sequence[Plane]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How arrays are cut."""

    chunk_px: int
    """Edge of the chunks inside a shard: what a reader of a small window inflates."""
    rows_px: int
    """Height of a shard: of low ones little waits."""
    columns_px: int
    """Width of a shard at most: wide ones make few files."""

    def shard(self, width_px: int) -> tuple[int, int]:
        """(rows, columns) of the shards of an array so wide: whole chunks."""
        return self.rows_px, min(self.columns_px, -(-width_px // self.chunk_px) * self.chunk_px)


BAND_CUTS = {
    10: Cut(chunk_px=512, rows_px=512, columns_px=5120),
    20: Cut(chunk_px=256, rows_px=256, columns_px=2560),
    60: Cut(chunk_px=128, rows_px=128, columns_px=896),
}
"""By pixel size, m; chosen by `benchmarks/zarr_layout.py`."""

SCENES_CUT = Cut(chunk_px=256, rows_px=256, columns_px=2560)
"""Of the bits that say which scenes are clear; the bits of all scenes lie in one shard."""


class Room:
    """The bytes that may wait in all shards of a writer together."""

    def __init__(self, most_nbytes: int | None) -> None:
        """All are free; None sets no bound."""
        self._most_nbytes = most_nbytes
        self._lock = threading.Lock()
        self.held_nbytes = 0

    def take(self, nbytes: int) -> bool:
        """Take bytes; False where they do not fit."""
        with self._lock:
            fits = self._most_nbytes is None or self.held_nbytes + nbytes <= self._most_nbytes
            self.held_nbytes += nbytes if fits else 0
            return fits

    def give(self, nbytes: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self.held_nbytes -= nbytes


@dataclass(slots=True)
class _Shard:
    ground: Window | None
    """Bounds of what is wanted of it."""
    left_px: int
    """Wanted pixels that have not come."""
    kept: list[Plane] = field(default_factory=list)
    """What waits, over `ground`."""
    begun: bool = False
    """Something of it is stored: the rest may not wait."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """One thread at a time: a part stored alone is stored with what of the shard is there."""


class Shards:
    """The shards of planes (..., row, column) over one window. Safe from any thread."""

    def __init__(
        self, outer: Window, shard_px: tuple[int, int], wanted: Sequence[Window], store: Store, room: Room
    ) -> None:
        """Nothing waits yet.

        Args:
            outer: what the planes cover; shards are counted from its corner.
            shard_px: (rows, columns).
            wanted: disjoint windows; what is put are disjoint parts of them. Without any nothing waits.
            store: stores planes over a window of one shard.
            room: for what waits.
        """
        self._outer, self._shard_px, self._wanted = outer, shard_px, tuple(wanted)
        self._store, self._room = store, room
        self._lock = threading.Lock()
        self._shards: dict[Window, _Shard] = {}

    def put(self, window: Window, planes: Sequence[Plane]) -> None:
        """Take the planes of a window."""
        for place, part in self._parts(window):
            shard = self._shard(place)
            with shard.lock:
                alone = not shard.kept and shard.left_px == _area(part)
                shard.left_px -= _area(part)
                rows, cols = part.slices_in(window)
                pixels = [plane[..., rows, cols] for plane in planes]
                if alone or not self._keep(shard, part, pixels):
                    self._store(part, pixels)
                    shard.begun = True
                if shard.left_px == 0:
                    self._release(shard)

    def finish(self) -> None:
        """Store all that waits: the last call."""
        for shard in self._shards.values():
            self._release(shard)

    def _parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """The shards that a window meets, and its parts in them."""
        rows, cols = self._shard_px
        top, left = self._outer.y0, self._outer.x0
        for y0 in range(top + (window.y0 - top) // rows * rows, window.y1, rows):
            for x0 in range(left + (window.x0 - left) // cols * cols, window.x1, cols):
                place = Window(x0=x0, y0=y0, x1=x0 + cols, y1=y0 + rows)
                if part := place.intersect(window):
                    yield place, part

    def _shard(self, place: Window) -> _Shard:
        with self._lock:
            if place not in self._shards:
                parts = [part for window in self._wanted if (part := window.intersect(place))]
                ground = reduce(Window.union_bounds, parts) if parts else None
                self._shards[place] = _Shard(ground=ground, left_px=sum(map(_area, parts)))
            return self._shards[place]

    def _keep(self, shard: _Shard, part: Window, pixels: Sequence[Plane]) -> bool:
        """Copy a part to what waits; False where it cannot wait."""
        if shard.ground is None:
            return False
        if not shard.kept and not shard.begun:
            wanted = _area(shard.ground) * sum(plane[..., 0, 0].nbytes for plane in pixels)
            if self._room.take(wanted):
                shard.kept = [np.zeros((*plane.shape[:-2], *shard.ground.shape), plane.dtype) for plane in pixels]
        if not shard.kept or any(new.itemsize > old.itemsize for new, old in zip(pixels, shard.kept, strict=True)):
            self._release(shard)
            return False
        rows, cols = part.slices_in(shard.ground)
        for new, old in zip(pixels, shard.kept, strict=True):
            old[..., rows, cols] = new
        return True

    def _release(self, shard: _Shard) -> None:
        if shard.kept and shard.ground is not None:
            self._store(shard.ground, shard.kept)
            self._room.give(sum(plane.nbytes for plane in shard.kept))
            shard.kept, shard.begun = [], True


def _area(window: Window) -> int:
    return window.height_px * window.width_px
