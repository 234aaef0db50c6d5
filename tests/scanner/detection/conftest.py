"""Hits on real lattices."""

from collections.abc import Callable

import pytest
import shapely

from scanner.detection.hits import Hit
from tiling import CellId, Lattice, TileId, lonlat


@pytest.fixture(scope="session")
def make_hit() -> Callable[..., Hit]:
    """A hit on the cell of a zone's 27 px lattice, with its true centre and clipped polygon."""

    def make(zone: int, column: int, row: int, score: float = 0.9, **others: object) -> Hit:
        lattice, cell = Lattice(zone=zone, stride_px=27), CellId(zone=zone, stride_px=27, column=column, row=row)
        centre = shapely.centroid(lattice.box(cell))
        lon, lat = lonlat(zone, centre.x, centre.y)
        defaults = {"clear_looks": 5, "verdict": "accepted", "polygon": lattice.polygon(cell)}
        tile = TileId(zone=zone, column=int(centre.x // 92160), row=int(centre.y // 92160))
        return Hit(cell=str(cell), tile=str(tile), lon=lon, lat=lat, score=score, **{**defaults, **others})

    return make
