"""The U-Net of Hejmanowska and others 2025 for land cover with quarries: patches of 100 px, 10 bands, ten classes.

Replicated edges depend on where a patch ends, so it has no field of its own and runs in mode window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.networks.blocks import convs

__all__ = ["HejmanowskaUNet"]


class HejmanowskaUNet(nn.Module):
    """Three convolutions with batch normalisation a block; on the way up odd edges are replicated to fit the skips.

    Args:
        bands: of the input.
        classes: of the logits.
        width: maps of the first level; each level below has twice as many. The paper names the U-Net of Ronneberger
            and others 2015 as what it changes, which has 64.
        depth: pools; height and width of the input are 2 ** depth or more.
    """

    def __init__(self, bands: int, classes: int = 10, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"hejmanowska-unet: width {width} and depth {depth} must be 1 or more")
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            convs(before, after, 3) for before, after in zip([bands, *widths[:-1]], widths, strict=True)
        )
        below = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in below)
        self.joined = nn.ModuleList(convs(2 * shallow, shallow, 3) for _, shallow in below)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, band, y, x) standardised -> (n, class, y, x) logits."""
        skips, x = [], self.down[0](image)
        for down in self.down[1:]:
            skips.append(x)
            x = down(nnf.max_pool2d(x, 2))
        for up, joined in zip(self.up, self.joined, strict=True):
            skip = skips.pop()
            x = joined(torch.cat([skip, _as_large(up(x), skip)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _as_large(x: Tensor, skip: Tensor) -> Tensor:
    """Edges repeated, the odd one at the bottom and the right: 25 px pool to 12 and come back as 24."""
    high, wide = (wanted - got for wanted, got in zip(skip.shape[-2:], x.shape[-2:], strict=True))
    return nnf.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2), mode="replicate")
