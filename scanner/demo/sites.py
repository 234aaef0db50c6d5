"""What is planted where: mines astride the edges that bite, mines anywhere, and look-alikes without ore."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from scanner.demo.plane import CORNER_M, ZONES, to_plane

__all__ = ["RegionSpec", "Site", "plant"]

_MINE_SIZES_M: Final = (1060, 600, 450, 500, 1200, 250, 700, 200, 350, 1000, 300, 550)
_CLOUD_CALLED_FIRST: Final = (3, 6)
_DECOYS: Final = (
    "pond", "cleared", "town", "bare_field", "lake", "pond", "bare_field", "cleared", "pond", "lake",
)  # fmt: skip
_DECOY_RADIUS_M: Final = {
    "pond": (40, 110), "cleared": (110, 260), "town": (380, 750), "bare_field": (150, 320), "lake": (140, 420),
}  # fmt: skip
_MINE_GAP_M: Final = 1100.0
_TRIES: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSpec:
    """How large a synthetic region is and what it holds.

    Raises:
        ValueError: a number is out of its range.
    """

    size_px: int = 1200
    """Edge of each of the two granules, 10 m pixels, a multiple of 6."""
    dates: int = 14
    """Sensing dates, at least 2: both sides of the baseline change."""
    mines: int = 12
    """Mines planted. The first four lie on a tile corner and the zone edge, the zone edge, and two tile edges."""
    decoys: int = 24
    """Look-alikes without ore, as many as find room."""
    cloud_called: int = 2
    """How many of the mines the scene classification always calls cloud."""

    def __post_init__(self) -> None:
        if self.size_px % 6 or self.size_px < 240:
            raise ValueError(f"size_px must be a multiple of 6 from 240, got {self.size_px}")
        if self.dates < 2 or self.mines < 0 or self.decoys < 0 or not 0 <= self.cloud_called <= self.mines:
            raise ValueError(f"a region needs dates >= 2 and cloud_called <= mines, got {self}")

    @property
    def reach_m(self) -> float:
        """How far a granule reaches past the zone edge into the other zone, metres: they overlap by twice that."""
        return self.size_px * 1.25

    @property
    def half_width_m(self) -> float:
        """Half the width of the searched area, metres: a cell's window fits between it and the granules' border."""
        return self.size_px * 10 - self.reach_m - self._inset_m

    @property
    def half_height_m(self) -> float:
        """Half the height of the searched area, metres."""
        return self.size_px * 5 - self._inset_m

    @property
    def _inset_m(self) -> float:
        return min(1150.0, self.size_px * 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One planted thing, in the plane."""

    id: str
    """Unique in its region."""
    kind: Literal["high", "low", "decoy"]
    """A mine of high or low impact, or a look-alike."""
    what: str
    """metal_mine, quarry, or the kind of decoy."""
    u_m: float
    """Centre, metres east of the plane's origin."""
    v_m: float
    """Centre, metres north of the plane's origin."""
    radius_m: float
    """Half its largest extent, metres."""
    turn: float
    """Orientation, radians."""
    always_cloud: bool = False
    """Whether the scene classification calls its bare ground cloud on every date."""


def plant(seed: int, spec: RegionSpec) -> tuple[Site, ...]:
    """Mines first, then decoys where there is room: the same for the same seed and spec.

    Raises:
        ValueError: the region is too small for its mines.
    """
    rng = np.random.default_rng([seed, 1])
    mines = _mines(spec, rng)
    return (*mines, *_decoys(spec, rng, mines))


def _mines(spec: RegionSpec, rng: np.random.Generator) -> list[Site]:
    mines: list[Site] = []
    order = (*_CLOUD_CALLED_FIRST, *range(spec.mines))
    called = list(dict.fromkeys(index for index in order if index < spec.mines))[: spec.cloud_called]
    pinned = _pinned(spec)
    swap = int(rng.integers(2))
    for index in range(spec.mines):
        size_m = _MINE_SIZES_M[index % len(_MINE_SIZES_M)] * rng.uniform(0.92, 1.08)
        radius = float(np.clip(size_m, 200, max(200.0, 2.8 * spec.size_px))) / 2
        place = pinned[index] if index < len(pinned) else None
        if place is None or not _free(place, radius, mines, spec):
            place = _room(rng, radius, mines, spec)
        if place is None:
            raise ValueError(f"no room for {spec.mines} mines in granules of {spec.size_px} px: plant fewer")
        high = (index + swap) % 2 == 0
        # The first lies along the line from the zone edge to the tile corner, to cover both ends.
        turn = float(rng.uniform(0, 2 * np.pi) if index else rng.uniform(-0.15, 0.15))
        mines.append(
            Site(id=f"mine-{index:02d}", kind="high" if high else "low", what="metal_mine" if high else "quarry",
                 u_m=place[0], v_m=place[1], radius_m=radius, turn=turn,
                 always_cloud=index in called)
        )  # fmt: skip
    return mines


def _decoys(spec: RegionSpec, rng: np.random.Generator, mines: list[Site]) -> list[Site]:
    decoys: list[Site] = []
    for index in range(spec.decoys):
        what = _DECOYS[index % len(_DECOYS)]
        radius = float(rng.uniform(*_DECOY_RADIUS_M[what]))
        place = _room(rng, radius, [*mines, *decoys], spec, decoy=True)
        if place is not None:
            decoys.append(
                Site(id=f"decoy-{index:02d}", kind="decoy", what=what, u_m=place[0], v_m=place[1], radius_m=radius,
                     turn=float(rng.uniform(0, 2 * np.pi)))
            )  # fmt: skip
    return decoys


def _pinned(spec: RegionSpec) -> list[tuple[float, float]]:
    """Plane points of the corner (half way to the zone edge), the zone edge, and a row's and a column's tile edge."""
    east, north = CORNER_M
    points_e = np.array([east, east + 0.6 * spec.half_width_m, east])
    points_n = np.array([north, north, north + 0.55 * spec.half_height_m])
    u, v = to_plane(ZONES[1], points_e, points_n)
    corner, row, column = zip(u.tolist(), v.tolist(), strict=True)
    return [(corner[0] / 2, corner[1]), (0.0, -0.58 * spec.half_height_m), row, column]


def _free(
    place: tuple[float, float], radius: float, sites: list[Site], spec: RegionSpec, *, decoy: bool = False
) -> bool:
    u, v = place
    if abs(u) > spec.half_width_m - radius or abs(v) > spec.half_height_m - radius:
        return False
    for site in sites:
        gap = (150.0 if site.kind == "decoy" else 500.0) if decoy else _MINE_GAP_M
        if np.hypot(u - site.u_m, v - site.v_m) < radius + site.radius_m + gap:
            return False
    return True


def _room(
    rng: np.random.Generator, radius: float, sites: list[Site], spec: RegionSpec, *, decoy: bool = False
) -> tuple[float, float] | None:
    """A free place, or None after many tries."""
    half = np.array([spec.half_width_m, spec.half_height_m]) - radius
    if (half <= 0).any():
        return None
    for place in rng.uniform(-half, half, (_TRIES // (10 if decoy else 1), 2)):
        if _free((float(place[0]), float(place[1])), radius, sites, spec, decoy=decoy):
            return float(place[0]), float(place[1])
    return None
