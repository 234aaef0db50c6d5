"""Networks, cards, inference and training: arrays in, probabilities out. Importing it imports no torch."""

from typing import TYPE_CHECKING, Any

from models.card import CardError, DeviceUnavailableError, ModelCard
from models.registry import cards, find_card, save_card

if TYPE_CHECKING:
    from models.infer import Detector, Judge, load

__all__ = [
    "CardError",
    "Detector",
    "DeviceUnavailableError",
    "Judge",
    "ModelCard",
    "cards",
    "find_card",
    "load",
    "save_card",
]

_WITH_TORCH = ("Detector", "Judge", "load")


def __getattr__(name: str) -> Any:
    """Fetch what needs torch on first use, so that listing cards stays quick."""
    if name in _WITH_TORCH:
        from models import infer  # noqa: PLC0415

        return getattr(infer, name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
