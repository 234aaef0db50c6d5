"""JPEG 2000 as L1C products have it (lossless 5/3, native pixel sizes, B10) gives the composite that GeoTIFF gives.

To the last bit under the same masks. Masks by s2cloudless come of the reduced copies inside the files where there are
any: a wavelet's are not means of whole pixels, so equality is not claimed of them, only that hardly a pixel changes.
"""

import datetime as dt
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from shapely.geometry import box

from scanner.composite.build import build_composite
from scanner.composite.clouds import CLOUDLESS_BANDS
from scanner.store.composite import read_window
from scanner.types import Asset, Scene
from tiling import Window

sys.path.insert(0, str(Path(__file__).parents[1] / "scanner" / "composite"))

from composite_oracle import request_for

EDGE_PX = 240
GSD_M = {"B01": 60, "B09": 60, "B10": 60, "B05": 20, "B8A": 20, "B11": 20, "B12": 20, "B02": 10, "B04": 10, "B08": 10}
BANDS = ("B02", "B05", "B10", "B12")
WHOLE = Window(x0=50136, y0=-562968, x1=50136 + EDGE_PX, y1=-562968 + EDGE_PX)
DRIVERS = {
    "tif": {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "jp2": {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64},
}


def write(path: Path, pixels: np.ndarray, gsd_m: int) -> None:
    profile = {
        "width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": "uint16", "crs": "EPSG:32631",
        "transform": Affine(gsd_m, 0, WHOLE.x0 * 10, 0, -gsd_m, -WHOLE.y0 * 10),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile, **DRIVERS[path.suffix[1:]]) as out:
        out.write(pixels, 1)


def scenes(data: Path, folder: Path, suffix: str, bands: tuple[str, ...]) -> tuple[Scene, ...]:
    """Eight dates of Lazio laid on a UTM grid, each band at the pixel size it has in a product."""
    made = []
    for item in json.loads((data / "items.json").read_text())["features"][::4]:
        assets = {}
        for band in bands:
            with rasterio.open(data / item["assets"][band]["href"]) as file:
                pixels = file.read(1)[:EDGE_PX, :EDGE_PX]
            edge = EDGE_PX * 10 // GSD_M[band]
            means = pixels.reshape(edge, EDGE_PX // edge, edge, EDGE_PX // edge).mean(axis=(1, 3))
            path = folder / f"{item['id']}_{band}.{suffix}"
            write(path, means.astype(np.uint16), GSD_M[band])
            assets[band] = Asset(href=str(path), gsd_m=float(GSD_M[band]))
        made.append(
            Scene(
                id=item["id"], collection="sentinel-2-l1c", level="l1c",
                time=dt.datetime.fromisoformat(item["properties"]["datetime"]), platform="sentinel-2", look=item["id"],
                tile="31UDS", baseline="02.06", version="", cloud_cover=None, epsg=32631,
                footprint=box(2.9, 50.7, 3.1, 50.9), assets=assets,
            )
        )  # fmt: skip
    return tuple(made)


def composites(data: Path, folder: Path, bands: tuple[str, ...], kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Composite and clear looks from each kind of file."""
    found = []
    for suffix in DRIVERS:
        request = request_for(scenes(data / "lazio-l1c", folder, suffix, bands), [WHOLE], BANDS, zone=32631)
        report = build_composite(request, folder / suffix)
        assert not report.faults
        assert report.mask_kinds == (kind,)
        found.append(read_window(folder / suffix, request.tile, BANDS, WHOLE))
    return found


def test_pixels_are_the_same_to_the_last_bit(shared_data: Path, tmp_path: Path) -> None:
    (composite, clear), (other, other_clear) = composites(shared_data, tmp_path, BANDS, "nodata")
    assert all(len(np.unique(band)) > 10 for band in composite)
    np.testing.assert_array_equal(other, composite)
    np.testing.assert_array_equal(other_clear, clear)


def test_masks_of_reduced_copies_change_few_pixels(shared_data: Path, tmp_path: Path) -> None:
    (_, clear), (_, other_clear) = composites(shared_data, tmp_path, CLOUDLESS_BANDS, "s2cloudless")
    assert len(np.unique(clear)) > 1
    assert np.abs(clear.astype(int) - other_clear).sum() <= 0.01 * 8 * clear.size
