"""An item becomes a scene, however its catalogue writes it."""

import datetime as dt
import pickle

import pytest
from shapely.geometry import MultiPolygon, Polygon, box, mapping

from scanner.catalog.assets import band_of, resolve_href
from scanner.catalog.fields import ItemError, level_of, strip_of
from scanner.catalog.items import scene_of
from tests.scanner.catalog.conftest import BANDS, make_item


def scene(item, base="/data"):
    return scene_of(item, level="l2a", catalog="items.json", base=base)


def test_a_plain_item():
    one = scene(make_item())
    assert one.time == dt.datetime(2023, 5, 1, 10, 0, 31, 24000, tzinfo=dt.UTC)
    assert (one.platform, one.look, one.tile) == ("sentinel-2a", "GS2A_20230501T100031_041000", "33UWS")
    assert (one.baseline, one.cloud_cover, one.epsg, one.signer) == ("05.09", 12.5, 32633, None)
    assert list(one.assets) == [*BANDS, "SCL"]
    assert one.assets["B8A"].href == "/data/S2A_33UWS_20230501_0_L2A/B8A.tif"
    assert [one.assets[band].gsd_m for band in ("B01", "B02", "B05", "SCL")] == [60, 10, 20, 20]
    assert (one.assets["B02"].scale, one.assets["B02"].offset) == (1e-4, -0.1)
    assert (one.assets["SCL"].scale, one.assets["SCL"].offset) == (1, 0)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301


@pytest.mark.parametrize(
    ("properties", "look"),
    [
        ({}, "GS2A_20230501T100031_041000"),
        ({"s2__datatake_id": None, "sat__relative_orbit": 122}, "sentinel-2a_R122_20230501"),
        ({"s2__datatake_id": None, "s2__product_uri": "S2A_MSIL2A_2_N0509_R022_T.SAFE"}, "sentinel-2a_R022_20230501"),
        ({"s2__datatake_id": "odd", "platform": None}, "sentinel-2a_20230501"),
    ],
)  # fmt: skip
def test_looks(properties, look):
    assert scene(make_item(**properties)).look == look


def test_the_solar_day_follows_the_longitude():
    east = make_item(geometry=box(178, 50, 179, 51), datetime="2023-05-01T22:30:00Z", s2__datatake_id=None)
    west = make_item(geometry=box(-179, 50, -178, 51), datetime="2023-05-01T22:30:00Z", s2__datatake_id=None)
    assert scene(east).look.endswith("20230502")
    assert scene(west).look.endswith("20230501")


def test_the_solar_day_of_a_footprint_astride_the_antimeridian_is_that_of_its_larger_part():
    ground = Polygon([(178, 50), (-179.5, 50), (-179.5, 51), (178, 51)])
    assert scene(make_item(geometry=ground, datetime="2023-05-01T22:30:00Z", s2__datatake_id=None)).look[-2:] == "02"


@pytest.mark.parametrize(
    ("name", "properties", "tile"),
    [
        ("x", {"grid__code": "MGRS-34RCT"}, "34RCT"),
        ("x", {"grid__code": "MGRS-1VCH"}, "01VCH"),
        ("x", {"s2__mgrs_tile": "31XDL"}, "31XDL"),
        ("x", {"mgrs__utm_zone": 4, "mgrs__latitude_band": "R", "mgrs__grid_square": "CT"}, "04RCT"),
        ("S2B_T34RCT_20240517T091933_L2A", {}, "34RCT"),
        ("S2B_33UWS_20240517_0_L2A", {}, "33UWS"),
        ("S2B_MSIL2A_20240516T162829_R083_T31XDL_20240516T214419", {}, "31XDL"),
        ("x", {"grid__code": "WRS-1"}, "16.00,50.00,17.00,51.00"),
    ],
)
def test_tiles(name, properties, tile):
    assert scene(make_item(name, **properties)).tile == tile


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (float("nan"), None), ("12", None), (True, None), (0, 0.0), (3, 3.0)]
)
def test_cloud_cover(value, expected):
    assert scene(make_item(eo__cloud_cover=value)).cloud_cover == expected


@pytest.mark.parametrize(
    ("properties", "epsg"),
    [
        ({}, 32633),
        ({"proj__epsg": None, "proj__code": "EPSG:32634"}, 32634),
        ({"proj__epsg": 32633.0}, 32633),
        ({"proj__epsg": None}, None),
    ],
)
def test_crs(properties, epsg):
    assert scene(make_item(**properties)).epsg == epsg


def test_crs_stated_on_assets_alone():
    item = make_item(proj__epsg=None)
    item["assets"]["B02"]["proj:code"] = "EPSG:32632"
    assert scene(item).epsg == 32632


@pytest.mark.parametrize(
    ("name", "collection", "properties", "level"),
    [
        ("x", "sentinel-2-l2a", {}, "l2a"),
        ("x", "sentinel-2-c1-l2a", {}, "l2a"),
        ("x", "sentinel-s2-l2a-cogs", {}, "l2a"),
        ("x", "mine", {"s2__product_type": "S2MSI1C"}, "l1c"),
        ("x", "sentinel-2-l2a", {"s2__product_type": "S2MSI1C"}, "l1c"),
        ("x", "mine", {"processing__level": "L1C"}, "l1c"),
        ("x", "mine", {"processing__level": "Level-2A"}, "l2a"),
        ("S2A_MSIL1C_20230501T100031_N0509_R122_T33UWS_20230501T150000", None, {}, "l1c"),
        ("S2_33TUG_20180106_L1C", None, {}, "l1c"),
        ("x", "landsat-c2-l2", {}, None),
    ],
)
def test_levels(name, collection, properties, level):
    assert level_of(make_item(name, collection=collection, **properties)) == level


def test_baselines_are_found_in_names_too():
    uri = "S2A_MSIL2A_20180501T100031_N0500_R122_T33UWS_20230501T150000.SAFE"
    bare = {"s2__processing_baseline": None, "s2__datatake_id": None}
    assert scene(make_item(**bare)).baseline == "00.00"
    assert scene(make_item(**bare, s2__product_uri=uri)).baseline == "05.00"
    assert scene(make_item(**bare, processing__version="05.11")).baseline == "05.11"
    assert scene(make_item(s2__processing_baseline=None)).baseline == "05.09"


def test_versions_sort_by_generation_then_by_update():
    first = scene(make_item()).version
    written = scene(make_item(updated="2023-05-03T02:00:00+02:00")).version
    made = scene(make_item(s2__generation_time="2023-05-01T15:00:00.5Z", updated=None)).version
    assert first < written < made
    assert written.endswith("/2023-05-03T00:00:00.000+00:00")


def test_platforms_come_from_the_id_where_they_are_not_stated():
    assert scene(make_item("S2C_33UWS_20250501_0_L2A", platform=None)).platform == "sentinel-2c"
    assert scene(make_item("S2B_MSIL2A_20230501T1", platform=None)).platform == "sentinel-2b"
    assert scene(make_item("odd", platform=None)).platform == "sentinel-2"


def test_strips():
    assert strip_of(make_item()) == "20230501T100028"
    assert strip_of(make_item("S2A_33UWS_20230501_1_L2A", s2__datastrip_id=None)) == "1"
    assert strip_of(make_item("x", s2__datastrip_id=None, s2__sequence="0")) == "0"
    assert strip_of(make_item("x", s2__datastrip_id=None)) == ""


@pytest.mark.parametrize(
    ("ground", "bbox"),
    [
        (Polygon([(179, 50), (-179, 50), (-179, 51), (179, 51)]), None),
        (box(179, 50, 181, 51), None),
        (box(-181, 50, -179, 51), None),
        (MultiPolygon([box(179, 50, 180, 51), box(-180, 50, -179, 51)]), None),
        (None, [179, 50, -179, 51]),
        (None, [179, 50, 0, -179, 51, 900]),
    ],
)
def test_footprints_are_split_at_the_antimeridian(ground, bbox):
    item = make_item()
    item |= {"geometry": None if ground is None else mapping(ground), "bbox": bbox}
    split = MultiPolygon([box(179, 50, 180, 51), box(-180, 50, -179, 51)])
    assert scene(item).footprint.symmetric_difference(split).area < 1e-9


def test_a_footprint_that_crosses_itself_is_mended():
    item = make_item()
    item["geometry"] = {"type": "Polygon", "coordinates": [[[0, 0, 5], [2, 2, 5], [2, 0, 5], [0, 2, 5], [0, 0, 5]]]}
    assert scene(item).footprint.is_valid
    assert not scene(item).footprint.has_z


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"geometry": None, "bbox": None}, "neither geometry nor bbox"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "empty"),
        ({"geometry": {"type": "Polygon"}}, "cannot be read"),
        ({"geometry": None, "bbox": [1, 2]}, "cannot be read"),
        ({"properties": {"datetime": None}}, "no time"),
        ({"properties": {"datetime": "yesterday"}}, "no time"),
        ({"assets": {"thumbnail": {"href": "a.png"}}}, "none of its assets"),
        ({"assets": {"SCL": {"href": "a.tif"}, "B02": {}, "B03": None}}, "none of its assets"),
    ],
)
def test_items_that_lack_what_is_needed(change, words):
    with pytest.raises(ItemError, match=words):
        scene(make_item() | change)


def named(**band):
    return {"href": "x.tif", "eo:bands": [band]}


@pytest.mark.parametrize(
    ("key", "asset", "band"),
    [
        ("B02", {}, "B02"),
        ("B2", {}, "B02"),
        ("b8a", {}, "B8A"),
        ("B8A_20m", {}, "B8A"),
        ("B13", {}, None),
        ("scl", {}, "SCL"),
        ("SCL_20m", {}, "SCL"),
        ("blue", {}, "B02"),
        ("rededge2", named(name="rededge2", common_name="rededge"), "B06"),
        ("nir08", named(name="nir08", common_name="nir08"), "B8A"),
        ("cirrus", named(name="cirrus"), "B10"),
        ("swir22", {}, "B12"),
        ("blue-jp2", named(name="blue", common_name="blue"), None),
        ("image1", named(name="B8A", common_name="rededge"), "B8A"),
        ("image1", named(name="one", common_name="rededge", center_wavelength=0.865), "B8A"),
        ("image1", named(name="one", common_name="nir", center_wavelength=0.842), "B08"),
        ("image1", named(name="one", common_name="rededge"), None),
        ("image1", named(name="one", common_name="swir16"), "B11"),
        ("image1", named(name="one", center_wavelength=10.9), None),
        ("image1", {"bands": [{"name": "B11"}]}, "B11"),
        ("image1", {"bands": [{"name": "x", "eo:common_name": "blue", "eo:center_wavelength": 0.49}]}, "B02"),
        ("image1", {"bands": [{"name": "x", "eo:common_name": "rededge071"}]}, "B05"),
        ("visual", named(name="B04"), None),
        ("TCI_10m", {}, None),
        ("preview", {}, None),
        ("B02", {"roles": ["thumbnail"]}, None),
        ("image1", {"eo:bands": [{"name": "B04"}, {"name": "B03"}]}, None),
        ("aot", named(name="B02"), None),
        ("WVP", {}, None),
        ("cloud", {}, None),
        ("tilejson", {}, None),
    ],
)
def test_bands(key, asset, band):
    assert band_of(key, asset) == band


def test_of_several_sizes_the_native_one_counts():
    item = make_item()
    band = item["assets"]["B05"]
    item["assets"] = {f"B05_{gsd}m": band | {"gsd": gsd, "href": f"{gsd}.tif"} for gsd in (10, 20, 60)}
    assert scene(item).assets["B05"].href == "/data/20.tif"


@pytest.mark.parametrize(
    ("change", "gsd"),
    [
        ({"raster:bands": [{"spatial_resolution": 30}]}, 30),
        ({"bands": [{"raster:spatial_resolution": 30}]}, 30),
        ({"gsd": 40}, 40),
        ({"proj:transform": [50, 0, 300000, 0, -50, 3300000]}, 50),
        ({"proj:transform": [8.98e-5, 0, 12, 0, -8.98e-5, 42], "proj:epsg": 4326}, 20),
        ({}, 20),
    ],
)
def test_pixel_sizes(change, gsd):
    item = make_item()
    item["assets"] = {"B05": {"href": "x.tif"} | change}
    assert scene(item).assets["B05"].gsd_m == gsd


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("./a/B02.tif", "/data", "/data/a/B02.tif"),
        ("../a/B02.tif", "/data/b", "/data/a/B02.tif"),
        ("/a/B02.tif", "/data", "/a/B02.tif"),
        ("file:///a%20b/B02.tif", "/data", "/a b/B02.tif"),
        ("s3://bucket/B02.jp2", "/data", "s3://bucket/B02.jp2"),
        ("https://host/B02.tif?x=1", "/data", "https://host/B02.tif?x=1"),
        ("/vsizip//a.zip/B02.tif", "/data", "/vsizip//a.zip/B02.tif"),
        ("./B02.tif", "https://host/items/one", "https://host/items/B02.tif"),
    ],
)
def test_hrefs(href, base, expected):
    assert resolve_href(href, base) == expected
