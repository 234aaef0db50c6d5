"""Any network from labelled squares: batches drawn, changed and scaled, and what is held out looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.card import ModelCard
from models.metrics import confusion, report
from models.networks import build
from models.networks.fcn import Fcn
from models.standard import STORED_OFFSET, STORED_SCALE, Standard
from models.training.ahead import DEPTH
from models.training.augment import Change, changes, laid, light_terms, lit, moved
from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT
from models.training.loop import Check, Fitted, Session, Task, fit
from models.training.losses import Given, Loss, make_loss
from models.training.samples import Samples, band_figures
from models.training.split import Fold

__all__ = ["Trained", "seeded", "train_patches"]

LOOKED_AT_ONCE = 64
"""Squares of a look: what a step needs, several times over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Weights, and what a card says of them."""

    state_dict: dict[str, Tensor]
    """The weights kept."""
    mean: tuple[float, ...]
    """Per band, reflectance, of the training set."""
    std: tuple[float, ...]
    """Per band, reflectance, of the training set."""
    metrics: dict[str, Any]
    """Of what is held out, else of the training set: `models.metrics.report`, seed, step."""
    history: tuple[dict[str, Any], ...] = ()
    """A row a look."""


def train_patches(
    draft: ModelCard, samples: Samples, config: TrainConfig, fold: Fold, session: Session | None = None
) -> Trained:
    """Train a card's network on the squares of a fold.

    Args:
        draft: network, bands, classes, lengths, scaling; its mean and std are found here.
        samples: all squares.
        config: every hyper-parameter.
        fold: which are trained on, and which are held out: they choose the step, and the metrics are theirs.
        session: where, who looks on, what it begins from.

    Raises:
        ValueError: a class has nothing to train on, or the squares do not fit the network.
    """
    session = session or Session()
    mean, std = band_figures(samples, fold.train)
    if session.start is not None:
        mean, std = session.start.scaling(mean, std)
    draft = replace(draft, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    with seeded(config):
        net = _network(draft, samples)
        if session.start is not None:
            session.start.into(net)
        net.to(session.device)
        squares = _Squares(draft, samples, config, fold, torch.device(session.device))
        task = squares.task()
        fitted = fit(net, config, task, session)
        net.load_state_dict(fitted.state_dict)
        shown = squares.held_out if len(squares.held_out) else squares.train
        with torch.inference_mode():
            counts = squares.look(net.eval(), shown, task.loss).counts
    return Trained(
        state_dict=fitted.state_dict, mean=draft.mean, std=draft.std, history=tuple(map(dict, fitted.history)),
        metrics=report(counts, draft.classes, len(draft.classes) - 1) | _said(fitted, config, fold, squares),
    )  # fmt: skip


def _said(fitted: Fitted, config: TrainConfig, fold: Fold, squares: "_Squares") -> dict[str, Any]:
    """`measured_on` says in words what the figures are worth."""
    return {
        "measured_on": "held-out groups" if len(squares.held_out) else "the training set",
        "held_out": list(fold.units), "samples": len(squares.train), "samples_held_out": len(squares.held_out),
        "samples_beside": fold.beside,
        "seed": config.seed, "step": fitted.step, "steps": fitted.steps,
    }  # fmt: skip


def _network(draft: ModelCard, samples: Samples) -> nn.Module:
    net: nn.Module = build(draft.network, bands=len(draft.bands), classes=len(draft.classes), **draft.arguments)
    wanted = getattr(net, "reflectance_of", None)
    if wanted and (draft.bands[: len(wanted)] != wanted or draft.scaling != "clip"):
        raise ValueError(
            f"network {draft.network!r} works out NDVI from reflectance: expected bands {' '.join(wanted)} first, and "
            f"scaling 'clip', got {' '.join(draft.bands)} and {draft.scaling!r}"
        )
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    edge = samples.edge_px
    try:
        with torch.inference_mode():
            given = _logits(net.eval(), torch.zeros(1, len(draft.bands), edge, edge))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"network {draft.network!r} does not take squares of {edge} px: {reason}") from None
    if (given.ndim == 4) != (draft.output == "pixels"):
        raise ValueError(f"network {draft.network!r} gives an array of {given.ndim} axes, output is {draft.output}")
    if draft.output == "pixels" and samples.marks is None:
        raise ValueError(
            f"network {draft.network!r} gives pixels and learns from label rasters: make chips of polygons, or with "
            "--labels"
        )
    return net


class _Squares:
    """The squares of a fold as the loop sees them."""

    def __init__(
        self, draft: ModelCard, samples: Samples, config: TrainConfig, fold: Fold, device: torch.device
    ) -> None:
        self.draft, self.samples, self.config, self.device = draft, samples, config, device
        self.standard = Standard(draft)
        plain = draft.scaling != "standard"
        self.mean = np.zeros(len(draft.bands), np.float32) if plain else np.asarray(draft.mean, np.float32)
        self.std = np.ones(len(draft.bands), np.float32) if plain else np.asarray(draft.std, np.float32)
        self.by_pixel = draft.output == "pixels"
        known = samples.labels != LEFT_OUT
        self.train = fold.train if self.by_pixel else fold.train[known[fold.train]]
        self.held_out = fold.held_out if self.by_pixel else fold.held_out[known[fold.held_out]]
        self.members = self._members()
        # Filled in turn: one is learnt from, DEPTH wait, one is drawn, one is to spare.
        self.buffers: list[Tensor | None] = [None] * (DEPTH + 3)

    def _members(self) -> list[NDArray[np.int64]]:
        """Training squares by class; of pixels, those without the target and those with some.

        Raises:
            ValueError: a class has none.
        """
        names, target = self.draft.classes, len(self.draft.classes) - 1
        if self.by_pixel:
            assert self.samples.marks is not None  # noqa: S101  looked at when the network was made
            has = [
                (self.samples.cut_marks(np.array([pick]), [0]) == target).any() for pick in self.train.tolist()
            ]  # fmt: skip
            some = [self.train[~np.array(has, bool)], self.train[np.array(has, bool)]]
            if not len(some[1]):
                raise ValueError(f"no square to train on has a pixel of class {names[target]}")
            return [part for part in some if len(part)]
        found = [self.train[self.samples.labels[self.train] == value] for value in range(len(names))]
        empty = [name for name, part in zip(names, found, strict=True) if not len(part)]
        if empty:
            raise ValueError(
                f"no chip to train on is of class {', '.join(empty)}: expected some of each of {', '.join(names)}"
            )
        return found

    def task(self) -> Task:
        loss = make_loss(self.config, len(self.draft.classes))
        held_out = self.held_out
        return Task(
            samples=len(self.train), draw=self.draw, ready=self.ready, run=_given, loss=loss, device=self.device,
            held_out=(lambda net: self.look(net, held_out, loss)) if len(held_out) else None,
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, step: int) -> Any:
        """A batch: scaled and changed on the CPU; for a GPU as it is stored, with what to do to it there."""
        picks = self._picks(rng, step)
        change = changes(len(picks), len(self.draft.bands), self.config, rng)
        turns = change.turns.tolist()
        squares, targets = self.samples.cut(picks, turns), torch.from_numpy(self._targets(picks, turns))
        if self.device.type != "cpu":
            return torch.from_numpy(np.stack(squares)).pin_memory(), targets.pin_memory(), change
        if self.draft.scaling == "standard":
            slope, shift = self._terms(change, stored=squares[0].dtype == np.uint16)
            buffer = step % len(self.buffers)
            inputs = self.buffers[buffer] = laid(squares, slope, shift, self.buffers[buffer])
            return self._finish(inputs, targets, change)
        pixels: Any = np.stack(squares)
        scaled = self.standard.on_cpu(pixels)
        return self._finish(lit(scaled, *light_terms(change, self.mean, self.std)), targets, change)

    def _terms(self, change: Change, *, stored: bool) -> tuple[Any, Any]:
        """Slope and shift of scaling and light together."""
        slope, shift = light_terms(change, self.mean, self.std)
        scale, offset = (STORED_SCALE, STORED_OFFSET) if stored else (1.0, 0.0)
        first, second = scale / self.std, (offset - self.mean) / self.std
        return (first * slope).astype(np.float32), (second * slope + shift).astype(np.float32)

    def ready(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """What was drawn, on the device."""
        if self.device.type == "cpu":
            inputs, labels = drawn
            return inputs, labels
        pixels, targets, change = drawn
        pixels, targets = (part.to(self.device, non_blocking=True) for part in (pixels, targets))
        light = light_terms(change, self.mean, self.std)
        return self._finish(lit(self.standard.on_gpu(pixels), *light), targets, change)

    def _finish(self, inputs: Tensor, targets: Tensor, change: Change) -> tuple[Tensor, Tensor]:
        changed, marks = moved(inputs, targets if self.by_pixel else None, change)
        if self.draft.scaling != "standard":
            changed = changed.clamp_(0, 1)
        return changed, targets if marks is None else _finer(marks, self.draft.finer)

    def _picks(self, rng: np.random.Generator, step: int) -> NDArray[np.int64]:
        batch = self.config.batch
        if self.config.epochs is None:
            chosen = [self.members[int(rng.integers(len(self.members)))] for _ in range(batch)]
            return np.array([int(rng.choice(part)) for part in chosen], np.int64)
        epoch, place = divmod(step - 1, self.config.steps_an_epoch(len(self.train)))
        order = np.random.default_rng([self.config.seed, epoch]).permutation(self.train)
        # The last batch is filled up from the beginning: one square alone would have no batch to be normalised by.
        picked: NDArray[np.int64] = np.take(order, range(place * batch, (place + 1) * batch), mode="wrap")
        return picked

    def _targets(self, picks: NDArray[np.int64], turns: list[int]) -> NDArray[np.int64]:
        return self.samples.cut_marks(picks, turns) if self.by_pixel else self.samples.labels[picks]

    def look(self, net: nn.Module, picks: NDArray[np.int64], loss: Loss) -> Check:
        """Squares as they are: loss and confusion; of pixels, of the middle that a scan keeps."""
        logits, labels = [], []
        counts = np.zeros((len(self.draft.classes),) * 2, np.int64)
        for begin in range(0, len(picks), LOOKED_AT_ONCE):
            some = picks[begin : begin + LOOKED_AT_ONCE]
            still = [0] * len(some)
            pixels: Any = np.stack(self.samples.cut(some, still))
            targets = torch.from_numpy(self._targets(some, still))
            if self.device.type == "cpu":
                inputs = self.standard.on_cpu(pixels)
            else:
                inputs = self.standard.on_gpu(torch.from_numpy(pixels).to(self.device))
            given = _logits(net, inputs).float().cpu()
            if self.by_pixel:
                given, targets = self._middle(given), self._middle(_finer(targets, self.draft.finer))
            counts += confusion(targets.numpy(), self._guess(given), len(self.draft.classes))
            # A pixel of a thousand squares each would not fit: the loss of pixels is that of its parts.
            if self.by_pixel:
                given, targets = loss(given, targets).reshape(1), torch.tensor([(targets != LEFT_OUT).sum()])
            logits.append(given)
            labels.append(targets)
        whole, parts = torch.cat(logits), torch.cat(labels)
        if self.by_pixel:
            return Check(loss=float((whole * parts).sum() / parts.sum().clamp_min(1)), counts=counts)
        return Check(loss=float(loss(whole, parts)), counts=counts)

    def _guess(self, logits: Tensor) -> NDArray[np.int64]:
        """The likeliest class; of two, the target where it is above the card's threshold."""
        if self.draft.task == "detector" and len(self.draft.classes) == 2:
            return (torch.softmax(logits, 1)[:, 1] > self.draft.threshold).long().numpy()
        return logits.argmax(1).numpy()

    def _middle(self, pixels: Tensor) -> Tensor:
        inset = self.draft.halo_px * self.draft.finer if self.draft.mode == "window" else 0
        return pixels[..., inset : pixels.shape[-2] - inset, inset : pixels.shape[-1] - inset]


def _logits(net: nn.Module, inputs: Tensor) -> Tensor:
    """(n, class) or (n, class, y, x) of a network that no longer trains."""
    given = _given(net, inputs)
    assert isinstance(given, Tensor)  # noqa: S101  several depths are for training alone
    return given


def _given(net: nn.Module, inputs: Tensor) -> Given:
    """A square as large as the FCN's field is one of its cells."""
    given: Given = net.core(inputs)[:, :, 0, 0] if isinstance(net, Fcn) else net(inputs)
    return given


def _finer(marks: Tensor, finer: int) -> Tensor:
    return marks if finer == 1 else marks.repeat_interleave(finer, -1).repeat_interleave(finer, -2)


@contextmanager
def seeded(config: TrainConfig) -> Iterator[None]:
    """Torch's generator and thread count for the length of a training, put back after it."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
