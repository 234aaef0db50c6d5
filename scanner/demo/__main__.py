"""A synthetic region to try things on: `python -m scanner.demo FOLDER [SEED]`; prints what to search in it.

The folder holds a catalogue (items.json), what was planted (truth.geojson) and labelled points (points.csv).
"""

import csv
import sys
from pathlib import Path

import click

from scanner.demo.region import Region, make_region
from scanner.demo.sites import RegionSpec
from scanner.demo.truth import impact_points

__all__ = ["write_points"]

SPEC = RegionSpec(size_px=600, dates=8, mines=6, decoys=12, cloud_called=0)


def write_points(region: Region, per_site: int = 6) -> Path:
    """Points inside mines and look-alikes and on plain ground, with a class each: points.csv beside the catalogue."""
    path = region.folder / "points.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["lon", "lat", "kind"])
        for point in impact_points(region.ground, region.seed, per_site):
            rows.writerow([f"{point.lon:.6f}", f"{point.lat:.6f}", point.label])
    return path


if __name__ == "__main__":
    made = make_region(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7, SPEC)
    write_points(made)
    click.echo(f"--aoi={','.join(map(str, made.aoi))} --dates={made.dates}")
