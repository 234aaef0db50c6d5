"""What the header of a TIFF file says: where its blocks lie, how they are packed, and where they are on the ground.

Only what the direct reader can inflate is described (one band of unsigned integers, north up, little-endian); of any
other file `layout_of` says nothing, and GDAL reads it. Tags: TIFF 6.0, BigTIFF, GeoTIFF 1.1.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiling import Window

__all__ = ["HEAD_NBYTES", "Codec", "Grid", "Layout", "layout_of"]

HEAD_NBYTES = 32768
"""Read at once: the directories of a COG of a whole granule, with its overviews, lie in it."""

Tags = dict[int, NDArray[Any]]
"""A directory's values by tag."""

Codec = Literal["none", "lzw", "deflate", "zstd"]

Read = Callable[[int, int], bytes | memoryview]
"""Bytes from a position up to another; fewer only where the file ends."""

_CODECS: dict[int, Codec] = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 50000: "zstd"}
_TYPES = {1: "u1", 2: "S1", 3: "<u2", 4: "<u4", 12: "<f8", 16: "<u8"}
_MOST_DIRECTORY_NBYTES = 1 << 26
_MOST_DIRECTORIES = 64

_KIND, _REDUCED = 254, 1

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _STRIPS, _SAMPLES = 256, 257, 258, 259, 273, 277
_ROWS_PER_STRIP, _STRIP_NBYTES, _PREDICTOR = 278, 279, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_NBYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_PIXEL_SCALE, _TIEPOINTS, _GEO_KEYS, _NODATA = 33550, 33922, 34735, 42113
_MODEL_TYPE, _RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1024, 1025, 2048, 3072


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where a file's pixels lie, and in which blocks."""

    crs: str
    """`EPSG:code`, or WKT where there is no code."""
    x0: float
    """Left edge, CRS units."""
    y0: float
    """Top edge, CRS units."""
    dx: float
    """Pixel width, CRS units."""
    dy: float
    """Pixel height, CRS units, negative: rows go down."""
    width_px: int
    """Columns."""
    height_px: int
    """Rows."""
    block: tuple[int, int]
    """(rows, columns) of an internal block."""
    itemsize: int
    """Bytes of a pixel in the file."""
    overviews: tuple[int, ...] = ()
    """Factors of the reduced copies inside the file."""

    @property
    def window(self) -> Window:
        """All pixels of the file."""
        return Window(x0=0, y0=0, x1=self.width_px, y1=self.height_px)

    def nbytes_of(self, window: Window) -> int:
        """Bytes inflated to read a window: whole blocks."""
        rows, cols = self.block
        down = -(-window.y1 // rows) - window.y0 // rows
        across = -(-window.x1 // cols) - window.x0 // cols
        return down * across * rows * cols * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """A file that can be inflated block by block."""

    grid: Grid
    """Where its pixels lie."""
    codec: Codec
    """How a block is packed."""
    predicted: bool
    """Whether rows hold differences of neighbours (predictor 2)."""
    dtype: np.dtype[np.generic]
    """uint8 or uint16."""
    fill: int
    """Value of a block that the file leaves out."""
    starts: NDArray[np.int64]
    """(block row, block column) position of each block."""
    sizes: NDArray[np.int64]
    """(block row, block column) bytes of each block; 0 where the file leaves it out."""
    reduced: Mapping[int, "Layout"]
    """The reduced copies by factor."""

    def rows_in(self, block_row: int) -> int:
        """Rows a block of this row holds: the last strip ends with the file, a tile does not."""
        rows, cols = self.grid.block
        whole = cols != self.grid.width_px or self.starts.shape[1] != 1
        return rows if whole else min(rows, self.grid.height_px - block_row * rows)


class _Unknown(Exception):  # noqa: N818  not an error: GDAL reads the file
    """Something the direct reader does not know."""


def layout_of(read: Read) -> Layout | None:
    """The layout of a file, or None when it is one for GDAL.

    Args:
        read: gives bytes of the file; what lies in the first `HEAD_NBYTES` is asked for once.
    """
    try:
        first, *others = _directories(read)
        place, crs = _place(first), _crs(first)
        reduced = {}
        for tags in others:
            if int(tags[_KIND][0]) == _REDUCED:
                factor = round(int(first[_WIDTH][0]) / int(tags[_WIDTH][0]))
                x0, y0, dx, dy = place
                reduced[factor] = _layout(tags, (x0, y0, dx * factor, dy * factor), crs)
        whole = _layout(first, place, crs)
        return replace(whole, grid=replace(whole.grid, overviews=tuple(sorted(reduced))), reduced=reduced)
    except (_Unknown, struct.error, KeyError, ValueError, IndexError):
        return None


def _directories(read: Read) -> Iterator[Tags]:
    """The full-size image first."""
    head = bytes(read(0, HEAD_NBYTES))

    def at(start: int, stop: int) -> bytes:
        if stop - start > _MOST_DIRECTORY_NBYTES:
            raise _Unknown
        part = head[start:stop] if stop <= len(head) else bytes(read(start, stop))
        if len(part) < stop - start:
            raise _Unknown
        return part

    magic = head[:4]
    if magic == b"II*\0":
        form = _Form("<I", "<H", "<HHI", 4)
    elif magic == b"II+\0":
        form = _Form("<Q", "<Q", "<HHQ", 8)
    else:
        raise _Unknown
    (directory,) = struct.unpack(form.offset, at(form.inline, 2 * form.inline))
    for _ in range(_MOST_DIRECTORIES):
        tags, directory = _tags(form, at, directory)
        yield tags
        if not directory:
            return


@dataclass(frozen=True, slots=True)
class _Form:
    """How classic TIFF and BigTIFF write their directories."""

    offset: str
    count: str
    entry: str
    inline: int


def _tags(form: _Form, at: Callable[[int, int], bytes], directory: int) -> tuple[Tags, int]:
    """A directory, and where the next one lies; 0 after the last."""
    (entries,) = struct.unpack(form.count, at(directory, directory + struct.calcsize(form.count)))
    size, place = struct.calcsize(form.entry) + form.inline, directory + struct.calcsize(form.count)
    table = at(place, place + entries * size + form.inline)
    tags: Tags = {_KIND: np.zeros(1, np.uint32)}
    for start in range(0, entries * size, size):
        tag, kind, length = struct.unpack_from(form.entry, table, start)
        if kind not in _TYPES:
            continue
        dtype = np.dtype(_TYPES[kind])
        nbytes, value = dtype.itemsize * length, start + size - form.inline
        if nbytes > form.inline:
            (where,) = struct.unpack_from(form.offset, table, value)
            tags[tag] = np.frombuffer(at(where, where + nbytes), dtype)
        else:
            tags[tag] = np.frombuffer(table, dtype, length, value)
    (following,) = struct.unpack_from(form.offset, table, entries * size)
    return tags, following


def _layout(tags: Tags, place: tuple[float, float, float, float], crs: str) -> Layout:
    def number(tag: int, default: int | None = None) -> int:
        if tag not in tags and default is not None:
            return default
        return int(tags[tag][0])

    width, height, bits = number(_WIDTH), number(_HEIGHT), number(_BITS, 1)
    plain = number(_SAMPLES, 1) == 1 and number(_SAMPLE_FORMAT, 1) == 1 and bits in {8, 16}
    codec, predictor = _CODECS.get(number(_COMPRESSION, 1)), number(_PREDICTOR, 1)
    if not plain or codec is None or predictor not in {1, 2}:
        raise _Unknown
    if _TILES in tags:
        block, starts, sizes = (number(_TILE_HEIGHT), number(_TILE_WIDTH)), tags[_TILES], tags[_TILE_NBYTES]
    else:
        block, starts, sizes = (min(number(_ROWS_PER_STRIP, height), height), width), tags[_STRIPS], tags[_STRIP_NBYTES]
    shape = (-(-height // block[0]), -(-width // block[1]))
    x0, y0, dx, dy = place
    grid = Grid(crs=crs, x0=x0, y0=y0, dx=dx, dy=dy, width_px=width, height_px=height, block=block, itemsize=bits // 8)
    return Layout(
        grid=grid, codec=codec, predicted=predictor == 2 and codec != "none", dtype=np.dtype(f"u{bits // 8}"),
        fill=_nodata(tags, bits), starts=starts.astype(np.int64).reshape(shape),
        sizes=sizes.astype(np.int64).reshape(shape), reduced={},
    )  # fmt: skip


def _place(tags: Tags) -> tuple[float, float, float, float]:
    """Left, top, pixel width, pixel height (negative) of a north-up image."""
    scale, tie = tags[_PIXEL_SCALE].astype(float), tags[_TIEPOINTS].astype(float)
    if len(tie) != 6 or scale[0] <= 0 or scale[1] <= 0:
        raise _Unknown
    return tie[3] - tie[0] * scale[0], tie[4] + tie[1] * scale[1], float(scale[0]), float(-scale[1])


def _crs(tags: Tags) -> str:
    """The EPSG code in the GeoTIFF keys; pixels must be areas."""
    keys = tags[_GEO_KEYS].astype(int)[4:].reshape(-1, 4)
    short = {int(key): int(value) for key, where, _, value in keys if where == 0}
    code = short.get({1: _PROJECTED, 2: _GEOGRAPHIC}.get(short.get(_MODEL_TYPE, 0), -1), 32767)
    if code == 32767 or short.get(_RASTER_TYPE, 1) != 1:
        raise _Unknown
    return f"EPSG:{code}"


def _nodata(tags: Tags, bits: int) -> int:
    """What GDAL gives for blocks that the file leaves out."""
    if _NODATA not in tags:
        return 0
    value = float(tags[_NODATA].tobytes().split(b"\0")[0])
    if not value.is_integer() or not 0 <= value < 1 << bits:
        raise _Unknown
    return int(value)
