"""Cells that are parts of a pixel, and ranges that cover a window."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tiling import CellId, CellRange, Ground, Lattice, TileId, Window, cell_areas, judged, lonlat, project_aoi, utm

ZONES = st.sampled_from([32633, 32601, 32733, 32760])
SIZES = st.one_of(st.tuples(st.integers(1, 300), st.just(1)), st.tuples(st.just(1), st.integers(2, 8)))


@st.composite
def lattices(draw):
    stride_px, finer = draw(SIZES)
    return Lattice(zone=draw(ZONES), stride_px=stride_px, finer=finer)


@given(lattices(), st.integers(-1000, 4_000_000), st.integers(0, 4_000_000))
def test_ids_of_any_size_are_named_and_found_again(lattice, column, row):
    cell = CellId(zone=lattice.zone, stride_px=lattice.stride_px, finer=lattice.finer, column=column, row=row)
    assert CellId.parse(str(cell)) == cell
    assert lattice.cell_at(lattice.metres(column + 0.5), lattice.metres(row + 0.5)) == cell
    assert lattice.box(cell).area == pytest.approx(lattice.edge_m**2, rel=1e-6)
    frame = lattice.window(cell)
    assert frame.shape == (lattice.stride_px, lattice.stride_px)
    if lattice.finer == 1:
        assert lattice.covering(frame).shape == (1, 1)
    assert shapely.box(*_bounds(lattice, frame)).buffer(1e-6).contains(lattice.box(cell))


def _bounds(lattice, window):
    return (
        window.x0 * 10, (lattice.anchor_y - window.y1) * 10, window.x1 * 10, (lattice.anchor_y - window.y0) * 10,
    )  # fmt: skip


@given(lattices(), st.integers(0, 90_000), st.integers(0, 90_000), st.integers(1, 700), st.integers(1, 700))
def test_the_cells_that_cover_a_window_hold_it_and_no_more(lattice, x0, y0, width, height):
    window = Window(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height)
    cells = lattice.covering(window)
    assert cells.window(lattice).contains(window)
    if lattice.finer > 1:
        assert cells.window(lattice) == window
        assert cells.shape == (height * lattice.finer, width * lattice.finer)
    for inner in (
        CellRange(column0=cells.column0 + 1, column1=cells.column1 + 1, row0=cells.row0, row1=cells.row1),
        CellRange(column0=cells.column0, column1=cells.column1, row0=cells.row0 - 1, row1=cells.row1 - 1),
    ):
        part = inner.window(lattice)
        assert not part.contains(window) or lattice.finer > 1


@pytest.mark.parametrize("finer", [1, 2, 3, 4])
def test_tiles_part_the_pixels_between_them(finer):
    lattice = Lattice(zone=32633, stride_px=1, finer=finer)
    tile, east = (TileId(zone=32633, column=column, row=60) for column in (5, 6))
    cells = lattice.cells_of(tile)
    assert cells.shape == (9216 * finer, 9216 * finer)
    assert cells.window(lattice) == tile.window
    assert cells == lattice.covering(tile.window)
    assert cells.column1 == lattice.cells_of(east).column0
    assert lattice.tile_of(lattice.cell_in(cells, 0, 0)) == tile
    assert lattice.tile_of(lattice.cell_in(cells, 0, cells.shape[1])) == east


def test_only_pixels_have_parts():
    with pytest.raises(ValueError, match="only pixels"):
        Lattice(zone=32633, stride_px=27, finer=2)


def test_a_part_of_a_range_is_where_its_slices_say():
    cells = CellRange(column0=10, column1=30, row0=-5, row1=15)
    part = cells.part(slice(3, 7), slice(0, 4))
    assert part.slices_in(cells) == (slice(3, 7), slice(0, 4))


ROUGH = shapely.Point(16.4, 51.0).buffer(0.004) - shapely.box(16.399, 50.999, 16.401, 51.001)


@pytest.mark.parametrize(("finer", "zone", "lon"), [(1, 32633, 16.4), (4, 32633, 16.4), (3, 32632, 12.0)])
def test_ground_asked_in_parts_equals_the_whole(finer, zone, lon):
    """A tile of pixels is never asked at once: parts give the same cells, the same areas, the same count."""
    aoi = shapely.affinity.translate(ROUGH, xoff=lon - 16.4)
    lattice = Lattice(zone=zone, stride_px=1, finer=finer)
    x, y = utm(zone, lon, 51.0)
    window = Window(x0=int(x // 10) - 50, y0=int(-y // 10) - 50, x1=int(x // 10) + 50, y1=int(-y // 10) + 50)
    cells = lattice.covering(window)
    local = project_aoi(aoi, zone, window)
    ground = Ground(zone, window, local)
    mask = judged(lattice, cells, local)
    areas = cell_areas(lattice, cells, mask, local)
    assert 0 < mask.sum() < mask.size
    assert ground.count(lattice, cells) == mask.sum()
    for rows in (slice(0, 13 * finer), slice(13 * finer, 100 * finer)):
        columns = slice(7, 80 * finer)
        part = cells.part(rows, columns)
        np.testing.assert_array_equal(ground.judged(lattice, part), mask[rows, columns])
        np.testing.assert_allclose(ground.areas(lattice, part, mask[rows, columns]), areas[rows, columns], atol=1e-15)
    coarse = Lattice(zone=zone, stride_px=1)
    whole = coarse.covering(window)
    total = cell_areas(coarse, whole, np.ones(whole.shape, bool), local).sum()
    assert areas.sum() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(("stride_px", "finer"), [(27, 1), (1, 1), (1, 4)])
@pytest.mark.parametrize(("zone", "lon", "lat"), [(32633, 15.0, 50.0), (32632, 12.0, 50.0), (32760, 180.0, -17.0)])
def test_polygons_drawn_together_are_those_drawn_alone(stride_px, finer, zone, lon, lat):
    lattice = Lattice(zone=zone, stride_px=stride_px, finer=finer)
    middle = lattice.cell_at(*utm(zone, lon, lat))
    cells = CellRange(column0=middle.column - 3, column1=middle.column + 4, row0=middle.row, row1=middle.row + 2)
    rows, columns = (axis.ravel() for axis in np.indices(cells.shape))
    for row, column, polygon in zip(rows, columns, lattice.polygons(cells, rows, columns), strict=True):
        alone = lattice.polygon(lattice.cell_in(cells, int(row), int(column)))
        assert shapely.equals(shapely.normalize(polygon), shapely.normalize(alone))
        if not polygon.is_empty and polygon.area > 0 and abs(lon) < 179:
            e, n = lattice.centres_m(cells)
            if zone == 32633:
                assert polygon.contains(shapely.Point(*lonlat(zone, e[column], n[row])))
