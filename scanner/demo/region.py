"""A small synthetic region on disk: granules of two zones over many dates, their catalogue, and the truth."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray

from scanner.demo.catalogue import Tile, item_id, make_item, write_catalogue
from scanner.demo.clouds import Day, Sky, days
from scanner.demo.ground import Ground, make_ground
from scanner.demo.plane import EDGE_LAT, EDGE_LON, ZONES, to_lonlat
from scanner.demo.render import Canvas, prepare, render
from scanner.demo.sites import RegionSpec, Site
from scanner.demo.spectra import GSD_M
from scanner.demo.truth import write_truth
from tiling import Window, affine_of, row_of, utm

__all__ = ["Region", "make_region", "tiles_of"]

_MGRS: Final = ("22KHE", "23KJV")
_BLOCK_PX: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where a region's files are, and what to search in it."""

    folder: Path
    """Holds everything."""
    items: Path
    """ItemCollection, hrefs relative to it."""
    collection: Path
    """The STAC collection beside it."""
    truth: Path
    """What was planted, GeoJSON."""
    aoi: tuple[float, float, float, float]
    """West, south, east, north: the searched area, a cell's window away from the granules' border."""
    dates: str
    """`START/END`, both included."""
    seed: int
    """What it was made from."""
    spec: RegionSpec
    """What it was made from."""
    tiles: tuple[Tile, ...]
    """The western granule and the eastern."""

    @property
    def ground(self) -> Ground:
        """The ground truth, painted anew where it is no longer in memory."""
        return make_ground(self.seed, self.spec)

    @property
    def sites(self) -> tuple[Site, ...]:
        """What is planted."""
        return self.ground.sites


def make_region(
    out: Path, seed: int, spec: RegionSpec | None = None, *, threads: int = 2,
    on_granule: Callable[[str], None] | None = None,
) -> Region:  # fmt: skip
    """Writes a region into a folder: byte for byte the same for the same seed and spec.

    `on_granule` is called with each granule's name once it is on disk, from this thread.

    Raises:
        ValueError: the region is too small for its mines.
    """
    spec = spec or RegionSpec()
    out.mkdir(parents=True, exist_ok=True)
    ground, sky, calendar, tiles = make_ground(seed, spec), Sky(seed, spec), days(seed, spec), tiles_of(spec)
    canvases = [prepare(ground, tile.zone, tile.window) for tile in tiles]

    def granule(task: tuple[Day, Tile, Canvas]) -> dict[str, Any]:
        day, tile, canvas = task
        layers = render(canvas, ground, sky, day, seed)
        _write_granule(out / item_id(tile, day), tile, layers)
        return make_item(tile, day, layers["SCL"])

    tasks = [(day, tile, canvas) for day in calendar for tile, canvas in zip(tiles, canvases, strict=True)]
    with ThreadPoolExecutor(threads) as pool:
        written = []
        for item in pool.map(granule, tasks):
            written.append(item)
            if on_granule is not None:
                on_granule(item["id"])
        items, collection = write_catalogue(out, written)
    write_truth(ground, out / "truth.geojson")
    return Region(
        folder=out, items=items, collection=collection, truth=out / "truth.geojson", aoi=_aoi(spec),
        dates=f"{calendar[0].time:%Y-%m-%d}/{calendar[-1].time:%Y-%m-%d}", seed=seed, spec=spec, tiles=tiles,
    )  # fmt: skip


def tiles_of(spec: RegionSpec) -> tuple[Tile, ...]:
    """The two granules: each in its own zone, reaching a little into the other, edges on 60 m pixels."""
    found = []
    for mgrs, zone, side in zip(_MGRS, ZONES, (-1, 1), strict=True):
        centre = np.array([side * (spec.size_px * 5 - spec.reach_m)])
        lon, lat = to_lonlat(centre, np.zeros(1))
        e, n = (float(np.ravel(axis)[0]) for axis in utm(zone, lon, lat))
        x0, y0 = (6 * round((axis - spec.size_px / 2) / 6) for axis in (e / 10, row_of(zone, n)))
        window = Window(x0=x0, y0=y0, x1=x0 + spec.size_px, y1=y0 + spec.size_px)
        found.append(Tile(mgrs=mgrs, zone=zone, window=window))
    return tuple(found)


def _aoi(spec: RegionSpec) -> tuple[float, float, float, float]:
    corner = np.array([spec.half_width_m]), np.array([spec.half_height_m])
    east, north = (float(axis[0]) for axis in to_lonlat(*corner))
    return (
        round(2 * EDGE_LON - east, 6), round(2 * EDGE_LAT - north, 6), round(east, 6), round(north, 6),
    )  # fmt: skip


def _write_granule(folder: Path, tile: Tile, layers: dict[str, NDArray[np.uint16 | np.uint8]]) -> None:
    """One COG per band, in blocks of 512 px, without overviews: nothing here is read at less than full size.

    Written in one go, a tiled GeoTIFF has the layout of a COG: directory first, then blocks in order. GDAL's COG driver
    writes the same but holds the interpreter's lock while it compresses.
    """
    folder.mkdir(exist_ok=True)
    for name, pixels in layers.items():
        gsd = GSD_M.get(name, 20)
        height, width = pixels.shape
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", height=height, width=width, count=1, dtype=pixels.dtype,
            crs=f"EPSG:{tile.zone}", transform=affine_of(tile.zone, tile.window.at(gsd // 10), gsd),
            nodata=0, tiled=True, blockxsize=_BLOCK_PX, blockysize=_BLOCK_PX, compress="DEFLATE", zlevel=1, predictor=2,
        ) as file:  # fmt: skip
            file.write(pixels, 1)
