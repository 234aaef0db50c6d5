"""How each planted thing is painted: noise-warped ellipses, benches, ponds, streets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scanner.demo.noise import fractal
from scanner.demo.palette import Cycle, PaletteBuilder
from scanner.demo.plane import Plane
from scanner.demo.sites import Site

__all__ = ["paint"]

Field = NDArray[np.float32]
_REACH: Final = 1.35
_TAILINGS: Final = ("tailings_red", "tailings_acid", "tailings_grey")
_LAWN: Final = Cycle(floor=0.35, rise=0.4, peak_day=45, width_days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Easel:
    """The part of the plane round one site, in the site's own warped, turned coordinates: radius 1 is its edge."""

    label: NDArray[np.uint16]
    """A view of the ground's labels."""
    x: Field
    """Along the site's axis."""
    y: Field
    """Across it."""
    ripple: Field
    """Noise of deviation 1."""

    def ellipse(self, x: float, y: float, a: float, b: float) -> Field:
        """Distance from an ellipse's centre, 1 at its edge."""
        return np.asarray(np.hypot((self.x - x) / a, (self.y - y) / b), np.float32)


def paint(
    site: Site, plane: Plane, label: NDArray[np.uint16], palette: PaletteBuilder, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Paints one site onto the labels in place; returns the pixels that are the site, over the whole plane."""
    mask = np.zeros(plane.shape, np.bool_)
    half = int(site.radius_m * _REACH / 10) + 3
    column = int((site.u_m - plane.west_m) // 10)
    row = int((plane.north_m - site.v_m) // 10)
    rows = slice(max(row - half, 0), min(row + half, plane.height_px))
    columns = slice(max(column - half, 0), min(column + half, plane.width_px))
    u, v = plane.axes()
    du, dv = np.meshgrid((u[columns] - site.u_m) / site.radius_m, (v[rows] - site.v_m) / site.radius_m)
    warp = [fractal(rng, du.shape, slope=1.9, coarsest_px=1.2 * half) for _ in range(3)]
    du, dv = du + 0.09 * warp[0], dv + 0.09 * warp[1]
    cos, sin = np.cos(site.turn), np.sin(site.turn)
    easel = Easel(
        label=label[rows, columns], x=(cos * du + sin * dv).astype(np.float32),
        y=(cos * dv - sin * du).astype(np.float32), ripple=warp[2],
    )  # fmt: skip
    mask[rows, columns] = _PAINTERS[site.what](site, easel, palette, rng)
    return mask


def _metal_mine(site: Site, easel: Easel, palette: PaletteBuilder, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Ochre pit with dark benches, grey waste heap, and a pond of turbid or acid tailings behind a pale beach."""
    called = site.always_cloud
    whole = easel.ellipse(0, 0, 1.0, 0.86) < 1
    yard = palette.add("iron_pit", spread=0.07, always_cloud=called)
    easel.label[whole] = yard
    _benches(
        easel, easel.ellipse(-0.4, 0.12, 0.52, 0.5), 5,
        palette.add("iron_pit", spread=0.07, always_cloud=called),
        palette.add("iron_bench", spread=0.07, always_cloud=called),
    )  # fmt: skip
    heap = easel.ellipse(-0.1, -0.58, 0.42, 0.24)
    easel.label[heap < 1] = palette.add("waste", always_cloud=called)
    dam = easel.ellipse(0.47, 0.08, 0.44, 0.56)
    easel.label[(dam < 1) & whole] = palette.add("beach", always_cloud=called)
    pond = dam + 0.05 * easel.ripple < 0.86
    easel.label[pond & whole] = palette.add(_TAILINGS[int(rng.integers(3))], spread=0.08)
    return np.asarray(whole | (heap < 1))


def _quarry(site: Site, easel: Easel, palette: PaletteBuilder, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pale stone or sand in benches, a heap, and no tailings; a large one may have clean water at the bottom."""
    called = site.always_cloud
    rock = "stone" if rng.random() < 0.65 else "sand"
    whole = easel.ellipse(0, 0, 1.0, 0.74) < 1
    easel.label[whole] = palette.add(rock, spread=0.07, always_cloud=called)
    _benches(
        easel, easel.ellipse(-0.15, 0.05, 0.72, 0.55), 6,
        palette.add(rock, spread=0.07, always_cloud=called),
        palette.add("stone_bench", spread=0.07, always_cloud=called),
    )  # fmt: skip
    heap = easel.ellipse(0.66, -0.1, 0.22, 0.34)
    easel.label[(heap < 1) & whole] = palette.add("stone_bench", always_cloud=called)
    if site.radius_m > 300 and rng.random() < 0.5:
        easel.label[easel.ellipse(-0.15, 0.05, 0.16, 0.12) < 1] = palette.add("pond")
    return np.asarray(whole)


def _benches(easel: Easel, rho: Field, count: int, bright: int, dark: int) -> None:
    """Rings of flat bright floor and dark wall inside radius 1."""
    ring = np.floor(rho * count + 0.12 * easel.ripple)
    inside = rho < 1
    easel.label[inside & (ring % 2 == 0)] = bright
    easel.label[inside & (ring % 2 == 1)] = dark


def _water(site: Site, easel: Easel, palette: PaletteBuilder, _rng: np.random.Generator) -> NDArray[np.bool_]:
    """Clean dark water, in a rim of grass when it is a lake."""
    rho = easel.ellipse(0, 0, 1.0, 0.72)
    if site.what == "lake":
        easel.label[rho < 1.12] = palette.add("pasture", Cycle(floor=0.7, rise=0.2))
    inside = rho < 1
    easel.label[inside] = palette.add(site.what, spread=0.08)
    return np.asarray(inside)


def _town(_site: Site, easel: Easel, palette: PaletteBuilder, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Streets on a grid, blocks of roofs, concrete and gardens that thin out to the edge."""
    inside = easel.ellipse(0, 0, 1.0, 0.8) + 0.04 * easel.ripple < 1
    kinds = [palette.add("roof") for _ in range(3)] + [palette.add("concrete") for _ in range(2)]
    kinds += [palette.add("pasture", _LAWN) for _ in range(2)] + [palette.add("forest", Cycle(floor=0.85))]
    height, width = easel.label.shape
    blocks = rng.choice(kinds, (height // 2 + 1, width // 2 + 1)).repeat(2, 0).repeat(2, 1)[:height, :width]
    easel.label[inside] = blocks[inside]
    rows, columns = np.indices((height, width))
    street = (rows % 9 == 0) | (columns % 12 == 0)
    easel.label[inside & street] = palette.add("asphalt")
    return np.asarray(inside)


def _cleared(_site: Site, easel: Easel, palette: PaletteBuilder, _rng: np.random.Generator) -> NDArray[np.bool_]:
    """Construction ground: one even pale shade inside straight edges, with an asphalt lane."""
    inside = np.maximum(np.abs(easel.x), np.abs(easel.y) / 0.7) < 0.8
    easel.label[inside] = palette.add("cleared", spread=0.06)
    easel.label[inside & (np.abs(easel.y) < 0.06)] = palette.add("asphalt")
    return np.asarray(inside)


def _bare_field(_site: Site, easel: Easel, palette: PaletteBuilder, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A ploughed field that stays bare the whole year."""
    inside = np.maximum(np.abs(easel.x), np.abs(easel.y) / 0.75) < 0.85
    easel.label[inside] = palette.add("red_soil" if rng.random() < 0.5 else "pale_soil", spread=0.06)
    return np.asarray(inside)


_Painter = Callable[[Site, Easel, PaletteBuilder, np.random.Generator], NDArray[np.bool_]]
_PAINTERS: Final[dict[str, _Painter]] = {
    "metal_mine": _metal_mine, "quarry": _quarry, "lake": _water, "pond": _water, "town": _town, "cleared": _cleared,
    "bare_field": _bare_field,
}  # fmt: skip
