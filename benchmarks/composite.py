"""A composite beside its floor and beside the usual stack, on the same generated files, in one run.

    python benchmarks/composite.py [--size 2048] [--looks 24] [--json FILE] [--no-peer]

Files: deflate, predictor 2, blocks of 1024, bands at their native pixel sizes, about 35 % cloud; the ground wanted does
not begin on a block. Floor: GDAL decodes every block that meets the ground once; the median kernel over as many values;
the writing of the arrays. Peer: odc-stac with xarray's median, on the 10 m bands, where the pixels are equal in number.
"""

import argparse
import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow
from scipy import ndimage
from shapely.geometry import box, mapping

from scanner.composite.build import CompositeRequest, build_composite
from scanner.composite.median import masked_median
from scanner.store.composite import CompositeWriter
from scanner.types import Asset, Scene
from tiling import Tile, TileId, Window

GSD = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(
    ("B05", "B06", "B07", "B8A", "B11", "B12"), 20) | dict.fromkeys(("B01", "B09"), 60)  # fmt: skip
X_M, Y_M, EPSG, BLOCK = 547_980, 5_718_960, 32633, 1024
UNIQUE = 4
"""Different files per band; further looks link to them, and decoding costs the same."""


@dataclass
class Timed:
    """CPU and wall seconds of a call."""

    cpu: float
    wall: float
    result: object = None


def timed(call: Callable[[], object]) -> Timed:
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return Timed(time.process_time() - cpu, time.perf_counter() - wall, result)


def write(path: Path, pixels: NDArray[np.generic], gsd: int) -> None:
    profile = {
        "driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype,
        "crs": f"EPSG:{EPSG}", "transform": Affine(gsd, 0, X_M, 0, -gsd, Y_M), "nodata": 0, "compress": "deflate",
        "predictor": 2, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "zlevel": 6,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels, 1)


def scenes(folder: Path, size_px: int, looks: int) -> tuple[Scene, ...]:
    """Granules larger than the ground by half a block on each side."""
    rng = np.random.default_rng(0)
    edge_m = (size_px + BLOCK) // 6 * 6 * 10
    ground = {gsd: ndimage.zoom(rng.normal(3000, 900, (64, 64)), edge_m // gsd / 64, order=1) for gsd in (10, 20, 60)}
    for band, gsd in GSD.items():
        for n in range(UNIQUE):
            noise = rng.normal(0, 60, ground[gsd].shape)
            write(folder / f"{n}_{band}.tif", np.clip(ground[gsd] + noise, 1, 20000).astype(np.uint16), gsd)
    made = []
    for n in range(looks):
        field = ndimage.zoom(rng.normal(size=(24, 24)), edge_m // 20 / 24, order=1)
        write(folder / f"scl_{n}.tif", np.where(field > np.quantile(field, 0.65), 9, 4).astype(np.uint8), 20)
        assets = {band: Asset(href=str(folder / f"{n % UNIQUE}_{band}.tif"), gsd_m=gsd) for band, gsd in GSD.items()}
        assets["SCL"] = Asset(href=str(folder / f"scl_{n}.tif"), gsd_m=20)
        time_utc = dt.datetime(2021, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=5 * n)
        made.append(
            Scene(
                id=f"s{n}", collection="bench", level="l2a", time=time_utc, platform="s2", tile="33UXS", version="",
                look=f"s2_{time_utc:%Y%m%d}", baseline="02.14", cloud_cover=35.0, epsg=EPSG,
                footprint=box(16, 50, 17.5, 52), assets=assets,
            )
        )  # fmt: skip
    return tuple(made)


def decode_floor(made: tuple[Scene, ...], ground: Window, bands: tuple[str, ...]) -> int:
    """Every block that meets the ground once, by GDAL, its block cache off; returns bytes."""
    nbytes = 0
    with rasterio.Env(GDAL_CACHEMAX=1_000_000, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for scene in made:
            for name in (*bands, "SCL"):
                with rasterio.open(scene.assets[name].href) as data:
                    factor = int(scene.assets[name].gsd_m) // 10
                    own = ground.at(factor)
                    row, column = own.y0 + Y_M // (10 * factor), own.x0 - X_M // (10 * factor)
                    for _, block in data.block_windows(1):
                        inside = block.row_off < row + own.height_px and block.col_off < column + own.width_px
                        if inside and block.row_off + block.height > row and block.col_off + block.width > column:
                            nbytes += data.read(1, window=RasterWindow(*block.flatten())).nbytes
    return nbytes


def median_floor(ground: Window, bands: tuple[str, ...], looks: int) -> None:
    stack = np.random.default_rng(0).integers(0, 9000, (looks, 256, 1024), dtype=np.uint16)
    median, count = np.empty((256, 1024), np.uint16), np.empty((256, 1024), np.uint16)
    for band in bands:
        window = ground.at(GSD[band] // 10)
        for _ in range(-(-window.width_px * window.height_px // median.size)):
            masked_median(stack, median, count)


def write_floor(folder: Path, tile: Tile, ground: Window, bands: tuple[str, ...]) -> None:
    writer = CompositeWriter(folder, tile, {band: GSD[band] for band in bands})
    rng = np.random.default_rng(0)
    for band in bands:
        window = ground.at(GSD[band] // 10)
        values = rng.integers(3000, 3200, window.shape, dtype=np.uint16)
        writer.write(band, window, values, values // 200)


def peer(made: tuple[Scene, ...], ground: Window, bands: tuple[str, ...]) -> NDArray[np.float32] | None:
    try:
        import odc.stac  # noqa: PLC0415
        import pystac  # noqa: PLC0415
    except ImportError:
        print("odc-stac is not installed: no peer (pip install odc-stac==0.5.3)")
        return None
    from odc.geo.geobox import GeoBox  # noqa: PLC0415

    from tiling import affine_of  # noqa: PLC0415

    items = []
    for scene in made:
        outline = mapping(scene.footprint)
        item = pystac.Item(id=scene.id, geometry=outline, bbox=[16, 50, 17.5, 52], datetime=scene.time, properties={})
        for name in (*bands, "SCL"):
            item.add_asset(name, pystac.Asset(href=scene.assets[name].href, media_type="image/tiff"))
        items.append(item)
    geobox = GeoBox(ground.shape, affine_of(EPSG, ground), f"EPSG:{EPSG}")
    loaded = odc.stac.load(items, bands=[*bands, "SCL"], geobox=geobox, chunks={"x": 1024, "y": 1024})
    clear = ~loaded["SCL"].isin([0, 1, 3, 8, 9, 10, 11])
    cube = loaded[list(bands)].to_dataarray().where(clear)
    return cube.median("time").compute(scheduler="threads", num_workers=2).to_numpy()


def run(options: argparse.Namespace) -> dict[str, object]:
    tile = Tile(id=TileId.holding(EPSG, X_M + 5100, Y_M - 5100), margin_px=1200)
    start_x, start_y = X_M // 10 + 498, -Y_M // 10 + 504
    start_x, start_y = start_x // 6 * 6, -(-start_y // 6) * 6
    edge = options.size // 6 * 6
    ground = Window(x0=start_x, y0=start_y, x1=start_x + edge, y1=start_y + edge)
    rows: dict[str, Timed] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = scenes(folder, options.size, options.looks)
        request = CompositeRequest(
            tile=tile, windows=(ground,), bands=tuple(GSD), scenes=made, looks=None, max_looks=None, threads=2,
            memory_bytes=1_000_000_000,
        )  # fmt: skip
        small = Window(x0=start_x, y0=start_y, x1=start_x + 60, y1=start_y + 60)
        build_composite(_with(request, windows=(small,)), folder / "warm")
        rows["floor: GDAL decode"] = timed(lambda: decode_floor(made, ground, tuple(GSD)))
        rows["floor: median kernel"] = timed(lambda: median_floor(ground, tuple(GSD), options.looks))
        rows["floor: write"] = timed(lambda: write_floor(folder / "floor", tile, ground, tuple(GSD)))
        rows["ours, 12 bands"] = timed(lambda: build_composite(request, folder / "ours"))
        ten = tuple(band for band, gsd in GSD.items() if gsd == 10)
        rows["ours, 10 m bands"] = timed(lambda: build_composite(_with(request, bands=ten), folder / "ten"))
        rows["ours, 12 bands, K = 12"] = timed(lambda: build_composite(_with(request, looks=12), folder / "k"))
        if not options.no_peer:
            rows["odc-stac + xarray, 10 m bands"] = timed(lambda: peer(made, ground, ten))
    return _report(rows, options)


def _with(request: CompositeRequest, **changes: object) -> CompositeRequest:
    from dataclasses import replace  # noqa: PLC0415

    return replace(request, **changes)


def _report(rows: dict[str, Timed], options: argparse.Namespace) -> dict[str, object]:
    floor = sum(row.cpu for name, row in rows.items() if name.startswith("floor"))
    ours = rows["ours, 12 bands"]
    print(f"{'':34}{'CPU s':>8}{'wall s':>8}{'of floor':>10}")
    for name, row in rows.items():
        share = f"{row.cpu / floor:10.2f}" if "12 bands" in name else ""
        print(f"{name:34}{row.cpu:8.2f}{row.wall:8.2f}{share}")
    report = ours.result
    found: dict[str, object] = {
        "size_px": options.size, "looks": options.looks, "floor_cpu_s": floor, "ratio_to_floor": ours.cpu / floor,
        "decoded_over_needed": report.nbytes_decoded / report.nbytes_needed,
        "rows": {name: {"cpu_s": row.cpu, "wall_s": row.wall} for name, row in rows.items()},
        "peak_rss_mb": psutil.Process().memory_info().rss / 1e6, "cores": os.cpu_count(),
    }  # fmt: skip
    theirs = rows.get("odc-stac + xarray, 10 m bands")
    if theirs is not None and theirs.result is not None:
        found["speedup_10m_bands_cpu"] = theirs.cpu / rows["ours, 10 m bands"].cpu
        found["speedup_10m_bands_wall"] = theirs.wall / rows["ours, 10 m bands"].wall
    print(json.dumps({name: value for name, value in found.items() if name != "rows"}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048, help="edge of the ground, px of 10 m")
    parser.add_argument("--looks", type=int, default=24)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    found = run(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
