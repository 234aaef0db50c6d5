"""Rasters of cells as cloud-optimised GeoTIFF, and the overview of what was seen."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio import shutil as rasterio_shutil
from rasterio.windows import Window

from scanner.export.files import replacing
from scanner.store.layout import write_atomic
from tiling.ownership import lonlat, utm, zone_of

__all__ = ["NOT_JUDGED", "coverage_json", "write_clear_looks", "write_overview", "write_probability"]

NOT_JUDGED = 65535
"""Clear looks of a cell that no scan was asked to judge; 0 means judged and never seen."""

MAX_PX = 2**28
"""Of the overview; with more, its pixels grow. Empty blocks cost nothing, but pyramids look at each."""

OVERVIEW_M = 90.0
"""Least pixel of the overview: a tile of 10 m pixels would take minutes to lay out, and nobody looks so closely."""

STRIP_PX = 2**22
"""Pixels of the overview in hand at once."""

METRES_PER_DEGREE = 111_320.0

_COG = {"COMPRESS": "DEFLATE", "LEVEL": "9", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER"}


def write_probability(
    path: Path, probs: npt.NDArray[np.float32], *, transform: Affine, epsg: int, classes: Sequence[str]
) -> None:
    """Write probabilities (class, rows, columns) as float32, one pixel a cell, one band a class, NaN where unobserved.

    Args:
        path: replaced as a whole.
        probs: row 0 is the northernmost.
        transform: from cells to UTM metres.
        epsg: the zone's.
        classes: become the bands' descriptions, the target last.
    """
    if len(classes) != len(probs):
        raise ValueError(f"{len(probs)} bands for the classes {', '.join(classes)}")
    place = _Place(transform, epsg, math.nan, "AVERAGE")
    _write_cog(Path(path), probs.astype(np.float32, copy=False), place, classes)


def write_clear_looks(path: Path, looks: npt.NDArray[np.uint16], *, transform: Affine, epsg: int) -> None:
    """Write clear looks (rows, columns) as uint16, one pixel a cell, NOT_JUDGED where no cell was judged."""
    place = _Place(transform, epsg, NOT_JUDGED, "NEAREST")
    _write_cog(Path(path), looks[np.newaxis].astype(np.uint16, copy=False), place, ["clear_looks"])


@dataclass(frozen=True, slots=True)
class _Place:
    transform: Affine
    epsg: int
    nodata: float
    resampling: str


def _write_cog(path: Path, bands: npt.NDArray[Any], place: _Place, names: Sequence[str]) -> None:
    count, height_px, width_px = bands.shape
    with (
        replacing(path) as room,
        rasterio.open(
            room,
            "w",
            driver="COG",
            count=count,
            height=height_px,
            width=width_px,
            dtype=bands.dtype,
            crs=f"EPSG:{place.epsg}",
            transform=place.transform,
            nodata=place.nodata,
            **_COG,
            OVERVIEW_RESAMPLING=place.resampling,
        ) as raster,
    ):
        raster.write(bands)
        raster.descriptions = tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mosaic:
    """The overview's grid: degrees, north up."""

    west: float
    north: float
    pixel_deg: float
    width_px: int
    height_px: int

    @property
    def transform(self) -> Affine:
        return Affine(self.pixel_deg, 0, self.west, 0, -self.pixel_deg, self.north)

    def strips(self, bounds: tuple[float, float, float, float]) -> Iterator[Window]:
        """Windows of some rows that cover the bounds."""
        west, south, east, north = bounds
        column0 = max(math.floor((west - self.west) / self.pixel_deg), 0)
        column1 = min(math.ceil((east - self.west) / self.pixel_deg), self.width_px)
        row0 = max(math.floor((self.north - north) / self.pixel_deg), 0)
        row1 = min(math.ceil((self.north - south) / self.pixel_deg), self.height_px)
        step = max(STRIP_PX // max(column1 - column0, 1), 1)
        for row in range(row0, row1, step):
            if column1 > column0:
                yield Window(column0, row, column1 - column0, min(step, row1 - row))

    def centres(self, window: Window) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Longitudes and latitudes of the pixels' centres, each (rows, columns)."""
        columns = np.arange(window.col_off, window.col_off + window.width) + 0.5
        rows = np.arange(window.row_off, window.row_off + window.height) + 0.5
        lon, lat = np.meshgrid(self.west + columns * self.pixel_deg, self.north - rows * self.pixel_deg)
        return lon, lat


def write_overview(folder: Path, *, max_px: int = MAX_PX) -> Path | None:
    """Lay coverage/*.tif of all zones into coverage.tif in EPSG:4326; None where there are none.

    A pixel is about one cell, larger only where cells are small or to stay under `max_px`, and takes the cell its
    centre lies in, of the zone that owns it before any other. An area on both sides of the antimeridian gives a wide
    raster whose middle is empty and takes no room.
    """
    folder = Path(folder)
    tiles = sorted((folder / "coverage").glob("*.tif"))
    if not tiles:
        return None
    bounds = {tile: _bounds(tile) for tile in tiles}
    mosaic = _mosaic(list(bounds.values()), min(_cell_m(tile) for tile in tiles), max_px)
    target = folder / "coverage.tif"
    profile = {
        "driver": "GTiff",
        "width": mosaic.width_px,
        "height": mosaic.height_px,
        "count": 1,
        "dtype": "uint16",
        "nodata": NOT_JUDGED,
        "crs": "EPSG:4326",
        "transform": mosaic.transform,
    }
    storage = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "zlevel": 1}
    with replacing(target) as room:
        draft = room.with_name("draft.tif")
        with rasterio.open(draft, "w+", **profile, **storage, SPARSE_OK=True, BIGTIFF="IF_SAFER") as sheet:
            sheet.set_band_description(1, "clear_looks")
            for tile in tiles:
                _lay(sheet, mosaic, tile, bounds[tile])
        options = {**_COG, "OVERVIEW_RESAMPLING": "NEAREST", "SPARSE_OK": "TRUE"}
        rasterio_shutil.copy(draft, room, driver="COG", **options)
        draft.unlink()
    return target


def _cell_m(tile: Path) -> float:
    with rasterio.open(tile) as source:
        return float(source.transform.a)


def _bounds(tile: Path) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees, cut at the antimeridian: beyond it the next zone's tiles have their say."""
    with rasterio.open(tile) as source:
        west_m, south_m, east_m, north_m = source.bounds
        zone = source.crs.to_epsg()
    along, up = np.linspace(west_m, east_m, 21), np.linspace(south_m, north_m, 21)
    easting = np.concatenate([along, along, np.full(21, west_m), np.full(21, east_m)])
    northing = np.concatenate([np.full(21, south_m), np.full(21, north_m), up, up])
    lon, lat = (np.asarray(values) for values in lonlat(zone, easting, northing))
    middle = zone % 100 * 6 - 183
    lon = lon - 360 * np.round((lon - middle) / 360)
    return max(float(lon.min()), -180.0), float(lat.min()), min(float(lon.max()), 180.0), float(lat.max())


def _mosaic(bounds: Sequence[tuple[float, float, float, float]], cell_m: float, max_px: int) -> _Mosaic:
    west, south = min(one[0] for one in bounds), min(one[1] for one in bounds)
    east, north = max(one[2] for one in bounds), max(one[3] for one in bounds)
    finest_deg = max(cell_m, OVERVIEW_M) / METRES_PER_DEGREE
    pixel_deg = max(finest_deg, math.sqrt((east - west) * (north - south) / max_px))
    column0, column1 = math.floor(west / pixel_deg), math.ceil(east / pixel_deg)
    row0, row1 = math.floor(-north / pixel_deg), math.ceil(-south / pixel_deg)
    return _Mosaic(
        west=column0 * pixel_deg,
        north=-row0 * pixel_deg,
        pixel_deg=pixel_deg,
        width_px=max(column1 - column0, 1),
        height_px=max(row1 - row0, 1),
    )


def _lay(sheet: Any, mosaic: _Mosaic, tile: Path, bounds: tuple[float, float, float, float]) -> None:
    with rasterio.open(tile) as source:
        looks, zone = source.read(1), source.crs.to_epsg()
        place = source.transform
    for window in mosaic.strips(bounds):
        lon, lat = (values.ravel() for values in mosaic.centres(window))
        lon = np.clip(lon, -180, 180)
        easting, northing = utm(zone, lon, lat)
        columns = np.floor((easting - place.c) / place.a).astype(int)
        rows = np.floor((northing - place.f) / place.e).astype(int)
        inside = (columns >= 0) & (columns < looks.shape[1]) & (rows >= 0) & (rows < looks.shape[0])
        values = np.full(lon.shape, NOT_JUDGED, dtype=np.uint16)
        values[inside] = looks[rows[inside], columns[inside]]
        there = sheet.read(1, window=window).ravel()
        ours = (values != NOT_JUDGED) & ((there == NOT_JUDGED) | (zone_of(lon, np.clip(lat, -80, 83.999)) == zone))
        if ours.any():
            there[ours] = values[ours]
            sheet.write(there.reshape(window.height, window.width), 1, window=window)


def coverage_json(
    path: Path,
    *,
    aoi_km2: float,
    seen_km2: float,
    too_few_looks_km2: float,
    failed_km2: float,
    tiles: Mapping[str, Mapping[str, float]],
) -> None:
    """Write coverage.json: square kilometres by what became of them, of the whole area and of each tile.

    Args:
        path: replaced as a whole.
        aoi_km2: what was asked for.
        seen_km2: cells that were observed.
        too_few_looks_km2: cells with too little clear ground.
        failed_km2: cells of units that failed.
        tiles: by tile id, the same four under the same names.
    """
    total = {"aoi_km2": aoi_km2, "seen_km2": seen_km2, "too_few_looks_km2": too_few_looks_km2, "failed_km2": failed_km2}
    report: dict[str, Any] = _rounded(total)
    report["tiles"] = {tile: _rounded(tiles[tile]) for tile in sorted(tiles)}
    write_atomic(Path(path), (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())


def _rounded(areas: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in areas.items()}
