"""The U-Net of Ronneberger, Fischer and Brox 2015 with batch normalisation and SAME padding: a logit a pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.networks.blocks import convs

__all__ = ["UNet", "reach_px"]


class UNet(nn.Module):
    """Double convolutions 3x3, `depth` pools of 2, transposed convolutions back up, each level's maps brought over.

    Args:
        bands: of the input.
        classes: of the logits.
        width: maps of the first level; each level below has twice as many.
        depth: pools; height and width of the input are multiples of 2 ** depth.
        finer: output pixels along an input pixel's edge, a power of 2, by as many transposed convolutions.
    """

    def __init__(self, bands: int, classes: int = 2, width: int = 16, depth: int = 4, finer: int = 1) -> None:
        super().__init__()
        if width < 1 or depth < 1 or finer < 1 or finer & (finer - 1):
            raise ValueError(f"unet: width {width}, depth {depth} from 1 on, finer {finer} a power of 2")
        self.stride_px = 2**depth
        self.halo_px = -(-reach_px(depth) // self.stride_px) * self.stride_px
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            convs(before, after) for before, after in zip([bands, *widths[:-1]], widths, strict=True)
        )
        below = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in below)
        self.joined = nn.ModuleList(convs(2 * shallow, shallow) for _, shallow in below)
        self.finer = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(finer.bit_length() - 1))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, band, y, x) standardised -> (n, class, finer y, finer x) logits."""
        skips, x = [], self.down[0](image)
        for down in self.down[1:]:
            skips.append(x)
            x = down(nnf.max_pool2d(x, 2))
        for up, joined in zip(self.up, self.joined, strict=True):
            x = joined(torch.cat([skips.pop(), up(x)], dim=1))
        for up in self.finer:
            x = torch.relu(up(x))
        logits: Tensor = self.head(x)
        return logits


def reach_px(depth: int) -> int:
    """Pixels beyond a square of 2 ** depth, on the lattice of the poolings, that can change its logits.

    From the square's first pixel up the decoder and back down the encoder: two convolutions reach 2 px of their
    level, a pixel of a level lies in one of the level below, and that covers two.
    """
    first = 0
    for _ in range(depth):
        first = (first - 2) // 2
    for _ in range(depth):
        first = (first - 2) * 2
    return 2 - first
