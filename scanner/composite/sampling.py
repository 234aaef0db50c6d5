"""A scene's dark pixels at small cost: its overviews whole, or a few blocks at places fixed in the file."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scanner.composite.radiometry import Sample, Tail, wanted
from scanner.composite.read import Grid, Reader
from scanner.types import Scene
from tiling import Window

__all__ = ["plan_reads", "sample_of", "take_sample"]

OVERVIEW_M = 160
"""Pixel at which a file with overviews is read whole: 0.4 % of a granule's pixels."""

PLACE_M = 10240
"""Edge of a place read in a file without overviews: whole blocks of 512 or 1024 px from the file's corner."""

GROUND_A_PLACE = 45
"""One place for this many squares of that size: two in a granule."""

EDGE_PX = 2
"""Pixels beside the edge of the data that are not counted: means over part data lie between nothing and the ground."""

POINTS = 32
"""Points along an edge of a place that are kept to compare looks."""


def take_sample(reader: Reader, scene: Scene) -> Sample:
    """Read the scene's witness bands, always at the same places: what is asked of the scene plays no part.

    Call it inside `reader.session()`.

    Raises:
        AssetError: a band that the catalogue names cannot be read.
    """
    if not wanted(scene, {}):
        return Sample(scene=scene, place="", tails={}, points={})
    grid = reader.grid(scene, "B12")
    place = f"{grid.crs} {grid.x0} {grid.y0} {grid.dx} {grid.width_px} {grid.height_px} {grid.overviews}"
    return sample_of(scene, place, lambda band: _read(reader, scene, band))


def sample_of(scene: Scene, place: str, pixels_of: Callable[[str], list[NDArray[np.uint16]]]) -> Sample:
    """Ask for the pixels of one band after another (an array for each place) while they may tell something."""
    tails: dict[str, Tail] = {}
    points: dict[str, NDArray[np.uint16]] = {}
    while bands := wanted(scene, tails):
        for band in bands:
            arrays, nodata = pixels_of(band), scene.assets[band].nodata
            tails[band] = _tail(arrays, nodata)
            points[band] = np.concatenate([_points(array, nodata) for array in arrays])
    return Sample(scene=scene, place=place, tails=tails, points=points)


def plan_reads(grid: Grid, gsd_m: float) -> tuple[int, list[Window]]:
    """Pixels to a mean, and the windows to read: the whole file at about 160 m where it holds that, else places."""
    most = max(1, round(OVERVIEW_M / gsd_m))
    factor = max((one for one in grid.overviews if one <= most), default=1)
    rows, cols = grid.height_px // factor, grid.width_px // factor
    if 2 * factor >= most and min(rows, cols) > 2 * EDGE_PX:
        return factor, [Window(x0=0, y0=0, x1=cols * factor, y1=rows * factor)]
    return 1, _places(grid, round(PLACE_M / gsd_m))


def _read(reader: Reader, scene: Scene, band: str) -> list[NDArray[np.uint16]]:
    factor, windows = plan_reads(reader.grid(scene, band), scene.assets[band].gsd_m)
    if factor == 1:
        return [reader.read(scene, band, window) for window in windows]
    return [reader.read_mean(scene, band, window, factor) for window in windows]


def _places(grid: Grid, edge_px: int) -> list[Window]:
    """Squares of whole edges from the file's corner, spread over it; a file smaller than one is read whole."""
    down, across = max(1, grid.height_px // edge_px), max(1, grid.width_px // edge_px)
    count = max(1, down * across // GROUND_A_PLACE)
    found = []
    for place in range(count):
        row, col = divmod((2 * place + 1) * down * across // (2 * count), across)
        x0, y0 = col * edge_px, row * edge_px
        x1, y1 = min(x0 + edge_px, grid.width_px), min(y0 + edge_px, grid.height_px)
        found.append(Window(x0=x0, y0=y0, x1=x1, y1=y1))
    return found


def _tail(arrays: list[NDArray[np.uint16]], nodata: int) -> Tail:
    data = [(array != nodata) & (array > 0) for array in arrays]
    share = float(np.mean([one.mean() for one in data]))
    values = np.sort(np.concatenate([array[_inside(one)] for array, one in zip(arrays, data, strict=True)]))
    if not values.size:
        return Tail(count_px=0, share=share, trace=0, low=0)
    trace, low = (int(values[min(max(values.size // part, 12), values.size - 1)]) for part in (1000, 100))
    return Tail(count_px=values.size, share=share, trace=trace, low=low)


def _inside(data: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with data, none without within EDGE_PX."""
    if data.all():
        return data
    inside: NDArray[np.bool_] = ndimage.binary_erosion(data, np.ones((3, 3)), iterations=EDGE_PX, border_value=1)
    return inside


def _points(array: NDArray[np.uint16], nodata: int) -> NDArray[np.uint16]:
    rows, cols = (((np.arange(POINTS) + 0.5) * edge / POINTS).astype(np.intp) for edge in array.shape)
    picked = array[np.ix_(rows, cols)].ravel()
    return np.where(picked == nodata, 0, picked).astype(np.uint16)
