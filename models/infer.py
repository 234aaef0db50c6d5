"""Reflectance in, probabilities out: fp32, on one device, the same whichever way the ground is cut."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.card import CardError, DeviceUnavailableError, ModelCard, read_card, weights_digest
from models.networks import build
from models.networks.fcn import Fcn
from models.networks.geometry import CHIP_PX
from models.registry import find
from models.staging import staged
from models.standard import Pixels, Standard

__all__ = ["Detector", "Device", "Judge", "load", "open_model"]

Device = Literal["auto", "cpu", "cuda"]
Floats = NDArray[np.float32]

_BATCH_CHIPS = 4096
"""Chips judged at once: 250 MB of activations."""

_STRIP_ROWS = {"cpu": 5, "cuda": 85}
"""Pooled rows of the second block computed at once, from 45 and 765 rows of pixels and eight more."""


def load(name: str | Path, device: Device = "auto") -> "Detector | Judge":
    """The detector or judge of a card, by name or folder, its weights checked against the card's sha256.

    Raises:
        CardError: no such card, a broken one, or weights that are not the card's.
        DeviceUnavailableError: ``cuda`` where there is no GPU.
    """
    folder = find(name)
    card = read_card(folder)
    chosen = _device(device)
    path = folder / card.file
    digest = weights_digest(path)
    if digest != card.sha256:
        raise CardError(
            f"{path} is not what its card was made for: sha256 {digest}, expected {card.sha256}; copy it again"
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CardError(f"{path} is not a safetensors file: {error}") from error
    return open_model(card, weights, chosen)


def open_model(card: ModelCard, weights: dict[str, Tensor], device: str | torch.device = "cpu") -> "Detector | Judge":
    """A detector or judge of a card and its weights, already in memory."""
    try:
        net = build(card.network, bands=len(card.bands), classes=len(card.classes), **card.arguments)
        net.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CardError(f"card {card.name!r}: the weights do not fit its network: {reason}") from error
    if card.task == "impact":
        return Judge(card, net, torch.device(device))
    if not isinstance(net, Fcn):
        raise CardError(f"card {card.name!r}: network {card.network!r} cannot be a detector")
    return Detector(card, net, torch.device(device))


class _Model:
    """What a detector and a judge share: a card, a network on a device, standardisation, halving."""

    def __init__(self, card: ModelCard, net: nn.Module, device: torch.device) -> None:
        self.card = card
        self.device = device
        self._net = net.eval().requires_grad_(requires_grad=False).to(device)
        self._standard = Standard(card)

    def _standardise(self, pixels: Pixels) -> Tensor:
        """(n, band, y, x) on the device, channels last."""
        self._check_bands(pixels.shape[1])
        if self.device.type == "cpu":
            return self._standard.on_cpu(pixels)
        return self._standard.on_gpu(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device))

    def _check_bands(self, got: int) -> None:
        if got != len(self.card.bands):
            raise CardError(
                f"card {self.card.name!r} takes {len(self.card.bands)} bands ({' '.join(self.card.bands)}), "
                f"got {got}: give them in this order"
            )

    def _halving(self, run: Callable[[int, int], Floats], start: int, stop: int) -> list[Floats]:
        """Results of run(start, stop) in order, the batch halved as often as memory asks for it."""
        try:
            return [run(start, stop)]
        except torch.OutOfMemoryError:
            if stop - start < 2:
                raise
        torch.cuda.empty_cache()
        middle = (start + stop) // 2
        return self._halving(run, start, middle) + self._halving(run, middle, stop)


class Detector(_Model):
    """Scores cells of ground with a fully convolutional network."""

    _net: Fcn

    @property
    def bytes_per_px(self) -> int:
        """Upper bound on memory of `score_core` for stored pixels: bytes per pixel of the input, itself included.

        The input, the second block's 64 maps at 1/81 of the pixels twice, the strip in hand as a share of a core of a
        thousand rows, and a fifth on top for what the libraries keep: measured 30 bytes on the CPU at ten
        bands, bound 43. On a GPU the strip counts as if it were the whole.
        """
        bands = len(self.card.bands)
        rows = 9 * _STRIP_ROWS["cpu"] + 8 if self.device.type == "cpu" else 1000
        strip = (4 * 32 + (4 if self.device.type == "cpu" else 15) * bands) * rows / 1000
        return math.ceil(1.2 * (2 * bands + 2 * 4 * 64 / 81 + strip))

    def score(self, reflectance: Floats) -> Floats:
        """(band, y, x), NaN where missing -> (class, rows, columns).

        Cell (0, 0) is the window that starts at pixel (0, 0). Beyond the image the network sees zeros after
        standardisation, as the paper's does (SAME padding).
        """
        smallest = self.card.window_px
        if reflectance.ndim != 3 or min(reflectance.shape[1:]) < smallest:
            raise CardError(
                f"got an array of shape {reflectance.shape}, expected (band, y, x) of {smallest} px or more each way"
            )
        with torch.inference_mode(), _exact():
            scores: Floats = _softmax(self._net(self._standardise(reflectance[None])))[0]
        return scores

    def score_core(self, core: Pixels) -> Floats:
        """(band, y, x) of a core of n x m cells and the card's halo on every side -> (class, n, m).

        The core's cells exactly, independent of anything outside: chunks give what the whole gives, to rounding. Where
        memory does not suffice, its northern and its southern half are scored one after the other.
        """
        self._check_core(core.shape)
        try:
            return self._score_core(core)
        except torch.OutOfMemoryError:
            stride, edges = self.card.stride_px, 2 * self.card.halo_px
            rows = (core.shape[1] - edges) // stride
            if rows < 2:
                raise
        middle = rows // 2 * stride
        halves = core[:, : middle + edges], core[:, middle:]
        return np.concatenate([self.score_core(half) for half in halves], axis=1)

    def _score_core(self, core: Pixels) -> Floats:
        """The two first blocks in strips whose maps stay in the processor's cache; each row is computed once.

        A strip of the second block takes two rows of the first that the strip before it took too: they are kept.
        """
        rows, columns = (((edge - 2) // 3 - 2) // 3 for edge in core.shape[1:])
        step = _STRIP_ROWS[self.device.type]
        tops = range(0, rows, step)
        strips = [core[:, 9 * top + (6 if top else 0) : 9 * min(top + step, rows) + 8] for top in tops]
        second = self._maps(64, rows, columns)
        first = self._maps(32, 3 * step + 2, 3 * columns + 2)
        with torch.inference_mode(), _exact():
            for top, strip in zip(tops, self._standardised(strips), strict=True):
                known = 2 if top else 0
                first[:, :, :known] = first[:, :, 3 * step : 3 * step + known]
                fresh = self._net.first(strip)
                first[:, :, known : known + fresh.shape[2]] = fresh
                second[:, :, top : top + step] = self._net.second(first[:, :, : known + fresh.shape[2]])
            scores: Floats = _softmax(self._net.after_second(second))[0]
        return scores

    def _maps(self, channels: int, rows: int, columns: int) -> Tensor:
        return torch.empty((1, channels, rows, columns), device=self.device, memory_format=torch.channels_last)

    def _standardised(self, strips: list[Pixels]) -> Iterator[Tensor]:
        if self.device.type == "cpu":
            return (self._standardise(strip[None]) for strip in strips)
        return (self._standard.on_gpu(strip) for strip in staged(strips, self.device))

    def _check_core(self, shape: tuple[int, ...]) -> None:
        stride, halo = self.card.stride_px, self.card.halo_px
        core_px = [edge - 2 * halo for edge in shape[1:]]
        if len(shape) != 3 or any(edge < stride or edge % stride for edge in core_px):
            raise CardError(
                f"got a core of shape {shape}, expected (band, {stride} n + {2 * halo}, {stride} m + {2 * halo})"
            )
        self._check_bands(shape[0])


class Judge(_Model):
    """Says what kind of site a hit is."""

    def score(self, chips: Pixels) -> Floats:
        """(n, band, 21, 21) -> (n, class) in the card's order."""
        if chips.ndim != 4 or chips.shape[2:] != (CHIP_PX, CHIP_PX):
            raise CardError(f"got chips of shape {chips.shape}, expected (n, band, {CHIP_PX}, {CHIP_PX})")

        def run(start: int, stop: int) -> Floats:
            with torch.inference_mode(), _exact():
                return _softmax(self._net(self._standardise(chips[start:stop])))

        parts = [np.empty((0, len(self.card.classes)), np.float32)]
        for start in range(0, len(chips), _BATCH_CHIPS):
            parts += self._halving(run, start, min(start + _BATCH_CHIPS, len(chips)))
        return np.concatenate(parts)


def _softmax(logits: Tensor) -> Floats:
    scores: Floats = torch.softmax(logits.float(), dim=1).cpu().numpy()
    return scores


def _exact() -> AbstractContextManager[None]:
    """Let cuDNN use neither TF32 nor algorithms that differ from run to run; nothing on the CPU."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags


def _device(wanted: Device) -> torch.device:
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceUnavailableError(f"device {wanted!r} is not known, expected auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailableError("device cuda was asked for, but torch sees no GPU here: use --device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
