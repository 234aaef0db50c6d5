"""Chunks: a tile's cells cut into pieces that fit memory, each with the halo its detector needs."""

from dataclasses import dataclass

from tiling.lattice import CellRange, Lattice
from tiling.window import Window

__all__ = ["Chunk", "chunks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A block of whole cells and the pixels that scoring it takes."""

    cells: CellRange
    """The cells it answers for."""
    core: Window
    """Their pixels."""
    read: Window
    """Core and halo."""


def chunks(lattice: Lattice, cells: CellRange, *, chunk_px: int, halo_px: int) -> tuple[Chunk, ...]:
    """Cut `cells` into chunks, in raster order, whose cells partition it.

    Each is at most `chunk_px` wide, in whole cells, at least one. Pass the whole range of a tile
    (`lattice.cells_of`), never what the AOI left of it: then the cut depends on the tile alone.
    """
    step = max(1, chunk_px // lattice.stride_px)
    pieces = (
        CellRange(column0=column, column1=min(column + step, cells.column1), row0=max(row - step, cells.row0), row1=row)
        for row in range(cells.row1, cells.row0, -step)
        for column in range(cells.column0, cells.column1, step)
    )
    return tuple(_chunk(lattice, piece, halo_px) for piece in pieces)


def _chunk(lattice: Lattice, cells: CellRange, halo_px: int) -> Chunk:
    core = cells.window(lattice)
    return Chunk(cells=cells, core=core, read=core.buffer(halo_px))
