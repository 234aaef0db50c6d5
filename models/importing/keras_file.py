"""A classifier in Keras's .h5 format, read with h5py alone: what it is built of, and its weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import CardError
from models.importing.layers import DROPPED, Part, translate

__all__ = ["KerasClassifier", "read_keras"]

Layer = Mapping[str, Any]

_MODELS = ("Functional", "Model", "Sequential")
_JOINS = ("Average", "Concatenate")


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasClassifier:
    """One network, or several whose outputs are averaged."""

    bands: int
    """Channels of the input."""
    window_px: int
    """Edge of the square input."""
    classes: int
    """Two where it ends in one sigmoid."""
    arguments: Mapping[str, Any]
    """For `models.networks.keras_cnn`: the layers of each member, and what they end in."""
    weights: Mapping[str, NDArray[np.float32]]
    """By the names of the network that the arguments build."""


def read_keras(path: Path) -> KerasClassifier:
    """The classifier in a Keras .h5 file: one chain of layers, or an ensemble of chains.

    Chains that meet in Average or Concatenate at the very end are an ensemble: the mean of its members' scores.

    Raises:
        CardError: not a whole HDF5 file, no model in it, or layers that are not read here. One line.
    """
    import h5py  # noqa: PLC0415

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs or "model_weights" not in file:
                raise CardError(f"{path} is HDF5, but no Keras model: it lacks model_config (save the whole model)")
            root = json.loads(file.attrs["model_config"])
            arrays = {name: _arrays(group) for name, group in file["model_weights"].items()}
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CardError(f"{path} is not a whole Keras .h5 file: {' '.join(str(error).split())}") from error
    try:
        return _classifier(root, arrays)
    except CardError as error:
        raise CardError(f"{path}: {error}") from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CardError(f"{path}: its model_config is not Keras's: {type(error).__name__} {error}") from error


def _arrays(group: Any) -> dict[tuple[str, str], NDArray[Any]]:
    """Weights of a layer or a nested model, by layer and name: `a/conv2d_1/kernel:0` is of conv2d_1, kernel."""
    import h5py  # noqa: PLC0415

    found: dict[tuple[str, str], NDArray[Any]] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            parts = [group.name.rsplit("/", 1)[-1], *name.split("/")]
            key = parts[-2], parts[-1].split(":")[0]
            if key in found:
                raise KeyError(f"two layers are called {key[0]!r}")
            found[key] = item[()]

    group.visititems(keep)
    return found


def _classifier(root: Layer, arrays: Mapping[str, Mapping[tuple[str, str], NDArray[Any]]]) -> KerasClassifier:
    chains = [_chain(layers, arrays) for layers in _members(root)]
    ends = {_ends(chain) for chain in chains}
    if len(ends) > 1:
        raise CardError(f"its members end differently: {', '.join(name for name, _ in ends)}")
    (end, outputs) = ends.pop()
    height, width, bands = _input(root)
    if height != width or height is None or bands is None:
        raise CardError(f"its input is {height} x {width} x {bands}, expected a square of fixed size")
    weights = {
        f"members.{member}.{place}.{name}": tensor
        for member, chain in enumerate(chains)
        for place, part in enumerate(chain[:-1])
        for name, tensor in part.tensors.items()
    }
    members = tuple(tuple(part.layer for part in chain[:-1]) for chain in chains)
    return KerasClassifier(
        bands=bands,
        window_px=height,
        classes=2 if end == "sigmoid" else outputs,
        arguments={"members": members, "ends": end},
        weights=weights,
    )


def _members(root: Layer) -> list[list[tuple[str, Layer]]]:
    """The chains from the input to the output, each layer with the top-level name that its weights lie under."""
    kind, config = root["class_name"], root["config"]
    if kind == "Sequential":
        return [[(layer["config"]["name"], layer) for layer in _layers(config)]]
    if kind not in _MODELS:
        raise CardError(f"model {kind!r} is none of {', '.join(_MODELS)}")
    layers = {layer["config"]["name"]: layer for layer in _layers(config)}
    outputs = _tops(config["output_layers"])
    if len(outputs) != 1:
        raise CardError(f"it has {len(outputs)} outputs ({', '.join(outputs)}), expected one")
    last = layers[outputs[0]]
    if last["class_name"] not in _JOINS:
        return [_walk(outputs[0], layers)]
    if last["config"].get("axis", -1) not in (-1, 1):
        raise CardError(f"layer {outputs[0]!r} (Concatenate) joins along axis {last['config']['axis']}, expected -1")
    chains = [_walk(name, layers) for name in _inbound(last)]
    if last["class_name"] == "Concatenate" and any(_outputs_of(chain) != 1 for chain in chains):
        raise CardError(f"layer {outputs[0]!r} (Concatenate) joins more than one sigmoid each: not an ensemble")
    return chains


def _walk(name: str, layers: Mapping[str, Layer]) -> list[tuple[str, Layer]]:
    """From a layer back to the input, then turned."""
    chain = []
    while True:
        layer = layers[name]
        chain.append((name, layer))
        before = _inbound(layer)
        if not before:
            return chain[::-1]
        if len(before) > 1 or len(chain) > len(layers):
            raise CardError(
                f"layer {name!r} ({layer['class_name']}) joins {len(before)} others: branches are not read, but "
                "for an ensemble's at its end; export the network to ONNX and import that"
            )
        name = before[0]


def _inbound(layer: Layer) -> list[str]:
    """Names of the layers whose output it takes: Keras 2 lists them, Keras 3 hides them in its arguments."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        raise CardError(f"layer {layer['config']['name']!r} ({layer['class_name']}) is used {len(nodes)} times")
    if not nodes:
        return []
    if isinstance(nodes[0], Mapping):
        return _histories(nodes[0]["args"])
    return [entry[0] for entry in nodes[0]]


def _histories(value: Any) -> list[str]:
    if isinstance(value, Mapping) and "keras_history" in value.get("config", {}):
        return [str(value["config"]["keras_history"][0])]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [name for item in value for name in _histories(item)]
    return []


def _tops(value: Sequence[Any]) -> list[str]:
    """Names in input_layers or output_layers: one [name, 0, 0], or a list of them."""
    return [str(value[0])] if value and isinstance(value[0], str) else [str(entry[0]) for entry in value]


def _chain(
    layers: Sequence[tuple[str, Layer]], arrays: Mapping[str, Mapping[tuple[str, str], NDArray[Any]]]
) -> list[Part]:
    """Layers in our words; a nested model's in its place, what only training needs left out."""
    parts: list[Part] = []
    for top, layer in layers:
        kind, config = layer["class_name"], layer["config"]
        if kind in _MODELS:
            inner = _members(layer)
            if len(inner) > 1:
                raise CardError(f"layer {config['name']!r} ({kind}) is an ensemble inside another")
            parts += _chain([(top, each) for _, each in inner[0]], arrays)
        elif kind not in DROPPED:
            own = {leaf: array for (name, leaf), array in arrays.get(top, {}).items() if name == config["name"]}
            parts += translate(kind, config, own)
    return parts


def _ends(chain: Sequence[Part]) -> tuple[str, int]:
    """What a chain's numbers go through at its end, and how many they are."""
    end = chain[-1].layer.get("name") if chain else None
    outputs = next((part.layer["outputs"] for part in reversed(chain) if "outputs" in part.layer), 0)
    if end not in ("sigmoid", "softmax") or (end == "sigmoid" and outputs != 1):
        raise CardError(f"it ends in {outputs} numbers and {end or 'no activation'}, expected one sigmoid or a softmax")
    return str(end), outputs


def _outputs_of(chain: Sequence[tuple[str, Layer]]) -> int:
    """Units of a chain's last dense layer, nested ones looked into."""
    _, layer = chain[-1]
    if layer["class_name"] in _MODELS:
        return _outputs_of(_members(layer)[0])
    return int(layer["config"].get("units", 0))


def _input(root: Layer) -> tuple[Any, Any, Any]:
    """Height, width and channels of the first layer that says them."""
    for layer in _layers(root["config"]):
        config = layer["config"]
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape and len(shape) == 4:
            return shape[1], shape[2], shape[3]
        if layer["class_name"] in _MODELS:
            return _input(layer)
    raise CardError("it does not say its input's shape, expected (patches, rows, columns, bands)")


def _layers(config: Any) -> Sequence[Layer]:
    """Keras before 2.2 wrote a Sequential's layers as its whole configuration."""
    layers: Sequence[Layer] = config if isinstance(config, list) else config["layers"]
    return layers
