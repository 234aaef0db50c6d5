"""What a composite cannot do without: inflating each block once, the medians, the writing, the convolutions.

Each is done by the fastest means tried and by as many threads as the program gets, on nothing but its own data.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import ours
import rasterio
import tifffile
import torch
from numba import njit
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow
from scenes import BLOCK_PX, GSD, TILE, blocks_under

from models import find_card
from models.networks import build
from scanner.composite.median import masked_median
from scanner.store.composite import CompositeWriter
from scanner.types import Scene
from tiling import Window

__all__ = ["Raster", "convolve", "decode_direct", "decode_gdal", "medians", "rasters", "write"]

STRIP = (16, 1024)
"""Pixels whose medians are taken at once: 24 looks of them fit a core's second cache."""
STRIP_ROWS = 5
"""Rows of the second layer's pooled maps made at once."""

OPTIONS = {"GDAL_CACHEMAX": 1_000_000, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """One file's blocks that meet the ground."""

    path: str
    """Local path."""
    dtype: str
    """Of its pixels."""
    blocks: tuple[Window, ...]
    """File pixels."""
    ranges: tuple[tuple[int, int], ...]
    """Offset and length of each block, bytes."""

    @property
    def nbytes(self) -> int:
        """Of the blocks, inflated."""
        return len(self.blocks) * BLOCK_PX**2 * np.dtype(self.dtype).itemsize


def rasters(scenes: Iterable[Scene], window: Window, bands: Sequence[str]) -> list[Raster]:
    """The files of the bands and of the masks. Their headers are read here, once: that is not timed."""
    found = []
    for scene in scenes:
        for name in (*bands, "SCL"):
            asset = scene.assets[name]
            blocks = tuple(blocks_under(window, int(asset.gsd_m)))
            with tifffile.TiffFile(asset.href) as file:
                page = file.pages[0]
                across = -(-page.imagewidth // BLOCK_PX)
                places = [block.y0 // BLOCK_PX * across + block.x0 // BLOCK_PX for block in blocks]
                ranges = tuple((page.dataoffsets[place], page.databytecounts[place]) for place in places)
            found.append(Raster(path=asset.href, dtype=str(page.dtype), blocks=blocks, ranges=ranges))
    return found


def decode_gdal(files: Sequence[Raster], threads: int) -> None:
    """Every block once, by GDAL with its block cache off, into the same buffer."""
    local = threading.local()

    def read(file: Raster) -> None:
        buffer = _buffer(local, file.dtype)
        with rasterio.Env(**OPTIONS), rasterio.open(file.path) as data:
            for block in file.blocks:
                window = RasterWindow(block.x0, block.y0, block.width_px, block.height_px)
                data.read(1, window=window, out=buffer)

    _spread(read, files, threads)


def decode_direct(files: Sequence[Raster], threads: int) -> None:
    """Every block once: pread, libdeflate into the same buffer, the predictor undone there."""
    local = threading.local()

    def read(file: Raster) -> None:
        buffer = _buffer(local, file.dtype)
        handle = os.open(file.path, os.O_RDONLY)
        try:
            for offset, nbytes in file.ranges:
                imagecodecs.deflate_decode(os.pread(handle, nbytes, offset), out=buffer.reshape(-1).view(np.uint8))
                _sum_rows(buffer)
        finally:
            os.close(handle)

    _spread(read, files, threads)


def _buffer(local: threading.local, dtype: str) -> NDArray[np.generic]:
    if not hasattr(local, dtype):
        setattr(local, dtype, np.empty((BLOCK_PX, BLOCK_PX), dtype))
    buffer: NDArray[np.generic] = getattr(local, dtype)
    return buffer


def _spread(call: Callable[[Raster], None], files: Sequence[Raster], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, files))


@njit(nogil=True, cache=True)
def _sum_rows(block: NDArray[np.uint16]) -> None:
    """Undo predictor 2; sums wrap where they are stored."""
    for y in range(block.shape[0]):
        row, total = block[y], np.int64(0)
        for x in range(row.shape[0]):
            total += row[x]
            row[x] = total


def medians(window: Window, bands: Sequence[str], looks: int, threads: int) -> None:
    """The kernel over as many values as the ground has, from memory that stays in the cache."""
    stack = np.random.default_rng(0).integers(0, 9000, (looks, *STRIP), dtype=np.uint16)
    stack[stack < 3600] = 0
    pixels = sum(window.at(GSD[band] // 10).width_px * window.at(GSD[band] // 10).height_px for band in bands)
    strips = -(-pixels // (STRIP[0] * STRIP[1]))

    def take(share: int) -> None:
        median, count = np.empty(STRIP, np.uint16), np.empty(STRIP, np.uint16)
        for _ in range(share, strips, threads):
            masked_median(stack, median, count)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(take, range(threads)))


def write(folder: Path, stored: ours.Stored) -> None:
    """A composite's own arrays, whole bands at a time."""
    writer = CompositeWriter(folder, TILE, {band: GSD[band] for band in stored})
    for band, parts in stored.items():
        writer.write(band, *parts)
    if hasattr(writer, "finish"):
        writer.finish()


def convolve(height_px: int, width_px: int, card: str, threads: int) -> None:
    """The detector's convolutions, pools and clipping over as much ground, each map once, on random numbers.

    The first two layers run in strips that stay in the cache, as the detector's do.
    """
    torch.set_num_threads(threads)
    known = find_card(card)
    net = build(known.network, bands=len(known.bands), classes=len(known.classes)).eval()
    rows, columns = (((edge - 2) // 3 - 2) // 3 for edge in (height_px, width_px))
    strip = _maps(len(known.bands), 9 * STRIP_ROWS + 2, 9 * columns + 8)
    first, second = _maps(32, 3 * STRIP_ROWS + 2, 3 * columns + 2), _maps(64, rows, columns)
    with torch.inference_mode():
        for _ in range(0, rows, STRIP_ROWS):
            _pooled(net.conv1(strip))
            _pooled(net.conv2(first))
        net.head(torch.relu(net.conv4(_pooled(net.conv3(second)))))


def _maps(depth: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(1, depth, height, width).to(memory_format=torch.channels_last)


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.nn.functional.max_pool2d(maps, 3))
