"""Clouds over granules of 110 km on 75 dates, and what a mask sees of them over blocks of 1024 px."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["DAYS", "SKIES", "Sky"]

DAYS = tuple(dt.date(2022, 3, 1) + dt.timedelta(days=5 * n) for n in range(75))
EDGE_CELLS, CELL_M, BLOCK_CELLS = 915, 120, 86
"""Edge of a granule, what it is counted in, m, and edge of what holds a block."""
MASK_PX = 512
"""Edge of a block's mask: 20 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What the dates of a granule are like.

    The edges of clouds are level lines of noise with the spectrum of cloud fields (power falls with k to the -8/3), cut
    where the granule has its cover. Some pixels are called cloud on clear days too, as by real masks: on WorldCereal's
    clear dates 1 in 100 pixels is on 5 % of them and the worst of 1024 on 29 %; the power law through these two goes on
    to 75 %, which no data here shows.
    """

    beta: tuple[float, float] | None
    """Distribution of the cover; None is 40 % on each date."""
    known: bool
    """Whether the catalogue says the cover."""

    def draw(self, rng: np.random.Generator, blocks: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The granule's cover in the catalogue, percent by date, and what is clear: (block, date, row, column)."""
        cover = rng.beta(*self.beta, len(DAYS)) if self.beta else np.full(len(DAYS), 0.4)
        corners = rng.integers(0, EDGE_CELLS - BLOCK_CELLS, (blocks, 2))
        rarity = np.maximum(rng.random((blocks, MASK_PX, MASK_PX), np.float32), 1e-9)
        stubborn = np.minimum(0.75, 0.05 * (0.01 / rarity) ** 0.78)
        clear = np.empty((blocks, len(DAYS), MASK_PX, MASK_PX), np.bool_)
        for date, share in enumerate(cover):
            field = _noise(rng)
            level = np.quantile(field, 1 - share)
            for block, (y, x) in enumerate(corners):
                near = ndimage.zoom(field[y : y + BLOCK_CELLS, x : x + BLOCK_CELLS], CELL_M // 20, order=1)
                called = rng.random((MASK_PX, MASK_PX), np.float32) < stubborn[block]
                clear[block, date] = (near[:MASK_PX, :MASK_PX] < level) & ~called
        return 100 * cover if self.known else np.full(len(DAYS), 40.0), clear


SKIES = {
    "40 % on average, U-shaped": Sky(beta=(0.4, 0.6), known=True),
    "the same, the catalogue silent": Sky(beta=(0.4, 0.6), known=False),
    "40 % on each date": Sky(beta=None, known=True),
    "75 % on average, U-shaped": Sky(beta=(0.6, 0.2), known=True),
}


def _noise(rng: np.random.Generator) -> NDArray[np.float32]:
    k = np.hypot(fft.fftfreq(EDGE_CELLS)[:, None], fft.rfftfreq(EDGE_CELLS)).astype(np.float32)
    k[0, 0] = np.inf
    waves = rng.standard_normal((*k.shape, 2), np.float32) @ np.array([1, 1j], np.complex64)
    field: NDArray[np.float32] = fft.irfft2(waves * k ** (-4 / 3), s=(EDGE_CELLS, EDGE_CELLS))
    return field
