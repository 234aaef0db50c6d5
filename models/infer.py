"""Reflectance in, probabilities out: fp32, on one device, the same whichever way the ground is cut."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.card import WEIGHTS_FILE, CardError, DeviceUnavailableError, ModelCard, read_card, weights_digest
from models.networks import build
from models.networks.fcn import Fcn
from models.networks.geometry import CHIP_PX
from models.registry import find

__all__ = ["Detector", "Device", "Judge", "load", "open_model"]

Device = Literal["auto", "cpu", "cuda"]
Floats = NDArray[np.float32]

_BATCH_CHIPS = 4096
"""Chips judged at once: 250 MB of activations."""

_STRIP_ROWS = {"cpu": 16, "cuda": 256}
"""Pooled rows of the first block computed at once."""


def load(name: str | Path, device: Device = "auto") -> "Detector | Judge":
    """The detector or judge of a card, by name or folder, its weights checked against the card's sha256.

    Raises:
        CardError: no such card, a broken one, or weights that are not the card's.
        DeviceUnavailableError: ``cuda`` where there is no GPU.
    """
    folder = find(name)
    card = read_card(folder)
    chosen = _device(device)
    path = folder / WEIGHTS_FILE
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
        net = build(card.network, bands=len(card.bands), classes=len(card.classes))
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
        self._mean = torch.tensor(card.mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        self._std = torch.tensor(card.std, dtype=torch.float32, device=device).view(-1, 1, 1)

    def _standardise(self, pixels: Floats) -> Tensor:
        """(n, band, y, x) on the device, channels last; what is missing becomes the band's mean, which is zero."""
        if pixels.shape[1] != len(self.card.bands):
            raise CardError(
                f"card {self.card.name!r} takes {len(self.card.bands)} bands ({' '.join(self.card.bands)}), "
                f"got {pixels.shape[1]}: give them in this order"
            )
        # Torch warns of arrays that are read-only; one that is gets copied.
        raw = torch.from_numpy(np.require(pixels, np.float32, ("C", "W"))).to(self.device)
        x = torch.empty_like(raw, memory_format=torch.channels_last)
        torch.sub(raw, self._mean, out=x)
        x.div_(self._std)
        return x.masked_fill_(~torch.isfinite(x), 0.0)

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
        """Upper bound on memory of `score_core`: bytes per pixel of the input, itself included.

        The input, the first block's 32 maps at a ninth of the pixels, the second's 64 before and after its pool, and a
        fifth on top for what the libraries keep: measured 100 bytes on the CPU at ten bands. On a GPU also the largest
        strip, as if it were the whole.
        """
        bytes_px = 4 * len(self.card.bands) + 4 * (32 + 64) / 9 + 4 * 64 / 81
        if self.device.type == "cuda":
            bytes_px += 4 * len(self.card.bands) + 4 * 32
        return math.ceil(1.2 * bytes_px)

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

    def score_core(self, reflectance: Floats) -> Floats:
        """(band, y, x) of a core of n x m cells and the card's halo on every side -> (class, n, m).

        The core's cells exactly, independent of anything outside: chunks give what the whole gives, to rounding. Where
        memory does not suffice, its northern and its southern half are scored one after the other.
        """
        try:
            return self.score_cores([reflectance])[0]
        except torch.OutOfMemoryError:
            stride, edges = self.card.stride_px, 2 * self.card.halo_px
            rows = (reflectance.shape[1] - edges) // stride
            if rows < 2:
                raise
        middle = rows // 2 * stride
        halves = reflectance[:, : middle + edges], reflectance[:, middle:]
        return np.concatenate([self.score_core(half) for half in halves], axis=1)

    def score_cores(self, cores: Sequence[Floats]) -> list[Floats]:
        """`score_core` of each, in order. On a GPU equal shapes go together, halved when memory runs out."""
        for core in cores:
            self._check_core(core.shape)
        if self.device.type == "cpu":
            return [self._score_alike([core])[0] for core in cores]
        scores: dict[int, Floats] = {}
        for shape in sorted({core.shape for core in cores}):
            places = [place for place, core in enumerate(cores) if core.shape == shape]

            def run(start: int, stop: int, places: list[int] = places) -> Floats:
                return self._score_alike([cores[place] for place in places[start:stop]])

            scores.update(zip(places, np.concatenate(self._halving(run, 0, len(places))), strict=True))
        return [scores[place] for place in range(len(cores))]

    def _score_alike(self, cores: Sequence[Floats]) -> Floats:
        """Scores of cores of one shape, the first block in strips: its maps are 128 bytes a pixel, the rest far less.

        Strips that stay in the processor's cache are also twice as fast as the whole at once.
        """
        height, width = ((edge - 2) // 3 for edge in cores[0].shape[1:])
        step = _STRIP_ROWS[self.device.type]
        pooled = torch.empty((len(cores), 32, height, width), device=self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), _exact():
            for top in range(0, height, step):
                end = min(top + step, height)
                rows = np.stack([core[:, 3 * top : 3 * end + 2] for core in cores])
                pooled[:, :, top:end] = self._net.first(self._standardise(rows))
            return _softmax(self._net.after_first(pooled))

    def _check_core(self, shape: tuple[int, ...]) -> None:
        stride, halo = self.card.stride_px, self.card.halo_px
        core_px = [edge - 2 * halo for edge in shape[1:]]
        if len(shape) != 3 or any(edge < stride or edge % stride for edge in core_px):
            raise CardError(
                f"got a core of shape {shape}, expected (band, {stride} n + {2 * halo}, {stride} m + {2 * halo})"
            )


class Judge(_Model):
    """Says what kind of site a hit is."""

    def score(self, chips: Floats) -> Floats:
        """(n, band, 21, 21), NaN where missing -> (n, class) in the card's order."""
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
