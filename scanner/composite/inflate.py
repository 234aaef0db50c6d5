"""A block's bytes to its pixels: libdeflate and its kin from imagecodecs, and the predictor undone in place.

GDAL gives the same pixels at about twice the time: libdeflate inflates faster than the zlib it is built with, and no
block cache is filled. libdeflate wants room for the whole block; where there is none, ISA-L goes through it in steps.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.tiff import Layout
from tiling import Window

__all__ = ["STATE_NBYTES", "Inflater", "Stream", "blocks_in", "extent_of"]

PIECE_NBYTES = 32 * 1024
"""Packed bytes fed to a stream at once, and held by it until they are inflated."""

STEP_NBYTES = 64 * 1024
"""Inflated bytes taken from a stream at once, so that they are still in the cache when they are copied."""

STATE_NBYTES = 128 * 1024
"""What a stream holds: tables and window, 86 KB, and a piece."""


def blocks_in(layout: Layout, window: Window) -> list[tuple[int, int]]:
    """(block row, block column) of every block that a window of the file meets, row by row."""
    rows, cols = layout.grid.block
    return [
        (row, column)
        for row in range(window.y0 // rows, -(-window.y1 // rows))
        for column in range(window.x0 // cols, -(-window.x1 // cols))
    ]


def extent_of(layout: Layout, block: tuple[int, int]) -> Window:
    """The pixels of the file that a block holds."""
    rows, cols = layout.grid.block
    return Window(
        x0=block[1] * cols, y0=block[0] * rows, x1=(block[1] + 1) * cols, y1=block[0] * rows + layout.rows_in(block[0])
    )


class Inflater:
    """Inflates blocks into windows; each thread has a buffer of one block."""

    def __init__(self) -> None:
        self._local = threading.local()

    def put(self, layout: Layout, block: tuple[int, int], data: Any, window: Window, out: NDArray[Any]) -> None:
        """Write the part of a block that lies in `window` (pixels of the file) into `out` (row, column).

        Args:
            layout: the file's.
            block: (block row, block column).
            data: the block's bytes; empty where the file leaves it out.
            window: what `out` covers.
            out: of the file's dtype or a wider one.

        Raises:
            ValueError: the bytes are not a whole block of that layout.
        """
        whole = extent_of(layout, block)
        part = whole.intersect(window)
        if part is None:
            return
        target = out[part.slices_in(window)]
        if len(data) == 0:
            target[...] = layout.fill
            return
        pixels = self._inflate(layout, data, (whole.height_px, whole.width_px))
        _put_rows(layout, pixels[part.slices_in(whole)[0]], part.x0 - whole.x0, target)

    def put_rows(self, layout: Layout, stream: "Stream", part: Window, extent: Window, out: NDArray[Any]) -> None:
        """Write part of a block into `out`, of the part's shape, from a stream that has not come further yet.

        Raises:
            ValueError: the bytes are not a whole block of that layout.
        """
        stride = extent.width_px * layout.dtype.itemsize
        stream.skip((part.y0 - extent.y0) * stride - stream.nbytes_done)
        data = self._buffer(part.height_px * stride)
        stream.take(data)
        _put_rows(layout, data.view(layout.dtype).reshape(part.height_px, -1), part.x0 - extent.x0, out)

    def _inflate(self, layout: Layout, data: Any, shape: tuple[int, int]) -> NDArray[Any]:
        nbytes = shape[0] * shape[1] * layout.dtype.itemsize
        if layout.codec == "none":
            if len(data) < nbytes:
                raise ValueError(f"a block has {len(data)} bytes, expected {nbytes}")
            return np.frombuffer(data, layout.dtype, shape[0] * shape[1]).reshape(shape)
        out = self._buffer(nbytes)
        found = _decode(layout.codec, data, out)
        if found != nbytes:
            raise ValueError(f"a block inflates to {found} bytes, expected {nbytes}")
        return out.view(layout.dtype).reshape(shape)

    def _buffer(self, nbytes: int) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] | None = getattr(self._local, "buffer", None)
        if buffer is None or buffer.size < nbytes:
            buffer = self._local.buffer = np.empty(nbytes, np.uint8)
        return buffer[:nbytes]


class Stream:
    """A deflate block, inflated from its beginning as far as is asked."""

    def __init__(self, fetch: Callable[[int, int], Any], nbytes_packed: int, nbytes: int) -> None:
        """Nothing is inflated yet.

        Args:
            fetch: the packed bytes from a position up to another.
            nbytes_packed: of the block.
            nbytes: of the block inflated.
        """
        from isal.igzip_lib import DECOMP_ZLIB, IgzipDecompressor, IsalError  # noqa: PLC0415

        self.nbytes_done = 0
        self._inflater = IgzipDecompressor(flag=DECOMP_ZLIB)
        self._errors: Any = (EOFError, IsalError)  # the stubs take a class for an instance
        self._fetch = fetch
        self._fed, self._nbytes_packed, self._nbytes = 0, nbytes_packed, nbytes

    def take(self, out: NDArray[np.uint8]) -> None:
        """Fill `out` with the next bytes.

        Raises:
            ValueError: they cannot be inflated, or the block ends before.
        """
        done = 0
        while done < out.size:
            part = self._next(min(out.size - done, STEP_NBYTES))
            out[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)

    def skip(self, nbytes: int) -> None:
        """Leave out the next bytes; raises as `take` does."""
        end = self.nbytes_done + nbytes
        while self.nbytes_done < end:
            self._next(min(end - self.nbytes_done, STEP_NBYTES))

    def finish(self) -> None:
        """Inflate the rest, as inflating the whole block would.

        Raises:
            ValueError: the block is shorter or longer than it should be, or its checksum is another.
        """
        self.skip(self._nbytes - self.nbytes_done)
        while not self._inflater.eof:
            self._next(1)
        if self.nbytes_done != self._nbytes:
            raise ValueError(f"a block inflates to more than the expected {self._nbytes} bytes")

    def _next(self, most: int) -> bytes:
        piece: Any = b""
        if self._inflater.needs_input:
            start, self._fed = self._fed, min(self._fed + PIECE_NBYTES, self._nbytes_packed)
            piece = self._fetch(start, self._fed)
            if len(piece) == 0:
                raise ValueError(f"a block inflates to {self.nbytes_done} bytes, expected {self._nbytes}")
        try:
            part: bytes = self._inflater.decompress(piece, most)
        except self._errors as error:
            raise ValueError(f"a block cannot be inflated: {error}") from None
        self.nbytes_done += len(part)
        return part


def _put_rows(layout: Layout, pixels: NDArray[Any], skip: int, out: NDArray[Any]) -> None:
    """Rows of a block as they are packed into `out`, but for the first `skip` columns and those beyond."""
    if layout.predicted:
        _accumulate(pixels, skip, out)
    else:
        out[...] = pixels[:, skip : skip + out.shape[1]]


def _decode(codec: str, data: Any, out: NDArray[np.uint8]) -> int:
    """Bytes written to `out`."""
    import imagecodecs  # noqa: PLC0415

    decode: Any = getattr(imagecodecs, f"{codec}_decode")
    try:
        return len(decode(data, out=out))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"a block cannot be inflated: {error}") from None


@njit(nogil=True, cache=True)
def _accumulate(differences: NDArray[Any], skip: int, out: NDArray[Any]) -> None:
    """Sum differences along rows, modulo the pixel's range; the first `skip` columns are summed and not written."""
    rows, cols = out.shape
    for y in range(rows):
        source, target = differences[y], out[y]
        value = source[0] * 0
        for x in range(skip):
            value = value + source[x]
        for x in range(cols):
            value = value + source[skip + x]
            target[x] = value
