"""From every tile's hits to candidate mines, coverage and the numbers of the run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scanner.config import ScanConfig
from scanner.detection.delineate import read_pieces
from scanner.detection.hits import Candidate, Provenance
from scanner.detection.hits_file import read_hits
from scanner.detection.ids import keep_ids, name_cells
from scanner.detection.join import join, joining_distance_m
from scanner.detection.outline import outlined
from scanner.detection.registry import check
from scanner.export import candidates_frame, read_candidates, write_all
from scanner.export.raster import coverage_json, write_overview
from scanner.run.plan import ScanPlan, Settings, TilePlan
from scanner.store.layout import ScanFolder
from scanner.store.ledger import Ledger
from tiling import GSD_M, Lattice, cell_areas, judged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["finish"]

SQUARE_PX = 36
"""Edge of squares that fill a tile without rest."""

KM2 = ("aoi_km2", "seen_km2", "too_few_looks_km2", "failed_km2")
"""What became of the ground that was asked for."""


def finish(
    config: ScanConfig, plan: ScanPlan, folder: ScanFolder, ledger: Ledger
) -> tuple["GeoDataFrame", dict[str, Any]]:
    """Join the hits of all tiles that are done, and write what a user reads."""
    settings = plan.settings
    receipts = {row.receipt.unit: row.receipt for row in ledger.rows("detect")}
    done = [str(item.tile.id) for item in plan.tiles if receipts[str(item.tile.id)].status == "done"]
    candidates, cells = join(
        [hit for name in done for hit in read_hits(folder.hits(name))],
        distance_m=config.join_distance or joining_distance_m(_edge_m(settings)),
        isolation=settings.detector.isolation if config.isolation else None,
        provenance=_provenance(settings),
    )
    candidates = _outlined(candidates, [item for item in plan.tiles if str(item.tile.id) in done], settings, folder)
    candidates = keep_ids(candidates, read_candidates(folder.root))
    candidates = check(candidates, config.registry)
    write_all(folder.root, candidates, name_cells(cells, candidates), registries=config.registry)
    km2 = {str(item.tile.id): _km2(item, settings, receipts[str(item.tile.id)].stats) for item in plan.tiles}
    total = {name: sum(area[name] for area in km2.values()) for name in KM2}
    coverage_json(folder.root / "coverage.json", **total, tiles=km2)
    write_overview(folder.root)
    frame = candidates_frame(candidates, config.registry)
    return frame, {"candidates": len(frame), "km2": total} | _summary(ledger, settings.threads, total["aoi_km2"])


def _edge_m(settings: Settings) -> float:
    return settings.detector.cell_px * GSD_M / settings.detector.finer


def _outlined(
    candidates: tuple[Candidate, ...], tiles: Sequence[TilePlan], settings: Settings, folder: ScanFolder
) -> tuple[Candidate, ...]:
    """Where a segmenter drew outlines, the candidates with theirs."""
    if settings.delineator is None:
        return candidates
    pieces = defaultdict(list)
    for item in tiles:
        pieces[item.tile.id.zone].append(read_pieces(folder.outlines(str(item.tile.id))))
    return outlined(candidates, pieces, settings.delineator.finer)


def _provenance(settings: Settings) -> Provenance:
    return Provenance(
        detector_sha256=settings.detector.sha256,
        impact_sha256=settings.impact.sha256 if settings.impact else "",
        delineator_sha256=settings.delineator.sha256 if settings.delineator else "",
        threshold=settings.threshold,
    )


def _km2(item: TilePlan, settings: Settings, stats: Mapping[str, float]) -> dict[str, float]:
    """Square kilometres of one tile: asked for, seen, seen too little, and failed."""
    if "judged_km2" in stats:
        asked, seen = stats["judged_km2"], stats["seen_km2"]
        return dict(zip(KM2, (asked, seen, asked - seen, 0.0), strict=True))
    asked = _asked_km2(item, settings)
    return dict(zip(KM2, (asked, 0.0, 0.0, asked), strict=True))


def _asked_km2(item: TilePlan, settings: Settings) -> float:
    """Of a tile whose unit failed; pixels are many, and their ground is that of larger squares within the tile."""
    tile = item.tile
    lattice = Lattice(zone=tile.id.zone, stride_px=settings.detector.stride_px)
    if settings.detector.output == "pixels":
        lattice = Lattice(zone=tile.id.zone, stride_px=SQUARE_PX)
    cells = lattice.cells_of(tile.id)
    return float(cell_areas(lattice, cells, judged(lattice, cells, item.aoi), item.aoi).sum())


def _summary(ledger: Ledger, threads: int, aoi_km2: float) -> dict[str, Any]:
    """Totals and rates for run.json; a unit holds `threads` cores for its seconds."""
    receipts = [row.receipt for row in ledger.rows()]
    composite = [receipt for receipt in receipts if receipt.stage == "composite"]
    names = (
        "decoded_bytes", "needed_bytes", "fetched_bytes", "requests", "retries", "throttled", "rescued_px",
    )  # fmt: skip
    totals = {name: sum(receipt.stats.get(name, 0.0) for receipt in composite) for name in names}
    masks = {key.removeprefix("mask_") for receipt in composite for key in receipt.stats if key.startswith("mask_")}
    reading_s, all_s = (sum(receipt.seconds for receipt in some) * threads for some in (composite, receipts))
    return {
        "masks": sorted(masks),
        "no_cloud_mask": "nodata" in masks,
        "offsets": [one for _, one in sorted({one["scene"]: one for r in composite for one in r.offsets}.items())],
        "totals": totals,
        "rates": {
            "km2_per_core_hour": aoi_km2 * 3600 / all_s if all_s else None,
            "decoded_mb_per_core_second": totals["decoded_bytes"] / 1e6 / reading_s if reading_s else None,
            "decoded_over_needed": totals["decoded_bytes"] / totals["needed_bytes"] if totals["needed_bytes"] else None,
        },
        "units": {f"{receipt.stage} {receipt.unit}": receipt.status for receipt in receipts},
    }
