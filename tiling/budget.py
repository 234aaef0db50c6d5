"""The arithmetic of bytes: how large a chunk may be, and how a composite's memory is parted, in integers alone."""

from dataclasses import dataclass
from math import isqrt

from tiling.grid import TILE_PX

__all__ = ["Shares", "chunk_px_for", "stack_rows"]

_SLOT_NBYTES = 3
"""Of a pixel of a look in the stack: its value, and its mask where that is as fine."""
_MB = 1024 * 1024

MASK_NBYTES = 96 * _MB
"""Packed masks held in memory; the rest lies in a file."""

AHEAD_NBYTES = 64 * _MB
"""Packed blocks of remote files that are asked for ahead: 50 ms of a second's 300 MB, four times over."""

HELD_NBYTES = 96 * _MB
"""Reduced pixels that wait for the rest of their shard: of two bands, a row of shards and those beside a block."""

WARP_NBYTES = 48 * _MB
"""The kept warps of neighbours in other zones."""

STACK_NBYTES = 72 * _MB
"""What a thread's stack and its masks take at most: 24 looks of a block of 1024 px; of more, fewer rows at once."""

STREAMS_NBYTES = 64 * _MB
"""What the inflaters of blocks in hand take at most in a thread: 512 looks."""

WORK_NBYTES = 32 * _MB
"""What a thread holds besides: a block of one look packed, inflated and masked, counts, medians, a shard encoded."""


def chunk_px_for(*, memory_bytes: int, bytes_per_px: int, stride_px: int, halo_px: int, tile_px: int = TILE_PX) -> int:
    """The largest core edge (px, whole cells, at least one) for which (core + 2 halo)^2 * bytes_per_px fits in memory.

    Never more than a tile's cells take. One cell is given even where it does not fit: the caller compares.
    """
    read_px = isqrt(memory_bytes // bytes_per_px)
    cells = (read_px - 2 * halo_px) // stride_px
    return min(max(cells, 1), -(-tile_px // stride_px)) * stride_px


def stack_rows(*, slots: int, width_px: int, height_px: int, nbytes: int) -> int:
    """Rows of a block (1 to height_px) whose stack of looks fits in `nbytes`; strips are of about equal height.

    One row is given even where it does not fit.
    """
    most = max(nbytes // (slots * width_px * _SLOT_NBYTES), 1)
    strips = -(-height_px // most)
    return -(-height_px // strips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a composite's memory is parted. No share grows with looks, bands or ground."""

    threads: int
    """Blocks reduced at once."""
    mask_nbytes: int
    """Packed masks."""
    ahead_nbytes: int
    """Packed blocks on their way."""
    held_nbytes: int
    """Reduced pixels that wait to be written."""
    warp_nbytes: int
    """Kept warps."""
    stack_nbytes: int
    """Looks in hand, per thread."""
    streams_nbytes: int
    """Inflaters in hand, per thread."""
    work_nbytes: int
    """All else, per thread."""

    @classmethod
    def of(cls, *, memory_bytes: int, threads: int) -> "Shares":
        """What memory allows. Below 64 MB a thread the shares are more than it: threads need what they need."""
        free = max(memory_bytes - threads * WORK_NBYTES, memory_bytes // 2)
        mask, held = min(MASK_NBYTES, free // 8), min(HELD_NBYTES, free // 8)
        ahead, warp = min(AHEAD_NBYTES, free // 8), min(WARP_NBYTES, free // 12)
        rest = (free - mask - held - ahead - warp) // threads
        # Of a small stack more strips are taken; without an inflater's state each strip inflates its block again.
        streams = min(STREAMS_NBYTES, rest // 2)
        return cls(
            threads=threads, mask_nbytes=mask, ahead_nbytes=ahead, held_nbytes=held, warp_nbytes=warp,
            stack_nbytes=min(STACK_NBYTES, rest - streams), streams_nbytes=streams, work_nbytes=WORK_NBYTES,
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """The peak, all shares together."""
        each = self.stack_nbytes + self.streams_nbytes + self.work_nbytes
        return self.mask_nbytes + self.ahead_nbytes + self.held_nbytes + self.warp_nbytes + self.threads * each
