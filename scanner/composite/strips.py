"""A block of the composite taken strip by strip: what is kept of its files from one strip to the next.

Of a deflate block the state of its inflater is kept, so that each row is inflated once; packed blocks of remote files
wait in a temporary file. Blocks packed in other ways are inflated again for every strip.
"""

import os
import tempfile
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from scanner.composite.inflate import STATE_NBYTES, Stream, blocks_in, extent_of
from scanner.composite.read import AssetKey, File, Reader
from scanner.composite.tiff import Layout
from scanner.errors import AssetError
from scanner.types import Scene
from tiling import Window

__all__ = ["Strips"]

Block = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of a file."""

    file: File
    """Which."""
    layout: Layout
    """Its layout."""
    whole: Window
    """All pixels of the file that the strips will ask for."""
    spooled: dict[Block, int] = field(default_factory=dict)
    """Where the packed blocks of a remote file lie in the temporary file."""
    streams: dict[Block, Stream] = field(default_factory=dict)
    """Blocks inflated in part."""


class Strips:
    """Reads the strips of one block, from the top, in one thread."""

    def __init__(
        self, reader: Reader, block: Window, refused: dict[AssetKey, str], *, most_nbytes: int
    ) -> None:  # fmt: skip
        """Nothing is kept yet.

        Args:
            reader: opens the files.
            block: pixels of the band, all strips together.
            refused: files that give this block nothing, and why; those found spoilt are added.
            most_nbytes: of inflaters kept; blocks for which there is no room are inflated again for every strip.
        """
        self.block = block
        self._reader = reader
        self._refused, self._before = refused, len(refused)
        self._kept: dict[AssetKey, _Kept] = {}
        self._room = most_nbytes // STATE_NBYTES
        self._spool: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A stream fetches through what keeps it: a ring that only the collector would find.
        for kept in self._kept.values():
            kept.streams.clear()
        if self._spool is not None:
            self._spool.close()

    def read(
        self, scene: Scene, asset: str, whole: Window, window: Window, out: NDArray[np.uint8]
    ) -> NDArray[Any]:  # fmt: skip
        """As `Reader.read`.

        Args:
            scene: whose file.
            asset: which.
            whole: pixels of the file that all strips together ask for.
            window: pixels of the file.
            out: bytes that may be used for the result.

        Raises:
            AssetError: the file is among the refused, or from now on.
        """
        key = (scene.collection, scene.id, asset)
        if key in self._refused:
            raise AssetError(scene.assets[asset].href, self._refused[key])
        try:
            return self._reader.read(scene, asset, window, out=out, direct=partial(self._direct, whole))
        except AssetError as error:
            self._refused[key] = error.reason
            raise

    def finish(self) -> bool:
        """Check blocks that were inflated in part; returns whether no file was refused since the beginning."""
        for key, kept in self._kept.items():
            try:
                for stream in kept.streams.values():
                    stream.finish()
            except (OSError, ValueError) as error:
                self._refused.setdefault(key, str(error))
        return len(self._refused) == self._before

    def _direct(self, whole: Window, file: File, layout: Layout, window: Window, out: NDArray[Any]) -> int:
        kept = self._kept.get(file.key)
        if kept is None:
            kept = _Kept(file, layout, whole)
            if file.place.is_remote:
                self._spool_blocks(kept)
            self._kept[file.key] = kept
        return sum(self._put(kept, block, window, out) for block in blocks_in(layout, window))

    def _put(self, kept: _Kept, block: Block, window: Window, out: NDArray[Any]) -> int:
        """Part of a block; returns the bytes inflated, a stream's when it begins."""
        layout = kept.layout
        extent, size = extent_of(layout, block), int(layout.sizes[block])
        part, needed = extent.intersect(window), extent.intersect(kept.whole)
        assert part is not None  # noqa: S101
        assert needed is not None  # noqa: S101
        nbytes = extent.width_px * extent.height_px * layout.dtype.itemsize
        fetch = partial(self._fetch, kept, block)
        stream, begun = kept.streams.get(block), 0
        if stream is None and layout.codec == "deflate" and size and self._room and part.y1 < needed.y1:
            stream, begun = Stream(fetch, size, nbytes), nbytes
            kept.streams[block] = stream
            self._room -= 1
        above = (part.y0 - extent.y0) * extent.width_px * layout.dtype.itemsize
        if stream is None or stream.nbytes_done > above:
            self._reader.inflater.put(layout, block, fetch(0, size), window, out)
            return begun + nbytes
        self._reader.inflater.put_rows(layout, stream, part, extent, out[part.slices_in(window)])
        if part.y1 == needed.y1:
            stream.finish()
            del kept.streams[block]
            self._room += 1
        return begun

    def _fetch(self, kept: _Kept, block: Block, start: int, stop: int) -> memoryview:
        """Packed bytes of a block."""
        data = self._reader.buffer(stop - start)
        if block in kept.spooled:
            assert self._spool is not None  # noqa: S101
            os.preadv(self._spool.fileno(), [data], kept.spooled[block] + start)
        else:
            self._reader.fetcher.read_into(kept.file.place, int(kept.layout.starts[block]) + start, data)
        return data

    def _spool_blocks(self, kept: _Kept) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="minescan-strips-", buffering=0)  # noqa: SIM115  closed on exit
        parts = self._reader.packed(kept.file, kept.layout, kept.whole)
        for block, data in zip(blocks_in(kept.layout, kept.whole), parts, strict=True):
            kept.spooled[block] = self._spool.tell()
            self._spool.write(data)
