"""What L1C costs: JPEG 2000 by two decoders, and s2cloudless at several pixel sizes beside 60 m.

    python benchmarks/l1c.py ../shared/data/lazio-l1c [--size 4096] [--json l1c.json]

Decoding: one file of the chips side by side, as the products are (lossless 5/3, blocks of 1024 px), with one thread; an
eighth is what the cloud mask reads. Masks: each date's at a coarser pixel against that at 60 m, the reach of averaging
and dilation kept in metres; a changed pixel is clear in one and cloud in the other. In a real granule only multiples of
60 m are means of whole pixels of every band.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import rasterio
from numpy.typing import NDArray

from scanner.composite.clouds import CLOUDLESS_BANDS, called_cloud

SIZES_M = (60, 80, 120, 160, 180, 240)
GRANULE_M = 109_800


def timed(run: Callable[[], object], rounds: int = 3) -> float:
    """Least CPU seconds of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found)


def chips(folder: Path, bands: tuple[str, ...]) -> NDArray[np.uint16]:
    """(date, band, y, x)."""
    items = json.loads((folder / "items.json").read_text())["features"]
    dates = []
    for item in items:
        layers = []
        for band in bands:
            with rasterio.open(folder / item["assets"][band]["href"]) as file:
                layers.append(file.read(1))
        dates.append(np.stack(layers))
    return np.stack(dates)


def mosaic(pixels: NDArray[np.uint16], size: int) -> NDArray[np.uint16]:
    """Chips side by side until they fill a square."""
    flat = pixels.reshape(-1, *pixels.shape[2:])
    edge = size // flat.shape[1]
    chosen = flat[np.arange(edge * edge) % len(flat)].reshape(edge, edge, *flat.shape[1:])
    return chosen.swapaxes(1, 2).reshape(edge * flat.shape[1], -1)


def decoding(image: NDArray[np.uint16]) -> dict[str, float]:
    """MB of pixels a second of one core."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jp2"
        profile = {"driver": "JP2OpenJPEG", "width": image.shape[1], "height": image.shape[0], "count": 1}
        options = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024, "RESOLUTIONS": 6}
        with rasterio.open(path, "w", dtype="uint16", **profile, **options) as file:
            file.write(image, 1)

        def gdal() -> NDArray[np.uint16]:
            with rasterio.Env(GDAL_NUM_THREADS="1"), rasterio.open(path) as file:
                return file.read(1)

        def eighth() -> NDArray[np.uint16]:
            with rasterio.Env(GDAL_NUM_THREADS="1"), rasterio.open(path) as file:
                return file.read(1, out_shape=(image.shape[0] // 8, image.shape[1] // 8))

        data = path.read_bytes()

        def direct() -> NDArray[np.uint16]:
            return imagecodecs.jpeg2k_decode(data, numthreads=1)

        assert np.array_equal(gdal(), image)
        assert np.array_equal(direct(), image)
        return {
            "bytes_per_px": len(data) / image.size,
            "gdal_mb_s": image.nbytes / 1e6 / timed(gdal),
            "imagecodecs_mb_s": image.nbytes / 1e6 / timed(direct),
            "gdal_eighth_mb_s": image.nbytes / 1e6 / timed(eighth),
        }


def classified_px_s(pixels: NDArray[np.uint16]) -> float:
    """Pixels a CPU second of the classifier, averaging and dilation, on half a million at once."""
    every = pixels.transpose(0, 2, 3, 1).reshape(-1, 1024, len(CLOUDLESS_BANDS))[:512].astype(np.float32)
    return every[..., 0].size / timed(lambda: called_cloud(every * np.float32(1e-4), 60), 1)


def masks(pixels: NDArray[np.uint16]) -> dict[int, dict[str, float]]:
    """By pixel size: share of pixels changed against 60 m, overall and of the worst date; seconds a granule."""
    found: dict[int, NDArray[np.bool_]] = {}
    rows: dict[int, dict[str, float]] = {}
    rate = classified_px_s(pixels)
    for size_m in SIZES_M:
        factor = size_m // 10
        edge = pixels.shape[2] // factor
        whole = pixels[:, :, : edge * factor, : edge * factor].astype(np.float32) * np.float32(1e-4)
        means = whole.reshape(*pixels.shape[:2], edge, factor, edge, factor).mean(axis=(3, 5)).transpose(0, 2, 3, 1)
        called = np.stack([called_cloud(date, size_m) for date in means])
        found[size_m] = called.repeat(factor, axis=1).repeat(factor, axis=2)
        least = min(found[size_m].shape[1], found[60].shape[1])
        changed = (found[size_m][:, :least, :least] != found[60][:, :least, :least]).mean(axis=(1, 2))
        rows[size_m] = {
            "changed": float(changed.mean()), "worst_date": float(changed.max()),
            "dates_above_1_percent": int((changed > 0.01).sum()), "granule_cpu_s": (GRANULE_M / size_m) ** 2 / rate,
        }  # fmt: skip
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=4096, help="edge of the JPEG 2000 image, px")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pixels = chips(options.data, CLOUDLESS_BANDS)
    fine = [CLOUDLESS_BANDS.index(band) for band in ("B02", "B04", "B08")]
    jp2 = decoding(mosaic(pixels[:, fine], options.size))
    rows = masks(pixels)
    print("JPEG 2000, one core: " + ", ".join(f"{name} {value:.1f}" for name, value in jp2.items()))
    print("| pixel, m | changed | worst date | dates above 1 % | CPU s a granule |\n|---|---|---|---|---|")
    for size_m, row in rows.items():
        print(
            f"| {size_m} | {row['changed']:.2%} | {row['worst_date']:.1%} | {row['dates_above_1_percent']} of "
            f"{len(pixels)} | {row['granule_cpu_s']:.1f} |"
        )
    if options.json:
        found = {"jpeg2000": jp2, "masks": rows, "cores": os.cpu_count()}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
