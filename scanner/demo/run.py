"""The demo: a region is made, served as a catalogue, scanned as any other, and held against what was planted."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from scanner.config import ScanConfig
from scanner.demo.region import Region, make_region
from scanner.demo.report import compare
from scanner.demo.server import serve
from scanner.demo.sites import RegionSpec
from scanner.errors import FolderError
from scanner.run.progress import open_progress
from scanner.run.scan import ScanResult, scan
from scanner.store.layout import ScanFolder

__all__ = ["DEMO_SEED", "DETECTOR", "run_demo"]

DEMO_SEED: Final = 7
"""Of the region; the weights are made from others."""
DETECTOR: Final = "demo-l2a-12band"
"""The shipped card, for the demo alone."""


def run_demo(out: Path, *, seed: int = DEMO_SEED, spec: RegionSpec | None = None) -> int:
    """Scan a synthetic region into `out` and print what was found of what was planted; again resumes.

    Returns:
        0 when nothing failed, nine of ten mines are found and at most one candidate in ten is false; else 1.

    Raises:
        InputError: `out` cannot be written or holds another scan, or the catalogue does not come up.
    """
    folder = ScanFolder(out)
    folder.begin()
    _check_ours(folder)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minescan-demo-") as scratch:
        region = _make(Path(scratch), seed, spec or RegionSpec())
        made = time.monotonic()
        shutil.copyfile(region.truth, out / "truth.geojson")
        with serve(region.items, region.collection) as url:
            _rebind(folder, url)
            aoi = ",".join(map(str, region.aoi))
            result = scan(ScanConfig(aoi=aoi, dates=region.dates, catalog=url, detector=DETECTOR, out=out))
    return _tell(result, made - began, time.monotonic() - made)


def _make(scratch: Path, seed: int, spec: RegionSpec) -> Region:
    with open_progress() as progress:
        progress.stage("granules", 2 * spec.dates)
        return make_region(scratch, seed, spec, on_granule=lambda name: progress.advance("granules", name))


def _check_ours(folder: ScanFolder) -> bool:
    """Whether an earlier demo began the folder; refuses a folder that some other scan began."""
    run = folder.read_run()
    if run and run.get("detector", {}).get("name") != DETECTOR:
        raise FolderError(f"--out {folder.root} holds a scan that is not the demo's; choose another folder")
    return bool(run)


def _rebind(folder: ScanFolder, url: str) -> None:
    """Let an earlier demo's folder go on: its region is the same, but served at another port this time."""
    with folder.lock():
        if _check_ours(folder):
            run = folder.read_run()
            folder.write_run(run | {"identity": run["identity"] | {"catalog": url}})


def _tell(result: ScanResult, made_s: float, scanned_s: float) -> int:
    """Print the comparison, the rescue, the time and where everything is; gives the exit code."""
    out, run = result.out, result.run
    comparison = compare(out / "truth.geojson", result.candidates)
    rescued = int(run["totals"]["rescued_px"])
    for line in result.failures:
        click.echo(line, err=True)
    click.echo(f"\n{comparison.table()}")
    click.echo(
        f"{rescued / 1e4:.2f} km² of bare ground, called cloud on nearly every date though all around was clear, "
        "taken as clear"
    )
    click.echo(
        f"{run['km2']['seen_km2']:.0f} of {run['km2']['aoi_km2']:.0f} km² seen; "
        f"the region took {made_s:.0f} s to make, the scan {scanned_s:.0f} s"
    )
    for name in ("candidates.csv", "candidates.kml", "truth.geojson"):
        click.echo(str(out / name))
    return 0 if comparison.good and not result.failures else 1
