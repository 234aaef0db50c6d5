"""Every number that shapes a training."""

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["TrainConfig"]

Optimizer = Literal["adamw", "adam"]
Schedule = Literal["cosine", "plateau", "constant"]

PATIENCE = {"steps": 12, "epochs": 35}
"""Looks without gain; 35 epochs as Nava and others 2022."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Hyper-parameters. The same config, data and thread count give the same weights on one kind of machine."""

    seed: int = 0
    """Of weights, draws and dropout."""
    steps: int = 200
    """Updates at most; of each the class is drawn first, then a chip of it."""
    epochs: int | None = None
    """Passes over all chips at most, shuffled, in place of `steps`."""
    batch: int = 2
    """Crops or chips an update."""
    optimizer: Optimizer = "adamw"
    """adamw decouples the weight decay, adam adds it to the gradient."""
    rate: float = 1e-3
    """The optimizer's rate at the beginning."""
    schedule: Schedule = "cosine"
    """cosine: along half a wave to a hundredth; plateau: halved after a third of the patience; constant."""
    weight_decay: float = 0.0
    """Of the optimizer."""
    average: float = 0.98
    """Decay of the running mean of the weights, which is what is kept; 0 keeps the last weights."""
    amp: bool = False
    """Forward pass in bfloat16 where torch thinks it safe; weights and loss stay single."""
    loss: str = "cross-entropy"
    """A key of `models.training.losses.LOSSES`."""
    gamma: float = 2.0
    """Of the focal loss, and of focal-tversky, where it is within 1 to 3."""
    alpha: float = 0.7
    """Of focal-tversky: what a missed pixel weighs; 0.7 and 0.3 as Abraham and Khan 2019."""
    beta: float = 0.3
    """Of focal-tversky: what a falsely found pixel weighs."""
    balance: float = 1.0
    """1: the classes of an update weigh the same; 0: every label does; in between by powers."""
    class_weights: tuple[float, ...] = ()
    """One a class, on top of `balance`; empty for none."""
    crop_cells: int = 8
    """Of rasters and the FCN: cells along the edge of a crop, where the image has room."""
    near_target: float = 0.5
    """Chance that a crop is laid round a target pixel."""
    on_lattice: float = 0.4
    """Chance that a crop is laid on the zone's lattice, whose cells a scan scores; else at any phase."""
    positive_share: float = 0.1
    """A cell is positive when this share of its pixels is target; with less but some it is left out."""
    blend: float = 0.5
    """Chance that two dates of one place are mixed."""
    turns: bool = True
    """Eight flips and turns."""
    zoom: float = 0.0
    """Chips are drawn larger or smaller, by up to this share."""
    shear: float = 0.0
    """Chips are sheared by up to this angle, degrees."""
    gain: float = 0.1
    """Spread of the logarithm of the gain common to all bands."""
    band_gain: float = 0.05
    """The same, for each band on its own."""
    offset: float = 0.01
    """Spread of the offset of each band, reflectance."""
    check_every: int | None = None
    """Steps between looks at what is held out; by default 25, or an epoch."""
    patience: int | None = None
    """Looks without gain before it stops, the best weights are kept; by default 12, or 35 epochs."""
    threads: int = 2
    """Of torch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        counts = (self.steps, self.batch, self.crop_cells, self.threads)
        optional = (self.epochs, self.check_every, self.patience)
        shares = (self.balance, self.blend, self.near_target, self.on_lattice)
        checks = (
            (min(counts) >= 1, "steps, batch, crop_cells and threads must be 1 or more"),
            (all(value is None or value >= 1 for value in optional), "epochs, check_every, patience must be 1 or more"),
            (self.rate > 0, f"rate {self.rate} must be above 0"),
            (0 <= self.average < 1, f"average {self.average} must be in [0, 1)"),
            (0 < self.positive_share <= 1, f"positive_share {self.positive_share} must be in (0, 1]"),
            (all(0 <= one <= 1 for one in shares), "balance, blend, near_target and on_lattice must be in [0, 1]"),
            (0 <= self.zoom < 1 and 0 <= self.shear < 60, "zoom must be in [0, 1), shear in [0, 60) degrees"),
            (
                min(self.gain, self.band_gain, self.offset, self.weight_decay, self.gamma) >= 0,
                "gain, band_gain, offset, weight_decay and gamma must not be negative",
            ),
            (min(self.alpha, self.beta) >= 0 < self.alpha + self.beta, "alpha, beta must be 0 or more, one above 0"),
            (all(weight > 0 for weight in self.class_weights), "class_weights must be above 0"),
            (self.optimizer in get_args(Optimizer), f"optimizer {self.optimizer!r} must be adamw or adam"),
            (
                self.schedule in get_args(Schedule),
                f"schedule {self.schedule!r} must be cosine, plateau or constant",
            ),
        )
        for good, complaint in checks:
            if not good:
                raise ValueError(complaint)

    def steps_an_epoch(self, samples: int) -> int:
        """Updates in which so many samples are seen once."""
        return -(-samples // self.batch)

    def total(self, samples: int) -> int:
        """Updates at most."""
        return self.steps if self.epochs is None else self.epochs * self.steps_an_epoch(samples)

    def interval(self, samples: int) -> int:
        """Steps between looks."""
        return self.check_every or (25 if self.epochs is None else self.steps_an_epoch(samples))

    @property
    def looks_without_gain(self) -> int:
        """After which it stops."""
        return self.patience or PATIENCE["steps" if self.epochs is None else "epochs"]
