"""What a training makes small, by the name that recipes use."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT

__all__ = ["LOSSES", "Loss", "balanced", "make_loss"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, class, ...) and labels (n, ...) with LEFT_OUT -> a number."""


def make_loss(config: TrainConfig, classes: int) -> Loss:
    """The loss that a config names.

    Raises:
        ValueError: there is none of that name, or there are not as many class weights as classes.
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


LOSSES: Mapping[str, Callable[[TrainConfig], Loss]] = {"cross-entropy": _cross_entropy, "focal": _focal}
"""By name: what makes the loss of a config."""


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
