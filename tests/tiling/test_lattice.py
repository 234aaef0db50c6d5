import numpy as np
import pytest
import shapely
from pyproj import Geod

from tiling import (
    CellId,
    CellRange,
    Lattice,
    TileId,
    Window,
    cell_areas,
    frame_of,
    judged,
    lonlat,
    northing,
    pixel_at,
    project_aoi,
    tiles_meeting,
    utm,
    zone_ground,
    zone_of,
)

GEOD = Geod(ellps="WGS84")


def _around(lattice, lon, lat, cells=15):
    cell = lattice.cell_at(*utm(lattice.zone, lon, lat))
    return CellRange(
        column0=cell.column - cells, column1=cell.column + cells + 1, row0=cell.row - cells, row1=cell.row + cells + 1
    )


def _geodesic_km2(polygon_lonlat):
    return abs(GEOD.geometry_area_perimeter(polygon_lonlat)[0]) / 1e6


def _cell_lonlat(lattice, cell, pieces=40):
    box = shapely.segmentize(lattice.box(cell), lattice.edge_m / pieces)
    return shapely.transform(box, lambda xy: np.column_stack(lonlat(lattice.zone, xy[:, 0], xy[:, 1])))


def test_a_cell_is_named_and_found_again():
    lattice = Lattice(zone=32633, stride_px=27)
    cell = lattice.cell_at(2168 * 270, 20933 * 270)
    assert str(cell) == "32633-27-02168-20933"
    assert CellId.parse(str(cell)) == cell
    assert lattice.cell_at(2169 * 270 - 1e-9, 20934 * 270 - 1e-8) == cell
    assert lattice.box(cell).bounds == (2168 * 270, 20933 * 270, 2169 * 270, 20934 * 270)
    with pytest.raises(ValueError, match="not a cell id"):
        CellId.parse("32633-27-02168")
    with pytest.raises(ValueError, match="not of the lattice"):
        Lattice(zone=32634, stride_px=27).window(cell)
    with pytest.raises(ValueError, match="stride"):
        Lattice(zone=32633, stride_px=0)


@pytest.mark.parametrize(
    ("lon", "lat", "tile", "cell", "corner_m"),
    [
        (16.2, 51.0, "32633-006-061", "32633-27-02163-20927", (584010, 5650290)),
        (33.0, 1e-6, "32636-005-000", "32636-27-01851-00000", (499770, 0)),
        (33.0, -1e-6, "32736-005-108", "32736-27-01851-37037", (499770, 9999990)),
        (-47.99, -18.73, "32723-002-086", "32723-27-00684-29357", (184680, 7926390)),
        (-44.12, -20.12, "32723-006-084", "32723-27-02192-28796", (591840, 7774920)),
        (179.95, -17.0, "32760-008-088", "32760-27-03015-30066", (814050, 8117820)),
        (12.0, -69.9, "32733-004-024", "32733-27-01425-08305", (384750, 2242350)),
    ],
)
def test_ids_are_counted_from_northing_0_in_both_hemispheres(lon, lat, tile, cell, corner_m):
    zone = zone_of(lon, lat)
    lattice = Lattice(zone=zone, stride_px=27)
    e, n = utm(zone, lon, lat)
    found = lattice.cell_at(e, n)
    assert (str(TileId.holding(zone, e, n)), str(found)) == (tile, cell)
    assert str(lattice.tile_of(found)) == tile
    assert frame_of(zone, lattice.window(found)).bounds == (*corner_m, corner_m[0] + 270, corner_m[1] + 270)
    x, y = pixel_at(zone, e, n)
    assert lattice.window(found).contains(Window(x0=x, y0=y, x1=x + 1, y1=y + 1))


@pytest.mark.parametrize("zone", [32633, 32733])
def test_the_phase_leads_to_the_lines_between_cells(zone):
    lattice = Lattice(zone=zone, stride_px=27)
    own = lattice.window(CellId(zone=zone, stride_px=27, column=2168, row=20933))
    assert lattice.phase_px(own) == (0, 0)
    assert lattice.phase_px(Window(x0=own.x0 - 7, y0=own.y0 - 20, x1=own.x1, y1=own.y1)) == (20, 7)
    assert lattice.phase_px(Window(x0=own.x0 + 1, y0=own.y0 + 2, x1=own.x1, y1=own.y1)) == (25, 26)
    for y in range(1000, 1060):
        rows, columns = lattice.phase_px(Window(x0=y, y0=y, x1=y + 1, y1=y + 1))
        assert northing(zone, y + rows) % 270 == 0
        assert (y + columns) % 27 == 0


@pytest.mark.parametrize("stride_px", [1, 2, 26, 27, 189, 300, 2048])
def test_a_tile_owns_the_cells_whose_centre_it_holds(stride_px):
    lattice = Lattice(zone=32633, stride_px=stride_px)
    tile = TileId(zone=32633, column=5, row=60)
    cells = lattice.cells_of(tile)
    e, n = lattice.centres_m(cells)
    assert n[0] > n[-1]
    assert e[0] < e[-1]
    for first, last, lower in ((e[0], e[-1], tile.column * 92160), (n[-1], n[0], tile.row * 92160)):
        assert lower <= first < lower + lattice.edge_m
        assert last < lower + 92160 <= last + lattice.edge_m
    corner = lattice.cell_in(cells, 0, 0)
    assert lattice.tile_of(corner) == tile
    assert lattice.transform(cells) @ (0.5, 0.5) == (e[0], n[0])
    assert lattice.window(corner).intersect(cells.window(lattice)) == lattice.window(corner)


ROUGH = shapely.Point(16.4, 51.0).buffer(0.06) - shapely.box(16.39, 50.98, 16.42, 51.01)
AOIS = {
    "a shape with a hole": (ROUGH, 32633, (16.4, 51.0)),
    "several": (
        shapely.MultiPolygon([shapely.box(16.35, 50.97, 16.38, 50.99), shapely.box(16.4, 51, 16.42, 51.04)]),
        32633,
        (16.4, 51.0),
    ),
    "a line": (shapely.LineString([(16.3, 50.9), (16.41, 51.0), (16.41, 51.1)]), 32633, (16.4, 51.0)),
    "points and shapes": (
        shapely.GeometryCollection(
            [
                shapely.Point(12.002, 50.0),
                shapely.box(11.997, 50.001, 12.001, 50.003),
                shapely.Point(12, 49.997),
                shapely.Point(11.999, 49.996),
            ]
        ),
        32633,
        (12.0, 50.0),
    ),
    "a zone's edge": (shapely.box(11.9, 49.99, 12.1, 50.03), 32632, (12.0, 50.0)),
    "Norway": (shapely.box(2.9, 55.9, 6.1, 56.1), 32631, (3.0, 56.0)),
    "Norway, its own": (shapely.box(2.9, 55.9, 6.1, 56.1), 32632, (3.0, 56.0)),
    "Svalbard": (shapely.box(20.5, 79.5, 21.5, 80.5), 32635, (21.0, 80.0)),
    "the equator": (shapely.box(14.99, -0.02, 15.01, 0.02), 32633, (15.0, 0.0)),
    "the antimeridian": (shapely.box(179.9, -17.1, 180.1, -16.9), 32760, (180.0, -17.0)),
}


@pytest.mark.parametrize("stride_px", [5, 27])
@pytest.mark.parametrize("name", AOIS)
def test_judged_equals_asking_every_cell(name, stride_px):
    """Oracle: each square of its own, against zone and AOI; the search through blocks must find the same."""
    aoi, zone, (lon, lat) = AOIS[name]
    lattice = Lattice(zone=zone, stride_px=stride_px)
    cells = _around(lattice, lon, lat)
    mask = judged(lattice, cells, project_aoi(aoi, zone, cells.window(lattice)))
    assert 0 < mask.sum() < mask.size
    parts = shapely.get_parts(project_aoi(aoi, zone))
    common = shapely.intersection(parts, zone_ground(zone, cells.window(lattice)))
    for row, column in np.ndindex(cells.shape):
        west, south, east, north = lattice.box(lattice.cell_in(cells, row, column)).bounds
        square = shapely.box(west, south, east - 1e-6, north - 1e-6)
        assert mask[row, column] == shapely.intersects(common, square).any(), (row, column)


@pytest.mark.parametrize("stride_px", [5, 27])
@pytest.mark.parametrize(
    "name", [name for name, (aoi, _, _) in AOIS.items() if "oint" not in name and "line" not in name]
)
def test_judged_cells_are_those_with_owned_points_in_them(name, stride_px):
    """Oracle without any geometry in UTM: 24 x 24 points in each cell, asked one by one in degrees."""
    aoi, zone, (lon, lat) = AOIS[name]
    lattice = Lattice(zone=zone, stride_px=stride_px)
    cells, fine = _around(lattice, lon, lat), 24
    mask = judged(lattice, cells, project_aoi(aoi, zone))
    rows, columns = (count * fine for count in cells.shape)
    e = (cells.column0 + (np.arange(columns) + 0.5) / fine) * lattice.edge_m
    n = (cells.row1 - (np.arange(rows) + 0.5) / fine) * lattice.edge_m
    lon, lat = lonlat(zone, *(axis.ravel() for axis in np.meshgrid(e, n)))
    whole = shapely.union_all([aoi, shapely.transform(aoi, lambda xy: xy - (360, 0))])
    held = (zone_of(lon, lat) == zone) & shapely.contains_xy(whole, lon, lat)
    seen = held.reshape(cells.shape[0], fine, cells.shape[1], fine).any(axis=(1, 3))
    assert seen.any()
    assert not (seen & ~mask).any()
    # The points miss only what is thinner than their spacing.
    assert (mask & ~seen).sum() <= 0.05 * mask.sum() + 2


def test_a_point_is_judged_by_one_cell():
    for lon, lat in [(16.4, 51.0), (12.0, 50.0), (15.0, 0.0), (180.0, -17.0), (5.0, 60.0), (9.0, 72.0)]:
        point, zone = shapely.Point(lon, lat), zone_of(lon, lat)
        (tile,) = tiles_meeting(point, stride_px=27, halo_px=94)
        lattice = Lattice(zone=zone, stride_px=27)
        cells = lattice.cells_of(tile.id)
        mask = judged(lattice, cells, project_aoi(point, zone))
        ((row, column),) = np.argwhere(mask)
        assert lattice.cell_in(cells, row, column) == lattice.cell_at(*utm(zone, lon, lat))
        assert tile.margin_px == 108


def test_a_point_on_a_cells_corner_is_in_one_cell():
    lattice = Lattice(zone=32633, stride_px=25)
    cells = CellRange(column0=1999, column1=2002, row0=-1, row1=2)
    mask = judged(lattice, cells, shapely.Point(500_000, 250))
    assert np.argwhere(mask).tolist() == [[0, 1]]
    # Nothing of the northern zones lies south of the equator, not even by touching it.
    assert not judged(lattice, cells, shapely.box(499_000, -1000, 501_000, 1000))[2].any()


@pytest.mark.parametrize("stride_px", [1, 27, 300])
@pytest.mark.parametrize(
    ("zone", "lon", "lat"),
    [(32633, 12.2, 1.0), (32633, 15, 50), (32632, 3.3, 56.2), (32633, 9.5, 83.5), (32723, -47, -79)],
)
def test_areas_inside_are_geodesic(zone, lon, lat, stride_px):
    lattice = Lattice(zone=zone, stride_px=stride_px)
    cells = _around(lattice, lon, lat, cells=1)
    areas = cell_areas(lattice, cells, np.ones(cells.shape, dtype=bool), shapely.box(0, 0, 2e6, 2e7))
    for row in range(3):
        for column in range(3):
            expected = _geodesic_km2(_cell_lonlat(lattice, lattice.cell_in(cells, row, column)))
            # Geod itself is good to a few square millimetres.
            assert areas[row, column] == pytest.approx(expected, rel=1e-7, abs=1e-10)


def test_areas_follow_mask_zone_and_aoi():
    lattice = Lattice(zone=32632, stride_px=27)
    cells = _around(lattice, 12.0, 50.0)
    aoi = project_aoi(shapely.box(11.99, 49.98, 12.1, 50.03), 32632)
    mask = judged(lattice, cells, aoi)
    areas = cell_areas(lattice, cells, mask, aoi)
    assert ((areas > 0) <= mask).all()
    half = mask & (np.arange(mask.shape[1]) % 2 == 0)
    np.testing.assert_array_equal(cell_areas(lattice, cells, half, aoi), np.where(half, areas, 0))
    assert (cell_areas(lattice, cells, mask, shapely.Point(aoi.centroid)) == 0).all()
    assert _geodesic_km2(shapely.segmentize(shapely.box(11.99, 49.98, 12, 50.03), 0.001)) == pytest.approx(
        areas.sum(), rel=1e-6
    )


REGIONS = {
    "three zones and Norway": shapely.box(2.5, 55.7, 6.2, 56.3),
    "Svalbard": shapely.box(19.5, 79.0, 22.5, 79.4),
    "equator and antimeridian": shapely.box(179.6, -0.4, 180.4, 0.4),
    "a hole": shapely.box(11.6, 49.7, 12.4, 50.3) - shapely.box(11.9, 49.9, 12.1, 50.1),
}


@pytest.mark.parametrize("stride_px", [27, 300])
@pytest.mark.parametrize("name", REGIONS)
def test_the_tiles_of_a_region_add_up_to_it(name, stride_px):
    region = REGIONS[name]
    total = 0.0
    for tile in tiles_meeting(region, stride_px=stride_px, halo_px=94):
        lattice = Lattice(zone=tile.id.zone, stride_px=stride_px)
        cells = lattice.cells_of(tile.id)
        aoi = project_aoi(region, lattice.zone, cells.window(lattice))
        mask = judged(lattice, cells, aoi)
        assert mask.any()
        total += cell_areas(lattice, cells, mask, aoi).sum()
    assert total == pytest.approx(_geodesic_km2(shapely.segmentize(region, 0.001)), rel=1e-6)


def test_tiles_meeting_misses_none():
    region = shapely.box(11.2, 49.9, 12.9, 50.9)
    found = {tile.id for tile in tiles_meeting(region, stride_px=300, halo_px=0)}
    for zone in (32632, 32633, 32631, 32634):
        lattice = Lattice(zone=zone, stride_px=300)
        for column in range(1, 9):
            for row in range(58, 63):
                tile = TileId(zone=zone, column=column, row=row)
                cells = lattice.cells_of(tile)
                aoi = project_aoi(region, zone, cells.window(lattice))
                assert judged(lattice, cells, aoi).any() == (tile in found), tile


def test_cells_are_drawn_within_their_zone():
    for zone, lon, lat in [
        (32760, 179.9999, -17.0),
        (32701, -179.9999, -17.0),
        (32632, 11.9999, 50.0),
        (32633, 15.0, 1e-6),
    ]:
        lattice = Lattice(zone=zone, stride_px=27)
        polygon = lattice.polygon(lattice.cell_at(*utm(zone, lon, lat)))
        west, south, east, north = polygon.bounds
        assert polygon.is_valid
        assert polygon.buffer(1e-6).contains(shapely.Point(lon, lat))
        assert east - west < 0.01
        assert north - south < 0.01
        assert west >= -180
        assert east <= 180
        edge = {32760: east - 180, 32701: -180 - west, 32632: east - 12, 32633: -south}[zone]
        assert abs(edge) < 1e-6
