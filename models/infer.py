"""Reflectance in, probabilities out: on one device, the same whichever way the ground is cut."""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.card import CardError, DeviceUnavailableError, ModelCard, read_card
from models.engine import Engine, Floats, Net, halving
from models.folding import folded
from models.networks import build
from models.networks.fcn import Fcn
from models.networks.geometry import CHIP_PX
from models.registry import checked_file, find
from models.standard import Pixels
from models.strips import Strips
from models.whole import Whole
from models.windows import Windows

__all__ = ["Detector", "Device", "Judge", "Precision", "load", "open_model"]

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "auto"]

_BATCH_CHIPS = 4096
"""Chips judged at once: 250 MB of activations."""


def load(name: str | Path, device: Device = "auto", precision: Precision = "fp32") -> "Detector | Judge":
    """The detector or judge of a card, by name or folder, its weights checked against the card's sha256.

    Args:
        name: of the card, or its folder.
        device: auto is the GPU where there is one.
        precision: auto is bf16 where the card permits it and the device computes in it.

    Raises:
        CardError: no such card, a broken one, weights that are not the card's, bf16 that it does not permit.
        DeviceUnavailableError: ``cuda`` where there is no GPU.
    """
    folder = find(name)
    card = read_card(folder)
    chosen = _device(device)
    bf16 = _bf16(card, chosen, precision)
    path = checked_file(folder, card)
    if card.form != "weights":
        from models.programs import open_program  # noqa: PLC0415

        return _model(Engine(card, open_program(folder, card, chosen), chosen, file=path))
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CardError(f"{path} is not a safetensors file: {error}") from error
    return open_model(card, weights, chosen, bf16=bf16)


def open_model(
    card: ModelCard, weights: dict[str, Tensor], device: str | torch.device = "cpu", *, bf16: bool = False
) -> "Detector | Judge":
    """A detector or judge of a card and its weights, already in memory."""
    try:
        net = build(card.network, bands=len(card.bands), classes=len(card.classes), **card.arguments)
        net.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CardError(f"card {card.name!r}: the weights do not fit its network: {reason}") from error
    net = folded(net.eval()).requires_grad_(requires_grad=False).to(device)
    return _model(Engine(card, net, torch.device(device), bf16=bf16))


def _model(engine: Engine) -> "Detector | Judge":
    return Judge(engine) if engine.card.task == "impact" else Detector(engine, _way(engine))


def _way(engine: Engine) -> "Way":
    """How the card's network is run over a core."""
    if engine.card.mode == "window":
        return Windows(engine)
    if isinstance(engine.net, Fcn):
        return Strips(engine, engine.net)
    _check_reach(engine.card, engine.net)
    return Whole(engine)


def _check_reach(card: ModelCard, net: Net) -> None:
    """A network that knows what its scores can see must have that much halo, and poolings that fit the lattice."""
    stride, halo = getattr(net, "stride_px", 1), getattr(net, "halo_px", 0)
    if card.halo_px < halo or card.stride_px % stride:
        raise CardError(
            f"card {card.name!r}: stride {card.stride_px} and halo {card.halo_px} px, but its network sees {halo} px "
            f"and pools by {stride}: expected a halo of {halo} or more, a stride of {stride} or a multiple"
        )


class Way(Protocol):
    """One way of running a network; cores and images come to it checked."""

    @property
    def bytes_per_px(self) -> int:
        """Upper bound on memory of `score_core`."""

    def score(self, reflectance: Floats) -> Floats:
        """(band, y, x) of an image -> (class, rows, columns)."""

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) of a core and its halo -> (class, rows, columns)."""


class Detector:
    """Scores cells, or pixels, of ground: any detector card."""

    def __init__(self, engine: Engine, way: Way) -> None:
        self.card = engine.card
        self.device = engine.device
        self._way = way

    @property
    def bytes_per_px(self) -> int:
        """Upper bound on memory of `score_core` for stored pixels: bytes per pixel of the input, itself included.

        Of cores of a million pixels and more: what is in hand at once does not shrink with the core.
        """
        return self._way.bytes_per_px

    def score(self, reflectance: Floats) -> Floats:
        """(band, y, x), NaN where missing -> (class, rows, columns).

        Cell (0, 0) is that of the window that starts at pixel (0, 0). Windows give the cells of every patch inside the
        image, in pixels or whole, and an fcn that gives pixels those of the image, in whole strides.
        """
        card = self.card
        smallest = card.stride_px if card.mode == "fcn" and card.output == "pixels" else card.window_px
        if reflectance.ndim != 3 or min(reflectance.shape[1:]) < smallest:
            raise CardError(
                f"got an array of shape {reflectance.shape}, expected (band, y, x) of {smallest} px or more each way"
            )
        _check_bands(card, reflectance.shape[0])
        return self._way.score(reflectance)

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) of a core of n x m strides and the card's halo on every side -> probabilities.

        Of cells (class, n, m); of pixels (class, n stride finer, m stride finer). The core's alone, independent of
        anything outside: chunks give what the whole gives, to rounding. Where memory does not suffice, what is done at
        once is halved.
        """
        stride, halo = self.card.stride_px, self.card.halo_px
        core_px = [edge - 2 * halo for edge in core.shape[1:]]
        if core.ndim != 3 or any(edge < stride or edge % stride for edge in core_px):
            raise CardError(
                f"got a core of shape {core.shape}, expected (band, {stride} n + {2 * halo}, {stride} m + {2 * halo})"
            )
        _check_bands(self.card, core.shape[0])
        return self._way.score_core(core)


class Judge:
    """Says what kind of site a hit is."""

    def __init__(self, engine: Engine) -> None:
        self.card = engine.card
        self.device = engine.device
        self._engine = engine

    def score(self, chips: Pixels) -> Floats:
        """(n, band, 21, 21) -> (n, class) in the card's order."""
        if chips.ndim != 4 or chips.shape[2:] != (CHIP_PX, CHIP_PX):
            raise CardError(f"got chips of shape {chips.shape}, expected (n, band, {CHIP_PX}, {CHIP_PX})")
        _check_bands(self.card, chips.shape[1])

        def run(start: int, stop: int) -> Floats:
            engine = self._engine
            with engine.running():
                return engine.probabilities(engine.net(engine.standardised(chips[start:stop])))

        parts = [np.empty((0, len(self.card.classes)), np.float32)]
        for start in range(0, len(chips), _BATCH_CHIPS):
            parts += halving(run, start, min(start + _BATCH_CHIPS, len(chips)))
        return np.concatenate(parts)


def _check_bands(card: ModelCard, got: int) -> None:
    if got != len(card.bands):
        raise CardError(
            f"card {card.name!r} takes {len(card.bands)} bands ({' '.join(card.bands)}), "
            f"got {got}: give them in this order"
        )


def _device(wanted: Device) -> torch.device:
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceUnavailableError(f"device {wanted!r} is not known, expected auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailableError("device cuda was asked for, but torch sees no GPU here: use --device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _bf16(card: ModelCard, device: torch.device, precision: Precision) -> bool:
    """Whether to compute in bfloat16."""
    if precision not in ("fp32", "bf16", "auto"):
        raise CardError(f"precision {precision!r} is not known, expected fp32, bf16 or auto")
    if precision == "bf16" and not card.bf16:
        raise CardError(
            f"card {card.name!r} does not say that bfloat16 moves no cell across its threshold: use precision fp32"
        )
    return precision == "bf16" or (precision == "auto" and card.bf16 and _computes_in_bf16(device))


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has arithmetic for it, and does not only take it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001  torch has no public way to ask
