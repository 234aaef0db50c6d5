"""The loop that both trainings share: draw, step, look at what is held out, keep the best."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT

__all__ = ["Fitted", "OnStep", "Task", "balanced_loss", "fit"]

_log = logging.getLogger(__name__)

OnStep = Callable[[int, int, float], None]
"""on_step(step, total, loss)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt, as the loop sees it."""

    draw: Callable[[], tuple[Tensor, Tensor]]
    """Inputs and labels of the next step; labels are LEFT_OUT where nothing is asked."""
    run: Callable[[nn.Module, Tensor], Tensor]
    """Logits (n, class, ...) of inputs."""
    held_out: Callable[[nn.Module], float] | None
    """Loss on what is held out, or None when nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Where the loop ended."""

    state_dict: dict[str, Tensor]
    """The weights kept."""
    step: int
    """The step they are from."""
    steps: int
    """How many were run."""


def balanced_loss(logits: Tensor, labels: Tensor, balance: float = 1.0) -> Tensor:
    """Cross-entropy in which a class of n labels weighs n ** (1 - balance): all alike at 1, by their number at 0.

    LEFT_OUT counts for nothing.
    """
    loss = nn.functional.cross_entropy(logits, labels, ignore_index=LEFT_OUT, reduction="none")
    members = [loss[labels == value] for value in torch.unique(labels[labels != LEFT_OUT])]
    weights = [len(member) ** (1 - balance) for member in members]
    parts = [weight * member.mean() for weight, member in zip(weights, members, strict=True)]
    return torch.stack(parts).sum() / sum(weights) if parts else loss.sum() * 0


def fit(net: nn.Module, config: TrainConfig, task: Task, on_step: OnStep | None = None) -> Fitted:
    """Train with Adam until the steps or the patience end; the kept weights are a running mean (config.average)."""
    _log.info("training with seed %d, %d steps, %d threads", config.seed, config.steps, torch.get_num_threads())
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps, eta_min=config.rate / 100)
    mean = copy.deepcopy(net).eval()
    best = Fitted(state_dict={}, step=0, steps=0)
    best_loss, waited, step = float("inf"), 0, 0
    for step in range(1, config.steps + 1):
        loss = _update(net.train(), optimiser, task, config.balance)
        schedule.step()
        _average(mean, net, min(config.average, 1 - 1 / step))
        if on_step is not None:
            on_step(step, config.steps, loss)
        if task.held_out is None or (step % config.check_every and step != config.steps):
            continue
        with torch.inference_mode():
            held_out_loss = task.held_out(mean)
        if held_out_loss < best_loss:
            best_loss, waited = held_out_loss, 0
            best = Fitted(state_dict=copy.deepcopy(mean.state_dict()), step=step, steps=step)
        else:
            waited += 1
        if waited >= config.patience:
            break
    if task.held_out is None:
        return Fitted(state_dict=mean.state_dict(), step=step, steps=step)
    return Fitted(state_dict=best.state_dict or mean.state_dict(), step=best.step, steps=step)


def _update(net: nn.Module, optimiser: torch.optim.Optimizer, task: Task, balance: float) -> float:
    inputs, labels = task.draw()
    loss = balanced_loss(task.run(net, inputs), labels, balance)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def _average(mean: nn.Module, net: nn.Module, decay: float) -> None:
    """Both networks have parameters alone, no buffers."""
    for kept, now in zip(mean.parameters(), net.parameters(), strict=True):
        kept.lerp_(now, 1 - decay)
