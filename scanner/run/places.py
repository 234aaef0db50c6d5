"""Where chips are cut and what they show: points, polygons and boxes of files, and the rejected hits of a scan."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from scanner.aoi import LATITUDES
from scanner.errors import InputError

__all__ = ["Marked", "Site", "frame_of_file", "read_sites", "rejected_sites"]

REJECTED = ("no_ore", "reviewed_false", "below_isolated_threshold")
"""Verdicts of cells.parquet that say: the detector saw something, and it is no mine."""

_LON = ("lon", "longitude", "long", "lng", "x")
_LAT = ("lat", "latitude", "y")
_DMS = re.compile(r"^([+-]?)(\d+)[°º:\s]+(\d+)['’:\s]+([\d.,]+)['\"”’\s]*([NSEWOL]?)$")  # noqa: RUF001


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One labelled geometry."""

    geometry: BaseGeometry
    """Point, line or area; degrees."""
    label: str
    """Name of its class; empty where a label raster says it."""
    group: str = ""
    """What is held out together (a region); empty for the block of ground it lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Sites, and the rows that became none."""

    sites: tuple[Site, ...]
    """In the order of the file."""
    left_out: Mapping[str, int]
    """By reason, how many rows."""


def read_sites(
    path: Path, *, column: str | None, classes: Mapping[str, str], name: str = "", group: str | None = None
) -> Marked:
    """The labelled geometries of a vector file or a CSV with coordinates.

    Args:
        path: any format GDAL reads, any CRS; or a CSV.
        column: that holds the class; None where `name` says it for all, or a label raster does.
        classes: value of that column to the name of a class; empty takes all values as they are.
        name: the class of every row, in place of a column.
        group: column that holds what is held out together.

    Raises:
        InputError: the file cannot be read, has no CRS or no such column, or a class has no row.
    """
    frame = frame_of_file(path)
    if name and group not in frame.columns:
        group = None  # a file of one class, such as negatives, may know no regions: then the block of ground
    for wanted in (column, group):
        if wanted is not None and wanted not in frame.columns:
            raise InputError(f"{path} has no column {wanted!r}; there are {', '.join(map(str, frame.columns))}")
    labels = _labels(path, frame, column, classes, name)
    groups = [""] * len(frame) if group is None else [str(value) for value in frame[group]]
    sites, left_out = [], {"unknown class": 0, "no coordinates": 0, "outside the UTM grid": 0}
    for geometry, label, one in zip(frame.geometry, labels, groups, strict=True):
        if label is None:
            left_out["unknown class"] += 1
        elif geometry is None or geometry.is_empty or not np.isfinite(geometry.bounds).all():
            left_out["no coordinates"] += 1
        elif not _on_grid(geometry):
            left_out["outside the UTM grid"] += 1
        else:
            sites.append(Site(geometry=geometry, label=label, group=one))
    return Marked(sites=tuple(sites), left_out={reason: count for reason, count in left_out.items() if count})


def _labels(path: Path, frame: Any, column: str | None, classes: Mapping[str, str], name: str) -> list[str | None]:
    if column is None:
        return [name] * len(frame)
    values = [None if value is None or value != value else _text(value) for value in frame[column]]  # noqa: PLR0124  NaN
    if not classes:
        return [value or None for value in values]
    there = set(values)
    if not any(value in there for value in classes):
        shown = ", ".join(sorted(filter(None, there))[:8])
        raise InputError(f"{path}: unknown class: no row's {column} is {', '.join(classes)}; there are {shown}")
    return [None if value is None else classes.get(value) for value in values]


def _text(value: Any) -> str:
    """A whole number read as a float, because a row lacks it, is the whole number still."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _on_grid(geometry: BaseGeometry) -> bool:
    _, south, _, north = geometry.bounds
    return bool(south >= LATITUDES[0] and north < LATITUDES[1])


def frame_of_file(path: Path) -> Any:
    """A GeoDataFrame in longitude and latitude.

    Raises:
        InputError: the file cannot be read, or says neither CRS nor coordinates.
    """
    import geopandas as gpd  # noqa: PLC0415
    import pyogrio  # noqa: PLC0415

    if path.suffix.lower() in (".csv", ".txt", ".tsv"):
        return _table(path)
    try:
        frame = gpd.read_file(path)
        if not isinstance(frame, gpd.GeoDataFrame):
            raise InputError(f"{path} holds no geometries; expected points or polygons")
        if frame.crs is None:
            raise InputError(f"{path} has no CRS; give it one, for instance with ogr2ogr -a_srs EPSG:4326")
        return frame.to_crs("EPSG:4326")
    except (OSError, ValueError, RuntimeError, pyogrio.errors.DataSourceError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None


def _table(path: Path) -> Any:
    import geopandas as gpd  # noqa: PLC0415

    table = _read_csv(path)
    lon, lat = (_column(path, table, names) for names in (_LON, _LAT))
    x, y = (degrees(path, table[name]) for name in (lon, lat))
    with np.errstate(invalid="ignore"):
        if (np.abs(x) > 360).any() or (np.abs(y) > 90).any():
            raise InputError(
                f"{path}: {lon} and {lat} reach {np.nanmax(np.abs([x, y])):g}, which are no degrees; give a vector "
                "file that states its CRS"
            )
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy((x + 180) % 360 - 180, y), crs="EPSG:4326")


def _read_csv(path: Path) -> Any:
    """Comma, semicolon or tab, whichever its first line has most of; UTF-8, else Latin-1."""
    import pandas as pd  # noqa: PLC0415

    try:
        data = path.read_bytes()
        encoding = "utf-8-sig" if _is_utf8(data) else "latin-1"
        head = data.split(b"\n", 1)[0].decode(encoding)
        return pd.read_csv(path, sep=max(",;\t", key=head.count), encoding=encoding)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _column(path: Path, table: Any, names: Sequence[str]) -> str:
    found = {str(column).strip().lower(): str(column) for column in table.columns}
    for name in names:
        if name in found:
            return found[name]
    raise InputError(f"{path} has no column {names[0]}; there are {', '.join(map(str, table.columns))}")


def degrees(path: Path, values: Iterable[Any]) -> NDArray[np.float64]:
    """Decimal degrees, with a point or a comma, or degrees, minutes and seconds; NaN of an empty cell."""
    found = []
    for row, value in enumerate(values, start=2):
        text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124  NaN
        try:
            found.append(_degrees(text) if text else np.nan)
        except ValueError:
            raise InputError(
                f"{path}, row {row}: {text!r} is no coordinate; expected degrees such as -20.13 or -20°07'49.0''"
            ) from None
    return np.asarray(found, np.float64)


def _degrees(text: str) -> float:
    parts = _DMS.match(text)
    if parts is None:
        return float(text.replace(",", "."))
    sign, whole, minutes, seconds, side = parts.groups()
    value = int(whole) + int(minutes) / 60 + float(seconds.replace(",", ".")) / 3600
    return -value if sign == "-" or side in ("S", "W", "O") else value


def rejected_sites(folder: Path, name: str) -> tuple[Site, ...]:
    """The cells of a scan that were hits and were rejected, as sites of a class.

    Raises:
        InputError: no scan lies there.
    """
    import geopandas as gpd  # noqa: PLC0415

    path = folder / "cells.parquet"
    try:
        cells = gpd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--negatives-from {folder}: no cells of a scan: {' '.join(str(error).split())}; name the --out of a scan"
        ) from None
    kept = cells[cells["verdict"].isin(REJECTED)]
    return tuple(
        Site(geometry=shapely.Point(lon, lat), label=name) for lon, lat in zip(kept["lon"], kept["lat"], strict=True)
    )
