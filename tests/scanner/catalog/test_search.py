"""The same question has the same answer from an API, an ItemCollection, a static catalogue and a table."""

import datetime as dt
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import rustac
from shapely.geometry import MultiPolygon, Point, Polygon, box

from scanner.catalog import DEFAULT_CATALOG, SceneQuery, find, search
from scanner.catalog.api import search_shapes
from scanner.errors import CatalogError
from tests.scanner.catalog.conftest import day, free_port, make_collection, make_item

AOI = box(16.2, 50.2, 16.4, 50.4)


def query(catalog, **more):
    given = {
        "collection": None, "level": "l2a", "start": dt.date(2023, 5, 1), "end": dt.date(2023, 5, 31), "aoi": AOI,
        "max_cloud": None,
    }  # fmt: skip
    return SceneQuery(catalog=str(catalog), **(given | more))


def ids(scenes):
    return [scene.id for scene in scenes]


def save(path, *items):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path


def refusal(asked):
    with pytest.raises(CatalogError) as caught:
        search(asked)
    message = str(caught.value)
    assert "\n" not in message
    return message


# An API


def test_an_api_is_read_page_by_page(stac_api):
    assert ids(search(query(stac_api, page_size=4))) == [f"S2A_33UWS_202305{n:02d}_0_L2A" for n in range(1, 26)]


def test_an_api_is_asked_for_days_and_area_and_sieved_for_clouds(stac_api):
    asked = query(stac_api, start=dt.date(2023, 5, 3), end=dt.date(2023, 5, 7), max_cloud=20)
    assert [scene.time.day for scene in search(asked)] == [3, 4, 5]
    found = find(query(stac_api, aoi=Point(20, 50)))
    assert found.scenes == ()
    assert "0 items seen" in found.explain()


def test_an_area_on_both_sides_of_the_antimeridian(stac_api):
    aoi = MultiPolygon([box(179.8, 50.2, 180, 50.4), box(-180, 50.2, -179.8, 50.4)])
    assert [scene.time.day for scene in search(query(stac_api, aoi=aoi))] == [26, 27]


def test_relative_hrefs_of_an_api_start_from_the_item(stac_api):
    href = search(query(stac_api))[0].assets["B02"].href
    assert href.startswith(f"{stac_api}/collections/sentinel-2-l2a/items/")


def test_an_unknown_collection_is_refused_with_those_there_are(stac_api):
    message = refusal(query(stac_api, collection="nowhere"))
    assert "no collection 'nowhere'; it has elsewhere, sentinel-2-l1c, sentinel-2-l2a" in message


def test_a_collection_of_another_level_is_refused(stac_api):
    assert "holds l1c, expected l2a" in refusal(query(stac_api, collection="sentinel-2-l1c"))


def test_an_empty_collection_is_no_error(stac_api):
    assert search(query(stac_api, level="l1c")) == ()


def test_nobody_listens():
    began = time.monotonic()
    assert "Connection refused" in refusal(query(f"http://127.0.0.1:{free_port()}"))
    assert time.monotonic() - began < 30


def test_planetary_computer_has_no_l1c():
    url = "https://planetarycomputer.microsoft.com/api/stac/v1"
    assert "has no l1c collection" in refusal(query(url, level="l1c"))


def test_default_catalog():
    assert DEFAULT_CATALOG == "https://earth-search.aws.element84.com/v1"


class Moody(BaseHTTPRequestHandler):
    """A small STAC API whose answers come from a list of (status, body), the last one again and again."""

    answers: list[tuple[int, str]]

    def do_GET(self):
        body = json.dumps(self.root()) if self.path == "/" else json.dumps(make_collection())
        if self.path == "/notstac":
            body = '{"hello": "world"}'
        if self.path == "/page":
            body = "<html>"
        self.reply(200, body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def root(self):
        url = f"http://127.0.0.1:{self.server.server_port}"
        links = [
            {"rel": "search", "href": f"{url}/search", "method": "POST"},
            {"rel": "data", "href": f"{url}/collections"},
        ]
        kinds = ["core", "item-search", "collections", "ogcapi-features"]
        return {
            "type": "Catalog", "id": "moody", "description": "", "stac_version": "1.0.0", "links": links,
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{kind}" for kind in kinds],
        }  # fmt: skip

    def log_message(self, *_):
        pass


@pytest.fixture
def moody():
    handler = type("Now", (Moody,), {"answers": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_a_busy_server_is_asked_again(moody):
    url, handler = moody
    page = json.dumps({"type": "FeatureCollection", "features": [make_item()], "links": []})
    handler.answers = [(503, "busy"), (429, "slow down"), (200, page)]
    assert ids(search(query(url))) == [make_item()["id"]]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, '{"detail":\n "bad"}', "HTTP 400"),
        (200, '{"type": "FeatureColl', "expected a STAC API"),
        (200, "<html>", "expected a STAC API"),
    ],
)
def test_a_server_that_answers_nonsense(moody, status, body, words):
    url, handler = moody
    handler.answers = [(status, body)]
    assert words in refusal(query(url))


@pytest.mark.parametrize("path", ["notstac", "page", "collections/x"])
def test_a_page_that_is_no_api(moody, path):
    assert f"--catalog {moody[0]}/{path}" in refusal(query(f"{moody[0]}/{path}"))


# Files


def test_an_item_collection(tmp_path):
    path = save(tmp_path / "items.json", day(2), day(1))
    scenes = search(query(path))
    assert [scene.time.day for scene in scenes] == [1, 2]
    assert scenes[0].assets["B02"].href == str(tmp_path / scenes[0].id / "B02.tif")
    assert search(query(path.as_uri())) == scenes


def link(rel, href):
    return {"rel": rel, "href": href}


def test_a_static_catalogue_and_a_table_answer_as_the_collection_does(tmp_path):
    items = [day(number) for number in (1, 2, 3)]
    expected = search(query(save(tmp_path / "items.json", *items)))
    root = {"type": "Catalog", "id": "c", "description": "", "stac_version": "1.0.0"}
    root |= {"links": [link("self", "./catalog.json"), link("child", "collection.json")]}
    child = make_collection() | {"links": [link("item", f"./{item['id']}.json") for item in items]}
    child["links"] += [link("root", "./catalog.json"), link("child", "catalog.json")]
    for name, value in [("catalog", root), ("collection", child), *((item["id"], item) for item in items)]:
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    rustac.write_sync(str(tmp_path / "items.parquet"), items)
    for name in ("catalog.json", "collection.json", ".", "items.parquet"):
        scenes = search(query(tmp_path / name))
        assert scenes == expected
        assert [scene.assets for scene in scenes] == [scene.assets for scene in expected]
        assert all(a.footprint.equals(b.footprint) for a, b in zip(scenes, expected, strict=True))


def test_hrefs_of_a_static_catalogue_start_from_the_items_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "item.json").write_text(json.dumps(make_item()))
    (tmp_path / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "stac_version": "1.0.0", "links": [{"rel": "item", "href": "deep/item.json"}]})
    )
    (one,) = search(query(tmp_path / "catalog.json"))
    assert one.assets["B02"].href == str(tmp_path / "deep" / one.id / "B02.tif")


def test_days_are_utc_and_both_included(tmp_path):
    moments = {
        "a": "2023-04-30T23:59:59.999999Z", "b": "2023-05-01T00:00:00Z", "c": "2023-05-02T23:59:59.999999Z",
        "d": "2023-05-03T00:00:00Z", "e": "2023-05-03T01:00:00+02:00", "f": "2023-05-01T12:00:00",
    }  # fmt: skip
    items = [make_item(key, datetime=text, s2__datatake_id=f"G_{key}_20230501") for key, text in moments.items()]
    scenes = search(query(save(tmp_path / "items.json", *items), start=dt.date(2023, 5, 1), end=dt.date(2023, 5, 2)))
    assert ids(scenes) == ["b", "f", "e", "c"]
    assert all(scene.time.tzinfo is dt.UTC for scene in scenes)


def test_clouds_unknown_are_kept(tmp_path):
    path = save(
        tmp_path / "i.json", day(1, eo__cloud_cover=50.1), day(2, eo__cloud_cover=None), day(3, eo__cloud_cover=50)
    )
    found = find(query(path, max_cloud=50))
    assert [scene.time.day for scene in found.scenes] == [2, 3]
    assert found.explain() == "3 items seen: 1 cloudier than the limit"


def test_the_true_footprint_decides_not_its_box(tmp_path):
    triangle = Polygon([(16, 50), (17, 50), (16, 51)])
    path = save(tmp_path / "items.json", make_item(geometry=triangle))
    assert search(query(path, aoi=Point(16.2, 50.2)))
    assert find(query(path, aoi=Point(16.8, 50.8))).left_out == {"outside the area": 1}


def test_a_footprint_astride_the_antimeridian_is_found_on_both_sides_and_not_between(tmp_path):
    ground = Polygon([(179, 50), (-179, 50), (-179, 51), (179, 51)])
    path = save(tmp_path / "items.json", make_item(geometry=ground))
    for lon, there in ((179.5, True), (-179.5, True), (0, False), (178, False)):
        assert bool(search(query(path, aoi=Point(lon, 50.5)))) is there


def test_levels_and_collections_of_a_file(tmp_path):
    l1c = make_item("S2A_33UWS_20230501_0_L1C", collection="sentinel-2-l1c")
    mixed = save(tmp_path / "mixed.json", l1c, day(2), day(3, collection="mine"))
    assert [scene.level for scene in search(query(mixed, level="l1c"))] == ["l1c"]
    assert [scene.collection for scene in search(query(mixed))] == ["sentinel-2-l2a", "mine"]
    assert [scene.collection for scene in search(query(mixed, collection="mine"))] == ["mine"]
    assert "no collection 'yours'; it has mine, sentinel-2-l1c, sentinel-2-l2a" in refusal(
        query(mixed, collection="yours")
    )
    assert "holds l1c, expected l2a" in refusal(query(save(tmp_path / "l1c.json", l1c)))
    assert "holds l1c, expected l2a" in refusal(query(mixed, collection="sentinel-2-l1c"))


def test_items_that_cannot_be_used_are_named(tmp_path, caplog):
    broken = [make_item("timeless", datetime=None), make_item("bare") | {"assets": {}}, {"id": "odd"}, 7]
    found = find(query(save(tmp_path / "items.json", day(1), *broken)))
    assert len(found.scenes) == 1
    assert [(one.id, one.reason) for one in found.skipped] == [
        ("timeless", "it states no time"),
        ("bare", "none of its assets is a Sentinel-2 band"),
        ("odd", "it is not a STAC item"),
        ("item 5", "it is not a STAC item"),
    ]
    assert "skipped timeless: it states no time" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.json", None, "no such file"),
        ("cut.json", '{"type": "FeatureCollection", "features": [', "truncated"),
        ("binary.json", b"\xff\xfe\x00", "not valid JSON"),
        ("other.json", '{"a": 1}', "not STAC"),
        ("list.json", "[1]", "not STAC"),
        ("places.json", '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "none of its 1 features"),
        ("odd.json", '{"type": "FeatureCollection", "features": 3}', "is not a list"),
        ("dangling.json", '{"type": "Catalog", "links": [{"rel": "item", "href": "gone.json"}]}', "gone.json: cannot"),
        ("far.json", '{"type": "Catalog", "links": [{"rel": "item", "href": "http://127.0.0.1/a"}]}', "files only"),
        ("bad.parquet", "PAR?", "not a stac-geoparquet file"),
    ],
)
def test_files_that_are_no_catalogue(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal(query(path))


def test_a_folder_without_a_catalogue(tmp_path):
    assert "a folder without catalog.json" in refusal(query(tmp_path))


def test_an_empty_collection_gives_nothing(tmp_path):
    assert search(query(save(tmp_path / "items.json"))) == ()


# Reprocessings


def strip(start, made="20230501T150000"):
    return f"S2A_OPER_MSI_L2A_DS_2APS_{made}_S{start}_N05.09"


def test_of_reprocessed_granules_only_the_newest_baseline_counts(tmp_path):
    old = make_item(
        "old",
        s2__mgrs_tile="33UWS",
        s2__processing_baseline="02.14",
        s2__datatake_id="GS2A_20230501T100031_041000_N02.14",
    )
    new = make_item("new", s2__mgrs_tile="33UWS", s2__datastrip_id=strip("20230501T100030"))
    found = find(query(save(tmp_path / "items.json", new, old)))
    assert ids(found.scenes) == ["new"]
    assert found.superseded == ("old",)


def test_two_datastrips_of_one_datatake_both_stay(tmp_path):
    south = make_item("S2A_33UWS_20230501_0_L2A", s2__datastrip_id=strip("20230501T100028"))
    north = make_item("S2A_33UWS_20230501_1_L2A", s2__datastrip_id=strip("20230501T100528"))
    assert len(search(query(save(tmp_path / "items.json", south, north)))) == 2


def test_a_later_generation_of_one_datastrip_replaces_the_earlier(tmp_path):
    first = make_item("S2A_33UWS_20230501_0_L2A")
    again = make_item(
        "S2A_33UWS_20230501_1_L2A", s2__datastrip_id=strip("20230501T100028", "20230601T000000"),
        s2__generation_time="2023-06-01T00:00:00Z",
    )  # fmt: skip
    for items in ((first, again), (again, first)):
        found = find(query(save(tmp_path / "items.json", *items)))
        assert ids(found.scenes) == [again["id"]]
        assert found.superseded == (first["id"],)


def test_without_datastrips_the_sequence_tells_and_other_tiles_and_looks_stay(tmp_path):
    names = ["S2A_33UWS_20230501_0_L2A", "S2A_33UWS_20230501_1_L2A", "S2A_33UWT_20230501_0_L2A"]
    items = [make_item(name, s2__datastrip_id=None) for name in names] + [day(2, s2__datastrip_id=None)]
    assert len(search(query(save(tmp_path / "items.json", *items)))) == 4


def test_one_granule_in_two_collections_counts_once(tmp_path):
    items = [make_item("S2A_T33UWS_20230501T100028_L2A", collection="sentinel-2-c1-l2a"), make_item()]
    found = find(query(save(tmp_path / "items.json", *items)))
    assert len(found.scenes) == len(found.superseded) == 1


# What a server is asked


def test_search_shapes_cover_the_area_and_stay_small():
    ring = Point(10, 50).buffer(1, quad_segs=500)
    (hull,) = search_shapes(ring)
    assert hull.covers(ring)
    assert len(hull.exterior.coords) == 5
    islands = MultiPolygon([box(170 + 0.1 * n, 1, 170.05 + 0.1 * n, 2) for n in range(20)] + [box(-180, 1, -179, 2)])
    shapes = search_shapes(islands)
    assert len(shapes) == 2
    assert all(any(shape.covers(part) for shape in shapes) for part in islands.geoms)
    assert sum(shape.area for shape in shapes) < 4
    assert search_shapes(Point(1, 2)) == (Point(1, 2),)
