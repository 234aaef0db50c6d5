"""What makes few images go far: turns, other light and sizes, dates blended. All draws are the given generator's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as nnf

from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT, DetectorSample

__all__ = ["Change", "blend", "changes", "laid", "light_terms", "lit", "moved", "relight", "turn"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is done to a batch of squares, drawn beforehand."""

    turns: NDArray[np.int64]
    """(n,) 0 to 7; done where squares are cut."""
    gain: Floats
    """(n, band) factor of reflectance."""
    offset: Floats
    """(n, band) reflectance added."""
    matrices: Floats | None
    """(n, 2, 3) from a pixel's place to where it is taken from, in halves of the square; None leaves sizes alone."""


def changes(count: int, bands: int, config: TrainConfig, rng: np.random.Generator) -> Change:
    """Draws for so many squares."""
    turns = rng.integers(8, size=count) if config.turns else np.zeros(count, np.int64)
    gain = np.exp(rng.normal(0, config.gain, (count, 1)) + rng.normal(0, config.band_gain, (count, bands)))
    offset = rng.normal(0, config.offset, (count, bands))
    matrices = None
    if config.zoom or config.shear:
        zoom = 1 + rng.uniform(-config.zoom, config.zoom, count)
        slant = np.tan(np.radians(rng.uniform(-config.shear, config.shear, (2, count))))
        matrices = np.zeros((count, 2, 3), np.float32)
        matrices[:, 0, 0] = matrices[:, 1, 1] = 1 / zoom
        matrices[:, 0, 1], matrices[:, 1, 0] = slant
    return Change(
        turns=turns, gain=gain.astype(np.float32), offset=offset.astype(np.float32), matrices=matrices
    )  # fmt: skip


def light_terms(change: Change, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
    """(n, band) slope and shift that light squares which are scaled by mean and std already."""
    return change.gain, (((change.gain - 1) * mean + change.offset) / std).astype(np.float32)


def lit(squares: Tensor, slope: Floats, shift: Floats) -> Tensor:
    """Scaled squares (n, band, y, x), zero where missing, in other light; changed in place."""
    missing = squares == 0
    times, plus = (torch.from_numpy(term).to(squares.device)[:, :, None, None] for term in (slope, shift))
    return squares.mul_(times).add_(plus).masked_fill_(missing, 0.0)


def laid(squares: Sequence[Any], slope: Floats, shift: Floats, out: Tensor | None = None) -> Tensor:
    """Squares (band, y, x) of any strides, each times its slope and its shift more: float32, channels last.

    What is missing becomes zero. One pass and one thread: with torch's three or four, its threads would take the cores
    that the network is on.

    Args:
        squares: as composites store them, or reflectance.
        slope: (n, band) scaling and light together.
        shift: (n, band) of both.
        out: what is filled and given back, channels last; fresh memory costs as much as the filling.
    """
    if out is None:
        out = torch.empty((len(squares), *squares[0].shape), memory_format=torch.channels_last)
    into = out.permute(0, 2, 3, 1).numpy()
    for number, square in enumerate(squares):
        _lay(square, slope[number], shift[number], into[number])
    return out


def moved(squares: Tensor, marks: Tensor | None, change: Change) -> tuple[Tensor, Tensor | None]:
    """Squares and their marks (n, y, x) otherwise large: bilinear and nearest; beyond the square zero and LEFT_OUT."""
    if change.matrices is None:
        return squares, marks
    where = nnf.affine_grid(
        torch.from_numpy(change.matrices).to(squares.device), list(squares.shape), align_corners=False
    )
    drawn = nnf.grid_sample(squares, where, align_corners=False).contiguous(memory_format=torch.channels_last)
    if marks is None:
        return drawn, None
    above = (marks[:, None] - LEFT_OUT).float()  # what lies beyond becomes 0, and so LEFT_OUT again
    nearest = nnf.grid_sample(above, where, mode="nearest", align_corners=False)
    return drawn, nearest[:, 0].round().long() + LEFT_OUT


@njit(nogil=True, cache=True)
def _lay(square: Any, slope: Any, shift: Any, out: Any) -> None:  # pragma: no cover
    """(band, y, x) -> (y, x, band)."""
    stored = square.itemsize == 2
    for y in range(square.shape[1]):
        for x in range(square.shape[2]):
            for band in range(square.shape[0]):
                value = np.float32(square[band, y, x])
                seen = value != 0 if stored else value - value == 0
                out[y, x, band] = value * slope[band] + shift[band] if seen else np.float32(0)
