"""Patches on a fixed lattice, each scored alone, batched across a core."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from models.card import ModelCard
from models.engine import Engine, Floats, halving
from models.standard import Pixels

__all__ = ["Windows"]

_BATCH_PX = {"cpu": 2**16, "cuda": 2**22}
"""Pixels of the patches run at once: on the processor their maps stay near its caches."""


class Windows:
    """Runs a window classifier or a window segmenter.

    The network gives (n, class) or (n, class, finer y, finer x) logits of (n, band, y, x) patches.
    """

    def __init__(self, engine: Engine) -> None:
        card = engine.card
        self._engine = engine
        self._step = max(1, _BATCH_PX[engine.device.type] // card.window_px**2)
        edge = card.window_px * card.finer
        self._peak = engine.probe(card.window_px, (edge, edge) if card.output == "pixels" else ())

    @property
    def bytes_per_px(self) -> int:
        """Upper bound, bytes a pixel of the core: the core, its scores, and the batch in hand of a million pixels."""
        card = self._engine.card
        bands, batch_px = len(card.bands), self._step * card.window_px**2
        scores = 4 * len(card.classes) * (_edge(card) / card.stride_px) ** 2
        patch = 2 * bands + 4 * bands + self._peak + 3 * 4 * len(card.classes) * card.finer**2
        return math.ceil(1.2 * (2 * bands + scores + patch * batch_px / 1e6))

    def score(self, reflectance: Floats) -> Floats:
        """Every patch that lies whole in the image, the first at pixel (0, 0)."""
        stride, edges = self._engine.card.stride_px, 2 * self._engine.card.halo_px
        height, width = ((size - edges) // stride * stride + edges for size in reflectance.shape[1:])
        return self.score_core(reflectance[:, :height, :width])

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) -> (class, n, m), or of pixels (class, n stride finer, m stride finer)."""
        card, step, edge = self._engine.card, self._step, _edge(self._engine.card)
        patches = _patches(core, card)
        rows, columns = patches.shape[:2]
        scores = np.empty((len(card.classes), rows, edge, columns, edge), np.float32)
        starts = range(0, rows * columns, step)
        with self._engine.running():
            for start, batch in zip(starts, self._arriving(patches), strict=True):
                row, column = np.divmod(np.arange(start, start + len(batch)), columns)
                scores[:, row, :, column] = self._scored(batch)
        return scores.reshape(len(card.classes), rows * edge, columns * edge)

    def _arriving(self, patches: Pixels) -> Iterator[Pixels | Tensor]:
        """The patches in batches, row by row."""
        count = patches.shape[0] * patches.shape[1]
        places = (np.arange(start, min(start + self._step, count)) for start in range(0, count, self._step))
        batches = (patches[np.divmod(place, patches.shape[1])] for place in places)
        return self._engine.arriving(batches, self._step * math.prod(patches.shape[2:]))

    def _scored(self, batch: Pixels | Tensor) -> Floats:
        """(n, class, edge, edge) of the patches' central squares."""

        def run(start: int, stop: int) -> Floats:
            engine = self._engine
            return _middle(engine.probabilities(engine.net(engine.standardised(batch[start:stop]))), engine.card)

        return np.concatenate(halving(run, 0, len(batch)))


def _patches(core: Pixels, card: ModelCard) -> Pixels:
    """(row, column, band, y, x) of a core: a view."""
    size, stride = card.window_px, card.stride_px
    found: Any = sliding_window_view(core, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    patches: Pixels = found.transpose(1, 2, 0, 3, 4)
    return patches


def _edge(card: ModelCard) -> int:
    """Scores along a cell's edge."""
    return card.stride_px * card.finer if card.output == "pixels" else 1


def _middle(scores: Floats, card: ModelCard) -> Floats:
    """Of each patch what belongs to its cell."""
    if card.output == "cells":
        return scores[:, :, None, None]
    first, edge = card.halo_px * card.finer, _edge(card)
    return scores[:, :, first : first + edge, first : first + edge]
