"""The impact network of Balaniuk, Isupova and Reece 2020: 2,373,219 parameters at 12 bands, 21 px chips, 3 classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.networks.geometry import CHIP_PX

__all__ = ["ImpactCnn"]


class ImpactCnn(nn.Module):
    """Two convolutions 2x2 with pools of 2, dense 1024, dense to the classes: logits a chip."""

    def __init__(self, bands: int, classes: int = 3, chip_px: int = CHIP_PX) -> None:
        super().__init__()
        pooled_px = (chip_px + 3) // 4
        self.conv1 = nn.Conv2d(bands, 32, 2)
        self.conv2 = nn.Conv2d(32, 64, 2)
        self.dense = nn.Linear(64 * pooled_px * pooled_px, 1024)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(1024, classes)

    def forward(self, chips: Tensor) -> Tensor:
        """(n, band, chip, chip) standardised -> (n, class) logits."""
        x = chips
        for conv in (self.conv1, self.conv2):
            # TensorFlow's SAME puts the odd pixel of a 2x2 kernel at the right and the bottom: zeros for the
            # convolution, nothing (ceil_mode) for the maximum.
            x = conv(nnf.pad(x, (0, 1, 0, 1)))
            x = torch.relu(nnf.max_pool2d(x, 2, ceil_mode=True))
        x = self.dropout(torch.relu(self.dense(x.flatten(1))))
        logits: Tensor = self.head(x)
        return logits
