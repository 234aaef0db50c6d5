"""Networks by the name that cards use. Importing this package imports no torch; `build` does."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ADSMS_UNET", "ENCODER_UNET", "FCN", "HEJMANOWSKA_UNET", "IMPACT", "KERAS_CNN", "NETWORKS", "RESNET34_UNET", "UNET",
    "build",
]  # fmt: skip

FCN = "balaniuk-fcn"
IMPACT = "balaniuk-impact"
UNET = "unet"
ADSMS_UNET = "adsms-unet"
HEJMANOWSKA_UNET = "hejmanowska-unet"
RESNET34_UNET = "resnet34-unet"
ENCODER_UNET = "encoder-unet"
KERAS_CNN = "keras-cnn"
NETWORKS: Mapping[str, str] = {
    FCN: "models.networks.fcn.Fcn",
    IMPACT: "models.networks.impact.ImpactCnn",
    UNET: "models.networks.unet.UNet",
    ADSMS_UNET: "models.networks.adsms_unet.AdsmsUNet",
    HEJMANOWSKA_UNET: "models.networks.hejmanowska_unet.HejmanowskaUNet",
    RESNET34_UNET: "models.networks.resnet34_unet.ResNet34UNet",
    ENCODER_UNET: "models.networks.encoder_unet.EncoderUNet",
    KERAS_CNN: "models.networks.keras_cnn.KerasCnn",
}
"""Where each is: a class that takes bands and classes, and then arguments that all have defaults."""


def build(network: str, *, bands: int, classes: int, **arguments: Any) -> "nn.Module":
    """A freshly drawn network of that name: (n, band, y, x) standardised -> logits, (n, class, ...).

    While it trains, a network may give a tuple of logits of several depths, the finest last.

    Args:
        network: a key of `NETWORKS`.
        bands: of the input.
        classes: of the logits.
        arguments: the network's own, as a card's `arguments` gives them.

    Raises:
        ValueError: no such network (it names the ones there are), arguments that it does not take, or an extra that is
            not installed.
    """
    if network not in NETWORKS:
        raise ValueError(f"no network {network!r}, expected one of: {', '.join(NETWORKS)}")
    module, _, name = NETWORKS[network].rpartition(".")
    made: Callable[..., nn.Module] = getattr(import_module(module), name)
    _check(network, made, arguments)
    return made(bands, classes, **arguments)


def _check(network: str, made: "Callable[..., nn.Module]", arguments: Mapping[str, Any]) -> None:
    """An argument must be one that the network has, of its default's type."""
    taken = {
        name: item.default
        for name, item in inspect.signature(made).parameters.items()
        if name not in ("bands", "classes")
    }
    for name, value in arguments.items():
        if name not in taken:
            known = ", ".join(taken) or "none"
            raise ValueError(f"network {network!r} has no argument {name!r}, expected: {known}")
        wanted = type(taken[name])
        if type(value) is not wanted:
            raise ValueError(f"network {network!r}: {name} is {value!r}, expected {wanted.__name__}")
