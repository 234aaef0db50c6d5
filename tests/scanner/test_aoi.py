"""An AOI is what the user gave, whole, in longitude and latitude; or one clear line."""

import json

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box, mapping

from scanner.aoi import read_aoi, unwrap, wrap_longitudes
from scanner.errors import AoiError

GEOD = Geod(ellps="WGS84")
SQUARE = box(16.0, 50.0, 16.5, 50.5)


def write(path, geometries, crs="EPSG:4326", driver="GPKG", **options):
    options = {"field_data": [], "fields": [], "geometry_type": "Unknown"} | options
    pyogrio.raw.write(path, shapely.to_wkb(geometries), crs=crs, driver=driver, **options)
    return str(path)


def refusal(given) -> str:
    with pytest.raises(AoiError) as caught:
        read_aoi(given)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("--aoi")
    return message


def test_bounds():
    assert read_aoi(" 16, 50, 16.5, 50.5 ").equals(SQUARE)
    assert read_aoi("16,50,16,50").equals(Point(16, 50))
    assert read_aoi("16,50,16,51").equals(LineString([(16, 50), (16, 51)]))


def test_bounds_across_the_antimeridian_are_split():
    aoi = read_aoi("179,-18,-179.5,-16")
    assert aoi.equals(MultiPolygon([box(179, -18, 180, -16), box(-180, -18, -179.5, -16)]))
    assert read_aoi("179,-18,180.5,-16").equals(aoi)


@given(st.floats(-180, 180), st.floats(0.001, 359), st.floats(-79, 80), st.floats(0.001, 3))
def test_wrapping_keeps_the_width(west, width, south, height):
    wrapped = wrap_longitudes(box(west, south, west + width, south + height))
    assert wrapped.bounds[0] >= -180
    assert wrapped.bounds[2] <= 180
    assert wrapped.area == pytest.approx(width * height, rel=1e-6)


def test_geojson_geometry_feature_and_collection():
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(SQUARE)}
    other = {"type": "Feature", "properties": {}, "geometry": mapping(box(16.5, 50, 17, 50.5))}
    nothing = {"type": "Feature", "properties": {}, "geometry": None}
    assert read_aoi(json.dumps(mapping(SQUARE))).equals(SQUARE)
    assert read_aoi(json.dumps(feature)).equals(SQUARE)
    whole = read_aoi(json.dumps({"type": "FeatureCollection", "features": [feature, nothing, other]}))
    assert whole.equals(box(16, 50, 17, 50.5))


def test_geojson_beyond_180_is_wrapped_and_long_edges_stay_long():
    assert read_aoi(json.dumps(mapping(box(179, 1, 181, 2)))).equals(
        MultiPolygon([box(179, 1, 180, 2), box(-180, 1, -179, 2)])
    )
    wide = box(-170, 1, 170, 2)
    assert read_aoi(json.dumps(mapping(wide))).equals(wide)


def test_geojson_with_height_a_hole_and_an_old_crs_member():
    ring = [(16, 50, 7), (17, 50, 7), (17, 51, 7), (16, 51, 7)]
    hole = [(16.4, 50.4), (16.6, 50.4), (16.6, 50.6), (16.4, 50.6)]
    flat = read_aoi(json.dumps(mapping(Polygon(ring))))
    assert not flat.has_z
    assert read_aoi(json.dumps(mapping(box(16, 50, 17, 51) - Polygon(hole)))).area == pytest.approx(0.96)
    there = Transformer.from_crs(4326, 32633, always_xy=True).transform(16, 50)
    named = mapping(Point(there)) | {"crs": {"type": "name", "properties": {"name": "EPSG:32633"}}}
    assert read_aoi(json.dumps(named)).distance(Point(16, 50)) < 1e-9


def test_points_and_mixed_collections_keep_every_part():
    mixed = shapely.GeometryCollection([Point(181, 1), SQUARE])
    aoi = read_aoi(mixed)
    assert aoi.covers(Point(-179, 1))
    assert aoi.covers(SQUARE.centroid)


@pytest.mark.parametrize(("driver", "suffix"), [("GPKG", "gpkg"), ("GeoJSON", "geojson"), ("ESRI Shapefile", "shp")])
def test_vector_files_are_united(tmp_path, driver, suffix):
    parts = [SQUARE, box(16.5, 50, 17, 50.5)]
    path = write(tmp_path / f"aoi.{suffix}", parts, driver=driver, geometry_type="Polygon")
    assert read_aoi(path).equals(box(16, 50, 17, 50.5))


def test_every_layer_of_a_file_counts_and_is_named(tmp_path, caplog):
    path = tmp_path / "layers.gpkg"
    write(path, [SQUARE], layer="north")
    write(path, [box(16, 49, 16.5, 50)], layer="south", append=True)
    assert read_aoi(str(path)).equals(box(16, 49, 16.5, 50.5))
    assert "north, south" in caplog.text


def test_a_projected_file_keeps_its_ground(tmp_path):
    square_m = box(500_000, 5_500_000, 600_000, 5_600_000)
    aoi = read_aoi(write(tmp_path / "utm.gpkg", [square_m], crs="EPSG:32633"))
    to_utm = Transformer.from_crs(4326, 32633, always_xy=True).transform
    back = shapely.transform(aoi, lambda xy: np.column_stack(to_utm(*xy.T)))
    assert back.symmetric_difference(square_m).area < 1e-6 * square_m.area


def test_a_projected_file_across_the_antimeridian_is_split(tmp_path):
    east, north = Transformer.from_crs(4326, 32601, always_xy=True).transform(180, -17)
    aoi = read_aoi(
        write(tmp_path / "fiji.gpkg", [box(east - 1e4, north - 1e4, east + 1e4, north + 1e4)], crs="EPSG:32601")
    )
    area, _ = GEOD.geometry_area_perimeter(aoi)
    assert aoi.geom_type == "MultiPolygon"
    assert aoi.bounds[0] == -180
    assert aoi.bounds[2] == 180
    assert abs(area) == pytest.approx(4e8, rel=0.01)


def test_a_file_without_crs_is_longitude_and_latitude_or_refused(tmp_path):
    def save(name, geometry):
        return write(tmp_path / name, [geometry], crs=None, driver="ESRI Shapefile", geometry_type="Polygon")

    with pytest.warns(UserWarning, match="crs"):
        plain, projected = save("plain.shp", SQUARE), save("utm.shp", box(5e5, 55e5, 6e5, 56e5))
    assert read_aoi(plain).equals(SQUARE)
    assert "look projected" in refusal(projected)


BOW = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}


@pytest.mark.parametrize(
    ("given_text", "words"),
    [
        ("", "is empty"),
        ("nowhere.gpkg", "no such file"),
        ("POLYGON ((" + "0 0 " * 2000, "no such file"),
        ("~nobody-at-all/a.gpkg", "no such file"),
        ("1,2,3", "got 3 numbers"),
        ("16,51,17,50", "south 51 is above north 50"),
        ("nan,50,17,51", "finite"),
        ("500000,5500000,600000,5600000", "look projected"),
        ("16,-85,17,-70", "leave the UTM grid"),
        ("16,83,17,85", "leave the UTM grid"),
        ("16,84,16,84", "leave the UTM grid"),
        ("{", "not valid JSON"),
        ('{"a": 1}', "no type"),
        ('{"type": "Polygon"}', "not valid GeoJSON"),
        ('{"type": "Potato", "coordinates": [1, 2]}', "not valid GeoJSON"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "not valid GeoJSON"),
        ('{"type": "Point", "coordinates": [NaN, 1]}', "not a number"),
        ('{"type": "Point", "coordinates": [1, 2], "crs": "x"}', "not valid GeoJSON"),
        ('{"type": "Point", "coordinates": [1, 2], "crs": {"properties": {"name": "EPSG:0"}}}', "CRS cannot be used"),
        ('{"type": "FeatureCollection", "features": []}', "holds no geometry"),
        ('{"type": "Polygon", "coordinates": []}', "holds no geometry"),
        (json.dumps(mapping(box(5e5, 55e5, 6e5, 56e5))), "look projected"),
        (json.dumps(BOW), "crosses itself: Self-intersection[1 1]"),
    ],
)
def test_refusals(given_text, words):
    assert words in refusal(given_text)


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "text.gpkg").write_text("not a database")
    assert "cannot be read as a vector file" in refusal(str(tmp_path / "text.gpkg"))
    assert "cannot be read as a vector file" in refusal(str(tmp_path))
    write(tmp_path / "empty.gpkg", [], crs="EPSG:4326")
    assert "holds no geometry" in refusal(str(tmp_path / "empty.gpkg"))
    bow = Polygon(BOW["coordinates"][0])
    assert "feature 2 crosses itself" in refusal(write(tmp_path / "bow.gpkg", [SQUARE, bow]))


def test_a_geometry_is_checked_too():
    assert read_aoi(SQUARE).equals(SQUARE)
    assert "crosses itself" in refusal(Polygon(BOW["coordinates"][0]))


def test_unwrapping_takes_the_short_way_and_keeps_holes():
    ring = [(179, 10), (-179, 10), (-179, 12), (179, 12)]
    hole = [(-179.5, 10.5), (-179.4, 10.5), (-179.4, 10.6), (-179.5, 10.6)]
    whole = unwrap(Polygon(ring, [hole]))
    assert whole.bounds == (179, 10, 181, 12)
    assert whole.area == pytest.approx(4 - 0.01)
    assert wrap_longitudes(whole).area == pytest.approx(4 - 0.01)
