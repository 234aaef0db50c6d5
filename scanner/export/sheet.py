"""A raster too large to hold, written part by part and made a cloud-optimised GeoTIFF at the end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio import shutil as rasterio_shutil
from rasterio.windows import Window

from scanner.export.files import replacing
from scanner.export.raster import NOT_JUDGED

__all__ = ["CACHE_NBYTES", "Sheet", "clear_looks_sheet", "probability_sheet"]

CACHE_NBYTES = 64 << 20
"""GDAL's blocks in hand: two rows of blocks of a tile's probabilities, or what it takes at once of finer ones."""

_DRAFT = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "zlevel": 1}
_COG = {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER"}
"""Level 1: at 85 million pixels a tile the ninth costs minutes, and saves a tenth of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """An open raster."""

    raster: Any
    """Of rasterio, open for writing."""

    def write(self, rows: slice, columns: slice, bands: NDArray[Any]) -> None:
        """(band, row, column) at these rows and columns; what is never written stays nodata."""
        place = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        self.raster.write(bands, window=place)


@contextmanager
def probability_sheet(
    path: Path, shape: tuple[int, int], *, transform: Affine, epsg: int, classes: Sequence[str]
) -> Iterator[Sheet]:
    """As `write_probability`, part by part; the file is there once the block ends well."""
    profile = {"dtype": "float32", "nodata": math.nan, "transform": transform, "crs": f"EPSG:{epsg}"}
    with _sheet(path, shape, profile, classes, "AVERAGE") as sheet:
        yield sheet


@contextmanager
def clear_looks_sheet(path: Path, shape: tuple[int, int], *, transform: Affine, epsg: int) -> Iterator[Sheet]:
    """As `write_clear_looks`, part by part; the file is there once the block ends well."""
    profile = {"dtype": "uint16", "nodata": NOT_JUDGED, "transform": transform, "crs": f"EPSG:{epsg}"}
    with _sheet(path, shape, profile, ["clear_looks"], "NEAREST") as sheet:
        yield sheet


@contextmanager
def _sheet(
    path: Path, shape: tuple[int, int], profile: dict[str, Any], names: Sequence[str], resampling: str
) -> Iterator[Sheet]:
    height_px, width_px = shape
    size = {"driver": "GTiff", "height": height_px, "width": width_px, "count": len(names), "BIGTIFF": "IF_SAFER"}
    with rasterio.Env(GDAL_CACHEMAX=CACHE_NBYTES), replacing(path) as room:
        draft = room.with_name("draft.tif")
        with rasterio.open(draft, "w", **size, **profile, **_DRAFT, SPARSE_OK=True) as raster:
            raster.descriptions = tuple(names)
            yield Sheet(raster=raster)
        options = {**_COG, "OVERVIEW_RESAMPLING": resampling, "SPARSE_OK": "TRUE"}
        rasterio_shutil.copy(draft, room, driver="COG", **options)
        draft.unlink()
