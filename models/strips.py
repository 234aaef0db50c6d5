"""The paper's detector over a core in strips, whose first two blocks' maps stay in the processor's cache."""

import math

import numpy as np
import torch
from torch import Tensor

from models.card import CardError
from models.engine import Engine, Floats, halving
from models.networks.fcn import Fcn
from models.networks.geometry import HALO_PX, STRIDE_PX, WINDOW_PX
from models.standard import Pixels

__all__ = ["Strips"]

_ROWS = {"cpu": 5, "cuda": 85}
"""Pooled rows of the second block computed at once, from 45 and 765 rows of pixels and eight more."""

_MAPS_BYTES = 2**25
"""Of a strip's largest maps on the processor: what malloc takes from the system anew each time costs twice as much."""


class Strips:
    """Runs the fully convolutional network of `models.networks.fcn`."""

    def __init__(self, engine: Engine, net: Fcn) -> None:
        card = engine.card
        got = (card.window_px, card.stride_px, card.halo_px)
        if got != (WINDOW_PX, STRIDE_PX, HALO_PX) or card.output != "cells":
            raise CardError(
                f"card {card.name!r}: got window, stride, halo {got} and output {card.output}, "
                f"expected {(WINDOW_PX, STRIDE_PX, HALO_PX)} and cells for network {card.network!r}"
            )
        self._engine = engine
        self._net = net

    @property
    def bytes_per_px(self) -> int:
        """Upper bound, bytes a pixel of the core, itself included.

        The input, the second block's 64 maps at 1/81 of the pixels twice, the strip in hand as a share of a core of a
        thousand rows, and a fifth on top for what the libraries keep: measured 30 bytes on the CPU at ten
        bands, bound 43. On a GPU the strip counts as if it were the whole.
        """
        bands, on_cpu = len(self._engine.card.bands), self._engine.on_cpu
        rows = 9 * _ROWS["cpu"] + 8 if on_cpu else 1000
        strip = (4 * 32 + (4 if on_cpu else 15) * bands) * rows / 1000
        return math.ceil(1.2 * (2 * bands + 2 * 4 * 64 / 81 + strip))

    def score(self, reflectance: Floats) -> Floats:
        """Beyond the image the network sees zeros after standardisation, as the paper's does (SAME padding)."""
        engine = self._engine
        with engine.running():
            scores: Floats = engine.probabilities(self._net(engine.standardised(reflectance[None])))[0]
        return scores

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) -> (class, n, m)."""

        def run(start: int, stop: int) -> Floats:
            return self._pass(core[:, start * STRIDE_PX : stop * STRIDE_PX + 2 * HALO_PX])

        return np.concatenate(halving(run, 0, (core.shape[1] - 2 * HALO_PX) // STRIDE_PX), axis=1)

    def _pass(self, core: Pixels) -> Floats:
        """Each row of the first two blocks is computed once.

        A strip of the second block takes two rows of the first that the strip before it took too: they are kept.
        """
        rows, columns = (((edge - 2) // 3 - 2) // 3 for edge in core.shape[1:])
        step = self._rows(columns)
        tops = range(0, rows, step)
        strips = [core[None, :, 9 * top + (6 if top else 0) : 9 * min(top + step, rows) + 8] for top in tops]
        second = self._maps(64, rows, columns)
        first = self._maps(32, 3 * step + 2, 3 * columns + 2)
        with self._engine.running():
            for top, strip in zip(tops, self._engine.arriving(strips, strips[0].size), strict=True):
                known = 2 if top else 0
                first[:, :, :known] = first[:, :, 3 * step : 3 * step + known]
                have = known + (strip.shape[2] - 2) // 3
                self._net.first(self._engine.standardised(strip), out=first[:, :, known:have])
                self._net.second(first[:, :, :have], out=second[:, :, top : top + step])
            scores: Floats = self._engine.probabilities(self._net.after_second(second))[0]
        return scores

    def _rows(self, columns: int) -> int:
        if not self._engine.on_cpu:
            return _ROWS["cuda"]
        return max(1, min(_ROWS["cpu"], _MAPS_BYTES // (4 * 32 * 81 * columns)))

    def _maps(self, channels: int, rows: int, columns: int) -> Tensor:
        return torch.empty(
            (1, channels, rows, columns),
            dtype=self._engine.dtype, device=self._engine.device, memory_format=torch.channels_last,
        )  # fmt: skip
