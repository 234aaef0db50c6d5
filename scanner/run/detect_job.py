"""The second unit of a tile: its composite scored, its hits judged and outlined, all of it on disk."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.detection.delineate import delineate, write_pieces
from scanner.detection.detect import Asked, detect_tile
from scanner.detection.found import Found, Reader, Stored
from scanner.detection.hits_file import write_hits
from scanner.detection.judge import Bench, hits_of, verdicts_of
from scanner.detection.pixels import AskedPixels, detect_pixels
from scanner.errors import InputError
from scanner.export.raster import write_clear_looks, write_probability
from scanner.export.sheet import CACHE_NBYTES, clear_looks_sheet, probability_sheet
from scanner.store.composite import open_scenes, read_window
from scanner.store.layout import ScanFolder
from scanner.types import Receipt
from tiling import CellRange, Ground, Lattice, Tile, Window, cell_areas, chunks, judged

if TYPE_CHECKING:
    from models import Detector, Judge

__all__ = ["PIXELS_NBYTES", "DetectUnit", "load_detector"]

FOUND_LIMIT = 4_000_000
"""Hits of a tile, 40 bytes each while it is scored. More is no mine: 400 km2 of pixels of 10 m."""

BATCH = 1 << 15
"""Hits that are made whole at once, two kilobytes each with their rows on the way to disk."""

PIXELS_NBYTES = CACHE_NBYTES + 2 * 40 * FOUND_LIMIT + 2048 * BATCH
"""What a unit of a segmenter takes besides its chunks: blocks of its grids, and its hits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectUnit:
    """Score one tile's composite, judge its hits, draw their outlines."""

    folder: Path
    """The scan's folder."""
    digest: str
    """Of everything that shapes the detections."""
    tile: Tile
    """The tile."""
    aoi: BaseGeometry
    """The AOI's part here, UTM metres."""
    scenes: Mapping[str, dt.date]
    """Ids of the composite's scenes and the days they were taken."""
    detector: str
    """Folder of the detector's card."""
    impact: str | None
    """Folder of the judge's card."""
    delineator: str | None
    """Folder of the card that draws outlines."""
    threshold: float
    """Score above which a cell is a hit."""
    chunk_px: int
    """Edge of a chunk's core."""
    device: Literal["auto", "cpu", "cuda"]
    """Where the networks run."""
    precision: Literal["fp32", "bf16"]
    """What the detector computes in."""
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

        torch.set_num_threads(self.threads)
        detector, judge = load_detector(self.detector, self.device, self.precision), _judge(self.impact, self.device)
        card = detector.card
        score = self._score_cells if card.output == "cells" else self._score_pixels
        found, stats = score(detector, judge)
        lattice = Lattice(zone=self.tile.id.zone, stride_px=card.cell_px, finer=card.finer)
        bench = Bench(
            tile=self.tile.id, lattice=lattice, cells=lattice.cells_of(self.tile.id), scenes=self.scenes,
            impact=judge.card if judge else None, clear_in=open_scenes(self.folder, self.tile).behind,
        )  # fmt: skip
        self._write_hits(found, bench)
        if self.delineator is not None:
            self._delineate(found, bench)
        stats = {name: float(value) for name, value in stats.items()} | {"hits": float(len(found))}
        return Receipt(stage="detect", unit=self.name, digest=self.digest, status="done", stats=stats)

    def _reader(self, card: ModelCard) -> Reader:
        def read(window: Window) -> Stored:
            return read_window(self.folder, self.tile, card.bands, window)

        return read

    def _score_cells(self, detector: "Detector", judge: "Judge | None") -> tuple[Found, dict[str, float]]:
        """A classifier's grids are small: 342 cells an edge at 270 m."""
        card = detector.card
        lattice = Lattice(zone=self.tile.id.zone, stride_px=card.stride_px)
        cells = lattice.cells_of(self.tile.id)
        asked = Asked(
            tile=self.tile.id, lattice=lattice, cells=cells, judged=judged(lattice, cells, self.aoi),
            chunks=chunks(lattice, cells, chunk_px=self.chunk_px, halo_px=card.halo_px),
        )  # fmt: skip
        one = detect_tile(asked, self._reader(card), detector, judge, self.threshold)
        folder, place = ScanFolder(self.folder), _place(lattice, cells)
        write_probability(folder.probability(self.name), one.probabilities, classes=card.classes, **place)
        write_clear_looks(folder.coverage(self.name), one.looks, **place)
        areas = cell_areas(lattice, cells, asked.judged, self.aoi)
        return one.found, {
            "cells": asked.judged.sum(), "observed_cells": one.observed.sum(),
            "judged_km2": areas.sum(), "seen_km2": areas[one.observed].sum(),
        }  # fmt: skip

    def _score_pixels(self, detector: "Detector", judge: "Judge | None") -> tuple[Found, dict[str, float]]:
        """A segmenter's grids are written as they come; coverage has one pixel an input pixel."""
        card = detector.card
        ground = Ground(self.tile.id.zone, self.tile.core, self.aoi)
        asked = AskedPixels(tile=self.tile.id, card=card, ground=ground, chunk_px=self.chunk_px)
        folder, frame = ScanFolder(self.folder), asked.frame
        cells = asked.lattice.covering(frame)
        fine, coarse = _place(asked.lattice, cells), _place(asked.pixels, asked.pixels.covering(frame))
        found: list[Found] = []
        stats: Counter[str] = Counter()
        with (
            probability_sheet(folder.probability(self.name), cells.shape, classes=card.classes, **fine) as probability,
            clear_looks_sheet(folder.coverage(self.name), frame.shape, **coarse) as coverage,
        ):
            for part in detect_pixels(asked, self._reader(card), detector, judge, self.threshold):
                coverage.write(*part.window.slices_in(frame), part.looks[None])
                if part.probabilities is not None:
                    probability.write(*asked.lattice.covering(part.window).slices_in(cells), part.probabilities)
                found.append(part.found)
                self._check(sum(map(len, found)))
                stats.update(part.stats)
        return Found.together(found), dict(stats)

    def _check(self, count: int) -> None:
        if count > FOUND_LIMIT:
            raise InputError(
                f"more than {FOUND_LIMIT} pixels of tile {self.name} score above {self.threshold}: "
                "expected what mines cover; use a higher --threshold"
            )

    def _write_hits(self, found: Found, bench: Bench) -> None:
        starts = range(0, len(found), BATCH)
        batches = (hits_of(found.part(slice(start, start + BATCH)), bench) for start in starts)
        write_hits(ScanFolder(self.folder).hits(self.name), batches)

    def _delineate(self, found: Found, bench: Bench) -> None:
        """Round the cells that can become candidates."""
        segmenter = load_detector(self.delineator, self.device)
        accepted = found.part(np.flatnonzero(verdicts_of(found, bench.impact) == "accepted"))
        edges = bench.lattice.edges_px(bench.cells, accepted.rows, accepted.columns)
        pieces = delineate(self.tile, edges, self._reader(segmenter.card), segmenter)
        write_pieces(ScanFolder(self.folder).outlines(self.name), pieces)


def load_detector(
    folder: str | None, device: Literal["auto", "cpu", "cuda"], precision: Literal["fp32", "bf16"] = "fp32"
) -> "Detector":
    """The detector of a card's folder, or the delineator."""
    from models.infer import Detector, load  # noqa: PLC0415

    assert folder is not None  # noqa: S101
    model = load(folder, device, precision)
    assert isinstance(model, Detector)  # noqa: S101  the cards' tasks were checked when the scan was prepared
    return model


def _judge(folder: str | None, device: Literal["auto", "cpu", "cuda"]) -> "Judge | None":
    from models.infer import Judge, load  # noqa: PLC0415

    if folder is None:
        return None
    model = load(folder, device)
    assert isinstance(model, Judge)  # noqa: S101
    return model


def _place(lattice: Lattice, cells: CellRange) -> dict[str, Any]:
    return {"transform": lattice.transform(cells), "epsg": lattice.zone}
