"""What is written reads back: lazily, with its CRS, by xarray alone too; a fresh build leaves nothing of the last."""

from pathlib import Path

import dask.array
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from scanner.errors import FolderError
from scanner.store.composite import (
    CompositeWriter,
    flush,
    has_composite,
    open_composite,
    read_window,
    remove_composite,
)
from tiling import Tile, TileId, Window

TILE = Tile(id=TileId(zone=32733, column=6, row=70), margin_px=96)
BANDS = {"B02": 10, "B05": 20, "B01": 60, "B04": 10}
NAME = str(TILE.id)

rioxarray_warns = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""rioxarray 0.19 multiplies affines as affine 3 would rather not have it."""


def window_at(row: int, column: int, size: int = 1200) -> Window:
    read = TILE.read
    return Window(x0=read.x0 + column, y0=read.y0 + row, x1=read.x0 + column + size, y1=read.y0 + row + size)


def fill(folder: Path, *windows: Window) -> dict[str, np.ndarray]:
    """Random values of every band, over the windows; returned at 10 m for the whole read window."""
    writer, rng, whole = CompositeWriter(folder, TILE, BANDS), np.random.default_rng(0), {}
    for band, gsd in BANDS.items():
        factor = gsd // 10
        outer = TILE.read.at(factor)
        values = np.zeros(outer.shape, np.uint16)
        for window in windows:
            part = window.at(factor)
            pixels = rng.integers(1, 65536, part.shape, dtype=np.uint16)
            values[part.slices_in(outer)] = pixels
            writer.write(band, part, pixels, (pixels % 7).astype(np.uint16))
        whole[band] = values.repeat(factor, 0).repeat(factor, 1)
    return whole


def test_windows_read_back_at_ten_metres(tmp_path: Path) -> None:
    whole = fill(tmp_path, window_at(0, 0), window_at(1200, 600), window_at(8208, 8208))
    for part in (window_at(1001, 503, 777), window_at(8001, 8001, 1407), window_at(4000, 4000, 50)):
        values, looks = read_window(tmp_path, TILE, ("B01", "B02", "B05"), part)
        expected = np.array([whole[band][part.slices_in(TILE.read)] for band in ("B01", "B02", "B05")])
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(looks, (expected % 7).min(axis=0))


@pytest.mark.parametrize("rows", [(1530, 1542), (1542, 1536 * 2 + 6)])
def test_a_single_row_of_a_shard_reads_back(tmp_path: Path, rows: tuple[int, int]) -> None:
    whole = fill(tmp_path, window_at(0, 0, 3600))
    part = Window(x0=TILE.read.x0, y0=TILE.read.y0 + rows[0], x1=TILE.read.x0 + 60, y1=TILE.read.y0 + rows[1])
    for cut in (part, Window(x0=part.x0, y0=part.y0, x1=part.x1, y1=part.y1 - 5)):
        values, _ = read_window(tmp_path, TILE, ("B01", "B02", "B05"), cut)
        expected = np.array([whole[band][cut.slices_in(TILE.read)] for band in ("B01", "B02", "B05")])
        np.testing.assert_array_equal(values, expected)


@rioxarray_warns
def test_opens_lazily_with_its_crs(tmp_path: Path) -> None:
    whole = fill(tmp_path, window_at(600, 600))
    cube = open_composite(tmp_path, NAME)
    assert cube.dims == ("band", "y", "x")
    assert cube.shape == (4, *TILE.read.shape)
    assert cube.dtype == np.uint16
    assert isinstance(cube.data, dask.array.Array)
    assert cube.rio.crs.to_epsg() == 32733
    assert cube.rio.transform() == TILE.geobox().transform
    assert (cube.attrs["scale_factor"], cube.attrs["add_offset"], cube.attrs["nodata"]) == (0.0001, -0.1, 0)
    part = cube.sel(band="B05").isel(y=slice(590, 700), x=slice(590, 700))
    np.testing.assert_array_equal(part.to_numpy(), whole["B05"][590:700, 590:700])
    bounds = TILE.geobox().extent.boundingbox
    assert (float(cube.y[0]), float(cube.y[-1])) == (bounds.top - 5, bounds.bottom + 5)


@rioxarray_warns
@pytest.mark.parametrize("gsd", [10, 20, 60])
def test_xarray_alone_finds_the_crs(tmp_path: Path, gsd: int) -> None:
    fill(tmp_path, window_at(600, 600))
    path = tmp_path / "composite.zarr" / NAME / f"r{gsd}m"
    with xr.open_zarr(path, consolidated=False, decode_coords="all") as data:
        assert data["reflectance"].rio.crs.to_epsg() == 32733
        assert data["reflectance"].rio.transform() == TILE.geobox(gsd).transform
        assert data["reflectance"].rio.bounds() == TILE.geobox(gsd).extent.boundingbox.bbox
        pixel = data["reflectance"].isel(y=800 * 10 // gsd, x=800 * 10 // gsd).to_numpy()
        assert (np.abs(pixel) < 7).all()
        missing = data["reflectance"].isel(y=-1, x=-1).to_numpy()
        assert np.isnan(missing).all()


def test_what_was_not_wanted_has_no_shards(tmp_path: Path) -> None:
    fill(tmp_path, window_at(0, 0))
    shards = list((tmp_path / "composite.zarr" / NAME / "r10m" / "reflectance" / "c").rglob("*/*/*"))
    assert len(shards) == 6


def test_a_fresh_build_leaves_nothing_of_the_last(tmp_path: Path) -> None:
    fill(tmp_path, window_at(0, 0))
    fill(tmp_path, window_at(3000, 3000))
    values, looks = read_window(tmp_path, TILE, ("B02",), window_at(0, 0))
    assert not values.any()
    assert not looks.any()


def test_there_or_not(tmp_path: Path) -> None:
    assert not has_composite(tmp_path, NAME)
    remove_composite(tmp_path, NAME)
    flush(tmp_path, NAME)
    fill(tmp_path, window_at(0, 0))
    flush(tmp_path, NAME)
    assert has_composite(tmp_path, NAME)
    remove_composite(tmp_path, NAME)
    assert not has_composite(tmp_path, NAME)
    assert [path.name for path in (tmp_path / "composite.zarr").iterdir()] == ["zarr.json"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no composite of tile"):
        open_composite(tmp_path, NAME)
    fill(tmp_path, window_at(0, 0))
    with pytest.raises(FolderError, match="has no band B12"):
        read_window(tmp_path, TILE, ("B12",), window_at(0, 0))
