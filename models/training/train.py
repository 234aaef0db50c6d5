"""Arrays in, weights and measured figures out: the FCN from labelled images, and what the demo trains."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.card import ModelCard
from models.metrics import confusion, report
from models.networks import FCN, IMPACT, build
from models.networks.fcn import Fcn
from models.networks.geometry import CHIP_PX
from models.training.config import TrainConfig
from models.training.crops import Ground, draw_crop, ground_of, on_lattice
from models.training.labels import ChipSet, DetectorSample
from models.training.loop import Check, Fitted, Session, Task, fit
from models.training.losses import Loss, make_loss
from models.training.patches import Trained, seeded, train_patches
from models.training.samples import of_chips
from models.training.split import Fold

__all__ = ["train_detector", "train_judge"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Standardisation by the training set."""

    mean: Floats
    """(band,) reflectance."""
    std: Floats
    """(band,) reflectance."""

    def __call__(self, pixels: Floats) -> Tensor:
        """(n, band, y, x) standardised; what is missing becomes zero."""
        x = (pixels - self.mean[:, None, None]) / self.std[:, None, None]
        x[~np.isfinite(x)] = 0.0
        return torch.from_numpy(x).contiguous(memory_format=torch.channels_last)


def train_detector(
    samples: Sequence[DetectorSample],
    config: TrainConfig,
    *,
    targets: Collection[int],
    held_out: Collection[str] = (),
    threshold: float = 0.6,
    session: Session | None = None,
) -> Trained:
    """The paper's FCN from labelled images: crops at any phase of the lattice, turned, relit, their cells balanced.

    Args:
        samples: images of one band list.
        config: every hyper-parameter.
        targets: the class codes that are the target (mine); all others are not.
        held_out: groups that are not trained on; they choose the step, and the metrics are theirs.
        threshold: of the target's probability, for the metrics.
        session: where, who looks on, what it begins from.

    Raises:
        ValueError: no samples to train on, or none of their pixels is the target's.
    """
    session = session or Session()
    grounds = [ground_of(sample, targets) for sample in samples]
    train = [ground for ground in grounds if ground.sample.group not in held_out]
    kept = [ground for ground in grounds if ground.sample.group in held_out]
    if not any(len(ground.target_px) for ground in train):
        raise ValueError(f"{len(train)} images to train on, and no pixel in them has a class of {sorted(targets)}")
    mean, std = _figures_of([ground.sample.reflectance for ground in train])
    if session.start is not None:
        mean, std = session.start.scaling(mean, std)
    scale, device = _Scale(mean=mean.astype(np.float32), std=std.astype(np.float32)), session.device

    def draw(rng: np.random.Generator, _step: int) -> tuple[Tensor, Tensor]:
        crops = [draw_crop(train, config, rng) for _ in range(config.batch)]
        return scale(np.stack([pixels for pixels, _ in crops])), torch.from_numpy(
            np.stack([cells for _, cells in crops])
        )

    with seeded(config):
        net = build(FCN, bands=len(scale.mean), classes=2)
        if session.start is not None:
            session.start.into(net)
        net.to(device)
        loss = make_loss(config, 2)
        seen = [_on_lattice(ground, scale, config) for ground in kept]
        task = Task(
            samples=len(train), draw=draw, ready=lambda drawn: (drawn[0].to(device), drawn[1].to(device)), run=_core,
            loss=loss, held_out=(lambda mean: _check(mean, seen, loss, threshold)) if seen else None,
            device=torch.device(device),
        )  # fmt: skip
        fitted = fit(net, config, task, session)
        net.load_state_dict(fitted.state_dict)
        shown = seen or [_on_lattice(ground, scale, config) for ground in train]
        with torch.inference_mode():
            counts = _check(net, shown, loss, threshold).counts
    return _trained(fitted, scale, config, report(counts, ("not_mine", "mine"), 1), held_out if seen else ())


def train_judge(
    chips: ChipSet,
    config: TrainConfig,
    *,
    classes: Sequence[str] = ("high_impact", "low_impact", "no_ore"),
    held_out: Collection[str] = (),
    session: Session | None = None,
) -> Trained:
    """The paper's impact network from the 21 px at the centre of chips; the metrics' target is the last class."""
    bands = chips.chips.shape[1]
    draft = ModelCard(
        name="judge", task="impact", mode="window", network=IMPACT, level="l2a", mean=(0.0,) * bands,
        bands=tuple(f"band {number}" for number in range(bands)), std=(1.0,) * bands, window_px=CHIP_PX,
        stride_px=CHIP_PX, halo_px=0, classes=tuple(classes), limits="", licence="", origin="",
    )  # fmt: skip
    groups = tuple(map(str, chips.groups))
    nowhere = (np.zeros((len(groups), 4)), groups, [""] * len(groups))
    samples = of_chips(chips.chips, chips.labels, None, edge_px=CHIP_PX, where=nowhere)
    outside = np.isin(np.array(groups, dtype=object).astype(str), list(held_out))
    fold = Fold(
        name="once", train=np.flatnonzero(~outside), held_out=np.flatnonzero(outside), units=tuple(sorted(held_out))
    )  # fmt: skip
    return train_patches(draft, samples, config, fold, session)


def _figures_of(arrays: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation a band of what is there, in float64."""
    mean, std = [], []
    for band in range(len(arrays[0])):
        values = np.concatenate([array[band].ravel() for array in arrays]).astype(np.float64)
        there = values[np.isfinite(values)]
        if not there.size:
            raise ValueError(f"band {band} (from 0) of the training set holds nothing but missing pixels")
        mean.append(there.mean())
        std.append(max(there.std(), 1e-6))
    return np.array(mean), np.array(std)


def _on_lattice(ground: Ground, scale: _Scale, config: TrainConfig) -> tuple[Tensor, Tensor]:
    core, labels = on_lattice(ground, config.positive_share)
    return scale(core[None]), torch.from_numpy(labels[None])


def _core(net: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(net, Fcn)  # noqa: S101
    return net.core(x)


def _check(net: nn.Module, seen: Sequence[tuple[Tensor, Tensor]], loss: Loss, threshold: float) -> Check:
    """Over all cells of all images, which may differ in shape; a cell above the threshold is a hit."""
    device = next(net.parameters()).device
    given = [_core(net.eval(), x.to(device)).cpu() for x, _ in seen]
    logits = torch.cat([one[0].flatten(1).T for one in given])
    labels = torch.cat([labels.flatten() for _, labels in seen])
    hits = torch.softmax(logits, 1)[:, 1].numpy() > threshold
    return Check(loss=float(loss(logits, labels)), counts=confusion(labels.numpy(), hits, 2))


def _trained(
    fitted: Fitted, scale: _Scale, config: TrainConfig, figures: dict[str, Any], held_out: Collection[str]
) -> Trained:
    """`measured_on` says in words what the figures are worth."""
    shown = {"measured_on": "held-out groups" if held_out else "the training set", "held_out": sorted(held_out)}
    return Trained(
        state_dict=fitted.state_dict, mean=tuple(float(value) for value in scale.mean),
        std=tuple(float(value) for value in scale.std), history=tuple(map(dict, fitted.history)),
        metrics=figures | shown | {"seed": config.seed, "step": fitted.step, "steps": fitted.steps},
    )  # fmt: skip
