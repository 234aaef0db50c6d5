"""Cells: squares of `stride` pixels on one lattice per zone, and which of them a scan judges."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from tiling.grid import GSD_M, TILE_PX, Tile, TileId, check_zone, equator_m, margin_for
from tiling.ownership import (
    explode,
    frame_of,
    ground_without_margin,
    lonlat,
    near_meridian,
    project_aoi,
    zone_ground,
    zones_of,
)
from tiling.window import Window

__all__ = ["CellId", "CellRange", "Lattice", "cell_areas", "judged", "tiles_meeting"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_CELL = re.compile(r"(\d{5})-(\d+)-(-?\d+)-(-?\d+)")
_BRANCH = 8
_CENTRAL_E_M = 500_000
_K0 = 0.9996
_WGS84_A_M = 6_378_137.0
_WGS84_E2 = 0.006694379990141317


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CellId:
    """The name of a cell: `32633-27-02168-20933` is zone, stride, column, row."""

    zone: int
    """EPSG code of the UTM zone."""
    stride_px: int
    """Edge of the cell, px of 10 m."""
    column: int
    """floor(easting / edge), eastward."""
    row: int
    """floor(northing / edge), northward."""

    def __str__(self) -> str:
        return f"{self.zone}-{self.stride_px}-{self.column:05d}-{self.row:05d}"

    @classmethod
    def parse(cls, text: str) -> "CellId":
        """The id that `str` wrote.

        Raises:
            ValueError: the text is no cell id.
        """
        match = _CELL.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a cell id; expected zone-stride-column-row such as 32633-27-02168-20933")
        zone, stride_px, column, row = map(int, match.groups())
        return cls(zone=zone, stride_px=stride_px, column=column, row=row)


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
        """The pixels the cells cover."""
        s, y = lattice.stride_px, lattice.anchor_y
        return Window(x0=self.column0 * s, y0=y - self.row1 * s, x1=self.column1 * s, y1=y - self.row0 * s)

    def slices_in(self, outer: "CellRange") -> tuple[slice, slice]:
        """(rows, columns) of these cells in an array over `outer`."""
        return _as_window(self).slices_in(_as_window(outer))


def _as_window(cells: CellRange) -> Window:
    return Window(x0=cells.column0, y0=-cells.row1, x1=cells.column1, y1=-cells.row0)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Lattice:
    """The cells of one size in one zone, anchored at easting 0, northing 0."""

    zone: int
    """EPSG code of the UTM zone."""
    stride_px: int
    """Edge of a cell, px of 10 m."""

    def __post_init__(self) -> None:
        check_zone(self.zone)
        if not 1 <= self.stride_px <= TILE_PX:
            raise ValueError(f"a stride must be 1 to {TILE_PX} px, got {self.stride_px}")

    @property
    def edge_m(self) -> int:
        """Edge of a cell, m."""
        return self.stride_px * GSD_M

    @property
    def anchor_y(self) -> int:
        """The row of zone pixels that begins at northing 0, where a row of cells does too."""
        return equator_m(self.zone) // GSD_M

    def phase_px(self, window: Window) -> tuple[int, int]:
        """Rows and columns of zone pixels from a window's upper left corner to the first line between cells."""
        return (self.anchor_y - window.y0) % self.stride_px, -window.x0 % self.stride_px

    def cell_at(self, e_m: float, n_m: float) -> CellId:
        """The cell that holds a point; west and south edges belong to it."""
        return self._id(int(e_m // self.edge_m), int(n_m // self.edge_m))

    def cell_in(self, cells: CellRange, row: int, column: int) -> CellId:
        """The cell at (row, column) of an array over `cells`."""
        return self._id(cells.column0 + column, cells.row1 - 1 - row)

    def _id(self, column: int, row: int) -> CellId:
        return CellId(zone=self.zone, stride_px=self.stride_px, column=column, row=row)

    def window(self, cell: CellId) -> Window:
        """The pixels of a cell."""
        return self._alone(cell).window(self)

    def _alone(self, cell: CellId) -> CellRange:
        if (cell.zone, cell.stride_px) != (self.zone, self.stride_px):
            raise ValueError(f"cell {cell} is not of the lattice {self.zone} with stride {self.stride_px}")
        return CellRange(column0=cell.column, column1=cell.column + 1, row0=cell.row, row1=cell.row + 1)

    def cells_of(self, tile: TileId) -> CellRange:
        """The cells a tile owns: those whose centre lies in it (west and south edges count, in integers)."""
        if tile.zone != self.zone:
            raise ValueError(f"tile {tile} is not of zone {self.zone}")
        column0, column1 = self._first(tile.column), self._first(tile.column + 1)
        return CellRange(column0=column0, column1=column1, row0=self._first(tile.row), row1=self._first(tile.row + 1))

    def _first(self, tile: int) -> int:
        """The first cell k with k * s + s / 2 >= tile * 9216."""
        return -((self.stride_px - 2 * tile * TILE_PX) // (2 * self.stride_px))

    def tile_of(self, cell: CellId) -> TileId:
        """The tile that owns a cell."""
        tile_px = 2 * TILE_PX
        column, row = ((2 * k + 1) * self.stride_px // tile_px for k in (cell.column, cell.row))
        return TileId(zone=self.zone, column=column, row=row)

    def centres_m(self, cells: CellRange) -> tuple[Floats, Floats]:
        """Eastings (columns,) and northings (rows,) of the cells' centres, in raster order."""
        e: Floats = (np.arange(cells.column0, cells.column1, dtype=np.float64) + 0.5) * self.edge_m
        n: Floats = (np.arange(cells.row1 - 1, cells.row0 - 1, -1, dtype=np.float64) + 0.5) * self.edge_m
        return e, n

    def transform(self, cells: CellRange) -> Affine:
        """The affine of a raster with one pixel a cell."""
        return Affine(self.edge_m, 0, cells.column0 * self.edge_m, 0, -self.edge_m, cells.row1 * self.edge_m)

    def box(self, cell: CellId) -> BaseGeometry:
        """The cell's square in UTM metres."""
        return frame_of(self.zone, self.window(cell))

    def polygon(self, cell: CellId) -> BaseGeometry:
        """The cell clipped to its zone's ground, in lon and lat within [-180, 180].

        The ground is that of `zone_ground`, a centimetre wider than the truth, so that the cells of two zones join.
        """
        ground = zone_ground(self.zone, self.window(cell))
        return shapely.transform(ground, lambda xy: np.column_stack(self._lonlat(xy)))

    def _lonlat(self, xy: Floats) -> tuple[Floats, Floats]:
        lon, lat = lonlat(self.zone, xy[:, 0], xy[:, 1])
        return np.clip(near_meridian(self.zone, lon), -180, 180), lat


def judged(lattice: Lattice, cells: CellRange, aoi_utm: BaseGeometry) -> Bools:
    """Which cells a scan judges: those whose square meets the AOI on the zone's ground. (rows, columns), raster order.

    Squares are half-open like everything here, so a point is in one cell alone. Points and lines meet what they touch.

    Args:
        lattice: the zone and the stride.
        cells: the cells asked about.
        aoi_utm: the AOI as `project_aoi` gives it, cut to a window or not.
    """
    window = cells.window(lattice)
    meets, _ = _sort(lattice, cells, _common(lattice.zone, zone_ground(lattice.zone, window), aoi_utm, window))
    return meets


def cell_areas(lattice: Lattice, cells: CellRange, mask: Bools, aoi_utm: BaseGeometry) -> Floats:
    """Geodesic km2 of the cells in `mask`, clipped to zone and AOI; 0 elsewhere. (rows, columns), raster order.

    A UTM area divided by the squared point scale at its middle is the area on the ellipsoid, to better than 1e-6 for
    cells up to 300 px: only cells that an edge crosses cost geometry.
    """
    window = cells.window(lattice)
    target = _common(lattice.zone, ground_without_margin(lattice.zone, window), aoi_utm, window)
    meets, whole = _sort(lattice, cells, target)
    e, n = lattice.centres_m(cells)
    areas = np.where(mask & whole, lattice.edge_m**2 / _point_scale(lattice.zone, e, n[:, None]) ** 2, 0.0)
    rows, columns = np.nonzero(mask & meets & ~whole)
    if len(rows):
        clipped = shapely.intersection(_boxes(lattice, cells, rows, columns, 1), target)
        middle = shapely.centroid(clipped)
        some = shapely.area(clipped) > 0
        rows, columns, clipped, middle = rows[some], columns[some], clipped[some], middle[some]
        scale = _point_scale(lattice.zone, shapely.get_x(middle), shapely.get_y(middle))
        areas[rows, columns] = shapely.area(clipped) / scale**2
    return areas / 1e6


def tiles_meeting(aoi: BaseGeometry, *, stride_px: int, halo_px: int) -> tuple[Tile, ...]:
    """The tiles that own at least one judged cell of an AOI (lon, lat), sorted by id, with the margin the halo asks.

    Raises:
        OutsideGridError: the AOI reaches beyond the UTM grid.
        ValueError: it is not a valid geometry.
    """
    margin_px = margin_for(stride_px, halo_px)
    tiles: list[TileId] = []
    for zone in zones_of(aoi):
        lattice = Lattice(zone=zone, stride_px=stride_px)
        tiles += _tiles_in_zone(lattice, project_aoi(aoi, zone))
    return tuple(Tile(id=tile, margin_px=margin_px) for tile in sorted(tiles))


def _tiles_in_zone(lattice: Lattice, aoi_utm: BaseGeometry) -> list[TileId]:
    if shapely.is_empty(aoi_utm):
        return []
    # Half a stride beyond the bounds: a tile's cells reach that far out of it.
    half_m = lattice.edge_m / 2
    west, south, east, north = shapely.bounds(aoi_utm)
    low = TileId.holding(lattice.zone, west - half_m, south - half_m)
    high = TileId.holding(lattice.zone, east + half_m, north + half_m)
    candidates = [
        TileId(zone=lattice.zone, column=column, row=row)
        for column in range(low.column, high.column + 1)
        for row in range(low.row, high.row + 1)
    ]
    ranges = [lattice.cells_of(tile) for tile in candidates]
    boxes = np.array([_half_open(*frame_of(lattice.zone, cells.window(lattice)).bounds) for cells in ranges])
    # A copy: preparing changes a geometry, and this one is cached and shared between threads.
    aoi_utm = shapely.force_2d(aoi_utm)
    shapely.prepare(aoi_utm)
    near = shapely.intersects(aoi_utm, boxes)
    inside = shapely.contains(aoi_utm, boxes)
    found = []
    for i in np.nonzero(near)[0]:
        window = ranges[i].window(lattice)
        ground = zone_ground(lattice.zone, window)
        target = ground if inside[i] else _common(lattice.zone, ground, aoi_utm, window)
        if shapely.intersects(target, boxes[i]):
            found.append(candidates[i])
    return found


def _common(zone: int, ground: BaseGeometry, aoi_utm: BaseGeometry, window: Window) -> BaseGeometry:
    """Ground that is in the AOI, inside the window."""
    frame = frame_of(zone, window)
    if shapely.contains(aoi_utm, frame):
        return ground
    local = shapely.intersection(aoi_utm, frame)
    if shapely.equals(ground, frame):
        return local
    # One dimension at a time: an overlay of mixed dimensions keeps only what the highest leaves over.
    parts = explode(local)
    kinds = shapely.get_dimensions(parts)
    pieces = [shapely.intersection(shapely.union_all(parts[kinds == kind]), ground) for kind in np.unique(kinds)]
    return shapely.GeometryCollection(explode(shapely.GeometryCollection(pieces)).tolist())


def _sort(lattice: Lattice, cells: CellRange, target: BaseGeometry) -> tuple[Bools, Bools]:
    """(cells that meet the target, cells wholly inside it).

    From large blocks to single cells: only blocks that an edge of the target crosses are looked into.
    """
    meets, whole = np.zeros(cells.shape, dtype=bool), np.zeros(cells.shape, dtype=bool)
    parts = explode(target)
    kinds = shapely.get_dimensions(parts)
    for kind in np.unique(kinds):
        simple = shapely.union_all(parts[kinds == kind])
        shapely.prepare(simple)
        _descend(lattice, cells, simple, (meets, whole))
    return meets, whole


def _descend(lattice: Lattice, cells: CellRange, target: BaseGeometry, found: tuple[Bools, Bools]) -> None:
    step = 1
    while step < max(cells.shape):
        step *= _BRANCH
    rows = columns = np.zeros(1, dtype=np.int64)
    while True:
        boxes = _boxes(lattice, cells, rows, columns, step)
        some = shapely.intersects(target, boxes)
        full = np.zeros(len(boxes), dtype=bool)
        full[some] = shapely.covers(target, boxes[some])
        for row, column in zip(rows[full], columns[full], strict=True):
            for flags in found:
                flags[row : row + step, column : column + step] = True
        if step == 1:
            found[0][rows[some], columns[some]] = True
            return
        step //= _BRANCH
        rows, columns = _children(rows[some & ~full], columns[some & ~full], step, cells.shape)


def _children(rows: Ints, columns: Ints, step: int, shape: tuple[int, int]) -> tuple[Ints, Ints]:
    offsets = np.arange(_BRANCH) * step
    grid = np.broadcast_arrays(rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets)
    flat_rows, flat_columns = (axis.ravel() for axis in grid)
    keep = (flat_rows < shape[0]) & (flat_columns < shape[1])
    return flat_rows[keep], flat_columns[keep]


def _boxes(lattice: Lattice, cells: CellRange, rows: Ints, columns: Ints, step: int) -> npt.NDArray[Any]:
    """Squares of step x step cells (fewer at the range's ends) as half-open boxes in UTM metres."""
    edge_m = lattice.edge_m
    west = (cells.column0 + columns) * edge_m
    east = np.minimum(cells.column0 + columns + step, cells.column1) * edge_m
    north = (cells.row1 - rows) * edge_m
    south = np.maximum(cells.row1 - rows - step, cells.row0) * edge_m
    boxes: npt.NDArray[Any] = _half_open(west, south, east, north)
    return boxes


def _half_open(west: npt.ArrayLike, south: npt.ArrayLike, east: npt.ArrayLike, north: npt.ArrayLike) -> Any:
    """Boxes without their east and north edges: those end at the number before."""
    return shapely.box(
        west, south, np.nextafter(np.asarray(east, float), -np.inf), np.nextafter(np.asarray(north, float), -np.inf)
    )


def _point_scale(zone: int, e_m: npt.ArrayLike, n_m: npt.ArrayLike) -> Floats:
    """UTM's scale at points (m), by Redfearn's series to the fourth order: good to 1e-8 within six degrees."""
    e, n = np.asarray(e_m, dtype=np.float64), np.asarray(n_m, dtype=np.float64)
    _, footpoint = lonlat(zone, np.full(n.shape, _CENTRAL_E_M, dtype=np.float64), n)
    square = 1 - _WGS84_E2 * np.sin(np.radians(footpoint)) ** 2
    # The product of the two radii of curvature, meridian and prime vertical.
    radii = _WGS84_A_M**2 * (1 - _WGS84_E2) / square**2
    ratio = ((e - _CENTRAL_E_M) / _K0) ** 2 / radii
    scale: Floats = _K0 * (1 + ratio / 2 + ratio**2 / 24)
    return scale
