"""Windows, ids, tiles and chunks: what holds for all integers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling import CellId, CellRange, Lattice, Tile, TileId, Window, chunks, margin_for

RUN = settings(derandomize=True, deadline=None, max_examples=200)
SMALL = st.integers(-40, 40)
STRIDES, HALOS = st.integers(1, 300), st.integers(0, 400)
ZONES = st.builds(lambda code, number: code + number, st.sampled_from((32600, 32700)), st.integers(1, 60))
TILES = st.builds(TileId, zone=ZONES, column=st.integers(0, 10), row=st.integers(0, 109))


@st.composite
def windows(draw):
    x0, y0 = draw(SMALL), draw(SMALL)
    return Window(x0=x0, y0=y0, x1=x0 + draw(st.integers(1, 30)), y1=y0 + draw(st.integers(1, 30)))


def _pixels(window):
    return {(x, y) for x in range(window.x0, window.x1) for y in range(window.y0, window.y1)}


@RUN
@given(windows(), windows())
def test_windows_are_sets_of_pixels(one, other):
    both = one.intersect(other)
    assert (_pixels(both) if both else set()) == _pixels(one) & _pixels(other)
    assert one.contains(other) == (_pixels(other) <= _pixels(one))
    assert one.union_bounds(other).contains(one)
    assert one.union_bounds(other).contains(other)


@RUN
@given(windows(), windows())
def test_subtract_partitions(one, other):
    left = [_pixels(piece) for piece in one.subtract(other)]
    assert sum(map(len, left)) == len(set().union(*left))
    assert set().union(*left) == _pixels(one) - _pixels(other)


@RUN
@given(windows(), st.integers(1, 7))
def test_coarser_and_finer(window, factor):
    assert window.times(factor).at(factor) == window
    coarse = window.at(factor)
    assert coarse.times(factor).contains(window)
    assert {(x // factor, y // factor) for x, y in _pixels(window)} == _pixels(coarse)


@RUN
@given(windows(), st.integers(0, 9))
def test_slices_pick_the_window(window, px):
    outer = window.buffer(px)
    y, x = np.mgrid[outer.y0 : outer.y1, outer.x0 : outer.x1]
    rows, columns = window.slices_in(outer)
    assert set(zip(x[rows, columns].flat, y[rows, columns].flat, strict=True)) == _pixels(window)
    assert outer.buffer(-px) == window


@RUN
@given(TILES, STRIDES, st.integers(-99, 10**7), st.integers(-99, 10**7))
def test_ids_round_trip(tile, stride_px, column, row):
    assert TileId.parse(str(tile)) == tile
    cell = CellId(zone=tile.zone, stride_px=stride_px, column=column, row=row)
    assert CellId.parse(str(cell)) == cell
    far = TileId(zone=tile.zone, column=column, row=row)
    assert TileId.parse(str(far)) == far


@RUN
@given(TILES, STRIDES, HALOS)
def test_tiles_partition_the_lattice(tile, stride_px, halo_px):
    lattice = Lattice(zone=tile.zone, stride_px=stride_px)
    cells = lattice.cells_of(tile)
    east = lattice.cells_of(TileId(zone=tile.zone, column=tile.column + 1, row=tile.row))
    north = lattice.cells_of(TileId(zone=tile.zone, column=tile.column, row=tile.row + 1))
    assert (east.column0, east.row0, east.row1) == (cells.column1, cells.row0, cells.row1)
    assert (north.row0, north.column0, north.column1) == (cells.row1, cells.column0, cells.column1)
    for row in (0, cells.shape[0] - 1):
        for column in (0, cells.shape[1] - 1):
            assert lattice.tile_of(lattice.cell_in(cells, row, column)) == tile
    # What a tile reads is enough for all its cells, and no less would be.
    margin_px = margin_for(stride_px, halo_px)
    assert Tile(id=tile, margin_px=margin_px).read.contains(cells.window(lattice).buffer(halo_px))
    assert margin_px - 6 < halo_px + (stride_px + 1) // 2


@RUN
@given(TILES, STRIDES, HALOS, st.integers(0, 12_000))
def test_cores_partition_a_tiles_cells(tile, stride_px, halo_px, chunk_px):
    lattice = Lattice(zone=tile.zone, stride_px=stride_px)
    cells = lattice.cells_of(tile)
    least_px = max(cells.shape) // 20 * stride_px
    pieces = chunks(lattice, cells, chunk_px=max(chunk_px, least_px), halo_px=halo_px)
    hits = np.zeros(cells.shape, dtype=np.uint8)
    for piece in pieces:
        hits[piece.cells.slices_in(cells)] += 1
        assert piece.core == piece.cells.window(lattice)
        assert piece.read == piece.core.buffer(halo_px)
        assert max(piece.cells.shape) <= max(1, max(chunk_px, least_px) // stride_px)
    assert (hits == 1).all()


@RUN
@given(TILES, STRIDES, st.data())
def test_arrays_over_cells_are_rasters(tile, stride_px, data):
    lattice = Lattice(zone=tile.zone, stride_px=stride_px)
    outer = lattice.cells_of(tile)
    rows, columns = outer.shape
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    cell = lattice.cell_in(outer, row, column)
    e, n = lattice.centres_m(outer)
    assert lattice.cell_at(e[column], n[row]) == cell
    alone = CellRange(column0=cell.column, column1=cell.column + 1, row0=cell.row, row1=cell.row + 1)
    assert alone.slices_in(outer) == (slice(row, row + 1), slice(column, column + 1))
    assert lattice.window(cell) == alone.window(lattice)
