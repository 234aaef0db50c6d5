"""The published weights of Amazon Mining Watch say here what Keras says, on real chips of L1C."""

import json
import os

import h5py
import numpy as np
import pytest
import rasterio
import torch

from models import load
from models.importing.bring import bring

FILES = {
    "2026": "48px_v4.21-CNN100ka_2026-05-08ep179.h5",
    "2024": "48px_v3.2-3.7ensemble_2024-02-13.h5",
}
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B08", "B09", "B10", "B11", "B12")

# Keras 3.15's variables do not know numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture(scope="module")
def keras():
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"
    yield pytest.importorskip("keras")
    if before is None:
        del os.environ["KERAS_BACKEND"]


@pytest.fixture(scope="module")
def published(shared_data, tmp_path_factory):
    """published(year) -> path of the .h5, folder of the card made of it by its name alone."""
    folder = shared_data / "weights" / "amazon-mining-watch"
    root = tmp_path_factory.mktemp("cards")

    def made(year: str):
        path = folder / FILES[year]
        if not path.is_file():
            pytest.skip(f"no weights at {path}")
        out = root / year
        if not out.exists():
            bring(path, f"amw-{year}", {}, out=out)
        return path, out

    return made


@pytest.fixture(scope="module")
def ground(shared_data):
    """Four dates over Lazio, clear and cloudy: (date, band, 240, 240) reflectance with some of it above 1."""
    folder = shared_data / "lazio-l1c"
    scenes = sorted(path for path in folder.glob("S2_*_L1C"))[::8]
    if not scenes:
        pytest.skip(f"no scenes in {folder}")
    images = []
    for scene in scenes:
        layers = []
        for band in BANDS:
            with rasterio.open(scene / f"{band}.tif") as source:
                layers.append(source.read(1, window=((0, 240), (0, 240))))
        images.append(np.stack(layers))
    return np.stack(images).astype(np.float32) / 10000


def _patches(ground):
    """(n, 48, 48, band) at half steps, as the publisher cuts them, scaled as the publisher scales them."""
    starts = range(0, 240 - 48 + 1, 24)
    cut = [image[:, r : r + 48, c : c + 48] for image in ground for r in starts for c in starts]
    return torch.from_numpy(np.clip(np.stack(cut), 0, 1).transpose(0, 2, 3, 1).copy())


def _said(net, patches):
    with torch.no_grad():
        return np.concatenate([net(part).numpy()[:, 0] for part in patches.split(81)])


def _ours(folder, ground):
    detector = load(folder, "cpu")
    return np.concatenate([detector.score_core(image)[1].ravel() for image in ground])


def test_the_network_of_2026_says_what_keras_says(keras, published, ground):
    path, folder = published("2026")
    expected = _said(keras.models.load_model(path, compile=False), _patches(ground))
    assert np.abs(_ours(folder, ground) - expected).max() < 1e-5
    # The comparison would not see much where all scores are 0.
    assert np.ptp(expected) > 0.05


def test_each_member_of_2024_says_what_keras_says_and_their_mean_is_the_score(keras, published, ground):
    path, folder = published("2024")
    seen = np.delete(ground[::2], BANDS.index("B10"), axis=1)
    patches = _patches(seen)
    members = [_said(net, patches) for net in _members(keras, path)]
    assert len(members) == 6
    net = load(folder, "cpu")._way._engine.net
    ours = patches.permute(0, 3, 1, 2)
    with torch.inference_mode():
        for member, expected in zip(net.members, members, strict=True):
            scores = torch.cat([torch.sigmoid(member(part)[:, 0]) for part in ours.split(81)])
            difference = scores.numpy() - expected
            assert np.abs(difference).max() < 1e-5
    assert np.abs(_ours(folder, seen) - np.mean(members, axis=0)).max() < 1e-5
    assert np.ptp(members) > 0.05


def _members(keras, path):
    """Keras's own networks from the file's configuration, without the dots that Keras 3 refuses in names."""
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]
        for layer in config["layers"]:
            if layer["class_name"] != "Sequential":
                continue
            name = layer["config"]["name"]
            net = keras.Sequential.from_config(layer["config"] | {"name": name.replace(".", "_")})
            group = file["model_weights"][name]
            net.set_weights([group[weight][()] for weight in group.attrs["weight_names"]])
            yield net


@pytest.mark.parametrize(("year", "bands"), [("2026", BANDS), ("2024", tuple(b for b in BANDS if b != "B10"))])
def test_the_cards_say_what_the_publisher_says(published, year, bands):
    card = load(published(year)[1], "cpu").card
    assert card.bands == bands
    assert (card.mode, card.window_px, card.stride_px, card.halo_px) == ("window", 48, 24, 12)
    assert (card.level, card.scaling, card.classes, card.licence) == ("l1c", "clip", ("not_mine", "mine"), "MIT")
    assert card.threshold == 0.43
    assert card.isolation == {"k": 5, "distance_m": 3000, "threshold": 0.75}
    assert all(word in card.limits for word in ("Amazon", "0.43", "3 km"))


def test_the_order_of_bands_matters(published, ground):
    """B8A and B08 the other way round would give other scores: the test above would see it."""
    _, folder = published("2026")
    swapped = ground.copy()
    swapped[:, [7, 8]] = ground[:, [8, 7]]
    assert np.abs(_ours(folder, swapped) - _ours(folder, ground)).max() > 1e-3
