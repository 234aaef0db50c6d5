"""Class codes of a label raster on a zone's 10 m grid, whichever CRS and pixel size the raster has."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from scanner.errors import InputError
from tiling import Window, affine_of, row_of, zone_of

__all__ = ["codes_in", "ground_of_raster"]

Codes = np.ma.MaskedArray[Any, np.dtype[np.int64]]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import rasterio  # noqa: PLC0415

    try:
        with rasterio.open(path) as source:
            if source.crs is None:
                raise InputError(f"label raster {path} has no CRS; give it one with gdal_edit.py -a_srs")
            yield source
    except rasterio.errors.RasterioError as error:
        raise InputError(f"label raster {path}: {error}") from None


def ground_of_raster(path: Path) -> tuple[int, Window]:
    """The zone that holds a raster's middle, and the raster's bounds there in zone pixels.

    Raises:
        InputError: it cannot be read or has no CRS.
    """
    from rasterio.warp import transform_bounds  # noqa: PLC0415

    with _opened(path) as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        zone = int(zone_of((west + east) / 2, (south + north) / 2))
        bounds = transform_bounds(source.crs, f"EPSG:{zone}", *source.bounds)
    left, right = (round(edge / 10) for edge in bounds[::2])
    bottom, top = (round(row_of(zone, edge)) for edge in bounds[1::2])
    return zone, Window(x0=left, y0=top, x1=right, y1=bottom)


def _finer(transform: Affine, finer: int) -> Affine:
    return Affine(transform.a / finer, 0, transform.c, 0, transform.e / finer, transform.f)


def codes_in(path: Path, zone: int, window: Window, finer: int = 1) -> Codes:
    """Codes (y, x) of a window of zone pixels by nearest pixel; masked where the raster has no value.

    With `finer` there are so many along a zone pixel's edge.

    Raises:
        InputError: it cannot be read or has no CRS.
    """
    from rasterio.enums import Resampling  # noqa: PLC0415
    from rasterio.vrt import WarpedVRT  # noqa: PLC0415

    # GDAL's default tolerance would let a pixel depend on the block it is warped with; the alpha band tells the
    # codes that are there from what lies beyond the raster, whose own code may be 0.
    with (
        _opened(path) as source,
        WarpedVRT(
            source, crs=f"EPSG:{zone}", transform=_finer(affine_of(zone, window), finer),
            width=window.width_px * finer, height=window.height_px * finer, resampling=Resampling.nearest,
            tolerance=1e-9, add_alpha=source.nodata is None,
        ) as warped,
    ):  # fmt: skip
        values: NDArray[Any] = warped.read(1)
        missing = warped.dataset_mask() == 0
    missing |= ~np.isfinite(values)
    codes = np.where(missing, 0, values).astype(np.int64)
    return np.ma.MaskedArray(codes, missing)
