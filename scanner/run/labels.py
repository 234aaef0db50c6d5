"""What people say is where: rasters, points and polygons of labels, read on a zone's pixels as a card's classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from models.units import UNLABELLED
from scanner.errors import InputError
from scanner.run.chips import lonlat_box
from scanner.run.label_raster import codes_in, ground_of_raster
from scanner.run.places import frame_of_file
from tiling import GSD_M, Window, frame_of, northing, pixel_at, project_aoi, utm, zone_ground, zone_of, zones_of

__all__ = ["Labels", "Naming", "open_labels"]

LEAVE = "none"
"""The class of codes that count as not labelled."""

TABLES = (".csv", ".txt", ".tsv")

NO_REGION = -1

_EDGE_DEG = 0.002
"""Straight edges in degrees are followed in such steps, as those of a scan's area are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Which class of a card each code or name of a label file is."""

    classes: tuple[str, ...]
    """The card's, the target last."""
    given: Mapping[str, str]
    """Code to class, as the user said."""
    column: str
    """That holds the code, in files of points and polygons."""
    by: str | None
    """Column of such files that figures are wanted by."""

    def index(self, values: Sequence[str], file: Path) -> dict[str, int]:
        """Class of each value that the file holds; UNLABELLED for those the user leaves out.

        What the user says counts alone, but that a card of two classes takes all other values for its other class where
        those given are of one. Without a word values are the classes' own names, or numbers from 1 in the card's order,
        the target's among them: a lone 1 is more often a mask of mines.

        Raises:
            InputError: a value is of no class, or a class is not the card's.
        """
        if not self.given:
            return self._by_themselves(values, file)
        known = (*self.classes, LEAVE)
        if wrong := sorted(set(self.given.values()) - set(known)):
            raise InputError(f"--class {wrong[0]!r} is no class of the card: expected {', '.join(known)}")
        index = {value: self._place(name) for value, name in self.given.items()}
        if not set(values) & set(index):
            raise InputError(f"--class names {', '.join(index)}, and {file} holds {_some(values)}")
        others = sorted(set(values) - set(index))
        named = {place for place in index.values() if place != UNLABELLED}
        if others and not (len(self.classes) == 2 and len(named) == 1):
            raise InputError(f"{file} holds {_some(others)} too: say --class {others[0]}=CLASS, or ={LEAVE}")
        return index | dict.fromkeys(others, 1 - min(named, default=0))

    def _by_themselves(self, values: Sequence[str], file: Path) -> dict[str, int]:
        numbers = [str(number) for number in range(1, len(self.classes) + 1)]
        if set(values) <= set(self.classes):
            return {name: place for place, name in enumerate(self.classes)}
        if numbers[-1] in values and set(values) <= set(numbers):
            return {number: place for place, number in enumerate(numbers)}
        raise InputError(
            f"{file} holds {_some(values)}, and the card's classes are {', '.join(self.classes)}: "
            f"say which is which, such as --class {values[0]}={self.classes[-1]}"
        )

    def _place(self, name: str) -> int:
        return UNLABELLED if name == LEAVE and name not in self.classes else self.classes.index(name)


def _some(values: Sequence[str]) -> str:
    more = len(values) - 8
    return ", ".join(values[:8]) + (f" and {more} more" if more > 0 else "")


class Labels(Protocol):
    """Labelled ground."""

    @property
    def file(self) -> Path:
        """Where it is from."""

    @property
    def index(self) -> Mapping[str, int]:
        """Class of each value of the file."""

    @property
    def points(self) -> bool:
        """Whether it is labelled point by point, without any area."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of what figures are wanted by."""

    def places(self) -> Iterator[tuple[int, Window]]:
        """Zones, and windows of them that hold all labels together."""

    def read(self, zone: int, window: Window, finer: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Class and region of the pixels of a window, (y finer, x finer); below zero where there is none."""


def open_labels(file: Path, naming: Naming) -> Labels:
    """The labels of a raster, or of a file of points or polygons.

    Raises:
        InputError: the file cannot be read, has no CRS, or its values do not fit the card's classes.
    """
    if not file.exists():
        raise InputError(f"--labels {file}: no such file")
    if not _is_raster(file):
        return _Shapes(file, naming)
    if naming.by is not None:
        raise InputError(f"--by {naming.by}: {file} is a raster; figures by a column need points or polygons")
    return _Raster(file, naming)


def _is_raster(file: Path) -> bool:
    """GDAL would take many a table of coordinates for a raster of three columns."""
    import rasterio  # noqa: PLC0415

    if file.suffix.lower() in TABLES:
        return False
    try:
        with rasterio.open(file) as source:
            return bool(source.count)
    except rasterio.errors.RasterioError:
        return False


class _Raster:
    """Codes of a raster: 0 and what is missing are not labelled."""

    points = False
    regions: tuple[str, ...] = ()

    def __init__(self, file: Path, naming: Naming) -> None:
        self.file = file
        self._zone, self._window = ground_of_raster(file)
        codes = _codes(file)
        if not codes:
            raise InputError(f"--labels {file}: every pixel is 0, not labelled")
        self.index = naming.index([str(code) for code in codes], file)
        self._there = np.array(codes)
        self._classes = np.array([self.index[str(code)] for code in codes], np.int16)

    def places(self) -> Iterator[tuple[int, Window]]:
        outline = lonlat_box(self._zone, self._window)
        for zone in zones_of(outline):
            yield zone, _pixels(zone, project_aoi(outline, zone).bounds)

    def read(self, zone: int, window: Window, finer: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        codes = codes_in(self.file, zone, window, finer).filled(0)
        codes[~_owned(zone, window, finer)] = 0
        place = np.searchsorted(self._there, codes).clip(max=len(self._there) - 1)
        classes = np.where(self._there[place] == codes, self._classes[place], np.int16(UNLABELLED))
        return classes, np.full(codes.shape, NO_REGION, np.int32)


def _codes(file: Path) -> list[int]:
    """The codes there are, but 0."""
    import rasterio  # noqa: PLC0415

    found: set[int] = set()
    with rasterio.open(file) as source:
        for _, window in source.block_windows(1):
            values = source.read(1, window=window, masked=True).compressed()
            found.update(np.unique(values[np.isfinite(values)]).astype(np.int64).tolist())
    return sorted(found - {0})


class _Shapes:
    """Points and polygons with a class each; where several lie on each other the last one counts."""

    def __init__(self, file: Path, naming: Naming) -> None:
        self.file = file
        frame = frame_of_file(file)
        for column in filter(None, (naming.column, naming.by)):
            if column not in frame.columns:
                there = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
                raise InputError(f"--labels {file} has no column {column!r}; there are {there}: say --column NAME")
        usable = ~(frame.geometry.isna() | frame.geometry.is_empty) & frame[naming.column].notna()
        frame = frame[usable]
        if not len(frame):
            raise InputError(f"--labels {file}: no row has both a geometry and a {naming.column}")
        values = [_text(value) for value in frame[naming.column]]
        self.index = naming.index(sorted(set(values)), file)
        self.geometries = shapely.force_2d(frame.geometry.to_numpy())
        self.points = bool((shapely.get_dimensions(self.geometries) == 0).all())
        self._classes = np.array([*(self.index[value] for value in values), UNLABELLED], np.int16)
        regions = [_text(value) for value in frame[naming.by]] if naming.by else []
        self.regions = tuple(sorted(set(regions)))
        place = {name: index for index, name in enumerate(self.regions)}
        self._regions = np.array([place[name] for name in regions] or [NO_REGION] * len(frame), np.int32)
        self._regions = np.append(self._regions, np.int32(NO_REGION))

    @cached_property
    def _zones(self) -> dict[int, tuple[shapely.STRtree, NDArray[np.int64]]]:
        """By zone: the shapes in UTM metres, and which they are."""
        west, south, east, north = shapely.bounds(self.geometries).T
        corners = np.stack([zone_of(lon, lat) for lon in (west, east) for lat in (south, north)])
        inside = (corners == corners[0]).all(axis=0)
        members: dict[int, list[tuple[int, Any]]] = {}
        for zone in np.unique(corners[0][inside]).tolist():
            which = np.flatnonzero(inside & (corners[0] == zone))
            members[zone] = list(zip(which.tolist(), _projected(zone, self.geometries[which]), strict=True))
        for number in np.flatnonzero(~inside).tolist():
            for zone in zones_of(self.geometries[number]):
                members.setdefault(zone, []).append((number, project_aoi(self.geometries[number], zone)))
        return {
            zone: (shapely.STRtree([shape for _, shape in pairs]), np.array([which for which, _ in pairs]))
            for zone, pairs in sorted(members.items())
        }

    def places(self) -> Iterator[tuple[int, Window]]:
        for zone, (tree, _) in self._zones.items():
            for bounds in shapely.bounds(tree.geometries):
                yield zone, _pixels(zone, bounds)

    def read(self, zone: int, window: Window, finer: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        tree, which = self._zones[zone]
        met = np.sort(tree.query(frame_of(zone, window)))
        met = met[np.argsort(which[met], kind="stable")]
        drawn = _drawn(zone, window, finer, [(tree.geometries[at], int(which[at]) + 1) for at in met]) - 1
        drawn[~_owned(zone, window, finer)] = -1
        return self._classes[drawn], self._regions[drawn]


def _text(value: Any) -> str:
    """A whole number that a column holds as a float is the whole number still."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _projected(zone: int, geometries: NDArray[Any]) -> NDArray[Any]:
    fine = shapely.segmentize(geometries, _EDGE_DEG)
    moved: NDArray[Any] = shapely.transform(fine, lambda xy: np.column_stack(utm(zone, xy[:, 0], xy[:, 1])))
    return moved


def _pixels(zone: int, bounds: Sequence[float]) -> Window:
    """The zone pixels that bounds in UTM metres meet."""
    west, south, east, north = bounds
    x0, y0 = pixel_at(zone, west, north)
    x1, y1 = pixel_at(zone, east, south)
    return Window(x0=x0, y0=y0, x1=x1 + 1, y1=y1 + 1)


def _fine(zone: int, window: Window, finer: int) -> Affine:
    size_m = GSD_M / finer
    return Affine(size_m, 0, window.x0 * GSD_M, 0, -size_m, northing(zone, window.y0))


def _owned(zone: int, window: Window, finer: int) -> NDArray[np.bool_]:
    """Pixels on the zone's own ground: what is beyond is another zone's to count."""
    from rasterio.features import geometry_mask  # noqa: PLC0415

    shape, ground = window.times(finer).shape, zone_ground(zone, window)
    if shapely.equals(ground, frame_of(zone, window)):
        return np.ones(shape, bool)
    if ground.is_empty:
        return np.zeros(shape, bool)
    return np.asarray(geometry_mask([ground], shape, _fine(zone, window, finer), invert=True))


def _drawn(zone: int, window: Window, finer: int, shapes: Sequence[tuple[Any, int]]) -> NDArray[np.int32]:
    """Each shape's number on the pixels whose centre it covers, of a point on the one that holds it; else 0."""
    from rasterio.features import rasterize  # noqa: PLC0415

    shape = window.times(finer).shape
    if not shapes:
        return np.zeros(shape, np.int32)
    return np.asarray(rasterize(shapes, shape, transform=_fine(zone, window, finer), dtype="int32"))
