"""What a program gets from `import scanner`, and a user from the smaller commands."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

import scanner
from models import load
from scanner import MinescanError, ScanConfig, open_composite, scan
from scanner.errors import FolderError
from tiling import northing


def test_public_names():
    assert set(scanner.__all__) == {"MinescanError", "ScanConfig", "ScanResult", "open_composite", "scan"}
    assert all(getattr(scanner, name) is not None for name in scanner.__all__)
    with pytest.raises(AttributeError):
        _ = scanner.nonsense


def test_python_m_scanner():
    said = subprocess.run([sys.executable, "-m", "scanner", "--help"], capture_output=True, text=True, check=True)
    for command in ("scan", "plan", "status", "export", "models", "doctor", "demo", "train"):
        assert f"\n  {command} " in said.stdout
    assert said.stderr == ""


def test_result(healthy):
    result = healthy.result
    assert isinstance(result.candidates, gpd.GeoDataFrame)
    assert result.candidates.crs.to_epsg() == 4326
    assert len(result.candidates) > 0
    assert result.failures == ()
    assert result.run == json.loads((result.out / "run.json").read_text())
    pd.testing.assert_frame_equal(
        pd.DataFrame(result.candidates.drop(columns="geometry")),
        pd.DataFrame(gpd.read_parquet(result.out / "candidates.parquet").drop(columns="geometry")),
    )


def test_run_json_explains_the_scan(healthy, region):
    run = json.loads((healthy.out / "run.json").read_text())
    assert run["config"]["dates"] == region.dates
    assert run["detector"]["sha256"] == load("drawn-detector", "cpu").card.sha256
    assert len(run["scenes"]) == run["cost"]["scenes"] == 10
    assert run["masks"] == ["scl"]
    assert run["no_cloud_mask"] is False
    assert set(run["units"].values()) == {"done"}
    assert run["failures"] == 0
    assert run["settings"]["looks"] == 8
    assert {"minescan", "torch", "rasterio"} <= set(run["versions"])


def test_errors_are_one_tree(tmp_path):
    with pytest.raises(MinescanError, match="ends before it starts"):
        ScanConfig(aoi="0,0,1,1", dates="2022-02-01/2022-01-01", out=tmp_path, detector="x")


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
def test_open_composite_is_lazy_and_placed(healthy):
    tile = healthy.result.run["plan"]["tiles"][0]
    cube = open_composite(healthy.out, tile=tile)
    assert cube.dims == ("band", "y", "x")
    assert cube.dtype == np.uint16
    assert cube.chunks is not None
    assert cube.rio.crs.to_epsg() == int(tile.split("-")[0])
    assert abs(cube.rio.transform().a) == 10
    assert float(cube.x[1] - cube.x[0]) == 10
    assert float(cube.y[1] - cube.y[0]) == -10
    assert [str(band) for band in cube.band.to_numpy()] == ["B02", "B04", "B08", "B11"]
    with pytest.raises(FolderError, match="no composite of tile 32601-000-000"):
        open_composite(healthy.out, tile="32601-000-000")


def test_composite_gives_the_reflectance_that_was_sensed(healthy, region):
    """Scale and offset bring back the scenes' own reflectance: on both sides of the baseline change alike."""
    tile = "32722-008-085"
    cube = open_composite(healthy.out, tile=tile).sel(band="B08")
    granule = next(one for one in region.tiles if one.zone == 32722)
    west, north = granule.window.x0 * 10, northing(granule.zone, granule.window.y0)
    window = cube.sel(x=slice(west + 500, west + 2500), y=slice(north - 2400, north - 3400)).compute()
    reflectance = np.where(window == 0, np.nan, window * cube.attrs["scale_factor"] + cube.attrs["add_offset"])
    seen = np.isfinite(reflectance)
    assert seen.mean() > 0.5
    looks = []
    for item in json.loads(region.items.read_text())["features"]:
        if item["properties"]["proj:epsg"] != 32722:
            continue
        asset = item["assets"]["nir"]
        with rasterio.open(region.folder / asset["href"]) as file:
            pixels = file.read(1, window=file.window(*window.rio.bounds())).astype(float)
        looks.append(np.where(pixels == 0, np.nan, pixels * 1e-4 + asset["raster:bands"][0]["offset"]))
    stack = np.stack(looks)
    assert stack.shape[1:] == reflectance.shape
    low, high = np.nanmin(stack, axis=0), np.nanmax(stack, axis=0)
    assert (reflectance[seen] >= low[seen] - 1e-4).all()
    assert (reflectance[seen] <= high[seen] + 1e-4).all()


def test_detector_on_a_composite_gives_the_scan_probabilities(healthy):
    tile = "32723-001-085"
    detector = load("drawn-detector", "cpu")
    with rasterio.open(healthy.out / "probability" / f"{tile}.tif") as file:
        grid, transform = file.read(), file.transform
        assert file.descriptions == ("not_mine", "mine")
    row, column = np.argwhere(np.isfinite(grid[-1]))[0]
    cube = open_composite(healthy.out, tile=tile)
    west, north = transform.c + 270 * column, transform.f - 270 * row
    half = 94 * 10
    patch = cube.sel(x=slice(west - half, west + 270 + half), y=slice(north + half, north - 270 - half)).compute()
    reflectance = np.where(patch == 0, np.nan, patch * 1e-4 - 0.1).astype(np.float32)
    assert reflectance.shape == (4, 215, 215)
    np.testing.assert_allclose(detector.score_core(reflectance)[:, 0, 0], grid[:, row, column], atol=1e-5)


@pytest.mark.parametrize("ending", ["csv", "kml", "geojson", "parquet", "gpkg", "shp"])
def test_export(healthy, tmp_path, minescan, ending):
    target = tmp_path / f"mines.{ending}"
    said = minescan("export", healthy.out, "--to", target)
    assert said.code == 0, said
    assert said.err == ""
    count = len(healthy.result.candidates)
    assert said.out == f"{count} candidates in {target}\n"
    if ending == "csv":
        assert target.read_bytes() == (healthy.out / "candidates.csv").read_bytes()
    elif ending != "kml":
        frame = gpd.read_parquet(target) if ending == "parquet" else gpd.read_file(target)
        assert sorted(frame["id"]) == sorted(healthy.result.candidates["id"])


def test_export_filters(healthy, tmp_path, minescan):
    scores = healthy.result.candidates["score"]
    limit = float(scores.sort_values().iloc[-1])
    assert minescan("export", healthy.out, "--to", tmp_path / "a.csv", "--min-score", limit).code == 0
    assert len(pd.read_csv(tmp_path / "a.csv")) == 1 < len(scores)


def test_models(minescan, cards):
    listed = minescan("models", "list")
    assert listed.code == 0
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert {path.name for path in cards.iterdir()} <= set(names)
    assert names == sorted(names)
    shown = minescan("models", "show", "drawn-detector", "--json")
    assert shown.code == 0
    assert json.loads(shown.out) == json.loads((cards / "drawn-detector" / "card.json").read_text())


def test_plan_prices_the_scan_that_follows(healthy, tmp_path, arguments, minescan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = minescan("plan", *arguments(None), "--json")
    assert said.code == 0, said
    assert list(tmp_path.iterdir()) == []
    cost, totals = json.loads(said.out), healthy.result.run["totals"]
    assert cost["tiles"] == len(healthy.result.run["plan"]["tiles"])
    assert cost["cells"] == sum(receipt.stats["cells"] for receipt in healthy.receipts if receipt.stage == "detect")
    assert cost["scenes"] == 10
    for name, ran in (("decoded_bytes", totals["decoded_bytes"]), ("requests", totals["requests"])):
        assert cost[name]["low"] <= ran <= cost[name]["high"], name
    zarr = sum(path.stat().st_size for path in (healthy.out / "composite.zarr").rglob("*") if path.is_file())
    assert zarr <= cost["zarr_bytes"]["high"]
    readable = minescan("plan", *arguments(None))
    assert readable.code == 0
    assert "inflated       0" in readable.out
    over = minescan("plan", *arguments(None), "--max-bytes", 1)
    assert (over.code, over.err.startswith("minescan: --max-bytes 1:")) == (3, True)


def test_a_scan_in_another_thread(tmp_path, config_of, healthy):
    """Signals belong to the main thread: a scan elsewhere must do without."""
    shutil.copytree(healthy.out, tmp_path / "scan")
    next((tmp_path / "scan" / "coverage").glob("*.tif")).unlink()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(scan, config_of(tmp_path / "scan")).result().exit_code == 0
