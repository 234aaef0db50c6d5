"""From options to facts: cards, ground, scenes, memory. Everything a scan needs to know before its first byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from shapely.geometry.base import BaseGeometry

from deploy.clusters import ClusterSpec, LocalShape, local_shape
from models import CardError, ModelCard
from models.registry import find
from scanner.aoi import read_aoi
from scanner.catalog.profiles import payment_note
from scanner.catalog.search import SceneQuery
from scanner.catalog.search import find as find_scenes
from scanner.config import ScanConfig, digest_of
from scanner.detection.delineate import block_px
from scanner.detection.pixels import held_nbytes_per_px
from scanner.detection.reach import core_reach_px, reach_px
from scanner.detection.registry import check
from scanner.errors import CatalogError, DetectorError, DeviceError, FolderError
from scanner.run.cost import CostEstimate, Pace, estimate, pace_of
from scanner.run.detect_job import PIXELS_NBYTES, load_detector
from scanner.run.plan import ScanPlan, Settings, make_plan, search_area
from scanner.run.progress import LOGGER
from scanner.store.layout import ScanFolder
from tiling import chunk_px_for

__all__ = ["Prepared", "check_folder", "identity_of", "prepare"]

MEMORY_SHARE = 0.6
"""Of the memory that is free when a scan begins; the rest is for the driver, the page cache and the user."""

UNIT_MEMORY_BYTES = 4 << 30
"""More than this brings nothing: a unit's blocks and chunks are already as large as they are read."""

MOST_HALO_PX = 256
"""An fcn segmenter that sees farther reads several times what it answers for, over the whole area."""

CHUNK_LIMIT_PX = 3072
"""Larger cores save no halo worth having and only cost memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scan, ready to run."""

    config: ScanConfig
    """What was asked."""
    plan: ScanPlan
    """What will be done."""
    cost: CostEstimate
    """What it will cost."""
    workers: int
    """Worker processes."""
    identity: Mapping[str, Any]
    """The options that a folder is bound to."""


def prepare(config: ScanConfig) -> Prepared:
    """Resolve every option, ask the catalogue, and plan.

    Raises:
        InputError: any of its kinds, when an option, the catalogue or a card does not fit.
    """
    cards = _cards(config)
    level = config.level or cards.detector.level
    _accept(cards.detector, level, cards.detector.bands)
    if cards.impact is not None:
        _accept(cards.impact, level, cards.detector.bands)
    if cards.delineator is not None:
        _accept(cards.delineator, level, cards.delineator.bands)
    _check_device(config.device)
    check((), config.registry)
    aoi = read_aoi(config.aoi)
    start, end = config.days
    query = SceneQuery(
        catalog=config.catalog, collection=config.collection, level=level, start=start, end=end,
        aoi=search_area(aoi, cards.reach_px), max_cloud=config.max_cloud,
    )  # fmt: skip
    if note := payment_note(config.catalog, config.collection, level):
        LOGGER.warning(note)
    found = find_scenes(query)
    if not found.scenes:
        raise CatalogError(
            f"no {level} scenes from {start} to {end} over the area in {config.catalog} ({found.explain()}): "
            "change --dates, --aoi or --max-cloud"
        )
    run = ScanFolder(config.out).read_run()
    shape = _shape(config, run)
    settings = _settings(config, cards, run, shape)
    plan = make_plan(settings, aoi, found.scenes)
    workers = min(shape.workers, max(1, len(plan.tiles)))
    cost = estimate(plan, _paces(config, settings), cores=workers * settings.threads, workers=workers)
    return Prepared(
        config=config, plan=plan, cost=cost, workers=workers, identity=identity_of(config, plan, level, aoi)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cards:
    detector: ModelCard
    detector_folder: str
    impact: ModelCard | None = None
    impact_folder: str | None = None
    delineator: ModelCard | None = None
    delineator_folder: str | None = None

    @property
    def reach_px(self) -> int:
        """Ground that a cell needs on every side."""
        return reach_px(self.detector, self.impact, self.delineator)


def _cards(config: ScanConfig) -> _Cards:
    detector = _card(config.detector, "detector", "detector")
    if detector.output == "pixels" and detector.mode == "fcn" and detector.halo_px > MOST_HALO_PX:
        raise DetectorError(
            f"--detector {config.detector}: an fcn segmenter with a halo of {detector.halo_px} px, expected at most "
            f"{MOST_HALO_PX}; find sites with another detector and give this one as --delineate"
        )
    if config.precision == "bf16" and not detector.bf16:
        raise DetectorError(f"--precision bf16: card {detector.name!r} does not permit it; use fp32")
    found: dict[str, Any] = {"detector": detector, "detector_folder": str(find(config.detector).resolve())}
    name = config.impact or detector.impact
    if name not in (None, "none"):
        found |= {"impact": _card(name, "impact", "impact"), "impact_folder": str(find(name).resolve())}
    if config.delineate is not None:
        drawing = _card(config.delineate, "delineate", "detector")
        if drawing.output != "pixels":
            raise DetectorError(
                f"--delineate {config.delineate}: that card gives one score a cell of {drawing.stride_px} px; "
                "expected a segmenter, which gives one a pixel"
            )
        found |= {"delineator": drawing, "delineator_folder": str(find(config.delineate).resolve())}
    return _Cards(**found)


def _card(name: str, option: str, task: str) -> ModelCard:
    """A card whose weights are there and are its own: found out here, not by every unit."""
    from models.infer import load  # noqa: PLC0415

    try:
        card = load(name, "cpu").card
    except CardError as error:
        raise DetectorError(f"--{option}: {error}") from None
    if card.task != task:
        raise DetectorError(f"--{option} {name}: that card is for task {card.task}; expected one for {task}")
    return card


def _accept(card: ModelCard, level: str, bands: tuple[str, ...]) -> None:
    try:
        card.accept(level, bands)
    except CardError as error:
        raise DetectorError(str(error)) from None


def _check_device(device: str) -> None:
    if device != "cuda":
        return
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: there is no CUDA GPU here; use --device auto or cpu, or run `minescan doctor`"
        )


def _shape(config: ScanConfig, run: Mapping[str, Any]) -> LocalShape:
    """Workers and threads of this machine, or of one worker elsewhere; threads stay what the folder was begun with."""
    threads = run.get("settings", {}).get("threads")
    spec = ClusterSpec(workers=config.workers, threads_per_worker=threads, unit_bytes=1 << 30)
    free = int(psutil.virtual_memory().available * MEMORY_SHARE)
    return local_shape(spec, cores=psutil.cpu_count() or 1, free_bytes=free)


def _settings(config: ScanConfig, cards: _Cards, run: Mapping[str, Any], shape: LocalShape) -> Settings:
    """The chunk size stays what it was when the folder was begun: the same bytes come out."""
    memory = min(UNIT_MEMORY_BYTES, shape.memory_bytes)
    return Settings(
        detector=cards.detector, impact=cards.impact, delineator=cards.delineator,
        detector_folder=cards.detector_folder, impact_folder=cards.impact_folder,
        delineator_folder=cards.delineator_folder,
        precision=config.precision,
        threshold=cards.detector.threshold if config.threshold is None else config.threshold,
        looks=None if config.looks == "all" else config.looks,
        chunk_px=run.get("settings", {}).get("chunk_px") or _chunk_px(config, cards, memory), threads=shape.threads,
        memory_bytes=memory,
    )  # fmt: skip


def _chunk_px(config: ScanConfig, cards: _Cards, memory: int) -> int:
    card = cards.detector
    stride = card.stride_px
    if config.chunk != "auto":
        return max(stride, config.chunk // stride * stride)
    detector = load_detector(cards.detector_folder, config.device, config.precision)
    # The next chunk is read ahead: its values, and its looks twice.
    per_px = detector.bytes_per_px + 2 * len(card.bands) + 4
    if card.output == "pixels":
        memory, per_px = max(memory - PIXELS_NBYTES, memory // 2), detector.bytes_per_px + held_nbytes_per_px(card)
    if detector.device.type == "cuda":
        import torch  # noqa: PLC0415

        memory = min(memory, int(torch.cuda.mem_get_info(detector.device)[0] * MEMORY_SHARE))
    reach = core_reach_px(card, cards.impact)
    fits = chunk_px_for(memory_bytes=memory, bytes_per_px=per_px, stride_px=stride, halo_px=reach)
    return min(fits, max(CHUNK_LIMIT_PX // stride, 1) * stride)


def _paces(config: ScanConfig, settings: Settings) -> tuple[Pace, ...]:
    """The detector's, then the delineator's where there is one."""
    detector = load_detector(settings.detector_folder, config.device, settings.precision)
    paces = [pace_of(detector, settings.chunk_px, settings.memory_bytes)]
    if settings.delineator is not None:
        drawing = load_detector(settings.delineator_folder, config.device)
        edge = block_px(drawing.card)
        per_px = drawing.bytes_per_px + held_nbytes_per_px(drawing.card)
        paces.append(pace_of(drawing, edge, per_px * (edge + 2 * drawing.card.halo_px) ** 2))
    return tuple(paces)


def identity_of(config: ScanConfig, plan: ScanPlan, level: str, aoi: BaseGeometry) -> dict[str, Any]:
    """What a folder is bound to. Workers, device and limits may differ from run to run."""
    settings = plan.settings
    return {
        "aoi": digest_of(aoi.wkb_hex),
        "dates": config.dates,
        "catalog": _place(config.catalog),
        "collection": config.collection,
        "level": level,
        "max-cloud": config.max_cloud,
        "looks": settings.looks,
        "detector": settings.detector.sha256,
        "impact": settings.impact.sha256 if settings.impact else None,
        "delineate": settings.delineator.sha256 if settings.delineator else None,
        "precision": settings.precision,
        "threshold": settings.threshold,
        "isolation": config.isolation and settings.detector.isolation is not None,
        "join-distance": config.join_distance,
        "chunk": config.chunk,
        "registry": {name: _place(file) for name, file in config.registry.items()},
        "keep-composites": config.keep_composites,
    }


def _place(text: str) -> str:
    """A file by its whole path, so that the same scan may be resumed from another folder; a URL as it is."""
    return text if "://" in text else str(Path(text).resolve())


def check_folder(folder: ScanFolder, identity: Mapping[str, Any]) -> None:
    """The folder is new, or was begun with the same options.

    Raises:
        FolderError: it was begun with others; the first that differs is named.
    """
    run = folder.read_run()
    before = run.get("identity")
    if before is None:
        return
    for option, value in identity.items():
        if before.get(option) != value:
            raise FolderError(
                f"{folder.root} was begun with --{option} {_shown(before.get(option))}, now it is {_shown(value)}; "
                "use the same options to resume, or another --out"
            )


def _shown(value: Any) -> str:
    """As a person would say it; of a digest its beginning is enough to tell two apart."""
    if isinstance(value, str) and len(value) == 64:
        return f"sha256 {value[:12]}"
    return "not given" if value is None or value == {} else str(value)
