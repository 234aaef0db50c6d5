"""One tile, end to end, without dask: a unit in, its data on disk, a receipt out."""

import datetime as dt
import gc
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.composite.build import build_composite
from scanner.composite.radiometry import row, tally
from scanner.composite.request import CompositeRequest
from scanner.detection.detect import Asked, Detections, detect_tile
from scanner.detection.hits_file import write_hits
from scanner.detection.judge import Bench, hits_of
from scanner.errors import MinescanError
from scanner.export.raster import write_clear_looks, write_probability
from scanner.store.composite import flush, open_scenes, read_window
from scanner.store.layout import ScanFolder
from scanner.types import Receipt
from tiling import CellRange, Lattice, Tile, Window, cell_areas, chunks, judged

__all__ = ["CompositeUnit", "DetectUnit", "program_version", "run_unit"]

FAULTS_KEPT = 20
"""Faults a receipt names; it counts them all and stays below 10 kB."""


OFFSETS_KEPT = 10
"""Scenes with a contradicted offset that a receipt names; it counts them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeUnit:
    """Read one tile's scenes and write its composite."""

    folder: Path
    """The scan's folder."""
    digest: str
    """Of everything that shapes the composite."""
    request: CompositeRequest
    """What to read."""

    stage: ClassVar[Literal["composite"]] = "composite"

    @property
    def name(self) -> str:
        """Tile id."""
        return str(self.request.tile.id)

    def run(self) -> Receipt:
        """Build, flush, and only then say so."""
        report = build_composite(self.request, self.folder)
        flush(self.folder, self.name)
        stats = {
            "decoded_bytes": float(report.nbytes_decoded), "needed_bytes": float(report.nbytes_needed),
            "requests": float(report.requests), "rescued_px": float(report.rescued_px), "looks": float(report.looks),
            "fetched_bytes": float(report.nbytes_fetched), "retries": float(report.retries),
            "throttled": float(report.throttled),
        } | {f"mask_{kind}": 1.0 for kind in report.mask_kinds} | tally(report.offsets)  # fmt: skip
        contradicted = [row(one) for one in report.offsets if one.action in ("corrected", "left out", "suspect")]
        return Receipt(
            stage="composite", unit=self.name, digest=self.digest, status="partial" if report.faults else "done",
            nbytes=report.nbytes_decoded, faults=report.faults[:FAULTS_KEPT], fault_count=len(report.faults),
            stats=stats, offsets=tuple(contradicted[:OFFSETS_KEPT]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectUnit:
    """Score one tile's composite and judge its hits."""

    folder: Path
    """The scan's folder."""
    digest: str
    """Of everything that shapes the detections."""
    tile: Tile
    """The tile."""
    cells: CellRange
    """The cells it owns."""
    aoi: BaseGeometry
    """The AOI's part here, UTM metres."""
    scenes: Mapping[str, dt.date]
    """Ids of the composite's scenes and the days they were taken."""
    detector: str
    """Folder of the detector's card."""
    impact: str | None
    """Folder of the judge's card."""
    threshold: float
    """Score above which a cell is a hit."""
    chunk_px: int
    """Edge of a chunk's core."""
    device: Literal["auto", "cpu", "cuda"]
    """Where the networks run."""
    threads: int
    """Threads of the networks on a CPU."""

    stage: ClassVar[Literal["detect"]] = "detect"

    @property
    def name(self) -> str:
        """Tile id."""
        return str(self.tile.id)

    def run(self) -> Receipt:
        """Detect, judge, write grids and hits, and only then say so."""
        import torch  # noqa: PLC0415

        from models.infer import Detector, Judge, load  # noqa: PLC0415

        torch.set_num_threads(self.threads)
        detector = load(self.detector, self.device)
        judge = load(self.impact, self.device) if self.impact else None
        assert isinstance(detector, Detector)  # noqa: S101  the cards' tasks were checked when the scan was prepared
        assert judge is None or isinstance(judge, Judge)  # noqa: S101
        asked = self._asked(detector.card)

        def read(window: Window) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
            return read_window(self.folder, self.tile, detector.card.bands, window)

        detections = detect_tile(asked, read, detector, judge, self.threshold)
        bench = Bench(
            impact=judge.card if judge else None, scenes=self.scenes, clear_in=open_scenes(self.folder, self.tile)
        )
        hits = hits_of(detections, asked, bench)
        self._write(asked, detections, detector.card.classes)
        write_hits(ScanFolder(self.folder).hits(self.name), hits)
        areas = cell_areas(asked.lattice, asked.cells, asked.judged, self.aoi)
        stats = {
            "cells": float(asked.judged.sum()), "observed_cells": float(detections.observed.sum()),
            "hits": float(len(hits)), "judged_km2": float(areas.sum()),
            "seen_km2": float(areas[detections.observed].sum()),
        }  # fmt: skip
        return Receipt(stage="detect", unit=self.name, digest=self.digest, status="done", stats=stats)

    def _asked(self, card: ModelCard) -> Asked:
        lattice = Lattice(zone=self.tile.id.zone, stride_px=card.stride_px)
        parts = chunks(lattice, self.cells, chunk_px=self.chunk_px, halo_px=card.halo_px)
        return Asked(
            tile=self.tile.id,
            lattice=lattice,
            cells=self.cells,
            judged=judged(lattice, self.cells, self.aoi),
            chunks=parts,
        )

    def _write(self, asked: Asked, detections: Detections, classes: tuple[str, ...]) -> None:
        folder = ScanFolder(self.folder)
        transform, epsg = asked.lattice.transform(asked.cells), asked.lattice.zone
        probabilities = folder.probability(self.name)
        write_probability(probabilities, detections.probabilities, transform=transform, epsg=epsg, classes=classes)
        write_clear_looks(folder.coverage(self.name), detections.looks, transform=transform, epsg=epsg)


def program_version() -> str:
    """Of the minescan that runs here."""
    return version("minescan")


def run_unit(unit: CompositeUnit | DetectUnit) -> Receipt:
    """Run one unit; whatever happens, a receipt comes back."""
    began = time.monotonic()
    # Else the collector walks through every object of torch and zarr again and again, for a twentieth of the time.
    gc.freeze()
    try:
        with ScanFolder(unit.folder).own(unit.name):
            receipt = unit.run()
    except MinescanError as error:
        receipt = _failed(unit, str(error))
    except Exception as error:  # noqa: BLE001  a unit must cost a ledger row, never the run
        where = traceback.extract_tb(error.__traceback__)[-1]
        receipt = _failed(unit, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
    finally:
        gc.unfreeze()
    return replace(receipt, seconds=round(time.monotonic() - began, 3))


def _failed(unit: CompositeUnit | DetectUnit, reason: str) -> Receipt:
    line = " ".join(reason.split())[:500]
    return Receipt(stage=unit.stage, unit=unit.name, digest=unit.digest, status="failed", error=line)
