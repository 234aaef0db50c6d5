"""Quarry cells of Strzegom, found by the program itself, beside what remembering the place would score.

    python benchmarks/strzegom.py ../shared/data/strzegom [--detector quarry-l2a-10band]

Each date, then all four together, is scanned through the command line's own entry. A cell counts when its 189 px window
lies in the image: positive when at least a tenth of it is labelled quarry, left out when less but some.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from scanner import ScanConfig, scan
from tiling import Lattice, Window

DATES = ("2021-06-19", "2022-07-19", "2023-02-09", "2023-05-30")
QUARRY = 10
STRIDE_PX, WINDOW_PX = 27, 189


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cells of one scan."""

    scan: str
    quarry: int
    hit: int
    missed: int
    false: int
    observed: int
    judged: int


def label_cells(path: Path) -> tuple[Lattice, list[tuple[int, int]], NDArray[np.float64]]:
    """Cells whose window lies in the labelled image, and the share of each that is quarry."""
    with rasterio.open(path) as source:
        labels, transform, zone = source.read(1), source.transform, source.crs.to_epsg()
    lattice = Lattice(zone=zone, stride_px=STRIDE_PX)
    left, top = round(transform.c / 10), round(-transform.f / 10)
    image = Window(x0=left, y0=top, x1=left + labels.shape[1], y1=top + labels.shape[0])
    cells, shares = [], []
    for column in range(image.x0 // STRIDE_PX, image.x1 // STRIDE_PX + 1):
        for row in range(-image.y1 // STRIDE_PX - 1, -image.y0 // STRIDE_PX + 1):
            square = Window(
                x0=column * STRIDE_PX, y0=-(row + 1) * STRIDE_PX, x1=(column + 1) * STRIDE_PX, y1=-row * STRIDE_PX
            )
            if image.contains(square.buffer((WINDOW_PX - STRIDE_PX) // 2)):
                cells.append((column, row))
                shares.append(float((labels[square.slices_in(image)] == QUARRY).mean()))
    return lattice, cells, np.array(shares)


def scores_of(folder: Path, lattice: Lattice, cells: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Probability of each cell from the scan's grids; NaN where unobserved."""
    scores = np.full(len(cells), np.nan)
    for path in sorted((folder / "probability").glob("*.tif")):
        with rasterio.open(path) as source:
            grid = source.read(source.count)
            for index, (column, row) in enumerate(cells):
                y, x = source.index((column + 0.5) * lattice.edge_m, (row + 0.5) * lattice.edge_m)
                if 0 <= y < grid.shape[0] and 0 <= x < grid.shape[1]:
                    scores[index] = grid[y, x]
    return scores


def compare(name: str, scores: NDArray[np.float64], shares: NDArray[np.float64], threshold: float) -> Row:
    """Hits against labels."""
    quarry, clear, seen, above = shares >= 0.1, shares == 0, ~np.isnan(scores), scores > threshold
    return Row(
        scan=name, quarry=int(quarry.sum()), hit=int((quarry & above).sum()), missed=int((quarry & ~above).sum()),
        false=int((clear & above).sum()), observed=int(seen.sum()), judged=len(scores),
    )  # fmt: skip


def extent_text(path: Path) -> str:
    """The image's extent as --aoi wants it."""
    from rasterio.warp import transform_bounds  # noqa: PLC0415

    with rasterio.open(path) as source:
        return ",".join(f"{value:.6f}" for value in transform_bounds(source.crs, "EPSG:4326", *source.bounds))


def run(data: Path, detector: str, out: Path) -> list[Row]:
    """Scan each date and all four; the remembered label of the other dates stands beside each."""
    masks = {date: data / "labels" / f"mask_strzegom_{date.replace('-', '')}_33u.tif" for date in DATES}
    labelled = {date: label_cells(path) for date, path in masks.items()}
    rows = []
    for name, dates in [*((date, f"{date}/{date}") for date in DATES), ("all four", f"{DATES[0]}/{DATES[-1]}")]:
        lattice, cells, shares = labelled.get(name, labelled[DATES[-1]])
        config = ScanConfig(
            aoi=extent_text(masks[DATES[0]]), dates=dates, catalog=str(data / "items.json"), detector=detector,
            out=out / name.replace(" ", "-"),
        )  # fmt: skip
        result = scan(config)
        rows.append(compare(name, scores_of(result.out, lattice, cells), shares, result.run["settings"]["threshold"]))
        others = [labelled[date][2] for date in DATES if date != name]
        remembered = (np.mean(np.array(others) >= 0.1, axis=0) >= 0.5).astype(float)
        rows.append(compare(f"{name}, remembered", remembered, shares, 0.5))
    return rows


def main() -> None:
    """Print the table and write it as JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--detector", default="quarry-l2a-10band")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(options.data, options.detector, Path(folder))
    print("| scan | quarry cells | hit | missed | false | observed |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.scan} | {row.quarry} | {row.hit} | {row.missed} | {row.false} | {row.observed} of {row.judged} |"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
