"""The arithmetic of bytes: how large a chunk or a panel may be, in integers alone."""

from dataclasses import dataclass
from math import isqrt

from tiling.grid import ALIGN_PX, GSD_M, TILE_PX

__all__ = ["Panel", "chunk_px_for", "composite_nbytes", "look_rows", "panel_blocks"]

_VALUE_NBYTES = 2


def chunk_px_for(*, memory_bytes: int, bytes_per_px: int, stride_px: int, halo_px: int, tile_px: int = TILE_PX) -> int:
    """The largest core edge (px, whole cells, at least one) for which (core + 2 halo)^2 * bytes_per_px fits in memory.

    Never more than a tile's cells take. One cell is given even where it does not fit: the caller compares.
    """
    read_px = isqrt(memory_bytes // bytes_per_px)
    cells = (read_px - 2 * halo_px) // stride_px
    return min(max(cells, 1), -(-tile_px // stride_px)) * stride_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What shapes the memory of compositing: a panel is a row of COG blocks, reduced block by block."""

    looks: int
    """Looks that may meet the panel."""
    block_px: int
    """Edge of a block, px of 10 m."""
    mask_gsd_m: int
    """Pixel size of the clear masks, m."""
    margin_px: int
    """Rim that masks need beyond the panel (the rescue's surroundings), px of 10 m."""
    threads: int
    """Blocks reduced at once."""
    bands: int
    """Bands written, each held at 10 m in the worst case."""

    def __post_init__(self) -> None:
        if min(self.looks, self.block_px, self.mask_gsd_m, self.threads, self.bands) < 1 or self.margin_px < 0:
            raise ValueError(f"a panel's numbers must be at least 1 (the margin 0), got {self}")


def look_rows(panel: Panel, *, memory_bytes: int) -> int:
    """Rows of one block (1 to block_px) reduced at once, so that the looks of all threads take half the memory.

    With many looks the strip shrinks; a row is the least.
    """
    row_nbytes = panel.threads * panel.looks * panel.block_px * _VALUE_NBYTES
    return max(1, min(panel.block_px, memory_bytes // 2 // row_nbytes))


def panel_blocks(panel: Panel, *, memory_bytes: int) -> int:
    """Block columns in a panel (1 or more), so that masks, outputs and look buffers fit in memory together.

    One column is given even where it does not fit: `composite_nbytes` tells.
    """
    rows = look_rows(panel, memory_bytes=memory_bytes)
    columns = 1
    most = -(-(TILE_PX + 2 * panel.margin_px) // panel.block_px) + 1
    while columns < most and composite_nbytes(panel, columns=columns + 1, rows=rows) <= memory_bytes:
        columns += 1
    return columns


def composite_nbytes(panel: Panel, *, columns: int, rows: int) -> int:
    """The peak of a panel of `columns` blocks whose blocks are reduced `rows` rows at a time.

    Masks: uint8 per look, with the margin, at the mask's pixel size. Outputs: uint16 per band, and the clear looks.
    Looks: uint16 per look for the rows in hand of every thread.
    """
    mask_px = -(-GSD_M * (panel.block_px + 2 * panel.margin_px) // panel.mask_gsd_m) + ALIGN_PX
    mask_width_px = -(-GSD_M * (columns * panel.block_px + 2 * panel.margin_px) // panel.mask_gsd_m) + ALIGN_PX
    masks = panel.looks * mask_px * mask_width_px
    outputs = (panel.bands + 1) * columns * panel.block_px**2 * _VALUE_NBYTES
    buffers = panel.threads * panel.looks * rows * panel.block_px * _VALUE_NBYTES
    return masks + outputs + buffers
