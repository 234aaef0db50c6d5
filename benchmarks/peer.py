"""The usual stack on the same files: odc-stac, xarray and dask, or odc-stac and numpy, in the three ways people do it.

All bands at 10 m, pixels masked by the scene classification, the median over time of what is left.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dask
import numpy as np
import odc.stac
import pystac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scenes import EPSG, GSD, MASKED
from shapely.geometry import mapping

from scanner.types import OFFSET_DN, Scene
from tiling import Window, affine_of

__all__ = ["VARIANTS", "disagreement"]

CONFIG = {"bench": {"assets": {"*": {"data_type": "uint16", "nodata": 0}, "SCL": {"data_type": "uint8", "nodata": 0}}}}

Peer = Callable[[Sequence[Scene], Window, Sequence[str]], NDArray[np.float32]]


def by_dask(chunk_px: int, scenes: Sequence[Scene], window: Window, bands: Sequence[str]) -> NDArray[np.float32]:
    """Lazy all the way: chunks of one date, a median that gathers them, two threads."""
    loaded = odc.stac.load(
        _items(scenes, bands), bands=[*bands, "SCL"], geobox=_geobox(window), stac_cfg=CONFIG,
        chunks={"x": chunk_px, "y": chunk_px},
    )  # fmt: skip
    clear = ~loaded["SCL"].isin(MASKED)
    cube = loaded[list(bands)].where(clear).median("time").to_dataarray()
    with dask.config.set(scheduler="threads", num_workers=2):
        found: NDArray[np.float32] = cube.compute().to_numpy()
    return found


def by_tiles(tile_px: int, scenes: Sequence[Scene], window: Window, bands: Sequence[str]) -> NDArray[np.float32]:
    """Eager: a square of ground at a time, numpy's median band by band, two squares at once."""
    items = _items(scenes, bands)
    out = np.empty((len(bands), *window.shape), np.float32)
    tiles = [
        Window(x0=x, y0=y, x1=min(x + tile_px, window.x1), y1=min(y + tile_px, window.y1))
        for y in range(window.y0, window.y1, tile_px)
        for x in range(window.x0, window.x1, tile_px)
    ]

    def reduce(tile: Window) -> None:
        loaded = odc.stac.load(items, bands=[*bands, "SCL"], geobox=_geobox(tile), stac_cfg=CONFIG)
        cloudy = np.isin(loaded["SCL"].to_numpy(), MASKED)
        rows, cols = tile.slices_in(window)
        for place, band in enumerate(bands):
            stack = loaded[band].to_numpy().astype(np.float32)
            stack[cloudy | (stack == 0)] = np.nan
            out[place, rows, cols] = np.nanmedian(stack, axis=0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(reduce, tiles))
    return out


VARIANTS: dict[str, Peer] = {
    "odc-stac + dask, chunks of 1024 px": partial(by_dask, 1024),
    "odc-stac + dask, chunks of 2048 px": partial(by_dask, 2048),
    "odc-stac + numpy, tiles of 1024 px": partial(by_tiles, 1024),
}
"""Three ways; the fastest is the peer."""


def disagreement(
    theirs: NDArray[np.float32], ours: NDArray[np.uint16], bands: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    """By pixel size: values, how many differ once the mean of two is rounded half up, and by how much at most, DN.

    A 60 m pixel of ours is clear when all mask pixels under it are, and has one value; the usual stack masks the
    10 m pixels under it one by one. So those are another composite, and are counted apart.
    """
    found: dict[str, dict[str, float | int]] = {}
    for gsd in sorted({GSD[band] for band in bands}):
        places = [place for place, band in enumerate(bands) if GSD[band] == gsd]
        values, differing, most = 0, 0, 0.0
        for place in places:
            rounded = np.where(np.isnan(theirs[place]), -OFFSET_DN, np.floor(theirs[place] + np.float32(0.5)))
            distance = np.abs(ours[place].astype(np.float32) - OFFSET_DN - rounded)
            values += distance.size
            differing += int((distance > 0).sum())
            most = max(most, float(distance.max()))
        found[f"{gsd} m"] = {"values": values, "differ": differing, "most_dn": most}
    return found


def _geobox(window: Window) -> GeoBox:
    return GeoBox(window.shape, affine_of(EPSG, window), f"EPSG:{EPSG}")


def _items(scenes: Sequence[Scene], bands: Sequence[str]) -> list[pystac.Item]:
    items = []
    for scene in scenes:
        outline, bounds = mapping(scene.footprint), list(scene.footprint.bounds)
        item = pystac.Item(
            id=scene.id, geometry=outline, bbox=bounds, datetime=scene.time, properties={}, collection="bench"
        )
        for name in (*bands, "SCL"):
            item.add_asset(name, pystac.Asset(href=scene.assets[name].href, media_type="image/tiff", roles=["data"]))
        items.append(item)
    return items
