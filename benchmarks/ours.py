"""The program's own units on the generated scenes, as a scan would run them."""

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scenes import BANDS, EPSG, GSD, TILE
from shapely.geometry import box

from models.registry import find
from scanner.composite.build import CompositeReport, CompositeRequest, build_composite
from scanner.config import ScanConfig
from scanner.run.tile_job import CompositeUnit, DetectUnit, run_unit
from scanner.store.composite import read_window
from scanner.types import Receipt, Scene
from tiling import Lattice, Window

__all__ = [
    "CARD",
    "MEMORY_BYTES",
    "Stored",
    "composite",
    "composite_unit",
    "detect_unit",
    "of_bands",
    "request",
    "run",
    "stored",
    "values",
    "with_default_looks",
]

CARD = "demo-l2a-12band"
"""The shipped detector that takes all twelve bands."""
MEMORY_BYTES = 600_000_000
"""What a unit may use beside the program itself."""
CHUNK_PX = 3051
"""What a scan with four gigabytes for a unit chooses for 27 px cells."""

Stored = dict[str, tuple[Window, NDArray[np.uint16], NDArray[np.uint16]]]
"""By band: window, medians, clear looks, as a composite holds them."""


def request(window: Window, scenes: tuple[Scene, ...], *, threads: int, looks: int | None = None) -> CompositeRequest:
    """All bands, all looks unless said otherwise."""
    return CompositeRequest(
        tile=TILE, windows=(window,), bands=BANDS, scenes=scenes, looks=looks, max_looks=None, threads=threads,
        memory_bytes=MEMORY_BYTES,
    )  # fmt: skip


def composite(root: Path, wanted: CompositeRequest) -> CompositeReport:
    """A composite into an empty folder; a scene that could not be read ends the measurement."""
    shutil.rmtree(root, ignore_errors=True)
    report = build_composite(wanted, root)
    if report.faults:
        raise SystemExit(f"the generated scenes could not be read: {report.faults[0]}")
    return report


def composite_unit(root: Path, wanted: CompositeRequest) -> CompositeUnit:
    """A worker's task."""
    return CompositeUnit(folder=root, digest="bench", request=wanted)


def detect_unit(root: Path, wanted: CompositeRequest) -> DetectUnit:
    """A worker's task on what `composite_unit` left: every cell whose whole window lies in the ground."""
    lattice = Lattice(zone=EPSG, stride_px=27)
    inner = wanted.windows[0].buffer(-(94 + 2 * lattice.stride_px))
    aoi = box(inner.x0 * 10, -inner.y1 * 10, inner.x1 * 10, -inner.y0 * 10)
    return DetectUnit(
        folder=root, digest="bench", tile=TILE, aoi=aoi,
        scenes={scene.id: scene.time.date() for scene in wanted.scenes}, detector=str(find(CARD)), impact=None,
        delineator=None, threshold=0.5, chunk_px=CHUNK_PX, device="cpu", precision="fp32", threads=wanted.threads,
    )  # fmt: skip


def run(unit: CompositeUnit | DetectUnit) -> Receipt:
    """A unit's receipt; one that failed ends the measurement."""
    if isinstance(unit, CompositeUnit):
        shutil.rmtree(unit.folder, ignore_errors=True)
    receipt = run_unit(unit)
    if receipt.status != "done":
        raise SystemExit(f"the unit {unit.stage} ended as {receipt.status}: {receipt.error}")
    return receipt


def stored(root: Path, window: Window) -> Stored:
    """What a composite holds, by band, at its own pixel size."""
    found: Stored = {}
    for gsd in sorted(set(GSD.values())):
        group: Any = zarr.open_group(root / "composite.zarr" / str(TILE.id) / f"r{gsd}m", mode="r")
        own = window.at(gsd // 10)
        rows, cols = own.slices_in(TILE.read.at(gsd // 10))
        for place, band in enumerate(group.attrs["bands"]):
            arrays = (np.asarray(group[name][place, rows, cols]) for name in ("reflectance", "clear_looks"))
            found[band] = (own, *arrays)
    return found


def values(root: Path, window: Window, bands: tuple[str, ...]) -> NDArray[np.uint16]:
    """(band, y, x) at 10 m as stored."""
    return read_window(root, TILE, bands, window)[0]


def of_bands(wanted: CompositeRequest, bands: tuple[str, ...]) -> CompositeRequest:
    """The same ground, fewer bands."""
    return replace(wanted, bands=bands)


def with_default_looks(wanted: CompositeRequest) -> CompositeRequest:
    """As many looks as a scan takes when nothing is said."""
    (looks,) = (item.default for item in fields(ScanConfig) if item.name == "looks")
    return replace(wanted, looks=looks or 8)
