"""Cards and weights drawn at random."""

import torch

from models.card import ModelCard
from models.networks import FCN, IMPACT, build


def make_card(task: str = "detector", band_count: int = 4, **changes) -> ModelCard:
    values = {
        "name": f"drawn-{task}",
        "task": task,
        "mode": "fcn" if task == "detector" else "window",
        "network": FCN if task == "detector" else IMPACT,
        "level": "l2a",
        "bands": tuple(f"B{number:02d}" for number in range(2, 2 + band_count)),
        "mean": tuple(0.1 + 0.02 * number for number in range(band_count)),
        "std": tuple(0.05 + 0.01 * number for number in range(band_count)),
        "window_px": 189 if task == "detector" else 21,
        "stride_px": 27 if task == "detector" else 21,
        "halo_px": 94 if task == "detector" else 0,
        "classes": ("not_mine", "mine") if task == "detector" else ("high_impact", "low_impact", "no_ore"),
        "limits": "Drawn at random for a test.",
        "licence": "CC0-1.0",
        "origin": "a random number generator",
    }
    return ModelCard(**(values | changes))


def drawn_weights(card: ModelCard, seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(card.network, bands=len(card.bands), classes=len(card.classes)).state_dict()
