"""`minescan models`: what a terminal shows, and one line with exit code 2 for every mistake."""

import json

import h5py
import keras_files
import pytest

SAID = ("--bands", "B02,B03,B04", "--level", "l2a")


@pytest.fixture(autouse=True)
def user_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MINESCAN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def small(tmp_path):
    return keras_files.write_sequential(tmp_path / "small.h5", keras_files.classifier())


def test_a_file_becomes_a_card_that_is_listed_shown_and_exported(minescan, small, user_models, tmp_path):
    made = minescan("models", "import", small, "--name", "small", *SAID, "--purpose", "tests", "--threshold", "0.4")
    assert made.code == 0, made
    assert str(user_models / "small") in made.out
    assert "assumed" in made.out
    assert "scaling clip, stride 4, classes not_mine,mine" in made.out
    listed = minescan("models", "list").out.splitlines()
    assert all(len(line) <= 120 for line in listed)
    (line,) = [line for line in listed if line.startswith("small ")]
    assert line.split() == ["small", "detector", "l2a", "3", "bands", "window", "0.0", "MB", "tests"]
    shown = minescan("models", "show", "small").out
    stored = json.loads(minescan("models", "show", "small", "--json").out)
    assert stored == json.loads((user_models / "small" / "card.json").read_text())
    assert all(len(line) <= 120 for line in shown.splitlines())
    for word in ("0.4", "B02 B03 B04", "L2A", "small.h5", "not said", stored["sha256"], "patches of 8 px", "not known"):
        assert word in shown
    written = minescan("models", "export", "small", "--to", tmp_path / "small.pt2")
    assert written.code == 0, written
    assert "within" in written.out
    back = minescan("models", "import", tmp_path / "small.pt2", "--name", "back")
    assert back.code == 0, back
    assert "assumed" not in back.out


def test_shipped_cards_are_shown_in_words(minescan):
    shown = minescan("models", "show", "quarry-l2a-10band").out
    for word in ("good for", "not for", "measured on", "licence", "Apache-2.0", "0.6", "fcn", "27 px (270 m)"):
        assert word in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("--bands", "--level")),
        (("--bands", "B2,B3,B4", "--level", "l2a"), ("B2", "B02")),
        (("--bands", "B02,B03", "--level", "l2a"), ("3 bands", "got 2")),
        ((*SAID, "--threshold", "1.5"), ("threshold",)),
        ((*SAID, "--scaling", "standard", "--mean", "a,b,c", "--std", "1,1,1"), ("--mean", "'a'")),
        ((*SAID, "--scaling", "standard", "--mean", "1,1", "--std", "1,1"), ("one number a band",)),
        ((*SAID, "--gives", "probabilities"), ("logits",)),
        ((*SAID, "--level", "l3"), ("l1c",)),
    ],
)
def test_options_that_do_not_fit(minescan, small, user_models, options, words):
    said = minescan("models", "import", small, "--name", "small", *options)
    assert said.code == 2, said
    assert all(word in said.line for word in words), said.line
    assert said.out == ""
    assert not user_models.exists()


def test_files_that_cannot_be_read(minescan, tmp_path, user_models):
    (tmp_path / "weights.pth").write_bytes(b"\x80\x04.")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 60)
    (tmp_path / "cut.pt2").write_bytes(b"PK\x03\x04")
    (tmp_path / "cut.onnx").write_bytes(b"\x08")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    odd = [*keras_files.classifier()[:2], keras_files.plain("LSTM", "memory"), *keras_files.classifier()[2:]]
    keras_files.write_sequential(tmp_path / "odd.h5", odd)
    for name, word in {
        "weights.pth": "pickle",
        "cut.h5": "not a whole",
        "cut.pt2": "not a whole",
        "cut.onnx": "not a whole ONNX file",
        "foreign.h5": "model_config",
        "odd.h5": "'memory' (LSTM)",
        "nowhere.h5": "no such file",
        "readme.txt": ".onnx",
    }.items():
        said = minescan("models", "import", tmp_path / name, "--name", "new", *SAID, "--classes", "not_mine,mine")
        assert said.code == 2, said
        assert name in said.line
        assert word in said.line
    assert not user_models.exists()


def test_names_that_are_taken(minescan, small):
    assert minescan("models", "import", small, "--name", "small", *SAID).code == 0
    for name in ("small", "demo-l2a-12band"):
        said = minescan("models", "import", small, "--name", name, *SAID)
        assert said.code == 2
        assert "--force" in said.line
    assert minescan("models", "import", small, "--name", "small", *SAID, "--force").code == 0


def test_exports_that_cannot_be(minescan, tmp_path):
    for name, target, word in (
        ("quarry-l2a-10band", "out.pth", ".onnx"),
        ("nowhere", "out.pt2", "quarry-l2a-10band"),
    ):
        said = minescan("models", "export", name, "--to", tmp_path / target)
        assert said.code == 2, said
        assert word in said.line
    assert not list(tmp_path.glob("out.*"))
