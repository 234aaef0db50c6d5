"""`minescan evaluate`: a card's scores beside labels, on the composites and the lattice of a scan."""

import datetime as dt
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from models import CardError
from models.evaluate import Grouping, Units, evaluate, together
from models.units import UNLABELLED, Shares
from scanner.catalog.profiles import payment_note
from scanner.catalog.search import SceneQuery, search
from scanner.config import parse_dates
from scanner.errors import CatalogError, DetectorError, InputError
from scanner.run.chips import composite_at, lonlat_box
from scanner.run.evaluate_config import EvaluateConfig
from scanner.run.labels import Labels, Naming, open_labels
from scanner.run.plan import search_area
from scanner.run.progress import LOGGER, Progress, open_progress
from scanner.run.scorecard import Scorecard, check_out
from scanner.run.truth import Block, Rules, blocks_of, observed, remembered, truth_of
from scanner.types import Level, Scene
from tiling import chunk_px_for

if TYPE_CHECKING:
    from models import Detector

__all__ = ["EvaluateConfig", "run_evaluate", "season_of"]

BLOCK_PX = 1536
"""Edge of the ground composited and scored at once, at most."""

BLOCK_BYTES = 1 << 30
"""What scoring it may take."""

SEASON_DAYS = 124
"""Dates that span more belong to no season."""


def run_evaluate(config: EvaluateConfig) -> Scorecard:
    """Composite the labels' ground, score it, compare, and write figures, tables and pictures.

    Raises:
        InputError: the card, the labels, the folder or the catalogue do not fit.
    """
    check_out(config.out)
    job = _Job(config)
    with open_progress() as progress:
        parts = list(job.parts(progress))
    units = together(parts) if parts else None
    if units is None or not len(units.truth):
        raise InputError(f"{job.unobserved} labelled {job.unit}s and none observed: change --dates or --max-cloud")
    found = evaluate(units, job.card.classes, job.threshold)
    card = Scorecard(said=job.said(), found=found, target=job.card.classes[-1], failures=tuple(job.failures))
    card.write(config.out)
    return card


class _Job:
    """One evaluation under way."""

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        self.detector = _detector(config)
        self.card = self.detector.card
        self.threshold = _threshold(config, self.detector)
        shares = Shares(target=config.share, labelled=config.labelled)
        self.rules = Rules(card=self.card, shares=shares, relax_px=config.relax)
        if config.relax and self.card.output == "cells":
            raise InputError(
                f"--relax is for cards of pixels; {self.card.name} scores cells of {self.card.stride_px} px"
            )
        self.unobserved = self.left_out = 0
        self.scenes: dict[str, set[str]] = {dates: set() for dates in config.dates}
        self.failures: list[str] = []
        if note := payment_note(config.catalog, config.collection, self.level):
            LOGGER.warning(note)

    @property
    def level(self) -> Level:
        return self.config.level or self.card.level

    @property
    def unit(self) -> str:
        """What the model answers for, in a word."""
        return "cell" if self.card.output == "cells" else "pixel"

    @cached_property
    def files(self) -> dict[Path, Labels]:
        """Every label file, opened once."""
        config = self.config
        paths = dict.fromkeys((*config.labels, *config.remember))
        return {path: open_labels(path, self._naming(path)) for path in paths}

    def _naming(self, path: Path) -> Naming:
        """Remembered labels need no column of regions."""
        by = self.config.by if path in self.config.labels else None
        return Naming(classes=self.card.classes, given=self.config.classes, column=self.config.column, by=by)

    def _memory(self, path: Path) -> list[Labels]:
        """What the model may have been shown of the ground: the files given, else the other ones evaluated."""
        chosen = self.config.remember or tuple(other for other in dict.fromkeys(self.config.labels) if other != path)
        return [self.files[other] for other in chosen]

    @property
    def memory(self) -> str:
        """Where remembered labels are from, in words."""
        if self.config.remember:
            return "the labels of " + ", ".join(path.name for path in self.config.remember)
        return "most of the other label files" if len(set(self.config.labels)) > 1 else "no training labels given"

    def parts(self, progress: Progress) -> Iterator[Units]:
        """The units of every block on every dates."""
        for path, labels in self.files.items():
            shown = ", ".join(f"{value} = {self._class(index)}" for value, index in labels.index.items())
            LOGGER.info("labels %s: %s", path, shown)
        edge = chunk_px_for(
            memory_bytes=BLOCK_BYTES, bytes_per_px=self.detector.bytes_per_px, stride_px=self.card.stride_px,
            halo_px=self.card.halo_px, tile_px=BLOCK_PX,
        )  # fmt: skip
        blocks = {path: list(blocks_of(self.files[path], self.card, edge)) for path in set(self.config.labels)}
        progress.stage("blocks", sum(len(blocks[path]) for _, path in self.config.pairs))
        for dates, path in self.config.pairs:
            seen = False
            for block in blocks[path]:
                scenes = self._scenes(dates, block)
                seen |= bool(scenes)
                yield self._units(dates, path, block, scenes)
                progress.advance("blocks", dates)
            if not seen:
                raise CatalogError(
                    f"no {self.level} scenes of {dates} over the labels {path} in {self.config.catalog}: "
                    "change --dates, --labels or --max-cloud"
                )

    def _class(self, index: int) -> str:
        return "not labelled" if index == UNLABELLED else self.card.classes[index]

    def _scenes(self, dates: str, block: Block) -> tuple[Scene, ...]:
        start, end = parse_dates(dates)
        around = lonlat_box(block.zone, block.core.buffer(self.card.halo_px))
        query = SceneQuery(
            catalog=self.config.catalog, collection=self.config.collection, level=self.level, start=start, end=end,
            aoi=search_area(around), max_cloud=self.config.max_cloud,
        )  # fmt: skip
        scenes = tuple(scene for scene in search(query) if shapely.intersects(scene.footprint, around))
        for band in self.card.bands:
            if scenes and not any(band in scene.assets for scene in scenes):
                raise DetectorError(f"{self.card.name} needs {band}, which no scene has; evaluate another card")
        self.scenes[dates] |= {scene.id for scene in scenes}
        return scenes

    def _units(self, dates: str, path: Path, block: Block, scenes: tuple[Scene, ...]) -> Units:
        labels = self.files[path]
        truth = truth_of(labels, block, self.rules)
        stored = self._composite(block, scenes)
        kept = (truth.classes != UNLABELLED) & observed(stored, self.card)
        self.unobserved += int((truth.classes != UNLABELLED).sum() - kept.sum())
        self.left_out += int(truth.left_out.sum())
        scores = self.detector.score_core(stored) if kept.any() else None
        memory = remembered(self._memory(path), block, self.rules)
        nothing = np.full(int(kept.sum()), UNLABELLED, np.int16)
        return Units(
            truth=truth.classes[kept],
            probabilities=scores[:, kept].T
            if scores is not None
            else np.empty((0, len(self.card.classes)), np.float32),
            remembered=nothing if memory is None else memory[kept],
            doubtful=truth.doubtful[kept],
            groups=self._groups(dates, labels, block, truth.regions[kept]),
        )

    def _composite(self, block: Block, scenes: tuple[Scene, ...]) -> Any:
        window = block.core.buffer(self.card.halo_px)
        if not scenes:
            return np.zeros((len(self.card.bands), *window.shape), np.uint16)
        looks = None if self.config.looks == "all" else self.config.looks
        stored, faults = composite_at(scenes, self.card.bands, block.zone, window, looks)
        self.failures += [f"{fault.scene} {fault.asset}: {fault.reason}" for fault in faults]
        return stored

    def _groups(self, dates: str, labels: Labels, block: Block, regions: Any) -> dict[str, Grouping]:
        """Dates where there are several, files where there are more, seasons and regions where they are asked for."""
        config = self.config
        names = {"dates": dates} if len(set(config.dates)) > 1 else {}
        places = len(set(config.labels)) > len(set(config.dates))
        names |= {"labels": str(labels.file)} if places else {}
        names |= {"season": season_of(dates, block.zone)} if config.season else {}
        same = np.zeros(len(regions), np.int32)
        groups = {kind: Grouping(names=(name,), index=same) for kind, name in names.items()}
        return groups | ({config.by: Grouping(names=labels.regions, index=regions)} if config.by else {})

    def said(self) -> dict[str, Any]:
        """What was compared with what, for the report."""
        config, card = self.config, self.card
        return {
            "card": card.name, "sha256": card.sha256, "level": self.level, "unit": self.unit,
            "unit_m": 10 * card.stride_px if card.output == "cells" else 10 / card.finer,
            "threshold": self.threshold if len(card.classes) == 2 else None, "catalog": config.catalog,
            "looks": config.looks, "dates": [dates for dates, _ in config.pairs],
            "labels": [str(path) for _, path in config.pairs], "remembered": self.memory,
            "label_classes": {str(path): {value: self._class(index) for value, index in labels.index.items()}
                              for path, labels in self.files.items()},
            "cell_shares": {"target": config.share, "labelled": config.labelled} if self.unit == "cell" else None,
            "relax_px": config.relax, "unobserved": self.unobserved, "left_out": self.left_out,
            "scenes": {dates: sorted(ids) for dates, ids in self.scenes.items()},
        }  # fmt: skip


def _detector(config: EvaluateConfig) -> "Detector":
    from models.infer import Detector, load  # noqa: PLC0415

    loaded = load(config.card, config.device)
    if not isinstance(loaded, Detector):
        raise DetectorError(f"card {config.card} is for task {loaded.card.task}; evaluate measures detectors")
    try:
        loaded.card.accept(config.level or loaded.card.level, loaded.card.bands)
    except CardError as error:
        raise DetectorError(str(error)) from None
    return loaded


def _threshold(config: EvaluateConfig, detector: "Detector") -> float:
    card = detector.card
    if config.threshold is not None and len(card.classes) > 2:
        raise InputError(
            f"--threshold is for cards of two classes; {card.name} has {len(card.classes)}: the most probable counts"
        )
    return card.threshold if config.threshold is None else config.threshold


def season_of(dates: str, zone: int) -> str:
    """The season that holds the middle of the dates, by the calendar's quarters from December; of long spans none."""
    start, end = parse_dates(dates)
    if (end - start).days > SEASON_DAYS:
        return "several seasons"
    middle = start + dt.timedelta(days=(end - start).days // 2)
    names = ("winter", "spring", "summer", "autumn")
    return names[(middle.month % 12 // 3 + (0 if zone < 32700 else 2)) % 4]
