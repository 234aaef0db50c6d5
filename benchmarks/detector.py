"""The detector beside its floor, the same convolutions on random numbers.

    python benchmarks/detector.py [--size 4608] [--detector quarry-l2a-10band] [--threads 2] [--json detector.json]

A composite of random values is written once; then floor and whole unit (read, observed cells, looks, scores, grids) run
in turn on the cells whose windows lie in it.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from deploy.worker import prepare_worker
from tiling import Window


def random_composite(folder: Path, ground: Window) -> None:
    """Values about what land reflects, one pixel in two thousand missing."""
    import floor  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from scenes import BANDS, GSD  # noqa: PLC0415

    rng = np.random.default_rng(0)
    stored = {}
    for place, band in enumerate(BANDS):
        window = ground.at(GSD[band] // 10)
        values = (2000 + 300 * place + rng.normal(0, 250, window.shape)).astype(np.uint16)
        clear = rng.integers(5, 25, window.shape, dtype=np.uint16)
        hole = rng.random(window.shape) < 0.0005
        values[hole] = clear[hole] = 0
        stored[band] = (window, values, clear)
    floor.write(folder, stored)


def measure(options: argparse.Namespace) -> dict[str, dict[str, float | int]]:
    """Seconds of floor and unit; the first round, which compiles, is left out."""
    import floor  # noqa: PLC0415
    import ours  # noqa: PLC0415
    from measure import Row, interleaved  # noqa: PLC0415
    from scenes import ground  # noqa: PLC0415

    from models.registry import find  # noqa: PLC0415

    window = ground(options.size)
    edge = window.width_px - 4 * 27
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        random_composite(Path(name), window)
        request = ours.request(window, (), threads=options.threads)
        unit = replace(ours.detect_unit(Path(name), request), detector=str(find(options.detector)), threshold=0.999999)
        calls = {
            "floor": lambda: floor.convolve(edge, edge, options.detector, options.threads),
            "unit": lambda: ours.run(unit),
        }
        interleaved({}, calls, 1)
        interleaved(rows, calls, options.rounds)
    return {label: row.summary() for label, row in rows.items()}


def main() -> None:
    """Print medians and spreads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=4608, help="edge of the ground, px of 10 m")
    parser.add_argument("--detector", default="quarry-l2a-10band")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # Before anything that brings torch: its threads are decided when it is loaded.
    prepare_worker(options.threads)
    rows = measure(options)
    for label, row in rows.items():
        print(f"{label:6}" + "".join(f"{kind} {value}   " for kind, value in row.items()))
    if options.json:
        found = {"size_px": options.size, "detector": options.detector, "threads": options.threads, "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
