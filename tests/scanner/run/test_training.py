"""Recipes: read, refused, and trained through the catalogue and the compositor."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from models import load
from scanner.demo.region import make_region
from scanner.demo.sites import RegionSpec
from scanner.demo.truth import impact_points, labels
from scanner.errors import InputError
from scanner.run.chip_config import ChipsConfig
from scanner.run.chip_set import make_chips
from scanner.run.recipe import read_recipe
from scanner.run.training import Options, train
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
    lines = list(train(recipe, Options(out=tmp_path / "card")))
    assert any("sha256" in line for line in lines)
    detector = load(tmp_path / "card")
    assert detector.card.bands == ("B02", "B04", "B08", "B11")
    assert detector.card.metrics["step"] == 3
    assert detector.score_core(np.full((4, 27 + 188, 27 + 188), 0.2, np.float32)).shape == (2, 1, 1)
    again = list(train(recipe, Options(out=tmp_path / "again")))
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
[train]
steps = 2
[split]
kind = "none"
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
    list(train(recipe, Options(out=tmp_path / "judge")))
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
        ('[chips]\nfile = "c.zarr"\n[split]\nkind = "twice"', "kind 'twice'"),
        ('[chips]\nfile = "c.zarr"\n[split]\nsize = 3', "unknown key 'size'"),
        ('[chips]\nfile = "c.zarr"\n[train]\nloss = 3\nepoch = 2', "unknown key 'epoch'"),
        ('[chips]\nbands = "c.zarr"', "file is missing"),
        (RASTER.replace("[[", '[chips]\nfile = "c.zarr"\n[[') + 'dates = "2020-01-01/2020-01-02"', "either"),
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
        list(train(recipe, Options(out=tmp_path / "card")))
    assert not (tmp_path / "card").exists()


@pytest.fixture(scope="module")
def chips(region) -> Path:
    """Chips with masks over the western granule's labels."""
    write_labels(region)
    config = ChipsConfig(
        out=region.folder / "chips.zarr", labels=region.folder / "labels.tif", classes={"0": "not_mine", "7": "mine"},
        size_px=32, dates=(region.dates,), catalog=str(region.items), bands=("B02", "B04", "B08", "B11"),
    )  # fmt: skip
    make_chips(config)
    return config.out


SEGMENTER = """
network = "unet"
arguments = {{ width = 4, depth = 2 }}
window_px = 32
[chips]
file = "chips.zarr"
[split]
kind = "{kind}"
by = "block"
block = 0.004
repeats = 2
[train]
epochs = 3
batch = 8
rate = 1e-2
loss = "focal"
average = 0.5
threads = 1
"""


@pytest.mark.usefixtures("chips")
def test_a_segmenter_from_chips_with_figures_and_curves(region, tmp_path):
    recipe = write_recipe(region, SEGMENTER.format(kind="repeated"))
    list(train(recipe, Options(out=tmp_path / "card")))
    card = load(tmp_path / "card").card
    assert (card.mode, card.output, card.window_px, card.stride_px, card.halo_px) == ("window", "pixels", 32, 16, 8)
    assert set(card.metrics["trainings"]) == {"repeat-1", "repeat-2"}
    assert set(card.metrics["spread"]) == {"accuracy", "precision", "recall", "f1"}
    history = json.loads((tmp_path / "card" / "history.json").read_text())
    assert list(history) == ["repeat-1", "repeat-2", "everything"]
    assert (tmp_path / "card" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "card" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "card" / ".training").exists()
    finer = recipe.with_name("finer.toml")
    text = SEGMENTER.format(kind="none").replace("epochs = 3", "epochs = 1")
    finer.write_text(HEAD.format(task="detector").replace('"B11"', '"B02"').replace('["B02",', "[") + text)
    list(train(finer, Options(out=tmp_path / "finer", begin_from=str(tmp_path / "card"))))
    begun = load(tmp_path / "finer").card
    assert begun.bands == ("B04", "B08", "B02")
    assert begun.mean == (card.mean[1], card.mean[2], card.mean[0])
    with (tmp_path / "card" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="sha256 is another"):
        list(train(finer, Options(out=tmp_path / "again", begin_from=str(tmp_path / "card"))))


@pytest.mark.usefixtures("chips")
def test_killed_and_resumed_gives_the_same_weights(region, tmp_path):
    """Killed for good within its second fold, begun again: card, history, weights as if nothing had happened."""
    text = SEGMENTER.format(kind="repeated")
    recipe = write_recipe(region, text)
    list(train(recipe, Options(out=tmp_path / "whole")))
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from models.training import checkpoint\n"
        "from scanner.run.training import Options, train\n"
        "keep = checkpoint.Keeper.keep\n"
        "def dying(self, state):\n"
        "    keep(self, state)\n"
        "    if self.path.stem == 'repeat-2' and state.numbers['step'] == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.Keeper.keep = dying\n"
        "list(train(Path(sys.argv[1]), Options(out=Path(sys.argv[2]), keep_every_s=0.0)))\n"
    )
    out = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", code, recipe, out], check=False)
    assert done.returncode == -signal.SIGKILL
    kept = sorted(path.name for path in (out / ".training").iterdir())
    assert kept == ["repeat-1.json", "repeat-1.safetensors", "repeat-2.safetensors"]
    other = write_recipe(region, text.replace("1e-2", "1e-3"))
    with pytest.raises(InputError, match="another recipe"):
        list(train(other, Options(out=out)))
    list(train(write_recipe(region, text), Options(out=out)))
    for name in ("weights.safetensors", "card.json", "history.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


OF_CELLS = 'targets = [7]\nnetwork = "balaniuk-impact"\narguments = { chip_px = 24 }\nstride_px = 12'
OF_PIXELS = (
    'network = "unet"\narguments = { width = 4, depth = 2 }\nstride_px = 12\ncodes = { 0 = "not_mine", 7 = "mine" }'
)


@pytest.mark.parametrize(("network", "output"), [(OF_CELLS, "cells"), (OF_PIXELS, "pixels")])
def test_rasters_teach_other_networks_too(region, tmp_path, network, output):
    write_labels(region)
    recipe = write_recipe(
        region,
        f"""
{network}
window_px = 24
[split]
by = "block"
block = 0.01
[train]
steps = 2
[[rasters]]
labels = "labels.tif"
dates = "{region.dates}"
group = "west"
""",
    )
    list(train(recipe, Options(out=tmp_path / "card")))
    card = load(tmp_path / "card").card
    assert (card.output, card.halo_px, card.classes) == (output, 6, ("not_mine", "mine"))
    assert card.metrics["samples_beside"] > 0


@pytest.mark.usefixtures("chips")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("window_px = 32", "window_px = 64"), "--size 64"),
        (("window_px = 32", "window_px = 30\nstride_px = 10"), "takes no squares of 30 px"),
        (("window_px = 32", ""), "window_px is missing"),
        (("window_px = 32", "window_px = 32\nstride_px = 5"), "must be even"),
        (('"unet"', '"net"'), "no network 'net'"),
        (("depth = 2", "deep = 2"), "no argument 'deep'"),
        (('"B11"', '"B12"'), "no B12"),
        (('"focal"', '"hinge"'), "no loss 'hinge'"),
        (('level = "l2a"', 'level = "l1c"'), "of level l2a"),
        (("[chips]", 'classes = ["pond", "mine"]\n[chips]'), "no class 'pond'"),
        (("chips.zarr", "nothing.zarr"), "no set of chips"),
        (('kind = "once"', 'kind = "once"\nheld_out = ["x"]'), "'x' is no block"),
    ],
)
def test_recipes_that_do_not_fit_their_chips_are_one_line(region, tmp_path, change, said):
    recipe = region.folder / "wrong.toml"
    recipe.write_text((HEAD.format(task="detector") + SEGMENTER.format(kind="once")).replace(*change))
    with pytest.raises((InputError, ValueError), match=said) as refused:
        list(train(recipe, Options(out=tmp_path / "card")))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "card" / "card.json").exists()
