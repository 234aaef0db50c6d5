"""Candidates against registries."""

import math

import geopandas as gpd
import pytest
import shapely
from pyproj import Geod

from scanner.detection.join import join
from scanner.detection.registry import NEAR_M, check
from scanner.errors import InputError

GEOD = Geod(ellps="WGS84")


@pytest.fixture
def candidates(make_hit):
    """Two mines 27 km apart."""
    return join([make_hit(32633, 2000, 20000, 0.9), make_hit(32633, 2100, 20000, 0.8)])[0]


def register(path, shapes, crs="EPSG:4326", **columns):
    columns = columns or {"name": [f"entry {i}" for i in range(len(shapes))]}
    gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs).to_file(path, engine="pyogrio")
    return path


def north_of(candidate, metres):
    """A point so far north of the polygon's northern edge."""
    top = candidate.polygon.bounds[3]
    lon, lat, _ = GEOD.fwd(candidate.lon, top, 0, metres)
    return shapely.Point(lon, lat)


@pytest.mark.parametrize(
    ("metres", "where"), [(-50, "inside"), (0.5 * NEAR_M, "near"), (990, "near"), (1020, "outside"), (5000, "outside")]
)
def test_distance_says_where(candidates, tmp_path, metres, where):
    path = register(tmp_path / "permits.gpkg", [north_of(candidates[0], metres)])
    found = check(candidates, {"permits": path})[0].registries["permits"]
    assert (found.where, found.name) == (where, "entry 0")
    # The upper edge slants by some 2 m over the cell's width.
    assert found.distance_m == pytest.approx(max(metres, 0), abs=3)


@pytest.mark.parametrize("kilometres", [150, 900, 9000])
def test_far_entries_are_measured_too(candidates, tmp_path, kilometres):
    path = register(tmp_path / "far.geojson", [north_of(candidates[0], 1000 * kilometres), shapely.Point(-100, -40)])
    found = check(candidates, {"far": path})[0].registries["far"]
    assert (found.where, found.name) == ("outside", "entry 0")
    assert found.distance_m == pytest.approx(1000 * kilometres, rel=0.004)


def test_of_several_entries_the_one_that_shares_most_names_it(candidates, tmp_path):
    west, south, east, north = candidates[0].polygon.bounds
    middle = (west + east) / 2
    some = shapely.box(west, south, west + (east - west) / 4, north)
    most = shapely.box(west + (east - west) / 4, south, east, north)
    path = register(
        tmp_path / "r.gpkg", [some, most, shapely.Point(middle, south)], Nome=["A", "B", "C"], kind=[1, 2, 3]
    )
    first, second = check(candidates, {"r": path})
    assert (first.registries["r"].where, first.registries["r"].name, first.registries["r"].distance_m) == (
        "inside",
        "B",
        0,
    )
    assert second.registries["r"].where == "outside"


def test_any_crs_and_several_registries_in_their_order(candidates, tmp_path):
    inside = gpd.GeoSeries([candidates[0].polygon], crs="EPSG:4326").to_crs(3857)
    mercator = register(tmp_path / "m.gpkg", inside, crs="EPSG:3857", title=["x"])
    nameless = register(tmp_path / "n.gpkg", [north_of(candidates[1], 10)], number=[7])
    empty = register(tmp_path / "e.geojson", [])
    found = check(candidates, {"z": mercator, "a": str(nameless), "nothing": empty})
    assert list(found[0].registries) == ["z", "a", "nothing"]
    assert found[0].registries["z"].where == "inside"
    assert (found[1].registries["a"].where, found[1].registries["a"].name) == ("near", "1")
    assert found[0].registries["nothing"].where == "outside"
    assert math.isnan(found[0].registries["nothing"].distance_m)


def test_the_antimeridian_is_no_distance(make_hit, tmp_path):
    candidates, _ = join([make_hit(32660, 2537, 23000)])
    (one,) = candidates
    assert one.lon > 177
    across, _, _ = GEOD.fwd(one.lon, one.lat, 90, 150_000)
    assert across < 0
    path = register(tmp_path / "r.geojson", [shapely.Point(across, one.lat)])
    found = check(candidates, {"r": path})[0].registries["r"]
    assert found.distance_m == pytest.approx(150_000, rel=0.02)


@pytest.mark.parametrize("text", ["", "not a vector file", '{"type": "FeatureCollection"'])
def test_a_file_that_is_none_is_refused_in_one_line(candidates, tmp_path, text):
    path = tmp_path / "bad.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match="registry r: cannot read") as caught:
        check(candidates, {"r": path})
    assert "\n" not in str(caught.value)


def test_missing_files_tables_and_crs_are_refused(candidates, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        check(candidates, {"r": tmp_path / "absent.gpkg"})
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no geometry"):
        check(candidates, {"r": tmp_path / "table.csv"})
    register(tmp_path / "r.shp", [shapely.Point(0, 0)])
    (tmp_path / "r.prj").unlink()
    with pytest.raises(InputError, match="no CRS"):
        check(candidates, {"r": tmp_path / "r.shp"})


@pytest.mark.parametrize("names", [[""], ["score"], ["Tile"], ["a\nb"], ["permits", "permits_name"], ["x", "X"]])
def test_names_that_clash_are_refused(candidates, tmp_path, names):
    path = register(tmp_path / "r.gpkg", [shapely.Point(0, 0)])
    with pytest.raises(InputError, match="registry name"):
        check(candidates, dict.fromkeys(names, path))
