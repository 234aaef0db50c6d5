"""A detector and a judge with drawn weights, and ground to score."""

import numpy as np
import pytest
from drawn import drawn_weights, make_card

from models.infer import Detector, Judge, open_model


@pytest.fixture(scope="session")
def detector() -> Detector:
    card = make_card()
    weights = drawn_weights(card)
    # A fresh head hardly moves with its input; a steep one shows every difference.
    weights["head.weight"] *= 20
    opened = open_model(card, weights)
    assert isinstance(opened, Detector)
    return opened


@pytest.fixture(scope="session")
def judge() -> Judge:
    card = make_card("impact", band_count=12)
    opened = open_model(card, drawn_weights(card))
    assert isinstance(opened, Judge)
    return opened


@pytest.fixture(scope="session")
def ground() -> np.ndarray:
    """Reflectance of 5 x 7 cells with their halo, a tenth of it missing."""
    rng = np.random.default_rng(7)
    pixels = rng.uniform(0.0, 0.4, (4, 27 * 5 + 188, 27 * 7 + 188)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    return pixels
