"""The U-Net of Ayala, Aranda and Galar 2021 on the ResNet-34 of He and others 2016: roads at 10 m or 2.5 m."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.networks.blocks import Upward

__all__ = ["FORMS", "ResNet34", "ResNet34UNet"]

FORMS = ("x1", "x4-transposed", "x4-bicubic")
"""The paper's three: a logit a pixel; two more transposed convolutions; the image enlarged before the encoder."""

NDVI_BANDS = ("B04", "B03", "B02", "B08")
"""Red, green, blue and near infrared, as the paper orders them."""


class ResNet34UNet(nn.Module):
    """Five steps up from a ResNet-34, with the encoder's maps of each level brought over.

    Args:
        bands: of the input.
        classes: of the logits.
        width: maps of the encoder's first level, a multiple of 4; 64 in the paper.
        form: one of `FORMS`.
        ndvi: a channel more, (B08 - B04) / (B08 + B04); the input is then reflectance, `NDVI_BANDS` first.
    """

    def __init__(self, bands: int, classes: int = 2, width: int = 64, form: str = "x1", *, ndvi: bool = False) -> None:
        super().__init__()
        if width < 4 or width % 4 or form not in FORMS:
            raise ValueError(
                f"resnet34-unet: width {width} must be a multiple of 4, form {form!r} one of {', '.join(FORMS)}"
            )
        if ndvi and bands < len(NDVI_BANDS):
            raise ValueError(f"resnet34-unet: ndvi wants {' '.join(NDVI_BANDS)} first, got {bands} bands")
        self.reflectance_of = NDVI_BANDS if ndvi else None
        self.enlarged = 4 if form == "x4-bicubic" else 1
        self.encoder = ResNet34(bands, width, derived=int(ndvi))
        widths = [4 * width, 2 * width, width, width // 2, width // 4]
        deep = [8 * width, *widths[:-1]]
        skips = [4 * width, 2 * width, width, width, 0]
        self.up = nn.ModuleList(map(Upward, deep, skips, widths))
        last, more = widths[-1], 2 if form == "x4-transposed" else 0
        self.finer = nn.ModuleList(nn.ConvTranspose2d(last, last, 2, stride=2) for _ in range(more))
        self.head = nn.Conv2d(last, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, band, y, x) -> (n, class, y, x) logits, or four times finer."""
        derived = None if self.reflectance_of is None else _ndvi(image)
        if self.enlarged > 1:
            image = _enlarged(image, self.enlarged)
            derived = None if derived is None else _enlarged(derived, self.enlarged)
        *skips, x = self.encoder(image, derived)
        for up, skip in zip(self.up[:-1], skips[::-1], strict=True):
            x = up(x, skip, skip)
        x = self.up[-1](x, image)
        for finer in self.finer:
            x = torch.relu(finer(x))
        logits: Tensor = self.head(x)
        return logits


class ResNet34(nn.Module):
    """The 34 layers without their head: maps at a half, a quarter, … a thirty-second of the input's size.

    Args:
        bands: of the input.
        width: maps of the first level, 64 in the paper.
        derived: channels beside the bands, with weights of their own.
    """

    def __init__(self, bands: int, width: int = 64, derived: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(bands, width, 7, stride=2, padding=3, bias=False)
        self.first_derived = nn.Conv2d(derived, width, 7, stride=2, padding=3, bias=False) if derived else None
        self.norm = nn.BatchNorm2d(width)
        self.stages = nn.ModuleList(
            _stage(before * width, after * width, blocks)
            for before, after, blocks in ((1, 1, 3), (1, 2, 4), (2, 4, 6), (4, 8, 3))
        )

    def forward(self, image: Tensor, derived: Tensor | None = None) -> Sequence[Tensor]:
        """(n, band, y, x) -> the maps of five levels, from the finest on."""
        x = self.first(image)
        if self.first_derived is not None:
            x = x + self.first_derived(derived)
        levels = [torch.relu(self.norm(x))]
        x = nnf.max_pool2d(levels[0], 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class _Residual(nn.Module):
    """Two convolutions 3x3, and beside them the input; at half the size where maps become more."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.inner = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.beside: nn.Module = nn.Identity()
        if stride > 1:
            self.beside = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.beside(x))


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Residual(before, after), *(_Residual(after, after) for _ in range(blocks - 1)))


def _ndvi(image: Tensor) -> Tensor:
    """(n, band, y, x) reflectance -> (n, 1, y, x); zero where both are, which is what missing pixels have."""
    red, infrared = image[:, 0:1], image[:, 3:4]
    total = red + infrared
    return torch.where(total > 0, (infrared - red) / total.clamp_min(1e-6), 0.0)


def _enlarged(image: Tensor, times: int) -> Tensor:
    return nnf.interpolate(image, scale_factor=float(times), mode="bicubic", align_corners=False)
