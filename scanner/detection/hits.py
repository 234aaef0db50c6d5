"""Hits and candidates: what the detector found, cell by cell, and the mines that the cells make."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from shapely.geometry.base import BaseGeometry

__all__ = [
    "VERDICTS",
    "Candidate",
    "Hit",
    "Impact",
    "Isolation",
    "Outline",
    "Provenance",
    "Registered",
    "Verdict",
    "Whereabouts",
]

Verdict = Literal["accepted", "no_ore", "below_isolated_threshold", "unobserved", "reviewed_false"]
Impact = Literal["high", "low", "unknown"]
Outline = Literal["cells", "delineated"]
Whereabouts = Literal["inside", "near", "outside"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""What can become of a cell; only accepted ones join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One cell with a verdict."""

    cell: str
    """Cell id, as `32633-27-02168-20933`; of an output pixel where a segmenter found it."""
    tile: str
    """Id of the tile that owns the cell."""
    lon: float
    """Degrees, the cell's centre."""
    lat: float
    """Degrees, the cell's centre."""
    score: float
    """Probability of the target class, 0 to 1; NaN where unobserved."""
    impact_high: float = math.nan
    """Probability, NaN without a judge."""
    impact_low: float = math.nan
    """Probability, NaN without a judge."""
    no_ore: float = math.nan
    """Probability, NaN without a judge."""
    clear_looks: int
    """Median over the cell's own pixels."""
    verdict: Verdict
    """Accepted, or the reason why not."""
    first_scene: str = ""
    """ISO date of the earliest scene behind the cell; empty when there is none."""
    last_scene: str = ""
    """ISO date of the latest one."""
    polygon: BaseGeometry
    """The cell clipped to its zone, degrees lon, lat."""
    scenes: tuple[str, ...] = ()
    """Ids of the scenes behind the cell's own pixels."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"cell {self.cell}: verdict {self.verdict!r}, expected one of {', '.join(VERDICTS)}")
        if not (-180 <= self.lon <= 180 and -90 <= self.lat <= 90):
            raise ValueError(f"cell {self.cell}: centre {self.lon}, {self.lat} is not degrees of longitude, latitude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The rule for hits that stand alone: they need more certainty."""

    k: int = 5
    """Which neighbour is asked for: the k-th nearest other hit."""
    distance_m: float = 3000.0
    """A hit whose k-th neighbour is farther than this is isolated."""
    threshold: float = 0.75
    """Score that an isolated hit must exceed or equal."""

    def __post_init__(self) -> None:
        if self.k < 1 or not self.distance_m > 0:
            raise ValueError(f"isolation k={self.k}, distance_m={self.distance_m}: both must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a whole scan's candidates share."""

    detector_sha256: str = ""
    """Of the detector's weights."""
    impact_sha256: str = ""
    """Of the judge's weights; empty without one."""
    delineator_sha256: str = ""
    """Of the delineator's weights; empty without one."""
    threshold: float = math.nan
    """Score at which a cell is a hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """How a candidate lies to one registry."""

    where: Whereabouts
    """Inside: polygon and register meet; near: within 1 km; else outside."""
    name: str
    """Of the nearest entry; empty when the registry is."""
    distance_m: float
    """From the candidate's polygon to that entry; NaN when the registry is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One candidate mine: connected accepted cells."""

    id: str
    """Stable from scan to scan, as `m-32633-27-02168-20933`."""
    lon: float
    """Degrees, 6 decimals, inside the polygon."""
    lat: float
    """Degrees, 6 decimals, inside the polygon."""
    score: float
    """Highest probability of its cells, 6 decimals."""
    mean_score: float
    """Mean over its cells, 6 decimals."""
    impact: Impact
    """The likelier of high and low."""
    impact_high: float
    """Mean over its cells; NaN without a judge."""
    impact_low: float
    """Mean over its cells; NaN without a judge."""
    no_ore: float
    """Mean over its cells; NaN without a judge."""
    area_m2: float
    """Geodesic area of the polygon, 0.1 m2."""
    cells_area_m2: float
    """Geodesic area of its cells, 0.1 m2: the same, unless the outline was delineated."""
    outline: Outline = "cells"
    """Whether the polygon is the union of its cells, or what a segmenter drew in and around them."""
    cells: int
    """How many accepted cells."""
    clear_looks: int
    """Median over its cells, half rounded up."""
    first_scene: str
    """ISO date."""
    last_scene: str
    """ISO date."""
    isolated: bool
    """Each of its cells has its k-th neighbour farther than the isolation distance."""
    tile: str
    """Id of the tile that owns the point."""
    polygon: BaseGeometry
    """Union of its cells, or its outline: degrees lon, lat, split at the antimeridian."""
    cell_ids: tuple[str, ...]
    """Its cells, best first (score, then id)."""
    scenes: tuple[str, ...] = ()
    """Ids of the scenes behind its cells, sorted."""
    provenance: Provenance = field(default_factory=Provenance)
    """Weights and threshold."""
    registries: Mapping[str, Registered] = field(default_factory=dict)
    """By the registry's name, in the order they were given."""
