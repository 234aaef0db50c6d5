"""A scan from options to candidate mines; the same call again does only what is missing."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.clusters import ClusterError, ClusterSpec, open_cluster
from scanner.config import ScanConfig
from scanner.errors import BudgetError, InputError
from scanner.run.driver import Interrupted, Work, check_workers, run_units, watch_signals
from scanner.run.finish import finish
from scanner.run.plan import ScanPlan, TilePlan
from scanner.run.progress import LOGGER, open_progress
from scanner.run.setup import Prepared, check_folder, prepare
from scanner.run.tile_job import CompositeUnit, DetectUnit
from scanner.store.composite import has_composite, remove_composite
from scanner.store.layout import ScanFolder
from scanner.store.ledger import Ledger
from scanner.types import Fault, Receipt

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["ScanResult", "check_budget", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a scan leaves."""

    out: Path
    """The scan's folder."""
    candidates: "GeoDataFrame"
    """As candidates.parquet."""
    failures: tuple[str, ...]
    """One line for each unit that failed and each file that could not be had."""
    run: Mapping[str, Any]
    """As run.json."""

    @property
    def exit_code(self) -> int:
        """0 when all is done, 1 when something failed."""
        return 1 if self.failures else 0


def scan(config: ScanConfig, *, on_receipt: Callable[[Receipt], None] | None = None) -> ScanResult:
    """Plan, composite, detect, join, export. Resumes what an earlier call with the same options left.

    Args:
        config: the options.
        on_receipt: called after each receipt is in the ledger.

    Raises:
        InputError: an option, the catalogue, a card or the folder does not fit; nothing was begun.
        BudgetError: the estimate is above a limit.
        Interrupted: stopped by the user; what was in flight is kept.
    """
    began = time.time()
    prepared = prepare(config)
    check_budget(prepared)
    _check_cluster(config)
    folder = ScanFolder(config.out.absolute())  # workers elsewhere have another working folder
    folder.begin()
    with folder.lock():
        check_folder(folder, prepared.identity)
        run = _run_json(prepared, began)
        folder.write_run(run)
        ledger = Ledger(folder.ledger)
        try:
            timings = _run_plan(prepared, folder, ledger, on_receipt)
            return _result(prepared, folder, ledger, run, timings)
        finally:
            ledger.close()


def check_budget(prepared: Prepared) -> None:
    """Stop before the first byte when the estimate's upper end is above what the user allows.

    Raises:
        BudgetError: it is.
    """
    config, cost = prepared.config, prepared.cost
    if config.max_bytes is not None and cost.bytes.high > config.max_bytes:
        raise BudgetError(
            f"--max-bytes {config.max_bytes}: the scan may read {cost.bytes.high:.0f} bytes; raise it or scan less"
        )
    if config.max_hours is not None and cost.hours.high > config.max_hours:
        raise BudgetError(
            f"--max-hours {config.max_hours}: the scan may take {cost.hours.high:.2f} hours; raise it or scan less"
        )


def _check_cluster(config: ScanConfig) -> None:
    """Before the folder is made: a scheduler that nobody runs is no reason to leave one.

    Raises:
        InputError: an unknown kind of cluster, or an address where nothing answers.
    """
    if config.cluster != "local":
        with _cluster(kind=config.cluster):
            pass


def _run_json(prepared: Prepared, began: float) -> dict[str, Any]:
    """What is known before the first unit runs."""
    settings = prepared.plan.settings
    versions = _versions()
    return {
        "identity": dict(prepared.identity),
        "config": {key: value for key, value in asdict(prepared.config).items() if value is not None},
        "settings": {
            "threshold": settings.threshold, "looks": settings.looks, "chunk_px": settings.chunk_px,
            "threads": settings.threads, "workers": prepared.workers, "memory_bytes": settings.memory_bytes,
        },
        "detector": json.loads(settings.detector.to_json()),
        "impact": json.loads(settings.impact.to_json()) if settings.impact else None,
        "delineator": json.loads(settings.delineator.to_json()) if settings.delineator else None,
        "plan": {"digest": prepared.plan.digest, "tiles": [str(item.tile.id) for item in prepared.plan.tiles]},
        "cost": prepared.cost.as_json(),
        "scenes": [
            {"id": scene.id, "version": scene.version, "baseline": scene.baseline, "time": scene.time.isoformat()}
            for scene in prepared.plan.scenes
        ],
        "versions": versions,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    from importlib.metadata import version  # noqa: PLC0415

    names = ("minescan", "torch", "dask", "rasterio", "zarr", "zarrs", "numba", "numpy", "odc-geo", "pyproj", "shapely")
    return {name: version(name) for name in names}


def _run_plan(
    prepared: Prepared, folder: ScanFolder, ledger: Ledger, on_receipt: Callable[[Receipt], None] | None
) -> dict[str, float]:
    """Bring the ledger's units to an end; gives the wall seconds of the units' stage."""
    plan, config = prepared.plan, prepared.config
    work = _work(prepared, folder, ledger)
    began = time.monotonic()
    if work.waiting:
        work.on_receipt = _keeper(config, folder, on_receipt)
        place = _cluster(
            kind=config.cluster, workers=prepared.workers, threads_per_worker=plan.settings.threads,
            memory_bytes=plan.settings.memory_bytes * prepared.workers, units=len(work.waiting),
        )  # fmt: skip
        with watch_signals() as interrupt, place as client, open_progress() as progress:
            LOGGER.info("dashboard: %s", client.dashboard_link)
            done = {
                stage: sum(row.receipt.status == "done" for row in ledger.rows(stage))
                for stage in ("composite", "detect")
            }
            for stage, count in done.items():
                progress.stage(stage, len(plan.tiles), count)
            check_workers(client)
            run_units(client, work, ledger, progress, interrupt, in_flight=2 * prepared.workers)
        if interrupt.asked:  # only now: workers that have nothing in hand are told to go, not killed
            raise Interrupted("stopped on request")
    return {"units_seconds": time.monotonic() - began}


@contextmanager
def _cluster(**options: Any) -> Iterator[Any]:
    try:
        with open_cluster(ClusterSpec(**options)) as client:
            yield client
    except ClusterError as error:
        raise InputError(str(error)) from None


def _work(prepared: Prepared, folder: ScanFolder, ledger: Ledger) -> Work:
    """What the ledger and the disk together say is missing."""
    plan = prepared.plan
    ledger.plan("composite", {str(item.tile.id): item.composite_digest for item in plan.tiles})
    ledger.plan("detect", {str(item.tile.id): item.detect_digest for item in plan.tiles})
    found = {row.receipt.unit: row.receipt for row in ledger.rows("detect")}
    work = Work(waiting=deque(), follow={})
    for item in plan.tiles:
        name = str(item.tile.id)
        composed = ledger.status("composite", name) == "done"
        grids = [folder.hits(name), folder.probability(name), folder.coverage(name)]
        grids += [folder.outlines(name)] if plan.settings.delineator else []
        detected = found[name].status == "done" and all(path.is_file() for path in grids)
        kept = has_composite(folder.root, name)
        detect = _detect_unit(item, plan, prepared.config, folder)
        if composed and detected and not _wanted(prepared.config, found[name]):
            remove_composite(folder.root, name)  # a kill may have come between the receipt and this
        elif composed and kept:
            work.waiting.extend([] if detected else [detect])
        else:
            # Else a kill between the new composite and its detections would leave those of the old one standing.
            ledger.wait("detect", name)
            work.waiting.append(CompositeUnit(folder=folder.root, digest=item.composite_digest, request=item.request))
            work.follow[name] = detect
    return work


def _wanted(config: ScanConfig, detected: Receipt) -> bool:
    """Whether a tile's composite stays when its detections are safe."""
    return config.keep_composites == "all" or (config.keep_composites == "hits" and detected.stats["hits"] > 0)


def _detect_unit(item: TilePlan, plan: ScanPlan, config: ScanConfig, folder: ScanFolder) -> DetectUnit:
    settings = plan.settings
    return DetectUnit(
        folder=folder.root, digest=item.detect_digest, tile=item.tile, aoi=item.aoi,
        scenes={scene.id: scene.time.date() for scene in item.request.scenes}, detector=settings.detector_folder,
        impact=settings.impact_folder, delineator=settings.delineator_folder, threshold=settings.threshold,
        chunk_px=settings.chunk_px, device=config.device, precision=settings.precision, threads=settings.threads,
    )  # fmt: skip


def _keeper(
    config: ScanConfig, folder: ScanFolder, after: Callable[[Receipt], None] | None
) -> Callable[[Receipt], None]:
    """Drop composites nobody wants as soon as their tile's detections are safe."""

    def on_receipt(receipt: Receipt) -> None:
        if receipt.stage == "detect" and receipt.status == "done" and not _wanted(config, receipt):
            remove_composite(folder.root, receipt.unit)
        if after is not None:
            after(receipt)

    return on_receipt


def _result(
    prepared: Prepared, folder: ScanFolder, ledger: Ledger, run: dict[str, Any], timings: Mapping[str, float]
) -> ScanResult:
    began = time.monotonic()
    candidates, summary = finish(prepared.config, prepared.plan, folder, ledger)
    failures = _failures(ledger)
    run |= summary | {"timings": {**timings, "finish_seconds": time.monotonic() - began}, "failures": len(failures)}
    folder.write_run(run)
    return ScanResult(out=folder.root, candidates=candidates, failures=failures, run=folder.read_run())


def _failures(ledger: Ledger) -> tuple[str, ...]:
    lines = []
    for row in ledger.rows():
        receipt = row.receipt
        if receipt.status == "failed":
            lines.append(f"{receipt.stage} {receipt.unit} {receipt.status}: {receipt.error}")
        lines += [_fault_line(receipt.unit, fault) for fault in receipt.faults]
        if receipt.fault_count > len(receipt.faults):
            lines.append(f"{receipt.unit}: {receipt.fault_count - len(receipt.faults)} more files could not be read")
    return tuple(lines)


def _fault_line(unit: str, fault: Fault) -> str:
    return f"{unit}: {fault.scene} {fault.asset} could not be read from {fault.href}: {fault.reason}"
