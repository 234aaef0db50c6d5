"""Where cards are: in a folder given by path, among the user's own cards, among the shipped ones. Without torch."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from models.card import CARD_FILE, CardError, ModelCard, read_card, weights_digest

if TYPE_CHECKING:
    import torch

__all__ = [
    "SHIPPED",
    "cards",
    "checked_file",
    "entries",
    "find",
    "find_card",
    "save_card",
    "save_program",
    "user_folder",
]

SHIPPED = Path(__file__).parent / "weights"
"""The cards that come with the package."""

_log = logging.getLogger(__name__)


def user_folder() -> Path:
    """The folder of imported and trained cards: $MINESCAN_MODELS, else the user's data directory."""
    chosen = os.environ.get("MINESCAN_MODELS")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("minescan")) / "models"


def find(name: str | Path) -> Path:
    """The folder of a card: a path to it, or its name among the user's cards, then the shipped ones."""
    as_path = Path(name).expanduser()
    if (as_path / CARD_FILE).is_file():
        return as_path
    if as_path.name == str(name):
        for root in (user_folder(), SHIPPED):
            if (root / as_path / CARD_FILE).is_file():
                return root / as_path
    known = ", ".join(folder.name for folder in _folders()) or "none"
    raise CardError(f"no model card {str(name)!r}: expected a folder with {CARD_FILE}, or one of: {known}")


def find_card(name: str | Path) -> ModelCard:
    """The card of that name or folder, without its weights."""
    return read_card(find(name))


def cards() -> tuple[ModelCard, ...]:
    """Every card by name; a user's card hides a shipped one of its name; a broken one is logged and left out."""
    return tuple(card for _, card in entries())


def entries() -> tuple[tuple[Path, ModelCard], ...]:
    """What `cards` gives, each with its folder."""
    found = []
    for folder in _folders():
        try:
            found.append((folder, read_card(folder)))
        except CardError as error:
            _log.warning("%s", error)
    return tuple(found)


def checked_file(folder: Path, card: ModelCard) -> Path:
    """The file that a card in this folder speaks of; CardError when its sha256 is another."""
    path = folder / card.file
    digest = weights_digest(path)
    if digest != card.sha256:
        raise CardError(
            f"{path} is not what its card was made for: sha256 {digest}, expected {card.sha256}; copy it again"
        )
    return path


def save_card(folder: Path, card: ModelCard, state_dict: Mapping[str, "torch.Tensor"]) -> ModelCard:
    """Write weights.safetensors, then card.json with their sha256; the card comes back as it will be read.

    The card is written last and moved into place, so that a folder with a card always has its weights.
    """
    from safetensors.torch import save  # noqa: PLC0415

    # save_file makes a file that its owner alone may read.
    return save_program(
        folder, card, save({key: value.detach().cpu().contiguous() for key, value in state_dict.items()})
    )


def save_program(folder: Path, card: ModelCard, content: bytes) -> ModelCard:
    """Write the file that a card speaks of, then card.json with its sha256, as `save_card` does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card.file).write_bytes(content)
    written = replace(card, sha256=weights_digest(folder / card.file))
    draft = folder / f"{CARD_FILE}.part"
    draft.write_text(written.to_json(), encoding="utf-8")
    draft.replace(folder / CARD_FILE)
    return read_card(folder)


def _folders() -> list[Path]:
    """Folders that hold a card, by name; the user's before the shipped."""
    found: dict[str, Path] = {}
    for root in (user_folder(), SHIPPED):
        if root.is_dir():
            for folder in root.iterdir():
                if (folder / CARD_FILE).is_file():
                    found.setdefault(folder.name, folder)
    return [found[name] for name in sorted(found)]
