"""Composites of real scenes equal brute force to the last bit: L1C in degrees with s2cloudless, L2A with SCL."""

import datetime as dt
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from shapely.geometry import box, shape

from scanner.types import Asset, Scene
from tiling import Window

sys.path.insert(0, str(Path(__file__).parents[1] / "scanner" / "composite"))

from composite_oracle import check, request_for

LAZIO_BANDS = ("B02", "B8A", "B10", "B12")
WORLD_BANDS = ("B02", "B08", "B05", "B12")


@pytest.fixture(scope="session")
def lazio(shared_data: Path) -> tuple[Scene, ...]:
    folder = shared_data / "lazio-l1c"
    scenes = []
    for item in json.loads((folder / "items.json").read_text())["features"]:
        assets = {
            name: Asset(href=str((folder / asset["href"]).resolve()), gsd_m=10.0)
            for name, asset in item["assets"].items()
        }
        properties = item["properties"]
        scenes.append(
            Scene(
                id=item["id"], collection="sentinel-2-l1c", level="l1c",
                time=dt.datetime.fromisoformat(properties["datetime"]), platform=properties["platform"],
                look=f"{properties['platform']}_{properties['datetime'][:10].replace('-', '')}", tile="33TUG",
                baseline="02.06", version="", cloud_cover=None, epsg=4326, footprint=shape(item["geometry"]),
                assets=assets,
            )
        )  # fmt: skip
    return tuple(scenes)


def lazio_windows() -> list[Window]:
    """The image lies at easting 310,500 to 312,600, northing 4,658,500 to 4,661,100 of zone 33."""
    whole = Window(x0=31050, y0=-466116, x1=31266, y1=-465846)
    return [whole]


@pytest.mark.parametrize("looks", [None, 1, 5, 12])
def test_l1c_in_degrees(lazio: tuple[Scene, ...], tmp_path: Path, looks: int | None) -> None:
    request = request_for(lazio, lazio_windows(), LAZIO_BANDS, zone=32633, looks=looks)
    report = check(request, tmp_path, LAZIO_BANDS if looks is None else LAZIO_BANDS[:2])
    assert report.mask_kinds == ("s2cloudless",)
    assert not report.faults


@pytest.fixture(scope="session", params=[16, 32, 64])
def world(shared_data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[Scene]:
    folder = tmp_path_factory.mktemp("world")
    scenes: dict[str, dict[str, Asset]] = {}
    for gsd in (10, 20):
        (path,) = (shared_data / "worldcereal-l2a").glob(f"S2_L2A_{gsd}m_*.nc")
        with xr.open_dataset(path, mask_and_scale=False) as data:
            for name in [name for name in data if name.startswith("B") or name == "SCL"]:
                for time, pixels in zip(data["timestamp"].values, data[name].values, strict=True):
                    key = str(time)[:19]
                    href = folder / f"{key.replace(':', '')}_{name}.tif"
                    origin = Affine(gsd, 0, float(data.x[0]) - gsd / 2, 0, -gsd, float(data.y[0]) + gsd / 2)
                    profile = {
                        "driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 1,
                        "dtype": pixels.dtype, "crs": "EPSG:32631", "transform": origin, "compress": "deflate",
                        "tiled": True, "blockxsize": request.param, "blockysize": request.param, "predictor": 2,
                    }  # fmt: skip
                    with rasterio.open(href, "w", **profile) as out:
                        out.write(pixels, 1)
                    scenes.setdefault(key, {})[name] = Asset(href=str(href), gsd_m=float(gsd))
    rng = np.random.default_rng(0)
    return [
        Scene(
            id=f"S2_{key}", collection="worldcereal", level="l2a", time=dt.datetime.fromisoformat(key + "+00:00"),
            platform="sentinel-2", look=f"look_{key.replace('-', '')}", tile="31UDS", baseline="02.00", version="",
            cloud_cover=float(rng.integers(0, 100)), epsg=32631, footprint=box(2.9, 50.8, 3.1, 50.85), assets=assets,
        )
        for key, assets in scenes.items()
    ]  # fmt: skip


WORLD = Window(x0=50136, y0=-562968, x1=50202, y1=-562902)


@pytest.mark.parametrize("looks", [None, 1, 5, 12])
def test_l2a_with_scl(world: list[Scene], tmp_path: Path, looks: int | None) -> None:
    request = request_for(world, [WORLD], WORLD_BANDS, zone=32631, looks=looks)
    report = check(request, tmp_path, WORLD_BANDS if looks is None else ("B02", "B12"))
    assert report.mask_kinds == ("scl",)
    assert not report.faults
    assert report.looks == 118
