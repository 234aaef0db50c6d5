import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pystac_client
import pytest
import rasterio
import shapely

from scanner.catalog.search import SceneQuery, search
from scanner.demo.catalogue import COLLECTION
from scanner.demo.clouds import BASELINE_CHANGE
from scanner.demo.region import Region
from scanner.demo.server import serve
from scanner.demo.spectra import BANDS
from scanner.errors import CatalogError
from scanner.types import Scene


def _servers() -> set[int]:
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return {int(line.split()[0]) for line in listing.stdout.splitlines() if "rustac" in line}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Other tests of the session may have servers of their own."""
    before = _servers()
    yield
    assert _servers() == before


def test_a_search_finds_granules_whose_files_open(region: Region) -> None:
    with serve(region.items, region.collection) as url:
        client = pystac_client.Client.open(url)
        assert [collection.id for collection in client.get_collections()] == [COLLECTION]
        search = client.search(
            collections=[COLLECTION], bbox=region.aoi, datetime=region.dates.replace("/", "T00:00:00Z/") + "T23:59:59Z"
        )
        found = list(search.items_as_dicts())
        assert sorted(item["id"] for item in found) == sorted(
            item["id"] for item in json.loads(region.items.read_text())["features"]
        )
        for item in found[:2]:
            with rasterio.open(item["assets"]["rededge1"]["href"]) as file:
                assert file.crs.to_epsg() == item["properties"]["proj:epsg"]
        some = client.search(collections=[COLLECTION], datetime="2022-01-25T00:00:00Z/..")
        assert 0 < len(list(some.items_as_dicts())) < len(found)


def test_the_catalogue_gives_the_same_scenes_from_the_file_and_from_the_server(region: Region) -> None:
    start, end = (dt.date.fromisoformat(day) for day in region.dates.split("/"))

    def scenes(catalog: str) -> tuple[Scene, ...]:
        aoi = shapely.box(*region.aoi)
        return search(
            SceneQuery(
                catalog=catalog, collection=COLLECTION, level="l2a", start=start, end=end, aoi=aoi, max_cloud=None
            )
        )

    with serve(region.items, region.collection) as url:
        served = scenes(url)
    assert len(served) == 2 * region.spec.dates
    assert served == scenes(str(region.items))
    for scene in served:
        assert set(scene.assets) == {*BANDS, "SCL"}
        assert {asset.offset for name, asset in scene.assets.items() if name != "SCL"} == (
            {-0.1} if scene.time.date() >= BASELINE_CHANGE else {0.0}
        )
        assert all(Path(asset.href).is_file() for asset in scene.assets.values())


def _fail_inside(region: Region) -> None:
    before = _servers()
    with serve(region.items, region.collection):
        assert len(_servers() - before) == 1
        raise RuntimeError("mine")


def test_the_server_ends_with_an_error_inside(region: Region) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        _fail_inside(region)


def test_a_collection_that_is_none_is_reported_in_one_line(region: Region, tmp_path: Path) -> None:
    broken = tmp_path / "collection.json"
    broken.write_text("no JSON")
    with pytest.raises(CatalogError, match="did not come up") as caught, serve(region.items, broken):
        pass
    assert "\n" not in str(caught.value)
