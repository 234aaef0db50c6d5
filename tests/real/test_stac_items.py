"""Every real item of two public catalogues becomes the scene it should be: bands, offsets, looks, tiles."""

import datetime as dt
import json
import re
import threading
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from shapely.geometry import Point, box, shape

from scanner.catalog import SceneQuery, find, search
from scanner.catalog.fields import level_of
from scanner.catalog.items import scene_of
from scanner.composite.order import entries
from scanner.types import BANDS
from tiling import row_of

WORLD = box(-180, -80, 180, 84)
L2A = [band for band in BANDS if band != "B10"]
NATIVE = {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B09": 60, "B10": 60}
FILES = {
    "earth_search_v1/sentinel-2-c1-l2a__baseline_05.10.json": ("l2a", 12, -0.1, None),
    "earth_search_v1/sentinel-2-l1c__baseline_05.10.json": ("l1c", 7, -0.1, None),
    "earth_search_v1/sentinel-2-l2a__baseline_05.09.json": ("l2a", 11, 0.0, None),
    "earth_search_v1/sentinel-2-l2a__baseline_05.10.json": ("l2a", 7, 0.0, None),
    "planetary_computer/sentinel-2-l2a__baseline_02.12.json": ("l2a", 12, 0.0, "planetary_computer"),
    "planetary_computer/sentinel-2-l2a__baseline_05.10.json": ("l2a", 12, -0.1, "planetary_computer"),
}
"""Level, how many, the offset still to be applied, and how files are signed."""


@pytest.fixture(scope="module")
def folder(shared_data):
    where = shared_data / "stac-items"
    if not where.is_dir():
        pytest.skip(f"no {where}")
    return where


def query(path, level="l2a", aoi=WORLD):
    return SceneQuery(
        catalog=str(path), collection=None, level=level, start=dt.date(2015, 6, 27), end=dt.date(2030, 1, 1), aoi=aoi,
        max_cloud=None,
    )  # fmt: skip


def test_the_table_names_every_file_there_is(folder):
    there = {str(path.relative_to(folder)) for path in folder.glob("*/*__baseline_*.json")}
    assert there == set(FILES)


def test_real_granules_lie_on_the_pixels_of_their_zones(folder):
    """At every pixel size, in southern zones too."""
    southern = 0
    for file in FILES:
        for item in json.loads((folder / file).read_text())["features"]:
            zone = item["properties"].get("proj:epsg") or int(item["properties"]["proj:code"].removeprefix("EPSG:"))
            southern += zone > 32700
            for asset in item["assets"].values():
                if "proj:transform" in asset and asset["proj:transform"][0] in (10, 20, 60):
                    gsd_m, _, west, _, _, north, *_ = asset["proj:transform"]
                    assert west % gsd_m == 0
                    assert row_of(zone, north, int(gsd_m)).is_integer()
    assert southern


@pytest.mark.parametrize("file", FILES)
def test_every_item_is_a_scene(folder, file):
    level, count, offset, signer = FILES[file]
    found = find(query(folder / file, level))
    assert (len(found.scenes), found.skipped, found.superseded) == (count, (), ())
    for scene in found.scenes:
        bands = [*BANDS] if level == "l1c" else [*L2A, "SCL"]
        assert (scene.level, scene.signer, list(scene.assets)) == (level, signer, bands)
        assert scene.baseline == file[-10:-5]
        assert re.fullmatch(r"sentinel-2[ab]", scene.platform)
        assert re.fullmatch(r"GS2[AB]_\d{8}T\d{6}_\d{6}", scene.look)
        assert re.fullmatch(r"\d\d[C-X][A-Z]{2}", scene.tile)
        assert scene.tile in scene.id.replace("_T", "_")
        assert scene.epsg % 100 == int(scene.tile[:2])
        assert scene.footprint.is_valid
        for band, asset in scene.assets.items():
            assert asset.gsd_m == NATIVE.get(band, 20)
            assert (asset.scale, asset.offset) == ((1, 0) if band == "SCL" else (1e-4, offset))
            assert not asset.href.endswith(".jp2") or level == "l1c"


@pytest.mark.parametrize("file", FILES)
def test_band_names_agree_with_file_names(folder, file):
    """An oracle from outside: both catalogues name their files by the product's band names."""
    for item in json.loads((folder / file).read_text())["features"]:
        level = level_of(item)
        for band, asset in scene_of(item, level=level, catalog="https://host/v1", base="").assets.items():
            assert re.search(rf"[/_]{band}(_\d\dm)?\.(tif|jp2)$", asset.href)


def test_both_catalogues_and_both_collections_agree_on_looks(folder):
    """Earth Search gives one datatake in three collections: as L1C, L2A and collection 1."""
    names = ("sentinel-2-c1-l2a", "sentinel-2-l2a")
    c1, l2a = (search(query(folder / f"earth_search_v1/{name}__baseline_05.10.json")) for name in names)
    l1c = search(query(folder / "earth_search_v1/sentinel-2-l1c__baseline_05.10.json", "l1c"))
    shared = {(scene.look, scene.tile) for scene in l2a}
    assert shared == {(scene.look, scene.tile) for scene in l1c}
    assert shared < {(scene.look, scene.tile) for scene in c1}


def test_one_granule_in_two_collections_counts_once(folder, tmp_path):
    names = ("sentinel-2-c1-l2a", "sentinel-2-l2a")
    files = [folder / f"earth_search_v1/{name}__baseline_05.10.json" for name in names]
    features = [item for file in files for item in json.loads(file.read_text())["features"]]
    path = tmp_path / "both.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = find(query(path))
    assert (len(found.scenes), len(found.superseded)) == (12, 7)


def test_a_datatake_is_one_look(folder):
    scenes = search(query(folder / "planetary_computer/sentinel-2-l2a__baseline_05.10.json"))
    order = entries(scenes, zone=32631)
    assert {entry.look for entry in order} == {"GS2B_20240516T162829_037575"}
    assert all(len(entry.scenes) == 12 for entry in order)
    assert order[0].scenes[0].epsg == 32631


def test_the_area_is_cut_by_true_footprints(folder):
    path = folder / "earth_search_v1/sentinel-2-l2a__baseline_05.10.json"
    for item in json.loads(path.read_text())["features"]:
        west, south, east, north = item["bbox"]
        inside = shape(item["geometry"]).representative_point()
        corners = [Point(x, y) for x in (west, east) for y in (south, north)]
        assert item["id"] in {scene.id for scene in search(query(path, aoi=inside))}
        assert any(item["id"] not in {scene.id for scene in search(query(path, aoi=corner))} for corner in corners)


@pytest.mark.parametrize(
    ("name", "level", "count", "bands"), [("strzegom", "l2a", 4, 10), ("lazio-l1c", "l1c", 30, 13)]
)
def test_local_collections(shared_data, name, level, count, bands):
    scenes = search(query(shared_data / name / "items.json", level))
    assert len(scenes) == count
    assert {len(scene.assets) for scene in scenes} == {bands}
    assert all(
        (shared_data / name / scene.id / f"{band}.tif").samefile(asset.href)
        for scene in scenes
        for band, asset in scene.assets.items()
    )
    offsets = {scene.time.date(): scene.assets["B02"].offset for scene in scenes}
    assert all(offset == (-0.1 if day >= dt.date(2022, 1, 25) else 0.0) for day, offset in offsets.items())
    assert len({scene.look for scene in scenes}) == count


ROOTS = {"earth_search_v1": "https://earth-search.aws.element84.com/v1", "planetary_computer": "https://planetarycomputer.microsoft.com/api/stac/v1"}  # fmt: skip  # noqa: E501


@contextmanager
def replayed(folder, cassette, maker):
    """The recorded pages of a real server, from one on loopback whose links lead to itself; and what it was asked."""
    recorded = yaml.safe_load((folder / "raw_http_cassettes" / cassette).read_text())
    pages = deque(
        one["response"]["body"]["string"] for one in recorded["interactions"] if one["request"]["method"] == "POST"
    )
    asked = []

    class Replay(BaseHTTPRequestHandler):
        def do_GET(self):
            here = f"http://127.0.0.1:{self.server.server_port}"
            name = self.path.rpartition("/collections/")[2]
            if name != self.path:
                return self.reply((folder / maker / f"collection__{name}.json").read_text())
            links = [
                {"rel": rel, "href": f"{here}/{path}"} for rel, path in (("search", "search"), ("data", "collections"))
            ]
            kinds = [f"https://api.stacspec.org/v1.0.0/{kind}" for kind in ("core", "item-search", "collections")]
            root = {"type": "Catalog", "id": "replay", "description": "", "stac_version": "1.0.0", "links": links}
            return self.reply(json.dumps(root | {"conformsTo": kinds}))

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            page = json.loads(pages.popleft())
            if not pages:
                page["links"] = []
            self.reply(json.dumps(page).replace(ROOTS[maker], f"http://127.0.0.1:{self.server.server_port}"))

        def reply(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Replay) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_recorded_pages_of_earth_search_are_followed_and_sieved(folder):
    with replayed(folder, "TestCLISearch.test_filter[inprocess].yaml", "earth_search_v1") as (url, asked):
        found = find(query(url))
    assert found.seen == 20
    assert asked[0]["collections"] == ["sentinel-2-l2a"]
    assert asked[1] == {"next": "2025-07-31T13:03:25.899000Z,S2B_T24MVV_20250731T130245_L2A,sentinel-2-c1-l2a"}
    assert found.left_out["of another collection"] > 0
    assert len(found.scenes) + found.left_out["of another collection"] == 20
    assert {scene.collection for scene in found.scenes} == {"sentinel-2-l2a"}
    assert {scene.assets["B02"].offset for scene in found.scenes} == {0.0}


def test_a_recorded_answer_of_planetary_computer(folder):
    with replayed(folder, "TestItemSearch.test_datetime_results.yaml", "planetary_computer") as (url, _):
        found = find(query(url))
    assert (found.seen, found.skipped) == (33, ())
    assert {scene.signer for scene in found.scenes} == {"planetary_computer"}
    assert {scene.look for scene in found.scenes} == {"GS2A_20190101T000001_018417"}
    # The orbit ran beside the antimeridian: no footprint may be mistaken for one around the world.
    assert max(scene.footprint.area for scene in found.scenes) < 6
