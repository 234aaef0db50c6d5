"""What a scan found against what was planted."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import shapely

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Comparison", "Planted", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One planted mine and what became of it."""

    id: str
    """As in the truth."""
    kind: str
    """high or low."""
    size_m: int
    """Its largest extent, metres."""
    always_cloud: bool
    """Whether the scene classification always calls it cloud."""
    on_edge: str
    """Edges it lies astride, comma between."""
    candidates: tuple[str, ...]
    """Ids of the candidates that meet it, best score first; none when it was missed."""
    score: float
    """Best score of those; 0 when it was missed."""
    impact: str
    """What the best of those says of its impact; empty when it was missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Planted mines, and the candidates that meet none."""

    planted: tuple[Planted, ...]
    """One row a mine, in the truth's order."""
    false: tuple[tuple[str, str], ...]
    """Id of each candidate that meets no mine, and the kind of decoy it meets, or `ground`."""
    candidates: int
    """How many candidates there are."""

    @property
    def found(self) -> int:
        """Planted mines that some candidate meets."""
        return sum(bool(row.candidates) for row in self.planted)

    @property
    def good(self) -> bool:
        """Whether nine of ten mines are found and at most one candidate in ten is false."""
        return 10 * self.found >= 9 * len(self.planted) and 10 * len(self.false) <= self.candidates

    def table(self) -> str:
        """A line a mine, a line a false candidate, and the sums, for a terminal."""
        lines = [
            f"{'planted':9} {'kind':5} {'size m':>6}  {'astride':22} {'called cloud':12} {'score':>5}  {'impact':8} by"
        ]
        lines += [
            f"{row.id:9} {row.kind:5} {row.size_m:6d}  {row.on_edge or '-':22} {'yes' if row.always_cloud else '-':12} "
            + (f"{row.score:5.2f}  {row.impact:8} {' '.join(row.candidates)}" if row.candidates else "MISSED")
            for row in self.planted
        ]
        lines += [f"false candidate {name}: {what}" for name, what in self.false]
        right = sum(row.impact == row.kind for row in self.planted if row.candidates)
        lines.append(
            f"found {self.found} of {len(self.planted)} planted mines ({right} with the right impact); "
            f"{len(self.false)} of {self.candidates} candidates are false"
        )
        return "\n".join(lines)


def compare(truth: Path, candidates: "gpd.GeoDataFrame") -> Comparison:
    """Holds candidates against the planted: a mine is found when a candidate's polygon meets it, by any area.

    A candidate is false when it meets no mine, however near. `candidates` has the columns of `candidates.parquet` and
    polygons in EPSG:4326.
    """
    import geopandas as gpd  # noqa: PLC0415

    sites = gpd.read_file(truth)
    mines = sites[sites["kind"] != "decoy"]
    ranked = candidates.sort_values(["score", "id"], ascending=[False, True])
    outlines = ranked.geometry.to_numpy()
    planted = []
    for row in mines.itertuples():
        met = ranked[shapely.intersects(outlines, row.geometry)]
        best = met.iloc[0] if len(met) else None
        planted.append(
            Planted(
                id=row.id, kind=row.kind, size_m=int(row.size_m), always_cloud=bool(row.always_cloud),
                on_edge=row.on_edge or "", candidates=tuple(str(name) for name in met["id"]),
                score=0.0 if best is None else float(best["score"]),
                impact="" if best is None else str(best["impact"]),
            )
        )  # fmt: skip
    known = {name for row in planted for name in row.candidates}
    false = [
        (str(row.id), _what(row.geometry, sites)) for row in ranked.itertuples() if str(row.id) not in known
    ]  # fmt: skip
    return Comparison(planted=tuple(planted), false=tuple(false), candidates=len(ranked))


def _what(outline: shapely.Geometry, sites: "gpd.GeoDataFrame") -> str:
    """The decoy under a false candidate."""
    met = sites[shapely.intersects(sites.geometry.to_numpy(), outline)]
    return ", ".join(sorted(set(met["what"]))) or "ground"
