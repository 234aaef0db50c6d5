"""What a set of weights is, what it needs and what it is good for: the card that lies beside every safetensors file."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "CARD_FILE",
    "WEIGHTS_FILE",
    "CardError",
    "DeviceUnavailableError",
    "ModelCard",
    "read_card",
    "weights_digest",
]

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"

_FILES = {"weights": WEIGHTS_FILE, "torch_export": "program.pt2", "onnx": "program.onnx"}
_ISOLATION_KEYS = {"k", "distance_m", "threshold"}
_LATTICES = {
    "window": "mode window needs halo_px = (window_px - stride_px) / 2",
    "fcn": "an fcn that gives pixels needs a halo_px of whole strides",
}


class CardError(ValueError):
    """A card is missing, broken, or not made for what it was asked to do. One line."""


class DeviceUnavailableError(ValueError):
    """The device asked for is not on this machine. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Enough to run the weights, to refuse the wrong input, and to know what not to expect."""

    name: str
    """The card's name, which is its folder's name too."""
    task: Literal["detector", "impact"]
    """detector: is there a mine in the cell; impact: what kind of site is a hit."""
    mode: Literal["fcn", "window"]
    """fcn: one pass over a chunk, exact with its halo; window: patches scored alone."""
    output: Literal["cells", "pixels"] = "cells"
    """cells: a score a stride, of the window round it (classifiers); pixels: one a pixel (segmenters)."""
    finer: int = 1
    """Output pixels along the edge of an input pixel; above 1 for segmenters that draw finer than they see."""
    network: str
    """Key of the network in `models.networks`; what made the program where `form` is one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the network is built with beside bands and classes: width, depth, …"""
    form: Literal["weights", "torch_export", "onnx"] = "weights"
    """What lies beside the card: weights of one of our networks, or somebody's whole program."""
    gives: Literal["logits", "probabilities"] = "logits"
    """What a program's numbers are; our own networks give logits."""
    level: Literal["l1c", "l2a"]
    """Processing level of the reflectance the weights were trained on."""
    bands: tuple[str, ...]
    """Band names in the order of the first array axis."""
    gsd_m: float = 10.0
    """Pixel size in metres."""
    scaling: Literal["standard", "clip", "patch"] = "standard"
    """standard: less `mean`, over `std`; clip: to [0, 1]; patch: each patch by its own least and greatest value."""
    mean: tuple[float, ...]
    """Per band, reflectance: of the training set."""
    std: tuple[float, ...]
    """Per band, reflectance: of the training set."""
    window_px: int
    """Edge of the square that one score speaks of; of the patch in mode window."""
    stride_px: int
    """Edge of a cell; for pixels, the step of the lattice that patches or poolings are laid on."""
    halo_px: int
    """Pixels a core of cells needs on every side."""
    classes: tuple[str, ...]
    """In the order of the scores; the target is last for detectors."""
    threshold: float = 0.6
    """A cell whose target probability is above this is a hit."""
    impact: str | None = None
    """Name of the partner card that judges this detector's hits."""
    isolation: Mapping[str, float] | None = None
    """k, distance_m, threshold: a hit whose k-th neighbour is farther needs the higher threshold."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Measured on data that the weights were not fitted to, unless a key says otherwise."""
    purpose: str = ""
    """What it is good for, in a short phrase."""
    limits: str
    """In plain words: where the weights were made and what they do not show."""
    licence: str
    """SPDX name or a sentence."""
    origin: str
    """Where the weights come from, and the data behind them."""
    bf16: bool = False
    """In bfloat16 no cell of its test sets crosses the threshold: whoever asks for that precision may have it."""
    sha256: str = ""
    """Of `file`."""

    def __post_init__(self) -> None:
        """Refuse a card that contradicts itself."""
        checks = (
            (self.task in ("detector", "impact"), f"task {self.task!r} is neither detector nor impact"),
            (self.mode in ("fcn", "window"), f"mode {self.mode!r} is neither fcn nor window"),
            (self.output in ("cells", "pixels"), f"output {self.output!r} is neither cells nor pixels"),
            (self.form in ("weights", "torch_export", "onnx"), f"form {self.form!r}: weights, torch_export or onnx"),
            (self.gives in ("logits", "probabilities"), f"gives {self.gives!r}: logits or probabilities"),
            (self.gives == "logits" or self.form != "weights", "our own networks give logits"),
            (self.scaling in ("standard", "clip", "patch"), f"scaling {self.scaling!r}: standard, clip or patch"),
            (self.finer == 1 or (self.finer > 1 and self.output == "pixels"), "finer is for pixels, 1 or more"),
            (self.mode == "window" or self.scaling != "patch", "scaling patch needs mode window: an fcn has no patch"),
            (self.form == "weights" or not self.arguments, "arguments build a network: a program has none"),
            (_is_lattice(self), f"{_LATTICES[self.mode]}, got {self.window_px}, {self.stride_px}, {self.halo_px}"),
            (self.level in ("l1c", "l2a"), f"level {self.level!r} is neither l1c nor l2a"),
            (len(self.bands) > 0, "it names no bands"),
            (len(set(self.bands)) == len(self.bands), f"a band is named twice: {' '.join(self.bands)}"),
            (len(self.mean) == len(self.std) == len(self.bands), "mean and std must have one number a band"),
            (all(math.isfinite(v) for v in self.mean), "a mean is not finite"),
            (all(math.isfinite(v) and v > 0 for v in self.std), "a standard deviation is not above zero"),
            (min(self.window_px, self.stride_px) > 0, "window_px and stride_px must be above zero"),
            (self.halo_px >= 0, "halo_px is negative"),
            (len(self.classes) >= 2, "it needs two classes or more"),
            (0 <= self.threshold < 1, f"threshold {self.threshold} is not in [0, 1)"),
            (
                self.isolation is None or set(self.isolation) == _ISOLATION_KEYS,
                "isolation needs k, distance_m, threshold",
            ),
        )
        for good, complaint in checks:
            if not good:
                raise CardError(f"card {self.name!r}: {complaint}")

    @property
    def file(self) -> str:
        """Name of the file beside the card that `sha256` is of."""
        return _FILES[self.form]

    @property
    def cell_px(self) -> int:
        """Edge of the lattice's cells that scores are given for: the stride, or a pixel (`finer` of them a pixel)."""
        return self.stride_px if self.output == "cells" else 1

    def accept(self, level: str, bands: Collection[str]) -> None:
        """Pass in silence when this level and these bands (any order) can feed the weights; else raise CardError.

        Args:
            level: processing level on offer, ``l1c`` or ``l2a``.
            bands: band names on offer; more than the card's are welcome.
        """
        if level != self.level:
            raise CardError(
                f"card {self.name!r} was trained on level {self.level}, got {level}: "
                f"use --level {self.level}, or a card made for {level} (minescan models list)"
            )
        missing = [band for band in self.bands if band not in bands]
        if missing:
            raise CardError(
                f"card {self.name!r} needs bands {' '.join(self.bands)}, got {' '.join(bands) or 'none'}: "
                f"{' '.join(missing)} missing; use a collection that has them, or another card (minescan models list)"
            )

    def to_json(self) -> str:
        """The card as card.json holds it: sorted keys, two spaces, a newline at the end."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, default=dict) + "\n"


def read_card(folder: Path) -> ModelCard:
    """The card in a folder, checked; CardError in one line when it cannot be read."""
    path = folder / CARD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise CardError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CardError(f"{path} holds {type(values).__name__}, expected an object of card fields")
    known = {item.name for item in fields(ModelCard)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise CardError(f"{path} has fields that no card has: {', '.join(unknown)}")
    try:
        return ModelCard(**{key: _tuples(value) for key, value in values.items()})
    except TypeError as error:
        raise CardError(f"{path} is not a whole card: {error}") from error


def _is_lattice(card: ModelCard) -> bool:
    """Window, stride and halo of a detector belong together; a chip of the impact network has no lattice."""
    if card.task == "impact":
        return True
    if card.mode == "window":
        return 2 * card.halo_px == card.window_px - card.stride_px
    return card.output == "cells" or card.halo_px % card.stride_px == 0


def weights_digest(path: Path) -> str:
    """The sha256 of a weights file, in hex; CardError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CardError(f"{path} cannot be read: {error}") from error


def _tuples(value: Any) -> Any:
    """JSON arrays as tuples, so that a card read back equals the card that was written."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
