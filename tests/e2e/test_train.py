"""From labelled points to candidates: chips, a training and a scan with its card, by the command line alone."""

import json

import geopandas as gpd
import pytest

from models import find_card
from scanner.demo.__main__ import write_points

RECIPE = """
name = "{name}"
task = "detector"
level = "l2a"
bands = ["B02", "B04", "B08", "B11"]
limits = "A test."
origin = "The synthetic region."
{network}
[chips]
file = "chips.zarr"
[split]
{split}
[train]
threads = 1
rate = 3e-3
{train}
"""
WINDOW = 'network = "balaniuk-impact"\narguments = { chip_px = 24 }\nwindow_px = 24\nstride_px = 12'


@pytest.fixture(scope="module")
def chips(region, tmp_path_factory):
    """A folder with points; chips are made by the first test that asks."""
    folder = tmp_path_factory.mktemp("training")
    write_points(region).rename(folder / "points.csv")
    return region, folder


@pytest.fixture
def scan_options(arguments, cluster):
    """scan_options(out, detector): of a scan by warm workers, without a judge."""
    return lambda out, detector: arguments(out, detector=detector, impact="none", cluster=cluster)


def cut(minescan, region, folder, *more: str):
    return minescan(
        "chips", "--points", folder / "points.csv", "--column", "kind", "--class", "high_impact=mine", "--class",
        "low_impact=mine", "--class", "no_ore=not_mine", "--size", 215, "--dates", region.dates, "--catalog",
        region.items, "--bands", "B02,B04,B08,B11", "--balance", "--out", folder / "chips.zarr", *more,
    )  # fmt: skip


FCN = {"network": "", "split": 'kind = "none"', "train": "steps = 12\nbatch = 4"}
"""Its squares are two kilometres wide: in so small a region all overlap."""
IMPACT = {"network": WINDOW, "split": "block = 0.004", "train": "steps = 60\nbatch = 16"}


@pytest.mark.parametrize(
    ("name", "kind"), [pytest.param("points-fcn", FCN, marks=pytest.mark.slow), ("points-window", IMPACT)]
)
def test_points_become_chips_a_card_and_candidates(minescan, chips, scan_options, tmp_path, name, kind):
    made = cut(minescan, *chips)
    assert made.code == 0, made.err
    counts = [line for line in made.out.splitlines() if line.endswith(" chips")]
    assert len({line.split(": ")[1] for line in counts}) == 1
    recipe = chips[1] / f"{name}.toml"
    recipe.write_text(RECIPE.format(name=name, **kind))
    trained = minescan("train", recipe, "--device", "cpu")
    assert trained.code == 0, trained.err
    card = find_card(name)
    scanned = minescan("scan", *scan_options(tmp_path / "scan", detector=name))
    assert scanned.code == 0, scanned.err
    run = json.loads((tmp_path / "scan" / "run.json").read_text())
    assert card.sha256 in json.dumps(run)
    cells = gpd.read_parquet(tmp_path / "scan" / "cells.parquet")
    assert "verdict" in cells.columns
    assert (tmp_path / "scan" / "candidates.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--points", "nothing.csv", "--column", "kind", "--size", "9"], "nothing.csv"),
        (["--points", "nothing.csv", "--column", "kind"], "--box"),
        (["--points", "nothing.csv", "--size", "9"], "no class"),
        (["--points", "nothing.csv", "--column", "a", "--class", "b", "--size", "9"], "VALUE=NAME"),
        (["--points", "nothing.csv", "--column", "a", "--looks", "few", "--size", "9"], "--looks"),
    ],
)
def test_options_of_chips_that_do_not_do_are_one_line(minescan, tmp_path, arguments, said):
    told = minescan("chips", *arguments, "--dates", "2020-01-01/2020-02-01", "--out", tmp_path / "chips.zarr")
    assert told.code == 2
    assert said in told.line
    assert not (tmp_path / "chips.zarr").exists()


def test_a_recipe_with_a_wrong_key_is_one_line(minescan, tmp_path):
    (tmp_path / "recipe.toml").write_text('name = "x"\nstep = 3\n')
    told = minescan("train", tmp_path / "recipe.toml")
    assert told.code == 2
    assert "unknown key 'step'" in told.line
    told = minescan("train", tmp_path / "nothing.toml")
    assert told.code == 2
    assert "nothing.toml" in told.line
