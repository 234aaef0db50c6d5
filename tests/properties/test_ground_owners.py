"""Every point of the ground has one owner, and the same ground is the same cell in every scan."""

import numpy as np
import shapely
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tiling import CellRange, Lattice, TileId, judged, lonlat, project_aoi, tiles_meeting, utm, zone_ground, zone_of

RUN = settings(derandomize=True, deadline=None, max_examples=200)
FEW = settings(derandomize=True, deadline=None, max_examples=40)
STRIDES = st.integers(1, 300)

NUDGES = st.sampled_from((0.0, 1e-15, -1e-15, 1e-9, -1e-9, 1e-7, -1e-7, 1e-4, -1e-4, 0.01, -0.01))
EDGE_LONS = st.sampled_from((-180, 180, 0, 3, 6, 9, 12, 18, 21, 24, 33, 36, 42, -6, -54, 174, -174))
EDGE_LATS = st.sampled_from((0, 56, 64, 72, 84, -80, 8, -40))
LONS = st.one_of(st.floats(-180, 180), st.builds(lambda edge, nudge: edge + nudge, EDGE_LONS, NUDGES))
LATS = st.one_of(st.floats(-80, 83.99), st.builds(lambda edge, nudge: edge + nudge, EDGE_LATS, NUDGES))
POINTS = st.tuples(LONS, LATS).filter(lambda point: -80 <= point[1] < 84)


@st.composite
def corners(draw):
    """A point at a tile's corner, give or take a little, where the zone owns it."""
    zone = draw(st.sampled_from((32632, 32633, 32723, 32701, 32660)))
    row = draw(st.integers(1, 100)) if zone < 32700 else draw(st.integers(13, 108))
    e = draw(st.integers(2, 8)) * 92160 + draw(NUDGES)
    n = row * 92160 + draw(NUDGES)
    lon, lat = lonlat(zone, e, n)
    assume(-80 <= lat < 84)
    return float(lon), float(lat)


def _by_hand(lon, lat):
    """MGRS from its own text, with no arithmetic shared with ours: six-degree strips, then Norway, then Svalbard."""
    lon = lon - 360 if lon >= 180 else lon + 360 if lon < -180 else lon
    number = next(k for k in range(1, 61) if -186 + 6 * k <= lon < -180 + 6 * k)
    if number == 31 and 56 <= lat < 64 and lon >= 3:
        number = 32
    if lat >= 72 and number in (32, 34, 36):
        number += 1 if lon >= {32: 9, 34: 21, 36: 33}[number] else -1
    return (32600 if lat >= 0 else 32700) + number


@RUN
@given(st.one_of(POINTS, corners()), STRIDES)
@example((180.0, 0.0), 27)
@example((3.0, 56.0), 27)
@example((9.0, 72.0), 25)
@example((33.0, -1e-15), 25)
def test_a_point_has_one_owner_which_judges_it(point, stride_px):
    lon, lat = point
    zone = zone_of(lon, lat)
    assert zone == _by_hand(lon, lat)
    lattice = Lattice(zone=zone, stride_px=stride_px)
    e, n = utm(zone, lon, lat)
    cell = lattice.cell_at(e, n)
    tile = lattice.tile_of(cell)
    cells = CellRange(column0=cell.column - 2, column1=cell.column + 3, row0=cell.row - 2, row1=cell.row + 3)
    # The whole ground as the AOI: the owner's cell is judged.
    window = cells.window(lattice)
    assert judged(lattice, cells, shapely.box(-1e7, -1e7, 2e7, 2e7))[2, 2]
    assert zone_ground(zone, window).intersects(shapely.Point(e, n))
    # The point as the AOI: one tile, one cell, nobody else's.
    (found,) = tiles_meeting(shapely.Point(lon, lat), stride_px=stride_px, halo_px=94)
    assert found.id == tile
    mask = judged(lattice, cells, project_aoi(shapely.Point(lon, lat), zone))
    assert np.argwhere(mask).tolist() == [[2, 2]]
    owned = lattice.cells_of(tile)
    assert owned.column0 <= cell.column < owned.column1
    assert owned.row0 <= cell.row < owned.row1


@RUN
@given(st.one_of(POINTS, corners()))
def test_no_other_zones_ground_holds_it(point):
    """Beyond the centimetre's margin, a point lies in the ground of its owner alone."""
    lon, lat = point
    near = {(lon + dx, min(max(lat + dy, -80), 83.999)) for dx in (-1e-6, 1e-6) for dy in (-1e-6, 1e-6)}
    owners = {zone_of(*spot) for spot in near}
    assume(len(owners) == 1)
    for dx in (-6.0, -3.0, 0.0, 3.0, 6.0):
        other = zone_of(lon + dx, lat)
        e, n = utm(other, lon, lat)
        tile = TileId.holding(other, e, n)
        held = zone_ground(other, tile.window).intersects(shapely.Point(e, n))
        assert held == (other == zone_of(lon, lat)), other


@st.composite
def regions(draw):
    """A place worth looking at, and two AOIs over it: boxes, with or without a hole or a second part."""
    lon, lat = draw(st.sampled_from(((12, 50), (3, 56), (21, 79), (180, 0), (16.4, 51), (-180, -17), (6, 64), (15, 0))))
    aois = []
    for _ in range(2):
        west, south = lon - draw(st.floats(0.001, 0.2)), lat - draw(st.floats(0.001, 0.2))
        east, north = lon + draw(st.floats(0.001, 0.2)), lat + draw(st.floats(0.001, 0.2))
        aoi = shapely.box(west, south, east, north)
        if draw(st.booleans()):
            aoi = aoi - shapely.box(west + (east - west) / 3, south + (north - south) / 3, lon, lat).buffer(1e-5)
        if draw(st.booleans()):
            aoi = aoi | shapely.box(east + 0.01, south, east + 0.03, north)
        aois.append(aoi)
    return aois


def _cells(aoi, stride_px):
    found = {}
    for tile in tiles_meeting(aoi, stride_px=stride_px, halo_px=94):
        lattice = Lattice(zone=tile.id.zone, stride_px=stride_px)
        cells = lattice.cells_of(tile.id)
        mask = judged(lattice, cells, project_aoi(aoi, lattice.zone, cells.window(lattice)))
        assert mask.any()
        for row, column in np.argwhere(mask):
            found[lattice.cell_in(cells, row, column)] = tile.id
    return found


@FEW
@given(regions(), st.integers(20, 300), st.data())
def test_the_same_ground_is_the_same_cell_whatever_the_aoi(aois, stride_px, data):
    one, other = (_cells(aoi, stride_px) for aoi in aois)
    for cell in one.keys() & other.keys():
        assert one[cell] == other[cell]
    shared = aois[0] & aois[1]
    west, south, east, north = shared.bounds
    for _ in range(5):
        lon = west + data.draw(st.floats(0, 1)) * (east - west)
        lat = south + data.draw(st.floats(0, 1)) * (north - south)
        if not shared.buffer(-1e-7).contains(shapely.Point(lon, lat)):
            continue
        zone = zone_of(lon, lat)
        cell = Lattice(zone=zone, stride_px=stride_px).cell_at(*utm(zone, lon, lat))
        assert cell in one
        assert cell in other
    # A larger AOI judges all that a smaller one does.
    assert set(_cells(aois[0] | aois[1], stride_px)) >= one.keys() | other.keys()
