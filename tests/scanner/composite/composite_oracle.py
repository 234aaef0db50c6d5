"""A composite by brute force: whole files, one pixel's centre after the other through pyproj, plain integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from scipy import ndimage

from scanner.composite.build import CompositeReport, CompositeRequest, band_gsd, build_composite, expected_nbytes
from scanner.composite.clouds import Masks, mask_gsd, mask_kind
from scanner.composite.order import Entry, cloud_class, entries
from scanner.composite.read import Reader
from scanner.store.composite import read_window
from scanner.types import Asset, Scene
from tiling import Tile, TileId, Window, northing

State = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


def sample(asset: Asset, zone: int, window: Window, gsd: int) -> NDArray[np.int64]:
    """DN under every pixel centre; nodata outside the file."""
    with rasterio.open(asset.href) as dataset:
        pixels, affine, crs = dataset.read(1).astype(np.int64), dataset.transform, dataset.crs
    east = (np.arange(window.x0, window.x1) + 0.5) * gsd
    # Rows are counted from the equator, whose northing in southern zones is the false one.
    north = (10_000_000 if zone > 32700 else 0) - (np.arange(window.y0, window.y1) + 0.5) * gsd
    x, y = np.meshgrid(east, north)
    if crs.to_epsg() != zone:
        x, y = Transformer.from_crs(f"EPSG:{zone}", crs.to_wkt(), always_xy=True).transform(x, y)
    column, row = np.floor((x - affine.c) / affine.a).astype(int), np.floor((y - affine.f) / affine.e).astype(int)
    inside = (column >= 0) & (column < pixels.shape[1]) & (row >= 0) & (row < pixels.shape[0])
    return np.where(inside, pixels[np.where(inside, row, 0), np.where(inside, column, 0)], asset.nodata)


@dataclass
class Oracle:
    """The composite of a request over one window (multiple of 6)."""

    request: CompositeRequest
    window: Window
    rescued: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        self.zone = self.request.tile.id.zone
        self.scenes = {scene.id: scene for scene in self.request.scenes}
        self.order = entries(self.request.scenes, zone=self.zone)
        self.gsd = mask_gsd(self.request.scenes)
        self.limit = self.request.looks or 10**6
        self.most = self.request.max_looks or 3 * self.limit
        self.core = self.window.at(self.gsd // 10)
        self.margin = 1020 // self.gsd
        self.states = {name: self._state(scene) for name, scene in self.scenes.items()}
        self._rescue()

    def _state(self, scene: Scene) -> State:
        """(cover, clear, called cloud) over the core and its margin."""
        window = self.core.buffer(self.margin)
        if mask_kind(scene) == "scl":
            scl = sample(replace(scene.assets["SCL"], nodata=0), self.zone, window, self.gsd)
            cover, cloud = scl != 0, np.isin(scl, [8, 9, 10])
            return cover, cover & ~np.isin(scl, [1, 3, 8, 9, 10, 11]), cloud
        if mask_kind(scene) == "nodata":
            cover = sample(scene.assets["B02"], self.zone, window, self.gsd) != scene.assets["B02"].nodata
            inside = sample(replace(scene.assets["B02"], nodata=-1), self.zone, window, self.gsd) != -1
            return cover, inside, np.zeros_like(cover)
        reader, state = Reader(), np.zeros(window.shape, np.uint8)
        with reader.session():
            Masks(reader, self.zone, self.request.ground, self.gsd).read(scene, window, state)
        reader.close()
        return (state & 1) > 0, (state & 2) > 0, (state & 4) > 0

    def _stands(self, states: Mapping[str, State], entry: Entry) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where the entry stands for its look, and where a mask knows that the look covers the pixel."""
        best = np.full(states[entry.scenes[0].id][0].shape, 99)
        known = np.any([states[scene.id][0] for scene in entry.scenes], axis=0)
        for scene in entry.scenes:
            there = states[scene.id][0] | states[scene.id][1]
            best = np.where(there, np.minimum(best, cloud_class(scene.cloud_cover)), best)
        return best == entry.cloud_class, known

    def _rescue(self) -> None:
        shape = self.core.buffer(self.margin).shape
        seen, called = np.zeros(shape, int), np.zeros(shape, int)
        for entry in self.order:
            stands, known = self._stands(self.states, entry)
            counts = stands & known & (seen < self.most)
            _, clear, cloud = (np.any([self.states[s.id][i] for s in entry.scenes], axis=0) for i in range(3))
            seen += counts
            called += counts & cloud & ~clear
        suspect = (5 * called > 4 * seen) & (seen >= 3)
        radius = 1000 // self.gsd
        ones = np.ones(2 * radius + 1, int)

        def box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
            inner = ndimage.correlate1d(mask.astype(int), ones, axis=0, mode="constant")
            return ndimage.correlate1d(inner, ones, axis=1, mode="constant")

        self.rescued = np.zeros(shape, bool)
        for look in {entry.look: entry.scenes for entry in self.order}.values():
            cover, clear, cloud = (np.any([self.states[s.id][i] for s in look], axis=0) for i in range(3))
            ground = cover & ~suspect
            total, good = box(ground), box(ground & clear)
            saved = suspect & cloud & ~clear & (10 * good >= 9 * total) & (4 * total >= (2 * radius + 1) ** 2)
            self.rescued |= saved
            for scene in look:
                self.states[scene.id][1][saved & self.states[scene.id][2]] = True
        m = self.margin
        self.rescued = self.rescued[m:-m, m:-m]

    def _states_at(self, gsd: int) -> dict[str, State]:
        """The masks as a band's pixels see them, over the window."""
        m, found = self.margin, {}
        for name, layers in self.states.items():
            cover, clear, cloud = (layer[m:-m, m:-m] for layer in layers)
            if gsd >= self.gsd:
                f = gsd // self.gsd
                split = (cover.shape[0] // f, f, cover.shape[1] // f, f)
                found[name] = (cover.reshape(split).any((1, 3)), clear.reshape(split).all((1, 3)), cloud)
            else:
                f = self.gsd // gsd
                found[name] = tuple(a.repeat(f, 0).repeat(f, 1) for a in (cover, clear, cloud))
        return found

    def band(self, band: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Stored value and clear looks at the band's own pixel size."""
        gsd = band_gsd(self.request.scenes, [band])[band]
        window, states = self.window.at(gsd // 10), self._states_at(gsd)
        seen, taken = np.zeros(window.shape, int), np.zeros(window.shape, int)
        layers = []
        for entry in self.order:
            stands, known = self._stands(states, entry)
            counts = stands & ((seen < self.most) | ~known)
            seen += counts & known
            value = np.zeros(window.shape, int)
            for scene in entry.scenes:
                if band not in scene.assets:
                    continue
                asset = scene.assets[band]
                dn = sample(asset, self.zone, window, gsd)
                stored = np.clip(dn + round(asset.offset * 10000) + 1000, 1, 65535)
                good = states[scene.id][1] & (dn != asset.nodata) & (value == 0)
                value[good] = stored[good]
            use = counts & (value > 0) & (taken < self.limit)
            taken += use
            layers.append(np.where(use, value, 0))
        median = np.zeros(window.shape, int)
        stack = np.array(layers)
        for y, x in np.ndindex(*window.shape):
            values = sorted(stack[:, y, x][stack[:, y, x] > 0].tolist())
            if values:
                median[y, x] = (values[(len(values) - 1) // 2] + values[len(values) // 2] + 1) // 2
        return median, taken


def check(request: CompositeRequest, folder: Path, bands: Sequence[str] = ()) -> CompositeReport:
    """Build, and hold every wanted window to the oracle, bit by bit."""
    report = build_composite(request, folder)
    assert report.nbytes_decoded <= expected_nbytes(request)
    for window in request.windows:
        oracle = Oracle(request=request, window=window)
        for band in bands or request.bands:
            values, looks = read_window(folder, request.tile, (band,), window)
            expected, taken = oracle.band(band)
            factor = window.width_px // expected.shape[1]
            np.testing.assert_array_equal(values[0], expected.repeat(factor, 0).repeat(factor, 1), err_msg=band)
            np.testing.assert_array_equal(looks, taken.repeat(factor, 0).repeat(factor, 1), err_msg=band)
    return report


def request_for(
    scenes: Sequence[Scene], windows: Sequence[Window], bands: Sequence[str], **more: object
) -> CompositeRequest:
    """A request on the tile that holds the first window."""
    zone = more.pop("zone")
    first = windows[0]
    tile = Tile(id=TileId.holding(zone, first.x0 * 10 + 5, northing(zone, first.y0) - 5), margin_px=1200)
    values = {"looks": None, "max_looks": None, "threads": 2, "memory_bytes": 400_000_000} | more
    return CompositeRequest(tile=tile, windows=tuple(windows), bands=tuple(bands), scenes=tuple(scenes), **values)
