"""Small segmenters for tests: U-Nets of drawn weights, of either mode, with output as fine as wanted."""

import torch

from models import Detector, ModelCard
from models.infer import open_model
from models.networks import UNET, build

BANDS = ("B02", "B03", "B04")


def segmenter_card(mode: str, finer: int = 1, **changes) -> ModelCard:
    """A U-Net two pools deep: fcn with its whole halo, or in patches of 48 px that keep the middle 32."""
    lengths = {"window_px": 16, "stride_px": 4, "halo_px": 32} if mode == "fcn" else {
        "window_px": 48, "stride_px": 32, "halo_px": 8,
    }  # fmt: skip
    values = {
        "name": f"drawn-{mode}-{finer}", "task": "detector", "mode": mode, "output": "pixels", "finer": finer,
        "network": UNET, "arguments": {"width": 4, "depth": 2, "finer": finer}, "level": "l2a", "bands": BANDS,
        "mean": (0.1,) * 3, "std": (0.05,) * 3, "classes": ("not_mine", "mine"), "limits": "drawn", "licence": "none",
        "origin": "drawn",
    }  # fmt: skip
    return ModelCard(**(values | lengths | changes))


def segmenter(mode: str, finer: int = 1, **changes) -> Detector:
    """A fresh head hardly moves with its input; this one is as often sure of the one class as of the other."""
    card = segmenter_card(mode, finer, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = build(card.network, bands=3, classes=2, **card.arguments).eval()
        with torch.no_grad():
            logits = net(torch.randn(1, 3, 96, 96))
        weights = net.state_dict()
    apart = logits[:, 1] - logits[:, 0]
    steep = 2 / apart.std()
    weights["head.weight"] *= steep
    weights["head.bias"] *= steep
    weights["head.bias"][1] -= steep * apart.mean()
    opened = open_model(card, weights)
    assert isinstance(opened, Detector)
    return opened
