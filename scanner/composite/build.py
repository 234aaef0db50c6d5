"""Scenes in, a tile's composite in Zarr out: masks first, then one job for every block of every band.

The masks of a unit are read and settled (`layers`), and with them what each pixel reads. Then the blocks of one band
after another are reduced by a few threads: a block's looks are read one after another into a buffer, each block of a
file once, and the writer takes what is reduced. What a pixel gets depends on its own looks, never on block or thread.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from scanner.composite.ahead import Ahead
from scanner.composite.clouds import Masks, mask_asset, mask_gsd, mask_kind
from scanner.composite.cuts import Lines, Source, blocks_of, cut
from scanner.composite.layers import Layers
from scanner.composite.mask_store import MaskStore
from scanner.composite.order import entries
from scanner.composite.radiometry import WITNESSES, Sample, Verdict, apply, audit
from scanner.composite.read import Reader
from scanner.composite.reduce import BandJob, Scratch, reduce_block
from scanner.composite.request import (
    CompositeReport,
    CompositeRequest,
    band_gsd,
    expected_nbytes,
    limits_of,
    shares_of,
)
from scanner.composite.rescue import scene_key
from scanner.composite.sampling import take_sample
from scanner.composite.states import SELECTED
from scanner.composite.tiff import Grid
from scanner.composite.warp import PlacementCache, aligned_offset, extent_of
from scanner.errors import AssetError
from scanner.store.composite import CompositeWriter
from scanner.store.provenance import pack
from scanner.store.shards import SCENES_CUT
from scanner.types import Scene
from tiling import Window

__all__ = ["CompositeReport", "CompositeRequest", "band_gsd", "build_composite", "expected_nbytes"]

MASK_ROWS_PX = 2048
"""Rows of a mask read at once: whole chunks, and whole blocks of 512 and 1024 px."""

SAMPLED_AT_ONCE = 12
"""Scenes whose offsets are looked into side by side: little is read of each, and a network answers late."""


def build_composite(
    request: CompositeRequest, root: Path, *, on_progress: Callable[[float], None] | None = None
) -> CompositeReport:
    """Build a tile's composite from nothing and write it under `root`. Call `flush` before saying it is done.

    Args:
        request: what to build.
        root: the scan's folder.
        on_progress: called from this thread with the share that is done, 0 to 1.

    Raises:
        InputError: the scenes' files must be signed by a package that is not installed.
    """
    began = time.monotonic()
    reader = Reader()
    pool = ThreadPoolExecutor(request.threads, thread_name_prefix="composite")
    unit = _Unit(request, reader, pool)
    try:
        unit.survey()
        writer = CompositeWriter(
            root, request.tile, unit.bands, request.windows, most_nbytes=unit.shares.held_nbytes,
        )  # fmt: skip
        if request.windows and unit.scenes:
            unit.settle()
        if request.windows and unit.scenes:  # the offset of every one may have spoken against it
            unit.write_scenes(writer)
            unit.write_bands(writer, on_progress or (lambda _: None))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        unit.cleanup.close()
        reader.close()
    cost, fetched = reader.counters, reader.fetcher.counters
    return CompositeReport(
        nbytes_decoded=cost.nbytes_decoded, nbytes_needed=cost.nbytes_needed, requests=cost.requests,
        nbytes_fetched=fetched.nbytes_fetched, retries=fetched.retries, throttled=fetched.throttled,
        rescued_px=unit.rescued_px, mask_kinds=tuple(sorted({mask_kind(scene) for scene in unit.scenes})),
        looks=len({scene.look for scene in unit.scenes}), offsets=unit.offsets,
        faults=tuple(cost.faults[key] for key in sorted(cost.faults)), seconds=time.monotonic() - began,
    )  # fmt: skip


class _Unit:
    """The state of one build."""

    layers: Layers

    def __init__(self, request: CompositeRequest, reader: Reader, pool: ThreadPoolExecutor) -> None:
        self.request = request
        self.reader = reader
        self.pool = pool
        self.zone = request.tile.id.zone
        self.bands = band_gsd(request.scenes, request.bands)
        self.shares = shares_of(request)
        self.placements = PlacementCache(most_nbytes=self.shares.warp_nbytes)
        self.rescued_px = 0
        self.scenes: tuple[Scene, ...] = ()
        self.sources: list[Source] = []
        self.offsets: tuple[Verdict, ...] = ()
        self.cleanup = ExitStack()

    def survey(self) -> None:
        """Open every scene's mask; scenes without one are left out and reported."""
        self.reader.open_ahead((scene, mask_asset(scene)) for scene in self.request.scenes)

        def look_up(scene: Scene) -> Grid | None:
            with self.reader.session():
                try:
                    grid = self.reader.grid(scene, mask_asset(scene))
                except AssetError as error:
                    self.reader.fault(scene, mask_asset(scene), error.reason)
                    return None
            for band in self.request.bands:
                if band not in scene.assets:
                    self.reader.fault(scene, band, "the scene has no such asset")
            return grid

        grids = self.pool.map(look_up, self.request.scenes)
        found = {scene_key(s): grid for s, grid in zip(self.request.scenes, list(grids), strict=True) if grid}
        self.scenes = tuple(scene for scene in self.request.scenes if scene_key(scene) in found)
        self.sources = self._sources(found)

    def _sources(self, grids: dict[tuple[str, str], Grid]) -> list[Source]:
        """The granule grids of this zone, those of most scenes first."""
        groups: dict[Window, list[Scene]] = defaultdict(list)
        for scene in self.scenes:
            grid = grids[scene_key(scene)]
            extent = extent_of(grid, self.zone)
            if extent is not None and aligned_offset(grid, self.zone, round(grid.dx) or 10) is not None:
                groups[extent].append(scene)
        ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        self.reader.open_ahead((min(scenes, key=scene_key), band) for _, scenes in ranked for band in self.bands)
        return [
            Source(extent=extent, lines={gsd: self._lines(scenes, gsd) for gsd in set(self.bands.values())})
            for extent, scenes in ranked
        ]

    def _lines(self, scenes: Sequence[Scene], gsd_m: int) -> Lines:
        band = next(band for band, gsd in self.bands.items() if gsd == gsd_m)
        with self.reader.session():
            for scene in sorted(scenes, key=scene_key):
                try:
                    grid = self.reader.grid(scene, band)
                except AssetError:
                    continue
                offset = aligned_offset(grid, self.zone, gsd_m)
                return Lines.of_blocks(offset[1], offset[0], grid.block) if offset else Lines()
        return Lines()

    def settle(self) -> None:
        """Settle the masks, and hold the offset of each scene that is used against its own pixels.

        Where they contradict it the scene is used otherwise or not at all, and all is settled anew: masks made from
        bands change with an offset, and others take the place of what is left out.
        """
        samples: dict[tuple[str, str], Sample | None] = {}
        while True:
            self._settle_masks()
            used = [s for s in self.scenes if scene_key(s) not in samples and self.layers.is_selected(s)]
            self.reader.open_ahead((scene, band) for scene in used for band in WITNESSES[scene.level])
            with ThreadPoolExecutor(max(self.request.threads, SAMPLED_AT_ONCE)) as pool:
                samples |= dict(zip(map(scene_key, used), pool.map(self._sample, used), strict=True))
            self.offsets = audit([sample for sample in samples.values() if sample])
            changed = {(v.collection, v.scene) for v in self.offsets if v.action in ("corrected", "left out")}
            if not changed.intersection(map(scene_key, used)):
                return
            self.scenes = apply(self.scenes, self.offsets)
            self.cleanup.close()
            if not self.scenes:
                return

    def _sample(self, scene: Scene) -> Sample | None:
        with self.reader.session():
            try:
                return take_sample(self.reader, scene)
            except AssetError as error:
                self.reader.fault(scene, _asset_at(scene, error.href), error.reason)
                return None

    def _settle_masks(self) -> None:
        request = self.request
        first = self.sources[0].extent if self.sources else Window(x0=0, y0=0, x1=6, y1=6)
        self.layers = Layers(
            windows=request.windows, origin=(first.y0 // 6 * 6, first.x0 // 6 * 6), gsd_m=mask_gsd(self.scenes),
            order=entries(self.scenes, zone=self.zone), limits=limits_of(request), most_nbytes=self.shares.mask_nbytes,
        )  # fmt: skip
        self.cleanup.callback(self.layers.close)
        masks = Masks(self.reader, self.zone, request.ground, self.layers.gsd_m, self.placements)

        def put(scene: Scene, plane: int, store: MaskStore) -> bool:
            with self.reader.session():
                try:
                    for window in self.layers.strips(MASK_ROWS_PX):
                        states = np.empty(window.shape, np.uint8)
                        masks.read(scene, window, states)
                        store.put(plane, window, states)
                except AssetError as error:
                    self.reader.fault(scene, _asset_at(scene, error.href), error.reason)
                    return False
            return True

        def announce(scene: Scene) -> None:
            for window in self.layers.strips(MASK_ROWS_PX):
                masks.read_ahead(scene, window)

        self.layers.read(self.scenes, put, announce, self.pool)
        # Margins are counted by the tiles they belong to.
        self.rescued_px = self.layers.settle(self.bands.values(), request.tile.core, self.pool)

    def write_scenes(self, writer: CompositeWriter) -> None:
        """Which scenes are taken where, for whoever asks what stands behind a candidate."""
        ids, gsd = [scene.id for scene in self.scenes], self.layers.gsd_m
        planes = [self.layers.index.get(scene_key(scene)) for scene in self.scenes]
        store, rows = self.layers.stores[gsd], SCENES_CUT.rows_px
        outer = self.request.tile.read.at(gsd // 10)

        def write(window: Window) -> None:
            bits = np.zeros((-(-len(planes) // 8), *window.shape), np.uint8)
            states = np.empty((8, *window.shape), np.uint8)
            for byte in range(len(bits)):
                eight = planes[8 * byte : 8 * byte + 8]
                for state, plane in zip(states, eight, strict=False):
                    if plane is not None:
                        store.get(plane, window, state)
                here = [None if plane is None else place for place, plane in enumerate(eight)]
                bits[byte] = pack(states, here, SELECTED)[0]
            writer.write_scenes(ids, gsd, window, bits)

        wanted = [window.at(gsd // 10) for window in self.request.windows]
        strips = [
            part for window in wanted for y0 in range(outer.y0, outer.y1, rows)
            if (part := window.intersect(Window(x0=outer.x0, y0=y0, x1=outer.x1, y1=y0 + rows)))
        ]  # fmt: skip
        list(self.pool.map(write, strips))

    def write_bands(self, writer: CompositeWriter, on_progress: Callable[[float], None]) -> None:
        """Reduce every block of every band, one band after the other, and hand it to the writer."""
        parts = cut(self.request.windows, self.sources)
        scratch = Scratch(self.shares.stack_nbytes, self.shares.streams_nbytes)
        jobs = [
            (job, block)
            for job in self._band_jobs(scratch) for part in parts for block in blocks_of(part, job.gsd_m)
        ]  # fmt: skip
        ahead = Ahead(self.reader, jobs, most_nbytes=self.shares.ahead_nbytes)
        self.reader.top_up = ahead.top_up

        def reduce(job: BandJob, block: Window) -> int:
            with self.reader.session():
                ahead.begin()
                median, count = reduce_block(job, block)
            writer.write(job.band, block, median, count)
            return block.width_px * block.height_px

        whole = sum(block.width_px * block.height_px for _, block in jobs)
        done = 0
        for future in as_completed([self.pool.submit(reduce, *one) for one in jobs]):
            done += future.result()
            on_progress(done / whole)
        writer.finish()

    def _band_jobs(self, scratch: Scratch) -> Iterator[BandJob]:
        for band, gsd in self.bands.items():
            yield BandJob(
                reader=self.reader, zone=self.zone, band=band, gsd_m=gsd, layers=self.layers, scratch=scratch,
                placements=self.placements,
            )  # fmt: skip


def _asset_at(scene: Scene, href: str) -> str:
    """The name of the asset that lies there."""
    return next((name for name, asset in scene.assets.items() if asset.href == href), mask_asset(scene))
