"""Every number that shapes a training."""

from dataclasses import dataclass

__all__ = ["TrainConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Hyper-parameters. The same config, data and thread count give the same weights on one kind of machine."""

    seed: int = 0
    """Of weights, draws and dropout."""
    steps: int = 200
    """Updates at most."""
    batch: int = 2
    """Crops or chips an update."""
    rate: float = 1e-3
    """Adam's rate; it falls along a half cosine to a hundredth."""
    weight_decay: float = 0.0
    """Decoupled (AdamW)."""
    average: float = 0.98
    """Decay of the running mean of the weights, which is what is kept; 0 keeps the last weights."""
    crop_cells: int = 8
    """Cells along the edge of a crop, where the image has room."""
    near_target: float = 0.5
    """Chance that a crop is laid round a target pixel."""
    on_lattice: float = 0.4
    """Chance that a crop is laid on the zone's lattice, whose cells a scan scores; else at any phase."""
    positive_share: float = 0.1
    """A cell is positive when this share of its pixels is target; with less but some it is left out."""
    balance: float = 1.0
    """1: the classes of an update weigh the same; 0: every label does; in between by powers."""
    blend: float = 0.5
    """Chance that two dates of one place are mixed."""
    gain: float = 0.1
    """Spread of the logarithm of the gain common to all bands."""
    band_gain: float = 0.05
    """The same, for each band on its own."""
    offset: float = 0.01
    """Spread of the offset of each band, reflectance."""
    check_every: int = 25
    """Steps between looks at the held-out groups."""
    patience: int = 12
    """Looks without gain before it stops; the best weights are kept. Without held-out groups all steps run."""
    threads: int = 2
    """Of torch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if min(self.steps, self.batch, self.crop_cells, self.check_every, self.patience, self.threads) < 1:
            raise ValueError("steps, batch, crop_cells, check_every, patience and threads must be 1 or more")
        if self.rate <= 0 or not 0 <= self.average < 1 or not 0 < self.positive_share <= 1:
            raise ValueError("rate must be above 0, average in [0, 1), positive_share in (0, 1]")
        if not all(0 <= share <= 1 for share in (self.balance, self.blend, self.near_target, self.on_lattice)):
            raise ValueError("balance, blend, near_target and on_lattice must be in [0, 1]")
        if min(self.gain, self.band_gain, self.offset, self.weight_decay) < 0:
            raise ValueError("gain, band_gain, offset and weight_decay must not be negative")
