"""Joining: one rule for every seam, equal to the naive one, whatever the order."""

import math
import random

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from scanner.detection import join as room
from scanner.detection.hits import VERDICTS, Hit
from scanner.detection.join import join, joining_distance_m, tile_of
from scanner.detection.shapes import area_m2, earth_centred_m, point_inside, unite
from scanner.errors import InputError
from tiling import Lattice, lonlat, tiles_meeting, utm, zone_ground, zone_of

GEOD = Geod(ellps="WGS84")


def dot(name: str, lon: float, lat: float, score: float = 0.9, **others) -> Hit:
    square = shapely.box(lon - 1e-3, lat - 1e-3, lon + 1e-3, lat + 1e-3)
    defaults = {"clear_looks": 3, "verdict": "accepted", "polygon": square}
    return Hit(cell=name, tile="t", lon=lon, lat=lat, score=score, **{**defaults, **others})


def naive_groups(hits, distance_m):
    """Union-find over all pairs, through pyproj's own earth-centred coordinates."""
    to_xyz = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    points = [to_xyz.transform(hit.lon, hit.lat, 0.0) for hit in hits]
    parent = list(range(len(hits)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(hits)):
        for j in range(i):
            if math.dist(points[i], points[j]) < distance_m:
                parent[root(i)] = root(j)
    groups = {}
    for i, hit in enumerate(hits):
        groups.setdefault(root(i), set()).add(hit.cell)
    return {frozenset(cells) for cells in groups.values()}


# A few kilometres around awkward places, so that chains and near misses are common.
places = st.sampled_from([(0.0, 0.0), (6.0, 45.0), (180.0, -17.0), (-180.0, 66.0), (9.0, 79.0), (30.0, -60.0)])
offsets = st.tuples(st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))


@st.composite
def scattered(draw):
    hits = []
    for number, ((lon, lat), (east, north)) in enumerate(draw(st.lists(st.tuples(places, offsets), max_size=40))):
        turned = (lon + east + 180) % 360 - 180
        verdict = draw(st.sampled_from(("accepted", "accepted", "accepted", "no_ore")))
        hits.append(dot(f"c{number:03d}", turned, lat + north, draw(st.floats(0.6, 1.0)), verdict=verdict))
    return hits


@given(scattered(), st.floats(50, 3000))
@settings(deadline=None, max_examples=60)
def test_groups_are_those_of_every_pair_compared(hits, distance_m):
    candidates, cells = join(hits, distance_m=distance_m)
    accepted = [hit for hit in hits if hit.verdict == "accepted"]
    assert {frozenset(one.cell_ids) for one in candidates} == naive_groups(accepted, distance_m)
    assert len(cells) == len(hits)
    assert cells["candidate"].notna().sum() == len(accepted)
    assert sum(one.cells for one in candidates) == len(accepted)


def test_pairs_taken_in_small_portions_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    hits = [dot(f"c{i:04d}", 15 + x, 48 + y) for i, (x, y) in enumerate(rng.uniform(0, 0.15, (300, 2)))]
    whole, _ = join(hits, distance_m=700)
    monkeypatch.setattr(room, "PAIRS", 7)
    assert join(hits, distance_m=700)[0] == whole
    assert 5 < len(whole) < 290


@given(scattered(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_the_hits_does_not_matter(hits, shuffler: random.Random):
    candidates, cells = join(hits)
    shuffled = hits.copy()
    shuffler.shuffle(shuffled)
    again, cells_again = join(shuffled)
    # repr, since NaN differs from itself.
    assert [(repr(one), one.polygon.wkb) for one in again] == [(repr(one), one.polygon.wkb) for one in candidates]
    assert cells_again.to_wkb().equals(cells.to_wkb())


@given(scattered())
@settings(deadline=None, max_examples=60)
def test_every_candidate_is_sound(hits):
    candidates, _ = join(hits)
    keys = [(-one.score, one.id) for one in candidates]
    assert keys == sorted(keys)
    by_cell = {hit.cell: hit for hit in hits}
    for one in candidates:
        west, _, east, _ = one.polygon.bounds
        assert one.polygon.is_valid
        assert west >= -180
        assert east <= 180
        assert (one.lon, one.lat) == (round(one.lon, 6), round(one.lat, 6))
        assert shapely.contains_xy(one.polygon, one.lon, one.lat)
        best = max(one.cell_ids, key=lambda cell: (by_cell[cell].score, [-ord(letter) for letter in cell]))
        assert one.id == f"m-{best}"
        assert one.tile == tile_of(one.lon, one.lat)
        assert 0 < one.area_m2 <= sum(area_m2(by_cell[cell].polygon) for cell in one.cell_ids) + 0.1


@pytest.mark.parametrize("lat", [0.4, 45.2, 63.0, 79.0, -33.3])
def test_a_mine_on_a_tile_corner_and_a_zone_edge_is_one_candidate(make_hit, lat):
    """Cells of both zones around a point of the edge, near the row where tiles meet: one candidate, measured once."""
    lon = 9.0 if lat > 72 else 12.0
    west_zone, east_zone = zone_of(lon - 0.01, lat), zone_of(lon + 0.01, lat)
    assert west_zone != east_zone
    _, north_m = utm(west_zone, lon, lat)
    corner_m = math.ceil(north_m / 92160) * 92160
    for _ in range(5):  # meridians slant in UTM: walk to where this one meets the corner's northing
        _, lat = lonlat(west_zone, utm(west_zone, lon, lat)[0], corner_m)
    hits = []
    for zone in (west_zone, east_zone):
        column, row = (int(value // 270) for value in utm(zone, lon, lat))
        ground = Lattice(zone=zone, stride_px=27)
        around = [(column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        around = [cell for cell in around if not zone_ground(zone, _window(ground, cell)).is_empty]
        hits += [make_hit(zone, *cell, score=0.8) for cell in around]
    assert len({hit.tile for hit in hits}) == 4
    assert {hit.cell[:5] for hit in hits} == {str(west_zone), str(east_zone)}
    (one,), cells = join(hits)
    assert one.cells == len(hits)
    assert set(cells["candidate"]) == {one.id}
    # Both zones' cells are cut at the edge: together they leave no gap there, and overlap by two centimetres.
    assert one.polygon.geom_type == "Polygon"
    assert not one.polygon.interiors
    total_m2 = sum(area_m2(hit.polygon) for hit in hits)
    assert one.area_m2 == pytest.approx(total_m2, abs=0.03 * 900)


def _window(lattice, cell):
    return lattice.window(lattice.cell_at((cell[0] + 0.5) * 270, (cell[1] + 0.5) * 270))


def test_cells_that_touch_at_a_corner_join_and_those_with_a_gap_do_not(make_hit):
    touching, _ = join([make_hit(32633, 2000, 20000), make_hit(32633, 2001, 20001)])
    apart, _ = join([make_hit(32633, 2000, 20000), make_hit(32633, 2002, 20000)])
    assert [one.cells for one in touching] == [2]
    assert [one.cells for one in apart] == [1, 1]
    assert joining_distance_m(270) == 400
    assert 1 < joining_distance_m(10) / (10 * math.sqrt(2)) < 1.1


@pytest.mark.parametrize("zones", [(32660, 32601), (32760, 32701)])
def test_a_mine_on_the_antimeridian_is_split_there(make_hit, zones):
    lat = 66.0 if zones[0] == 32660 else -17.0
    hits = []
    for zone, lon in zip(zones, (179.9999, -179.9999), strict=True):
        column, row = (int(value // 270) for value in utm(zone, lon, lat))
        hits += [make_hit(zone, column, row + j) for j in (-1, 0, 1)]
    (one,), cells = join(hits)
    assert one.polygon.geom_type == "MultiPolygon"
    assert len(one.polygon.geoms) == 2
    assert all(part.bounds[2] - part.bounds[0] < 0.02 for part in one.polygon.geoms)
    assert one.area_m2 == pytest.approx(sum(area_m2(hit.polygon) for hit in hits), rel=1e-3)
    assert (cells.bounds.maxx - cells.bounds.minx < 0.02).all()


def test_a_cell_whose_corners_jump_over_the_antimeridian_is_no_belt_around_the_globe():
    jumping = shapely.Polygon([(179.998, 0), (-179.999, 0), (-179.999, 0.003), (179.998, 0.003)])
    split = unite([jumping], 179.9995)
    assert sorted(part.bounds for part in split.geoms) == [
        pytest.approx((-180, 0, -179.999, 0.003)),
        pytest.approx((179.998, 0, 180, 0.003)),
    ]
    # The centimetre by which a zone's ground is grown is no ground.
    grown = shapely.Polygon([(179.998, 0), (-179.9999999, 0), (-179.9999999, 0.003), (179.998, 0.003)])
    assert unite([grown], 179.999).bounds == pytest.approx((179.998, 0, 180, 0.003))
    _, cells = join([dot("c", 179.9995, 0, polygon=jumping, verdict="no_ore")])
    assert cells.geometry[0].geom_type == "MultiPolygon"


def test_one_cell_is_as_large_as_the_ellipsoid_says(make_hit):
    (one,), _ = join([make_hit(32633, 1851, 20000)])
    # 270 m on the map at the central meridian are 270 / 0.9996 on the ground.
    assert one.area_m2 == pytest.approx((270 / 0.9996) ** 2, rel=1e-4)
    assert one.lon == pytest.approx(15, abs=0.005)


def test_a_hole_is_no_area(make_hit):
    ring = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    (one,), _ = join([make_hit(32633, 1851 + i, 20000 + j) for i, j in ring])
    assert len(one.polygon.interiors) == 1
    assert one.area_m2 == pytest.approx(8 * (270 / 0.9996) ** 2, rel=1e-4)
    assert shapely.contains_xy(one.polygon, one.lon, one.lat)


def test_columns_are_those_of_the_cells(make_hit):
    judged = {"impact_high": 0.6, "impact_low": 0.3, "no_ore": 0.1}
    other = {"impact_high": 0.1, "impact_low": 0.7, "no_ore": 0.2}
    (one,), cells = join(
        [
            make_hit(
                32633, 2000, 20000, 0.7, clear_looks=4, first_scene="2021-03-01", last_scene="2021-08-01", **judged
            ),
            make_hit(
                32633, 2001, 20000, 0.9, clear_looks=7, first_scene="2021-05-01", last_scene="2021-09-09", **other
            ),
            make_hit(32633, 2002, 20000, 0.95, clear_looks=9, verdict="no_ore", last_scene="2022-01-01", **other),
        ]
    )
    assert (one.id, one.score, one.mean_score) == ("m-32633-27-02001-20000", 0.9, 0.8)
    assert (one.impact, one.impact_high, one.impact_low, one.no_ore) == ("low", 0.35, 0.5, 0.15)
    assert (one.cells, one.clear_looks) == (2, 6)
    assert (one.first_scene, one.last_scene) == ("2021-03-01", "2021-09-09")
    assert cells["verdict"].tolist() == ["accepted", "accepted", "no_ore"]
    assert cells["candidate"].isna().tolist() == [False, False, True]
    assert join([make_hit(32633, 2000, 20000)])[0][0].impact == "unknown"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_only_accepted_hits_make_candidates(make_hit, verdict):
    candidates, cells = join([make_hit(32633, 2000, 20000, verdict=verdict)])
    assert len(candidates) == (verdict == "accepted")
    assert cells["verdict"].tolist() == [verdict]


def row_of(count: int, step_deg: float, score: float) -> list[Hit]:
    return [dot(f"r{i}", 10 + i * step_deg, 0, score) for i in range(count)]


def test_the_isolation_rule_asks_more_of_hits_that_stand_alone():
    rule = {"k": 2, "distance_m": 3000, "threshold": 0.75}
    crowd = row_of(3, 0.01, 0.6)
    lone = [dot("far", 20, 0, 0.74), dot("sure", 30, 0, 0.75)]
    candidates, cells = join(crowd + lone, isolation=rule)
    verdicts = dict(zip(cells["cell"], cells["verdict"], strict=True))
    assert verdicts["far"] == "below_isolated_threshold"
    assert {verdicts[name] for name in ("r0", "r1", "r2", "sure")} == {"accepted"}
    assert {one.id: one.isolated for one in candidates} == {"m-r0": False, "m-r1": False, "m-r2": False, "m-sure": True}
    # Without the rule all are accepted, and isolation is told all the same, by the fifth neighbour and 3 km.
    free, _ = join(crowd + lone)
    assert len(free) == 5
    assert all(one.isolated for one in free)


def test_isolation_counts_the_kth_other_hit_and_only_accepted_ones():
    six = row_of(6, 0.005, 0.6)  # 0.005 degrees are 557 m: the first sees five others within 2.8 km
    assert not any(one.isolated for one in join(six)[0])
    five = six[:5]
    assert all(one.isolated for one in join(five)[0])
    spoilt = [*five, dot("r9", 10.012, 0.001, verdict="no_ore")]
    assert all(one.isolated for one in join(spoilt)[0])


def test_no_hits_make_no_candidates_and_a_typed_frame(make_hit):
    candidates, cells = join([])
    assert candidates == ()
    full = join([make_hit(32633, 2000, 20000)])[1]
    assert cells.dtypes.equals(full.dtypes)
    assert cells.crs == "EPSG:4326"


def test_wrong_input_is_refused(make_hit):
    with pytest.raises(InputError, match="joining distance"):
        join([], distance_m=0)
    with pytest.raises(ValueError, match="two hits"):
        join([make_hit(32633, 2000, 20000)] * 2)
    with pytest.raises(ValueError, match="verdict 'perhaps'"):
        make_hit(32633, 2000, 20000, verdict="perhaps")


def test_thirty_six_thousand_hits_are_joined():
    """Two thousand mines of three by six cells, 0.0036 degrees wide each, with gaps of twice that."""
    spots = [
        (14 + 0.0216 * east + 0.0036 * i, 47 + 0.0216 * north + 0.0024 * j)
        for east in range(50) for north in range(40) for i in range(3) for j in range(6)
    ]  # fmt: skip
    hits = [dot(f"c{i:06d}", lon, lat) for i, (lon, lat) in enumerate(spots)]
    candidates, cells = join(hits)
    assert [one.cells for one in candidates] == [18] * 2000
    assert len(cells) == 36_000


@given(st.floats(-180, 180), st.floats(-80, 83.9))
def test_earth_centred_metres_are_those_of_proj(lon, lat):
    expected = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(lon, lat, 0.0)
    assert earth_centred_m([lon], [lat])[0] == pytest.approx(expected, abs=1e-6)


def test_the_tile_is_the_one_that_owns_the_point():
    for lon, lat in [(16.4, 50.9), (-46.1, -20.2), (11.9999, 78.0), (180.0, 10.0), (5.0, 60.0)]:
        (owner,) = tiles_meeting(shapely.Point(lon, lat), stride_px=27, halo_px=94)
        assert tile_of(lon, lat) == str(owner.id)


@pytest.mark.parametrize("width_deg", [1e-2, 1e-4, 3e-6])
def test_a_point_of_six_decimals_lies_inside_even_thin_polygons(width_deg):
    slanted = shapely.Polygon([(10, 50), (10 + width_deg, 50), (10.01 + width_deg, 50.02), (10.01, 50.02)])
    assert shapely.contains_xy(slanted, *point_inside(slanted))
