"""Composites beside their floor and beside the usual stack, in one run, on scenes made for it: a table and a JSON.

    python benchmarks/bench.py [--only floor,peer,memory,workers,looks] [--runs 5] [--size 4608] [--json FILE]

README.md says what each figure is.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Workers import this file anew, and what it imports would count as their memory: the rest is imported where it is used.
from deploy.worker import prepare_worker

if TYPE_CHECKING:
    from rows import Bench

SPARE_BYTES = 4_000_000_000
PARTS = ("floor", "peer", "memory", "workers", "looks")


def report(bench: "Bench") -> dict[str, Any]:
    """The JSON; the table is printed."""
    print(f"{'':48}{'runs':>5}{'CPU s':>9}{'min':>8}{'max':>8}{'wall s':>9}{'min':>8}{'max':>8}")
    for name, row in bench.rows.items():
        cpu, wall = row.cpu_s, row.wall_s
        print(
            f"{name:48}{len(cpu):5}{row.cpu:9.2f}{min(cpu):8.2f}{max(cpu):8.2f}"
            f"{row.wall:9.2f}{min(wall):8.2f}{max(wall):8.2f}"
        )
    for name, value in bench.found.items():
        print(f"{name:48} {json.dumps(value)}")
    rows = {name: row.summary() for name, row in bench.rows.items()}
    return bench.found | {"rows": rows}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make the scenes, measure, report."""
    from measure import machine  # noqa: PLC0415
    from rows import LOOKS, SECTIONS, THREADS, Bench, warm  # noqa: PLC0415
    from scenes import BANDS, SETS, make_files  # noqa: PLC0415

    began = time.perf_counter()
    shm = Path("/dev/shm")  # noqa: S108  memory, if there is enough: a disk is not what is measured
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > SPARE_BYTES
    with tempfile.TemporaryDirectory(dir=shm if roomy else None) as name:
        bench = Bench(folder=Path(name), size_px=options.size // 12 * 12, runs=options.runs)
        make_files(bench.folder, bench.window)
        bench.found |= {
            "machine": machine(), "size_px": bench.size_px, "looks": LOOKS, "bands": len(BANDS), "threads": THREADS,
            "file_sets": SETS, "files_in_memory": roomy, "making_scenes_s": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        warm(bench)
        for section in options.only or PARTS:
            SECTIONS[section](bench)
            print(f"{section}: done after {time.perf_counter() - began:.0f} s", flush=True)
        bench.found["seconds"] = round(time.perf_counter() - began)
        return report(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"of {','.join(PARTS)}")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=4608, help="edge of the ground, px of 10 m")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.only or ()) - set(PARTS):
        parser.error(f"--only {unknown.pop()}: known are {', '.join(PARTS)}")
    # A local folder of links has no dates of its own: odc-stac opens each file and rasterio remarks on the buffers.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    warnings.filterwarnings("ignore", message="All-NaN slice")
    os.environ.setdefault("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    prepare_worker(os.cpu_count() or 1)  # the environment of the program's own workers, before torch reads it
    found = run(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
