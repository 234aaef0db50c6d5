"""Reflectance, as numbers or as a composite stores it, to what networks take: scaled, channels last."""

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

_Terms = tuple[NDArray[np.float32], NDArray[np.float32]]


class Standard:
    """A card's scaling, ready for both kinds of pixels and both kinds of device. What is missing becomes zero."""

    def __init__(self, card: ModelCard) -> None:
        clip = card.scaling == "clip"
        mean, std = (0.0, np.ones(len(card.bands))) if clip else (np.asarray(card.mean), np.asarray(card.std))
        self._by_patch = card.scaling == "patch"
        self._limits = (np.float32(0), np.float32(1)) if clip else (np.float32(-np.inf), np.float32(np.inf))
        self._of_reflectance = _terms(1 / std, -mean / std)
        self._of_stored = _terms(STORED_SCALE / std, (STORED_OFFSET - mean) / std)

    def on_cpu(self, pixels: Pixels) -> Tensor:
        """(n, band, y, x), any strides -> float32, channels last."""
        count, bands, height, width = pixels.shape
        out = torch.empty((count, bands, height, width), memory_format=torch.channels_last)
        target = out.permute(0, 2, 3, 1).numpy()
        if self._by_patch:
            _stretch(pixels, target)
        else:
            _standardise(pixels, *self._terms_of(pixels.dtype), *self._limits, target)
        return out

    def on_gpu(self, pixels: Tensor) -> Tensor:
        """`on_cpu` by torch alone, where the tensor lies: to rounding the same."""
        values = pixels.to(torch.float32, memory_format=torch.channels_last)
        seen = values != 0 if pixels.dtype == torch.uint16 else torch.isfinite(values)
        if self._by_patch:
            return _stretched(values, seen)
        slope, offset = (
            torch.from_numpy(terms).to(pixels.device)[:, None, None]
            for terms in self._terms_of(np.uint16 if pixels.dtype == torch.uint16 else np.float32)
        )
        return torch.where(seen, (values * slope + offset).clamp(*map(float, self._limits)), 0.0)

    def _terms_of(self, dtype: Any) -> _Terms:
        return self._of_stored if dtype == np.uint16 else self._of_reflectance


def _terms(slope: NDArray[np.float64], offset: NDArray[np.float64]) -> _Terms:
    return slope.astype(np.float32), offset.astype(np.float32)


def _stretched(values: Tensor, seen: Tensor) -> Tensor:
    """Each patch from its least valid value to its greatest; one without a range is zero."""
    least = torch.where(seen, values, torch.inf).amin((1, 2, 3), keepdim=True)
    span = torch.where(seen, values, -torch.inf).amax((1, 2, 3), keepdim=True) - least
    return torch.where(seen & (span > 0), (values - least) / span, 0.0)


@njit(nogil=True, cache=True)
def _standardise(
    pixels: Any, slope: Any, offset: Any, least: np.float32, most: np.float32, out: NDArray[np.float32]
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
                    target[x] = min(max(value * a + b, least), most) if seen else np.float32(0)


@njit(nogil=True, cache=True)
def _stretch(pixels: Any, out: NDArray[np.float32]) -> None:
    """`_stretched` on stored or plain values alike: a scale and an offset for all bands change nothing."""
    stored = pixels.itemsize == 2
    for n in range(pixels.shape[0]):
        least, most = np.float32(np.inf), np.float32(-np.inf)
        for band in range(pixels.shape[1]):
            for y in range(pixels.shape[2]):
                for x in range(pixels.shape[3]):
                    value = np.float32(pixels[n, band, y, x])
                    if value != 0 if stored else value - value == 0:
                        least, most = min(least, value), max(most, value)
        span = most - least
        for band in range(pixels.shape[1]):
            for y in range(pixels.shape[2]):
                for x in range(pixels.shape[3]):
                    value = np.float32(pixels[n, band, y, x])
                    seen = span > 0 and (value != 0 if stored else value - value == 0)
                    out[n, y, x, band] = (value - least) / span if seen else np.float32(0)
