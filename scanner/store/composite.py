"""A tile's composite in Zarr v3: one group a tile, in it one group for each pixel size, sharded, with its CRS.

    composite.zarr/32633-006-061/r10m/  reflectance, clear_looks (band, y, x); x, y, spatial_ref
                                 r20m/  ...
                                 scenes/  clear (byte, y, x): see `scanner.store.provenance`

Arrays span the tile's whole read window; what was not wanted stays without shards. One process owns a tile and writes
each of its shards once (`scanner.store.shards`).
"""

import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.errors import FolderError
from scanner.store.layout import write_atomic
from scanner.store.provenance import GROUP, ClearScenes, make_clear
from scanner.store.shards import BAND_CUTS, Plane, Room, Shards
from scanner.types import NODATA, OFFSET_DN
from tiling import Tile, TileId, Window, affine_of, northing

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CompositeWriter",
    "flush",
    "has_composite",
    "open_composite",
    "open_scenes",
    "read_window",
    "remove_composite",
]

_ROOT = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'
_MARK = "zarr.json"


def _group_path(folder: Path | str, tile: str) -> Path:
    return Path(folder) / "composite.zarr" / tile


@contextmanager
def _zarrs() -> Iterator[None]:
    """Arrays opened inside use the zarrs codecs.

    Only paths of settings are set: a whole section would drop the other defaults.
    """
    import zarr  # noqa: PLC0415
    import zarrs  # noqa: F401, PLC0415  registers the pipeline

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield


def _for_writing(array: Any) -> Any:
    """The array with one encoding thread a call.

    Several put a shard's chunks in the order in which they are done: the same pixels would not be the same bytes.
    """
    import zarr  # noqa: PLC0415

    # Around this alone: the first call to the store would make zarr's own pool so small, for all.
    with _zarrs(), zarr.config.set({"threading.max_workers": 1}):
        return zarr.Array(zarr.AsyncArray(array.metadata, array.store_path))


class CompositeWriter:
    """The arrays of one tile, made afresh: what lay there before is removed first. Write from any thread.

    With `windows` each shard is stored once, when all that is wanted of it has come or at `finish`.
    """

    def __init__(
        self, folder: Path, tile: Tile, bands: Mapping[str, int], windows: Sequence[Window] = (), *,
        most_nbytes: int | None = None,
    ) -> None:  # fmt: skip
        """Make the arrays.

        Args:
            folder: the scan's.
            tile: which.
            bands: name to pixel size in metres.
            windows: what will be written, zone px, disjoint; without any, each write is stored as it comes.
            most_nbytes: that may wait for the rest of their shards; what finds no room is stored in parts.
        """
        import zarr  # noqa: PLC0415

        self._tile, self._windows = tile, tuple(windows)
        self._room = Room(most_nbytes)
        self._bands: dict[str, Shards] = {}
        self._scenes: Shards | None = None
        self._lock = threading.Lock()
        remove_composite(folder, str(tile.id))
        path = _group_path(folder, str(tile.id))
        root = path.parent / _MARK
        if not root.exists():
            write_atomic(root, _ROOT)
        window = tile.read
        attributes = {
            "crs": f"EPSG:{tile.id.zone}", "bands": list(bands), "gsd_m": list(bands.values()),
            "window": [window.x0, window.y0, window.x1, window.y1],
        }  # fmt: skip
        with _zarrs():
            self._group = group = zarr.create_group(path, zarr_format=3, attributes=attributes)
            for gsd in sorted(set(bands.values())):
                self._make(group, gsd, [band for band, size in bands.items() if size == gsd])

    def _make(self, group: Any, gsd_m: int, bands: Sequence[str]) -> None:
        window = self._tile.read.at(gsd_m // 10)
        inner = group.create_group(f"r{gsd_m}m", attributes={"bands": list(bands), "gsd_m": gsd_m})
        _write_coordinates(inner, window, gsd_m, self._tile.id.zone)
        scaling = {
            "scale_factor": 1e-4, "add_offset": -OFFSET_DN * 1e-4, "_FillValue": NODATA, "band_names": list(bands),
            "units": "1", "long_name": "reflectance",
        }  # fmt: skip
        looks = {"long_name": "clear looks", "band_names": list(bands)}
        arrays = [
            _array(inner, name, (len(bands), *window.shape), gsd_m, attributes)
            for name, attributes in (("reflectance", scaling), ("clear_looks", looks))
        ]
        for place, band in enumerate(bands):
            self._bands[band] = self._shards(arrays, slice(place, place + 1), gsd_m)

    def _shards(self, arrays: Sequence[Any], layers: slice, gsd_m: int) -> Shards:
        outer = self._tile.read.at(gsd_m // 10)
        arrays = [_for_writing(array) for array in arrays]

        def store(window: Window, planes: Sequence[Plane]) -> None:
            rows, cols = window.slices_in(outer)
            for array, plane in zip(arrays, planes, strict=True):
                array[layers, rows, cols] = plane.astype(array.dtype, copy=False)

        wanted = [window.at(gsd_m // 10) for window in self._windows]
        return Shards(outer, arrays[0].shards[1:], wanted, store, self._room)

    def write_scenes(self, scenes: Sequence[str], gsd_m: int, window: Window, bits: NDArray[np.uint8]) -> None:
        """Write which scenes are clear in a window (mask pixels of `gsd_m`), as bits of `provenance.pack`."""
        with self._lock, _zarrs():
            if self._scenes is None:
                array = make_clear(self._group, scenes, self._tile.read, gsd_m)
                self._scenes = self._shards([array], slice(None), gsd_m)
        self._scenes.put(window, [bits])

    def write(self, band: str, window: Window, median: NDArray[np.uint16], clear: NDArray[np.uint16]) -> None:
        """Write a window (pixels of the band's own size): values, and how many looks stand behind them.

        Zeros belong where nothing was seen: a shard waits for all its wanted ground.
        """
        counts = clear.astype(np.uint8) if clear.max() < 256 else clear
        self._bands[band].put(window, [median[None], counts[None]])

    def finish(self) -> None:
        """Store what still waits: the last call."""
        for shards in (*self._bands.values(), self._scenes):
            if shards is not None:
                shards.finish()


def _array(group: Any, name: str, shape: tuple[int, ...], gsd_m: int, attributes: dict[str, Any]) -> Any:
    from zarr.codecs import BloscCodec  # noqa: PLC0415

    cut = BAND_CUTS[gsd_m]
    return group.create_array(
        name, shape=shape, dtype="uint16", fill_value=0, dimension_names=("band", "y", "x"),
        chunks=(1, cut.chunk_px, cut.chunk_px), shards=(1, *cut.shard(shape[2])),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        attributes=attributes | {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"},
    )  # fmt: skip


def _write_coordinates(group: Any, window: Window, gsd_m: int, zone: int) -> None:
    """CF grid mapping and pixel centres, as rioxarray reads them."""
    from pyproj import CRS  # noqa: PLC0415

    crs = CRS.from_epsg(zone)
    transform = affine_of(zone, window, gsd_m)
    mapping = crs.to_cf() | {
        "spatial_ref": crs.to_wkt(),
        "GeoTransform": " ".join(repr(float(value)) for value in transform.to_gdal()),
    }
    group.create_array("spatial_ref", shape=(), dtype="int64", attributes=mapping, dimension_names=())
    middle = np.arange(window.y0, window.y1, dtype=np.float64) + 0.5
    for name, standard, values in (
        ("x", "projection_x_coordinate", (np.arange(window.x0, window.x1) + 0.5) * gsd_m),
        ("y", "projection_y_coordinate", northing(zone, middle, gsd_m)),
    ):
        axis = {"standard_name": standard, "units": "metre", "axis": name.upper()}
        array = group.create_array(
            name, shape=values.shape, dtype="float64", chunks=values.shape, dimension_names=(name,), attributes=axis
        )
        array[:] = values


def has_composite(folder: Path | str, tile: str) -> bool:
    """Whether a composite of the tile lies in the folder."""
    return (_group_path(folder, tile) / _MARK).is_file()


def remove_composite(folder: Path | str, tile: str) -> None:
    """Remove a tile's composite, if there is one; after a kill in between there is none."""
    path = _group_path(folder, tile)
    doomed = path.with_name(f".removed-{tile}")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def flush(folder: Path | str, tile: str) -> None:
    """Return once every byte of the tile's composite is on disk."""
    path = _group_path(folder, tile)
    if not path.is_dir():
        return
    for inner, _, names in os.walk(path):
        for name in names:
            _sync(os.path.join(inner, name))  # noqa: PTH118  walk gives strings
        _sync(inner)
    for parent in (path.parent, Path(folder)):
        _sync(parent)


def _sync(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_group(folder: Path | str, tile: str) -> Any:
    import zarr  # noqa: PLC0415

    if not has_composite(folder, tile):
        raise FolderError(f"{folder} holds no composite of tile {tile}; scan it with --keep-composites all")
    return zarr.open_group(_group_path(folder, tile), mode="r", zarr_format=3)


def _sizes(group: Any, bands: Sequence[str]) -> dict[str, int]:
    known = dict(zip(group.attrs["bands"], group.attrs["gsd_m"], strict=True))
    for band in bands:
        if band not in known:
            raise FolderError(f"the composite {group.store_path} has no band {band}; it has {', '.join(known)}")
    return known


def read_window(
    folder: Path | str, tile: Tile, bands: Sequence[str], window: Window
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Stored reflectance (band, row, column) and clear looks (row, column) at 10 m, coarser bands replicated.

    Args:
        folder: the scan's.
        tile: whose composite.
        bands: in the order wanted.
        window: zone px, inside `tile.read`.

    Returns:
        Reflectance as stored (0 = no look), and the least clear looks among the bands.

    Raises:
        FolderError: there is no composite of the tile, or it lacks a band.
    """
    with _zarrs():
        group = _open_group(folder, str(tile.id))
        sizes = _sizes(group, bands)
        values = np.empty((len(bands), *window.shape), np.uint16)
        clear = np.full(window.shape, 65535, np.uint16)
        for gsd in sorted({sizes[band] for band in bands}):
            inner, factor = group[f"r{gsd}m"], gsd // 10
            own, outer = window.at(factor), tile.read.at(factor)
            skip = (window.y0 - own.y0 * factor, window.x0 - own.x0 * factor)
            order = [place for place, band in enumerate(bands) if sizes[band] == gsd]
            layers = [list(inner.attrs["bands"]).index(bands[place]) for place in order]
            for place, layer in zip(order, layers, strict=True):
                _repeat(_plane(inner["reflectance"], layer, own, outer), skip, factor, values[place])
            distinct = _distinct(inner["clear_looks"], layers, own.slices_in(outer))
            looks = reduce(np.minimum, (_plane(inner["clear_looks"], layer, own, outer) for layer in distinct))
            fine = np.empty(window.shape, np.uint16)
            _repeat(looks, skip, factor, fine)
            np.minimum(clear, fine, out=clear)
    return values, clear


def _plane(array: Any, place: int, window: Window, outer: Window) -> NDArray[np.uint16]:
    """A window of one band, in its own pixels."""
    rows, cols = window.slices_in(outer)
    # As a slice: where a number drops an axis, zarrs fails on a single row of a shard.
    pixels: NDArray[np.uint16] = np.asarray(array[place : place + 1, rows, cols])[0]
    return pixels


def _distinct(array: Any, layers: Sequence[int], within: tuple[slice, slice]) -> list[int]:
    """Those of these bands whose shards are not an earlier one's byte for byte: mostly all have the same looks."""
    rows, cols = (
        range(part.start // size, -(-part.stop // size)) for part, size in zip(within, array.shards[1:], strict=True)
    )
    folder = Path(array.store.root) / array.path
    found: dict[tuple[bytes, ...], int] = {}
    for layer in layers:
        keys = (array.metadata.encode_chunk_key((layer, row, col)) for row in rows for col in cols)
        found.setdefault(tuple(file.read_bytes() if (file := folder / key).exists() else b"" for key in keys), layer)
    return list(found.values())


@njit(nogil=True, cache=True)
def _repeat(coarse: NDArray[np.uint16], skip: tuple[int, int], factor: int, out: NDArray[np.uint16]) -> None:
    """Every pixel `factor` times each way, but for the first `skip` rows and columns and those beyond `out`."""
    wide = np.empty(coarse.shape[1] * factor, np.uint16)
    for y in range(out.shape[0]):
        if y == 0 or (y + skip[0]) % factor == 0:
            row = coarse[(y + skip[0]) // factor]
            for x in range(row.shape[0]):
                for again in range(factor):
                    wide[x * factor + again] = row[x]
        source, target = wide[skip[1] : skip[1] + out.shape[1]], out[y]
        for x in range(target.shape[0]):
            target[x] = source[x]


def open_scenes(folder: Path | str, tile: Tile) -> ClearScenes:
    """From windows of zone pixels to the ids of the scenes that are clear in them.

    Raises:
        FolderError: there is no composite of the tile.
    """
    with _zarrs():
        group = _open_group(folder, str(tile.id))
        return ClearScenes(group[GROUP]["clear"] if GROUP in group else None, tile.read)


def open_composite(folder: Path | str, tile: str) -> "xr.DataArray":
    """A tile's composite as one lazy DataArray (band, y, x) at 10 m, uint16, with its CRS.

    Bands of 20 and 60 m are replicated. Reflectance is value * scale_factor + add_offset; 0 is nodata.

    Raises:
        FolderError: there is no composite of the tile.
    """
    import dask.array as da  # noqa: PLC0415
    import rioxarray  # noqa: F401, PLC0415  registers .rio
    import xarray as xr  # noqa: PLC0415

    with _zarrs():
        group = _open_group(folder, tile)
        x0, y0, x1, y1 = group.attrs["window"]
        zone, window = TileId.parse(tile).zone, Window(x0=x0, y0=y0, x1=x1, y1=y1)
        bands, layers = list(group.attrs["bands"]), []
        for band, gsd in _sizes(group, ()).items():
            inner, factor = group[f"r{gsd}m"], gsd // 10
            pixels = da.from_zarr(inner["reflectance"])[list(inner.attrs["bands"]).index(band)]
            fine = pixels if factor == 1 else pixels.repeat(factor, axis=0).repeat(factor, axis=1)
            layers.append(fine[: window.height_px, : window.width_px])
    middle = np.arange(window.y0, window.y1, dtype=np.float64) + 0.5
    cube = xr.DataArray(
        da.stack(layers).rechunk((1, 1024, 2560)), dims=("band", "y", "x"), name="reflectance",
        coords={
            "band": bands,
            "y": northing(zone, middle),
            "x": (np.arange(window.x0, window.x1) + 0.5) * 10.0,
        },
        attrs={"scale_factor": 1e-4, "add_offset": -OFFSET_DN * 1e-4, "nodata": NODATA},
    )  # fmt: skip
    placed: xr.DataArray = cube.rio.write_crs(group.attrs["crs"]).rio.write_transform(affine_of(zone, window))
    return placed
