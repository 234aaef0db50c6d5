"""Files that GDAL reads: JPEG 2000 and whatever else the direct reader does not know. One dataset per thread."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from scanner.composite.tiff import Grid
from tiling import Window

__all__ = ["Datasets", "gdal_path"]

DATASETS_PER_THREAD = 160
"""Open files a thread keeps: two threads stay below the usual limit of 1024 descriptors, a season's looks stay open."""

BLOCK_CACHE_BYTES = 16 * 1024 * 1024
"""GDAL's block cache: every block is read once, so a larger one only costs. rasterio takes bytes, not megabytes."""


def gdal_path(href: str) -> str:
    """The path by which GDAL reads ranges of it."""
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    if href.startswith("s3://"):
        return f"/vsis3/{href.removeprefix('s3://')}"
    return href.removeprefix("file://")


def _options() -> dict[str, Any]:
    """GDAL's settings, with HTTP's retries (429, 5xx, broken connections) left to GDAL: exponential with jitter."""
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": BLOCK_CACHE_BYTES, "GDAL_NUM_THREADS": "1",
        "GDAL_HTTP_MAX_RETRY": "3", "GDAL_HTTP_RETRY_DELAY": "0.4", "GDAL_HTTP_TIMEOUT": "60",
        "GDAL_HTTP_CONNECTTIMEOUT": "15", "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768", "GDAL_HTTP_MULTIPLEX": "YES", "AWS_REQUEST_PAYER": "requester",
        "GDAL_PAM_ENABLED": "NO",
    }  # fmt: skip
    if not any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")):
        options["AWS_NO_SIGN_REQUEST"] = "YES"
    return options


class Datasets:
    """Open datasets by path, a set for each thread. Close it when the threads are done."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: dict[int, Any] = {}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Settings for the reads of this thread."""
        with rasterio.Env(**_options()):
            yield

    def close(self) -> None:
        """Close every dataset of every thread."""
        with self._lock:
            for dataset in self._open.values():
                dataset.close()
            self._open.clear()

    def grid(self, key: str, path: Callable[[], str]) -> Grid:
        """Where the file's pixels lie.

        Args:
            key: what the dataset is remembered by.
            path: gives GDAL's path when it must be opened; a signed address changes from time to time.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is not a north-up raster with a CRS.
        """
        return _grid_of(self._dataset(key, path))

    def read(self, key: str, path: Callable[[], str], window: Window, out: NDArray[np.generic]) -> None:
        """Write a window into `out`, averaged where `out` is smaller; values are clamped to its dtype.

        Raises:
            OSError: it cannot be opened or read.
        """
        dataset = self._dataset(key, path)
        try:
            dataset.read(
                1, window=RasterWindow(window.x0, window.y0, window.width_px, window.height_px), out=out,
                resampling=Resampling.average,
            )  # fmt: skip
        except (RasterioError, OSError) as error:
            self._shut(self._cache().pop(key))
            raise OSError(_reason(error)) from None

    def _cache(self) -> "OrderedDict[str, Any]":
        cache: OrderedDict[str, Any] | None = getattr(self._local, "cache", None)
        if cache is None:
            cache = self._local.cache = OrderedDict()
        return cache

    def _shut(self, dataset: Any) -> None:
        with self._lock:
            self._open.pop(id(dataset), None)
        dataset.close()

    def _dataset(self, key: str, path: Callable[[], str]) -> Any:
        cache = self._cache()
        if key in cache:
            cache.move_to_end(key)
            return cache[key]
        while len(cache) >= DATASETS_PER_THREAD:
            self._shut(cache.popitem(last=False)[1])
        try:
            dataset = rasterio.open(path())
        except (RasterioError, OSError) as error:
            raise OSError(_reason(error)) from None
        cache[key] = dataset
        with self._lock:
            self._open[id(dataset)] = dataset
        return dataset


def _reason(error: BaseException) -> str:
    """One line: GDAL's own word lies in the cause."""
    return " ".join(str(error.__cause__ or error).split())[:300] or type(error).__name__


def _grid_of(dataset: Any) -> Grid:
    affine = dataset.transform
    if dataset.crs is None:
        raise ValueError("not a georeferenced raster: it has no CRS")
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise ValueError(f"its pixels are not north-up: {tuple(affine)[:6]}")
    rows, cols = dataset.block_shapes[0]
    return Grid(
        crs=_crs_name(dataset.crs.to_wkt()), x0=affine.c, y0=affine.f, dx=affine.a, dy=affine.e,
        width_px=dataset.width, height_px=dataset.height, block=(rows, cols),
        itemsize=np.dtype(dataset.dtypes[0]).itemsize, overviews=tuple(dataset.overviews(1)),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _crs_name(wkt: str) -> str:
    code = rasterio.crs.CRS.from_wkt(wkt).to_epsg()
    return f"EPSG:{code}" if code else wkt
