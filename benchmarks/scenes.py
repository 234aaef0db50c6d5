"""Scenes made for measuring: the size, pixels and masks of real ones, and compressed as far as real ones are.

Files are GeoTIFF as the public archives keep them: deflate with predictor 2, blocks of 1024 px, every band at its own
pixel size. Bytes per pixel and the rate of inflating were set by `data/strzegom` and `data/worldcereal-l2a`. The ground
begins 300 px inside the files, so that it cuts blocks on every side; blocks it does not meet are left sparse.
"""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow
from shapely.geometry import box

from scanner.types import Asset, Scene
from tiling import Tile, TileId, Window

__all__ = [
    "BANDS",
    "BLOCK_PX",
    "GSD",
    "GSD_10M",
    "MASKED",
    "TILE",
    "blocks_under",
    "ground",
    "make_files",
    "make_scenes",
]

GSD = dict.fromkeys(("B01", "B09"), 60) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(
    ("B05", "B06", "B07", "B8A", "B11", "B12"), 20)  # fmt: skip
"""Native pixel size of each band, m."""
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
GSD_10M = tuple(band for band in BANDS if GSD[band] == 10)

EPSG, LEFT_M, TOP_M = 32633, 579_000, 5_705_040
"""Upper left corner of the files, on whole 60 m pixels."""
BLOCK_PX = 1024
INSET_PX = 300
"""From the corner of the files to the ground, px of 10 m."""
TILE = Tile(id=TileId.holding(EPSG, LEFT_M + 30_000, TOP_M - 30_000), margin_px=1200)

SETS = 4
"""Different files of each band; further looks link to them, and decoding costs the same."""
MASKS = 75
"""Different masks."""
MASKED = (0, 1, 3, 8, 9, 10, 11)
"""Classes of the scene classification that are not clear ground."""
CLOUDS = (0.4, 0.6)
"""Beta distribution of a date's cloud: most dates are nearly clear or nearly covered, 40 % on average."""
LEVEL = {"B01": 700, "B02": 800, "B03": 1000, "B04": 1150, "B05": 1500, "B06": 2300, "B07": 2700, "B08": 2800,
         "B8A": 2900, "B09": 3000, "B11": 2300, "B12": 1600}  # fmt: skip
"""Mean DN."""
TEXTURE = dict.fromkeys(BANDS, 110.0) | {"B02": 46.0, "B03": 52.0, "B04": 56.0, "B08": 115.0}
"""Mean absolute difference of a pixel from its smooth ground, DN."""


def ground(size_px: int) -> Window:
    """The square to be composited, zone px: on whole 60 m pixels, not on blocks."""
    x0, y0, edge = LEFT_M // 10 + INSET_PX, -TOP_M // 10 + INSET_PX, size_px // 6 * 6
    return Window(x0=x0, y0=y0, x1=x0 + edge, y1=y0 + edge)


def blocks_under(window: Window, gsd_m: int) -> Iterator[Window]:
    """Blocks of a file that meet a window of zone px, in the file's own pixels."""
    own = window.at(gsd_m // 10)
    left, top = own.x0 - LEFT_M // gsd_m, own.y0 + TOP_M // gsd_m
    for y in range(top // BLOCK_PX * BLOCK_PX, top + own.height_px, BLOCK_PX):
        for x in range(left // BLOCK_PX * BLOCK_PX, left + own.width_px, BLOCK_PX):
            yield Window(x0=x, y0=y, x1=x + BLOCK_PX, y1=y + BLOCK_PX)


def make_files(folder: Path, window: Window) -> None:
    """Every band's files, as far as a window of zone px meets their blocks, and the masks."""
    edge_m = _edge_m(window)
    with ThreadPoolExecutor(2) as pool:
        for gsd in (10, 20, 60):
            land, rough = _land(gsd, edge_m)
            grain = np.random.default_rng(gsd).laplace(size=(1531, 1531)).astype(np.float32)
            bands = [band for band in BANDS if GSD[band] == gsd]
            jobs = [(folder, window, band, number, (land, rough, grain)) for band in bands for number in range(SETS)]
            list(pool.map(lambda job: _write_band(*job), jobs))
        kinds = np.where(
            _smooth(edge_m // 20, {90: 1.0, 400: 0.6}, np.random.default_rng(7)) > 0.5, np.uint8(5), np.uint8(4)
        )
        list(pool.map(lambda number: _write_mask(folder, kinds, number), range(MASKS)))


def make_scenes(folder: Path, looks: int) -> tuple[Scene, ...]:
    """As many dates as wanted, spread over a year, or further, five days apart; files are links."""
    every = max(5.0, 365 / looks)
    return tuple(_scene(folder, number, every * number) for number in range(looks))


def _scene(folder: Path, number: int, day: float) -> Scene:
    assets = {}
    for band, gsd in [*GSD.items(), ("SCL", 20)]:
        source = folder / (f"{band}-{number % SETS}.tif" if band != "SCL" else f"SCL-{number % MASKS}.tif")
        link = folder / f"look-{number}-{band}.tif"
        if not link.exists():
            link.hardlink_to(source)
        assets[band] = Asset(href=str(link), gsd_m=gsd)
    time = dt.datetime(2021, 1, 1, 10, tzinfo=dt.UTC) + dt.timedelta(days=day)
    return Scene(
        id=f"bench-{number:03d}", collection="bench", level="l2a", time=time, platform="sentinel-2a", tile="33UXS",
        version="", look=f"bench-{time:%Y%m%d}", baseline="02.14", epsg=EPSG, footprint=box(16, 50.6, 18, 51.6),
        cloud_cover=round(100 * _cloud_share(number), 1), assets=assets,
    )  # fmt: skip


def _cloud_share(number: int) -> float:
    """Quantiles of the distribution, in an order in which any number of dates has about the mean."""
    from scipy import stats  # noqa: PLC0415  workers import this module, and need it not

    place = (0.5 + (number % MASKS) * 0.618034) % 1
    return float(stats.beta.ppf(place, *CLOUDS))


def _edge_m(window: Window) -> int:
    """Files hold whole blocks at every pixel size, as those of a granule do."""
    step = BLOCK_PX * 60
    reach = max(window.x1 * 10 - LEFT_M, window.y1 * 10 + TOP_M)
    return -(-reach // step) * step


def _smooth(edge_px: int, octaves: dict[int, float], rng: np.random.Generator) -> NDArray[np.float32]:
    """A square of about unit variance, interpolated from random points, so many along an edge with such weights."""
    field = np.zeros((edge_px, edge_px), np.float32)
    for points, weight in octaves.items():
        place = np.linspace(0, points - 1.001, edge_px)
        spread = np.zeros((edge_px, points), np.float32)
        spread[np.arange(edge_px), place.astype(int)] = 1 - place % 1
        spread[np.arange(edge_px), place.astype(int) + 1] = place % 1
        field += weight * (spread @ rng.normal(size=(points, points)).astype(np.float32) @ spread.T)
    return field


def _land(gsd_m: int, edge_m: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness relative to the mean, and how rough the ground is: fields are smooth, woods and towns are not."""
    rng = np.random.default_rng(0)
    edge_px = edge_m // gsd_m
    shape = _smooth(edge_px, {8: 0.15, 60: 0.1, 240: 0.1}, rng)
    return 1 + np.clip(shape, -0.7, 0.9), np.exp(_smooth(edge_px, {50: 0.5, 200: 0.4}, rng))


def _write_band(folder: Path, window: Window, band: str, number: int, parts: tuple[NDArray[np.float32], ...]) -> None:
    land, rough, grain = parts
    with _create(folder / f"{band}-{number}.tif", len(land), GSD[band], "uint16") as out:
        # Elsewhere even ground: without any, the offset's audit would find land at 20 m where 10 m has none.
        out.write(np.full((len(land), len(land)), LEVEL[band], np.uint16), 1)
        for block in blocks_under(window, GSD[band]):
            here = block.slices_in(Window(x0=0, y0=0, x1=len(land), y1=len(land)))
            shift = 173 * number + 311 * BANDS.index(band)
            rows, cols = (np.arange(one.start + shift, one.stop + shift) % len(grain) for one in here)
            noise = rough[here] * grain[np.ix_(rows, cols)]
            values = LEVEL[band] * (1 + 0.02 * number) * land[here] + TEXTURE[band] * noise
            out.write(np.clip(values, 1, 20_000).astype(np.uint16), 1, window=RasterWindow(*_corner(block)))


def _corner(block: Window) -> tuple[int, int, int, int]:
    return block.x0, block.y0, block.width_px, block.height_px


def _write_mask(folder: Path, kinds: NDArray[np.uint8], number: int) -> None:
    """Scene classification: blobs of cloud with ragged, thin edges, their shadows, and ground of two kinds."""
    edge_px = len(kinds)
    field = _smooth(edge_px, {10: 1.0, 40: 0.5, 160: 0.25, 400: 0.15}, np.random.default_rng(1000 + number))
    limit = np.quantile(field[::16, ::16], 1 - _cloud_share(number)).astype(np.float32)
    classes = kinds.copy()
    classes[18:, :-11][field[:-18, 11:] > limit] = 3
    for kind, more in ((10, 0.0), (8, 0.15), (9, 0.35)):
        classes[field > limit + np.float32(more)] = kind
    with _create(folder / f"SCL-{number}.tif", edge_px, 20, "uint8") as out:
        out.write(classes, 1)


def _create(path: Path, edge_px: int, gsd_m: int, dtype: str) -> rasterio.io.DatasetWriter:
    return rasterio.open(
        path, "w", driver="GTiff", height=edge_px, width=edge_px, count=1, dtype=dtype, crs=f"EPSG:{EPSG}",
        transform=Affine(gsd_m, 0, LEFT_M, 0, -gsd_m, TOP_M), nodata=0, compress="deflate", predictor=2, zlevel=6,
        tiled=True, blockxsize=BLOCK_PX, blockysize=BLOCK_PX, sparse_ok=True,
    )  # fmt: skip
