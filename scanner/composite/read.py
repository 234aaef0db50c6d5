"""Pixels out of files: the direct reader where it knows the format, GDAL for the rest, a fault instead of an exception.

A file's header is read once a unit, whatever the thread. Blocks of remote files can be asked for ahead of time, so that
many are on their way while others are inflated.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.composite.address import Addresses, Place
from scanner.composite.fetch import Fetcher
from scanner.composite.gdal_read import Datasets, gdal_path
from scanner.composite.inflate import Inflater, blocks_in
from scanner.composite.tiff import HEAD_NBYTES, Grid, Layout, layout_of
from scanner.errors import AssetError
from scanner.types import Fault, Scene
from tiling import Window

__all__ = ["AssetKey", "Counters", "File", "Grid", "Reader"]

AssetKey = tuple[str, str, str]
"""Collection, scene, asset."""


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


@dataclass(frozen=True, slots=True)
class File:
    """One asset, opened."""

    key: AssetKey
    """Whose."""
    place: Place
    """Where it lies."""
    grid: Grid
    """Where its pixels lie."""
    layout: Layout | None
    """None: GDAL reads it."""


class Reader:
    """Reads windows of scenes' assets from any thread. Close it when the threads are done."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.fetcher = Fetcher()
        self._addresses = Addresses()
        self.inflater = Inflater()
        self._datasets = Datasets()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._files: dict[AssetKey, File] = {}
        self._heads: dict[AssetKey, Future[list[Any]]] = {}
        self._ahead: dict[tuple[AssetKey, Window], tuple[Future[list[Any]], int]] = {}
        self._taken: set[tuple[AssetKey, Window]] = set()
        self.nbytes_ahead = 0
        self.top_up: Callable[[], None] = lambda: None
        """Is called when packed blocks were taken, so that others can be asked for."""
        self._dead: dict[AssetKey, str] = {}

    @contextmanager
    def session(self) -> Iterator[None]:
        """GDAL's settings for the reads of this thread."""
        with self._datasets.session():
            yield

    def close(self) -> None:
        """Close every file."""
        self.fetcher.close()
        self._datasets.close()

    def grid(self, scene: Scene, asset: str) -> Grid:
        """Where the asset's pixels lie.

        Raises:
            AssetError: there is no such asset, or it cannot be opened.
        """
        return self._file(scene, asset).grid

    @staticmethod
    def is_remote(scene: Scene, asset: str) -> bool:
        """Whether reading an asset, which the scene has, goes over a network."""
        return _place(scene, asset).is_remote

    def open_ahead(self, assets: Iterable[tuple[Scene, str]]) -> None:
        """Ask for the headers of remote files that will be opened soon."""
        for scene, name in assets:
            key = _key(scene, name)
            if name in scene.assets and not any(key in had for had in (self._files, self._heads, self._dead)):
                place = _place(scene, name)
                if place.is_remote and not _is_for_gdal(place):
                    self._heads[key] = self.fetcher.submit(place, [(0, HEAD_NBYTES)])

    def read_ahead(self, scene: Scene, asset: str, window: Window) -> None:
        """Ask for the blocks of a remote file that `read` will want for this window; not if it has had them.

        Raises:
            AssetError: the asset cannot be opened.
        """
        file, key = self._file(scene, asset), (_key(scene, asset), window)
        if file.layout is None or not file.place.is_remote:
            return
        ranges = _ranges(file.layout, window)
        nbytes = sum(stop - start for start, stop in ranges)
        with self._lock:
            if key in self._ahead or key in self._taken:
                return
            self.nbytes_ahead += nbytes
            self._ahead[key] = (self.fetcher.submit(file.place, ranges), nbytes)

    def read(
        self, scene: Scene, asset: str, window: Window, *, out: NDArray[np.uint8] | None = None,
        direct: "Direct | None" = None,
    ) -> NDArray[Any]:  # fmt: skip
        """The window's DN as uint8 or uint16, as the file holds them; signed files become uint16, negative DN 0.

        Args:
            scene: whose file.
            asset: which.
            window: pixels of the file.
            out: bytes that may be used for the result.
            direct: reads the files that GDAL need not read, in another way than each block as a whole.

        Raises:
            AssetError: the asset cannot be opened or the window cannot be read.
        """
        file = self._file(scene, asset)
        dtype = np.dtype(np.uint16) if file.layout is None else file.layout.dtype
        pixels = _shaped(out, window.shape, dtype)
        try:
            if file.layout is None:
                self._by_gdal(file.place, window, pixels)
                decoded = file.grid.nbytes_of(window)
            else:
                decoded = (direct or self._direct)(file, file.layout, window, pixels)
        except (OSError, ValueError) as error:
            raise AssetError(file.place.href, str(error)) from None
        self._count(decoded, pixels.size * file.grid.itemsize)
        return pixels

    def read_mean(self, scene: Scene, asset: str, window: Window, factor: int) -> NDArray[np.uint16]:
        """Mean DN over squares of `factor` pixels, from overviews where there are; the window is whole squares.

        Raises:
            AssetError: the asset cannot be opened or the window cannot be read.
        """
        file = self._file(scene, asset)
        pixels = np.empty((window.height_px // factor, window.width_px // factor), np.uint16)
        try:
            reduced = file.layout.reduced.get(factor) if file.layout else None
            if reduced and reduced.dtype == pixels.dtype and reduced.grid.window.contains(window.at(factor)):
                self._direct(file, reduced, window.at(factor), pixels)
            else:
                self._by_gdal(file.place, window, pixels)
        except (OSError, ValueError) as error:
            raise AssetError(file.place.href, str(error)) from None
        level = max((one for one in file.grid.overviews if one <= factor), default=1)
        needed = window.width_px * window.height_px * file.grid.itemsize // level**2
        self._count(file.grid.nbytes_of(window.at(level)), needed)
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

    def _path(self, place: Place) -> str:
        return gdal_path(self._addresses.url(place) if place.signer else place.href)

    def _by_gdal(self, place: Place, window: Window, out: NDArray[Any]) -> None:
        try:
            self._datasets.read(place.href, lambda: self._path(place), window, out)
        except OSError:
            # A signed address may have expired while the file was open: sign and open once more.
            if place.signer is None:
                raise
            self._addresses.refused(place, self._addresses.url(place), None)
            self._datasets.read(place.href, lambda: self._path(place), window, out)

    def packed(self, file: File, layout: Layout, window: Window) -> Sequence[Any]:
        """The packed blocks of a window of a remote file, row by row: those asked for ahead, or else now.

        Raises:
            AssetError: they could not be had.
        """
        found = None
        if layout is file.layout:
            with self._lock:
                self._taken.add((file.key, window))
                found = self._ahead.pop((file.key, window), None)
                self.nbytes_ahead -= found[1] if found else 0
            self.top_up()
        return found[0].result() if found else self.fetcher.get(file.place, _ranges(layout, window))

    def _direct(self, file: File, layout: Layout, window: Window, out: NDArray[Any]) -> int:
        blocks = blocks_in(layout, window)
        if file.place.is_remote:
            for block, data in zip(blocks, self.packed(file, layout, window), strict=True):
                self.inflater.put(layout, block, data, window, out)
        else:
            for block, (start, stop) in zip(blocks, _ranges(layout, window), strict=True):
                data = self.buffer(stop - start)
                self.fetcher.read_into(file.place, start, data)
                self.inflater.put(layout, block, data, window, out)
        return layout.grid.nbytes_of(window)

    def buffer(self, nbytes: int) -> memoryview:
        """A thread's own memory: fresh bytes for every block would cost as much as their copying."""
        buffer: bytearray = getattr(self._local, "buffer", bytearray())
        if len(buffer) < nbytes:
            buffer = self._local.buffer = bytearray(nbytes)
        return memoryview(buffer)[:nbytes]

    def _file(self, scene: Scene, asset: str) -> File:
        key = _key(scene, asset)
        found = self._files.get(key)
        if found is not None:
            return found
        if asset not in scene.assets:
            raise AssetError(scene.id, f"the scene has no asset {asset}")
        place = _place(scene, asset)
        if key not in self._dead:
            try:
                self._files.setdefault(key, self._open(key, place, self._heads.get(key)))
            except AssetError as error:
                self._dead[key] = error.reason
            except (OSError, ValueError) as error:
                self._dead[key] = str(error)
            else:
                self._heads.pop(key, None)
                return self._files[key]
        raise AssetError(place.href, self._dead[key])

    def _open(self, key: AssetKey, place: Place, head: "Future[list[Any]] | None") -> File:
        layout = None if _is_for_gdal(place) else layout_of(_Head(self.fetcher, place, head).read)
        grid = layout.grid if layout else self._datasets.grid(place.href, lambda: self._path(place))
        with self._lock:
            self.counters.requests += 1
        return File(key, place, grid, layout)


Direct = Callable[[File, Layout, Window, NDArray[Any]], int]
"""Fills an array with a window of a file; returns the bytes it has inflated."""


@dataclass(slots=True)
class _Head:
    """Reads a file's beginning, which may be on its way already."""

    fetcher: Fetcher
    place: Place
    ahead: "Future[list[Any]] | None"

    def read(self, start: int, stop: int) -> Any:
        """Bytes from a position up to another."""
        if (start, stop) == (0, HEAD_NBYTES) and self.ahead is not None:
            return self.ahead.result()[0]
        return self.fetcher.get(self.place, [(start, stop)])[0]


def _key(scene: Scene, asset: str) -> AssetKey:
    return scene.collection, scene.id, asset


def _place(scene: Scene, asset: str) -> Place:
    return Place(href=scene.assets[asset].href, signer=scene.signer)


def _is_for_gdal(place: Place) -> bool:
    """JPEG 2000 by name, and GDAL's own ways to archives and memory."""
    vsi = place.href.startswith("/vsi") and not place.href.startswith(("/vsicurl/", "/vsis3/"))
    return vsi or place.href.split("?")[0].lower().endswith(".jp2")


def _ranges(layout: Layout, window: Window) -> list[tuple[int, int]]:
    starts = ((int(layout.starts[block]), int(layout.sizes[block])) for block in blocks_in(layout, window))
    return [(start, start + size) for start, size in starts]


def _shaped(out: NDArray[np.uint8] | None, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    nbytes = shape[0] * shape[1] * dtype.itemsize
    if out is None or out.nbytes < nbytes:
        return np.empty(shape, dtype)
    return out[:nbytes].view(dtype).reshape(shape)
