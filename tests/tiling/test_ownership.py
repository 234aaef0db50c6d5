import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely

from tiling import (
    OutsideGridError,
    TileId,
    Window,
    frame_of,
    lonlat,
    northing,
    pixel_at,
    project_aoi,
    utm,
    zone_ground,
    zone_of,
    zones_of,
)
from tiling.ownership import ground_without_margin

PLACES = {
    "Strzegom": (16.35, 50.96, 32633),
    "Brumadinho": (-44.12, -20.12, 32723),
    "Bergen, 32V": (5.32, 60.39, 32632),
    "sea west of 32V": (2.99, 60.0, 32631),
    "south of 32V": (5.0, 55.999, 32631),
    "32V begins at 56": (5.0, 56.0, 32632),
    "north of 32V": (5.0, 64.0, 32631),
    "Longyearbyen, 33X": (15.63, 78.22, 32633),
    "8.9 E in 31X": (8.9, 78.0, 32631),
    "9 E in 33X": (9.0, 72.0, 32633),
    "below 33X": (9.0, 71.999, 32632),
    "20.9 E in 33X": (20.9, 80.0, 32633),
    "21 E in 35X": (21.0, 80.0, 32635),
    "33 E in 37X": (33.0, 83.999, 32637),
    "42 E, plain again": (42.0, 80.0, 32638),
    "-0.1 E, plain": (-0.1, 80.0, 32630),
    "equator is north": (33.0, 0.0, 32636),
    "just south": (33.0, -1e-12, 32736),
    "180 E": (180.0, 10.0, 32601),
    "180 W": (-180.0, 10.0, 32601),
    "just west of 180": (179.9999, -10.0, 32760),
    "run past 180": (185.0, 10.0, 32601),
    "just west of Greenwich": (-1e-17, 10.0, 32630),
    "lowest": (0.0, -80.0, 32731),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_has_its_zone(place):
    lon, lat, zone = PLACES[place]
    assert zone_of(lon, lat) == zone
    assert isinstance(zone_of(lon, lat), int)


def test_zones_of_many_places_at_once():
    lon, lat, zone = map(np.array, zip(*PLACES.values(), strict=True))
    np.testing.assert_array_equal(zone_of(lon, lat), zone)


@pytest.mark.parametrize("lat", [84.0, 90.0, -80.0001, -90.0, float("nan"), float("inf")])
def test_the_poles_are_refused_in_one_line(lat):
    with pytest.raises(OutsideGridError, match=r"-80 to just below 84") as caught:
        zone_of(10.0, lat)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_an_aoi_beyond_the_grid_is_refused():
    for aoi in (shapely.box(0, 80, 1, 84.1), shapely.box(0, -81, 1, -79), shapely.Point(1, 84)):
        with pytest.raises(OutsideGridError):
            zones_of(aoi)
    assert zones_of(shapely.box(60.1, 83, 60.2, 84)) == (32641,)
    with pytest.raises(ValueError, match="Self-intersection"):
        zones_of(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))


def _window(lon, lat, zone, half_px=500):
    x, y = pixel_at(zone, *utm(zone, lon, lat))
    return Window(x0=x - half_px, y0=y - half_px, x1=x + half_px, y1=y + half_px)


CORNERS = [
    (12, 50),
    (3, 56),
    (6, 64),
    (12, 64),
    (9, 72),
    (6, 72),
    (21, 72),
    (33, 72),
    (42, 72),
    (0, 72),
    (-180, 0),
    (180, -30),
    (18, 0),
]


@pytest.mark.parametrize(("lon", "lat"), CORNERS)
def test_the_ground_is_where_the_rule_says_it_is(lon, lat):
    """Oracle: the rule at 2,000 random points around every kind of corner, in every zone that meets there."""
    rng = np.random.default_rng(7)
    zones = {zone_of(lon + dx, lat + dy) for dx in (-0.01, 0.01) for dy in (-0.01, 0.01)}
    assert len(zones) > 1
    for zone in zones:
        window = _window(lon, lat, zone)
        e = rng.uniform(window.x0, window.x1, 2000) * 10
        n = northing(zone, rng.uniform(window.y0, window.y1, 2000))
        owned = zone_of(*lonlat(zone, e, n)) == zone
        ground = zone_ground(zone, window)
        assert 0 < owned.sum() < len(owned)
        np.testing.assert_array_equal(shapely.contains_xy(ground, e, n), owned)


@pytest.mark.parametrize(("lon", "lat", "zone"), [(12, 50, 32633), (12, 50, 32632), (9, 79, 32633), (12, -70, 32733)])
def test_the_margin_is_a_centimetre(lon, lat, zone):
    window = _window(lon, lat, zone)
    wide, true = zone_ground(zone, window), ground_without_margin(zone, window)
    assert wide.buffer(1e-6).covers(true)
    along = shapely.boundary(true) & frame_of(zone, window).buffer(-0.1)
    assert (wide.area - true.area) / along.length == pytest.approx(0.01, rel=0.05)


def test_the_equator_is_a_straight_line():
    north = zone_ground(32633, Window(x0=50_000, y0=-100, x1=50_100, y1=100))
    south = zone_ground(32733, Window(x0=50_000, y0=-100, x1=50_100, y1=100))
    assert north.bounds == (500_000, 0, 501_000, 1000)
    assert south.bounds == (500_000, 9_999_000, 501_000, 10_000_000)


def test_ground_inside_and_outside_a_zone():
    inside = TileId(zone=32633, column=5, row=60).window
    assert zone_ground(32633, inside).equals(shapely.box(460800, 5529600, 552960, 5621760))
    assert zone_ground(32633, TileId(zone=32633, column=0, row=60).window).is_empty
    # 32V reaches far west of what a plain zone does.
    assert not zone_ground(32632, TileId(zone=32632, column=1, row=70).window).is_empty
    assert zone_ground(32634, TileId(zone=32634, column=5, row=90).window).is_empty


def test_edges_of_an_aoi_stay_straight_in_degrees():
    aoi = shapely.box(12.5, 55, 17.5, 56)
    e, n = utm(32633, np.linspace(12.5, 17.5, 999), np.full(999, 56.0))
    away = shapely.distance(shapely.boundary(project_aoi(aoi, 32633)), shapely.points(e, n))
    assert away.max() < 0.002


def test_holes_stay_holes():
    aoi = shapely.box(13, 50, 14, 51) - shapely.box(13.4, 50.4, 13.6, 50.6)
    ground = project_aoi(aoi, 32633)
    assert not shapely.intersects_xy(ground, *utm(32633, 13.5, 50.5))
    assert shapely.intersects_xy(ground, *utm(32633, 13.3, 50.5))


def test_the_antimeridian_however_it_is_written():
    split = shapely.union_all([shapely.box(179.5, -17, 180, -16), shapely.box(-180, -17, -179.5, -16)])
    past, before = shapely.box(179.5, -17, 180.5, -16), shapely.box(-180.5, -17, -179.5, -16)
    for aoi in (split, past, before):
        assert zones_of(aoi) == (32701, 32760)
        for zone in (32701, 32760):
            assert project_aoi(aoi, zone).equals(project_aoi(split, zone))
            # The AOI goes on beyond 180 degrees, as at every other edge, so that no rounding opens a gap there.
            assert project_aoi(aoi, zone).covers(zone_ground(zone, _window(180, -16.5, zone)))
    assert zones_of(shapely.box(181, -17, 182, -16)) == (32701,)


def test_what_only_touches_a_zone_is_not_its_own():
    assert zones_of(shapely.box(12, 50, 13, 51)) == (32633,)
    assert zones_of(shapely.box(11, 50, 12, 51)) == (32632,)
    assert zones_of(shapely.box(13, 0, 14, 1)) == (32633,)
    assert zones_of(shapely.box(13, -1, 14, 0)) == (32733,)
    assert zones_of(shapely.Point(12, 0)) == (32633,)
    assert zones_of(shapely.LineString([(12, 50), (12, 51)])) == (32633,)
    assert zones_of(shapely.LineString([(11, 50), (13, 50)])) == (32632, 32633)
    assert zones_of(shapely.Point(180, 5)) == (32601,)
    assert zones_of(shapely.MultiPoint([(5, 60), (5, 70)])) == (32631, 32632)
    assert zones_of(shapely.Polygon()) == ()


def test_a_window_cuts_the_aoi():
    aoi, window = shapely.box(12.5, 50, 17, 52), TileId(zone=32633, column=5, row=60).window
    assert project_aoi(aoi, 32633, window).equals(
        shapely.box(460800, 5529600, 552960, 5621760) & project_aoi(aoi, 32633)
    )
    assert project_aoi(aoi, 32634, window).is_empty


def test_threads_project_alike():
    lon, lat = np.linspace(12, 18, 5000), np.linspace(40, 60, 5000)
    expected = utm(32633, lon, lat)
    with ThreadPoolExecutor(4) as pool:
        for e, n in pool.map(lambda _: utm(32633, lon, lat), range(16)):
            np.testing.assert_array_equal((e, n), expected)
