"""What chunk, shard and codec cost a composite: writing, size on disk, and the detector's windowed reads.

    python benchmarks/zarr_layout.py [--rounds 3] [--json FILE]

Made pixels: smooth ground of about 3000 with a noise of 60, smooth counts of looks; a block of 4608 px, 12 bands at
native size, 300 px off every shard. Every shard is written once, by a call of its own, on one thread; CPU is user and
system time together. A read opens the arrays anew and takes all bands and counts of two windows of 3260 px from the
page cache, on all cores, as the detector does.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import zarr
import zarrs  # noqa: F401  registers the pipeline
from numpy.typing import NDArray
from scipy import ndimage
from zarr.codecs import BloscCodec, ZstdCodec

from scanner.store.composite import CompositeWriter
from tiling import Tile, TileId, Window

WHOLE_PX, EDGE_PX, START_PX, READ_PX = 9432, 4608, 300, 3260
KINDS = ("values", "counts")
BANDS = {10: 4, 20: 6, 60: 2}
PIPELINES = {
    "zarrs": "zarrs.ZarrsCodecPipeline",
    "zarr-python": "zarr.core.codec_pipeline.BatchedCodecPipeline",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to store the arrays."""

    pipeline: str = "zarrs"
    """Key of PIPELINES."""
    chunk_px: int = 512
    """At 10 m; coarser bands have chunks in proportion, 128 px at least."""
    shard_px: tuple[int, int] = (512, 5120)
    """(rows, columns) at 10 m; 0 columns: the whole row."""
    values: str = "lz4-5-bitshuffle"
    """Codec of reflectance."""
    counts: str = "lz4-5-bitshuffle"
    """Codec of clear looks."""

    def chunk(self, gsd: int) -> int:
        """Edge of a chunk at a pixel size."""
        return max(self.chunk_px * 10 // gsd // 128 * 128, 128)

    def shard(self, gsd: int) -> tuple[int, int]:
        """(rows, columns) of a shard: whole chunks."""
        chunk, width = self.chunk(gsd), WHOLE_PX * 10 // gsd
        rows, columns = (px * 10 // gsd or width for px in self.shard_px)
        return -(-rows // chunk) * chunk, -(-columns // chunk) * chunk


Planes = dict[int, tuple[NDArray[np.uint16], NDArray[np.uint16]]]
"""By pixel size: the values and the counts of one band."""


def compressor(name: str) -> BloscCodec | ZstdCodec:
    cname, level, *shuffle = name.split("-")
    if not shuffle:
        return ZstdCodec(level=int(level))
    return BloscCodec(cname=cname, clevel=int(level), shuffle=shuffle[0])


def planes() -> Planes:
    rng, made = np.random.default_rng(0), {}
    field = ndimage.zoom(rng.normal(14, 4, (48, 48)), EDGE_PX / 2 / 48, order=1).clip(0, 24).astype(np.uint16)
    for gsd in BANDS:
        edge = EDGE_PX * 10 // gsd
        ground = ndimage.zoom(rng.normal(3000, 900, (64, 64)), edge / 64, order=1)
        values = (ground + rng.normal(0, 60, ground.shape)).clip(1, 20000).astype(np.uint16)
        counts = field.repeat(2, 0).repeat(2, 1) if gsd == 10 else field[:: gsd // 20, :: gsd // 20]
        made[gsd] = values, np.ascontiguousarray(counts[:edge, :edge])
    return made


def spans(start: int, length: int, edge: int) -> list[tuple[int, int]]:
    """Pieces of `length` pixels from `start` on, cut at multiples of `edge`; counted from the start."""
    return list(pairwise([0, *range(-start % edge or edge, length, edge), length]))


def write(folder: Path, layout: Layout, made: Planes, kind: int) -> None:
    name, codec = KINDS[kind], (layout.values, layout.counts)[kind]
    with zarr.config.set({"codec_pipeline.path": PIPELINES[layout.pipeline], "threading.max_workers": 1}):
        for gsd, count in BANDS.items():
            chunk, edge, start, pixels = layout.chunk(gsd), WHOLE_PX * 10 // gsd, START_PX * 10 // gsd, made[gsd][kind]
            array = zarr.create_array(
                folder / f"r{gsd}-{name}", shape=(count, edge, edge), dtype="uint16", fill_value=0,
                chunks=(1, chunk, chunk), shards=(1, *layout.shard(gsd)), compressors=compressor(codec),
            )  # fmt: skip
            cuts = [spans(start, pixels.shape[0], shard_px) for shard_px in layout.shard(gsd)]
            for band, (y0, y1), (x0, x1) in product(range(count), *cuts):
                array[band, start + y0 : start + y1, start + x0 : start + x1] = pixels[y0:y1, x0:x1]


def read(folder: Path, layout: Layout) -> None:
    with zarr.config.set({"codec_pipeline.path": PIPELINES[layout.pipeline]}):
        for (gsd, count), name in product(BANDS.items(), KINDS):
            array = zarr.open_array(folder / f"r{gsd}-{name}", mode="r")
            for corner, band in product(((420, 1100), (1500, 600)), range(count)):
                rows, cols = (slice(px * 10 // gsd, (px + READ_PX) * 10 // gsd) for px in corner)
                np.asarray(array[band : band + 1, rows, cols])


def timed(call: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(layout: Layout, made: Planes, rounds: int) -> dict[str, float]:
    """Medians of the rounds."""
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "z"
        for _ in range(rounds):
            shutil.rmtree(folder, ignore_errors=True)
            for kind, what in enumerate(KINDS):
                cpu, wall = timed(partial(write, folder, layout, made, kind))
                found[f"{what}_write_cpu_s"].append(cpu)
                found["write_wall_s"].append(wall if kind == 0 else wall + found["write_wall_s"].pop())
            for key, seconds in zip(("read_cpu_s", "read_wall_s"), timed(partial(read, folder, layout)), strict=True):
                found[key].append(seconds)
        for what in KINDS:
            files = [path.stat().st_size for path in folder.glob(f"*-{what}/c/**/*") if path.is_file()]
            found[f"{what}_mb"].append(sum(files) / 1e6)
            found["files"].append(len(files))
    return {key: statistics.median(values) for key, values in found.items()} | {"files": sum(found["files"])}


def layouts() -> dict[str, Layout]:
    base = Layout()
    found = {"as chosen": base, "as chosen, zarr-python": replace(base, pipeline="zarr-python")}
    found |= {f"chunk {px}": replace(base, chunk_px=px) for px in (256, 1024)}
    shards = ((768, 768), (1024, 1024), (1536, 1536), (2048, 2048), (512, 2560), (512, 0), (1024, 2560), (1024, 5120))
    found |= {f"shard {rows} x {columns or 'row'}": replace(base, shard_px=(rows, columns)) for rows, columns in shards}
    codecs = ["lz4-1-bitshuffle", "lz4-9-bitshuffle", "lz4-5-shuffle", "lz4-5-noshuffle", "zstd-1", "zstd-3"]
    codecs += [f"zstd-{level}-{shuffle}" for shuffle in ("bitshuffle", "shuffle") for level in (1, 3, 5)]
    return found | {codec: replace(base, values=codec, counts=codec) for codec in codecs}


def write_panels(folder: Path, made: Planes, panel: tuple[int, int], *, wait: bool) -> None:
    """The block through the writer, in panels (rows, columns) row by row; each shard once where parts may wait."""
    tile = Tile(id=TileId(zone=32633, column=6, row=61), margin_px=108)
    x0, y0 = tile.read.x0 + START_PX, tile.read.y0 + START_PX
    block = Window(x0=x0, y0=y0, x1=x0 + EDGE_PX, y1=y0 + EDGE_PX)
    bands = {f"{gsd}-{n}": gsd for gsd, count in BANDS.items() for n in range(count)}
    writer = CompositeWriter(folder, tile, bands, [block] if wait else [])
    cuts = [spans(START_PX, EDGE_PX, px) for px in panel]
    for (top, bottom), (left, right), (band, gsd) in product(*cuts, bands.items()):
        part = Window(x0=x0 + left, y0=y0 + top, x1=x0 + right, y1=y0 + bottom)
        outer, region = block.at(gsd // 10), part.at(gsd // 10)
        rows, cols = region.intersect(outer).slices_in(outer)
        writer.write(band, region, *(plane[rows, cols] for plane in made[gsd]))
    writer.finish()


def measure_panels(made: Planes, rounds: int) -> dict[str, dict[str, float]]:
    found = {}
    for panel, wait in product(((2040, EDGE_PX), (1020, 2040)), (False, True)):
        pairs = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name:
                pairs.append(timed(partial(write_panels, Path(name), made, panel, wait=wait)))
        cpu, wall = map(statistics.median, zip(*pairs, strict=True))
        label = f"{panel[0]} x {panel[1]}, {'each shard once' if wait else 'as they come'}"
        found[label] = {"write_cpu_s": cpu, "write_wall_s": wall}
        print(f"{label:36}{cpu:8.2f}{wall:8.2f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="layouts whose name holds this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made, found = planes(), {}
    keys = (
        "values_write_cpu_s",
        "counts_write_cpu_s",
        "write_wall_s",
        "read_cpu_s",
        "read_wall_s",
        "values_mb",
        "counts_mb",
    )
    print(f"{'':26}" + "".join(f"{key.replace('_write', '').replace('_s', ''):>12}" for key in keys) + f"{'files':>7}")
    for name, layout in layouts().items():
        if options.only in name:
            row = found[name] = measure(layout, made, options.rounds)
            print(f"{name:26}" + "".join(f"{row[key]:12.2f}" for key in keys) + f"{row['files']:7.0f}", flush=True)
    print("\nPanels through the writer: CPU s, wall s")
    found |= measure_panels(made, options.rounds)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
