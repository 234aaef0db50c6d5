"""Small granules made by code: bands at their own pixel sizes, a scene classification, tiled GeoTIFF."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from scipy import ndimage
from shapely.geometry import box

from scanner.types import Asset, Scene

GSD = {"B02": 10, "B04": 10, "B08": 10, "B05": 20, "B11": 20, "B01": 60, "SCL": 20}
BANDS = ("B02", "B04", "B05", "B11", "B01")


@dataclass(frozen=True, kw_only=True)
class Granule:
    """What to make; the ground is a square of whole 60 m pixels."""

    id: str
    look: str
    x_m: float
    """Left edge."""
    y_m: float
    """Top edge."""
    size_m: int = 2400
    epsg: int = 32633
    cloud_cover: float | None = 10.0
    offset: float = 0.0
    seed: int = 0
    low: int = 1
    high: int = 9000
    block: int = 32
    scl: bool = True
    border_m: int = 0
    """Rim without data."""


def write_tiff(path: Path, pixels: NDArray[np.generic], gsd: float, granule: Granule) -> None:
    profile = {
        "driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": pixels.dtype,
        "crs": f"EPSG:{granule.epsg}", "transform": Affine(gsd, 0, granule.x_m, 0, -gsd, granule.y_m), "nodata": 0,
        "compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": granule.block, "blockysize": granule.block,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels, 1)


def classes(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Patches of every class, some without data."""
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), 4)
    found = np.digitize(field, np.quantile(field, np.linspace(0.02, 0.98, 11))).astype(np.uint8)
    return rng.permutation(12).astype(np.uint8)[found]


def make(folder: Path, granule: Granule, scl: NDArray[np.uint8] | None = None) -> Scene:
    """Write a granule's files and describe them as a catalogue would."""
    rng = np.random.default_rng(granule.seed)
    assets: dict[str, Asset] = {}
    for band, gsd in GSD.items():
        if band == "SCL" and not granule.scl:
            continue
        size = granule.size_m // gsd
        if band == "SCL":
            pixels = classes(rng, size) if scl is None else scl
        else:
            pixels = rng.integers(granule.low, granule.high, (size, size), dtype=np.uint16)
            pixels[rng.random(pixels.shape) < 0.02] = 0
        rim = granule.border_m // gsd
        if rim:
            pixels[:rim], pixels[-rim:], pixels[:, :rim], pixels[:, -rim:] = 0, 0, 0, 0
        path = folder / f"{granule.id}_{band}.tif"
        write_tiff(path, pixels, gsd, granule)
        assets[band] = Asset(href=str(path), gsd_m=float(gsd), offset=0.0 if band == "SCL" else granule.offset)
    edge = Transformer.from_crs(f"EPSG:{granule.epsg}", "EPSG:4326", always_xy=True)
    west, south, east, north = edge.transform_bounds(
        granule.x_m, granule.y_m - granule.size_m, granule.x_m + granule.size_m, granule.y_m
    )
    return Scene(
        id=granule.id, collection="made", level="l2a", time=dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
        platform="sentinel-2a", look=granule.look, tile=f"{granule.epsg}_{granule.x_m}_{granule.y_m}",
        baseline="04.00" if granule.offset else "02.14", version="1", cloud_cover=granule.cloud_cover,
        epsg=granule.epsg, footprint=box(west, south, east, north), assets=assets,
    )  # fmt: skip
