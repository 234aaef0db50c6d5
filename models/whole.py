"""One pass over a core and its halo: exact, where the halo covers all that a score can see."""

import math

import numpy as np

from models.card import ModelCard
from models.engine import Engine, Floats, halving
from models.standard import Pixels

__all__ = ["Whole"]


class Whole:
    """Runs a fully convolutional segmenter, or somebody's fully convolutional classifier.

    The network gives (1, class, finer y, finer x) logits of (1, band, y, x) pixels, halo and all, and the halo's are
    dropped; a classifier gives (1, class, n, m), the core's cells alone.
    """

    def __init__(self, engine: Engine) -> None:
        card = engine.card
        self._engine = engine
        edge_px = card.stride_px + 2 * card.halo_px
        self._peak = engine.probe(edge_px, _shape(card, edge_px))

    @property
    def bytes_per_px(self) -> int:
        """Upper bound, bytes a pixel of the core: the core, it standardised, the network's peak, the scores thrice."""
        card = self._engine.card
        bands, scores = len(card.bands), len(card.classes) * (card.finer / card.cell_px) ** 2
        return math.ceil(1.2 * (2 * bands + 4 * bands + self._peak + 3 * 4 * scores))

    def score(self, reflectance: Floats) -> Floats:
        """As `score_core` with nothing seen beyond the image: pixel or window (0, 0) begins at its first pixel."""
        card = self._engine.card
        stride, halo = card.stride_px, card.halo_px
        before = halo if card.output == "pixels" else halo - (card.window_px - stride) // 2
        whole = [(size + 2 * (before - halo)) // stride * stride + 2 * halo for size in reflectance.shape[1:]]
        core = np.full((reflectance.shape[0], *whole), np.nan, np.float32)
        inner = core[:, before:, before:][:, : reflectance.shape[1], : reflectance.shape[2]]
        inner[:] = reflectance[:, : inner.shape[1], : inner.shape[2]]
        return self.score_core(core)

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) -> (class, n, m), or of pixels (class, n stride finer, m stride finer)."""
        stride, edges = self._engine.card.stride_px, 2 * self._engine.card.halo_px

        def run(start: int, stop: int) -> Floats:
            return self._pass(core[:, start * stride : stop * stride + edges])

        return np.concatenate(halving(run, 0, (core.shape[1] - edges) // stride), axis=1)

    def _pass(self, core: Pixels) -> Floats:
        engine = self._engine
        with engine.running():
            scores: Floats = engine.probabilities(engine.net(engine.standardised(core[None])))[0]
        if engine.card.output == "cells":
            return scores
        halo = engine.card.halo_px * engine.card.finer
        core_scores: Floats = scores[:, halo : scores.shape[1] - halo, halo : scores.shape[2] - halo]
        return core_scores


def _shape(card: ModelCard, edge_px: int) -> tuple[int, int]:
    """Height and width of the network's logits of a square."""
    edge = edge_px * card.finer if card.output == "pixels" else (edge_px - 2 * card.halo_px) // card.stride_px
    return edge, edge
