"""What every way of running a network shares: the card, the network on its device, what goes in, what comes out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.card import CardError, ModelCard
from models.memory import onnx_bytes, peak_bytes
from models.staging import staged
from models.standard import Pixels, Standard

__all__ = ["Engine", "Floats", "Net", "halving"]

Floats = NDArray[np.float32]
Net = Callable[[Tensor], Tensor]
"""(n, band, y, x) standardised -> logits of two classes or more, or of one channel: the target's, for a sigmoid."""

_Part = TypeVar("_Part")


class Engine:
    """A network that is ready on its device, in its precision, with its card's scaling."""

    def __init__(
        self, card: ModelCard, net: Net, device: torch.device, *, bf16: bool = False, file: Path | None = None
    ) -> None:
        self.card = card
        self.net = net
        self.device = device
        self._file = file
        self._standard = Standard(card)
        self.dtype = torch.bfloat16 if bf16 else torch.float32

    @property
    def on_cpu(self) -> bool:
        """Whether memory and strips are the processor's."""
        return self.device.type == "cpu"

    def arriving(self, parts: Iterable[Pixels], largest: int) -> Iterator[Pixels | Tensor]:
        """Each part, (n, band, y, x) of at most `largest` values, where the network is; the next one on its way."""
        return iter(parts) if self.on_cpu else staged(parts, largest, self.device)

    def standardised(self, pixels: Pixels | Tensor) -> Tensor:
        """(n, band, y, x) on the device, channels last."""
        if isinstance(pixels, Tensor):
            return self._standard.on_gpu(pixels)
        if self.on_cpu:
            return self._standard.on_cpu(pixels)
        return self._standard.on_gpu(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device))

    def probabilities(self, logits: Tensor) -> Floats:
        """(n, class, …) float32 of logits; of one channel [1 - p, p]."""
        numbers = logits.float()
        if numbers.shape[1] == 1:
            numbers = torch.sigmoid(torch.cat([-numbers, numbers], dim=1))
        else:
            numbers = torch.softmax(numbers, dim=1)
        scores: Floats = numbers.cpu().numpy()
        return scores

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients, the net's precision; cuDNN with neither TF32 nor algorithms that vary between runs."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            bf16 = self.dtype == torch.bfloat16
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=bf16))
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
            )
            yield

    def probe(self, edge_px: int, expected: tuple[int, ...]) -> float:
        """Run the network on one empty square: bytes a pixel at the peak; CardError when its logits are not `expected`.

        Args:
            edge_px: of the square.
            expected: what follows the class axis in the shape of the logits.
        """
        image = torch.zeros((1, len(self.card.bands), edge_px, edge_px), device=self.device)
        image = image.contiguous(memory_format=torch.channels_last)
        logits: list[Tensor] = []
        try:
            with self.running():
                nbytes = peak_bytes(lambda: logits.append(self.net(image)))
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CardError(f"card {self.card.name!r}: it fails on {tuple(image.shape)}: {reason}") from error
        shape, classes = tuple(logits[0].shape), len(self.card.classes)
        channels = (classes, 1) if classes == 2 else (classes,)
        if shape not in [(1, count, *expected) for count in channels]:
            raise CardError(
                f"card {self.card.name!r}: of {tuple(image.shape)} its network makes {shape}, "
                f"expected {(1, classes, *expected)}: give the card the network's window, stride, finer and classes"
            )
        if self.card.form == "onnx" and self._file:
            # Another library's operations, that torch does not see.
            nbytes += onnx_bytes(self._file, tuple(image.shape))
        return nbytes / edge_px**2


def halving(run: Callable[[int, int], _Part], start: int, stop: int) -> list[_Part]:
    """Results of run(start, stop) in order, the range halved as often as memory asks for it."""
    try:
        return [run(start, stop)]
    except torch.OutOfMemoryError:
        if stop - start < 2:
            raise
    torch.cuda.empty_cache()
    middle = (start + stop) // 2
    return halving(run, start, middle) + halving(run, middle, stop)
