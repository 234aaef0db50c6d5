"""The common plane: one transverse Mercator in which the ground is drawn, and from which both zones sample it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from tiling import Window, northing

__all__ = ["CORNER_M", "EDGE_LAT", "EDGE_LON", "PLANE_CRS", "ZONES", "Plane", "to_lonlat", "to_plane"]

ZONES: Final = (32722, 32723)
"""EPSG codes of the western and the eastern granule."""

EDGE_LON: Final = -48.0
"""The meridian where the two zones meet."""

CORNER_M: Final = (184_320.0, 7_925_760.0)
"""A corner of four tiles in the eastern zone (2 and 86 times 92.16 km): one of the few that lie within a mine's width
of a zone edge, so that a single mine can sit astride both."""

EDGE_LAT: Final = -18.7358
"""Latitude of that corner, where the plane has its origin."""

PLANE_CRS: Final = f"+proj=tmerc +lat_0={EDGE_LAT} +lon_0={EDGE_LON} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m"

_NODE_PX: Final = 32
Metres = NDArray[np.float64]


def to_plane(zone: int, e_m: Metres, n_m: Metres) -> tuple[Metres, Metres]:
    """Metres east and north of the plane's origin of UTM coordinates."""
    u, v = Transformer.from_crs(zone, PLANE_CRS, always_xy=True).transform(e_m, n_m)
    return np.asarray(u), np.asarray(v)


def to_lonlat(u_m: Metres, v_m: Metres) -> tuple[Metres, Metres]:
    """Degrees of points of the plane."""
    lon, lat = Transformer.from_crs(PLANE_CRS, 4326, always_xy=True).transform(u_m, v_m)
    return np.asarray(lon), np.asarray(lat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A raster of the plane, 10 m, north up."""

    west_m: float
    """Western edge, metres east of the origin."""
    north_m: float
    """Northern edge, metres north of the origin."""
    width_px: int
    """Columns."""
    height_px: int
    """Rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height_px, self.width_px

    def axes(self, factor: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Pixel centres: metres east (width,), metres north (height,), every `factor`-th pixel."""
        u = self.west_m + 10 * (np.arange(0, self.width_px, factor, dtype=np.float32) + 0.5)
        v = self.north_m - 10 * (np.arange(0, self.height_px, factor, dtype=np.float32) + 0.5)
        return u, v

    def indices(self, zone: int, window: Window) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Row and column of the plane under each pixel of a window of zone pixels: nearest, clamped at the border."""
        u, v = plane_coords(zone, window)
        columns = np.clip((u - self.west_m) // 10, 0, self.width_px - 1).astype(np.int32)
        rows = np.clip((self.north_m - v) // 10, 0, self.height_px - 1).astype(np.int32)
        return rows, columns


def plane_coords(zone: int, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Plane coordinates of the pixel centres of a window of zone pixels, each (height, width) in metres.

    Projected at every 32nd pixel and interpolated between: both projections are conformal and so alike that this
    is right to a few millimetres, in a hundredth of the time.
    """
    x, weights_x = _hats(window.width_px)
    y, weights_y = _hats(window.height_px)
    east, north = np.meshgrid((window.x0 + x + 0.5) * 10.0, northing(zone, window.y0 + y + 0.5))
    u, v = to_plane(zone, east, north)
    return (
        (weights_y @ u.astype(np.float32) @ weights_x.T).astype(np.float32),
        (weights_y @ v.astype(np.float32) @ weights_x.T).astype(np.float32),
    )


def _hats(length_px: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Node positions and the (pixel, node) matrix of linear interpolation between them."""
    nodes = np.arange(0, length_px + _NODE_PX, _NODE_PX, dtype=np.float64)
    away = np.abs(np.arange(length_px)[:, None] - nodes[None, :]) / _NODE_PX
    return nodes, np.clip(1 - away, 0, 1).astype(np.float32)
