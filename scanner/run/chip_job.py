"""Chips of many places: gathered by ground, so that a scene is searched for, opened and read once for many."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import shapely
from shapely.geometry.base import BaseGeometry

from scanner.catalog.search import SceneQuery, search
from scanner.composite.build import build_composite
from scanner.composite.request import CompositeRequest
from scanner.config import digest_of
from scanner.run.chips import ROOM_PX, lonlat_box
from scanner.run.plan import COMPOSITE_VERSION, SNAP_PX, search_area
from scanner.store.chips import Part
from scanner.store.composite import open_scenes, read_window
from scanner.types import Scene
from tiling import Tile, TileId, Window, northing

__all__ = ["Batch", "Place", "batches", "build_part"]

BLOCK_PX = 2048
"""Places of one square of ground are built together: beyond it they share no block of a file."""
BATCH_CHIPS = 32
"""At most: a killed run builds no more than these anew."""
MEMORY_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A square or rectangle of zone pixels to cut."""

    zone: int
    """EPSG code of the UTM zone."""
    window: Window
    """Zone pixels."""

    @property
    def tile(self) -> TileId:
        """The tile that holds its middle."""
        x, y = (self.window.x0 + self.window.x1) / 2, (self.window.y0 + self.window.y1) / 2
        return TileId.holding(self.zone, x * 10, northing(self.zone, y))

    @property
    def box(self) -> BaseGeometry:
        """Its outline in degrees."""
        return lonlat_box(self.zone, self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Places that are built together, and from which scenes."""

    tile: Tile
    """With a margin that holds them whole."""
    places: tuple[int, ...]
    """Which, as numbers."""
    windows: tuple[Window, ...]
    """Theirs, zone px."""
    scenes: tuple[Scene, ...]
    """That may meet them, by id."""
    bands: tuple[str, ...]
    """In the order wanted."""
    looks: int | None
    """Clear looks a pixel takes at most; None takes all."""

    @property
    def digest(self) -> str:
        """sha256 of everything that shapes its chips."""
        scenes = [
            (scene.id, scene.version, scene.baseline, scene.look, scene.cloud_cover,
             sorted((band, asset.scale, asset.offset) for band, asset in scene.assets.items()))
            for scene in self.scenes
        ]  # fmt: skip
        boxes = [(box.x0, box.y0, box.x1, box.y1) for box in self.windows]
        return digest_of(["chips", COMPOSITE_VERSION, str(self.tile.id), boxes, scenes, self.bands, self.looks])


def batches(
    places: Sequence[Place], query: SceneQuery, bands: tuple[str, ...], looks: int | None
) -> tuple[tuple[Batch, ...], tuple[int, ...]]:
    """The places gathered by ground with the scenes over them, and the numbers of those that no scene covers.

    A catalogue in a file is gone through once, an API is asked once a tile.

    Raises:
        CatalogError: the catalogue cannot be read, has no such collection, or holds another level.
    """
    boxes = [place.box for place in places]
    everything = () if "://" in query.catalog else search(replace(query, aoi=_around(boxes)))
    found: list[Batch] = []
    without: list[int] = []
    for tile, blocks in _gathered(places).items():
        numbers = [number for block in blocks for number in block]
        scenes = everything or search(replace(query, aoi=_around([boxes[number] for number in numbers])))
        tree = shapely.STRtree([scene.footprint for scene in scenes])
        covered = {number for number in numbers if len(tree.query(boxes[number], predicate="intersects"))}
        without += [number for number in numbers if number not in covered]
        for some in _parted(blocks, covered):
            windows = tuple(places[number].window for number in some)
            near = tree.query(_around([boxes[number] for number in some]), predicate="intersects")
            over = sorted((scenes[index] for index in near), key=lambda scene: scene.id)
            found.append(
                Batch(tile=_room_for(tile, windows), places=some, windows=windows, bands=bands, looks=looks,
                      scenes=tuple(over))
            )  # fmt: skip
    return tuple(found), tuple(sorted(without))


def _gathered(places: Sequence[Place]) -> dict[TileId, list[list[int]]]:
    """Numbers of places by tile, and there by square of ground, both in order."""
    blocks: dict[tuple[TileId, int, int], list[int]] = {}
    for number, place in enumerate(places):
        block = (place.tile, place.window.y0 // BLOCK_PX, place.window.x0 // BLOCK_PX)
        blocks.setdefault(block, []).append(number)
    tiles: dict[TileId, list[list[int]]] = {}
    for key in sorted(blocks):
        tiles.setdefault(key[0], []).append(blocks[key])
    return tiles


def _parted(blocks: Sequence[Sequence[int]], covered: set[int]) -> Iterator[tuple[int, ...]]:
    """What is built together: of one block, and not too many."""
    for block in blocks:
        kept = [number for number in block if number in covered]
        for begin in range(0, len(kept), BATCH_CHIPS):
            yield tuple(kept[begin : begin + BATCH_CHIPS])


def _around(boxes: Sequence[BaseGeometry]) -> BaseGeometry:
    """What to search over: the ground of the boxes with room, as one simple shape where they lie together."""
    whole = search_area(shapely.union_all(list(boxes)))
    west, south, east, north = whole.bounds
    return shapely.box(west, south, east, north) if east - west < 10 else whole


def _room_for(tile: TileId, windows: Sequence[Window]) -> Tile:
    """The tile with a margin that reaches round every window."""
    core = tile.window
    reach = max(
        max(core.x0 - box.x0, box.x1 - core.x1, core.y0 - box.y0, box.y1 - core.y1, 0) + ROOM_PX for box in windows
    )
    return Tile(id=tile, margin_px=-(-reach // SNAP_PX) * SNAP_PX)


def build_part(batch: Batch) -> Part:
    """Build the composite of a batch's windows and cut its chips, smaller ones filled up with missing pixels."""
    folder = Path(tempfile.mkdtemp(prefix="minescan-chips-"))
    try:
        request = CompositeRequest(
            tile=batch.tile, windows=tuple(_disjoint(batch)), bands=batch.bands, scenes=batch.scenes,
            looks=batch.looks, max_looks=None, threads=psutil.cpu_count() or 1, memory_bytes=MEMORY_BYTES,
        )  # fmt: skip
        report = build_composite(request, folder)
        clear_in = open_scenes(folder, batch.tile)
        cut = [read_window(folder, batch.tile, batch.bands, window) for window in batch.windows]
        scenes = tuple(clear_in(window) for window in batch.windows)
    finally:
        shutil.rmtree(folder)
    edges = [max(getattr(window, axis) for window in batch.windows) for axis in ("height_px", "width_px")]
    reflectance = np.zeros((len(cut), len(batch.bands), *edges), np.uint16)
    for out, (values, _) in zip(reflectance, cut, strict=True):
        out[:, : values.shape[1], : values.shape[2]] = values
    return Part(
        places=np.asarray(batch.places, np.int64), reflectance=reflectance, scenes=scenes, faults=report.faults,
        seen=np.array([(values > 0).all(axis=0).mean() for values, _ in cut]),
        clear_looks=np.array([np.median(clear) for _, clear in cut]).astype(np.uint16),
    )  # fmt: skip


def _disjoint(batch: Batch) -> Iterator[Window]:
    """The windows on whole 60 m pixels, those that overlap as their common box."""
    boxes = [window.at(SNAP_PX).times(SNAP_PX) for window in batch.windows]
    done: list[Window] = []
    while boxes:
        box = boxes.pop()
        touching = [other for other in done if other.intersect(box)]
        done = [other for other in done if other not in touching]
        for other in touching:
            box = box.union_bounds(other)
        (boxes if touching else done).append(box)
    yield from sorted(done)
