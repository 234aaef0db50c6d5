"""One tile, end to end, without dask: a unit in, its data on disk, a receipt out."""

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from scanner.composite.build import build_composite
from scanner.composite.radiometry import row, tally
from scanner.composite.request import CompositeRequest
from scanner.errors import MinescanError
from scanner.run.detect_job import DetectUnit
from scanner.store.composite import flush
from scanner.store.layout import ScanFolder
from scanner.types import Receipt

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

    def run(self, on_share: Callable[[float], None] | None = None) -> Receipt:
        """Build, flush, and only then say so; `on_share` is told how much is done, 0 to 1."""
        report = build_composite(self.request, self.folder, on_progress=on_share)
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


def program_version() -> str:
    """Of the minescan that runs here."""
    return version("minescan")


def run_unit(unit: CompositeUnit | DetectUnit, on_share: Callable[[float], None] | None = None) -> Receipt:
    """Run one unit; whatever happens, a receipt comes back. `on_share`: see `CompositeUnit.run`."""
    began = time.monotonic()
    # Else the collector walks through every object of torch and zarr again and again, for a twentieth of the time.
    gc.freeze()
    try:
        with ScanFolder(unit.folder).own(unit.name):
            receipt = unit.run(on_share) if isinstance(unit, CompositeUnit) else unit.run()
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
