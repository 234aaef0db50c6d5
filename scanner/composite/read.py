"""Pixels out of files: one dataset per thread, retries where the network is, and a fault instead of an exception."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from scanner.errors import AssetError, InputError
from scanner.types import Fault, Scene
from tiling import Window

__all__ = ["Grid", "Reader", "gdal_path", "is_remote"]

DATASETS_PER_THREAD = 160
"""Open files a thread keeps: two threads stay below the usual limit of 1024 descriptors, a season's looks stay open."""

BLOCK_CACHE_BYTES = 16 * 1024 * 1024
"""GDAL's block cache: every block is read once, so a larger one only costs. rasterio takes bytes, not megabytes."""


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
    overviews: tuple[int, ...]
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


def is_remote(href: str) -> bool:
    """Whether reading it goes over a network."""
    return href.startswith(("http://", "https://", "s3://", "/vsicurl/", "/vsis3/"))


def gdal_path(href: str) -> str:
    """The path by which GDAL reads ranges of it."""
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    if href.startswith("s3://"):
        return f"/vsis3/{href.removeprefix('s3://')}"
    return href.removeprefix("file://")


def _signed(scene: Scene, href: str) -> str:
    if scene.signer is None:
        return href
    try:
        import planetary_computer  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"scene {scene.id}: its files must be signed by the package planetary-computer, which is not installed; "
            "pip install planetary-computer"
        ) from None
    return str(planetary_computer.sign(href))


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


@dataclass(slots=True)
class Counters:
    """What reading has cost so far."""

    nbytes_decoded: int = 0
    """Bytes of the blocks inflated."""
    nbytes_needed: int = 0
    """Bytes of the pixels handed over."""
    requests: int = 0
    """Files opened and windows read."""
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    """By scene and asset, the first of each."""


class Reader:
    """Reads windows of scenes' assets from any thread. Close it when the threads are done."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: dict[int, Any] = {}
        self._grids: dict[tuple[str, str, str], Grid] = {}
        self._dead: dict[tuple[str, str, str], str] = {}

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

    def grid(self, scene: Scene, asset: str) -> Grid:
        """Where the asset's pixels lie.

        Raises:
            AssetError: there is no such asset, or it cannot be opened.
        """
        key = (scene.collection, scene.id, asset)
        if key not in self._grids:
            self._dataset(scene, asset)
        return self._grids[key]

    def read(self, scene: Scene, asset: str, window: Window) -> NDArray[np.uint16]:
        """The window's DN; negative DN become 0.

        Raises:
            AssetError: the asset cannot be opened or the window cannot be read.
        """
        pixels = self._read(scene, asset, window, out_shape=window.shape)
        grid = self.grid(scene, asset)
        self._count(grid.nbytes_of(window), pixels.size * grid.itemsize)
        return pixels

    def read_mean(self, scene: Scene, asset: str, window: Window, factor: int) -> NDArray[np.uint16]:
        """Mean DN over squares of `factor` pixels; the window is a whole number of squares.

        Raises:
            AssetError: the asset cannot be opened or the window cannot be read.
        """
        shape = (window.height_px // factor, window.width_px // factor)
        pixels = self._read(scene, asset, window, out_shape=shape)
        grid = self.grid(scene, asset)
        level = max((one for one in grid.overviews if one <= factor), default=1)
        self._count(grid.nbytes_of(window.at(level)), window.width_px * window.height_px * grid.itemsize // level**2)
        return pixels

    def fault(self, scene: Scene, asset: str, reason: str) -> None:
        """Remember a file that could not be had."""
        href = scene.assets[asset].href if asset in scene.assets else ""
        found = Fault(scene=scene.id, asset=asset, href=href, reason=" ".join(reason.split())[:300])
        with self._lock:
            self.counters.faults.setdefault((scene.id, asset), found)

    def _count(self, decoded: int, needed: int) -> None:
        with self._lock:
            self.counters.nbytes_decoded += decoded
            self.counters.nbytes_needed += needed
            self.counters.requests += 1

    def _read(self, scene: Scene, asset: str, window: Window, out_shape: tuple[int, int]) -> NDArray[np.uint16]:
        for attempt in (1, 2):
            dataset = self._dataset(scene, asset)
            try:
                pixels: NDArray[np.uint16] = dataset.read(
                    1, window=RasterWindow(window.x0, window.y0, window.width_px, window.height_px),
                    out=np.empty(out_shape, np.uint16), resampling=Resampling.average,
                )  # fmt: skip
            except (RasterioError, OSError) as error:
                self._forget(scene, asset)
                # A signed address may have expired while the file was open: sign and open once more.
                if scene.signer is None or attempt == 2:
                    raise AssetError(scene.assets[asset].href, _reason(error)) from None
            else:
                return pixels
        raise AssertionError

    def _cache(self) -> "OrderedDict[tuple[str, str, str], Any]":
        cache: OrderedDict[tuple[str, str, str], Any] | None = getattr(self._local, "cache", None)
        if cache is None:
            cache = self._local.cache = OrderedDict()
        return cache

    def _forget(self, scene: Scene, asset: str) -> None:
        self._shut(self._cache().pop((scene.collection, scene.id, asset)))

    def _shut(self, dataset: Any) -> None:
        with self._lock:
            self._open.pop(id(dataset), None)
        dataset.close()

    def _dataset(self, scene: Scene, asset: str) -> Any:
        key = (scene.collection, scene.id, asset)
        cache = self._cache()
        if key in cache:
            cache.move_to_end(key)
            return cache[key]
        if asset not in scene.assets:
            raise AssetError(scene.id, f"the scene has no asset {asset}")
        href = scene.assets[asset].href
        if key in self._dead:
            raise AssetError(href, self._dead[key])
        while len(cache) >= DATASETS_PER_THREAD:
            self._shut(cache.popitem(last=False)[1])
        try:
            dataset = rasterio.open(gdal_path(_signed(scene, href)))
            # Its georeference costs as much as opening it: asked once a unit, not once a thread.
            grid = self._grids.get(key) or _grid_of(dataset)
        except (RasterioError, OSError, ValueError) as error:
            self._dead[key] = _reason(error)
            raise AssetError(href, self._dead[key]) from None
        cache[key] = dataset
        with self._lock:
            self._open[id(dataset)] = dataset
            self._grids.setdefault(key, grid)
            self.counters.requests += 1
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
