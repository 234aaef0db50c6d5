"""Arrays in, weights and measured figures out: the detector from labelled images or chips, the judge from chips."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.metrics import confusion, report
from models.networks import FCN, IMPACT, build
from models.networks.fcn import Fcn
from models.networks.geometry import CHIP_PX, FIELD_PX
from models.training.augment import relight, turn
from models.training.config import TrainConfig
from models.training.crops import Ground, draw_crop, ground_of, on_lattice
from models.training.labels import ChipSet, DetectorSample, centred
from models.training.loop import Fitted, OnStep, Task, balanced_loss, fit

__all__ = ["Trained", "train_detector", "train_detector_on_chips", "train_judge"]

Floats = NDArray[np.float32]

_CHIPS_AT_ONCE = 256


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
    """accuracy, precision, recall, f1, confusion of the held-out groups (else of the training set), seed, step."""


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
    on_step: OnStep | None = None,
) -> Trained:
    """The paper's FCN from labelled images: crops at any phase of the lattice, turned, relit, their cells balanced.

    Args:
        samples: images of one band list.
        config: every hyper-parameter.
        targets: the class codes that are the target (mine); all others are not.
        held_out: groups that are not trained on; they choose the step, and the metrics are theirs.
        threshold: of the target's probability, for the metrics.
        on_step: called after every update.

    Raises:
        ValueError: no samples to train on, or none of their pixels is the target's.
    """
    grounds = [ground_of(sample, targets) for sample in samples]
    train = [ground for ground in grounds if ground.sample.group not in held_out]
    kept = [ground for ground in grounds if ground.sample.group in held_out]
    if not any(len(ground.target_px) for ground in train):
        raise ValueError(f"{len(train)} images to train on, and no pixel in them has a class of {sorted(targets)}")
    scale = _scale_of([ground.sample.reflectance for ground in train])
    rng = np.random.default_rng(config.seed)

    def draw() -> tuple[Tensor, Tensor]:
        crops = [draw_crop(train, config, rng) for _ in range(config.batch)]
        return scale(np.stack([pixels for pixels, _ in crops])), torch.from_numpy(
            np.stack([cells for _, cells in crops])
        )

    with _seeded(config):
        net = build(FCN, bands=len(scale.mean), classes=2)
        seen = [_on_lattice(ground, scale, config) for ground in kept]
        task = Task(draw=draw, run=_core, held_out=(lambda mean: _loss(mean, seen)) if seen else None)
        fitted = fit(net, config, task, on_step)
        net.load_state_dict(fitted.state_dict)
        counts = _counts(net, seen or [_on_lattice(ground, scale, config) for ground in train], threshold)
    return _trained(fitted, scale, config, report(counts, ("not_mine", "mine"), 1), held_out if seen else ())


def train_detector_on_chips(
    chips: ChipSet, config: TrainConfig, *, held_out: Collection[str] = (), on_step: OnStep | None = None
) -> Trained:
    """The paper's FCN from chips at points: label 1 is the target, the chip's centre becomes the cell's.

    Chips of another edge than the field's 215 px (the paper's 201) are cut, or filled with the mean, at their rim.
    """
    fitting = replace(chips, chips=centred(chips.chips, FIELD_PX))
    return _train_on_chips(FCN, fitting, ("not_mine", "mine"), config, held_out, on_step)


def train_judge(
    chips: ChipSet,
    config: TrainConfig,
    *,
    classes: Sequence[str] = ("high_impact", "low_impact", "no_ore"),
    held_out: Collection[str] = (),
    on_step: OnStep | None = None,
) -> Trained:
    """The paper's impact network from the 21 px at the centre of chips; the metrics' target is the last class."""
    fitting = replace(chips, chips=centred(chips.chips, CHIP_PX))
    return _train_on_chips(IMPACT, fitting, classes, config, held_out, on_step)


def _train_on_chips(
    network: str,
    chips: ChipSet,
    classes: Sequence[str],
    config: TrainConfig,
    held_out: Collection[str],
    on_step: OnStep | None,
) -> Trained:
    outside = np.isin(np.asarray(chips.groups, dtype=object).astype(str), list(held_out))
    labels = np.asarray(chips.labels, np.int64)
    members = [np.flatnonzero((labels == value) & ~outside) for value in range(len(classes))]
    empty = [name for name, found in zip(classes, members, strict=True) if not len(found)]
    if empty:
        raise ValueError(
            f"no chip to train on is of class {', '.join(empty)}: expected some of each of {', '.join(classes)}"
        )
    scale = _scale_of(list(chips.chips[~outside]))
    rng = np.random.default_rng(config.seed)

    def draw() -> tuple[Tensor, Tensor]:
        """As many of each class as chance gives: the class is drawn first."""
        picks = [int(rng.choice(members[int(rng.integers(len(classes)))])) for _ in range(config.batch)]
        pixels = [relight(turn(chips.chips[pick], int(rng.integers(8))), config, rng) for pick in picks]
        return scale(np.stack(pixels)), torch.from_numpy(labels[picks])

    seen = [(scale(chips.chips[part]), torch.from_numpy(labels[part])) for part in _parts(np.flatnonzero(outside))]
    with _seeded(config):
        net = build(network, bands=len(scale.mean), classes=len(classes))
        task = Task(draw=draw, run=_chip_logits, held_out=(lambda mean: _chip_loss(mean, seen)) if seen else None)
        fitted = fit(net, config, task, on_step)
        net.load_state_dict(fitted.state_dict)
        shown = np.flatnonzero(outside) if seen else np.arange(len(labels))
        with torch.inference_mode():
            guesses = [_chip_logits(net.eval(), scale(chips.chips[part])).argmax(1).numpy() for part in _parts(shown)]
    counts = confusion(labels[shown], np.concatenate(guesses), len(classes))
    return _trained(fitted, scale, config, report(counts, classes, len(classes) - 1), held_out if seen else ())


def _scale_of(arrays: Sequence[Floats]) -> _Scale:
    """Mean and deviation a band of what is there, in float64."""
    mean, std = [], []
    for band in range(len(arrays[0])):
        values = np.concatenate([array[band].ravel() for array in arrays]).astype(np.float64)
        there = values[np.isfinite(values)]
        if not there.size:
            raise ValueError(f"band {band} (from 0) of the training set holds nothing but missing pixels")
        mean.append(there.mean())
        std.append(max(there.std(), 1e-6))
    return _Scale(mean=np.array(mean, np.float32), std=np.array(std, np.float32))


def _on_lattice(ground: Ground, scale: _Scale, config: TrainConfig) -> tuple[Tensor, Tensor]:
    core, labels = on_lattice(ground, config.positive_share)
    return scale(core[None]), torch.from_numpy(labels[None])


def _core(net: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(net, Fcn)  # noqa: S101
    return net.core(x)


def _chip_logits(net: nn.Module, x: Tensor) -> Tensor:
    """(n, class) of either network: a chip as large as the field is one cell of the detector."""
    logits: Tensor = net.core(x)[:, :, 0, 0] if isinstance(net, Fcn) else net(x)
    return logits


def _loss(net: nn.Module, seen: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Over all cells of all images, which may differ in shape."""
    logits = torch.cat([_core(net, x)[0].flatten(1).T for x, _ in seen])
    return float(balanced_loss(logits, torch.cat([labels.flatten() for _, labels in seen])))


def _chip_loss(net: nn.Module, seen: Sequence[tuple[Tensor, Tensor]]) -> float:
    return float(balanced_loss(torch.cat([_chip_logits(net, x) for x, _ in seen]), torch.cat([y for _, y in seen])))


def _counts(net: nn.Module, seen: Sequence[tuple[Tensor, Tensor]], threshold: float) -> NDArray[np.int64]:
    """Confusion of the cells, a cell above the threshold being a hit."""
    counts = np.zeros((2, 2), np.int64)
    with torch.inference_mode():
        for x, labels in seen:
            counts += confusion(labels.numpy(), torch.softmax(_core(net.eval(), x), 1)[:, 1].numpy() > threshold, 2)
    return counts


def _parts(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [places[start : start + _CHIPS_AT_ONCE] for start in range(0, len(places), _CHIPS_AT_ONCE)]


def _trained(
    fitted: Fitted, scale: _Scale, config: TrainConfig, figures: dict[str, Any], held_out: Collection[str]
) -> Trained:
    """`measured_on` says in words what the figures are worth."""
    shown = {"measured_on": "held-out groups" if held_out else "the training set", "held_out": sorted(held_out)}
    return Trained(
        state_dict=fitted.state_dict,
        mean=tuple(float(value) for value in scale.mean),
        std=tuple(float(value) for value in scale.std),
        metrics=figures | shown | {"seed": config.seed, "step": fitted.step, "steps": fitted.steps},
    )


@contextmanager
def _seeded(config: TrainConfig) -> Iterator[None]:
    """Torch's generator and thread count for the length of a training, put back after it."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
