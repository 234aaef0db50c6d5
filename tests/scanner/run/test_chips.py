"""Chips: where they lie, what they show, what they refuse; the same pixels as a composite of the place alone."""

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import zarr

from scanner.catalog.search import SceneQuery, search
from scanner.config import parse_dates
from scanner.demo.region import make_region
from scanner.demo.sites import RegionSpec
from scanner.demo.truth import impact_points, labels
from scanner.errors import CatalogError, FolderError, InputError
from scanner.run import chip_job
from scanner.run.chip_config import ChipsConfig
from scanner.run.chip_labels import drawn_alike
from scanner.run.chip_set import make_chips
from scanner.run.chips import composite_at, lonlat_box
from scanner.run.places import degrees, read_sites
from scanner.run.plan import search_area
from scanner.store.chips import read_chips, read_part
from tiling import Window, affine_of

BANDS = ("B02", "B04", "B11")


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    return make_region(
        tmp_path_factory.mktemp("region"), 3, RegionSpec(size_px=384, dates=3, mines=2, decoys=4, cloud_called=0)
    )


@pytest.fixture
def points(region, tmp_path) -> Path:
    path = tmp_path / "points.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream, delimiter=";")
        rows.writerow(["Latitude", "Longitude", "kind"])
        for point in impact_points(region.ground, 5, per_site=1):
            rows.writerow([str(point.lat).replace(".", ","), point.lon, point.label])
        rows.writerow(["10,0", 10.0, "no_ore"])
        rows.writerow(["", "", "no_ore"])
        rows.writerow(["89", "0", "no_ore"])
        rows.writerow(["10,0", 10.0, "other"])
    return path


KINDS = {"high_impact": "mine", "low_impact": "mine", "no_ore": "not_mine"}


@pytest.fixture
def config(region, points, tmp_path) -> ChipsConfig:
    return ChipsConfig(
        points=(("", points),), column="kind", classes=KINDS, size_px=33, dates=(region.dates,),
        catalog=str(region.items), bands=BANDS, out=tmp_path / "chips.zarr",
    )  # fmt: skip


def test_chips_are_what_a_scan_would_store_there(config, monkeypatch):
    monkeypatch.setattr(chip_job, "BATCH_CHIPS", 4)
    result = make_chips(config)
    chips = read_chips(config.out)
    assert dict(result.left_out) == {
        "unknown class": 1, "no coordinates": 1, "outside the UTM grid": 1, "without scenes": 1,
        "without a clear look": 1,
    }  # fmt: skip
    assert chips.classes == ("mine", "not_mine")
    assert chips.bands == BANDS
    group = zarr.open_group(config.out, mode="r")
    start, end = parse_dates(config.dates[0])
    for index in range(0, len(chips.labels), 5):
        x0, y0, zone = (int(group[name][index]) for name in ("x0", "y0", "zone"))
        window = Window(x0=x0, y0=y0, x1=x0 + 33, y1=y0 + 33)
        aoi = search_area(lonlat_box(zone, window))
        scenes = search(
            SceneQuery(
                catalog=config.catalog, collection=None, level="l2a", start=start, end=end, aoi=aoi, max_cloud=None
            )
        )
        alone, _ = composite_at(scenes, BANDS, zone, window, looks=8)
        np.testing.assert_array_equal(chips.reflectance[index], alone)
        bits = np.unpackbits(group["scenes"][index])
        ids = {scene for scene, clear in zip(group.attrs["scenes"], bits, strict=False) if clear}
        assert ids <= {scene.id for scene in scenes}
        assert ids
    assert chips.groups[0].count(" ") == 1
    assert not config.out.with_name("chips.zarr.parts").exists()
    assert make_chips(config).digest == result.digest == chips.digest
    with pytest.raises(FolderError, match="other labels or options"):
        make_chips(replace(config, looks="all"))


def test_a_killed_run_resumes_without_repeating(config, tmp_path):
    """Stopped for good after its second part; the next run keeps both parts and ends as one that was never stopped."""
    whole = make_chips(replace(config, out=tmp_path / "whole.zarr"))
    code = (
        "import os, signal, sys\n"
        "from scanner.run import chip_job, chip_set\n"
        "from tests_config import config\n"
        "chip_job.BATCH_CHIPS = 3\n"
        "write, count = chip_set.write_part, iter(range(9))\n"
        "def dying(path, part):\n"
        "    write(path, part)\n"
        "    next(count) == 1 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "chip_set.write_part = dying\n"
        "chip_set.make_chips(config)\n"
    )
    module = tmp_path / "tests_config.py"
    module.write_text(
        f"from pathlib import Path, PosixPath\nfrom scanner.run.chip_config import ChipsConfig\nconfig = {config!r}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    parts = config.out.with_name("chips.zarr.parts")
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.safetensors")}
    before = [place for path in kept for place in read_part(path).places.tolist()]
    assert len(kept) == 2
    assert not config.out.exists()
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chip_job, "BATCH_CHIPS", 3)
        patch.setattr(
            "scanner.run.chip_set.build_part", lambda batch: built.append(batch) or chip_job.build_part(batch)
        )
        result = make_chips(config)
    assert result.digest != ""
    chips, uncut = read_chips(config.out), read_chips(whole.out)
    assert sorted([*before, *(place for batch in built for place in batch.places)]) == list(range(10))
    np.testing.assert_array_equal(chips.reflectance, uncut.reflectance)
    assert chips.digest == uncut.digest


def test_polygons_in_another_crs_give_masks(region, config, tmp_path):
    """A polygon's own pixels are its class, the rest the background: as the ground truth's raster has it."""
    truth = gpd.read_file(region.truth)
    mines = truth[truth["kind"] != "decoy"].to_crs("EPSG:3857")
    path = tmp_path / "mines.gpkg"
    mines[["kind", "geometry"]].to_file(path)
    boxed = replace(config, points=(("mine", path),), column=None, classes={}, size_px=None, background="not_mine")
    make_chips(boxed)
    chips, group = read_chips(config.out), zarr.open_group(config.out, mode="r")
    assert chips.classes == ("mine", "not_mine")
    assert len(chips.labels) == len(mines)
    for index in range(len(chips.labels)):
        x0, y0, zone = (int(group[name][index]) for name in ("x0", "y0", "zone"))
        mask = chips.mask[index]
        height, width = (int(edge) for edge in ((mask >= 0).any(axis=1).sum(), (mask >= 0).any(axis=0).sum()))
        window = Window(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height)
        planted = labels(region.ground, zone, window)
        assert ((mask[:height, :width] == 0) == (planted == 1)).mean() > 0.97
        assert (chips.reflectance[index][:, height:] == 0).all()


def test_a_label_raster_is_cut_side_by_side(region, config, tmp_path):
    west = region.tiles[0]
    window = Window(x0=west.window.x0 + 60, y0=west.window.y0 + 60, x1=west.window.x0 + 168, y1=west.window.y0 + 132)
    codes = np.random.default_rng(0).integers(0, 3, window.shape).astype(np.uint8)
    codes[:, :36] = 0
    path = tmp_path / "codes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=codes.shape[0], width=codes.shape[1],
        crs=f"EPSG:{west.zone}", transform=affine_of(west.zone, window),
    ) as target:  # fmt: skip
        target.write(codes, 1)
    asked = replace(config, points=(), column=None, classes={}, labels=path, size_px=36)
    make_chips(asked)
    chips = read_chips(config.out)
    assert chips.classes == ("1", "2")
    assert len(chips.labels) == 4
    got = np.block([[chips.mask[0], chips.mask[1]], [chips.mask[2], chips.mask[3]]])
    np.testing.assert_array_equal(got, codes[:, 36:].astype(np.int16) - 1)


def test_rejected_hits_of_a_scan_are_negatives(region, config, tmp_path):
    lon, lat = (region.aoi[0] + region.aoi[2]) / 2, (region.aoi[1] + region.aoi[3]) / 2
    scan = tmp_path / "scan"
    scan.mkdir()
    cells = gpd.GeoDataFrame(
        {"verdict": ["no_ore", "accepted", "reviewed_false"], "lon": [lon, lon, lon], "lat": [lat, lat, lat]},
        geometry=[shapely.Point(lon, lat)] * 3, crs="EPSG:4326",
    )  # fmt: skip
    cells.to_parquet(scan / "cells.parquet")
    result = make_chips(replace(config, negatives=(("not_mine", scan),), balance=True))
    assert len(set(result.counts.values())) == 1
    with pytest.raises(InputError, match="no cells of a scan"):
        make_chips(replace(config, negatives=(("not_mine", tmp_path),), out=tmp_path / "other.zarr"))


def test_as_many_of_each_class_are_drawn():
    drawn = drawn_alike(np.array([0, 0, 0, 1, -1, 0, 1], np.int16), 3)
    assert sorted(np.array([0, 0, 0, 1, -1, 0, 1])[drawn]) == [0, 0, 1, 1]
    assert drawn == drawn_alike(np.array([0, 0, 0, 1, -1, 0, 1], np.int16), 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("-20,5", -20.5), (" 3.25 ", 3.25), ("-10°39'12.400''", -(10 + 39 / 60 + 12.4 / 3600)), ("44°25'21\"W", -44.4225)],
)
def test_coordinates_as_people_write_them(text, value):
    assert degrees(Path("x.csv"), [text])[0] == pytest.approx(value)
    with pytest.raises(InputError, match="row 2"):
        degrees(Path("x.csv"), ["near the river"])


def refused(config: ChipsConfig, error: type = InputError) -> str:
    with pytest.raises(error) as caught:
        make_chips(config)
    assert "\n" not in str(caught.value)
    assert not config.out.exists()
    return str(caught.value)


def test_what_cannot_be_had_is_one_line(config, tmp_path):
    assert "unknown class" in refused(replace(config, classes={"pit": "mine"}))
    assert "class 'pit' is empty" in refused(replace(config, classes=KINDS | {"hole": "pit"}))
    assert "no column 'sort'" in refused(replace(config, column="sort"))
    assert "2030" in refused(replace(config, dates=("2030-01-01/2030-02-01",)), CatalogError)
    assert "points.gpkg" in refused(replace(config, points=(("", tmp_path / "points.gpkg"),)))
    bare = tmp_path / "bare.shp"
    gpd.GeoDataFrame({"kind": ["a"]}, geometry=[shapely.Point(1, 1)], crs="EPSG:4326").to_file(bare)
    bare.with_suffix(".prj").unlink()
    assert "no CRS" in refused(replace(config, points=(("", bare),)))
    far = tmp_path / "far.csv"
    far.write_text("lon,lat,kind\n10,10,high_impact\n11,10,no_ore\n")
    assert "none of 2 places" in refused(replace(config, points=(("", far),)), CatalogError)
    metres = tmp_path / "metres.csv"
    metres.write_text("x,y,kind\n500000,7000000,high_impact\n")
    assert "no degrees" in refused(replace(config, points=(("", metres),)))


def test_chips_without_a_clear_look_are_counted_and_none_is_an_error(config, monkeypatch):
    monkeypatch.setattr("scanner.run.chip_set.OBSERVED_TENTHS", 11)
    assert "without a clear look" in refused(config)


@pytest.mark.parametrize("changes", [{"dates": ()}, {"size_px": 0}, {"bands": ("B99",)}, {"points": ()}, {"looks": 0}])
def test_options_that_cannot_be(config, changes):
    with pytest.raises(InputError):
        replace(config, **changes)


def test_the_register_of_brazilian_dams_is_read_as_it_is(shared_data):

    path = shared_data / "labels" / "brazil-anm-dams" / "anm_sigbm_dams.csv"
    ores = {"Minério de Ferro": "high_impact", "Areia": "low_impact", "Argila": "low_impact"}
    marked = read_sites(path, column="Minério principal presente no reservatório", classes=ores)
    counts = {name: sum(site.label == name for site in marked.sites) for name in ("high_impact", "low_impact")}
    assert counts == {"high_impact": 86, "low_impact": 90}
    west, south, east, north = shapely.total_bounds([site.geometry for site in marked.sites])
    assert (west > -74) & (east < -34) & (south > -34) & (north < 6)
