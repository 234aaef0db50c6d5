"""Rasters of cells: COGs, read back as written, the same bytes twice; the overview shows each cell in its place."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import RasterioIOError

from scanner.export.raster import (
    NOT_JUDGED,
    coverage_json,
    write_clear_looks,
    write_overview,
    write_probability,
)
from tiling import Lattice, TileId, lonlat, utm, zone_of

CLASSES = ("not_mine", "mine")
PLACE = {"transform": Affine(270, 0, 460_890, 0, -270, 5_529_600), "epsg": 32633}


def probabilities(shape=(342, 341)):
    probs = np.random.default_rng(3).random((2, *shape), dtype=np.float32)
    probs[:, :9, :40] = np.nan
    return probs


def is_cog(path):
    with rasterio.open(path) as raster:
        return raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"


def test_probabilities_come_back_as_they_were(tmp_path):
    path, probs = tmp_path / "probability" / "t.tif", probabilities()
    write_probability(path, probs, classes=CLASSES, **PLACE)
    with rasterio.open(path) as raster:
        assert raster.dtypes == ("float32", "float32")
        assert np.isnan(raster.nodata)
        assert raster.descriptions == CLASSES
        assert raster.crs.to_epsg() == 32633
        assert raster.transform == PLACE["transform"]
        assert raster.compression.name == "deflate"
        np.testing.assert_array_equal(raster.read(), probs)
    assert is_cog(path)
    assert [file.name for file in path.parent.iterdir()] == ["t.tif"]


def test_clear_looks_come_back_as_they_were(tmp_path):
    looks = np.arange(341 * 342, dtype=np.uint16).reshape(341, 342)
    looks[0, :5] = NOT_JUDGED
    write_clear_looks(tmp_path / "t.tif", looks, **PLACE)
    with rasterio.open(tmp_path / "t.tif") as raster:
        assert raster.nodata == NOT_JUDGED == 65535
        assert raster.descriptions == ("clear_looks",)
        np.testing.assert_array_equal(raster.read(1), looks)
    assert is_cog(tmp_path / "t.tif")


@pytest.mark.parametrize("shape", [(1, 1), (342, 342), (700, 1100)])
def test_written_twice_is_the_same_to_the_byte(tmp_path, shape):
    for name in ("one", "two"):
        write_probability(tmp_path / name / "p.tif", probabilities(shape), classes=CLASSES, **PLACE)
        write_clear_looks(tmp_path / name / "c.tif", np.full(shape, 7, np.uint16), **PLACE)
    for file in ("p.tif", "c.tif"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        assert is_cog(tmp_path / "one" / file)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "p.tif"
    write_probability(path, probabilities(), classes=CLASSES, **PLACE)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="2 bands for the classes mine"):
        write_probability(path, probabilities(), classes=["mine"], **PLACE)
    (tmp_path / "file").write_text("")
    with pytest.raises((OSError, RasterioIOError)):
        write_probability(tmp_path / "file" / "p.tif", probabilities(), classes=CLASSES, **PLACE)
    assert path.read_bytes() == before


def lay_tiles(folder, *tiles):
    """A coverage raster per (tile id, value)."""
    for text, value in tiles:
        tile = TileId.parse(text)
        lattice = Lattice(zone=tile.zone, stride_px=27)
        cells = lattice.cells_of(tile)
        place = {"transform": lattice.transform(cells), "epsg": tile.zone}
        write_clear_looks(folder / "coverage" / f"{text}.tif", np.full(cells.shape, value, np.uint16), **place)


def sampled(path, lon, lat):
    with rasterio.open(path) as raster:
        return [int(value[0]) for value in raster.sample(zip(lon, lat, strict=True))]


def test_the_overview_shows_each_zone_s_own_cells_at_its_edge(tmp_path):
    # Two tiles of neighbouring zones that overlap beyond the edge at 18 degrees east.
    lon, lat = 18.0, 49.5
    names = []
    for zone, value in ((32633, 3), (32634, 4)):
        e, n = utm(zone, lon, lat)
        names.append((str(TileId(zone=zone, column=int(e // 92160), row=int(n // 92160))), value))
    lay_tiles(tmp_path, *names)
    path = write_overview(tmp_path)
    assert path == tmp_path / "coverage.tif"
    assert is_cog(path)
    with rasterio.open(path) as raster:
        assert raster.crs.to_epsg() == 4326
        assert raster.nodata == NOT_JUDGED
        assert raster.dtypes == ("uint16",)
        assert raster.res[0] == pytest.approx(270 / 111_320)
        band = raster.read(1)
        rows, columns = np.nonzero(band != NOT_JUDGED)
        lons, lats = (np.asarray(values) for values in rasterio.transform.xy(raster.transform, rows, columns))
    at = band[rows, columns]
    owners = zone_of(lons, lats)
    # Where the owner's tile has a cell, its value stands; the other's shows only beyond that tile.
    for zone, (text, value) in zip((32633, 32634), names, strict=True):
        tile = TileId.parse(text)
        e, n = utm(zone, lons, lats)
        deep = (e % 92160 > 300) & (e % 92160 < 91860) & (n % 92160 > 300) & (n % 92160 < 91860)
        own = (owners == zone) & (e // 92160 == tile.column) & (n // 92160 == tile.row) & deep
        assert own.sum() > 3000
        assert set(at[own].tolist()) == {value}
    assert sampled(path, [lon - 0.05, lon + 0.05], [lat, lat]) == [3, 4]


def test_every_cell_of_the_overview_is_the_nearest_one(tmp_path):
    text = "32723-004-081"
    tile = TileId.parse(text)
    lattice = Lattice(zone=tile.zone, stride_px=27)
    cells = lattice.cells_of(tile)
    looks = np.random.default_rng(5).integers(0, 300, cells.shape).astype(np.uint16)
    write_clear_looks(tmp_path / "coverage" / f"{text}.tif", looks, transform=lattice.transform(cells), epsg=tile.zone)
    with rasterio.open(write_overview(tmp_path)) as raster:
        band = raster.read(1)
        rows, columns = np.nonzero(band != NOT_JUDGED)
        lon, lat = rasterio.transform.xy(raster.transform, rows, columns)
    assert abs(len(rows) / looks.size - 1) < 0.15
    for row, column, x, y in list(zip(rows, columns, lon, lat, strict=True))[::997]:
        cell = lattice.cell_at(*utm(tile.zone, x, y))
        assert band[row, column] == looks[cells.row1 - 1 - cell.row, cell.column - cells.column0]


def test_both_sides_of_the_antimeridian_make_a_wide_raster_that_takes_little_room(tmp_path):
    sides = []
    for zone, lon in ((32760, 179.9), (32701, -179.9)):
        e, n = utm(zone, lon, -17.0)
        sides.append((str(TileId(zone=zone, column=int(e // 92160), row=int(n // 92160))), 1 + zone % 100))
    lay_tiles(tmp_path, *sides)
    path = write_overview(tmp_path, max_px=2**24)
    with rasterio.open(path) as raster:
        assert raster.width * raster.height < 1.02 * 2**24
        assert raster.bounds.left == pytest.approx(-180, abs=0.1)
        assert raster.bounds.right == pytest.approx(180, abs=0.1)
    assert path.stat().st_size < 300_000
    assert sampled(path, [179.9, -179.9, 0.0], [-17.0] * 3) == [61, 2, NOT_JUDGED]


def test_the_overview_is_the_same_twice_and_does_not_depend_on_strips(tmp_path, monkeypatch):
    lay_tiles(tmp_path, ("32633-005-058", 3), ("32633-006-058", 4), ("32633-005-059", 5))
    first = write_overview(tmp_path).read_bytes()
    assert write_overview(tmp_path).read_bytes() == first
    monkeypatch.setattr("scanner.export.raster.STRIP_PX", 3000)
    with rasterio.MemoryFile(first) as memory, memory.open() as raster:
        whole = raster.read(1)
    with rasterio.open(write_overview(tmp_path)) as raster:
        np.testing.assert_array_equal(raster.read(1), whole)
    assert set(np.unique(whole)) == {3, 4, 5, NOT_JUDGED}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["coverage", "coverage.tif"]


def test_tiles_of_one_zone_leave_no_seam(tmp_path):
    lay_tiles(tmp_path, ("32633-005-058", 3), ("32633-006-058", 4), ("32633-005-059", 5), ("32633-006-059", 6))
    path = write_overview(tmp_path)
    e, n = 6 * 92160 + np.linspace(-4000, 4000, 81), 59 * 92160 + np.linspace(-4000, 4000, 81)
    lon, lat = lonlat(32633, *(values.ravel() for values in np.meshgrid(e, n)))
    assert set(sampled(path, lon, lat)) == {3, 4, 5, 6}


def test_tiles_that_reach_beyond_the_grid_s_last_latitude_are_shown(tmp_path):
    (e, n) = utm(32633, 15.0, 83.9)
    lay_tiles(tmp_path, (str(TileId(zone=32633, column=int(e // 92160), row=int(n // 92160))), 8))
    path = write_overview(tmp_path)
    with rasterio.open(path) as raster:
        assert raster.bounds.top > 84
    assert sampled(path, [15.0], [83.9]) == [8]


def test_no_tiles_no_overview(tmp_path):
    assert write_overview(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_coverage_json_holds_square_kilometres(tmp_path):
    total = {"aoi_km2": 100.00004, "seen_km2": 90.5, "too_few_looks_km2": 7.5, "failed_km2": 2.0}
    coverage_json(tmp_path / "coverage.json", **total, tiles={"b": total, "a": dict.fromkeys(total, 0)})
    report = json.loads((tmp_path / "coverage.json").read_text())
    assert report["aoi_km2"] == 100.0
    assert report["too_few_looks_km2"] == 7.5
    assert list(report["tiles"]) == ["a", "b"]
    assert report["tiles"]["b"]["failed_km2"] == 2.0
    with pytest.raises(ValueError, match="JSON"):
        coverage_json(tmp_path / "c.json", **{**total, "seen_km2": float("nan")}, tiles={})
