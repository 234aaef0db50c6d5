"""The fixed grid of tiles, 9216 px squares of 10 m counted from a UTM zone's (easting 0, northing 0), and its pixels.

Zone pixels are counted eastward from easting 0 and southward from the equator, in both hemispheres. So are those of
the public granules: in southern zones, where the equator's northing of 10,000,000 m is no multiple of 60 m, their 60 m
pixels begin 40 m past one. Tiles and cells are counted from northing 0 all the same; they need not begin on 60 m
pixels.
"""

import re
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from tiling.window import Window

__all__ = [
    "ALIGN_PX",
    "GSD_M",
    "TILE_PX",
    "Tile",
    "TileId",
    "affine_of",
    "check_zone",
    "equator_m",
    "margin_for",
    "northing",
    "pixel_at",
    "row_of",
]

TILE_PX = 9216
"""Edge of a tile, px of 10 m."""
GSD_M = 10
"""Edge of a zone pixel, m."""
ALIGN_PX = 6
"""Read windows begin and end at multiples of this, so that they hold whole 20 m and 60 m pixels."""

_Rows = TypeVar("_Rows", int, float, NDArray[np.float64])

_TILE = re.compile(r"(\d{5})-(-?\d+)-(-?\d+)")


def check_zone(zone: int) -> None:
    """Refuse what is not the EPSG code of a UTM zone (32601 to 32660, 32701 to 32760).

    Raises:
        ValueError: any other number.
    """
    if zone // 100 not in (326, 327) or not 1 <= zone % 100 <= 60:
        raise ValueError(f"{zone} is not the EPSG code of a UTM zone; expected 32601 to 32660 or 32701 to 32760")


def equator_m(zone: int) -> int:
    """The northing (m) from which a zone's rows are counted southward: the equator's."""
    return 0 if zone < 32700 else 10_000_000


def northing(zone: int, y: _Rows, gsd_m: int = GSD_M) -> _Rows:
    """The northing (m) of the upper edge of row `y`, counted in pixels of `gsd_m`; y + 0.5 gives its middle."""
    return equator_m(zone) - y * gsd_m


def row_of(zone: int, n_m: float, gsd_m: int = GSD_M) -> float:
    """The row, in pixels of `gsd_m`, that has a northing (m) as its upper edge; whole where a row begins there."""
    return (equator_m(zone) - n_m) / gsd_m


def pixel_at(zone: int, e_m: float, n_m: float) -> tuple[int, int]:
    """(x, y) of the zone pixel that holds a point (UTM metres); west and north edges belong to it."""
    return int(e_m // GSD_M), int((equator_m(zone) - n_m) // GSD_M)


def affine_of(zone: int, window: Window, gsd_m: int = GSD_M) -> Affine:
    """The affine transform (pixel to UTM metres) of a window counted in pixels of `gsd_m`."""
    return Affine(gsd_m, 0, window.x0 * gsd_m, 0, -gsd_m, northing(zone, window.y0, gsd_m))


def margin_for(stride_px: int, halo_px: int) -> int:
    """The smallest multiple of 6 px with which a tile reads all its cells need: halo and half a cell.

    A cell whose centre lies in the tile reaches at most half a stride beyond it.
    """
    return -(-(halo_px - (-stride_px // 2)) // ALIGN_PX) * ALIGN_PX


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TileId:
    """The name of a tile: `32723-004-081` is zone, column, row."""

    zone: int
    """EPSG code of the UTM zone."""
    column: int
    """floor(easting / 92160 m), eastward."""
    row: int
    """floor(northing / 92160 m), northward."""

    def __post_init__(self) -> None:
        check_zone(self.zone)

    def __str__(self) -> str:
        return f"{self.zone}-{self.column:03d}-{self.row:03d}"

    @classmethod
    def parse(cls, text: str) -> "TileId":
        """The id that `str` wrote.

        Raises:
            ValueError: the text is no tile id.
        """
        match = _TILE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a tile id; expected zone-column-row such as 32723-004-081")
        zone, column, row = map(int, match.groups())
        return cls(zone=zone, column=column, row=row)

    @classmethod
    def holding(cls, zone: int, e_m: float, n_m: float) -> "TileId":
        """The tile of `zone` that a point (UTM metres) lies in."""
        edge_m = TILE_PX * GSD_M
        return cls(zone=zone, column=int(e_m // edge_m), row=int(n_m // edge_m))

    @property
    def window(self) -> Window:
        """The tile's own pixels."""
        x0, y1 = self.column * TILE_PX, equator_m(self.zone) // GSD_M - self.row * TILE_PX
        return Window(x0=x0, y0=y1 - TILE_PX, x1=x0 + TILE_PX, y1=y1)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Tile:
    """A tile with the margin it reads, so that no tile needs its neighbour."""

    id: TileId
    """Which tile."""
    margin_px: int
    """Pixels read beyond the core on every side, at least; a multiple of 6."""

    def __post_init__(self) -> None:
        if self.margin_px < 0 or self.margin_px % ALIGN_PX:
            raise ValueError(f"tile {self.id}: a margin must be a multiple of {ALIGN_PX} px, got {self.margin_px}")

    @property
    def core(self) -> Window:
        """The tile's own pixels."""
        return self.id.window

    @property
    def read(self) -> Window:
        """Core and margin, grown to whole 60 m pixels: only in southern zones, where cores do not begin on them."""
        return self.core.buffer(self.margin_px).at(ALIGN_PX).times(ALIGN_PX)

    def geobox(self, gsd_m: int = GSD_M) -> GeoBox:
        """The geobox of `read` at a pixel size of 10, 20, 30 or 60 m."""
        window = self.read.at(_factor(gsd_m))
        return GeoBox(window.shape, affine_of(self.id.zone, window, gsd_m), f"EPSG:{self.id.zone}")

    def transform(self, window: Window, gsd_m: int = GSD_M) -> Affine:
        """The affine of a window of zone pixels (10 m) once rounded outward to pixels of `gsd_m`."""
        return affine_of(self.id.zone, window.at(_factor(gsd_m)), gsd_m)


def _factor(gsd_m: int) -> int:
    factor, rest = divmod(gsd_m, GSD_M)
    if rest or factor < 1 or ALIGN_PX % factor:
        raise ValueError(f"a pixel of {gsd_m} m does not fit the grid; expected 10, 20, 30 or 60 m")
    return factor
