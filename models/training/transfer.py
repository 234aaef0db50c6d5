"""Weights of a card as the beginning of another: other bands, other classes, the rest as it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.card import CardError, ModelCard, weights_digest
from models.networks import build

__all__ = ["Start", "weights_of"]

Floats = NDArray[np.float64]


def weights_of(folder: Path, card: ModelCard) -> dict[str, Tensor]:
    """The weights beside a card, checked against its digest.

    Raises:
        CardError: they are not the card's, or it holds a program and no weights of ours.
    """
    if card.form != "weights":
        raise CardError(f"card {card.name!r} holds a program ({card.form}), which cannot be trained further")
    path = folder / card.file
    if weights_digest(path) != card.sha256:
        raise CardError(f"{path} is not what its card was made for: its sha256 is another; copy it again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CardError(f"{path} is not a safetensors file: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A card that another begins from.

    First layers take each band's weights by its name, a new band the mean of the old ones. Of a head the classes of
    the same name keep their weights; others stay as drawn.

    Raises:
        CardError: the network or its arguments differ.
    """

    card: ModelCard
    """What it begins from."""
    weights: Mapping[str, Tensor]
    """The card's."""
    draft: ModelCard
    """What is trained."""

    def __post_init__(self) -> None:
        card, draft = self.card, self.draft
        if card.network != draft.network or dict(card.arguments) != dict(draft.arguments):
            raise CardError(
                f"card {card.name!r} is of network {card.network!r} with {dict(card.arguments)}, the recipe's is "
                f"{draft.network!r} with {dict(draft.arguments)}: expected the same"
            )

    def into(self, net: nn.Module) -> None:
        """Put the weights into a fresh network of the draft."""
        by_band, by_class = _axes(self.draft, bands=1, classes=0), _axes(self.draft, bands=0, classes=1)
        begun = {}
        for name, fresh in net.state_dict().items():
            old = self.weights[name]
            if name in by_band:
                old = _by_band(old, by_band[name], self.card.bands, self.draft.bands)
            if name in by_class:
                old = _by_class(old, fresh, by_class[name], (self.card.classes, self.draft.classes))
            begun[name] = old
        net.load_state_dict(begun)

    def scaling(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """Of each band, the card's mean and deviation, which its weights were made for; these for bands it lacks."""
        old = dict(zip(self.card.bands, zip(self.card.mean, self.card.std, strict=True), strict=True))
        own = zip(self.draft.bands, zip(mean.tolist(), std.tolist(), strict=True), strict=True)
        both = np.array([old.get(band, figures) for band, figures in own])
        return both[:, 0], both[:, 1]


def _axes(draft: ModelCard, *, bands: int, classes: int) -> dict[str, int]:
    """Which axis of which weights grows with a band more, or a class more."""
    shapes = []
    for more in (0, 1):
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            net = build(
                draft.network, bands=len(draft.bands) + more * bands, classes=len(draft.classes) + more * classes,
                **draft.arguments,
            )  # fmt: skip
        shapes.append({name: tuple(value.shape) for name, value in net.state_dict().items()})
    return {
        name: next(axis for axis, (a, b) in enumerate(zip(shape, shapes[1][name], strict=True)) if a != b)
        for name, shape in shapes[0].items() if shape != shapes[1][name]
    }  # fmt: skip


def _by_band(old: Tensor, axis: int, had: Sequence[str], wanted: Sequence[str]) -> Tensor:
    columns = old.unbind(axis)
    mean = torch.stack(columns).mean(dim=0)
    return torch.stack([columns[had.index(band)] if band in had else mean for band in wanted], dim=axis)


def _by_class(old: Tensor, fresh: Tensor, axis: int, names: tuple[Sequence[str], Sequence[str]]) -> Tensor:
    had, wanted = names
    rows, drawn = old.unbind(axis), fresh.unbind(axis)
    kept = [rows[had.index(name)] if name in had else drawn[place] for place, name in enumerate(wanted)]
    return torch.stack(kept, dim=axis)
