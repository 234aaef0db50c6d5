"""What a file of somebody's network says of itself, and the network in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.card import CardError, ModelCard, weights_digest
from models.importing.keras_file import read_keras
from models.importing.published import PUBLISHED
from models.networks import KERAS_CNN

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Source", "read_source"]

_FORMS = {".h5": "weights", ".hdf5": "weights", ".onnx": "onnx", ".pt2": "torch_export"}
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_NOT_TAKEN = frozenset({"arguments", "bf16", "form", "gives", "name", "sha256"})
"""Fields of an exported card that are not those of the card made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file, read and found whole."""

    known: Mapping[str, Any]
    """Card fields that it says, or that are known of it by its digest."""
    fixed: Mapping[str, Any]
    """Card fields that nobody else can say: form, network, arguments."""
    shape: tuple[int | None, ...]
    """Of its input: patches, bands, rows, columns; None for what is free."""
    classes: int | None
    """Classes it tells apart, where it says so."""
    content: bytes | None
    """What is stored beside the card; None where the network's weights are."""
    network: Callable[[ModelCard], "nn.Module"]
    """Its network, as a card of it runs it."""


def read_source(path: Path) -> Source:
    """Read a Keras .h5 classifier, a torch.export program (.pt2) or an ONNX file; CardError in one line."""
    ending = path.suffix.lower()
    if ending in _PICKLES:
        raise CardError(
            f"{path} is a pickle by its ending {ending}, which can run anything when opened, and is not read: convert "
            "it to safetensors for one of our networks, or to a program with torch.export.save (.pt2)"
        )
    if ending not in _FORMS:
        raise CardError(f"{path}: expected a Keras .h5, a torch.export .pt2 or an .onnx file")
    if not path.is_file():
        raise CardError(f"{path}: there is no such file")
    return _keras(path) if _FORMS[ending] == "weights" else _program(path, _FORMS[ending])


def _keras(path: Path) -> Source:
    read = read_keras(path)

    def network(card: ModelCard) -> "nn.Module":
        import torch  # noqa: PLC0415

        from models.networks import build  # noqa: PLC0415

        net = build(card.network, bands=len(card.bands), classes=len(card.classes), **card.arguments)
        try:
            net.load_state_dict({key: torch.from_numpy(array) for key, array in read.weights.items()})
        except RuntimeError as error:
            raise CardError(f"{path}: its weights do not fit its layers: {' '.join(str(error).split())}") from error
        return net.eval()

    return Source(
        known={"mode": "window", **PUBLISHED.get(weights_digest(path), {})},
        fixed={"form": "weights", "network": KERAS_CNN, "arguments": read.arguments},
        shape=(None, read.bands, read.window_px, read.window_px),
        classes=read.classes,
        content=None,
        network=network,
    )


def _program(path: Path, form: str) -> Source:
    from models.programs import Program, read_program  # noqa: PLC0415

    program = read_program(path, form, beside=True)
    shape = program.input_shape()
    if len(shape) != 4:
        raise CardError(f"{path} takes an array of {len(shape)} axes, expected four: patches, band, y, x")
    values = _taken(program.card())

    def network(card: ModelCard) -> "nn.Module":
        import torch  # noqa: PLC0415

        return Program(program.run(torch.device("cpu")), card)

    return Source(
        known=values,
        fixed={"form": form, "network": values.get("network", form), "arguments": {}},
        shape=shape,
        classes=None,
        content=program.content,
        network=network,
    )


def _taken(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields of the card inside a file, those that a card made of it may have; what has a card gives logits."""
    if values is None:
        return {}
    known = {item.name for item in fields(ModelCard)} - _NOT_TAKEN
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known}
    return found | {"gives": "logits"}
