"""The parts of the measurement: each fills rows of the table and figures of the JSON. README.md says what each is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import floor
import ours
import peer
import workers
from measure import Row, interleaved, timed
from scenes import BANDS, GSD_10M, ground, make_scenes

from scanner.composite.build import CompositeRequest
from tiling import Window

__all__ = ["LOOKS", "SECTIONS", "THREADS", "Bench", "warm"]

LOOKS, THREADS = 24, 2
WARM_PX, CHOICE_PX, PEER_PX, MANY_PX, WORKERS_PX = 360, 2304, 768, 768, 3072
"""Grounds: to warm up on; to choose the peer on; to run it on five times; for the memory of 400 scenes; for workers."""
TILE_PX, TILE_KM2 = 9216, 92.16**2


@dataclass(slots=True, kw_only=True)
class Bench:
    """One measurement: where its files are, and what it has found."""

    folder: Path
    """Everything is written here, and removed."""
    size_px: int
    """Edge of the ground."""
    runs: int
    """Of each, interleaved."""
    rows: dict[str, Row] = field(default_factory=dict)
    """By name."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the JSON holds beside the rows."""

    @property
    def window(self) -> Window:
        return ground(self.size_px)

    def request(self, looks: int = LOOKS, *, window: Window | None = None, threads: int = THREADS) -> CompositeRequest:
        return ours.request(window or self.window, make_scenes(self.folder, looks), threads=threads)

    def root(self, name: str) -> Path:
        return self.folder / f"out-{name}"

    def ratio(self, above: float, below: float) -> float:
        return round(above / below, 3)


def warm(bench: Bench) -> None:
    """Compile and import everything once; how long that took is shown apart."""
    began = time.perf_counter()
    small = bench.request(window=ground(WARM_PX))
    ours.composite(bench.root("warm"), small)
    files = floor.rasters(small.scenes[:2], small.windows[0], BANDS)
    floor.decode_direct(files, THREADS)
    floor.decode_gdal(files, THREADS)
    floor.medians(small.windows[0], BANDS, LOOKS, THREADS)
    floor.write(bench.root("warm"), ours.stored(bench.root("warm"), small.windows[0]))
    ours.run(ours.composite_unit(bench.root("warm"), small))
    ours.run(ours.detect_unit(bench.root("warm"), small))
    bench.found["warm_up_s"] = round(time.perf_counter() - began, 2)


def floors(bench: Bench) -> None:
    """Rows 1 and 2: decode, medians, write, convolutions; the composite and the scan above them."""
    wanted, root = bench.request(), bench.root("ours")
    files = floor.rasters(wanted.scenes, bench.window, BANDS)
    receipt = ours.run(ours.composite_unit(root, wanted))
    ours.run(ours.detect_unit(root, wanted))
    stored = ours.stored(root, bench.window)
    inner = bench.size_px - 27 * 3
    timed(bench.rows.setdefault("floor: decode, GDAL", Row()), partial(floor.decode_gdal, files, THREADS))
    calls: dict[str, Callable[[], Any]] = {
        "floor: decode, direct": partial(floor.decode_direct, files, THREADS),
        "floor: medians": partial(floor.medians, bench.window, BANDS, LOOKS, THREADS),
        "floor: write": partial(floor.write, bench.root("floor"), stored),
        "floor: convolutions": partial(floor.convolve, inner, inner, ours.CARD, THREADS),
        "ours: composite": partial(ours.run, ours.composite_unit(root, wanted)),
        "ours: detection": partial(ours.run, ours.detect_unit(root, wanted)),
    }
    interleaved(bench.rows, calls, bench.runs)
    row = bench.rows
    decode = min(row["floor: decode, direct"], row["floor: decode, GDAL"], key=lambda one: one.cpu)
    parts = [decode, row["floor: medians"], row["floor: write"]]
    cpu_s, wall_s = sum(one.cpu for one in parts), sum(one.wall for one in parts)
    conv, composite, detection = row["floor: convolutions"], row["ours: composite"], row["ours: detection"]
    nbytes = sum(file.nbytes for file in files)
    decoded, needed = receipt.stats["decoded_bytes"], receipt.stats["needed_bytes"]
    skipped = decode.cpu * max(0, 1 - decoded / nbytes)
    bench.found |= {
        "floor_cpu_s": round(cpu_s, 3), "floor_wall_s": round(wall_s, 3),
        "floor_decoder": "direct" if decode is row["floor: decode, direct"] else "GDAL",
        "ratio_to_floor": bench.ratio(composite.cpu, cpu_s),
        "wall_ratio_to_floor": bench.ratio(composite.wall, wall_s),
        "scan_ratio_to_floor": bench.ratio(composite.cpu + detection.cpu, cpu_s + conv.cpu),
        "scan_wall_ratio_to_floor": bench.ratio(composite.wall + detection.wall, wall_s + conv.wall),
        "floor_decoded_bytes": nbytes, "decoded_bytes": int(decoded),
        "decoded_over_needed": bench.ratio(decoded, needed),
        "ratio_to_floor_of_the_bytes_read": bench.ratio(composite.cpu, cpu_s - skipped),
        "megabytes_per_core_second": round(decoded / 1e6 / composite.cpu, 1), "rescued_px": receipt.stats["rescued_px"],
        "files": len(files), "blocks": sum(len(file.blocks) for file in files),
    }  # fmt: skip


def peers(bench: Bench) -> None:
    """Row 3: the usual stack, its best of three found on one band."""
    scenes, window = make_scenes(bench.folder, LOOKS), ground(min(bench.size_px, CHOICE_PX))
    for name, call in peer.VARIANTS.items():
        timed(bench.rows.setdefault(f"peer, B08 alone: {name}", Row()), partial(call, scenes, window, ("B08",)))
    best = min(peer.VARIANTS, key=lambda name: bench.rows[f"peer, B08 alone: {name}"].wall)
    small = min(bench.size_px, PEER_PX)
    _compare(bench, best, BANDS, small, bench.runs)
    _compare(bench, best, GSD_10M, small, bench.runs)
    _compare(bench, best, BANDS, bench.size_px, 1)
    _compare(bench, best, GSD_10M, bench.size_px, 1)
    speedups = bench.found["speedups"]
    bench.found |= {
        "peer": best, "speedup_vs_usual_stack": speedups[f"12 bands, {bench.size_px} px"],
        "speedup_10m_bands": speedups[f"4 bands, {bench.size_px} px"],
        "speedup_vs_usual_stack_small_ground": speedups[f"12 bands, {small} px"],
        "speedup_10m_bands_small_ground": speedups[f"4 bands, {small} px"],
    }  # fmt: skip


def _compare(bench: Bench, best: str, bands: tuple[str, ...], size_px: int, runs: int) -> None:
    """Ours and theirs in turn on one ground, and whether they made the same composite."""
    window, what = ground(size_px), f"{len(bands)} bands, {size_px} px"
    wanted = ours.of_bands(bench.request(window=window), bands)
    rows: dict[str, Row] = {}
    calls = {
        f"ours: {what}": partial(ours.composite, bench.root("beside"), wanted),
        f"peer: {what}": partial(peer.VARIANTS[best], wanted.scenes, window, bands),
    }
    interleaved(rows, calls, runs)
    mine, theirs = rows.values()
    values = ours.values(bench.root("beside"), window, bands)
    bench.found.setdefault("agreement", {})[what] = peer.disagreement(theirs.result, values, bands)
    bench.found.setdefault("speedups", {})[what] = bench.ratio(theirs.wall, mine.wall)
    theirs.result = None
    bench.rows |= rows


def memory(bench: Bench) -> None:
    """Row 4: the most memory of a fresh worker, at 24, 96 and, on a smaller ground, 400 scenes."""
    small = bench.request(window=ground(WARM_PX))
    peaks: dict[str, Any] = {}
    many = ground(min(bench.size_px, MANY_PX))
    for name, looks, window, detect in (
        ("24 scenes", 24, bench.window, False), ("96 scenes", 96, bench.window, False),
        (f"24 scenes, {MANY_PX} px", 24, many, False), (f"400 scenes, {MANY_PX} px", 400, many, False),
        ("24 scenes, with detection", 24, bench.window, True),
    ):  # fmt: skip
        wanted = bench.request(looks, window=window)
        peaks[name] = workers.peak_of(bench.root("peak"), wanted, small, detect=detect)
    bench.found |= {
        "peaks": peaks, "memory_bytes_asked": ours.MEMORY_BYTES,
        "peak_memory_96_over_24": bench.ratio(peaks["96 scenes"]["peak_bytes"], peaks["24 scenes"]["peak_bytes"]),
        "peak_memory_bytes": max(one["peak_bytes"] for one in peaks.values()),
        "worker_start_s": peaks["24 scenes"]["start_s"],
    }  # fmt: skip


def two_workers(bench: Bench) -> None:
    """Row 5: two squares of the ground by one worker, and by two; one thread each. Beside it, decoding alone."""
    whole, half = bench.window, min(bench.size_px, WORKERS_PX) // 12 * 6
    parts = [Window(x0=x, y0=whole.y0, x1=x + half, y1=whole.y0 + half) for x in (whole.x0, whole.x0 + half)]
    units = [
        ours.composite_unit(bench.root(f"part-{place}"), bench.request(window=part, threads=1))
        for place, part in enumerate(parts)
    ]
    files = [floor.rasters(unit.request.scenes, part, BANDS) for unit, part in zip(units, parts, strict=True)]
    with workers.crew(2, 1, bench.request(window=ground(WARM_PX), threads=1), bench.folder) as both:
        first, second = both.addresses
        both.timed(Row(), [(at, floor.decode_direct, (files[0][:1], 1)) for at in both.addresses])
        for _ in range(bench.runs):
            for name, where in (("one worker", (first, first)), ("two workers", (first, second))):
                row = bench.rows.setdefault(f"{name}: composites", Row())
                both.timed(row, [(at, ours.run, (unit,)) for at, unit in zip(where, units, strict=True)])
                row = bench.rows.setdefault(f"{name}: decoding alone", Row())
                both.timed(row, [(at, floor.decode_direct, (part, 1)) for at, part in zip(where, files, strict=True)])
    for key, what in (("two_worker_speedup", "composites"), ("two_worker_speedup_of_decoding", "decoding alone")):
        bench.found[key] = bench.ratio(bench.rows[f"one worker: {what}"].wall, bench.rows[f"two workers: {what}"].wall)


def many_looks(bench: Bench) -> None:
    """Rows 6 and 7: 75 dates, all looks and the default; what a whole tile takes."""
    every = bench.request(75)
    first = ours.with_default_looks(every)
    row = bench.rows.setdefault("ours: 75 dates, all looks", Row())
    timed(row, partial(ours.composite, bench.root("all"), every))
    few = bench.rows.setdefault(f"ours: 75 dates, K = {first.looks}", Row())
    timed(few, partial(ours.composite, bench.root("few"), first))
    scale = (TILE_PX / bench.size_px) ** 2
    per_tile = row.cpu * scale
    bench.found |= {
        "bytes_fraction_default_looks": bench.ratio(few.result.nbytes_decoded, row.result.nbytes_decoded),
        "default_looks": first.looks, "default_max_looks": first.max_looks,
        "core_seconds_per_tile_75_looks": round(per_tile, 1),
        "core_seconds_per_tile_75_looks_default": round(few.cpu * scale, 1),
        "km2_per_hour_32_cores": round(32 * 3600 / per_tile * TILE_KM2),
        "km2_per_hour_32_cores_default_looks": round(32 * 3600 / (few.cpu * scale) * TILE_KM2),
    }  # fmt: skip


SECTIONS = {"floor": floors, "peer": peers, "memory": memory, "workers": two_workers, "looks": many_looks}
