"""What a training makes small, by the name that recipes use."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT

__all__ = ["LOSSES", "Given", "Loss", "at_depths", "balanced", "make_loss"]

SMOOTH_PX = 1.0
"""Added above and below the line of an overlap, as the papers' programs do: of nothing in nothing it is 1."""

LEAST = 1e-7
"""Of what an overlap lacks: a root's slope has no bound at 0."""

Given = Tensor | tuple[Tensor, ...]
"""What a network gives: logits, or in training those of several depths."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, class, ...) and labels (n, ...) with LEFT_OUT -> a number."""


def make_loss(config: TrainConfig, classes: int) -> Loss:
    """The loss that a config names.

    Raises:
        ValueError: there is none of that name, it has no place for class weights or this gamma, or there are not as
            many weights as classes.
    """
    if config.loss not in LOSSES:
        raise ValueError(f"no loss {config.loss!r}, expected one of: {', '.join(LOSSES)}")
    if config.class_weights and len(config.class_weights) != classes:
        raise ValueError(f"class_weights: got {len(config.class_weights)} numbers, expected {classes}, one a class")
    return LOSSES[config.loss](config)


def _cross_entropy(config: TrainConfig) -> Loss:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = nn.functional.cross_entropy(logits, labels, ignore_index=LEFT_OUT, reduction="none")
        return balanced(each, labels, config.balance, config.class_weights)

    return loss


def _focal(config: TrainConfig) -> Loss:
    """Cross-entropy times (1 - p) ** gamma of the true class (Lin and others 2017): sure ones count for little."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = nn.functional.cross_entropy(logits, labels, ignore_index=LEFT_OUT, reduction="none")
        each = (1 - torch.exp(-each)).clamp_min(0) ** config.gamma * each
        return balanced(each, labels, config.balance, config.class_weights)

    return loss


def _dice(config: TrainConfig) -> Loss:
    """One less the overlap 2 |A and B| / (|A| + |B|) of probabilities and labels (Sudre and others 2017)."""
    _unweighted(config)
    return _lack_of_overlap


def _bce_dice(config: TrainConfig) -> Loss:
    """Half cross-entropy, half dice (Ayala and others 2021); of two classes the cross-entropy is the binary one."""
    entropy = _cross_entropy(config)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * entropy(logits, labels) + 0.5 * _lack_of_overlap(logits, labels)

    return loss


def _focal_tversky(config: TrainConfig) -> Loss:
    """(1 - index of Tversky) ** (1 / gamma), alpha of what is missed, beta of what is false (Abraham and Khan 2019).

    Raises:
        ValueError: gamma is not within 1 to 3, the range of Nava and others 2022.
    """
    _unweighted(config)
    if not 1 <= config.gamma <= 3:
        raise ValueError(f"focal-tversky: gamma {config.gamma} must be within 1 to 3")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        hit, missed, false = _areas(logits, labels)
        index = (hit + SMOOTH_PX) / (hit + config.alpha * missed + config.beta * false + SMOOTH_PX)
        return ((1 - index).clamp_min(LEAST) ** (1 / config.gamma)).mean()

    return loss


def _unweighted(config: TrainConfig) -> None:
    if config.class_weights:
        raise ValueError(f"loss {config.loss!r} weighs areas, not labels: leave class_weights out")


def _lack_of_overlap(logits: Tensor, labels: Tensor) -> Tensor:
    hit, missed, false = _areas(logits, labels)
    return (1 - (2 * hit + SMOOTH_PX) / (2 * hit + missed + false + SMOOTH_PX)).mean()


def _areas(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Found, missed and falsely found over all labels at once: of each class, of two classes of the second alone.

    LEFT_OUT counts for nothing.
    """
    known = labels != LEFT_OUT
    given = torch.softmax(logits, dim=1).movedim(1, -1)[known]
    true = nn.functional.one_hot(labels[known], logits.shape[1]).to(given.dtype)
    if logits.shape[1] == 2:
        given, true = given[:, 1:], true[:, 1:]
    return (given * true).sum(dim=0), ((1 - given) * true).sum(dim=0), (given * (1 - true)).sum(dim=0)


LOSSES: Mapping[str, Callable[[TrainConfig], Loss]] = {
    "cross-entropy": _cross_entropy,
    "focal": _focal,
    "dice": _dice,
    "bce-dice": _bce_dice,
    "focal-tversky": _focal_tversky,
}
"""By name: what makes the loss of a config."""


def at_depths(loss: Loss, given: Given, labels: Tensor) -> Tensor:
    """A loss of what a network gave; of logits of several depths the mean over them, all against every label.

    Coarse logits are repeated over the pixels they cover: of labels made coarse, a mine of few pixels would be lost.
    """
    if isinstance(given, Tensor):
        return loss(given.float(), labels)
    size = labels.shape[-2:]
    return torch.stack([loss(nn.functional.interpolate(one.float(), size), labels) for one in given]).mean()


def balanced(each: Tensor, labels: Tensor, balance: float, class_weights: Sequence[float] = ()) -> Tensor:
    """Mean of losses in which a class of n labels weighs n ** (1 - balance): all alike at 1, by their number at 0.

    LEFT_OUT counts for nothing.
    """
    values = torch.unique(labels[labels != LEFT_OUT])
    members = [each[labels == value] for value in values]
    weights = [len(member) ** (1 - balance) for member in members]
    if class_weights:
        weights = [
            weight * class_weights[value] for weight, value in zip(weights, map(int, values.tolist()), strict=True)
        ]
    parts = [weight * member.mean() for weight, member in zip(weights, members, strict=True)]
    return torch.stack(parts).sum() / sum(weights) if parts else each.sum() * 0
