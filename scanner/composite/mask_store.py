"""The cloud masks of every scene over a unit, packed: read once, asked for as often as blocks are reduced.

A mask is kept in chunks. A chunk whose pixels are all alike is a number; of the others LZ4 leaves a small part, and
what exceeds the memory they were given goes to a temporary file, so that the bytes held do not grow with the scenes.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tiling import Window

__all__ = ["CHUNK_PX", "MaskStore"]

CHUNK_PX = 512
"""Edge of a chunk: a block of 1024 px of 10 m under a mask of 20 m."""


class MaskStore:
    """States (uint8, bits of `scanner.composite.states`) by plane; of what was never put they are 0.

    Chunks are cut from `origin`. Any thread may put and get; two must not put into the same chunk at once.
    """

    def __init__(self, window: Window, planes: int, *, origin: tuple[int, int] = (0, 0), most_nbytes: int) -> None:
        """An empty store.

        Args:
            window: mask pixels that may be put.
            planes: how many masks.
            origin: (row, column) of a mask pixel where a chunk begins.
            most_nbytes: what is held in memory; the rest goes to a file.
        """
        self.window = window
        self._row0, self._column0 = ((low - o) // CHUNK_PX * CHUNK_PX + o for low, o in zip(
            (window.y0, window.x0), origin, strict=True))  # fmt: skip
        shape = (-(-(window.y1 - self._row0) // CHUNK_PX), -(-(window.x1 - self._column0) // CHUNK_PX))
        self._any = np.zeros((planes, *shape), np.uint8)
        self._all = np.zeros((planes, *shape), np.uint8)
        self._packed: dict[tuple[int, int, int], bytes | tuple[int, int]] = {}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._free_nbytes = most_nbytes
        self._file: IO[bytes] | None = None
        self._end = 0

    def close(self) -> None:
        """Forget everything."""
        self._packed.clear()
        if self._file is not None:
            self._file.close()

    def put(self, plane: int, window: Window, states: NDArray[np.uint8]) -> None:
        """Keep the states of a window, which begins and ends with chunks or with the store."""
        for key, chunk in self._chunks(plane, window):
            rows, cols = chunk.slices_in(window)
            part = states[rows, cols]
            self._any[key], self._all[key] = _summary(part)
            if self._any[key] != self._all[key]:
                self._shelve(key, _pack(part))
            else:
                self._packed.pop(key, None)

    def get(self, plane: int, window: Window, out: NDArray[np.uint8]) -> None:
        """Write the states of a window of the store into `out` (row, column)."""
        for key, chunk in self._chunks(plane, window):
            part = chunk.intersect(window)
            if part is None:
                continue
            target = out[part.slices_in(window)]
            if key in self._packed:
                target[...] = self._unpack(key, chunk)[part.slices_in(chunk)]
            else:
                target[...] = self._any[key]

    def any_of(self, plane: int, window: Window) -> int:
        """All bits that occur in the chunks under a window."""
        return int(np.bitwise_or.reduce(self._any[plane, *self._span(window)], axis=None))

    def all_of(self, plane: int) -> NDArray[np.uint8]:
        """By chunk (row, column): the bits that all its pixels have."""
        every: NDArray[np.uint8] = self._all[plane]
        return every

    def _span(self, window: Window) -> tuple[slice, slice]:
        return (
            slice((window.y0 - self._row0) // CHUNK_PX, -(-(window.y1 - self._row0) // CHUNK_PX)),
            slice((window.x0 - self._column0) // CHUNK_PX, -(-(window.x1 - self._column0) // CHUNK_PX)),
        )

    def _chunks(self, plane: int, window: Window) -> Iterator[tuple[tuple[int, int, int], Window]]:
        rows, columns = self._span(window)
        for row in range(rows.start, rows.stop):
            for column in range(columns.start, columns.stop):
                y0, x0 = self._row0 + row * CHUNK_PX, self._column0 + column * CHUNK_PX
                chunk = Window(x0=x0, y0=y0, x1=x0 + CHUNK_PX, y1=y0 + CHUNK_PX).intersect(self.window)
                if chunk is not None:
                    yield (plane, row, column), chunk

    def _shelve(self, key: tuple[int, int, int], data: bytes) -> None:
        with self._lock:
            if self._free_nbytes >= len(data):
                self._free_nbytes -= len(data)
                self._packed[key] = data
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="minescan-masks-")  # noqa: SIM115  closed by `close`
            place, self._end = self._end, self._end + len(data)
            os.pwrite(self._file.fileno(), data, place)
            self._packed[key] = (place, len(data))

    def _unpack(self, key: tuple[int, int, int], chunk: Window) -> NDArray[np.uint8]:
        from imagecodecs import lz4_decode  # noqa: PLC0415

        packed = self._packed[key]
        if isinstance(packed, tuple):
            assert self._file is not None  # noqa: S101
            packed = os.pread(self._file.fileno(), packed[1], packed[0])
        buffer: NDArray[np.uint8] | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = np.empty(CHUNK_PX * CHUNK_PX, np.uint8)
        out: Any = buffer[: chunk.height_px * chunk.width_px]
        lz4_decode(packed, out=out)
        states: NDArray[np.uint8] = out.reshape(chunk.shape)
        return states


def _pack(states: NDArray[np.uint8]) -> bytes:
    from imagecodecs import lz4_encode  # noqa: PLC0415

    return bytes(lz4_encode(states.tobytes()))


@njit(nogil=True, cache=True)
def _summary(states: NDArray[np.uint8]) -> tuple[np.uint8, np.uint8]:
    """Bits that some pixel has, and bits that every pixel has."""
    some, every = np.uint8(0), np.uint8(255)
    for y in range(states.shape[0]):
        row = states[y]
        for x in range(states.shape[1]):
            some = np.uint8(some | row[x])
            every = np.uint8(every & row[x])
    return some, every
