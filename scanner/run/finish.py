"""From every tile's hits to candidate mines, coverage and the numbers of the run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scanner.config import ScanConfig
from scanner.detection.hits_file import read_hits
from scanner.detection.join import join, keep_ids
from scanner.detection.registry import check
from scanner.export.raster import coverage_json, write_overview
from scanner.export.vector import read_candidates, write_all
from scanner.run.plan import ScanPlan, TilePlan
from scanner.store.layout import ScanFolder
from scanner.store.ledger import Ledger
from tiling import Lattice, cell_areas, judged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["finish"]


def finish(
    config: ScanConfig, plan: ScanPlan, folder: ScanFolder, ledger: Ledger
) -> tuple["GeoDataFrame", dict[str, Any]]:
    """Join the hits of all tiles that are done, and write what a user reads."""
    receipts = {row.receipt.unit: row.receipt for row in ledger.rows("detect")}
    done = [item for item in plan.tiles if receipts[str(item.tile.id)].status == "done"]
    hits = [hit for item in done for hit in read_hits(folder.hits(str(item.tile.id)))]
    isolation = plan.settings.detector.isolation if config.isolation else None
    candidates, cells = join(hits, distance_m=config.join_distance, isolation=isolation)
    candidates = keep_ids(candidates, read_candidates(folder.root))
    candidates = check(candidates, config.registry)
    frame = write_all(folder.root, candidates, cells)
    areas = {str(item.tile.id): _areas(item, receipts[str(item.tile.id)].stats) for item in plan.tiles}
    coverage_json(folder.root / "coverage.json", areas)
    write_overview(folder.root)
    return frame, _summary(ledger, areas, len(frame))


def _areas(item: TilePlan, stats: Mapping[str, float]) -> dict[str, float]:
    """Square kilometres of one tile: asked for, seen, seen too little, and failed."""
    if "judged_km2" in stats:
        asked, seen = stats["judged_km2"], stats["seen_km2"]
        return {"aoi": asked, "seen": seen, "too_few_looks": asked - seen, "failed": 0.0}
    lattice = Lattice(zone=item.tile.id.zone, stride_px=item.cells.stride_px)
    asked = float(cell_areas(lattice, item.cells, judged(lattice, item.cells, item.aoi), item.aoi).sum())
    return {"aoi": asked, "seen": 0.0, "too_few_looks": 0.0, "failed": asked}


def _summary(ledger: Ledger, areas: Mapping[str, Mapping[str, float]], candidates: int) -> dict[str, Any]:
    """Totals and rates for run.json."""
    rows = list(ledger.rows())
    composite = [row.receipt for row in rows if row.receipt.stage == "composite"]
    seconds = sum(receipt.seconds for receipt in composite)
    totals = {
        name: sum(receipt.stats.get(name, 0.0) for receipt in composite)
        for name in ("decoded_bytes", "needed_bytes", "requests", "rescued_px")
    }
    masks = sorted(
        {key.removeprefix("mask_") for receipt in composite for key in receipt.stats if key.startswith("mask_")}
    )
    return {
        "candidates": candidates,
        "masks": masks,
        "no_cloud_mask": "nodata" in masks,
        "totals": totals,
        "km2": {
            name: sum(area[name] for area in areas.values()) for name in ("aoi", "seen", "too_few_looks", "failed")
        },
        "rates": {"composite_mb_per_unit_second": totals["decoded_bytes"] / 1e6 / seconds if seconds else None},
        "units": {f"{row.receipt.stage} {row.receipt.unit}": row.receipt.status for row in rows},
    }
