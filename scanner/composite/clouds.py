"""What a granule's cloud mask says of each pixel: no data, clear, masked, called cloud.

SCL where the product has it (L2A, 20 m); s2cloudless on the granule's own pixels for L1C; nodata alone elsewhere.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.composite.read import Reader
from scanner.composite.states import CLEAR, CLOUD, COVERED
from scanner.composite.warp import PlacementCache, place
from scanner.errors import AssetError
from scanner.types import MaskKind, Scene
from tiling import Window

__all__ = ["CLOUDLESS_BANDS", "Masks", "called_cloud", "coarse_metres", "mask_asset", "mask_gsd", "mask_kind"]

CLOUDLESS_BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The bands of s2cloudless, in its order."""

COARSE_M = (120, 60)
"""Pixel of the s2cloudless mask: multiples of 10, 20 and 60 m, so that every band is averaged over whole pixels.

120 m takes a quarter of the time of 60 m and changes 0.7 % of thirty dates' pixels; 180 m would change more than 1 %.
"""

AVERAGE_M, DILATE_M = 240, 120
"""Reach of s2cloudless's averaging and dilation: 4 and 2 of the 60 m pixels they were chosen for, kept in metres."""

COARSE_LEAST_PX = 80
"""A granule that has fewer pixels of 120 m than this along an edge is a cut-out, and gets the finer mask."""

HALO_PX = 8
"""Coarse pixels that averaging and dilation reach, and two more."""

STRIP_PX = 65536
"""Coarse pixels classified at once."""

NODATA_BANDS = ("B02", "B03", "B04", "B08")


def mask_kind(scene: Scene) -> MaskKind:
    """Which mask a scene gets."""
    if "SCL" in scene.assets:
        return "scl"
    return "s2cloudless" if scene.level == "l1c" and all(b in scene.assets for b in CLOUDLESS_BANDS) else "nodata"


def mask_gsd(scenes: tuple[Scene, ...]) -> int:
    """Pixel size of a unit's masks, m: 20 where every scene has SCL, else 10."""
    return 20 if all(mask_kind(scene) == "scl" for scene in scenes) else 10


def mask_asset(scene: Scene) -> str:
    """The asset whose pixels the mask is laid on: SCL, else the first 10 m band there is."""
    if "SCL" in scene.assets:
        return "SCL"
    return next((band for band in NODATA_BANDS if band in scene.assets), min(scene.assets, default="B02"))


def coarse_metres(edge_m: float) -> int:
    """Pixel of the s2cloudless mask for a granule whose shorter edge is this long."""
    return COARSE_M[0] if edge_m >= COARSE_LEAST_PX * COARSE_M[0] else COARSE_M[1]


@lru_cache(maxsize=1)
def _scl_states() -> NDArray[np.uint8]:
    """State by SCL class: 0 no data; 1 saturated, 3 shadow, 8, 9 cloud, 10 cirrus, 11 snow masked; the rest clear."""
    states = np.full(65536, COVERED | CLEAR, np.uint8)
    states[0] = 0
    states[[1, 3, 11]] = COVERED
    states[[8, 9, 10]] = COVERED | CLOUD
    return states


@njit(nogil=True, cache=True)
def _looked_up(pixels: NDArray[Any], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The table's value at every pixel: numpy takes seven times as long."""
    out = np.empty(pixels.shape, np.uint8)
    for y in range(pixels.shape[0]):
        source, target = pixels[y], out[y]
        for x in range(source.shape[0]):
            target[x] = table[source[x]]
    return out


@lru_cache(maxsize=8)
def _detector(pixel_m: float) -> Any:
    from s2cloudless.cloud_detector import S2PixelCloudDetector  # noqa: PLC0415

    average, dilation = round(AVERAGE_M / pixel_m), round(DILATE_M / pixel_m)
    return S2PixelCloudDetector(threshold=0.4, average_over=average, dilation_size=dilation, all_bands=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coarse:
    """An s2cloudless mask over part of a granule."""

    factor: int
    """Source pixels along an edge of a coarse pixel."""
    row0: int
    """First coarse row."""
    column0: int
    """First coarse column."""
    shape: tuple[int, int]
    """(rows, columns), coarse."""
    covered: NDArray[np.uint8]
    """Packed bits over `shape`."""
    cloud: NDArray[np.uint8]
    """Packed bits over `shape`."""

    def states(self) -> NDArray[np.uint8]:
        """State of every coarse pixel."""
        size = self.shape[0] * self.shape[1]
        covered, cloud = (np.unpackbits(bits, count=size).reshape(self.shape) for bits in (self.covered, self.cloud))
        return np.where(cloud, COVERED | CLOUD, COVERED | CLEAR).astype(np.uint8) * covered


class Masks:
    """The masks of a unit's scenes; what s2cloudless found is kept until the unit ends."""

    def __init__(
        self, reader: Reader, zone: int, ground: Window, gsd_m: int, placements: PlacementCache | None = None
    ) -> None:
        """Masks over `ground` (zone px of 10 m, margins included), at pixels of `gsd_m`."""
        self._reader = reader
        self._zone = zone
        self._ground = ground
        self._gsd_m = gsd_m
        self._placements = placements or PlacementCache(most_nbytes=0)
        self._coarse: dict[tuple[str, str], _Coarse | AssetError | None] = {}

    def read(self, scene: Scene, window: Window, out: NDArray[np.uint8]) -> None:
        """Write the scene's state over a window (pixels of the mask) into `out`; 0 where it has no data.

        Raises:
            AssetError: the mask, or a band it is made of, cannot be read.
        """
        out[...] = 0
        asset = mask_asset(scene)
        placement = self._placements.get(self._reader.grid(scene, asset), self._zone, self._gsd_m, window)
        if placement is None:
            return
        source, kind = placement.source, mask_kind(scene)
        if kind == "s2cloudless":
            states = self._cloudless(scene, asset, source)
        else:
            pixels = self._reader.read(scene, asset, source)
            nodata = scene.assets[asset].nodata
            states = _looked_up(pixels, _scl_states()) if kind == "scl" else _of_data(pixels, nodata)
        rows, cols = placement.target.slices_in(Window(x0=0, y0=0, x1=window.width_px, y1=window.height_px))
        out[rows, cols] = placement.apply(states, 0)

    def read_ahead(self, scene: Scene, window: Window) -> None:
        """Ask for what `read` will want; a file that cannot be had is found out there."""
        asset = mask_asset(scene)
        try:
            placement = self._placements.get(self._reader.grid(scene, asset), self._zone, self._gsd_m, window)
            if placement is not None and mask_kind(scene) != "s2cloudless":
                self._reader.read_ahead(scene, asset, placement.source)
        except AssetError:
            return

    def _cloudless(self, scene: Scene, asset: str, source: Window) -> NDArray[np.uint8]:
        key = (scene.collection, scene.id)
        if key not in self._coarse:
            try:
                self._coarse[key] = self._classify(scene, asset)
            except AssetError as error:
                self._coarse[key] = error
        coarse = self._coarse[key]
        if isinstance(coarse, AssetError):
            raise coarse
        if coarse is None:
            return np.zeros(source.shape, np.uint8)
        # The last coarse pixel of a granule also takes the few source pixels that do not fill another.
        rows, cols = (
            np.clip(np.arange(low, high) // coarse.factor - first, 0, size - 1)
            for low, high, first, size in (
                (source.y0, source.y1, coarse.row0, coarse.shape[0]),
                (source.x0, source.x1, coarse.column0, coarse.shape[1]),
            )
        )
        return coarse.states()[np.ix_(rows, cols)]

    def _classify(self, scene: Scene, asset: str) -> _Coarse | None:
        """Run s2cloudless over the part of the granule that the unit can see, on whole coarse pixels."""
        grid = self._reader.grid(scene, asset)
        gsd_m = scene.assets[asset].gsd_m
        coarse_m = coarse_metres(min(grid.width_px, grid.height_px) * gsd_m)
        factor = max(1, round(coarse_m / gsd_m))
        # Found at 60 m, hence two pixels more than the ground itself.
        seen = place(grid, self._zone, 60, self._ground.at(6).buffer(2))
        whole = Window(x0=0, y0=0, x1=max(grid.width_px // factor, 1), y1=max(grid.height_px // factor, 1))
        part = seen.source.at(factor).buffer(HALO_PX).intersect(whole) if seen else None
        if part is None:
            return None
        means = np.stack([self._mean(scene, band, part.times(factor), gsd_m, factor) for band in CLOUDLESS_BANDS], -1)
        covered = (means > 0).all(axis=-1)
        for index, band in enumerate(CLOUDLESS_BANDS):
            means[..., index] = means[..., index] * scene.assets[band].scale + scene.assets[band].offset
        cloud = called_cloud(means.astype(np.float32), factor * gsd_m)
        return _Coarse(
            factor=factor, row0=part.y0, column0=part.x0, shape=part.shape,
            covered=np.packbits(covered), cloud=np.packbits(cloud),
        )  # fmt: skip

    def _mean(self, scene: Scene, band: str, window: Window, gsd_m: float, factor: int) -> NDArray[np.float64]:
        """Mean DN of a band over coarse pixels of a window of the 10 m grid."""
        ratio = max(1, round(scene.assets[band].gsd_m / gsd_m))
        grid = self._reader.grid(scene, band)
        own = Window(x0=window.x0 // ratio, y0=window.y0 // ratio, x1=window.x1 // ratio, y1=window.y1 // ratio)
        if not grid.window.contains(own) or factor % ratio:
            own_grid = f"{grid.height_px} x {grid.width_px} px"
            from scanner.errors import AssetError  # noqa: PLC0415

            raise AssetError(
                scene.assets[band].href, f"its {own_grid} do not lie on the pixels of the scene's 10 m bands"
            )
        return self._reader.read_mean(scene, band, own, factor // ratio).astype(np.float64)


def _of_data(pixels: NDArray[np.generic], nodata: int) -> NDArray[np.uint8]:
    """Without a mask every pixel of the file is clear: each band's own nodata is the judge of it."""
    return np.where(pixels == nodata, CLEAR, COVERED | CLEAR).astype(np.uint8)


def called_cloud(reflectance: NDArray[np.float32], pixel_m: float) -> NDArray[np.bool_]:
    """s2cloudless on (row, column, band); the classifier takes strips, averaging and dilation the whole."""
    height, width = reflectance.shape[:2]
    step = max(1, STRIP_PX // width)
    detector = _detector(pixel_m)
    strips = [
        detector.get_cloud_probability_maps(reflectance[None, top : top + step], num_threads=1)[0]
        for top in range(0, height, step)
    ]
    mask: NDArray[np.uint8] = detector.get_mask_from_prob(np.concatenate(strips)[None])[0]
    return mask.astype(bool)
