"""What makes few images go far: turns, other light, dates blended. Every draw comes from the generator given."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.training.config import TrainConfig
from models.training.labels import DetectorSample

__all__ = ["blend", "relight", "turn"]

Floats = NDArray[np.float32]


def turn(array: np.ndarray, which: int) -> np.ndarray:
    """One of the eight flips and turns of the last two axes; 0 leaves it as it is."""
    turned = np.rot90(array, which % 4, axes=(-2, -1))
    return np.flip(turned, axis=-1) if which >= 4 else turned


def relight(reflectance: Floats, config: TrainConfig, rng: np.random.Generator) -> Floats:
    """The same ground on another day: a gain for all bands, one a band, an offset a band (haze, season)."""
    bands = len(reflectance)
    gain = np.exp(rng.normal(0, config.gain) + rng.normal(0, config.band_gain, bands))
    offset = rng.normal(0, config.offset, bands)
    return reflectance * gain[:, None, None].astype(np.float32) + offset[:, None, None].astype(np.float32)


def blend(sample: DetectorSample, others: Sequence[DetectorSample], share: float, rng: np.random.Generator) -> Floats:
    """The sample's reflectance, with that chance mixed with another date of its place: a season in between.

    At most half of the other goes in, so the sample's own labels hold.
    """
    partners = [other for other in others if other is not sample and _same_place(sample, other)]
    if not partners or rng.random() >= share:
        return sample.reflectance
    other = partners[int(rng.integers(len(partners)))]
    weight = np.float32(rng.uniform(0, 0.5))
    return (1 - weight) * sample.reflectance + weight * other.reflectance


def _same_place(one: DetectorSample, other: DetectorSample) -> bool:
    return bool(one.place) and one.place == other.place and one.labels.shape == other.labels.shape
