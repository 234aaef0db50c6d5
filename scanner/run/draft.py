"""The card that a recipe asks for, before there are weights: its network, and the lengths that go with it."""

from dataclasses import dataclass, replace
from typing import Any

from models import ModelCard
from models.networks import FCN, IMPACT, build
from models.networks.geometry import CHIP_PX, FIELD_PX, HALO_PX, STRIDE_PX, WINDOW_PX
from scanner.errors import InputError
from scanner.run.recipe import Recipe

__all__ = ["Draft", "draft_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A card without weights, and the squares it learns from."""

    card: ModelCard
    """mean is 0 and std is 1."""
    edge_px: int
    """Of the squares."""


def draft_of(recipe: Recipe) -> Draft:
    """The card of a recipe.

    Raises:
        InputError: a length is missing or does not fit the network.
        ValueError: no such network, or arguments it does not take.
    """
    if recipe.network == FCN:
        if recipe.mode == "window" or recipe.window_px or recipe.stride_px:
            raise InputError(
                f"recipe {recipe.name}: {FCN} has lengths of its own: leave mode, window_px, stride_px out"
            )
        return Draft(card=_card(recipe, mode="fcn", window_px=WINDOW_PX, stride_px=STRIDE_PX, halo_px=HALO_PX),
                     edge_px=FIELD_PX)  # fmt: skip
    if recipe.task == "impact":
        edge = recipe.window_px or CHIP_PX
        own = {"chip_px": edge} if recipe.network == IMPACT and edge != CHIP_PX else {}
        card = _card(recipe, mode="window", window_px=edge, stride_px=edge, halo_px=0)
        return Draft(card=replace(card, arguments=dict(recipe.arguments) | own), edge_px=edge)
    if recipe.window_px is None:
        raise InputError(f"recipe {recipe.name}: window_px is missing: the edge of the squares {recipe.network} sees")
    lengths = _of_fcn(recipe) if recipe.mode == "fcn" else _of_window(recipe, recipe.window_px)
    return Draft(card=_seen(_card(recipe, **lengths), recipe.window_px), edge_px=recipe.window_px)


def _of_window(recipe: Recipe, edge_px: int) -> dict[str, Any]:
    stride = recipe.stride_px or edge_px // 2
    if stride > edge_px or (edge_px - stride) % 2:
        raise InputError(f"recipe {recipe.name}: window_px {edge_px} less stride_px {stride} must be even, 0 or more")
    return {"mode": "window", "window_px": edge_px, "stride_px": stride, "halo_px": (edge_px - stride) // 2}


def _of_fcn(recipe: Recipe) -> dict[str, Any]:
    """A network that runs in one pass says how far its pixels see."""
    net = _on_paper(recipe.network, recipe.arguments, len(recipe.bands), len(recipe.classes))
    stride, halo = getattr(net, "stride_px", None), getattr(net, "halo_px", None)
    if stride is None or halo is None:
        raise InputError(f"recipe {recipe.name}: network {recipe.network} does not say its field: use mode = 'window'")
    return {"mode": "fcn", "window_px": stride, "stride_px": stride, "halo_px": halo}


def _on_paper(network: str, arguments: Any, bands: int, classes: int) -> Any:
    """The network without memory for its weights."""
    import torch  # noqa: PLC0415

    with torch.device("meta"):
        return build(network, bands=bands, classes=classes, **arguments).eval()


def _card(recipe: Recipe, **lengths: Any) -> ModelCard:
    bands = len(recipe.bands)
    return ModelCard(
        name=recipe.name, task=recipe.task, network=recipe.network, arguments=dict(recipe.arguments),
        level=recipe.level, bands=recipe.bands, scaling=recipe.scaling, mean=(0.0,) * bands, std=(1.0,) * bands,
        classes=recipe.classes, threshold=recipe.threshold, impact=recipe.impact, limits=recipe.limits,
        licence=recipe.licence, origin=recipe.origin, **lengths,
    )  # fmt: skip


def _seen(card: ModelCard, edge_px: int) -> ModelCard:
    """The card with what its network gives of a square: a class, or pixels, and how fine."""
    import torch  # noqa: PLC0415

    net = _on_paper(card.network, card.arguments, len(card.bands), len(card.classes))
    try:
        given = net(torch.zeros(1, len(card.bands), edge_px, edge_px, device="meta"))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"card {card.name!r}: network {card.network} takes no squares of {edge_px} px: {reason}"
        ) from None
    if given.ndim == 2:
        return card
    # An fcn that gives pixels keeps its halo in whole strides.
    halo = -(-card.halo_px // card.stride_px) * card.stride_px if card.mode == "fcn" else card.halo_px
    return replace(card, output="pixels", finer=given.shape[-1] // edge_px, halo_px=halo)
