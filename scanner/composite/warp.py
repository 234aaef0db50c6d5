"""Which pixel of a file lies under each pixel of the zone: the nearest one, exactly, whatever the block.

A target pixel's centre goes through pyproj, one point at a time; the source pixel that contains it is taken. GDAL's
warper approximates over blocks by default, so its pixels would depend on how the target is cut.
"""

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pyproj import Transformer

from scanner.composite.tiff import Grid
from tiling import Window, northing, row_of

__all__ = ["Placement", "PlacementCache", "aligned_offset", "extent_of", "place"]

Pixel = TypeVar("Pixel", np.uint8, np.uint16)

STRIP_PX = 65536
"""Pixels transformed at once: the floats between them would else outweigh the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a window of the zone is filled from a file."""

    source: Window
    """The pixels of the file to read."""
    target: Window
    """The part of the zone window they fill, in pixels from its upper left corner."""
    index: NDArray[np.int32] | None
    """(row, column) over `target`: position in the flattened `source`, -1 outside the file. None: pixel by pixel."""

    def apply(self, pixels: NDArray[Pixel], absent: int) -> NDArray[Pixel]:
        """The target's values from the source's; `absent` where the file has none."""
        if self.index is None:
            return pixels
        out = np.empty(self.index.shape, pixels.dtype)
        _gather(pixels.reshape(-1), self.index.reshape(-1), pixels.dtype.type(absent), out.reshape(-1))
        return out


def aligned_offset(grid: Grid, zone: int, gsd_m: int) -> tuple[int, int] | None:
    """The zone pixel (column, row) of the file's first pixel, when the file's pixels are the zone's; else None."""
    if grid.crs != f"EPSG:{zone}" or (grid.dx, -grid.dy) != (gsd_m, gsd_m):
        return None
    column, row = grid.x0 / gsd_m, row_of(zone, grid.y0, gsd_m)
    return (int(column), int(row)) if column.is_integer() and row.is_integer() else None


def place(grid: Grid, zone: int, gsd_m: int, window: Window) -> Placement | None:
    """How `window`, in zone pixels of `gsd_m`, is filled from a file; None when the file does not reach it.

    Args:
        grid: the file's.
        zone: EPSG code of the target.
        gsd_m: pixel size of the target.
        window: the target.
    """
    offset = aligned_offset(grid, zone, gsd_m)
    if offset is not None:
        column, row = offset
        part = window.intersect(Window(x0=column, y0=row, x1=column + grid.width_px, y1=row + grid.height_px))
        if part is None:
            return None
        return Placement(source=_shift(part, column, row), target=_shift(part, window.x0, window.y0), index=None)
    if grid.crs == f"EPSG:{zone}":
        return _straight(grid, zone, gsd_m, window)
    return _warped(grid, zone, gsd_m, window)


def extent_of(grid: Grid, zone: int) -> Window | None:
    """The zone pixels (10 m) that a file may reach, generously; None where it cannot be projected."""
    edge = np.linspace(0.0, 1.0, 33)
    fx = np.concatenate([edge, edge, np.zeros(33), np.ones(33)])
    fy = np.concatenate([np.zeros(33), np.ones(33), edge, edge])
    x, y = grid.x0 + fx * grid.width_px * grid.dx, grid.y0 + fy * grid.height_px * grid.dy
    if grid.crs != f"EPSG:{zone}":
        x, y = _to_source(grid.crs, zone).transform(x, y, direction="INVERSE")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    slack = 0 if grid.crs == f"EPSG:{zone}" else 50
    return Window(
        x0=int(np.floor(x.min() / 10)) - slack, y0=int(np.floor(row_of(zone, y.max()))) - slack,
        x1=int(np.ceil(x.max() / 10)) + slack, y1=int(np.ceil(row_of(zone, y.min()))) + slack,
    )  # fmt: skip


def _shift(window: Window, x: int, y: int) -> Window:
    return Window(x0=window.x0 - x, y0=window.y0 - y, x1=window.x1 - x, y1=window.y1 - y)


@lru_cache(maxsize=64)
def _to_source(crs: str, zone: int) -> Transformer:
    return Transformer.from_crs(f"EPSG:{zone}", crs, always_xy=True)


def _straight(grid: Grid, zone: int, gsd_m: int, window: Window) -> Placement | None:
    """The same CRS on another pixel grid: rows and columns are found apart."""
    east = (np.arange(window.x0, window.x1, dtype=np.float64) + 0.5) * gsd_m
    north = northing(zone, np.arange(window.y0, window.y1, dtype=np.float64) + 0.5, gsd_m)
    columns, rows = _cells(east, grid.x0, grid.dx, grid.width_px), _cells(north, grid.y0, grid.dy, grid.height_px)
    return _indexed(np.broadcast_to(columns, window.shape), np.broadcast_to(rows[:, None], window.shape))


def _warped(grid: Grid, zone: int, gsd_m: int, window: Window) -> Placement | None:
    columns, rows = np.empty(window.shape, np.int32), np.empty(window.shape, np.int32)
    east = (np.arange(window.x0, window.x1, dtype=np.float64) + 0.5) * gsd_m
    step = max(1, STRIP_PX // window.width_px)
    for top in range(0, window.height_px, step):
        strip = slice(top, min(top + step, window.height_px))
        middle = np.arange(window.y0 + strip.start, window.y0 + strip.stop, dtype=np.float64) + 0.5
        x, y = _to_source(grid.crs, zone).transform(*np.meshgrid(east, northing(zone, middle, gsd_m)))
        columns[strip] = _cells(x, grid.x0, grid.dx, grid.width_px)
        rows[strip] = _cells(y, grid.y0, grid.dy, grid.height_px)
    return _indexed(columns, rows)


def _cells(at: NDArray[np.float64], origin: float, step: float, size: int) -> NDArray[np.int32]:
    """The pixel along one axis that holds each coordinate, -1 outside; what cannot be projected is infinite."""
    cell = np.floor((at - origin) / step)
    return np.where((cell >= 0) & (cell < size), cell, -1).astype(np.int32)


def _indexed(columns: NDArray[np.int32], rows: NDArray[np.int32]) -> Placement | None:
    inside = (columns >= 0) & (rows >= 0)
    if not inside.any():
        return None
    source = Window(
        x0=int(columns.min(where=inside, initial=2**31 - 1)), y0=int(rows.min(where=inside, initial=2**31 - 1)),
        x1=int(columns.max(where=inside, initial=0)) + 1, y1=int(rows.max(where=inside, initial=0)) + 1,
    )  # fmt: skip
    index = (rows - np.int32(source.y0)) * np.int32(source.width_px) + (columns - np.int32(source.x0))
    index[~inside] = -1
    height, width = index.shape
    return Placement(source=source, target=Window(x0=0, y0=0, x1=width, y1=height), index=index)


@dataclass(slots=True)
class PlacementCache:
    """Warps of recent windows: they cost more than decoding, and all looks and bands of a granule grid share them."""

    most_nbytes: int
    """What is kept takes at most this, or is one warp."""
    _kept: dict[tuple[Grid, int, Window], Placement | None] = field(default_factory=dict)
    _nbytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, grid: Grid, zone: int, gsd_m: int, window: Window) -> Placement | None:
        """As `place`."""
        if aligned_offset(grid, zone, gsd_m) is not None:
            return place(grid, zone, gsd_m, window)
        key = (grid, gsd_m, window)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        found = place(grid, zone, gsd_m, window)
        with self._lock:
            if key not in self._kept:
                self._nbytes += _index_nbytes(found)
                while self._kept and self._nbytes > self.most_nbytes:
                    self._nbytes -= _index_nbytes(self._kept.pop(next(iter(self._kept))))
                self._kept[key] = found
        return found


def _index_nbytes(placement: Placement | None) -> int:
    return 0 if placement is None or placement.index is None else int(placement.index.nbytes)


@njit(nogil=True, cache=True)
def _gather(pixels: NDArray[Any], index: NDArray[np.int32], absent: Any, out: NDArray[Any]) -> None:
    for i in range(index.shape[0]):
        out[i] = pixels[index[i]] if index[i] >= 0 else absent
