"""Keras .h5 files written by hand, as Keras 2 lays them out, and their networks in numpy."""

import json
from pathlib import Path

import h5py
import numpy as np


def conv(name: str, inputs: int, filters: int, **changes) -> tuple[dict, dict]:
    rng = np.random.default_rng(len(name) + filters)
    config = {
        "name": name, "filters": filters, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same",
        "data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1, "activation": "relu", "use_bias": True,
    }  # fmt: skip
    arrays = {
        "kernel": rng.normal(0, 0.3, (3, 3, inputs, filters)).astype(np.float32),
        "bias": rng.normal(0, 0.1, filters).astype(np.float32),
    }
    return {"class_name": "Conv2D", "config": config | changes}, arrays


def norm(name: str, channels: int) -> tuple[dict, dict]:
    rng = np.random.default_rng(channels)
    config = {"name": name, "axis": [3], "epsilon": 0.001, "center": True, "scale": True}
    values = rng.uniform(0.5, 1.5, (4, channels)).astype(np.float32)
    return {"class_name": "BatchNormalization", "config": config}, dict(
        zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True)
    )


def pool(name: str) -> tuple[dict, dict]:
    config = {"name": name, "pool_size": [2, 2], "padding": "valid", "strides": [2, 2], "data_format": "channels_last"}
    return {"class_name": "MaxPooling2D", "config": config}, {}


def plain(kind: str, name: str, **config) -> tuple[dict, dict]:
    return {"class_name": kind, "config": {"name": name} | config}, {}


def dense(name: str, inputs: int, units: int, activation: str) -> tuple[dict, dict]:
    rng = np.random.default_rng(inputs + units)
    arrays = {
        "kernel": rng.normal(0, 0.3, (inputs, units)).astype(np.float32),
        "bias": rng.normal(0, 0.1, units).astype(np.float32),
    }
    config = {"name": name, "units": units, "activation": activation, "use_bias": True}
    return {"class_name": "Dense", "config": config}, arrays


def classifier(bands: int = 3, edge: int = 8, filters: int = 4) -> list[tuple[dict, dict]]:
    """A small network that has one of each kind: the flattened maps are edge / 2 squared, of `filters` channels."""
    return [
        plain("InputLayer", "input_1", batch_input_shape=[None, edge, edge, bands]),
        conv("conv2d", bands, filters),
        norm("batch_normalization", filters),
        pool("max_pooling2d"),
        plain("Flatten", "flatten", data_format="channels_last"),
        dense("dense", filters * (edge // 2) ** 2, 5, "elu"),
        plain("Dropout", "dropout", rate=0.3),
        dense("dense_1", 5, 1, "sigmoid"),
    ]


def forward(layers: list[tuple[dict, dict]], patches: np.ndarray) -> np.ndarray:
    """(n, y, x, band) -> (n, units), by loops and float64: nothing of torch."""
    x = patches.astype(np.float64)
    for layer, arrays in layers:
        x = _step(layer["class_name"], layer["config"], arrays, x)
    return x


def _step(kind: str, config: dict, arrays: dict, x: np.ndarray) -> np.ndarray:
    if kind == "Conv2D":
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        out = sum(
            padded[:, i : i + height, j : j + width] @ arrays["kernel"][i, j].astype(np.float64)
            for i in range(3)
            for j in range(3)
        )
        return np.maximum(out + arrays["bias"], 0)
    if kind == "BatchNormalization":
        spread = np.sqrt(arrays["moving_variance"] + config["epsilon"])
        return (x - arrays["moving_mean"]) / spread * arrays["gamma"] + arrays["beta"]
    if kind == "MaxPooling2D":
        n, height, width, channels = x.shape
        return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "Dense":
        out = x @ arrays["kernel"].astype(np.float64) + arrays["bias"]
        return np.where(out > 0, out, np.expm1(out)) if config["activation"] == "elu" else 1 / (1 + np.exp(-out))
    return x


def write_sequential(path: Path, layers: list[tuple[dict, dict]]) -> Path:
    config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": [layer for layer, _ in layers]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        root = file.create_group("model_weights")
        for layer, arrays in layers:
            name = layer["config"]["name"]
            group = root.create_group(name)
            for leaf, array in arrays.items():
                group[f"{name}/{leaf}:0"] = array
    return path


def write_ensemble(path: Path, members: dict[str, list[tuple[dict, dict]]], join: str) -> Path:
    """Sequential models of those names, side by side, whose outputs `join` (Average, Concatenate) takes."""
    first = next(iter(members.values()))[0][0]
    entry = {"class_name": "InputLayer", "config": first["config"] | {"name": "shared"}, "inbound_nodes": []}
    nested = [
        {
            "class_name": "Sequential",
            "config": {"name": name, "layers": [layer for layer, _ in layers]},
            "inbound_nodes": [[["shared", 0, 0, {}]]],
        }
        for name, layers in members.items()
    ]
    last = {
        "class_name": join,
        "config": {"name": "joined", "axis": -1},
        "inbound_nodes": [[[name, 1, 0, {}] for name in members]],
    }
    config = {"name": "v1.0", "layers": [entry, *nested, last], "output_layers": [["joined", 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        root = file.create_group("model_weights")
        for name, layers in members.items():
            group = root.create_group(name)
            for layer, arrays in layers:
                for leaf, array in arrays.items():
                    group[f"{layer['config']['name']}/{leaf}:0"] = array
    return path
