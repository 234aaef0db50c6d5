"""The detector of Balaniuk, Isupova and Reece 2020, as its table prints it: 259,810 parameters at 12 bands."""

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

__all__ = ["Fcn"]


class Fcn(nn.Module):
    """Three convolutions 3x3 with pools of 3, a convolution 7x7, a convolution 1x1: logits a cell of 27 px."""

    def __init__(self, bands: int, classes: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(bands, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.conv4 = nn.Conv2d(64, 64, 7)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Conv2d(64, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, band, y, x) standardised -> (n, class, rows, columns) logits; cell (0, 0): window at pixel (0, 0)."""
        x = image
        for conv in (self.conv1, self.conv2, self.conv3):
            x = _block(conv, x, padding=1)
        return self._head(x)

    def core(self, image: Tensor) -> Tensor:
        """(n, band, 27 r + 188, 27 c + 188) -> (n, class, r, c): a core's logits from its pixels and 94 px of halo.

        Without padding the layers meet the halo exactly: 27 r + 188 -> 9 r + 62 -> 3 r + 20 -> r + 6 -> r. So these are
        the cells that `forward` gives inside a larger image, and no padding can reach them.
        """
        return self.after_second(self.second(self.first(image)))

    def first(self, strip: Tensor, out: Tensor | None = None) -> Tensor:
        """(n, band, 3 h + 2, 3 w + 2) -> (n, 32, h, w): the first block of `core`, for any strip of its rows."""
        return _block(self.conv1, strip, padding=0, out=out)

    def second(self, strip: Tensor, out: Tensor | None = None) -> Tensor:
        """(n, 32, 3 h + 2, 3 w + 2) -> (n, 64, h, w): the second block of `core`, for any strip of its rows."""
        return _block(self.conv2, strip, padding=0, out=out)

    def after_second(self, pooled: Tensor) -> Tensor:
        """The rest of `core`, from what `second` gave for all its rows."""
        return self._head(_block(self.conv3, pooled, padding=0))

    def _head(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(torch.relu(self.conv4(x))))
        return logits


def _block(conv: nn.Conv2d, x: Tensor, *, padding: int, out: Tensor | None = None) -> Tensor:
    """Convolution, pool of 3, relu: max and relu commute to the last bit, and pooled there is a ninth left to clip."""
    pooled = nnf.max_pool2d(nnf.conv2d(x, conv.weight, conv.bias, padding=padding), 3)
    return torch.relu(pooled) if out is None else torch.clamp(pooled, min=0, out=out)
