"""Which tiles, which scenes, which pixels: decided before anything is read, the same from the same inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from models import ModelCard
from scanner.composite.request import CompositeRequest, band_gsd
from scanner.composite.rescue import MARGIN_PX
from scanner.config import digest_of
from scanner.detection.delineate import block_px
from scanner.detection.reach import DELINEATE_PX, reach_px
from scanner.errors import DetectorError
from scanner.types import Scene
from tiling import GSD_M, Ground, Lattice, Tile, TileId, Window, frame_of, lonlat, project_aoi, tiles_meeting

__all__ = ["ScanPlan", "Settings", "TilePlan", "make_plan", "needed_windows", "search_area"]

COMPOSITE_VERSION = 1
"""Raised whenever the composite of the same inputs would change."""
DETECT_VERSION = 2
"""Raised whenever the detections of the same inputs would change."""

SEARCH_MARGIN_M = 4000.0
"""Halo, margin and the kilometre around a pixel that the rescue of bare ground looks at, rounded up."""

RESCUE_M = 1500.0
"""That kilometre and the snapping to whole pixels, where a delineator's reach is longer than the rest."""

PLAN_PX = 32
"""Edge of the squares by which the ground of a segmenter is planned: a tile's pixels are too many."""

SNAP_PX = 6
"""10 m pixels in one of 60 m: windows begin and end on whole pixels of every band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What shapes every unit, resolved once when a scan folder is begun."""

    detector: ModelCard
    """The detector's card."""
    impact: ModelCard | None
    """The judge's card."""
    delineator: ModelCard | None
    """The card of the segmenter that draws outlines."""
    detector_folder: str
    """Where the detector's card lies."""
    impact_folder: str | None
    """Where the judge's card lies."""
    delineator_folder: str | None
    """Where the delineator's card lies."""
    precision: Literal["fp32", "bf16"]
    """What the detector computes in."""
    threshold: float
    """Score above which a cell is a hit."""
    looks: int | None
    """Clear looks a pixel takes at most (K)."""
    chunk_px: int
    """Edge of a chunk's core."""
    threads: int
    """Threads of one unit."""
    memory_bytes: int
    """What one unit may use."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Of the composite: the detector's, then what the delineator needs more."""
        more = self.delineator.bands if self.delineator else ()
        return tuple(dict.fromkeys([*self.detector.bands, *more]))

    @property
    def reach_px(self) -> int:
        """Ground that a cell needs on every side, for its score, its judge and its outline."""
        return reach_px(self.detector, self.impact, self.delineator)

    def lattice(self, zone: int) -> Lattice:
        """Of the cells that scores are given for."""
        return Lattice(zone=zone, stride_px=self.detector.cell_px, finer=self.detector.finer)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """One tile's part of a scan."""

    tile: Tile
    """The tile with its margin."""
    aoi: BaseGeometry
    """The part of the AOI that concerns it, in the zone's UTM metres."""
    judged_cells: int
    """How many of its cells the scan answers for."""
    request: CompositeRequest
    """What its composite is made of."""
    composite_digest: str
    """sha256 of everything that shapes the composite."""
    detect_digest: str
    """sha256 of everything that shapes its detections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """A scan, decided."""

    settings: Settings
    """What shapes every unit."""
    tiles: tuple[TilePlan, ...]
    """By tile id."""
    scenes: tuple[Scene, ...]
    """All scenes that any tile reads, by id."""

    @property
    def digest(self) -> str:
        """Same inputs, same digest."""
        return digest_of([(str(item.tile.id), item.composite_digest, item.detect_digest) for item in self.tiles])


def search_area(aoi: BaseGeometry, reach_px: int = 0) -> BaseGeometry:
    """The AOI with room for every halo, in degrees within [-180, 180]; wider in longitude nearer the poles.

    Args:
        aoi: EPSG:4326.
        reach_px: ground that a cell needs on every side.
    """
    margin_m = max(SEARCH_MARGIN_M, GSD_M * reach_px + RESCUE_M)
    grown = []
    for part in getattr(aoi, "geoms", [aoi]):
        latitude = min(83.5, max(abs(part.bounds[1]), abs(part.bounds[3])))
        margin = margin_m / 111_000 / float(np.cos(np.radians(latitude)))
        wide = part.buffer(margin, quad_segs=4)
        grown += [translate(wide, xoff=turn) for turn in (-360, 0, 360)]
    return shapely.union_all(grown).intersection(shapely.box(-180, -90, 180, 90))


def make_plan(settings: Settings, aoi: BaseGeometry, scenes: Sequence[Scene]) -> ScanPlan:
    """Cut the AOI into tiles and give each its cells, windows, scenes and digests.

    Args:
        settings: what shapes every unit.
        aoi: EPSG:4326.
        scenes: what the catalogue gave for `search_area(aoi, settings.reach_px)`.

    Raises:
        DetectorError: a band that the detector or the delineator needs is in no scene.
    """
    for band in settings.bands:
        if scenes and not any(band in scene.assets for scene in scenes):
            wanting = settings.delineator if band not in settings.detector.bands else None
            name, word = (wanting.name, "delineator") if wanting else (settings.detector.name, "detector")
            raise DetectorError(f"{name} needs {band}, which no scene of the catalogue has; choose another {word}")
    tiles = tiles_meeting(aoi, stride_px=settings.detector.cell_px, halo_px=settings.reach_px)
    footprints = shapely.STRtree([scene.footprint for scene in scenes])
    plans = []
    for tile in tiles:
        near = sorted(footprints.query(_lonlat_box(tile)).tolist())
        plans.append(_tile_plan(tile, settings, aoi, [scenes[index] for index in near]))
    used = {scene.id: scene for plan in plans for scene in plan.request.scenes}
    return ScanPlan(settings=settings, tiles=tuple(plans), scenes=tuple(used[key] for key in sorted(used)))


def _lonlat_box(tile: Tile) -> BaseGeometry:
    """A generous box around a tile; a tile at the antimeridian takes every longitude."""
    zone = tile.id.zone
    lon, lat = lonlat(zone, *shapely.get_coordinates(shapely.segmentize(frame_of(zone, tile.read), 2000)).T)
    west, east = (-180.0, 180.0) if np.ptp(lon) > 180 else (lon.min() - 1, lon.max() + 1)
    return shapely.box(west, lat.min() - 0.1, east, lat.max() + 0.1)


def _tile_plan(tile: Tile, settings: Settings, aoi: BaseGeometry, near: Sequence[Scene]) -> TilePlan:
    local = project_aoi(aoi, tile.id.zone, tile.read)
    whole, mask, count = _answered(tile.id, settings, local)
    stride_px = whole.width_px // mask.shape[1]
    windows = needed_windows(whole, mask, stride_px, settings.reach_px, tile.read)
    scenes = _scenes_of(tile, windows, near)
    request = CompositeRequest(
        tile=tile, windows=windows, bands=settings.bands, scenes=scenes, looks=settings.looks, max_looks=None,
        threads=settings.threads, memory_bytes=settings.memory_bytes,
    )  # fmt: skip
    composite = _composite_digest(request)
    # Squares say less than pixels do: of a segmenter the very shape of the area counts.
    shape = mask if settings.detector.output == "cells" else None
    asked = np.packbits(shape).tobytes().hex() if shape is not None else shapely.normalize(local).wkb_hex
    return TilePlan(
        tile=tile, aoi=local, judged_cells=count, request=request,
        composite_digest=composite, detect_digest=_detect_digest(settings, composite, asked),
    )  # fmt: skip


def _answered(tile: TileId, settings: Settings, local: BaseGeometry) -> tuple[Window, NDArray[np.bool_], int]:
    """A tile in squares (a classifier's cells, PLAN_PX for pixels): their ground, which are judged; judged cells."""
    lattice = settings.lattice(tile.zone)
    cells = lattice.cells_of(tile)
    if settings.detector.output == "cells":
        mask = Ground(tile.zone, cells.window(lattice), local).judged(lattice, cells)
        return cells.window(lattice), mask, int(mask.sum())
    squares = Lattice(zone=tile.zone, stride_px=PLAN_PX)
    over = squares.covering(tile.window)
    mask = Ground(tile.zone, over.window(squares), local).judged(squares, over)
    return over.window(squares), mask, Ground(tile.zone, tile.window, local).count(lattice, cells)


def needed_windows(
    whole: Window, mask: NDArray[np.bool_], stride_px: int, halo_px: int, limit: Window
) -> tuple[Window, ...]:
    """Disjoint windows that hold every judged cell with its halo: one box for each group of cells that lie together.

    Args:
        whole: the window of all cells of the mask.
        mask: (row, column), row 0 the northernmost.
        stride_px: edge of a cell.
        halo_px: ground a cell's score needs on every side.
        limit: what the tile may read.
    """
    reach = 2 * -(-halo_px // stride_px) + 1
    groups, _ = ndimage.label(ndimage.binary_dilation(mask, np.ones((reach, reach), bool)), np.ones((3, 3), int))
    boxes = []
    for rows, columns in ndimage.find_objects(np.where(mask, groups, 0)):
        cell_box = Window(
            x0=whole.x0 + columns.start * stride_px, y0=whole.y0 + rows.start * stride_px,
            x1=whole.x0 + columns.stop * stride_px, y1=whole.y0 + rows.stop * stride_px,
        ).buffer(halo_px)  # fmt: skip
        snapped = cell_box.at(SNAP_PX).times(SNAP_PX).intersect(limit)
        boxes += [snapped] if snapped else []
    return tuple(sorted(_merged(boxes)))


def _merged(boxes: list[Window]) -> list[Window]:
    """Boxes that overlap become their common box, until none do."""
    done: list[Window] = []
    while boxes:
        box = boxes.pop()
        touching = [other for other in done if other.intersect(box)]
        if touching:
            done = [other for other in done if other not in touching]
            for other in touching:
                box = box.union_bounds(other)
            boxes.append(box)
        else:
            done.append(box)
    return done


def _scenes_of(tile: Tile, windows: Sequence[Window], near: Sequence[Scene]) -> tuple[Scene, ...]:
    """Scenes whose footprint meets the ground that is read, masks included; by id."""
    boxes = [window.buffer(MARGIN_PX) for window in windows]
    ground = shapely.union_all([frame_of(tile.id.zone, box) for box in boxes])
    wanted = tile.read.buffer(MARGIN_PX)
    meets = (scene for scene in near if project_aoi(scene.footprint, tile.id.zone, wanted).intersects(ground))
    return tuple(sorted(meets, key=lambda scene: scene.id))


def _composite_digest(request: CompositeRequest) -> str:
    """Hrefs stay out: the same scene behind another mirror or a fresh token is the same scene."""
    gsd = band_gsd(request.scenes, request.bands)
    scenes = [
        (
            scene.id, scene.version, scene.baseline, scene.look, scene.tile, scene.cloud_cover, scene.epsg,
            sorted((band, asset.scale, asset.offset, asset.nodata) for band, asset in scene.assets.items()),
        )
        for scene in request.scenes
    ]  # fmt: skip
    windows = [(box.x0, box.y0, box.x1, box.y1) for box in request.windows]
    shape = (str(request.tile.id), request.tile.margin_px, windows, request.bands, sorted(gsd.items()))
    return digest_of(["composite", COMPOSITE_VERSION, shape, scenes, request.looks, request.max_looks])


def _detect_digest(settings: Settings, composite: str, asked: str) -> str:
    cards = [_shaping(card) for card in (settings.detector, settings.impact)]
    drawn = settings.delineator
    outline = [_shaping(drawn), drawn.threshold, block_px(drawn), DELINEATE_PX] if drawn else None
    chosen = (settings.precision, settings.threshold, settings.chunk_px)
    return digest_of(["detect", DETECT_VERSION, composite, cards, outline, chosen, asked])


def _shaping(card: ModelCard | None) -> list[Any] | None:
    """What of a card changes its answers: one file of weights may stand behind cards with other steps."""
    if card is None:
        return None
    scaling = (card.scaling, card.mean, card.std)
    lengths = (card.window_px, card.stride_px, card.halo_px, card.finer)
    return [card.sha256, sorted(card.arguments.items()), card.mode, card.output, card.bands, lengths, scaling]
