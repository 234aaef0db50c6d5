"""What a composite is asked to be, what came of it, and how many bytes it can take: no file is touched here."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import Transformer

from scanner.composite.clouds import CLOUDLESS_BANDS, mask_asset, mask_kind
from scanner.composite.cuts import JOB_PX
from scanner.composite.layers import Limits
from scanner.composite.radiometry import Verdict
from scanner.composite.rescue import MARGIN_PX
from scanner.errors import InputError
from scanner.types import Fault, Scene
from tiling import Tile, Window, frame_of, pixel_at, project_aoi

__all__ = [
    "CompositeReport", "CompositeRequest", "Shares", "band_gsd", "expected_nbytes", "least_nbytes", "limits_of",
]  # fmt: skip

CANONICAL_M = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(("B01", "B09", "B10"), 60)
"""Native pixel size of a band, m; 20 for all others."""

BLOCK_PX = 1024
"""The largest internal block that `expected_nbytes` reckons with: the public archives use 512 and 1024."""

JOB_NBYTES = 32 * 1024 * 1024
"""What a thread holds beside its stack: a block of one look packed, inflated and masked, counts, medians."""

STACK_NBYTES = 64 * 1024 * 1024
"""What a thread's stack takes at most: 30 looks of a block of 1024 px; of more looks fewer rows are reduced at once."""

MASK_NBYTES = 96 * 1024 * 1024
"""Packed masks held in memory; the rest lies in a file."""

AHEAD_NBYTES = 64 * 1024 * 1024
"""Packed blocks of remote files that are asked for ahead: 50 ms of a second's 300 MB, four times over."""

WARP_NBYTES = 48 * 1024 * 1024
"""The kept warps of neighbours in other zones."""

HELD_NBYTES = 96 * 1024 * 1024
"""Reduced pixels that wait for the rest of their shard: of two bands, a row of shards and those beside a block."""

ALL_LOOKS = 65535
"""More than any pixel has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeRequest:
    """One tile's composite.

    Raises:
        ValueError: a window is not on whole 60 m pixels or not in the tile, or a number is below 1.
    """

    tile: Tile
    """Which tile."""
    windows: tuple[Window, ...]
    """What must be filled: zone px, disjoint, multiples of 6, inside the tile's read window."""
    bands: tuple[str, ...]
    """Band names."""
    scenes: tuple[Scene, ...]
    """Scenes of one level, without reprocessings."""
    looks: int | None
    """Clear looks a pixel takes at most (K); None takes all."""
    max_looks: int | None
    """Covering looks among which they are sought (M); None means 3 K, or all."""
    threads: int
    """Threads that read and reduce."""
    memory_bytes: int
    """What they may use, beside the program itself."""

    def __post_init__(self) -> None:
        for window in self.windows:
            if any(edge % 6 for edge in (window.x0, window.y0, window.x1, window.y1)):
                raise ValueError(f"{window} does not lie on whole 60 m pixels")
            if not self.tile.read.contains(window):
                raise ValueError(f"{window} is not inside tile {self.tile.id}")
        numbers = {"looks": self.looks, "max_looks": self.max_looks, "threads": self.threads}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")

    @property
    def ground(self) -> Window:
        """Zone px that masks may be read over: all windows and the margin of the rescue."""
        bounds = self.windows[0]
        for window in self.windows:
            bounds = bounds.union_bounds(window)
        return bounds.buffer(MARGIN_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeReport:
    """What building a composite came to."""

    nbytes_decoded: int
    """Bytes of the blocks inflated, masks included."""
    nbytes_needed: int
    """Bytes of the pixels that were wanted of them."""
    requests: int
    """Files opened and windows read."""
    rescued_px: int
    """10 m pixels of the tile itself that masks called cloud too often and that were taken as clear in some look."""
    mask_kinds: tuple[str, ...]
    """Which masks were used, sorted."""
    looks: int
    """Looks there were."""
    offsets: tuple[Verdict, ...]
    """What each scene's own pixels say of its stated offset."""
    faults: tuple[Fault, ...]
    """Files that could not be had, by scene and asset."""
    seconds: float
    """Wall time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a unit's memory is parted."""

    stack_nbytes: int
    """Looks in hand, per thread."""
    mask_nbytes: int
    """Packed masks."""
    ahead_nbytes: int
    """Packed blocks on their way."""

    @classmethod
    def of(cls, request: CompositeRequest) -> "Shares":
        """What a request's memory allows, down to a row of looks."""
        memory = request.memory_bytes
        mask, ahead = min(MASK_NBYTES, memory // 8), min(AHEAD_NBYTES, memory // 8)
        rest = memory - mask - ahead - HELD_NBYTES - WARP_NBYTES - request.threads * JOB_NBYTES
        stack = min(max(rest, memory // 4) // request.threads, STACK_NBYTES)
        return cls(stack_nbytes=stack, mask_nbytes=mask, ahead_nbytes=ahead)


def limits_of(request: CompositeRequest) -> Limits:
    """K and M, with what stands for all looks."""
    looks = request.looks or ALL_LOOKS
    return Limits(looks=looks, most=request.max_looks or min(3 * looks, ALL_LOOKS))


def band_gsd(scenes: Iterable[Scene], bands: Sequence[str]) -> dict[str, int]:
    """Pixel size of each band in the composite, m: its native one, or finer where some scene's files are finer."""
    finest = {band: float(CANONICAL_M.get(band, 20)) for band in bands}
    for scene in scenes:
        for band in bands:
            if band in scene.assets:
                finest[band] = min(finest[band], scene.assets[band].gsd_m)
    return {band: 10 if gsd < 20 else 20 if gsd < 60 else 60 for band, gsd in finest.items()}


def expected_nbytes(request: CompositeRequest) -> int:
    """Upper bound of the bytes inflated, masks included, for files in blocks of at most 1024 px.

    A granule alone in its zone is read along its own blocks, each once; where granules overlap or are warped, the
    blocks of the one cut those of the other, and each job may touch four.
    """
    if not request.windows or not request.scenes:
        return 0
    again = _times_inflated(request)
    return sum(_scene_nbytes(request, scene, again) for scene in request.scenes)


def least_nbytes(request: CompositeRequest) -> int:
    """Lower bound of the bytes inflated: the masks alone, for bands are read only where a mask is clear.

    With K, of so many looks as a pixel takes, the smallest.
    """
    zone = request.tile.id.zone
    ground = shapely.union_all([frame_of(zone, window) for window in request.windows])
    masks: dict[str, int] = defaultdict(int)
    for scene in request.scenes:
        seen = shapely.intersection(project_aoi(scene.footprint, zone, request.tile.read), ground)
        masks[scene.look] += int(shapely.area(seen) / (400 if mask_kind(scene) == "scl" else 50))
    return sum(sorted(masks.values())[: request.looks])


def _times_inflated(request: CompositeRequest) -> dict[str, int]:
    """How often a block of each band is inflated at most."""
    looks = min(len({scene.look for scene in request.scenes}), 3 * (request.looks or ALL_LOOKS))
    rows = min(max(Shares.of(request).stack_nbytes // (2 * 2 * JOB_PX * looks), 1), JOB_PX)
    alone = len({scene.tile for scene in request.scenes}) == 1 and request.scenes[0].epsg == request.tile.id.zone
    times = -(-JOB_PX // rows) * (1 if alone else 4)
    return dict.fromkeys(request.bands, times)


def _scene_nbytes(request: CompositeRequest, scene: Scene, again: Mapping[str, int]) -> int:
    reach = _reach(scene, request.tile.id.zone)
    total = _mask_nbytes(request, scene, reach)
    for window in request.windows:
        part = window.intersect(reach) if reach else window
        if part is not None:
            blocks = {b: again[b] * _blocks(part, scene.assets[b].gsd_m) for b in again if b in scene.assets}
            total += sum(blocks.values()) * BLOCK_PX**2 * 2
    return total


def _mask_nbytes(request: CompositeRequest, scene: Scene, reach: Window | None) -> int:
    if mask_kind(scene) == "s2cloudless":
        seen = request.ground.buffer(BLOCK_PX)
        part = seen.intersect(reach) if reach else seen
        blocks = [_blocks(part, scene.assets[band].gsd_m) for band in CLOUDLESS_BANDS] if part else []
        return sum(blocks) * BLOCK_PX**2 * 2
    asset = mask_asset(scene)
    total = 0
    for window in request.windows:
        part = window.buffer(MARGIN_PX).intersect(reach) if reach else window
        if part is not None:
            # A panel is at least one block; with its margin it meets nine of the mask's.
            total += 9 * _blocks(part, 10.0) * BLOCK_PX**2 * (1 if asset == "SCL" else 2)
    return total


def _blocks(window: Window, gsd_m: float) -> int:
    """Blocks of the largest size that a window of zone px can meet."""
    edge = BLOCK_PX * max(gsd_m, 10.0) / 10
    return int(np.ceil(window.width_px / edge) + 1) * int(np.ceil(window.height_px / edge) + 1)


def _reach(scene: Scene, zone: int) -> Window | None:
    """Bounds of the footprint in zone px, generously; None where it cannot be projected."""
    west, south, east, north = scene.footprint.bounds
    edge = np.linspace(0, 1, 21)
    lon, lat = np.meshgrid(west + edge * (east - west), south + edge * (north - south))
    x, y = Transformer.from_crs("EPSG:4326", f"EPSG:{zone}", always_xy=True).transform(lon, lat)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    x0, y0 = pixel_at(zone, x.min(), y.max())
    x1, y1 = pixel_at(zone, x.max(), y.min())
    return Window(x0=x0 - 100, y0=y0 - 100, x1=x1 + 100, y1=y1 + 100)
