"""One granule on one day: what the ground and the sky make of every band, in DN."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from scanner.demo.clouds import Day, Sky
from scanner.demo.ground import Ground
from scanner.demo.plane import plane_coords
from scanner.demo.spectra import BANDS, CLOUD, GSD_M
from tiling import Window

__all__ = ["Canvas", "clear_view", "prepare", "render"]

_NOISE = 0.0025
_SHADE = np.linspace(0.45, 0.72, len(BANDS), dtype=np.float32)
_CLOUD_FROM, _HIGH_FROM, _CIRRUS_FROM = 0.35, 0.65, 0.06
Image = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What stays the same on one granule from day to day."""

    zone: int
    """EPSG code of the granule."""
    window: Window
    """The granule, zone pixels of 10 m."""
    label: NDArray[np.intp]
    """Patch per 10 m pixel; as intp, which numpy looks up three times faster than uint16."""
    grain: NDArray[np.float32]
    """Brightness relative to the patch, per 10 m pixel."""
    called: NDArray[np.bool_]
    """20 m pixels that the scene classification calls cloud on every date."""
    u_m: NDArray[np.float32]
    """Plane easting of 20 m pixels."""
    v_m: NDArray[np.float32]
    """Plane northing of 20 m pixels."""


def prepare(ground: Ground, zone: int, window: Window) -> Canvas:
    """Samples the ground once for every day to come; the window's edges are multiples of 6."""
    label, grain = ground.sample(zone, window)
    u, v = plane_coords(zone, window)
    called = ground.palette.always_cloud[label]
    quads = called.reshape(called.shape[0] // 2, 2, -1, 2)
    return Canvas(
        zone=zone, window=window, label=label.astype(np.intp), grain=grain,
        called=np.asarray(quads.any(axis=(1, 3))),
        u_m=_mean(u, 2), v_m=_mean(v, 2),
    )  # fmt: skip


def render(canvas: Canvas, ground: Ground, sky: Sky, day: Day, seed: int) -> dict[str, NDArray[np.uint16 | np.uint8]]:
    """DN per band at its native pixel size, and `SCL` at 20 m; 0 outside the swath."""
    cloud, shadow = sky.opacity(day, canvas.u_m, canvas.v_m)
    seen = shapely.contains_xy(day.swath, canvas.u_m, canvas.v_m)
    rng = np.random.default_rng([seed, 5, canvas.zone, day.index])
    table = ground.palette.reflectance(day.year_day)
    layers: dict[str, NDArray[np.uint16 | np.uint8]] = {}
    masks = {gsd: (_native(cloud, gsd), _native(shadow, gsd), _whole(seen, gsd)) for gsd in (10, 20, 60)}
    for index, band in enumerate(BANDS):
        gsd = GSD_M[band]
        over, shade, inside = masks[gsd]
        value = _mean(np.take(table[:, index], canvas.label, mode="clip") * canvas.grain, gsd // 10)
        value *= np.float32(day.illumination) * (1 - _SHADE[index] * shade)
        value += over * (CLOUD[index] - value)
        value += np.float32(_NOISE) * rng.standard_normal(value.shape, dtype=np.float32)
        dn = np.clip(np.rint(value * 10_000) + day.offset_dn, 1, 65_535).astype(np.uint16)
        layers[band] = np.where(inside, dn, np.uint16(0))
    layers["SCL"] = _classes(canvas, ground, day, (cloud, shadow), seen)
    return layers


def clear_view(ground: Ground, zone: int, window: Window, days: tuple[Day, ...]) -> NDArray[np.float32]:
    """(band, y, x) reflectance of a cloudless composite: the median day of every patch, coarse bands replicated.

    What a scan's composite looks like but for noise and clouds, without writing a file: for training draws. The
    window's edges are multiples of 6.
    """
    label, grain = ground.sample(zone, window)
    table = np.median([ground.palette.reflectance(day.year_day) for day in days], axis=0).astype(np.float32)
    view = np.empty((len(BANDS), *label.shape), np.float32)
    for index, band in enumerate(BANDS):
        factor = GSD_M[band] // 10
        view[index] = _mean(table[:, index][label] * grain, factor).repeat(factor, 0).repeat(factor, 1)
    return view


def _classes(
    canvas: Canvas, ground: Ground, day: Day, sky: tuple[NDArray[np.float32], NDArray[np.float32]],
    seen: NDArray[np.bool_],
) -> NDArray[np.uint8]:  # fmt: skip
    """The scene classification at 20 m, wrong where it always is: bare pale rock is called cloud."""
    cloud, shadow = sky
    scl = ground.palette.classes(day.year_day)[canvas.label[::2, ::2]]
    scl[shadow > 0] = 3
    scl[canvas.called] = 9 if day.index % 2 else 8
    scl[cloud > _CIRRUS_FROM] = 10
    scl[cloud > _CLOUD_FROM] = 8
    scl[cloud > _HIGH_FROM] = 9
    scl[~seen] = 0
    return np.asarray(scl, np.uint8)


def _mean(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means of squares of `factor` pixels; a new array."""
    if factor == 1:
        return values.copy()
    rows = sum((values[start::factor] for start in range(1, factor)), start=values[::factor])
    total = sum((rows[:, start::factor] for start in range(1, factor)), start=rows[:, ::factor])
    return np.asarray(total * np.float32(1 / factor**2), np.float32)


def _native(values: NDArray[np.float32], gsd: int) -> NDArray[np.float32]:
    """A 20 m field at 10, 20 or 60 m."""
    if gsd == 10:
        return values.repeat(2, 0).repeat(2, 1)
    return values if gsd == 20 else _mean(values, 3)


def _whole(seen: NDArray[np.bool_], gsd: int) -> NDArray[np.bool_]:
    """What of a 20 m mask is whole at 10, 20 or 60 m."""
    if gsd == 10:
        return seen.repeat(2, 0).repeat(2, 1)
    if gsd == 20:
        return seen
    height, width = seen.shape
    return np.asarray(seen.reshape(height // 3, 3, width // 3, 3).all(axis=(1, 3)))
