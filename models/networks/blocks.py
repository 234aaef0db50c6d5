"""What the U-Nets share: convolutions with batch normalisation, a step up, an attention gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

__all__ = ["AttentionGate", "Upward", "convs"]


def convs(before: int, after: int, count: int = 2) -> nn.Sequential:
    """So many convolutions 3x3 with SAME padding, each with batch normalisation and relu."""
    layers: list[nn.Module] = []
    for inputs in [before, *[after] * (count - 1)]:
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Upward(nn.Module):
    """A step up a decoder: nearest pixels up to the skip's size, the skip's maps brought over, a double convolution.

    Args:
        deep: maps that come from below.
        skip: maps of the level, 0 where nothing is brought over.
        after: maps that are given.
    """

    def __init__(self, deep: int, skip: int, after: int) -> None:
        super().__init__()
        self.convs = convs(deep + skip, after)

    def forward(self, deep: Tensor, like: Tensor, skip: Tensor | None = None) -> Tensor:
        """(n, deep, …) -> (n, after, y, x), as high and wide as `like`."""
        x = nnf.interpolate(deep, size=like.shape[-2:], mode="nearest")
        given: Tensor = self.convs(x if skip is None else torch.cat([x, skip], dim=1))
        return given


class AttentionGate(nn.Module):
    """The gate of Oktay and others 2018 as Abraham and Khan 2019 build it: what lies below says where a skip counts.

    Args:
        skip: maps of the level.
        deep: maps of the level below, half as high and wide.
    """

    def __init__(self, skip: int, deep: int) -> None:
        super().__init__()
        self.signal = nn.Sequential(nn.Conv2d(deep, deep, 1, bias=False), nn.BatchNorm2d(deep), nn.ReLU(inplace=True))
        self.of_signal = nn.Conv2d(deep, skip, 1, bias=False)
        self.of_skip = nn.Conv2d(skip, skip, 2, stride=2)
        self.share = nn.Conv2d(skip, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(skip, skip, 1, bias=False), nn.BatchNorm2d(skip))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """(n, skip, 2 y, 2 x) and (n, deep, y, x) -> (n, skip, 2 y, 2 x): one share of the skip for every 2x2 of it."""
        both = torch.relu(self.of_skip(skip) + self.of_signal(self.signal(deep)))
        share = nnf.interpolate(torch.sigmoid(self.share(both)), scale_factor=2.0, mode="nearest")
        gated: Tensor = self.out(skip * share)
        return gated
