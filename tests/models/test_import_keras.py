"""Keras classifiers become cards that say what Keras says: by hand in numpy, and by Keras itself."""

import json
import os

import h5py
import keras_files
import numpy as np
import pytest
import torch

from models import CardError, load
from models.importing.bring import bring

SAID = {"bands": ("B02", "B03", "B04"), "level": "l2a"}


@pytest.fixture(autouse=True)
def user_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MINESCAN_MODELS", str(tmp_path / "models"))


@pytest.fixture
def refuse(tmp_path):
    """refuse(path, *words, **changes): one line that holds the words, and no card."""

    def check(path, *words, **changes):
        with pytest.raises(CardError) as caught:
            bring(path, "refused", SAID | changes)
        said = str(caught.value)
        assert "\n" not in said
        assert all(word in said for word in words), said
        assert not (tmp_path / "models").exists()

    return check


def test_a_network_written_by_hand_gives_what_numpy_gives(tmp_path):
    layers = keras_files.classifier()
    path = keras_files.write_sequential(tmp_path / "small.h5", layers)
    brought = bring(path, "small", SAID)
    card = brought.card
    assert (card.mode, card.window_px, card.stride_px, card.halo_px) == ("window", 8, 4, 2)
    assert card.classes == ("not_mine", "mine")
    assert brought.assumed == ("scaling", "stride_px", "classes", "threshold")
    core = np.random.default_rng(3).uniform(-0.2, 1.3, (3, 4 * 4 + 4, 4 * 5 + 4)).astype(np.float32)
    patches = np.stack([core[:, 4 * r : 4 * r + 8, 4 * c : 4 * c + 8] for r in range(4) for c in range(5)])
    expected = keras_files.forward(layers, patches.transpose(0, 2, 3, 1).clip(0, 1)).reshape(4, 5)
    scores = load("small").score_core(core)
    np.testing.assert_allclose(scores[1], expected, atol=1e-6)
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-6)
    assert np.ptp(expected) > 0.05


@pytest.mark.parametrize("join", ["Average", "Concatenate"])
def test_an_ensemble_is_the_mean_of_its_members(tmp_path, join):
    members = {"v1.0": keras_files.classifier(), "v1.1": keras_files.classifier(filters=6)}
    path = keras_files.write_ensemble(tmp_path / "both.h5", members, join)
    bring(path, "both", SAID)
    patches = np.random.default_rng(4).uniform(0, 1, (3, 8, 8)).astype(np.float32)
    expected = np.mean([keras_files.forward(layers, patches.transpose(1, 2, 0)[None]) for layers in members.values()])
    np.testing.assert_allclose(load("both").score_core(patches)[1], expected, atol=1e-6)


def test_the_card_says_what_the_user_says(tmp_path):
    path = keras_files.write_sequential(tmp_path / "small.h5", keras_files.classifier())
    given = SAID | {"threshold": 0.3, "stride_px": 2, "scaling": "standard", "mean": (0.1,) * 3, "std": (0.2,) * 3}
    brought = bring(path, "told", given, out=tmp_path / "elsewhere")
    card = brought.card
    assert (card.threshold, card.stride_px, card.halo_px, card.scaling) == (0.3, 2, 3, "standard")
    assert brought.folder == tmp_path / "elsewhere"
    assert load(tmp_path / "elsewhere").card == card
    with pytest.raises(CardError, match=r"already .* --force"):
        bring(path, "told", given, out=tmp_path / "elsewhere")
    assert bring(path, "told", given | {"threshold": 0.4}, out=tmp_path / "elsewhere", force=True).card.threshold == 0.4


def test_a_shipped_name_is_taken(tmp_path):
    path = keras_files.write_sequential(tmp_path / "small.h5", keras_files.classifier())
    with pytest.raises(CardError, match="already"):
        bring(path, "quarry-l2a-10band", SAID)


def test_what_the_file_cannot_say_is_asked_for_in_one_line(tmp_path):
    path = keras_files.write_sequential(tmp_path / "small.h5", keras_files.classifier())
    with pytest.raises(CardError, match=r"give --bands, --level$"):
        bring(path, "small", {})
    with pytest.raises(CardError, match=r"give --mean, --std$"):
        bring(path, "small", SAID | {"scaling": "standard"})


def test_fields_that_do_not_fit(tmp_path, refuse):
    path = keras_files.write_sequential(tmp_path / "small.h5", keras_files.classifier())
    refuse(path, "B2", "no band", "B8A", bands=("B2", "B03", "B04"))
    refuse(path, "takes 3 bands, got 2", bands=("B02", "B03"))
    refuse(path, "2 classes", "got 3", classes=("a", "b", "c"))
    refuse(path, "8 x 8 px", "window of 6 px", window_px=6)
    refuse(path, "halo_px", "(window_px - stride_px) / 2", stride_px=3)
    refuse(path, "halo_px", stride_px=10)
    refuse(path, "--window, --stride, --halo", mode="fcn")
    refuse(path, "named twice", bands=("B02", "B02", "B03"))
    for name in ("", "a/b", "..", ".hidden"):
        with pytest.raises(CardError, match="--name"):
            bring(path, name, SAID)


def _with(place: int, *parts):
    layers = keras_files.classifier()
    return [*layers[:place], *parts, *layers[place:]]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (_with(2, keras_files.plain("LSTM", "memory")), ("'memory' (LSTM)", "ONNX")),
        (_with(2, keras_files.plain("Activation", "odd", activation="mish")), ("'odd' (Activation)", "mish")),
        (_with(2, keras_files.conv("first", 4, 4, data_format="channels_first")), ("'first' (Conv2D)", "channels")),
        (_with(2, keras_files.conv("padded", 4, 4, padding="causal")), ("'padded' (Conv2D)", "causal")),
        (_with(2, (keras_files.conv("empty", 4, 4)[0], {})), ("'empty' (Conv2D)", "kernel", "not whole")),
        (keras_files.classifier()[:-1], ("ends in 5 numbers and elu",)),
        (keras_files.classifier()[1:], ("input",)),
    ],
)
def test_layers_that_are_not_read_are_named(tmp_path, refuse, layers, words):
    refuse(keras_files.write_sequential(tmp_path / "odd.h5", layers), "odd.h5", *words)


def test_branches_are_refused(tmp_path, refuse):
    members = {"a": keras_files.classifier(), "b": keras_files.classifier()}
    path = keras_files.write_ensemble(tmp_path / "added.h5", members, "Add")
    refuse(path, "'joined' (Add)", "branches")


def test_files_that_are_not_whole(tmp_path, refuse):
    whole = keras_files.write_sequential(tmp_path / "whole.h5", keras_files.classifier()).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name in ("cut.h5", "text.h5", "empty.h5"):
        refuse(tmp_path / name, name, "not a whole Keras .h5 file")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["conv2d/kernel:0"] = np.zeros(3)
    refuse(tmp_path / "weights.h5", "model_config")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": 3})
        file.create_group("model_weights")
    refuse(tmp_path / "foreign.h5", "not Keras's")
    refuse(tmp_path / "nowhere.h5", "no such file")


@pytest.mark.parametrize("ending", [".pt", ".pth", ".pkl", ".ckpt"])
def test_pickles_are_refused_by_their_ending(tmp_path, refuse, ending):
    (tmp_path / f"model{ending}").write_bytes(b"\x80\x04.")
    refuse(tmp_path / f"model{ending}", "pickle", "safetensors", "torch.export")


def test_other_endings_are_refused(tmp_path, refuse):
    refuse(tmp_path / "model.keras", ".h5", ".pt2", ".onnx")


@pytest.fixture(scope="module")
def keras():
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "torch"
    yield pytest.importorskip("keras")
    if before is None:
        del os.environ["KERAS_BACKEND"]


def _keras_net(keras, name: str):
    """Three networks that between them have every kind of layer that is read."""
    layers = keras.layers
    seed = keras.utils.set_random_seed
    seed(5)
    chains = {
        "steps": [
            layers.Rescaling(2.0, offset=-0.5),
            layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            layers.Conv2D(8, (2, 4), padding="same", activation="tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
            layers.Softmax(),
        ],
        "deep": [
            layers.ZeroPadding2D(((1, 0), (2, 1))),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="valid"),
            layers.LeakyReLU(0.2),
            layers.AveragePooling2D(2),
            layers.Conv2D(6, 3, dilation_rate=2, groups=2, activation="selu"),
            layers.ELU(),
            layers.GlobalMaxPooling2D(keepdims=True),
            layers.SpatialDropout2D(0.2),
            layers.Flatten(),
            layers.BatchNormalization(scale=False),
            layers.Dense(3, activation="softmax"),
        ],
        "nested": [
            keras.Sequential([layers.Conv2D(4, 3, activation="gelu"), layers.MaxPooling2D()]),
            layers.Flatten(),
            layers.Dense(1),
            layers.Activation("sigmoid"),
        ],
    }
    net = keras.Sequential([keras.Input((17, 17, 4)), *chains[name]])
    rng = np.random.default_rng(6)
    # Fresh moving means and variances are 0 and 1: an error in them would not show.
    net.set_weights([rng.uniform(0.1, 0.6, weight.shape) - (weight.ndim > 1) * 0.35 for weight in net.get_weights()])
    return net


# Keras 3.15's variables do not know numpy 2's copy keyword.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("name", ["steps", "deep", "nested"])
def test_every_kind_of_layer_gives_what_keras_gives(keras, tmp_path, name):
    net = _keras_net(keras, name)
    net.save(tmp_path / "net.h5")
    classes = ("a", "b", "c") if name == "deep" else ("not_mine", "mine")
    given = {"bands": ("B02", "B03", "B04", "B08"), "level": "l2a", "classes": classes, "stride_px": 17}
    bring(tmp_path / "net.h5", name, given)
    patches = np.random.default_rng(7).uniform(0, 1, (5, 4, 17, 17)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(patches.transpose(0, 2, 3, 1))).numpy()
    detector = load(name)
    scores = np.stack([detector.score_core(patch)[:, 0, 0] for patch in patches])
    np.testing.assert_allclose(scores[:, -expected.shape[1] :], expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3
