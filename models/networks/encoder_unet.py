"""A U-Net on a borrowed encoder, as Zahri and Ferdj 2022 compare them: VGG19, ResNet50 or InceptionV3.

The encoders are those of timm, which the extra `backbones` brings (ADR 0080). Inception's convolutions without padding
make its maps a few pixels smaller than a half: each is stretched to the next, so it has no field of its own and runs in
mode window.
"""

import warnings
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.blocks import Upward

__all__ = ["BACKBONES", "EncoderUNet"]

BACKBONES = ("vgg19", "resnet50", "inception_v3")
"""As timm calls them."""

WIDTHS = (256, 128, 64, 32, 16)
"""Maps of the decoder, from below."""

_KEPT: list[Any] = []
"""What declares torchvision's operators has to live as long as they do."""


class EncoderUNet(nn.Module):
    """Five steps up from a borrowed encoder, with its maps of each level brought over.

    Args:
        bands: of the input.
        classes: of the logits.
        backbone: one of `BACKBONES`.
    """

    def __init__(self, bands: int, classes: int = 2, backbone: str = "resnet50") -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"encoder-unet: backbone {backbone!r}, expected one of {', '.join(BACKBONES)}")
        self.encoder = _timm().create_model(backbone, pretrained=False, in_chans=bands, features_only=True)
        maps = self.encoder.feature_info.channels()
        # VGG has maps as fine as the image; the others' last step up has nothing to bring over.
        skips = [*maps[-2::-1], 0][: len(WIDTHS)]
        self.up = nn.ModuleList(map(Upward, [maps[-1], *WIDTHS[:-1]], skips, WIDTHS))
        self.head = nn.Conv2d(WIDTHS[-1], classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, band, y, x) standardised -> (n, class, y, x) logits."""
        *finer, x = self.encoder(image)
        skips: list[Tensor | None] = [*finer[::-1], None]
        for up, skip in zip(self.up, skips, strict=False):
            x = up(x, image if skip is None else skip, skip)
        logits: Tensor = self.head(x)
        return logits


def _timm() -> Any:
    """The library, imported over a torchvision that may lack its compiled part.

    Raises:
        ValueError: the extra is not installed.
    """
    with warnings.catch_warnings():
        # Of pictures on disk that torchvision cannot read here: nobody asks it to.
        warnings.simplefilter("ignore")
        try:
            return _imported()
        except ModuleNotFoundError as error:
            raise ValueError(f"network 'encoder-unet' needs {error.name}: pip install 'minescan[backbones]'") from None


def _imported() -> Any:
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        # Its wheel is compiled for CUDA. Without that part the import stops at an operator that nobody here calls.
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
    return import_module("timm")
