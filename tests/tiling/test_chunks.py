import pytest

from tiling import CellRange, Lattice, TileId, chunks


@pytest.mark.parametrize(("chunk_px", "cells"), [(0, 1), (26, 1), (27, 1), (53, 1), (54, 2), (2048, 75), (99_999, 342)])
def test_chunks_are_whole_cells_and_at_least_one(chunk_px, cells):
    lattice = Lattice(zone=32633, stride_px=27)
    whole = lattice.cells_of(TileId(zone=32633, column=5, row=60))
    if cells == 1:
        whole = CellRange(column0=whole.column0, column1=whole.column0 + 4, row0=whole.row0, row1=whole.row0 + 3)
    first = chunks(lattice, whole, chunk_px=chunk_px, halo_px=94)[0]
    assert max(first.cells.shape) == min(cells, max(whole.shape))
    assert first.core.shape == tuple(27 * count for count in first.cells.shape)
    assert first.read == first.core.buffer(94)
    assert first.cells.row1 == whole.row1, "raster order: the north comes first"
