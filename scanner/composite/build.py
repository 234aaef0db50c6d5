"""Scenes in, a tile's composite in Zarr out: masks first, then one job for every block of every band.

A unit's ground is worked off in panels that follow the block lines of the files. For each panel the masks of all scenes
are read, bare ground is rescued, and the blocks of its bands are reduced by a few threads; the calling thread alone
writes. What a pixel gets depends on its own looks, never on panel, block or thread.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanner.composite.clouds import Masks, mask_asset, mask_gsd, mask_kind
from scanner.composite.median import CLEAR, COVERED
from scanner.composite.order import Entry, entries
from scanner.composite.panels import JOB_PX, Lines, PanelCut, Source, blocks_of, cut_panels
from scanner.composite.read import Grid, Reader
from scanner.composite.reduce import BandJob, Limits, Scratch, reduce_block
from scanner.composite.request import (
    WARP_NBYTES,
    CompositeReport,
    CompositeRequest,
    Shares,
    band_gsd,
    expected_nbytes,
)
from scanner.composite.rescue import MARGIN_PX, PanelMasks, SceneKey, Tally, scene_key
from scanner.composite.warp import PlacementCache, aligned_offset, extent_of
from scanner.errors import AssetError
from scanner.store.composite import CompositeWriter
from scanner.store.provenance import pack
from scanner.types import Scene
from tiling import Window

__all__ = ["CompositeReport", "CompositeRequest", "band_gsd", "build_composite", "expected_nbytes"]

ALL_LOOKS = 65535


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
    try:
        unit = _Unit(request, reader, pool)
        writer = CompositeWriter(root, request.tile, unit.bands)
        panels = unit.cut()
        for done, panel in enumerate(panels, 1):
            unit.run(panel, writer)
            if on_progress is not None:
                on_progress(done / len(panels))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        reader.close()
    cost = reader.counters
    return CompositeReport(
        nbytes_decoded=cost.nbytes_decoded, nbytes_needed=cost.nbytes_needed, requests=cost.requests,
        rescued_px=unit.rescued_px, mask_kinds=tuple(sorted({mask_kind(scene) for scene in unit.scenes})),
        looks=len({scene.look for scene in unit.scenes}), faults=tuple(cost.faults[key] for key in sorted(cost.faults)),
        seconds=time.monotonic() - began,
    )  # fmt: skip


class _Unit:
    """The state of one build."""

    def __init__(self, request: CompositeRequest, reader: Reader, pool: ThreadPoolExecutor) -> None:
        self.request = request
        self.reader = reader
        self.pool = pool
        self.zone = request.tile.id.zone
        self.bands = band_gsd(request.scenes, request.bands)
        self.mask_gsd = mask_gsd(request.scenes)
        self.limits = _limits(request)
        self.rescued_px = 0
        self.placements = PlacementCache(most_nbytes=WARP_NBYTES)
        self.grids: dict[SceneKey, Grid] = {}
        self.extents: dict[SceneKey, Window | None] = {}
        self.scenes = self._survey()
        self.order = entries(self.scenes, zone=self.zone)
        if request.windows:
            self.masks = Masks(reader, self.zone, request.ground, self.mask_gsd, self.placements)

    def _survey(self) -> tuple[Scene, ...]:
        """Open every scene's mask; scenes without one are left out and reported."""

        def look_up(scene: Scene) -> bool:
            with self.reader.session():
                try:
                    grid = self.reader.grid(scene, mask_asset(scene))
                except AssetError as error:
                    self.reader.fault(scene, mask_asset(scene), error.reason)
                    return False
            self.grids[scene_key(scene)] = grid
            self.extents[scene_key(scene)] = extent_of(grid, self.zone)
            for band in self.request.bands:
                if band not in scene.assets:
                    self.reader.fault(scene, band, "the scene has no such asset")
            return True

        kept = list(self.pool.map(look_up, self.request.scenes))
        return tuple(scene for scene, good in zip(self.request.scenes, kept, strict=True) if good)

    def cut(self) -> tuple[PanelCut, ...]:
        """The panels of the unit."""
        if not self.request.windows:
            return ()
        sources = self._sources()
        cells = [panel.window for panel in cut_panels(self.request.windows, (), lambda _: 1)]
        most = max(len(self._near(cell)) for cell in cells)
        units = [max(source.unit_px) for source in sources]
        narrowest = Shares.of(self.request, scenes=most, unit_px=max([*units, JOB_PX]))
        self.scratch = Scratch(narrowest.stack_nbytes)

        def columns(unit_px: int) -> int:
            return Shares.of(self.request, scenes=most, unit_px=unit_px).columns

        return cut_panels(self.request.windows, sources, columns)

    def _near(self, window: Window) -> list[Scene]:
        """Scenes that may reach a window or its margin."""
        wide = window.buffer(MARGIN_PX)
        return [s for s in self.scenes if (extent := self.extents[scene_key(s)]) is None or extent.intersect(wide)]

    def _sources(self) -> list[Source]:
        """The granule grids of this zone, those of most scenes first."""
        groups: dict[Window, list[Scene]] = defaultdict(list)
        for scene in self.scenes:
            grid, extent = self.grids[scene_key(scene)], self.extents[scene_key(scene)]
            if extent is not None and aligned_offset(grid, self.zone, round(grid.dx) or 10) is not None:
                groups[extent].append(scene)
        ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
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

    def run(self, panel: PanelCut, writer: CompositeWriter) -> None:
        """Masks, rescue, blocks, write."""
        masks = self._read_masks(panel)
        if not masks.index:
            return
        self._write_scenes(panel, masks, writer)
        outputs: dict[str, tuple[Window, NDArray[np.uint16], NDArray[np.uint16]]] = {}
        pending: dict[Future[None], str] = {}
        for band, gsd in self.bands.items():
            region = panel.region(gsd)
            if region is None:
                continue
            masks.planes(gsd)
            job = BandJob(
                reader=self.reader, zone=self.zone, band=band, gsd_m=gsd, entries=self.order, limits=self.limits,
                masks=masks, scratch=self.scratch, placements=self.placements,
            )  # fmt: skip
            outputs[band] = (region, np.zeros(region.shape, np.uint16), np.zeros(region.shape, np.uint16))
            for block in blocks_of(panel, gsd):
                pending[self.pool.submit(self._reduce, job, block, outputs[band])] = band
        self._write_bands(pending, outputs, writer)

    def _write_scenes(self, panel: PanelCut, masks: PanelMasks, writer: CompositeWriter) -> None:
        """Which scenes are clear where, for whoever asks what stands behind a candidate."""
        region = panel.region(self.mask_gsd)
        if region is not None:
            rows, cols = region.slices_in(masks.window)
            planes = [masks.index.get(scene_key(scene)) for scene in self.scenes]
            bits = pack(masks.states[:, rows, cols], planes, COVERED | CLEAR)
            writer.write_scenes([scene.id for scene in self.scenes], self.mask_gsd, region, bits)

    def _reduce(
        self, job: BandJob, block: Window, output: tuple[Window, NDArray[np.uint16], NDArray[np.uint16]]
    ) -> None:
        region, medians, counts = output
        with self.reader.session():
            rows, cols = block.slices_in(region)
            medians[rows, cols], counts[rows, cols] = reduce_block(job, block)

    def _write_bands(
        self, pending: dict[Future[None], str],
        outputs: dict[str, tuple[Window, NDArray[np.uint16], NDArray[np.uint16]]], writer: CompositeWriter,
    ) -> None:  # fmt: skip
        """Write each band as soon as its last block is reduced."""
        left: dict[str, int] = defaultdict(int)
        for band in pending.values():
            left[band] += 1
        for future in as_completed(list(pending)):
            future.result()
            band = pending.pop(future)
            left[band] -= 1
            if not left[band]:
                writer.write(band, *outputs.pop(band))

    def _read_masks(self, panel: PanelCut) -> PanelMasks:
        """The panel's masks, bare ground rescued; looks that no pixel counts are not read."""
        near = {scene_key(scene) for scene in self._near(panel.window)}
        order = [entry for entry in self.order if any(scene_key(scene) in near for scene in entry.scenes)]
        core = panel.window.at(6).times(6)
        shape = core.buffer(MARGIN_PX).at(self.mask_gsd // 10).shape
        index: dict[SceneKey, int] = {}
        masks = PanelMasks(core=core, gsd_m=self.mask_gsd, index=index, states=np.zeros((len(near), *shape), np.uint8))
        most = self.limits.most if self.limits else ALL_LOOKS
        tally = Tally(most=most, seen=np.zeros(shape, np.uint16), called=np.zeros(shape, np.uint16))
        asked: dict[str, Entry] = {}
        step = max(len(order), 1) if self.limits is None else 4 * self.request.threads
        for start in range(0, len(order), step):
            if tally.full:
                break
            batch = order[start : start + step]
            fresh = {entry.look: entry for entry in batch if entry.look not in asked}
            self._read_looks(list(fresh.values()), near, masks, index)
            asked |= fresh
            for entry in batch:
                planes, classes = masks.look(entry)
                if planes:
                    states = masks.states[planes[0] : planes[0] + 1] if len(planes) == 1 else masks.states[planes]
                    tally.add(states, classes, entry.cloud_class)
        self._rescue(panel, masks, list(asked.values()), tally.suspect)
        return masks

    def _read_looks(
        self, looks: Sequence[Entry], near: set[SceneKey], masks: PanelMasks, index: dict[SceneKey, int]
    ) -> None:
        """Read the masks of whole looks side by side; a granule whose mask cannot be read is left out."""
        scenes = [scene for entry in looks for scene in entry.scenes if scene_key(scene) in near]
        first = max(index.values(), default=-1) + 1

        def read(place: int, scene: Scene) -> bool:
            with self.reader.session():
                try:
                    self.masks.read(scene, masks.window, masks.states[place])
                except AssetError as error:
                    hrefs = {asset.href: name for name, asset in scene.assets.items()}
                    self.reader.fault(scene, hrefs.get(error.href, mask_asset(scene)), error.reason)
                    return False
            return True

        good = self.pool.map(read, range(first, first + len(scenes)), scenes)
        for place, (scene, had) in enumerate(zip(scenes, list(good), strict=True), first):
            if had:
                index[scene_key(scene)] = place

    def _rescue(self, panel: PanelCut, masks: PanelMasks, looks: Sequence[Entry], suspect: NDArray[np.bool_]) -> None:
        rescued = masks.rescue(looks, suspect)
        factor = self.mask_gsd // 10
        region = panel.region(self.mask_gsd)
        # Margins are counted by the tiles they belong to.
        own = region.intersect(self.request.tile.core.at(factor)) if region else None
        if own is not None:
            rows, cols = own.slices_in(masks.core.at(factor))
            self.rescued_px += int(rescued[rows, cols].sum()) * factor**2


def _limits(request: CompositeRequest) -> Limits | None:
    if request.looks is None and request.max_looks is None:
        return None
    looks = request.looks or ALL_LOOKS
    return Limits(looks=looks, most=request.max_looks or min(3 * looks, ALL_LOOKS))
