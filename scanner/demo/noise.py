"""Fractal noise by spectral synthesis."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["fractal"]


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], *, slope: float = 1.6, coarsest_px: float = 0.0
) -> NDArray[np.float32]:
    """Periodic noise of mean 0 and deviation 1 whose amplitude falls with frequency to the power `slope`.

    Features larger than `coarsest_px` (0: no limit) are damped, so that a large region is not one great blob.
    """
    height, width = (fft.next_fast_len(length, real=True) for length in shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]).astype(np.float32)
    floor = 1 / coarsest_px if coarsest_px else 0.5 / max(height, width)
    amplitude = np.maximum(frequency, floor) ** -slope
    amplitude[0, 0] = 0
    white = fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    field = fft.irfft2(white * amplitude, s=(height, width))[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std(), np.float32)
