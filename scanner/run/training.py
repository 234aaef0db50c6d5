"""`minescan train`: a recipe in, a card out, with its figures, curves and history; a killed run goes on."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models import ModelCard, save_card
from models.registry import find, find_card, user_folder
from models.training.checkpoint import Keeper
from models.training.figures import draw_confusion, draw_curves
from models.training.folds import median_step, over_folds
from models.training.loop import Session
from models.training.patches import Trained
from models.training.split import Fold
from models.training.transfer import Start, weights_of
from scanner.config import digest_of
from scanner.errors import DeviceError, InputError, MinescanError
from scanner.run.draft import Draft, draft_of
from scanner.run.progress import Progress, open_progress
from scanner.run.recipe import Recipe, read_recipe
from scanner.run.training_data import Source, source_of
from scanner.store.layout import write_atomic

__all__ = ["Options", "train"]

WORK = ".training"
"""Folder beside the card-to-be: states, finished folds, chips cut for this training. Removed at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line adds to a recipe."""

    out: Path | None = None
    """Folder of the card; by default its name among the user's models."""
    begin_from: str | None = None
    """A card's name or folder whose weights are the beginning."""
    device: str = "auto"
    """auto, cpu or cuda."""
    keep_every_s: float = 30.0
    """Seconds between two states that a killed training goes on from."""


def train(recipe_file: Path, options: Options | None = None) -> Iterator[str]:
    """Train what a recipe says, save its card, and yield lines that say where it lies and how it measured.

    Args:
        recipe_file: TOML; see `scanner.run.recipe`.
        options: where and how.

    Raises:
        InputError: the recipe, its files or its labels do not fit; the catalogue has no scenes for them.
    """
    options = options or Options()
    recipe = read_recipe(recipe_file)
    folder = options.out or user_folder() / recipe.name
    yield f"training {recipe.name}: {recipe.network}, seed {recipe.train.seed}, {_length(recipe)}"
    try:
        draft = draft_of(recipe)
        with open_progress() as progress:
            source = source_of(recipe, draft, folder / WORK, progress)
            run = _Run(recipe, draft, source, options, folder, progress)
            trained, histories = run.train()
    except MinescanError:
        raise
    except ValueError as error:
        raise InputError(f"recipe {recipe_file}: {error}") from None
    card = save_card(folder, _card(draft.card, trained), trained.state_dict)
    _write_figures(folder, card, histories)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    yield f"{folder}: sha256 {card.sha256}"
    yield from (f"{name}: {value}" for name, value in sorted(card.metrics.items()) if name != "trainings")


def _length(recipe: Recipe) -> str:
    config = recipe.train
    return f"at most {config.steps} steps" if config.epochs is None else f"at most {config.epochs} epochs"


def _card(draft: ModelCard, trained: Trained) -> ModelCard:
    return replace(draft, mean=trained.mean, std=trained.std, metrics=trained.metrics)


def _write_figures(folder: Path, card: ModelCard, histories: dict[str, Any]) -> None:
    write_atomic(folder / "history.json", json.dumps(histories, indent=1).encode() + b"\n")
    draw_curves(folder / "curves.png", histories)
    draw_confusion(folder / "confusion.png", card.metrics["confusion"], card.metrics["classes"])


def _device(wanted: str) -> str:
    import torch  # noqa: PLC0415

    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: there is no CUDA GPU here; use --device auto or cpu, or run `minescan doctor`"
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


class _Run:
    """The trainings of one recipe."""

    def __init__(
        self, recipe: Recipe, draft: Draft, source: Source, options: Options, folder: Path, progress: Progress
    ) -> None:  # fmt: skip
        self.recipe, self.source, self.options = recipe, source, options
        self.work, self.progress = folder / WORK, progress
        self.device = _device(options.device)
        self.start = _start(options.begin_from, draft.card)
        begun = self.start.card.sha256 if self.start else None
        self.identity = digest_of([draft.card.to_json(), asdict(recipe.train), source.digest, begun])

    def train(self) -> tuple[Trained, dict[str, Any]]:
        """One training, or one a fold and one more on everything for as long as those took in the middle."""
        folds = self.source.folds(self.recipe.train.seed)
        if len(folds) == 1:
            trained = self._fit(folds[0], None)
            return trained, {folds[0].name: trained.history}
        found = {fold.name: self._measured(fold) for fold in folds}
        metrics = {name: one["metrics"] for name, one in found.items()}
        whole = self._fit(self.source.everything(), median_step(metrics))
        said = over_folds(metrics) | {"seed": whole.metrics["seed"], "steps": whole.metrics["steps"]}
        histories = {name: one["history"] for name, one in found.items()}
        return replace(whole, metrics=said), histories | {"everything": whole.history}

    def _measured(self, fold: Fold) -> dict[str, Any]:
        """Figures and history of a fold; those of an earlier run as they lie."""
        path = self.work / f"{fold.name}.json"
        if path.exists() and (kept := json.loads(path.read_text()))["identity"] == self._name(fold):
            found: dict[str, Any] = kept
            return found
        trained = self._fit(fold, None)
        found = {"identity": self._name(fold), "metrics": trained.metrics, "history": trained.history}
        write_atomic(path, json.dumps(found).encode())
        return found

    def _name(self, fold: Fold) -> str:
        return digest_of([self.identity, fold.name, fold.train.tolist(), fold.held_out.tolist()])

    def _fit(self, fold: Fold, stop_after: int | None) -> Trained:
        total = self.recipe.train.total(len(fold.train))
        name = f"training {fold.name}"
        keeper = Keeper(
            path=self.work / f"{fold.name}.safetensors", identity=self._name(fold), every_s=self.options.keep_every_s
        )
        before = keeper.found()
        self.progress.stage(name, min(total, stop_after or total), before.numbers["step"] if before else 0)
        return self.source.fit(fold, Session(
            on_step=lambda _step, _total, loss: self.progress.advance(name, f"loss {loss:.4f}"),
            keeper=keeper, device=self.device, start=self.start, stop_after=stop_after,
        ))  # fmt: skip


def _start(name: str | None, draft: ModelCard) -> Start | None:
    if name is None:
        return None
    card = find_card(name)
    return Start(card=card, weights=weights_of(find(name), card), draft=draft)
