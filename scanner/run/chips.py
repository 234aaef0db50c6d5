"""Reflectance of any window of ground, by the same catalogue and compositor as a scan: what training is fed with."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from scanner.composite.build import build_composite
from scanner.composite.request import CompositeRequest
from scanner.run.plan import SNAP_PX
from scanner.run.progress import LOGGER
from scanner.store.composite import read_window
from scanner.types import Fault, Scene
from tiling import Tile, TileId, Window, frame_of, lonlat, northing

__all__ = ["composite_at", "lonlat_box"]

ROOM_PX = 12
"""Windows are snapped to 60 m pixels; a margin of two holds the one that a chip's edge cuts."""


def lonlat_box(zone: int, window: Window) -> BaseGeometry:
    """A window's outline in degrees, its edges followed in steps."""
    ring = shapely.segmentize(frame_of(zone, window), 1000.0)
    return shapely.transform(ring, lambda xy: np.column_stack(lonlat(zone, xy[:, 0], xy[:, 1])))


def composite_at(
    scenes: tuple[Scene, ...], bands: tuple[str, ...], zone: int, window: Window, looks: int | None = None
) -> tuple[NDArray[np.uint16], tuple[Fault, ...]]:
    """Composite values (band, y, x) of a window of zone pixels as a scan stores them, and the files it had to miss.

    Args:
        scenes: of one level, without reprocessings.
        bands: names in the order wanted.
        zone: EPSG code of the UTM zone.
        window: in any number of tiles.
        looks: clear looks a pixel takes at most; None takes all.
    """
    stored = np.zeros((len(bands), *window.shape), np.uint16)
    faults: list[Fault] = []
    folder = Path(tempfile.mkdtemp(prefix="minescan-chips-"))
    try:
        for tile in _tiles_under(zone, window):
            part = tile.read.intersect(window)
            if part is None:
                continue
            snapped = part.at(SNAP_PX).times(SNAP_PX).intersect(tile.read)
            assert snapped is not None  # noqa: S101  the part lies in it
            request = CompositeRequest(
                tile=tile, windows=(snapped,), bands=bands, scenes=scenes, looks=looks, max_looks=None,
                threads=psutil.cpu_count() or 1, memory_bytes=2 << 30,
            )  # fmt: skip
            faults += build_composite(request, folder).faults
            rows, columns = part.slices_in(window)
            stored[:, rows, columns], _ = read_window(folder, tile, bands, part)
    finally:
        shutil.rmtree(folder)
    for fault in faults:
        LOGGER.warning("%s %s could not be read from %s: %s", fault.scene, fault.asset, fault.href, fault.reason)
    return stored, tuple(faults)


def _tiles_under(zone: int, window: Window) -> Sequence[Tile]:
    """Tiles whose own pixels meet the window, each with a little margin."""
    low = TileId.holding(zone, window.x0 * 10, northing(zone, window.y1))
    high = TileId.holding(zone, window.x1 * 10 - 1, northing(zone, window.y0) - 1)
    return [
        Tile(id=TileId(zone=zone, column=column, row=row), margin_px=ROOM_PX)
        for column in range(low.column, high.column + 1)
        for row in range(low.row, high.row + 1)
    ]
