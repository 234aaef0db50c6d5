"""Items made by code, and a real STAC API on loopback that serves them."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from shapely.geometry import box, mapping

BANDS = {
    "B01": ("coastal", 0.443, 60), "B02": ("blue", 0.49, 10), "B03": ("green", 0.56, 10), "B04": ("red", 0.665, 10),
    "B05": ("rededge", 0.704, 20), "B06": ("rededge", 0.74, 20), "B07": ("rededge", 0.783, 20),
    "B08": ("nir", 0.842, 10), "B8A": ("nir08", 0.865, 20), "B09": ("nir09", 0.945, 60), "B11": ("swir16", 1.61, 20),
    "B12": ("swir22", 2.19, 20),
}  # fmt: skip


def make_item(
    name="S2A_33UWS_20230501_0_L2A", *, geometry=None, collection="sentinel-2-l2a", offset=-0.1, **properties
):
    """A plain L2A item of one granule at 16..17 E, 50..51 N; properties overrule, None takes one away."""
    ground = box(16, 50, 17, 51) if geometry is None else geometry
    raster = {"nodata": 0, "scale": 0.0001} | ({} if offset is None else {"offset": offset})
    assets = {
        band: {
            "href": f"./{name}/{band}.tif", "gsd": gsd, "roles": ["data", "reflectance"], "raster:bands": [raster],
            "eo:bands": [{"name": band, "common_name": common, "center_wavelength": centre}],
        }
        for band, (common, centre, gsd) in BANDS.items()
    }  # fmt: skip
    assets["SCL"] = {"href": f"./{name}/SCL.tif", "gsd": 20, "roles": ["data"]}
    stated = {
        "datetime": "2023-05-01T10:00:31.024Z", "platform": "Sentinel-2A", "eo:cloud_cover": 12.5, "proj:epsg": 32633,
        "s2:processing_baseline": "05.09", "s2:datatake_id": "GS2A_20230501T100031_041000_N05.09",
        "s2:datastrip_id": "S2A_OPER_MSI_L2A_DS_2APS_20230501T150000_S20230501T100028_N05.09",
        "s2:generation_time": "2023-05-01T15:00:00Z", "updated": "2023-05-02T00:00:00Z",
    } | {key.replace("__", ":"): value for key, value in properties.items()}  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, "links": [],
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "geometry": mapping(ground), "bbox": list(ground.bounds), "assets": assets,
        "properties": {key: value for key, value in stated.items() if value is not None},
    }  # fmt: skip


def make_collection(name="sentinel-2-l2a"):
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "description": "Made by code", "license": "other",
        "links": [], "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
        },
    }  # fmt: skip


def day(number: int, **more):
    """The item of one day of May 2023, in its own datatake."""
    text = f"202305{number:02d}"
    return make_item(
        f"S2A_33UWS_{text}_0_L2A", datetime=f"2023-05-{number:02d}T10:00:31.024Z",
        s2__datatake_id=f"GS2A_{text}T100031_0410{number:02d}_N05.09", **more,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def stac_api(tmp_path_factory) -> Iterator[str]:
    """URL of a server with 25 days of May 2023, one granule a day, and a few odd ones in a second collection."""
    folder = tmp_path_factory.mktemp("api")
    odd = [make_item("other", collection="elsewhere", s2__mgrs_tile="33UWS")]
    clouds = {number: float(4 * number) for number in range(1, 26)}
    items = [day(number, eo__cloud_cover=clouds[number]) for number in clouds] + odd
    items += [day(26, geometry=box(179.5, 50, 180, 51)), day(27, geometry=box(-180, 50, -179.5, 51))]
    files = []
    for name in ("sentinel-2-l2a", "sentinel-2-l1c", "elsewhere"):
        files.append(folder / f"{name}.json")
        files[-1].write_text(json.dumps(make_collection(name)))
    files.append(folder / "items.json")
    files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    yield from serve(files)


def serve(files: list[Path]) -> Iterator[str]:
    port = free_port()
    command = [Path(sys.executable).with_name("rustac"), "serve", "-a", f"127.0.0.1:{port}", *files]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        else:
            pytest.fail("rustac serve did not answer")
        yield url
    finally:
        process.terminate()
        process.wait(10)
