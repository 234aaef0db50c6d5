import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.run.plan import needed_windows, search_area
from tiling import CellRange, Lattice, TileId, Window

LATTICE = Lattice(zone=32633, stride_px=27)
CELLS = CellRange(column0=1000, column1=1060, row0=2000, row1=2045)
WHOLE = CELLS.window(LATTICE)
LIMIT = WHOLE.buffer(1200)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, CELLS.shape[0] - 1), st.integers(0, CELLS.shape[1] - 1)), min_size=1))
def test_windows_hold_every_judged_cell_with_its_halo_once(cells):
    mask = np.zeros(CELLS.shape, bool)
    mask[tuple(np.array(cells).T)] = True
    windows = needed_windows(WHOLE, mask, 27, 94, LIMIT)
    assert all(a.intersect(b) is None for i, a in enumerate(windows) for b in windows[:i])
    for row, column in np.argwhere(mask).tolist():
        x0, y0 = WHOLE.x0 + column * 27, WHOLE.y0 + row * 27
        cell = Window(x0=x0, y0=y0, x1=x0 + 27, y1=y0 + 27).buffer(94)
        assert any(window.contains(cell) for window in windows)
    for window in windows:
        assert all(edge % 6 == 0 for edge in (window.x0, window.y0, window.x1, window.y1))


def test_two_far_groups_are_read_apart():
    mask = np.zeros(CELLS.shape, bool)
    mask[2, 2] = mask[40, 55] = True
    assert len(needed_windows(WHOLE, mask, 27, 94, LIMIT)) == 2


def test_windows_stay_in_the_tile():
    tile = TileId(zone=32633, column=6, row=61)
    cells = LATTICE.cells_of(tile)
    mask = np.ones(cells.shape, bool)
    (window,) = needed_windows(cells.window(LATTICE), mask, 27, 94, tile.window.buffer(108))
    assert tile.window.buffer(108).contains(window)
    assert window.contains(cells.window(LATTICE).buffer(94))


def test_search_reaches_beyond_the_area_on_both_sides_of_the_antimeridian():
    area = search_area(shapely.box(179.9, -17, 180, -16.9))
    assert area.contains(shapely.Point(-179.99, -16.95))
    assert area.contains(shapely.Point(179.88, -17.01))
    assert area.bounds[0] >= -180
    assert area.bounds[2] <= 180


def test_search_around_a_point_reaches_four_kilometres():
    area = search_area(shapely.Point(16.24, 51.0))
    assert area.contains(shapely.Point(16.24 + 3.9 / 111 / np.cos(np.radians(51)), 51.0))
