import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from scanner.demo.region import Region, make_region
from scanner.demo.sites import RegionSpec
from scanner.demo.spectra import BANDS, GSD_M
from tiling import lonlat, northing, utm


def _items(region: Region) -> list[dict]:
    return json.loads(region.items.read_text())["features"]


def _read(region: Region, item: dict, key: str) -> np.ndarray:
    with rasterio.open(region.folder / item["assets"][key]["href"]) as file:
        return file.read(1)


def _reflectance(region: Region, item: dict, key: str) -> np.ndarray:
    stated = item["assets"][key]["raster:bands"][0]
    pixels = _read(region, item, key)
    return np.where(pixels == 0, np.nan, pixels * stated["scale"] + stated["offset"])


def _called(region: Region, item: dict) -> np.ndarray:
    """20 m pixels with ground that is always called cloud."""
    tile = next(tile for tile in region.tiles if tile.zone == item["properties"]["proj:epsg"])
    rock = region.ground.palette.always_cloud[region.ground.sample(tile.zone, tile.window)[0]]
    return rock.reshape(rock.shape[0] // 2, 2, -1, 2).any(axis=(1, 3))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    spec = RegionSpec(size_px=240, dates=3, mines=1, decoys=3, cloud_called=1)
    one = make_region(tmp_path / "one", 5, spec, threads=1)
    two = make_region(tmp_path / "two", 5, spec, threads=3)
    other = make_region(tmp_path / "other", 6, spec)
    assert _digests(one.folder) == _digests(two.folder)
    shared = set(_digests(one.folder).items()) & set(_digests(other.folder).items())
    assert not {name for name, _ in shared if name.endswith((".tif", "truth.geojson"))}


def test_layout_of_a_granule(region: Region) -> None:
    items = _items(region)
    assert len(items) == 2 * region.spec.dates
    assert {item["properties"]["proj:epsg"] for item in items} == {32722, 32723}
    for item in items[:3]:
        bands = {asset["eo:bands"][0]["name"]: asset for asset in item["assets"].values() if "eo:bands" in asset}
        assert set(bands) == set(BANDS)
        for name, asset in {**bands, "SCL": item["assets"]["scl"]}.items():
            assert not Path(asset["href"]).is_absolute()
            with rasterio.open(region.folder / asset["href"]) as file:
                assert file.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert file.res == (GSD_M.get(name, 20),) * 2
                assert list(file.transform)[:6] == asset["proj:transform"]
                assert list(file.shape) == asset["proj:shape"]
                assert (file.nodata, file.dtypes[0]) == (0, "uint8" if name == "SCL" else "uint16")
                assert file.block_shapes == [(512, 512)]
                assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
                assert file.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "2") == "2"


def test_files_are_laid_out_as_cogs(tmp_path: Path) -> None:
    region = make_region(tmp_path, 2, RegionSpec(size_px=1056, dates=2, mines=1, decoys=0, cloud_called=0))
    content = (region.folder / _items(region)[0]["assets"]["red"]["href"]).read_bytes()
    assert content[:4] == b"II*\0"
    (directory,) = struct.unpack_from("<I", content, 4)
    assert directory == 8
    (entries,) = struct.unpack_from("<H", content, directory)
    tags = [struct.unpack_from("<HHII", content, directory + 2 + 12 * index) for index in range(entries)]
    count, where = next((count, value) for tag, _, count, value in tags if tag == 324)
    offsets = struct.unpack_from(f"<{count}I", content, where)
    assert count == 9
    assert where < offsets[0]
    assert list(offsets) == sorted(offsets)


def test_both_sides_of_the_baseline_change_mean_the_same_ground(region: Region) -> None:
    items = [item for item in _items(region) if item["properties"]["eo:cloud_cover"] < 40]
    forest = {}
    for item in items:
        stated = item["assets"]["red"]["raster:bands"][0]["offset"]
        new = item["properties"]["datetime"] >= "2022-01-25"
        assert stated == (-0.1 if new else 0)
        assert item["properties"]["s2:processing_baseline"] == ("04.00" if new else "03.01")
        scl = _read(region, item, "scl").repeat(2, 0).repeat(2, 1)
        dark = _reflectance(region, item, "red")[scl == 4]
        forest.setdefault(new, []).append(np.quantile(dark, 0.1))
        assert _read(region, item, "red")[scl == 4].min() > (1000 if new else 0)
    assert set(forest) == {False, True}
    assert np.mean(forest[True]) == pytest.approx(np.mean(forest[False]), abs=0.01)


def test_granules_agree_where_they_overlap(region: Region) -> None:
    """Each pixel of the western granule against the nearest of the eastern: equal but for noise and mixed edges."""
    west, east = (
        {i["id"][10:18]: i for i in _items(region) if i["properties"]["proj:epsg"] == z} for z in (32722, 32723)
    )
    tile_w, tile_e = region.tiles
    x, y = np.meshgrid(np.arange(tile_w.window.x0, tile_w.window.x1), np.arange(tile_w.window.y0, tile_w.window.y1))
    e, n = utm(tile_e.zone, *lonlat(tile_w.zone, x * 10.0 + 5, northing(tile_w.zone, y + 0.5)))
    down = (northing(tile_e.zone, tile_e.window.y0) - n) / 10
    column, row = np.floor(e / 10).astype(int) - tile_e.window.x0, np.floor(down).astype(int)
    inside = (column >= 0) & (column < 384) & (row >= 0) & (row < 384)
    assert inside.sum() > 384 * 60
    for day in sorted(west)[:2]:
        for band in ("green", "nir"):
            ours = _reflectance(region, west[day], band)[inside]
            theirs = _reflectance(region, east[day], band)[row[inside], column[inside]]
            away = np.abs(ours - theirs)
            known = ~np.isnan(away)
            assert np.median(away[known]) < 0.02
            shuffled = np.abs(ours - np.roll(theirs, ours.size // 3))
            assert np.nanmedian(away) < 0.5 * np.nanmedian(shuffled)


def test_scene_classification_tells_what_the_bands_show(region: Region) -> None:
    cloudy = [item for item in _items(region) if item["properties"]["s2:high_proba_clouds_percentage"] > 5]
    assert cloudy
    for item in cloudy:
        blue = _reflectance(region, item, "blue")
        scl = _read(region, item, "scl").repeat(2, 0).repeat(2, 1)
        clear = np.nanmedian(blue[np.isin(scl, (4, 5))])
        rock = _called(region, item).repeat(2, 0).repeat(2, 1)
        assert np.nanquantile(blue[(scl == 9) & ~rock], 0.1) > 0.3 > 3 * clear
        if (scl == 3).sum() > 200:
            nir = _reflectance(region, item, "nir")
            assert np.nanmedian(nir[scl == 3]) < 0.8 * np.nanmedian(nir[np.isin(scl, (4, 5))])
        share = 100 * np.isin(scl, (8, 9, 10)).sum() / (scl > 0).sum()
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(share, abs=1e-4)


def test_some_mine_ground_is_called_cloud_on_every_date(region: Region) -> None:
    ground = region.ground
    assert sum(site.always_cloud for site in ground.sites) == 1
    seen = 0
    for item in _items(region):
        rock = _called(region, item)
        scl = _read(region, item, "scl")
        known = scl[rock][scl[rock] > 0]
        seen += known.size
        assert np.isin(known, (8, 9, 10)).all()
    assert seen > 500


def test_outside_the_swath_is_nodata_and_the_footprint_says_so(region: Region) -> None:
    partial = [item for item in _items(region) if item["properties"]["s2:nodata_pixel_percentage"] > 0]
    assert partial
    for item in partial:
        scl, red = _read(region, item, "scl"), _read(region, item, "red")
        assert ((scl == 0).repeat(2, 0).repeat(2, 1) == (red == 0)).all()
        tile = next(tile for tile in region.tiles if tile.zone == item["properties"]["proj:epsg"])
        window = tile.window
        x, y = np.meshgrid(np.arange(window.x0, window.x1, 16), np.arange(window.y0, window.y1, 16))
        lon, lat = lonlat(tile.zone, x * 10.0 + 5, northing(tile.zone, y + 0.5))
        inside = shapely.contains_xy(shapely.geometry.shape(item["geometry"]), lon, lat)
        assert (inside == (red[::16, ::16] > 0)).mean() > 0.98


def test_a_region_too_small_for_its_mines_is_refused(tmp_path: Path) -> None:
    spec = RegionSpec(size_px=240, dates=2, mines=9, decoys=0, cloud_called=0)
    with pytest.raises(ValueError, match="no room for 9 mines"):
        make_region(tmp_path, 1, spec)
    with pytest.raises(ValueError, match="multiple of 6"):
        replace(spec, size_px=241)
