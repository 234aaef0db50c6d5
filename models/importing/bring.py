"""A file of somebody's network becomes a card: what the file says, what is known of it, and what the user adds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.card import CARD_FILE, CardError, ModelCard
from models.importing.sources import Source, read_source
from models.registry import cards, save_card, save_program, user_folder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BANDS", "Brought", "bring"]

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The names that bands have everywhere."""

_TOLD = ("mode", "scaling", "gives", "stride_px", "classes", "threshold")
"""Fields whose assumed values a user should see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A card that was made, and how."""

    card: ModelCard
    """As it will be read."""
    folder: Path
    """Where it lies."""
    assumed: tuple[str, ...]
    """Its fields that neither the file nor the user said."""


def bring(path: Path, name: str, given: Mapping[str, Any], *, out: Path | None = None, force: bool = False) -> Brought:
    """Make a card of a Keras .h5 classifier, a torch.export program (.pt2) or an ONNX file.

    Args:
        path: the file. Published files known by digest, and what `models export` wrote, need no more than a name.
        name: of the card.
        given: card fields that the user says; they win over what is known.
        out: the card's folder; by default one of its name among the user's cards.
        force: put it in the place of a card that is there.

    Raises:
        CardError: a file that is not whole, not of these kinds or not plain; a name that is taken; fields that are
            missing or do not fit the file. One line.
    """
    folder = _folder(name, out, force=force)
    source = read_source(path)
    said = {**source.known, **given}
    assumed = _assumed(path, source, said)
    card = _card(path, {**assumed, **said, **source.fixed, "name": name})
    _check_shape(path, card, source)
    net = source.network(card)
    _try(path, card, net)
    if source.content is None:
        written = save_card(folder, card, net.state_dict())
    else:
        written = save_program(folder, card, source.content)
    return Brought(card=written, folder=folder, assumed=tuple(key for key in _TOLD if key in assumed))


def _folder(name: str, out: Path | None, *, force: bool) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise CardError(f"--name {name!r}: expected letters, digits, dots, hyphens and underscores")
    folder = out or user_folder() / name
    taken = (folder / CARD_FILE).exists() or (out is None and name in {card.name for card in cards()})
    if taken and not force:
        raise CardError(f"there is a card {name!r} already ({folder}): choose another --name, or --force to replace it")
    return folder


def _assumed(path: Path, source: Source, said: Mapping[str, Any]) -> dict[str, Any]:
    """Values for fields that nobody said, where there is a plain one; CardError names those that must be said."""
    values: dict[str, Any] = {
        "task": "detector",
        "mode": "window",
        "output": "cells",
        "scaling": "clip",
        "threshold": 0.5,
        "limits": "Brought in from a file: where it was trained and how well it does is not known here.",
        "licence": "not said",
        "origin": path.name,
    }
    if source.content is not None:
        values["gives"] = "logits"
    if source.classes == 2:
        values["classes"] = ("not_mine", "mine")
    values |= _lattice(source, {**values, **said})
    count = len(said.get("bands", ()))
    values |= {"mean": (0.0,) * count, "std": (1.0,) * count}
    needed = ["bands", "level", "classes", "window_px", "stride_px", "halo_px"]
    if said.get("scaling") == "standard":
        needed += ["mean", "std"]
        values = {key: value for key, value in values.items() if key not in ("mean", "std")}
    missing = [f"--{key.removesuffix('_px')}" for key in needed if key not in said and key not in values]
    if missing:
        raise CardError(
            f"{path} does not say all that a card needs, and nothing is known of it: give {', '.join(missing)}"
        )
    return {key: value for key, value in values.items() if key not in said}


def _lattice(source: Source, facts: Mapping[str, Any]) -> dict[str, int]:
    """Window, stride and halo as far as they follow: half steps, as nearly as a whole halo permits."""
    rows, columns = source.shape[2:]
    window = facts.get("window_px") or (rows if rows == columns else None)
    if facts["mode"] != "window" or not window:
        return {}
    if facts["task"] == "impact":
        return {"window_px": window, "stride_px": window, "halo_px": 0}
    stride = facts.get("stride_px") or window // 2 + (window - window // 2) % 2
    return {"window_px": window, "stride_px": stride, "halo_px": max(0, (window - stride) // 2)}


def _card(path: Path, values: Mapping[str, Any]) -> ModelCard:
    unknown = [band for band in values["bands"] if band not in BANDS]
    if unknown:
        raise CardError(f"--bands {','.join(values['bands'])}: {unknown[0]!r} is no band, expected {' '.join(BANDS)}")
    try:
        return ModelCard(**values)
    except TypeError as error:
        raise CardError(f"{path}: the card inside it is not whole: {error}") from error


def _check_shape(path: Path, card: ModelCard, source: Source) -> None:
    patches, bands, rows, columns = source.shape
    if patches not in ((None,) if card.mode == "window" else (None, 1)):
        raise CardError(f"{path} takes {patches} patches at once: export it with its first axis free")
    if bands not in (None, len(card.bands)):
        raise CardError(f"{path} takes {bands} bands, got {len(card.bands)}: {' '.join(card.bands)}")
    if card.mode == "window" and any(edge not in (None, card.window_px) for edge in (rows, columns)):
        raise CardError(f"{path} takes patches of {rows} x {columns} px, got a window of {card.window_px} px")
    if source.classes not in (None, len(card.classes)):
        raise CardError(
            f"{path} tells {source.classes} classes apart, got {len(card.classes)}: {', '.join(card.classes)}"
        )


def _try(path: Path, card: ModelCard, net: "nn.Module") -> None:
    """Run it once: the shape of what it gives is the card's, and probabilities are probabilities."""
    import torch  # noqa: PLC0415

    edge = card.window_px if card.mode == "window" else card.stride_px + 2 * card.halo_px
    count = 2 if card.mode == "window" else 1
    patches = torch.linspace(0, 1, count * len(card.bands) * edge * edge).view(count, len(card.bands), edge, edge)
    try:
        with torch.inference_mode():
            logits = net(patches)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"{path} does not take patches of {len(card.bands)} bands, {edge} px: {reason}") from error
    got, classes, extent = tuple(logits.shape), len(card.classes), _extent(card, edge)
    # Of two classes the target's number may stand alone.
    if got not in {(count, channels, *extent) for channels in (classes, 1 if classes == 2 else classes)}:
        raise CardError(
            f"{path} gives numbers of shape {got}, expected {(count, classes, *extent)}: --classes, --mode or --output"
        )
    if torch.isnan(logits).any():
        raise CardError(f"{path} gives no numbers for plain patches: does it give {card.gives}? (--gives)")
    of_one = logits.shape[1] > 1 and torch.allclose(logits.sum(1), torch.ones(()))
    if card.gives == "logits" and of_one and bool((logits >= 0).all()):
        raise CardError(f"{path} gives numbers that sum to one, as probabilities do: say so with --gives probabilities")


def _extent(card: ModelCard, edge: int) -> tuple[int, ...]:
    """Rows and columns of what it gives for one patch, or for a core of one cell."""
    if card.output == "pixels":
        return (edge * card.finer,) * 2
    return () if card.mode == "window" else (1, 1)
