"""Convolutional classifiers as Keras describes them, from a plain list of layers; several of them as one ensemble."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

__all__ = ["KerasCnn"]

Layer = Mapping[str, Any]

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}


class KerasCnn(nn.Module):
    """One network, or the mean of several: logits a patch.

    Args:
        bands: of the patches.
        classes: two for networks that end in one sigmoid.
        members: the layers of each network, in order, each a mapping with its `kind` and its numbers.
        ends: what the last layer's numbers go through: ``sigmoid`` (one number, of the target) or ``softmax``.
    """

    def __init__(self, bands: int, classes: int = 2, members: Sequence[Sequence[Layer]] = (), ends: str = "") -> None:
        super().__init__()
        if not members or ends not in ("sigmoid", "softmax"):
            raise ValueError("it needs members (lists of layers), and ends: sigmoid or softmax")
        if ends == "sigmoid" and classes != 2:
            raise ValueError(f"one sigmoid speaks of two classes, got {classes}")
        first = [next((layer["inputs"] for layer in member if "inputs" in layer), bands) for member in members]
        if any(inputs != bands for inputs in first):
            raise ValueError(f"its first layer takes {first[0]} bands, got {bands}")
        self.ends = ends
        self.members = nn.ModuleList(nn.Sequential(*map(_build, member)) for member in members)

    def forward(self, patches: Tensor) -> Tensor:
        """(n, band, y, x) -> (n, class) logits whose softmax is the mean of what the members say."""
        logits = [self._of_classes(member(patches)) for member in self.members]
        if len(logits) == 1:
            return logits[0]
        # The mean of probabilities as a sum of their logarithms' exponents: exact where one is nearly 0 or 1.
        return torch.logsumexp(torch.stack([nnf.log_softmax(each, dim=1) for each in logits]), dim=0)

    def _of_classes(self, numbers: Tensor) -> Tensor:
        """A sigmoid of z is the second of the softmax of 0 and z."""
        return torch.cat([torch.zeros_like(numbers), numbers], dim=1) if self.ends == "sigmoid" else numbers


class _SamePad(nn.Module):
    """TensorFlow's SAME ahead of a layer with steps: the odd pixel at the bottom and the right."""

    def __init__(self, size: Sequence[int], strides: Sequence[int], fill: float) -> None:
        super().__init__()
        self.size, self.strides, self.fill = tuple(size), tuple(strides), fill

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for edge, size, step in zip(x.shape[:1:-1], self.size[::-1], self.strides[::-1], strict=True):
            missing = max((-(-edge // step) - 1) * step + size - edge, 0)
            pads += [missing // 2, missing - missing // 2]
        return nnf.pad(x, pads, value=self.fill)


class _Flatten(nn.Module):
    """Pixel by pixel, all channels of each: the order that a dense layer of Keras was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        # Of maps that lie channels last this is a view.
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


class _Affine(nn.Module):
    """A slope and a shift a channel: what batch normalisation is once training is over."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)


class _Scale(nn.Module):
    """One slope and one shift for all."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope + self.shift


class _Over(nn.Module):
    """The mean or the greatest over all pixels of a map."""

    def __init__(self, *, greatest: bool, keep: bool) -> None:
        super().__init__()
        self.greatest, self.keep = greatest, keep

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3), keepdim=self.keep) if self.greatest else x.mean((2, 3), keepdim=self.keep)


def _conv(layer: Layer) -> nn.Module:
    return nn.Conv2d(
        layer["inputs"],
        layer["outputs"],
        tuple(layer["kernel"]),
        stride=tuple(layer.get("strides", (1, 1))),
        padding=layer.get("padding", "valid"),
        dilation=tuple(layer.get("dilation", (1, 1))),
        groups=layer.get("groups", 1),
        bias=layer.get("bias", True),
    )


_KINDS: Mapping[str, Callable[[Layer], nn.Module]] = {
    "activation": lambda layer: _ACTIVATIONS[layer["name"]](),
    "affine": lambda layer: _Affine(layer["inputs"]),
    "average_pool": lambda layer: nn.AvgPool2d(tuple(layer["size"]), tuple(layer["strides"])),
    "conv": _conv,
    "dense": lambda layer: nn.Linear(layer["inputs"], layer["outputs"], bias=layer.get("bias", True)),
    "elu": lambda layer: nn.ELU(layer["alpha"]),
    "flatten": lambda _: _Flatten(),
    "leaky_relu": lambda layer: nn.LeakyReLU(layer["slope"]),
    "max_over": lambda layer: _Over(greatest=True, keep=layer["keep"]),
    "max_pool": lambda layer: nn.MaxPool2d(tuple(layer["size"]), tuple(layer["strides"])),
    "mean_over": lambda layer: _Over(greatest=False, keep=layer["keep"]),
    "pad": lambda layer: nn.ZeroPad2d(tuple(layer["edges"])),
    "same_pad": lambda layer: _SamePad(layer["size"], layer["strides"], -torch.inf if layer["least"] else 0.0),
    "scale": lambda layer: _Scale(layer["slope"], layer["shift"]),
}


def _build(layer: Layer) -> nn.Module:
    try:
        return _KINDS[layer["kind"]](layer)
    except KeyError as error:
        raise ValueError(f"a layer cannot be built: {dict(layer)} lacks or does not know {error}") from None
