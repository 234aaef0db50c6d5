"""Recipes: read, refused, and trained through the catalogue and the compositor."""

import csv
from pathlib import Path

import numpy as np
import pytest
import rasterio

from models import load
from scanner.demo.region import make_region
from scanner.demo.sites import RegionSpec
from scanner.demo.truth import impact_points, labels
from scanner.errors import InputError
from scanner.run.recipe import read_recipe
from scanner.run.training import train
from tiling import Window, affine_of

HEAD = """
name = "drawn"
task = "{task}"
level = "l2a"
bands = ["B02", "B04", "B08", "B11"]
catalog = "items.json"
limits = "A test."
origin = "code"
"""


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    return make_region(
        tmp_path_factory.mktemp("region"), 3, RegionSpec(size_px=480, dates=2, mines=3, decoys=4, cloud_called=0)
    )


def write_labels(region) -> Path:
    """Class 7 where there is a mine, on the western granule's own ground but for its rim."""
    west = region.tiles[0].window
    window = Window(x0=west.x0 + 60, y0=west.y0 + 60, x1=west.x1 - 60, y1=west.y1 - 60)
    codes = labels(region.ground, region.tiles[0].zone, window).astype(np.uint8) * 7
    path = region.folder / "labels.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": window.height_px, "width": window.width_px}
    place = {"crs": f"EPSG:{region.tiles[0].zone}", "transform": affine_of(region.tiles[0].zone, window)}
    with rasterio.open(path, "w", **profile, **place) as target:
        target.write(codes, 1)
    return path


def write_recipe(region, text: str, task: str = "detector") -> Path:
    path = region.folder / f"{task}.toml"
    path.write_text(HEAD.format(task=task) + text)
    return path


def test_a_detector_from_a_label_raster_scores_its_own_bands(region, tmp_path):
    write_labels(region)
    recipe = write_recipe(
        region,
        f"""
targets = [7]
[train]
steps = 3
crop_cells = 3
[[rasters]]
labels = "labels.tif"
dates = "{region.dates}"
group = "west"
""",
    )
    lines = list(train(recipe, tmp_path / "card"))
    assert any("sha256" in line for line in lines)
    detector = load(tmp_path / "card")
    assert detector.card.bands == ("B02", "B04", "B08", "B11")
    assert detector.card.metrics["step"] == 3
    assert detector.score_core(np.full((4, 27 + 188, 27 + 188), 0.2, np.float32)).shape == (2, 1, 1)
    again = list(train(recipe, tmp_path / "again"))
    assert [line.split("sha256")[-1] for line in again][1] == [line.split("sha256")[-1] for line in lines][1]


def test_an_impact_card_from_points(region, tmp_path):
    points = impact_points(region.ground, 5, per_site=2)
    with (region.folder / "points.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["lon", "lat", "kind"])
        rows.writerows([point.lon, point.lat, {"no_ore": "nothing"}.get(point.label, point.label)] for point in points)
        rows.writerow([10.0, 10.0, "nothing"])
    recipe = write_recipe(
        region,
        f"""
held_out_share = 0.0
[train]
steps = 2
[[points]]
file = "points.csv"
column = "kind"
dates = "{region.dates}"
[points.classes]
high_impact = "high_impact"
low_impact = "low_impact"
nothing = "no_ore"
""",
        "impact",
    )
    list(train(recipe, tmp_path / "judge"))
    judge = load(tmp_path / "judge")
    assert judge.card.classes == ("high_impact", "low_impact", "no_ore")
    scores = judge.score(np.full((1, 4, 21, 21), 0.2, np.float32))
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


RASTER = 'targets = [1]\n[[rasters]]\nlabels = "l.tif"\ngroup = "g"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "either"),
        ("unknown = 1", "unknown key 'unknown'"),
        (RASTER.replace("targets = [1]", "") + 'dates = "2020-01-01/2020-02-01"', "targets"),
        (RASTER + 'dates = "2020-02-01/2020-01-01"', "--dates"),
        (RASTER + 'dates = "2020-01-01/2020-01-02"\n[train]\nsteps = 0', "steps"),
        ("bands = 3", "overwrite"),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "recipe.toml"
    path.write_text(HEAD.format(task="detector") + text)
    with pytest.raises(InputError, match=said) as refused:
        read_recipe(path)
    assert "\n" not in str(refused.value)


def test_a_label_raster_that_is_none_is_refused(region, tmp_path):
    (region.folder / "bad.tif").write_text("no raster")
    recipe = write_recipe(
        region, f'targets = [7]\n[[rasters]]\nlabels = "bad.tif"\ndates = "{region.dates}"\ngroup = "g"'
    )
    with pytest.raises(InputError, match=r"bad\.tif"):
        list(train(recipe, tmp_path / "card"))
    assert not (tmp_path / "card").exists()
