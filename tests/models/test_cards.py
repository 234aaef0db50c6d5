"""Cards go round the disk unchanged, are found in their order, and refuse what they were not made for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import CardError, cards, find_card, load
from models.card import ModelCard, read_card
from models.registry import SHIPPED, save_card


@pytest.fixture
def user_models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    monkeypatch.setenv("MINESCAN_MODELS", str(folder))
    return folder


def test_round_trip(user_models, make_card, drawn_weights):
    card = make_card(
        metrics={"f1": 0.5, "confusion": ((1, 2), (3, 4))}, isolation={"k": 5, "distance_m": 3000.0, "threshold": 0.75}
    )
    written = save_card(user_models / card.name, card, drawn_weights(card))
    assert len(written.sha256) == 64
    assert read_card(user_models / card.name) == written == find_card(card.name) == find_card(user_models / card.name)
    assert written.bands == card.bands
    assert written.metrics == card.metrics
    image = np.full((4, 215, 215), 0.2, np.float32)
    np.testing.assert_array_equal(
        load(card.name).score_core(image), load(str(user_models / card.name)).score_core(image)
    )


def test_the_users_card_hides_a_shipped_one(user_models, make_card, drawn_weights):
    assert {path.parent.name for path in SHIPPED.glob("*/card.json")} == {card.name for card in cards()}
    mine = make_card(name="quarry-l2a-10band", limits="mine")
    save_card(user_models / mine.name, mine, drawn_weights(mine))
    assert find_card("quarry-l2a-10band").limits == "mine"
    names = [card.name for card in cards()]
    assert names == sorted(set(names))
    assert [card.limits for card in cards() if card.name == mine.name] == ["mine"]


@pytest.mark.parametrize("name", ["nowhere", "../nowhere", "/nowhere/at/all", ".", ""])
def test_unknown_names_list_the_cards(user_models, name, make_card, drawn_weights):
    card = make_card()
    save_card(user_models / card.name, card, drawn_weights(card))
    with pytest.raises(CardError, match="drawn-detector") as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_changed_weights_are_refused(user_models, make_card, drawn_weights):
    card = make_card()
    save_card(user_models / card.name, card, drawn_weights(card))
    weights = user_models / card.name / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CardError, match=r"expected [0-9a-f]{64}; copy it again") as caught:
        load(card.name)
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(CardError, match="cannot be read"):
        load(card.name)


def test_weights_of_another_network_are_refused(user_models, make_card, drawn_weights):
    other = make_card("impact")
    save_card(user_models / "mixed", make_card(name="mixed"), drawn_weights(other))
    with pytest.raises(CardError, match="do not fit its network") as caught:
        load("mixed")
    assert "\n" not in str(caught.value)


def test_accept(make_card):
    card = make_card()
    card.accept("l2a", ["B05", "B04", "B03", "B02", "B12"])
    with pytest.raises(CardError, match="trained on level l2a, got l1c: use --level l2a"):
        card.accept("l1c", card.bands)
    with pytest.raises(CardError, match="needs bands B02 B03 B04 B05, got B02 B03: B04 B05 missing"):
        card.accept("l2a", ("B02", "B03"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mean": (0.1,)}, "one number a band"),
        ({"std": (0.1, 0.0, 0.1, 0.1)}, "not above zero"),
        ({"bands": ("B02", "B02", "B03", "B04")}, "named twice"),
        ({"threshold": 60}, "not in \\[0, 1\\)"),
        ({"classes": ("mine",)}, "two classes"),
        ({"level": "L2A"}, "neither l1c nor l2a"),
        ({"isolation": {"k": 5}}, "isolation needs"),
        ({"mode": "window", "halo_px": 80}, r"halo_px = \(window_px - stride_px\) / 2, got 189, 27, 80"),
        ({"mode": "window", "window_px": 190, "halo_px": 81}, "got 190, 27, 81"),
        ({"output": "pixels"}, "a halo_px of whole strides, got 189, 27, 94"),
        ({"scaling": "patch"}, "scaling patch needs mode window"),
        ({"finer": 2}, "finer is for pixels"),
        ({"form": "onnx", "arguments": {"width": 8}}, "a program has none"),
        ({"form": "onnx", "bf16": True}, "a program brings its own precision"),
    ],
)
def test_cards_that_contradict_themselves(changes, complaint, make_card):
    with pytest.raises(CardError, match=complaint):
        make_card(**changes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "is not JSON"), ("[]", "expected an object"), ('{"name": "x"}', "not a whole card"), ('{"hue": 1}', "hue")],
)
def test_broken_cards_are_named_and_left_out_of_the_list(user_models, text, complaint, caplog):
    (user_models / "broken").mkdir(parents=True)
    (user_models / "broken" / "card.json").write_text(text)
    with pytest.raises(CardError, match=complaint) as caught:
        load("broken")
    assert "\n" not in str(caught.value)
    assert "broken" not in {card.name for card in cards()}
    assert "broken" in caplog.text


def test_shipped_cards_are_whole():
    for folder in SHIPPED.iterdir():
        if not folder.is_dir():
            continue
        card = read_card(folder)
        assert card.name == folder.name
        assert len(card.limits) > 40
        loaded = load(folder, "cpu")
        assert isinstance(loaded.card, ModelCard)
        assert json.loads((folder / "card.json").read_text())["sha256"] == card.sha256


def test_listing_cards_needs_no_torch():
    code = "import sys, models; models.cards(); sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
