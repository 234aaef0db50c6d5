"""Which cells a scan judges, how much ground they are, and which tiles own them."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from tiling.grid import Tile, TileId, margin_for
from tiling.lattice import CellRange, Lattice
from tiling.ownership import explode, frame_of, ground_without_margin, lonlat, project_aoi, zone_ground, zones_of
from tiling.window import Window

__all__ = ["Ground", "cell_areas", "judged", "tiles_meeting"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_BRANCH = 8
_CENTRAL_E_M = 500_000
_K0 = 0.9996
_WGS84_A_M = 6_378_137.0
_WGS84_E2 = 0.006694379990141317


class Ground:
    """What of an AOI lies on a zone's ground in a window: asked for any cells in it, as often as a tile has parts."""

    def __init__(self, zone: int, window: Window, aoi_utm: BaseGeometry) -> None:
        """Nothing is computed before it is asked for.

        Args:
            zone: EPSG code of the UTM zone.
            window: zone pixels; cells asked for lie in it.
            aoi_utm: the AOI as `project_aoi` gives it, cut to a window or not.
        """
        self._zone, self._window, self._aoi_utm = zone, window, aoi_utm

    @cached_property
    def _judged(self) -> tuple[BaseGeometry, ...]:
        return _simple(_common(self._zone, zone_ground(self._zone, self._window), self._aoi_utm, self._window))

    @cached_property
    def _measured(self) -> BaseGeometry:
        ground = ground_without_margin(self._zone, self._window)
        return _common(self._zone, ground, self._aoi_utm, self._window)

    @cached_property
    def _measured_parts(self) -> tuple[BaseGeometry, ...]:
        return _simple(self._measured)

    def judged(self, lattice: Lattice, cells: CellRange) -> Bools:
        """Which cells a scan judges: those whose square meets the AOI on the zone's ground. Raster order.

        Squares are half-open like everything here, so a point is in one cell alone. Points and lines meet what they
        touch.
        """
        meets, _ = _sort(lattice, cells, self._judged)
        return meets

    def count(self, lattice: Lattice, cells: CellRange) -> int:
        """How many cells are judged, without a grid of them."""
        total = 0
        for rows, columns, step, _ in _blocks(lattice, cells, self._judged):
            high, wide = (
                np.minimum(step, size - first) for size, first in zip(cells.shape, (rows, columns), strict=True)
            )
            total += int((high * wide).sum())
        return total

    def areas(self, lattice: Lattice, cells: CellRange, mask: Bools) -> Floats:
        """Geodesic km2 of the cells in `mask`, clipped to zone and AOI; 0 elsewhere. Raster order.

        A UTM area divided by the squared point scale at its middle is the area on the ellipsoid, to better than 1e-6
        for cells up to 300 px: only cells that an edge crosses cost geometry.
        """
        meets, whole = _sort(lattice, cells, self._measured_parts)
        e, n = lattice.centres_m(cells)
        areas = np.where(mask & whole, lattice.edge_m**2 / _point_scale(lattice.zone, e, n[:, None]) ** 2, 0.0)
        rows, columns = np.nonzero(mask & meets & ~whole)
        if len(rows):
            clipped = shapely.intersection(_boxes(lattice, cells, rows, columns, 1), self._measured)
            middle = shapely.centroid(clipped)
            some = shapely.area(clipped) > 0
            rows, columns, clipped, middle = rows[some], columns[some], clipped[some], middle[some]
            scale = _point_scale(lattice.zone, shapely.get_x(middle), shapely.get_y(middle))
            areas[rows, columns] = shapely.area(clipped) / scale**2
        return areas / 1e6


def judged(lattice: Lattice, cells: CellRange, aoi_utm: BaseGeometry) -> Bools:
    """`Ground.judged` of cells that are asked for once."""
    return Ground(lattice.zone, cells.window(lattice), aoi_utm).judged(lattice, cells)


def cell_areas(lattice: Lattice, cells: CellRange, mask: Bools, aoi_utm: BaseGeometry) -> Floats:
    """`Ground.areas` of cells that are asked for once."""
    return Ground(lattice.zone, cells.window(lattice), aoi_utm).areas(lattice, cells, mask)


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


def _simple(target: BaseGeometry) -> tuple[BaseGeometry, ...]:
    """The target by dimension, each prepared: points, lines, areas."""
    parts = explode(target)
    kinds = shapely.get_dimensions(parts)
    simple = tuple(shapely.union_all(parts[kinds == kind]) for kind in np.unique(kinds))
    shapely.prepare(simple)
    return simple


def _sort(lattice: Lattice, cells: CellRange, targets: tuple[BaseGeometry, ...]) -> tuple[Bools, Bools]:
    """(cells that meet a target, cells wholly inside one)."""
    meets, whole = np.zeros(cells.shape, dtype=bool), np.zeros(cells.shape, dtype=bool)
    for rows, columns, step, full in _blocks(lattice, cells, targets):
        if step == 1:
            meets[rows, columns] = True
            whole[rows, columns] = full
            continue
        for row, column in zip(rows, columns, strict=True):
            for flags in (meets, whole):
                flags[row : row + step, column : column + step] = True
    return meets, whole


def _blocks(
    lattice: Lattice, cells: CellRange, targets: tuple[BaseGeometry, ...]
) -> Iterator[tuple[Ints, Ints, int, bool]]:
    """Blocks of step x step cells that meet a target: first row, first column, step, and whether wholly inside.

    From large blocks to single cells: only blocks that an edge of a target crosses are looked into.
    """
    step = 1
    while step < max(cells.shape):
        step *= _BRANCH
    rows = columns = np.zeros(1, dtype=np.int64)
    while True:
        boxes = _boxes(lattice, cells, rows, columns, step)
        some, full = np.zeros(len(boxes), dtype=bool), np.zeros(len(boxes), dtype=bool)
        for target in targets:
            near = shapely.intersects(target, boxes)
            full[near] |= shapely.covers(target, boxes[near])
            some |= near
        yield rows[full], columns[full], step, True
        rows, columns = rows[some & ~full], columns[some & ~full]
        if step == 1:
            yield rows, columns, 1, False
            return
        step //= _BRANCH
        rows, columns = _children(rows, columns, step, cells.shape)


def _children(rows: Ints, columns: Ints, step: int, shape: tuple[int, int]) -> tuple[Ints, Ints]:
    offsets = np.arange(_BRANCH) * step
    grid = np.broadcast_arrays(rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets)
    flat_rows, flat_columns = (axis.ravel() for axis in grid)
    keep = (flat_rows < shape[0]) & (flat_columns < shape[1])
    return flat_rows[keep], flat_columns[keep]


def _boxes(lattice: Lattice, cells: CellRange, rows: Ints, columns: Ints, step: int) -> npt.NDArray[Any]:
    """Squares of step x step cells (fewer at the range's ends) as half-open boxes in UTM metres."""
    west, south = cells.column0 + columns, np.maximum(cells.row1 - rows - step, cells.row0)
    east, north = np.minimum(cells.column0 + columns + step, cells.column1), cells.row1 - rows
    boxes: npt.NDArray[Any] = _half_open(*(lattice.metres(edge) for edge in (west, south, east, north)))
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
