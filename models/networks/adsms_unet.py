"""The attention, deeply supervised, multi-scale U-Net of Abraham and Khan 2019, for mines as Nava and others 2022.

It is the plain U-Net with three additions. What else their program does otherwise (maps that do not always double, a
gate that listens two levels below, no convolutions between the steps up) the papers do not name: it is left out.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.networks.blocks import AttentionGate, convs

__all__ = ["AdsmsUNet"]


class AdsmsUNet(nn.Module):
    """A U-Net with gates on the skips below the first, the image itself at each level, and logits at each level.

    Args:
        bands: of the input.
        classes: of the logits.
        width: maps of the first level; each level below has twice as many.
        depth: pools; height and width of the input are multiples of 2 ** depth.
    """

    def __init__(self, bands: int, classes: int = 2, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"adsms-unet: width {width} and depth {depth} must be 1 or more")
        widths = [width * 2**level for level in range(depth + 1)]
        self.scales = nn.ModuleList(nn.Conv2d(bands, maps, 3, padding=1) for maps in widths[1:-1])
        inputs = [bands, *(before + after for before, after in pairwise(widths[:-1])), widths[-2]]
        self.down = nn.ModuleList(convs(before, after) for before, after in zip(inputs, widths, strict=True))
        below = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.gates = nn.ModuleList(AttentionGate(shallow, deep) for deep, shallow in below[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in below)
        self.joined = nn.ModuleList(convs(2 * shallow, shallow) for _, shallow in below)
        self.heads = nn.ModuleList(nn.Conv2d(shallow, classes, 1) for _, shallow in below)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(n, band, y, x) -> (n, class, y, x) logits; in training those of all levels, the coarsest first."""
        skips, x = self._encoded(image)
        levels = []
        for number, (up, joined) in enumerate(zip(self.up, self.joined, strict=True)):
            skip = skips.pop()
            if number < len(self.gates):
                skip = self.gates[number](skip, x)
            x = joined(torch.cat([skip, up(x)], dim=1))
            levels.append(x)
        if self.training:
            return tuple(head(level) for head, level in zip(self.heads, levels, strict=True))
        logits: Tensor = self.heads[-1](x)
        return logits

    def _encoded(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps of each level from the finest on, and what lies below them."""
        x = self.down[0](image)
        skips, smaller = [x], image
        for scale, down in zip(self.scales, self.down[1:-1], strict=True):
            smaller = nnf.avg_pool2d(smaller, 2)
            x = down(torch.cat([torch.relu(scale(smaller)), nnf.max_pool2d(x, 2)], dim=1))
            skips.append(x)
        return skips, self.down[-1](nnf.max_pool2d(x, 2))
