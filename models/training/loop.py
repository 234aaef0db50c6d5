"""The loop that all trainings share: draw ahead, step, look at what is held out, keep the best, be resumed."""

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.ahead import ahead
from models.training.checkpoint import Keeper, State
from models.training.config import TrainConfig
from models.training.losses import Given, Loss, at_depths
from models.training.transfer import Start

__all__ = ["Check", "Fitted", "OnStep", "Session", "Task", "fit"]

_log = logging.getLogger(__name__)

FUSED_FROM = 1_000_000
"""Parameters."""

OnStep = Callable[[int, int, float], None]
"""on_step(step, total, loss)."""

Draw = Callable[[np.random.Generator, int], tuple[Tensor, Tensor]]
"""draw(rng, step) -> inputs and labels of a step; called in a thread, before they are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A look at what is held out."""

    loss: float
    """Over all of it."""
    counts: NDArray[np.int64]
    """(class, class) confusion, rows the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt, as the loop sees it."""

    samples: int
    """How many there are to train on: what an epoch is."""
    draw: Draw
    """Inputs and labels; labels are LEFT_OUT where nothing is asked."""
    ready: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]
    """What was drawn, on the device; called when it is its turn."""
    run: Callable[[nn.Module, Tensor], Given]
    """Logits (n, class, ...) of inputs; of a network that trains perhaps several."""
    loss: Loss
    """Of logits and labels."""
    held_out: Callable[[nn.Module], Check] | None
    """A look at what is held out, or None when nothing is."""
    device: torch.device
    """Where the network is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How a training is run: nothing here changes what is learnt but the weights it begins with."""

    on_step: OnStep | None = None
    """Called after every update."""
    keeper: Keeper | None = None
    """Keeps the state, so that a killed training goes on."""
    device: str = "cpu"
    """cpu or cuda."""
    start: Start | None = None
    """A card to begin from."""
    stop_after: int | None = None
    """Steps, where the schedule is that of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Where the loop ended."""

    state_dict: dict[str, Tensor]
    """The weights kept, on the CPU."""
    step: int
    """The step they are from."""
    steps: int
    """How many were run."""
    history: tuple[Mapping[str, Any], ...]
    """A row a look: step, loss, rate; held-out loss, accuracy and F1 where something is held out."""


def fit(net: nn.Module, config: TrainConfig, task: Task, session: Session) -> Fitted:
    """Train until the steps or the patience end; the kept weights are a running mean (config.average).

    Args:
        net: on the task's device.
        config: every hyper-parameter.
        task: what is learnt.
        session: who looks on. A state that was kept is gone on from, to the same weights to the last bit on the CPU.
    """
    run = _Run(net, config, task)
    if session.keeper is not None and (state := session.keeper.found()) is not None:
        run.restore(state)
    total = config.total(task.samples)
    last = min(total, session.stop_after or total)
    _log.info("training with seed %d, %d steps, %d threads", config.seed, last, torch.get_num_threads())
    for drawn, after in ahead(task.draw, run.rng, range(run.step + 1, last + 1)):
        if run.is_done:
            break
        loss = run.update(*task.ready(drawn))
        if session.on_step is not None:
            session.on_step(run.step, last, loss)
        if run.step % run.interval == 0 or run.step == last:
            run.look()
        if session.keeper is not None and session.keeper.is_due:
            session.keeper.keep(run.state(after))
    return run.fitted()


class _Run:
    """The state of one training."""

    def __init__(self, net: nn.Module, config: TrainConfig, task: Task) -> None:
        self.net, self.config, self.task = net, config, task
        self.rng = np.random.default_rng(config.seed)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        # One pass over large weights; it rounds otherwise, and the shipped weights rest on the plain one.
        fused = sum(one.numel() for one in net.parameters()) > FUSED_FROM
        self.optimizer = kind(net.parameters(), lr=config.rate, weight_decay=config.weight_decay, fused=fused)
        self.schedule = _schedule(self.optimizer, config, config.total(task.samples))
        self.mean = copy.deepcopy(net).eval()
        self.best: dict[str, Tensor] = {}
        self.interval = config.interval(task.samples)
        self.step = self.best_step = self.waited = 0
        self.best_loss = float("inf")
        self.losses: list[float] = []
        self.history: list[dict[str, Any]] = []

    @property
    def is_done(self) -> bool:
        """Whether the patience has ended."""
        return self.waited >= self.config.looks_without_gain

    def update(self, inputs: Tensor, labels: Tensor) -> float:
        """One step."""
        self.net.train()
        with torch.autocast(self.task.device.type, dtype=torch.bfloat16, enabled=self.config.amp):
            given = self.task.run(self.net, inputs)
        loss = at_depths(self.task.loss, given, labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if not isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step()
        self.step += 1
        _average(self.mean, self.net, min(self.config.average, 1 - 1 / self.step))
        value = float(loss.detach())
        self.losses.append(value)
        return value

    def look(self) -> None:
        """A row of history; the best weights so far are kept."""
        row: dict[str, Any] = {
            "step": self.step, "loss": float(np.mean(self.losses)), "rate": self.optimizer.param_groups[0]["lr"],
        }  # fmt: skip
        self.losses.clear()
        self.history.append(row)
        if self.task.held_out is None:
            return
        with torch.inference_mode():
            check = self.task.held_out(self.mean)
        row |= {"held_out_loss": check.loss, "confusion": check.counts.tolist()}
        if isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(check.loss)
        if check.loss < self.best_loss:
            self.best_loss, self.waited, self.best_step = check.loss, 0, self.step
            self.best = copy.deepcopy(self.mean.state_dict())
        else:
            self.waited += 1

    def state(self, rng: Mapping[str, Any]) -> State:
        """Everything the next step depends on; `rng` is the draws' generator after the last batch that was used."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"mean.{name}": value for name, value in self.mean.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moment.{index}.{name}": value for name, value in moments.items()}
        tensors["torch_rng"] = torch.get_rng_state()
        if self.task.device.type == "cuda":
            tensors["cuda_rng"] = torch.cuda.get_rng_state(self.task.device)
        numbers = {name: getattr(self, name) for name in _COUNTERS} | {
            "rng": rng, "schedule": self.schedule.state_dict(),
            "rate": self.optimizer.param_groups[0]["lr"],
        }  # fmt: skip
        return State(tensors=tensors, numbers=numbers)

    def restore(self, state: State) -> None:
        """Go on from there."""
        parts: dict[str, dict[str, Tensor]] = {"net": {}, "mean": {}, "best": {}, "moment": {}}
        for name, tensor in state.tensors.items():
            kind, _, rest = name.partition(".")
            if rest:
                parts[kind][rest] = tensor
        self.net.load_state_dict(parts["net"])
        self.mean.load_state_dict(parts["mean"])
        self.best = {name: tensor.to(self.task.device) for name, tensor in parts["best"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        parameters = list(self.net.parameters())
        for name, tensor in parts["moment"].items():
            index, _, which = name.partition(".")
            # In the parameter's own order of bytes: else another kernel would round otherwise.
            like = parameters[int(index)]
            laid = torch.empty_like(like.data).copy_(tensor) if tensor.shape == like.shape else tensor
            moments.setdefault(int(index), {})[which] = laid
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.optimizer.param_groups[0]["lr"] = state.numbers["rate"]
        self.schedule.load_state_dict(dict(state.numbers["schedule"]))
        for name in _COUNTERS:
            setattr(self, name, state.numbers[name])
        self.rng.bit_generator.state = state.numbers["rng"]
        torch.set_rng_state(state.tensors["torch_rng"])
        if self.task.device.type == "cuda":
            torch.cuda.set_rng_state(state.tensors["cuda_rng"], self.task.device)

    def fitted(self) -> Fitted:
        """The best weights; the mean's where nothing was held out."""
        held_out = self.task.held_out is not None
        kept = (self.best or self.mean.state_dict()) if held_out else self.mean.state_dict()
        return Fitted(
            state_dict={name: tensor.detach().cpu().clone() for name, tensor in kept.items()},
            step=self.best_step if held_out else self.step, steps=self.step, history=tuple(self.history),
        )  # fmt: skip


_COUNTERS = ("step", "best_step", "waited", "best_loss", "losses", "history")


def _schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> Any:
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=config.rate / 100)
    if config.schedule == "plateau":
        wait = max(1, config.looks_without_gain // 3)
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=wait)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


@torch.no_grad()
def _average(mean: nn.Module, net: nn.Module, decay: float) -> None:
    """Parameters are averaged; what batch normalisation counts is an average already, and copied."""
    for kept, now in zip(mean.parameters(), net.parameters(), strict=True):
        kept.lerp_(now, 1 - decay)
    for counted, latest in zip(mean.buffers(), net.buffers(), strict=True):
        counted.copy_(latest)
