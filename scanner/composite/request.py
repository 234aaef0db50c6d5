"""What a composite is asked to be, what came of it, and how many bytes it can take: no file is touched here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import Transformer

from scanner.composite.clouds import CLOUDLESS_BANDS, mask_asset, mask_kind
from scanner.composite.cuts import JOB_PX
from scanner.composite.inflate import STATE_NBYTES
from scanner.composite.layers import Limits
from scanner.composite.radiometry import Verdict
from scanner.composite.rescue import MARGIN_PX
from scanner.errors import InputError
from scanner.types import Fault, Scene
from tiling import Shares, Tile, Window, frame_of, pixel_at, project_aoi, stack_rows

__all__ = [
    "CompositeReport", "CompositeRequest", "band_gsd", "expected_nbytes", "least_nbytes", "limits_of", "shares_of",
]  # fmt: skip

CANONICAL_M = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(("B01", "B09", "B10"), 60)
"""Native pixel size of a band, m; 20 for all others."""

BLOCK_PX = 1024
"""The largest internal block that `expected_nbytes` reckons with: the public archives use 512 and 1024."""

SAMPLE_NBYTES = 6 * 2 * BLOCK_PX**2 * 2
"""What the audit of a scene's offset inflates at most: six bands, a block at two places."""

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
    nbytes_fetched: int
    """Packed bytes that came from disks and servers, but for those that GDAL read."""
    retries: int
    """Ranges that were asked for again."""
    throttled: int
    """Times that the requests in flight to a server were halved."""
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


def shares_of(request: CompositeRequest) -> Shares:
    """How a request's memory is parted."""
    return Shares.of(memory_bytes=request.memory_bytes, threads=request.threads)


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
    """Upper bound of the bytes inflated, masks included, for COGs of deflate in blocks of 512 or 1024 px.

    A granule alone in its zone is read along its own blocks, each once; where granules overlap or are warped, the
    blocks of the one cut those of the other, and each job may touch four. More looks than a stack holds are taken in
    strips, for which what is warped, or packed as JPEG 2000, or finds no room for its inflater is inflated again.
    """
    if not request.windows or not request.scenes:
        return 0
    return sum(_scene_nbytes(request, scene, _times_inflated(request, scene)) for scene in request.scenes)


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


def _times_inflated(request: CompositeRequest, scene: Scene) -> int:
    """How often a block of a scene's bands is inflated at most."""
    shares, zone = shares_of(request), request.tile.id.zone
    looks = min(len({scene.look for scene in request.scenes}), limits_of(request).most)
    alone = len({scene.tile for scene in request.scenes}) == 1 and scene.epsg == zone
    jobs = 1 if alone else 4
    # Two blocks of 512 px lie side by side in a job.
    room = 2 * jobs * looks * STATE_NBYTES <= shares.streams_nbytes
    if room and scene.epsg == zone and not any(asset.href.endswith(".jp2") for asset in scene.assets.values()):
        return jobs
    # Jobs of narrow blocks are higher than wide.
    rows = stack_rows(slots=looks, width_px=2 * JOB_PX, height_px=JOB_PX, nbytes=shares.stack_nbytes)
    return jobs * -(-JOB_PX // rows)


def _scene_nbytes(request: CompositeRequest, scene: Scene, times: int) -> int:
    reach = _reach(scene, request.tile.id.zone)
    total = _mask_nbytes(request, scene, reach) + SAMPLE_NBYTES
    for window in request.windows:
        part = window.intersect(reach) if reach else window
        if part is not None:
            bands = [scene.assets[band] for band in request.bands if band in scene.assets]
            total += times * sum(_blocks(part, asset.gsd_m) for asset in bands) * BLOCK_PX**2 * 2
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
            # Once, or as often as strips of masks cut its blocks and masks are settled anew for an offset set right.
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
