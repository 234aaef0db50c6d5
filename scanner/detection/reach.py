"""How much ground round its cells a scan needs: the networks' halos, the judge's chips, the delineator's reach."""

from models import ModelCard

__all__ = ["DELINEATE_PX", "JUDGED_PX", "core_reach_px", "reach_px"]

JUDGED_PX = 27
"""Pixels of a segmenter are judged together: those of one cell of this size by the chip round its middle."""

DELINEATE_PX = 50
"""How far beyond a hit cell's edge its outline is looked for: 500 m."""


def core_reach_px(card: ModelCard, impact: ModelCard | None) -> int:
    """Pixels read beyond a chunk's core: the halo, or what the judge's chips take more."""
    if impact is None:
        return card.halo_px
    chip, cell = impact.window_px, card.stride_px
    if card.output == "pixels":
        # The judged cell may begin one pixel short of its edge before the core.
        cell = JUDGED_PX
        return max(card.halo_px, cell - 1 - (cell - chip) // 2)
    return max(card.halo_px, -((cell - chip) // 2))


def _cells_reach_px(card: ModelCard, impact: ModelCard | None) -> int:
    """Pixels needed beyond a cell's own: of a pixel also the rest of the lattice's square that it lies in."""
    beside = card.stride_px - 1 if card.output == "pixels" else 0
    return core_reach_px(card, impact) + beside


def reach_px(card: ModelCard, impact: ModelCard | None, delineator: ModelCard | None) -> int:
    """Pixels needed beyond a cell's own for its score, its judge and its outline."""
    own = _cells_reach_px(card, impact)
    return own if delineator is None else max(own, _outline_reach_px(delineator))


def _outline_reach_px(delineator: ModelCard) -> int:
    """Pixels needed beyond a hit cell to draw its outline."""
    return DELINEATE_PX + delineator.stride_px - 1 + delineator.halo_px
