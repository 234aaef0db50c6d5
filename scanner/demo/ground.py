"""The one ground truth of a synthetic region, from which every granule of every date is sampled."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scanner.demo.noise import fractal
from scanner.demo.palette import Cycle, Palette, PaletteBuilder
from scanner.demo.plane import Plane
from scanner.demo.shapes import paint
from scanner.demo.sites import RegionSpec, Site, plant
from tiling import Window

__all__ = ["Ground", "make_ground"]

_FIELD_PEAKS = (30, 60, 110, 160, 220, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What lies where, in the plane; nothing of the sky."""

    plane: Plane
    """Where the rasters lie."""
    label: NDArray[np.uint16]
    """Patch of the palette per pixel."""
    grain: NDArray[np.float32]
    """Brightness relative to the patch."""
    site: NDArray[np.uint8]
    """1 + index of the site a pixel belongs to; 0 where nothing is planted."""
    palette: Palette
    """The patches."""
    sites: tuple[Site, ...]
    """What is planted."""

    def sample(self, zone: int, window: Window) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
        """Label and grain per pixel of a window of zone pixels, nearest."""
        rows, columns = self.plane.indices(zone, window)
        return self.label[rows, columns], self.grain[rows, columns]

    def sites_in(self, zone: int, window: Window) -> NDArray[np.uint8]:
        """The site raster over a window of zone pixels, nearest."""
        rows, columns = self.plane.indices(zone, window)
        return self.site[rows, columns]


@lru_cache(maxsize=2)
def make_ground(seed: int, spec: RegionSpec) -> Ground:
    """Paints a region's ground: the same for the same seed and spec."""
    rng = np.random.default_rng([seed, 2])
    sites = plant(seed, spec)
    # The plane holds both granules although they are turned against it by a degree each, and the scan's halo.
    slack_m = 600 + 0.3 * spec.size_px
    width_m, height_m = 2 * (spec.size_px * 10 - spec.reach_m + slack_m), spec.size_px * 10 + 2 * slack_m
    plane = Plane(
        west_m=-10 * round(width_m / 20), north_m=10 * round(height_m / 20),
        width_px=2 * round(width_m / 20), height_px=2 * round(height_m / 20),
    )  # fmt: skip
    palette = PaletteBuilder(rng=rng)
    label = _fields(plane, palette, rng)
    _woods(plane, label, palette, rng)
    _river(plane, label, palette, sites, rng)
    site_raster = np.zeros(plane.shape, np.uint8)
    for index, site in enumerate(sites):
        site_raster[paint(site, plane, label, palette, rng)] = index + 1
    table = palette.build()
    cloth = 0.8 * fractal(rng, plane.shape, slope=1.0, coarsest_px=60) + 0.6 * rng.standard_normal(
        plane.shape, dtype=np.float32
    )
    grain = 1 + table.texture[label] * np.clip(cloth, -2.5, 2.5)
    return Ground(
        plane=plane, label=label, grain=grain.astype(np.float32), site=site_raster, palette=table, sites=sites
    )


def _fields(plane: Plane, palette: PaletteBuilder, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Crops, pasture and fallow in strips of fields, cut at random, turned against the grid."""
    kinds = [
        palette.add(str(rng.choice(["crop", "crop", "red_soil", "pale_soil"])),
                    Cycle(floor=0.06, rise=0.9, peak_day=float(rng.choice(_FIELD_PEAKS) + rng.normal(0, 12)),
                          width_days=float(rng.uniform(35, 65))))
        for _ in range(160)
    ]  # fmt: skip
    kinds += [
        palette.add("pasture", Cycle(floor=float(rng.uniform(0.2, 0.5)), rise=0.45, peak_day=50, width_days=80))
        for _ in range(100)
    ]
    kinds += [palette.add(name, Cycle(floor=0.08)) for name in ["red_soil"] * 12 + ["pale_soil"] * 4]
    u, v = plane.axes()
    turn = rng.uniform(-0.5, 0.5)
    along = np.float32(np.cos(turn)) * u[None, :] + np.float32(np.sin(turn)) * v[:, None]
    across = np.float32(np.cos(turn)) * v[:, None] - np.float32(np.sin(turn)) * u[None, :]
    cuts = np.cumsum(rng.uniform(220, 620, 400)) - 60_000
    strip = np.searchsorted(cuts, along).astype(np.int32)
    length, shift = rng.uniform(220, 700, 402).astype(np.float32), rng.uniform(0, 900, 402).astype(np.float32)
    rank = np.floor((across + shift[strip]) / length[strip]).astype(np.int32)
    draw = rng.integers(0, len(kinds), 4096)
    return np.asarray(np.asarray(kinds, np.uint16)[draw[(strip * 131 + rank * 17) % 4096]])


def _woods(plane: Plane, label: NDArray[np.uint16], palette: PaletteBuilder, rng: np.random.Generator) -> None:
    """Forest over a third of the ground, in blots; clumps of trees of three shades."""
    where = fractal(rng, plane.shape, slope=1.7, coarsest_px=420)
    shade = fractal(rng, plane.shape, slope=1.2, coarsest_px=90)
    kinds = [palette.add("forest", Cycle(floor=0.78, rise=0.2, peak_day=60, width_days=90)) for _ in range(3)]
    stands = np.asarray(kinds, np.uint16)[np.digitize(shade, [-0.5, 0.5])]
    inside = where > 0.42
    label[inside] = stands[inside]


def _river(
    plane: Plane, label: NDArray[np.uint16], palette: PaletteBuilder, sites: tuple[Site, ...], rng: np.random.Generator
) -> None:
    """A meandering river from north to south with its gallery forest and sandbanks, clear of what is planted."""
    _, v = plane.axes()
    course = max((_course(plane, v, rng) for _ in range(60)), key=lambda path: _clearance(path, v, sites))
    u, _ = plane.axes()
    slope = np.hypot(1, np.gradient(course, -10.0))
    bank = fractal(rng, plane.shape, slope=1.4, coarsest_px=80)
    away = np.abs(u[None, :] - course[:, None]) / slope[:, None].astype(np.float32)
    width = 34 + 6 * bank
    label[away < 120 + 40 * bank] = palette.add("forest", Cycle(floor=0.9))
    sandy = (away < width + 22) & (bank > 0.9)
    label[sandy] = palette.add("sandbank")
    label[away < width] = palette.add("river")


def _course(plane: Plane, v: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The river's easting at every row of the plane."""
    east = rng.uniform(0.1, 0.9) * plane.width_px * 10 + plane.west_m
    path = np.full(v.shape, east, np.float32)
    for wave_m, swing_m in ((9000, 700), (3600, 320), (1500, 120), (700, 40)):
        path += rng.uniform(0.5, 1) * swing_m * np.sin(v * 2 * np.pi / wave_m + rng.uniform(0, 6.3))
    return path


def _clearance(path: NDArray[np.float32], v: NDArray[np.float32], sites: tuple[Site, ...]) -> float:
    """Metres between the river and the nearest edge of a site; 0 or more is clear of all."""
    gaps = [np.hypot(path - site.u_m, v - site.v_m).min() - site.radius_m for site in sites]
    return float(min(gaps, default=0.0))
