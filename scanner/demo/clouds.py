"""The days of a region: when the satellite came, how it was processed, and what drifted between it and the ground."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from shapely import Polygon, box

from scanner.demo.noise import fractal
from scanner.demo.sites import RegionSpec

__all__ = ["BASELINE_CHANGE", "Day", "Sky", "days"]

BASELINE_CHANGE: Final = dt.date(2022, 1, 25)
"""From this day on every DN holds 1000 more."""

_FIRST: Final = dt.date(2021, 7, 4)
_SPAN_DAYS: Final = 405
_COVER: Final = (0.0, 0.3, 0.05, 0.65, 0.12, 0.45, 0.02, 0.2, 0.8, 0.08, 0.35, 0.0, 0.15, 0.03)
_NODE_M: Final = 60.0
_NODES: Final = 512
Coords = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One datatake, seen by both granules."""

    index: int
    """Rank in time."""
    time: dt.datetime
    """Sensing time, UTC."""
    illumination: float
    """Factor on every reflectance, for haze and sun."""
    cover: float
    """Fraction of the region under cloud, about."""
    drift_m: tuple[float, float]
    """Where the clouds have drifted to, metres east and north."""
    shadow_m: tuple[float, float]
    """From a cloud to its shadow, metres east and north."""
    swath: Polygon
    """What the satellite saw, in the plane; outside it there is no data."""

    @property
    def offset_dn(self) -> int:
        """What the processing added to every DN."""
        return 1000 if self.time.date() >= BASELINE_CHANGE else 0

    @property
    def baseline(self) -> str:
        """Processing baseline."""
        return "04.00" if self.offset_dn else "03.01"

    @property
    def platform(self) -> str:
        """Satellite, as in a product's name."""
        return "S2A" if self.time.toordinal() // 5 % 2 else "S2B"

    @property
    def orbit(self) -> int:
        """Absolute orbit: counts on by 143 every ten days."""
        return 31_500 + (self.time.date() - _FIRST).days * 143 // 10

    @property
    def year_day(self) -> float:
        """Day of the year."""
        return float(self.time.timetuple().tm_yday)


def days(seed: int, spec: RegionSpec) -> tuple[Day, ...]:
    """The datatakes in order of time: multiples of five days, before and after the baseline change, the first clear."""
    rng = np.random.default_rng([seed, 3])
    cover = [_COVER[index % len(_COVER)] for index in range(spec.dates)]
    cover[1:] = [cover[1:][index] for index in rng.permutation(spec.dates - 1)]
    return tuple(_day(index, cover[index], spec, rng) for index in range(spec.dates))


def _day(index: int, cover: float, spec: RegionSpec, rng: np.random.Generator) -> Day:
    step = 5 * round(_SPAN_DAYS * index / (spec.dates - 1) / 5)
    time = dt.datetime.combine(_FIRST, dt.time(13, 28, 42), dt.UTC) + dt.timedelta(days=step)
    azimuth, height_m = np.radians(rng.uniform(35, 75)), rng.uniform(500, 1100)
    drift = rng.uniform(0, _NODES * _NODE_M, 2)
    half_m = spec.size_px * 10
    seen = box(-2 * half_m, -2 * half_m, 2 * half_m, 2 * half_m)
    if index % 3 == 2:
        # The edge of a swath, slanted as a descending orbit is; to the east of the region, then to the west.
        side = 1 if index % 6 == 2 else -1
        east = side * half_m * rng.uniform(0.62, 0.8)
        lean = 0.25 * half_m
        edge = [(east + lean, 2 * half_m), (east - lean, -2 * half_m)]
        seen = Polygon([*edge, (-side * 2 * half_m, -2 * half_m), (-side * 2 * half_m, 2 * half_m)])
    return Day(
        index=index, time=time, illumination=float(rng.normal(1, 0.03)), cover=cover,
        drift_m=(float(drift[0]), float(drift[1])),
        shadow_m=(float(-np.sin(azimuth) * height_m), float(-np.cos(azimuth) * height_m)), swath=seen,
    )  # fmt: skip


class Sky:
    """Cloud fields that drift: opacity at any point of the plane on any day."""

    def __init__(self, seed: int, spec: RegionSpec) -> None:
        rng = np.random.default_rng([seed, 4])
        self._layers = [fractal(rng, (_NODES, _NODES), slope=1.9, coarsest_px=60) for _ in range(2)]
        half = spec.size_px * 10
        axis = np.arange(-half, half, 120.0, dtype=np.float32)
        self._probe = np.meshgrid(axis, axis[axis.size // 4 : -axis.size // 4])

    def opacity(self, day: Day, u: Coords, v: Coords) -> tuple[Coords, Coords]:
        """Opacity of the cloud over each point and of the shadow on it, 0 to 1."""
        if day.cover == 0:
            return np.zeros_like(u), np.zeros_like(u)
        base = float(np.quantile(self._density(day, self._probe[0], self._probe[1]), 1 - day.cover))
        cloud = np.clip((self._density(day, u, v) - base) / 0.35, 0, 1)
        cast = np.clip((self._density(day, u - day.shadow_m[0], v - day.shadow_m[1]) - base) / 0.35, 0, 1)
        return cloud.astype(np.float32), np.where(cast > 0.3, cast, 0).astype(np.float32)

    def _density(self, day: Day, u: Coords, v: Coords) -> Coords:
        east, north = day.drift_m
        coarse = self._at(self._layers[0], (u + east) / _NODE_M, (v + north) / _NODE_M)
        return coarse + 0.5 * self._at(self._layers[1], (u + 2.3 * north) / _NODE_M, (v + 1.7 * east) / _NODE_M)

    @staticmethod
    def _at(layer: Coords, x: Coords, y: Coords) -> Coords:
        return np.asarray(map_coordinates(layer, (y, x), order=1, mode="grid-wrap"), np.float32)
