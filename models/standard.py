"""Reflectance, as numbers or as a composite stores it, to what networks take: standardised, channels last."""

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from models.card import ModelCard

__all__ = ["STORED_OFFSET", "STORED_SCALE", "Pixels", "Standard"]

STORED_SCALE = 1e-4
"""Reflectance of a stored step."""

STORED_OFFSET = -0.1
"""Reflectance at the stored value 0, which itself means missing."""

Pixels = NDArray[np.float32] | NDArray[np.uint16]
"""Reflectance with NaN where missing, or stored values with 0 where missing."""


class Standard:
    """A card's mean and standard deviation, ready for both kinds of pixels and both kinds of device."""

    def __init__(self, card: ModelCard) -> None:
        mean, std = np.asarray(card.mean), np.asarray(card.std)
        self._of_reflectance = _terms(1 / std, -mean / std)
        self._of_stored = _terms(STORED_SCALE / std, (STORED_OFFSET - mean) / std)

    def on_cpu(self, pixels: Pixels) -> Tensor:
        """(n, band, y, x), any strides -> float32, channels last; what is missing becomes the band's mean: zero."""
        count, bands, height, width = pixels.shape
        out = torch.empty((count, bands, height, width), memory_format=torch.channels_last)
        slope, offset = self._terms_of(pixels.dtype)
        _standardise(pixels, slope, offset, out.permute(0, 2, 3, 1).numpy())
        return out

    def on_gpu(self, pixels: Tensor) -> Tensor:
        """`on_cpu` by torch alone, where the tensor lies: to rounding the same."""
        slope, offset = (
            torch.from_numpy(terms).to(pixels.device)[:, None, None]
            for terms in self._terms_of(np.uint16 if pixels.dtype == torch.uint16 else np.float32)
        )
        values = pixels.to(torch.float32, memory_format=torch.channels_last)
        seen = values != 0 if pixels.dtype == torch.uint16 else torch.isfinite(values)
        return torch.where(seen, values * slope + offset, 0.0)

    def _terms_of(self, dtype: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._of_stored if dtype == np.uint16 else self._of_reflectance


def _terms(slope: NDArray[np.float64], offset: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return slope.astype(np.float32), offset.astype(np.float32)


@njit(nogil=True, cache=True)
def _standardise(
    pixels: Any, slope: NDArray[np.float32], offset: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """One pass from (n, band, y, x) to (n, y, x, band): torch takes five, each over memory."""
    stored = pixels.itemsize == 2
    for n in range(pixels.shape[0]):
        for y in range(pixels.shape[2]):
            for band in range(pixels.shape[1]):
                source, target = pixels[n, band, y], out[n, y, :, band]
                a, b = slope[band], offset[band]
                for x in range(source.shape[0]):
                    value = np.float32(source[x])
                    # Of no number, and of none other, the difference with itself is not zero.
                    seen = value != 0 if stored else value - value == 0
                    target[x] = value * a + b if seen else np.float32(0)
