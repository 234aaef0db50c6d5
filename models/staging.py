"""Pixels to a GPU while it computes: two pinned buffers, filled in turn, copied on a stream of their own."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from models.standard import Pixels

__all__ = ["staged"]


def staged(parts: Iterable[Pixels], largest: int, device: torch.device) -> Iterator[Tensor]:
    """Each part, (n, band, y, x) of at most `largest` values, as a tensor on the device, the next already on its way.

    What takes a tensor must enqueue its work on the current stream before it asks for the next.
    """
    coming = iter(parts)
    first = next(coming)
    stage = _Stage(largest, first.dtype, device)
    ahead = stage.send(first)
    for following in coming:
        now, ahead = ahead, stage.send(following)
        yield stage.arrived(*now)
    yield stage.arrived(*ahead)


class _Stage:
    """The buffers, the stream, and an event each that says when a buffer may be filled again."""

    def __init__(self, size: int, dtype: "np.dtype[np.float32] | np.dtype[np.uint16]", device: torch.device) -> None:
        kind = torch.uint16 if dtype == np.uint16 else torch.float32
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._buffers = [torch.empty(size, dtype=kind, pin_memory=True) for _ in range(2)]
        self._copied = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]

    def send(self, part: Pixels) -> tuple[Tensor, torch.cuda.Event]:
        """Begin to copy a part; wait first until the copy before last has left the buffer."""
        buffer, copied = self._buffers[0], self._copied[0]
        self._buffers.reverse()
        self._copied.reverse()
        copied.synchronize()
        filled = buffer[: part.size].view(part.shape)
        np.copyto(filled.numpy(), part)
        with torch.cuda.stream(self._stream):
            sent = filled.to(self._device, non_blocking=True)
            copied.record(self._stream)
        return sent, copied

    def arrived(self, sent: Tensor, copied: torch.cuda.Event) -> Tensor:
        """The tensor, for the current stream, which waits for the copy; the host does not."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)
        # Made on one stream and used on another: its memory must not be given away before the second is done.
        sent.record_stream(current)
        return sent
