"""A tile's composite in Zarr v3: one group a tile, in it one group for each pixel size, sharded, with its CRS.

    composite.zarr/32633-006-061/r10m/  reflectance, clear_looks (band, y, x); x, y, spatial_ref
                                 r20m/  ...
                                 scenes/  clear (byte, y, x): see `scanner.store.provenance`

Arrays span the tile's whole read window; what was not wanted stays without shards. One process owns a tile and writes
its shards one after another.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import FolderError
from scanner.store.layout import write_atomic
from scanner.store.provenance import GROUP, make_clear, scenes_in
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

SHARD_PX = {10: 1536, 20: 768, 60: 256}
"""Edge of a shard by pixel size: 15.36 km, a sixth of a tile's core."""

CHUNK_PX = {10: 512, 20: 256, 60: 128}
"""Edge of the chunks inside: what a reader of a small window inflates."""

_ROOT = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'
_MARK = "zarr.json"


def _group_path(folder: Path | str, tile: str) -> Path:
    return Path(folder) / "composite.zarr" / tile


@contextmanager
def _zarrs() -> Iterator[None]:
    """Arrays opened inside use the zarrs codecs; the path is set alone, other settings of zarrs slow it."""
    import zarr  # noqa: PLC0415
    import zarrs  # noqa: F401, PLC0415  registers the pipeline

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield


class CompositeWriter:
    """The arrays of one tile, made afresh: what lay there before is removed first."""

    def __init__(self, folder: Path, tile: Tile, bands: Mapping[str, int]) -> None:
        """Make the arrays of `bands` (name to pixel size in metres)."""
        import zarr  # noqa: PLC0415

        self._tile = tile
        self._arrays: dict[str, tuple[Any, Any, int, int]] = {}
        self._clear: Any = None
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
        reflectance, clear = (
            _array(inner, name, (len(bands), *window.shape), gsd_m, attributes)
            for name, attributes in (("reflectance", scaling), ("clear_looks", looks))
        )
        for place, band in enumerate(bands):
            self._arrays[band] = (reflectance, clear, place, gsd_m)

    def write_scenes(self, scenes: Sequence[str], gsd_m: int, window: Window, bits: NDArray[np.uint8]) -> None:
        """Write which scenes are clear in a window (mask pixels of `gsd_m`), as bits of `provenance.pack`."""
        if self._clear is None:
            with _zarrs():
                self._clear = make_clear(self._group, scenes, self._tile.read, gsd_m)
        rows, cols = window.slices_in(self._tile.read.at(gsd_m // 10))
        self._clear[:, rows, cols] = bits

    def write(self, band: str, window: Window, median: NDArray[np.uint16], clear: NDArray[np.uint16]) -> None:
        """Write a window (pixels of the band's own size). Call it from one thread at a time."""
        reflectance, looks, place, gsd_m = self._arrays[band]
        rows, cols = window.slices_in(self._tile.read.at(gsd_m // 10))
        reflectance[place, rows, cols] = median
        looks[place, rows, cols] = clear


def _array(group: Any, name: str, shape: tuple[int, ...], gsd_m: int, attributes: dict[str, Any]) -> Any:
    from zarr.codecs import BloscCodec  # noqa: PLC0415

    return group.create_array(
        name, shape=shape, dtype="uint16", fill_value=0, dimension_names=("band", "y", "x"),
        chunks=(1, CHUNK_PX[gsd_m], CHUNK_PX[gsd_m]), shards=(1, SHARD_PX[gsd_m], SHARD_PX[gsd_m]),
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
        arrays: dict[int, Any] = {}
        for place, band in enumerate(bands):
            gsd = sizes[band]
            if gsd not in arrays:
                inner = group[f"r{gsd}m"]
                arrays[gsd] = (inner["reflectance"], inner["clear_looks"], list(inner.attrs["bands"]))
            reflectance, looks, names = arrays[gsd]
            one = (tile.read, window, gsd // 10, names.index(band))
            values[place] = _replicated(reflectance, *one)
            np.minimum(clear, _replicated(looks, *one), out=clear)
    return values, clear


def _replicated(array: Any, outer: Window, window: Window, factor: int, place: int) -> NDArray[np.uint16]:
    coarse = window.at(factor)
    rows, cols = coarse.slices_in(outer.at(factor))
    # As a slice: where a number drops an axis, zarrs fails on a single row of a shard.
    pixels: NDArray[np.uint16] = np.asarray(array[place : place + 1, rows, cols])[0]
    if factor == 1:
        return pixels
    fine = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    rows, cols = window.slices_in(coarse.times(factor))
    return fine[rows, cols]


def open_scenes(folder: Path | str, tile: Tile) -> Callable[[Window], tuple[str, ...]]:
    """A function from a window of zone pixels to the ids of the scenes that are clear in it.

    Raises:
        FolderError: there is no composite of the tile.
    """
    with _zarrs():
        group = _open_group(folder, str(tile.id))
        array = group[GROUP]["clear"] if GROUP in group else None

    def scenes(window: Window) -> tuple[str, ...]:
        return scenes_in(array, tile.read, window) if array is not None else ()

    return scenes


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
        da.stack(layers).rechunk((1, SHARD_PX[10], SHARD_PX[10])), dims=("band", "y", "x"), name="reflectance",
        coords={
            "band": bands,
            "y": northing(zone, middle),
            "x": (np.arange(window.x0, window.x1) + 0.5) * 10.0,
        },
        attrs={"scale_factor": 1e-4, "add_offset": -OFFSET_DN * 1e-4, "nodata": NODATA},
    )  # fmt: skip
    placed: xr.DataArray = cube.rio.write_crs(group.attrs["crs"]).rio.write_transform(affine_of(zone, window))
    return placed
