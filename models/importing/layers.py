"""Keras layers in the words of `models.networks.keras_cnn`: each with its weights in the order torch keeps them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import CardError

__all__ = ["DROPPED", "Part", "translate"]

Arrays = Mapping[str, NDArray[Any]]
Config = Mapping[str, Any]

DROPPED = frozenset(
    {"ActivityRegularization", "Dropout", "GaussianDropout", "GaussianNoise", "InputLayer", "SpatialDropout2D"}
)
"""Layers that do nothing once training is over."""

_ACTIVATIONS = frozenset(
    {"elu", "gelu", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "swish", "tanh"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layer of ours."""

    layer: Mapping[str, Any]
    """Its kind and numbers."""
    tensors: Mapping[str, NDArray[np.float32]]
    """Its weights by the names that torch gives them; none for most kinds."""


def translate(kind: str, config: Config, arrays: Arrays) -> list[Part]:
    """A Keras layer as layers of ours, its activation as one of its own.

    Args:
        kind: the layer's Keras class.
        config: its configuration.
        arrays: its weights by their Keras names: kernel, bias, gamma, …

    Raises:
        CardError: a layer, or a form of one, that is not read here; it names the layer.
    """
    label = f"layer {config.get('name', '?')!r} ({kind})"
    if kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise CardError(f"{label} is not one that can be read: {known}; export the network to ONNX and import that")
    if config.get("data_format", "channels_last") != "channels_last":
        raise CardError(f"{label} keeps channels first, expected channels_last")
    try:
        return _KINDS[kind](config, arrays)
    except KeyError as error:
        raise CardError(f"{label} lacks {error}: the file is not whole") from error
    except ValueError as error:
        raise CardError(f"{label}: {error}") from error


def _conv(config: Config, arrays: Arrays) -> list[Part]:
    kernel = arrays["kernel"]
    layer = {
        "kind": "conv",
        "inputs": kernel.shape[2] * config.get("groups", 1),
        "outputs": kernel.shape[3],
        "kernel": kernel.shape[:2],
        "groups": config.get("groups", 1),
    }
    return _convolution(config, arrays, layer, kernel.transpose(3, 2, 0, 1))


def _depthwise(config: Config, arrays: Arrays) -> list[Part]:
    kernel = arrays["kernel" if "kernel" in arrays else "depthwise_kernel"]
    height, width, inputs, each = kernel.shape
    layer = {
        "kind": "conv",
        "inputs": inputs,
        "outputs": inputs * each,
        "kernel": (height, width),
        "groups": inputs,
    }
    return _convolution(config, arrays, layer, kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width))


def _convolution(config: Config, arrays: Arrays, layer: dict[str, Any], weight: NDArray[Any]) -> list[Part]:
    strides, dilation = tuple(config["strides"]), tuple(config.get("dilation_rate", (1, 1)))
    padding, ahead = _padding(config), []
    # torch pads by itself for steps of one, but warns of even kernels.
    if padding == "same" and (strides != (1, 1) or any(size % 2 == 0 for size in layer["kernel"])):
        reach = [step * (size - 1) + 1 for step, size in zip(dilation, layer["kernel"], strict=True)]
        ahead = [_part("same_pad", size=tuple(reach), strides=strides, least=False)]
        padding = "valid"
    layer |= {"strides": strides, "padding": padding, "dilation": dilation, "bias": config["use_bias"]}
    plain = {"strides": (1, 1), "padding": "valid", "dilation": (1, 1), "groups": 1, "bias": True}
    said = {key: value for key, value in layer.items() if key not in plain or plain[key] != value}
    return [*ahead, Part(layer=said, tensors=_weights(config, arrays, weight)), *_activated(config)]


def _dense(config: Config, arrays: Arrays) -> list[Part]:
    kernel = arrays["kernel"]
    layer = {"kind": "dense", "inputs": kernel.shape[0], "outputs": kernel.shape[1]}
    if not config["use_bias"]:
        layer["bias"] = False
    return [Part(layer=layer, tensors=_weights(config, arrays, kernel.T)), *_activated(config)]


def _normalisation(config: Config, arrays: Arrays) -> list[Part]:
    mean = arrays["moving_mean"].astype(np.float64)
    slope = 1 / np.sqrt(arrays["moving_variance"].astype(np.float64) + config["epsilon"])
    if config["scale"]:
        slope *= arrays["gamma"]
    shift = -mean * slope
    if config["center"]:
        shift += arrays["beta"]
    tensors = {"weight": slope.astype(np.float32), "bias": shift.astype(np.float32)}
    return [Part(layer={"kind": "affine", "inputs": mean.size}, tensors=tensors)]


def _pool(kind: str) -> Callable[[Config, Arrays], list[Part]]:
    def pool(config: Config, _: Arrays) -> list[Part]:
        size = tuple(config["pool_size"])
        strides = tuple(config["strides"] or size)
        ahead = []
        if _padding(config) == "same":
            if kind == "average_pool":
                raise ValueError("an average over pixels beyond the edge (padding same) is not read")
            ahead = [_part("same_pad", size=size, strides=strides, least=True)]
        return [*ahead, _part(kind, size=size, strides=strides)]

    return pool


def _over(kind: str) -> Callable[[Config, Arrays], list[Part]]:
    return lambda config, _: [_part(kind, keep=bool(config.get("keepdims", False)))]


def _zeros(config: Config, _: Arrays) -> list[Part]:
    (top, bottom), (left, right) = config["padding"]
    return [_part("pad", edges=(left, right, top, bottom))]


def _relu(config: Config, _: Arrays) -> list[Part]:
    greatest, slope = config.get("max_value"), config.get("negative_slope") or 0
    if config.get("threshold") or greatest not in (None, 6) or (greatest and slope):
        raise ValueError("only plain, leaky and up to 6 is read")
    if slope:
        return [_part("leaky_relu", slope=slope)]
    return [_part("activation", name="relu6" if greatest else "relu")]


def _leaky(config: Config, _: Arrays) -> list[Part]:
    # Keras 2 wrote alpha, Keras 3 writes negative_slope.
    return [_part("leaky_relu", slope=float(config["alpha" if "alpha" in config else "negative_slope"]))]


def _rescaling(config: Config, _: Arrays) -> list[Part]:
    slope, shift = config["scale"], config["offset"]
    if not all(isinstance(number, int | float) for number in (slope, shift)):
        raise ValueError("one scale and one offset for all is read, a list of them is not")
    return [_part("scale", slope=float(slope), shift=float(shift))]


def _activated(config: Config) -> list[Part]:
    name = config.get("activation", "linear") or "linear"
    if name == "linear":
        return []
    if name not in _ACTIVATIONS:
        raise ValueError(f"activation {name!r} is none of {', '.join(sorted(_ACTIVATIONS))}")
    return [_part("activation", name=name)]


def _padding(config: Config) -> str:
    padding = config["padding"]
    if padding not in ("same", "valid"):
        raise ValueError(f"padding {padding!r}: expected same or valid")
    return str(padding)


def _weights(config: Config, arrays: Arrays, weight: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    tensors = {"weight": np.ascontiguousarray(weight, np.float32)}
    if config["use_bias"]:
        tensors["bias"] = np.ascontiguousarray(arrays["bias"], np.float32)
    return tensors


def _part(kind: str, **numbers: Any) -> Part:
    return Part(layer={"kind": kind, **numbers}, tensors={})


_KINDS: Mapping[str, Callable[[Config, Arrays], list[Part]]] = {
    "Activation": lambda config, _: _activated(config),
    "AveragePooling2D": _pool("average_pool"),
    "BatchNormalization": _normalisation,
    "Conv2D": _conv,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "ELU": lambda config, _: [_part("elu", alpha=float(config["alpha"]))],
    "Flatten": lambda _config, _arrays: [_part("flatten")],
    "GlobalAveragePooling2D": _over("mean_over"),
    "GlobalMaxPooling2D": _over("max_over"),
    "LeakyReLU": _leaky,
    "MaxPooling2D": _pool("max_pool"),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Softmax": lambda _config, _arrays: [_part("activation", name="softmax")],
    "ZeroPadding2D": _zeros,
}
