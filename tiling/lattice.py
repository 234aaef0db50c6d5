"""Cells: squares of `stride` pixels, or parts of a pixel, on one lattice per zone."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from tiling.grid import GSD_M, TILE_PX, TileId, check_zone, equator_m
from tiling.ownership import frame_of, lonlat, near_meridian, zone_ground
from tiling.window import Window

__all__ = ["CellId", "CellRange", "Lattice"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Geometries = npt.NDArray[Any]

_CELL = re.compile(r"(\d{5})-(\d+)(?:by(\d+))?-(-?\d+)-(-?\d+)")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CellId:
    """The name of a cell: `32633-27-02168-20933` is zone, stride, column, row.

    Where a pixel holds several cells, `32633-1by4-234144-2260764`, the stride is followed by how many an edge.
    """

    zone: int
    """EPSG code of the UTM zone."""
    stride_px: int
    """Edge of the cell, px of 10 m."""
    finer: int = 1
    """Cells along that edge: 1, or more where they are parts of a pixel."""
    column: int
    """floor(easting / edge), eastward."""
    row: int
    """floor(northing / edge), northward."""

    def __str__(self) -> str:
        size = f"{self.stride_px}by{self.finer}" if self.finer > 1 else str(self.stride_px)
        return f"{self.zone}-{size}-{self.column:05d}-{self.row:05d}"

    @classmethod
    def parse(cls, text: str) -> "CellId":
        """The id that `str` wrote.

        Raises:
            ValueError: the text is no cell id.
        """
        match = _CELL.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a cell id; expected zone-stride-column-row such as 32633-27-02168-20933")
        zone, stride_px, finer, column, row = (int(number or 1) for number in match.groups())
        return cls(zone=zone, stride_px=stride_px, finer=finer, column=column, row=row)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CellRange:
    """A block of cells, half-open, never empty. Arrays over it are in raster order: row 0 is the northernmost."""

    column0: int
    """First column, eastward."""
    column1: int
    """One past the last column."""
    row0: int
    """First (southernmost) row, northward."""
    row1: int
    """One past the last (northernmost) row."""

    def __post_init__(self) -> None:
        if self.column0 >= self.column1 or self.row0 >= self.row1:
            raise ValueError(f"a cell range needs at least one cell, got {self}")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.row1 - self.row0, self.column1 - self.column0

    def window(self, lattice: "Lattice") -> Window:
        """The pixels the cells cover, rounded outward to whole ones."""
        s, f, y = lattice.stride_px, lattice.finer, lattice.anchor_y
        return Window(
            x0=self.column0 * s // f, y0=y + (-self.row1 * s) // f,
            x1=-(-self.column1 * s // f), y1=y - self.row0 * s // f,
        )  # fmt: skip

    def slices_in(self, outer: "CellRange") -> tuple[slice, slice]:
        """(rows, columns) of these cells in an array over `outer`."""
        return _as_window(self).slices_in(_as_window(outer))

    def part(self, rows: slice, columns: slice) -> "CellRange":
        """The cells at these rows and columns of an array over the range."""
        return CellRange(
            column0=self.column0 + columns.start, column1=self.column0 + columns.stop,
            row0=self.row1 - rows.stop, row1=self.row1 - rows.start,
        )  # fmt: skip


def _as_window(cells: CellRange) -> Window:
    return Window(x0=cells.column0, y0=-cells.row1, x1=cells.column1, y1=-cells.row0)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Lattice:
    """The cells of one size in one zone, anchored at easting 0, northing 0."""

    zone: int
    """EPSG code of the UTM zone."""
    stride_px: int
    """Edge of a cell, px of 10 m."""
    finer: int = 1
    """Cells along an edge of `stride_px`: above 1 for parts of a pixel, whose stride is 1."""

    def __post_init__(self) -> None:
        check_zone(self.zone)
        if not 1 <= self.stride_px <= TILE_PX:
            raise ValueError(f"a stride must be 1 to {TILE_PX} px, got {self.stride_px}")
        if self.finer < 1 or (self.finer > 1 and self.stride_px > 1):
            raise ValueError(f"only pixels have parts: got {self.finer} by stride {self.stride_px}")

    @property
    def edge_m(self) -> float:
        """Edge of a cell, m."""
        return self.stride_px * GSD_M / self.finer

    @property
    def anchor_y(self) -> int:
        """The row of zone pixels that begins at northing 0, where a row of cells does too."""
        return equator_m(self.zone) // GSD_M

    def phase_px(self, window: Window) -> tuple[int, int]:
        """Rows and columns of zone pixels from a window's upper left corner to the first line between cells."""
        return (self.anchor_y - window.y0) % self.stride_px, -window.x0 % self.stride_px

    def metres(self, cells: Any) -> Any:
        """Where a column or row begins, m from the origin: exact wherever a float can be."""
        return cells * (self.stride_px * GSD_M) / self.finer

    def cell_at(self, e_m: float, n_m: float) -> CellId:
        """The cell that holds a point; west and south edges belong to it."""
        step_m = self.stride_px * GSD_M
        return self._id(int(e_m * self.finer // step_m), int(n_m * self.finer // step_m))

    def cell_in(self, cells: CellRange, row: int, column: int) -> CellId:
        """The cell at (row, column) of an array over `cells`."""
        return self._id(cells.column0 + column, cells.row1 - 1 - row)

    def _id(self, column: int, row: int) -> CellId:
        return CellId(zone=self.zone, stride_px=self.stride_px, finer=self.finer, column=column, row=row)

    def window(self, cell: CellId) -> Window:
        """The pixels of a cell; the one it is a part of."""
        return self._alone(cell).window(self)

    def _alone(self, cell: CellId) -> CellRange:
        if (cell.zone, cell.stride_px, cell.finer) != (self.zone, self.stride_px, self.finer):
            raise ValueError(f"cell {cell} is not of the lattice {self.zone} with stride {self.stride_px}")
        return CellRange(column0=cell.column, column1=cell.column + 1, row0=cell.row, row1=cell.row + 1)

    def covering(self, window: Window) -> CellRange:
        """The cells that meet a window of zone pixels."""
        s, f, y = self.stride_px, self.finer, self.anchor_y
        return CellRange(
            column0=window.x0 * f // s, column1=-(-window.x1 * f // s),
            row0=(y - window.y1) * f // s, row1=-(-(y - window.y0) * f // s),
        )  # fmt: skip

    def cells_of(self, tile: TileId) -> CellRange:
        """The cells a tile owns: those whose centre lies in it (west and south edges count, in integers)."""
        if tile.zone != self.zone:
            raise ValueError(f"tile {tile} is not of zone {self.zone}")
        column0, column1 = self._first(tile.column), self._first(tile.column + 1)
        return CellRange(column0=column0, column1=column1, row0=self._first(tile.row), row1=self._first(tile.row + 1))

    def _first(self, tile: int) -> int:
        """The first cell k with (k + 1/2) * s / finer >= tile * 9216."""
        return -((self.stride_px - 2 * tile * TILE_PX * self.finer) // (2 * self.stride_px))

    def tile_of(self, cell: CellId) -> TileId:
        """The tile that owns a cell."""
        tile_px = 2 * TILE_PX * self.finer
        column, row = ((2 * k + 1) * self.stride_px // tile_px for k in (cell.column, cell.row))
        return TileId(zone=self.zone, column=column, row=row)

    def centres_m(self, cells: CellRange) -> tuple[Floats, Floats]:
        """Eastings (columns,) and northings (rows,) of the cells' centres, in raster order."""
        e: Floats = self.metres(np.arange(cells.column0, cells.column1, dtype=np.float64) + 0.5)
        n: Floats = self.metres(np.arange(cells.row1 - 1, cells.row0 - 1, -1, dtype=np.float64) + 0.5)
        return e, n

    def transform(self, cells: CellRange) -> Affine:
        """The affine of a raster with one pixel a cell."""
        return Affine(self.edge_m, 0, self.metres(cells.column0), 0, -self.edge_m, self.metres(cells.row1))

    def box(self, cell: CellId) -> BaseGeometry:
        """The cell's square in UTM metres."""
        return self.boxes(self._alone(cell), np.zeros(1, np.int64), np.zeros(1, np.int64))[0]

    def boxes(self, cells: CellRange, rows: Ints, columns: Ints) -> Geometries:
        """The squares, in UTM metres, of the cells at these rows and columns of an array over `cells`."""
        west, south = cells.column0 + columns, cells.row1 - 1 - rows
        edges = (self.metres(edge) for edge in (west, south, west + 1, south + 1))
        squares: Geometries = shapely.box(*edges)
        return squares

    def polygon(self, cell: CellId) -> BaseGeometry:
        """The cell clipped to its zone's ground, in lon and lat within [-180, 180].

        The ground is that of `zone_ground`, a centimetre wider than the truth, so that the cells of two zones join.
        """
        return self.polygons(self._alone(cell), np.zeros(1, np.int64), np.zeros(1, np.int64))[0]

    def polygons(self, cells: CellRange, rows: Ints, columns: Ints) -> Geometries:
        """`polygon` of the cells at these rows and columns of an array over `cells`."""
        boxes = self.boxes(cells, rows, columns)
        frame = cells.window(self)
        ground = zone_ground(self.zone, frame)
        if not shapely.equals(ground, frame_of(self.zone, frame)):
            ground = shapely.force_2d(ground)  # a copy: preparing changes it, and this one is cached for all threads
            shapely.prepare(ground)
            cut = ~shapely.covers(ground, boxes)
            near = [zone_ground(self.zone, self.window(self.cell_in(cells, row, column)))
                    for row, column in zip(rows[cut].tolist(), columns[cut].tolist(), strict=True)]  # fmt: skip
            boxes[cut] = shapely.intersection(boxes[cut], near)
        drawn: Geometries = shapely.transform(boxes, lambda xy: np.column_stack(self._lonlat(xy)))
        return drawn

    def _lonlat(self, xy: Floats) -> tuple[Floats, Floats]:
        lon, lat = lonlat(self.zone, xy[:, 0], xy[:, 1])
        return np.clip(near_meridian(self.zone, lon), -180, 180), lat
