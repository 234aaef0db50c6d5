"""`minescan evaluate`: the very cells of a scan, the figures promised, and one line for what cannot be used."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch

from models import ModelCard, load
from models.metrics import confusion
from models.networks import UNET, build
from models.registry import find_card, save_card
from scanner.store.composite import read_window
from tiling import Tile, TileId, Window, affine_of, lonlat, margin_for, zone_of


@pytest.fixture
def evaluate(region, minescan, tmp_path):
    """evaluate(labels, *more, **options): the command on the region; None leaves an option out."""

    def run(*labels, more=(), card="drawn-detector", **changes):
        options = {"catalog": region.items, "dates": region.dates, "out": tmp_path / "out", "device": "cpu"} | changes
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
        return minescan("evaluate", card, *given, *(f"--labels={file}" for file in labels), *more)

    return run


def _write(path: Path, codes, transform, zone) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": codes.shape[0], "width": codes.shape[1]}
    with rasterio.open(path, "w", **profile, transform=transform, crs=zone and f"EPSG:{zone}") as target:
        target.write(codes, 1)
    return path


@pytest.fixture(scope="module")
def drawn(healthy, tmp_path_factory):
    """Labels drawn by chance over the cells that a scan scored in its largest tile, and what they must give."""
    grids = {path: rasterio.open(path) for path in sorted((healthy.out / "probability").glob("*.tif"))}
    path = max(grids, key=lambda name: int(np.isfinite(grids[name].read(1)).sum()))
    scores, transform, zone = grids[path].read(2), grids[path].transform, grids[path].crs.to_epsg()
    for source in grids.values():
        source.close()
    rows, columns = (np.flatnonzero(np.isfinite(scores).any(axis=axis)) for axis in (1, 0))
    scores = scores[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    codes = np.random.default_rng(8).integers(0, 3, scores.shape)
    west, north = transform.c + 270 * int(columns[0]), transform.f - 270 * int(rows[0])
    for row, column in np.ndindex(codes.shape):
        # What of a cell lies beyond its zone is the other zone's to judge.
        x, y = west + 270 * np.array([column, column + 1]), north - 270 * np.array([row, row + 1])
        lon, lat = lonlat(zone, *(edge.ravel() for edge in np.meshgrid(x, y)))
        codes[row, column] *= (zone_of(lon, lat) == zone).all()
    codes = np.where(np.isfinite(scores), codes, 0).astype(np.uint8)
    affine = rasterio.Affine(10, 0, west, 0, -10, north)
    file = _write(tmp_path_factory.mktemp("labels") / "drawn.tif", codes.repeat(27, 0).repeat(27, 1), affine, zone)
    return file, confusion(codes.astype(int) - 1, scores > 0.6, 2)


def test_cells_are_those_of_the_scan_and_the_files_hold_what_was_promised(drawn, evaluate, tmp_path):
    file, counts = drawn
    said = evaluate(file, more=("--season",))
    assert said.code == 0, said.err
    out = tmp_path / "out"
    found = json.loads((out / "metrics.json").read_text())
    assert (counts > 0).sum() >= 3
    assert found["confusion"] == counts.tolist()
    names = {"metrics.json", "metrics.csv", "confusion.png", "curves.png", "calibration.png"}
    assert {path.name for path in out.iterdir()} == names
    promised = {"overall_accuracy", "kappa", "macro_f1", "mean_producers_accuracy", "mean_users_accuracy", "confusion"}
    assert promised | {"per_class", "unobserved", "by_season"} <= set(found)
    assert set(found["per_class"]) == {"not_mine", "mine"}
    for row in found["per_class"].values():
        assert {"precision", "recall", "f1", "iou", "specificity", "accuracy", "support"} <= set(row)
    assert found["sha256"] == find_card("drawn-detector").sha256
    assert found["notes"] == ["not compared with remembering: no training labels given"]
    assert len((out / "metrics.csv").read_text().splitlines()) > 20
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert evaluate(file, more=("--quiet", "--season")).err == ""
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_points_by_a_column_beside_what_is_remembered(drawn, evaluate, tmp_path):
    file, counts = drawn
    with rasterio.open(file) as source:
        codes, transform, crs = source.read(1), source.transform, source.crs
    rows, columns = (place * 27 + 13 for place in np.nonzero(codes[13::27, 13::27]))
    x, y = transform.c + 10 * (columns + 0.5), transform.f - 10 * (rows + 0.5)
    kinds = np.where(codes[rows, columns] == 2, "mine", "not_mine")
    points = {"kind": kinds, "county": np.where(x < np.median(x), "west", "east")}
    gpd.GeoDataFrame(points, geometry=shapely.points(x, y), crs=crs).to_file(tmp_path / "points.gpkg")
    said = evaluate(
        tmp_path / "points.gpkg", column="kind", by="county", remember=tmp_path / "points.gpkg",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["confusion"] == counts.tolist()
    assert set(found["by_county"]) == {"west", "east"}
    assert sum(part["units"] for part in found["by_county"].values()) == found["units"]
    assert found["remembering"]["overall_accuracy"] == found["remembering"]["kappa"] == 1
    assert found["remembering"]["difference"]["overall_accuracy"] == pytest.approx(found["overall_accuracy"] - 1)
    assert found["remembered"] == "the labels of points.gpkg"
    assert "remembering" in said.out


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    """A drawn U-Net of two output pixels an input pixel, three classes."""
    folder = tmp_path_factory.mktemp("unet") / "drawn-unet"
    arguments = {"width": 4, "depth": 2, "finer": 2}
    card = ModelCard(
        name="drawn-unet", task="detector", mode="fcn", output="pixels", finer=2, network=UNET, arguments=arguments,
        level="l2a", bands=("B02", "B04", "B08", "B11"), mean=(0.08, 0.1, 0.25, 0.2), std=(0.05, 0.06, 0.1, 0.1),
        window_px=48, stride_px=4, halo_px=24, classes=("field", "wood", "quarry"), limits="Drawn at random.",
        licence="CC0-1.0", origin="code",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        weights = build(UNET, bands=4, classes=3, **arguments).state_dict()
    save_card(folder, card, weights)
    return folder


def test_a_segmenter_is_judged_by_its_own_pixels(segmenter, evaluate, healthy, tmp_path):
    tile_id = TileId.parse(min(path.stem for path in (healthy.out / "probability").glob("*.tif")))
    with rasterio.open(healthy.out / "probability" / f"{tile_id}.tif") as source:
        rows, columns = np.nonzero(np.isfinite(source.read(1)))
        e, n = source.transform @ (float(np.median(columns)), float(np.median(rows)))
    x0, y0 = int(e // 10), -int((n - (10_000_000 if tile_id.zone > 32700 else 0)) // 10)
    window = Window(x0=x0, y0=y0, x1=x0 + 42, y1=y0 + 30)
    codes = np.random.default_rng(6).integers(0, 4, (10, 14)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
    affine = affine_of(tile_id.zone, window)
    labels = _write(tmp_path / "a.tif", codes, rasterio.Affine(5, 0, affine.c, 0, -5, affine.f), tile_id.zone)
    said = evaluate(labels, card=segmenter, relax=2, more=("--class=1=field", "--class=2=wood", "--class=3=quarry"))
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    detector = load(segmenter, "cpu")
    y_edge, x_edge = (-(y0) % 4, -x0 % 4)
    core = Window(x0=x0 + x_edge - 4, y0=y0 + y_edge - 4, x1=x0 + x_edge + 44, y1=y0 + y_edge + 32)
    tile = Tile(id=tile_id, margin_px=margin_for(27, 94))
    stored, _ = read_window(healthy.out, tile, detector.card.bands, core.buffer(24))
    scores = detector.score_core(stored)
    inside = window.times(2).slices_in(core.times(2))
    guess = scores.argmax(axis=0)[inside]
    seen = (stored != 0).all(axis=0)[24:-24, 24:-24].repeat(2, 0).repeat(2, 1)[inside]
    assert seen.all()
    assert found["confusion"] == confusion(codes.astype(int) - 1, guess, 3).tolist()
    assert (found["unit"], found["unit_m"], found["unobserved"]) == ("pixel", 5, 0)
    assert found["relaxed"]["units"] == found["units"] - found["relaxed"]["left_out"] > 0
    assert "F1 of each class" in said.out


@pytest.fixture
def refused(evaluate, tmp_path):
    """refused(*words, labels=..., **options): one line with the words, exit 2, and no folder."""

    def check(*words, labels, **options):
        said = evaluate(labels, **options)
        assert said.code == 2, said
        line = said.err.splitlines()[-1]
        assert line.startswith("minescan: ")
        assert "Traceback" not in said.err
        for word in words:
            assert word in line, line
        assert not (tmp_path / "out" / "metrics.json").exists()

    return check


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dates": "2001-01-01/2001-12-31"}, ("no l2a scenes of 2001-01-01/2001-12-31", "--dates")),
        ({"dates": "summer"}, ("--dates", "START/END")),
        ({"level": "l1c"}, ("drawn-detector", "l2a", "l1c")),
        ({"card": "drawn-l1c"}, ("holds l2a", "expected l1c")),
        ({"card": "drawn-impact"}, ("task impact", "detectors")),
        ({"card": "nobody"}, ("nobody", "drawn-detector")),
        ({"card": "wants-b10"}, ("wants-b10", "B10")),
        ({"catalog": "none.json"}, ("--catalog", "no such file")),
        ({"more": ("--class=2",)}, ("--class '2'", "VALUE=NAME")),
        ({"more": ("--class=2=pit",)}, ("--class 'pit'", "not_mine, mine")),
        ({"more": ("--class=7=mine",)}, ("--class names 7",)),
        ({"by": "county"}, ("--by county", "raster")),
        ({"relax": 2}, ("--relax", "cells of 27 px")),
        ({"threshold": 1.5}, ("--threshold",)),
        ({"looks": "many"}, ("--looks", "many")),
        ({"remember": "none.tif"}, ("none.tif", "no such file")),
    ],
)
def test_what_cannot_be_used(refused, drawn, options, words):
    refused(*words, labels=drawn[0], **options)


def test_labels_that_cannot_be_used(refused, tmp_path):
    codes = np.full((54, 54), 2, np.uint8)
    far = rasterio.Affine(10, 0, 500_000, 0, -10, 5_600_000)
    refused("no l2a scenes", "--labels", labels=_write(tmp_path / "far.tif", codes, far, 32633))
    refused("no CRS", labels=_write(tmp_path / "plain.tif", codes, far, None))
    refused("holds 1", "--class 1=mine", labels=_write(tmp_path / "one.tif", codes // 2, far, 32633))
    refused("no such file", labels=tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    refused("text.tif", labels=tmp_path / "text.tif")


def test_a_card_whose_digest_does_not_match(refused, cards, drawn, tmp_path):
    folder = tmp_path / "swapped"
    shutil.copytree(cards / "drawn-detector", folder)
    shutil.copy(cards / "other-detector" / "weights.safetensors", folder)
    refused("sha256", labels=drawn[0], card=folder)


def test_a_folder_of_something_else(refused, drawn, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("mine")
    refused("--out", "thesis.docx", labels=drawn[0])


def test_a_class_without_a_label_is_said(drawn, evaluate, tmp_path):
    said = evaluate(drawn[0], more=("--class=1=not_mine", "--class=2=none"))
    assert said.code == 0
    assert "no labelled cell is mine" in said.out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["per_class"]["mine"]["recall"] is None
