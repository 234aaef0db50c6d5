"""Cards and weights drawn at random, the detector and judge made of them, and ground to score."""

import numpy as np
import pytest
import torch

from models.card import ModelCard
from models.infer import Detector, Judge, open_model
from models.networks import FCN, IMPACT, build


def _make_card(task: str = "detector", band_count: int = 4, **changes) -> ModelCard:
    values = {
        "name": f"drawn-{task}",
        "task": task,
        "mode": "fcn" if task == "detector" else "window",
        "network": FCN if task == "detector" else IMPACT,
        "level": "l2a",
        "bands": tuple(f"B{number:02d}" for number in range(2, 2 + band_count)),
        "mean": tuple(0.1 + 0.02 * number for number in range(band_count)),
        "std": tuple(0.05 + 0.01 * number for number in range(band_count)),
        "window_px": 189 if task == "detector" else 21,
        "stride_px": 27 if task == "detector" else 21,
        "halo_px": 94 if task == "detector" else 0,
        "classes": ("not_mine", "mine") if task == "detector" else ("high_impact", "low_impact", "no_ore"),
        "limits": "Drawn at random for a test.",
        "licence": "CC0-1.0",
        "origin": "a random number generator",
    }
    return ModelCard(**(values | changes))


def _drawn_weights(card: ModelCard, seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(card.network, bands=len(card.bands), classes=len(card.classes), **card.arguments).state_dict()


@pytest.fixture(scope="session")
def make_card():
    """make_card(task, band_count, **changes) -> ModelCard."""
    return _make_card


@pytest.fixture(scope="session")
def drawn_weights():
    """drawn_weights(card, seed) -> state dict."""
    return _drawn_weights


@pytest.fixture(scope="session")
def detector() -> Detector:
    card = _make_card()
    weights = _drawn_weights(card)
    # A fresh head hardly moves with its input; a steep one shows every difference.
    weights["head.weight"] *= 20
    opened = open_model(card, weights)
    assert isinstance(opened, Detector)
    return opened


@pytest.fixture(scope="session")
def judge() -> Judge:
    card = _make_card("impact", band_count=12)
    opened = open_model(card, _drawn_weights(card))
    assert isinstance(opened, Judge)
    return opened


@pytest.fixture(scope="session")
def ground() -> np.ndarray:
    """Reflectance of 5 x 7 cells with their halo, a tenth of it missing."""
    rng = np.random.default_rng(7)
    pixels = rng.uniform(0.0, 0.4, (4, 27 * 5 + 188, 27 * 7 + 188)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    return pixels
