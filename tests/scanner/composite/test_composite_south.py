"""Granules of southern zones, which begin 40 m past a multiple of 60 m of northing, are taken pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from composite_oracle import check, request_for
from synthetic import BANDS, GSD, Granule, make

from scanner.composite.build import build_composite
from scanner.composite.read import Grid, Reader
from scanner.composite.warp import aligned_offset, extent_of, place
from scanner.types import OFFSET_DN, Scene
from tiling import Window, pixel_at

SOUTH, NORTH = (32723, 7_900_000), (32633, 5_700_000)
X_M, SIZE_M = 300_000, 2400


def granule(folder: Path, where: tuple[int, int], number: int = 0, **more: object) -> Scene:
    zone, top_m = where
    name = f"{zone}_{number}"
    values = {"epsg": zone, "x_m": X_M, "y_m": top_m, "size_m": SIZE_M, "seed": number} | more
    scl = np.full((SIZE_M // 20, SIZE_M // 20), 4, np.uint8) if number == 0 else None
    return make(folder, Granule(id=name, look=f"look2021{number + 1:02d}05", **values), scl)


def whole(where: tuple[int, int]) -> Window:
    x, y = pixel_at(where[0], X_M, where[1])
    return Window(x0=x, y0=y, x1=x + SIZE_M // 10, y1=y + SIZE_M // 10)


def _grid(scene: Scene, band: str) -> Grid:
    reader = Reader()
    with reader.session():
        grid = reader.grid(scene, band)
    reader.close()
    return grid


@pytest.mark.parametrize("band", ["B01", "B05", "B02"])
def test_one_clear_look_is_its_own_pixels(tmp_path: Path, band: str) -> None:
    scene, gsd = granule(tmp_path, SOUTH), GSD[band]
    request = request_for([scene], [whole(SOUTH)], (band,), zone=SOUTH[0])
    build_composite(request, tmp_path)
    inner = zarr.open_group(tmp_path / "composite.zarr" / str(request.tile.id) / f"r{gsd}m", mode="r")
    rows, columns = whole(SOUTH).at(gsd // 10).slices_in(request.tile.read.at(gsd // 10))
    with rasterio.open(scene.assets[band].href) as file:
        dn = file.read(1).astype(np.int64)
        first = file.transform @ (0.5, 0.5)
    np.testing.assert_array_equal(inner["reflectance"][0, rows, columns], np.where(dn == 0, 0, dn + OFFSET_DN))
    assert (inner["x"][columns.start], inner["y"][rows.start]) == first


def test_every_band_is_on_the_zone_s_pixels(tmp_path: Path) -> None:
    scene = granule(tmp_path, SOUTH)
    for band in BANDS:
        grid, gsd = _grid(scene, band), GSD[band]
        own = whole(SOUTH).at(gsd // 10)
        assert extent_of(grid, SOUTH[0]) == whole(SOUTH)
        assert aligned_offset(grid, SOUTH[0], gsd) == (own.x0, own.y0)
        placement = place(grid, SOUTH[0], gsd, own)
        assert placement is not None
        assert placement.index is None
        assert placement.source == grid.window


@pytest.mark.parametrize("k", [None, 2])
def test_southern_looks_equal_brute_force(tmp_path: Path, k: int | None) -> None:
    """With a neighbour that overlaps, and one of the next zone."""
    window = whole(SOUTH).buffer(-36)
    scenes = [granule(tmp_path, SOUTH, n, offset=-0.1 if n % 2 else 0.0) for n in range(1, 5)]
    scenes.append(granule(tmp_path, (SOUTH[0], SOUTH[1] + 120), 5, x_m=X_M + 960, border_m=60))
    scenes.append(granule(tmp_path, (32722, 7_895_980), 6, x_m=931_860))
    other = extent_of(_grid(scenes[-1], "B01"), SOUTH[0])
    assert other is not None
    assert other.intersect(window)
    check(request_for(scenes, [window], BANDS, zone=SOUTH[0], looks=k), tmp_path)


def test_the_south_costs_and_gives_what_the_north_does(tmp_path: Path) -> None:
    """The same files in either hemisphere: the same values, the same blocks inflated."""
    found, nbytes = [], []
    for where in (SOUTH, NORTH):
        scenes = [granule(tmp_path, where, number) for number in range(1, 4)]
        request = request_for(scenes, [whole(where)], ("B01",), zone=where[0])
        report = build_composite(request, tmp_path)
        inner = zarr.open_group(tmp_path / "composite.zarr" / str(request.tile.id) / "r60m", mode="r")
        rows, columns = whole(where).at(6).slices_in(request.tile.read.at(6))
        found.append(inner["reflectance"][0, rows, columns])
        nbytes.append((report.nbytes_decoded, report.nbytes_needed))
    np.testing.assert_array_equal(*found)
    assert found[0].any()
    assert nbytes[0] == nbytes[1]
