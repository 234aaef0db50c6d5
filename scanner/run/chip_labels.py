"""What chips are asked for: places, a class each, and the class of their pixels where polygons or a raster say it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from scanner.errors import InputError
from scanner.run.chip_config import ChipsConfig
from scanner.run.chip_job import Place
from scanner.run.label_raster import codes_in, ground_of_raster
from scanner.run.places import Site, read_sites, rejected_sites
from tiling import Window, affine_of, lonlat, northing, pixel_at, utm, zone_of

__all__ = ["BLOCK_DEG", "Asked", "block_of", "drawn_alike", "read_asked"]

BLOCK_DEG = 0.1
"""Places of one block of ground are held out together."""
WIDEST_PX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Places with what is known of them before anything is read."""

    places: tuple[Place, ...]
    """Where."""
    labels: NDArray[np.int16]
    """(n,) class index; -1 where only the mask says."""
    groups: tuple[str, ...]
    """(n,) region or block."""
    classes: tuple[str, ...]
    """Names of the class indices."""
    masks: NDArray[np.int16] | None
    """(n, y, x) class index a pixel, -1 not labelled."""
    left_out: Mapping[str, int]
    """Rows that became no place, by reason."""

    @property
    def edges_px(self) -> tuple[int, int]:
        """Height and width that hold every place."""
        return _edges(self.places)

    def only(self, numbers: Sequence[int]) -> "Asked":
        """These places alone."""
        return replace(
            self, places=tuple(self.places[number] for number in numbers), labels=self.labels[list(numbers)],
            groups=tuple(self.groups[number] for number in numbers),
            masks=None if self.masks is None else self.masks[list(numbers)],
        )  # fmt: skip

    def rows(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """One number a chip: label, middle, outline in degrees, zone and first pixel."""
        places = [self.places[number] for number in numbers]
        bounds = np.array([place.box.bounds for place in places]).reshape(-1, 4)
        middles = np.array([_middle(place) for place in places]).reshape(-1, 2)
        edges = zip(("west", "south", "east", "north"), bounds.T, strict=True)
        return {
            "label": self.labels[numbers], "lon": middles[:, 0], "lat": middles[:, 1],
            "zone": np.array([place.zone for place in places], np.int32),
            "x0": np.array([place.window.x0 for place in places], np.int64),
            "y0": np.array([place.window.y0 for place in places], np.int64),
        } | dict(edges)  # fmt: skip


def _middle(place: Place) -> tuple[float, float]:
    window = place.window
    lon, lat = lonlat(place.zone, (window.x0 + window.x1) * 5.0, northing(place.zone, (window.y0 + window.y1) / 2))
    return float(lon), float(lat)


def block_of(lon: float, lat: float) -> str:
    """The block of ground that a point lies in."""
    return f"{np.floor(lon / BLOCK_DEG):.0f} {np.floor(lat / BLOCK_DEG):.0f}"


def read_asked(wanted: ChipsConfig) -> Asked:
    """Places, labels and masks of the files that are named.

    Raises:
        InputError: a file or its classes do not fit, a class is empty, or nothing is left.
    """
    left_out: Counter[str] = Counter()
    sites: list[Site] = []
    for name, path in wanted.points:
        marked = read_sites(
            path, column=None if name or wanted.labels else wanted.column, classes=wanted.classes, name=name,
            group=wanted.group,
        )  # fmt: skip
        sites += marked.sites
        left_out.update(marked.left_out)
    for name, folder in wanted.negatives:
        sites += rejected_sites(folder, name)
    if not sites and wanted.points:
        lost = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no rows"
        raise InputError(f"{', '.join(str(path) for _, path in wanted.points)}: no place to cut a chip at: {lost}")
    places = [_place(site, wanted.size_px) for site in sites] or _over(wanted)
    codes = _codes(wanted, places) if wanted.labels else None
    classes = _classes(wanted, sites, codes)
    if codes is None:
        masks = _drawn(sites, places, classes, wanted.background)
        labels = np.array([classes.index(site.label) for site in sites], np.int16)
    else:
        masks = _of_codes(wanted, codes, classes)
        labels = masks[:, masks.shape[1] // 2, masks.shape[2] // 2].copy()
    _refuse_empty(classes, labels, masks)
    groups = [site.group for site in sites] or [""] * len(places)
    asked = Asked(
        places=tuple(places), labels=labels, classes=tuple(classes), masks=masks, left_out=left_out,
        groups=tuple(group or block_of(*_middle(place)) for group, place in zip(groups, places, strict=True)),
    )  # fmt: skip
    if codes is None or masks is None:
        return asked
    return asked.only(np.flatnonzero((masks >= 0).any(axis=(1, 2))).tolist())


def _place(site: Site, size_px: int | None) -> Place:
    lon, lat = shapely.get_coordinates(shapely.centroid(site.geometry))[0].tolist()
    zone = int(zone_of(lon, lat))
    if size_px is not None:
        x0, y0 = (at - size_px // 2 for at in pixel_at(zone, *utm(zone, lon, lat)))
        return Place(zone=zone, window=Window(x0=x0, y0=y0, x1=x0 + size_px, y1=y0 + size_px))
    if shapely.get_dimensions(site.geometry) < 2:
        raise InputError("a point has no box of its own: give --size PX, the edge of its chip")
    corners = np.array([pixel_at(zone, *utm(zone, *one)) for one in shapely.get_coordinates(site.geometry).tolist()])
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), (corners.max(axis=0) + 1).tolist()
    if max(x1 - x0, y1 - y0) > WIDEST_PX:
        raise InputError(f"a box at {lon:.4f}, {lat:.4f} is {x1 - x0} x {y1 - y0} px, more than {WIDEST_PX}: cut it up")
    return Place(zone=zone, window=Window(x0=x0, y0=y0, x1=x1, y1=y1))


def _over(wanted: ChipsConfig) -> list[Place]:
    """Chips side by side over a label raster, from its upper left corner on."""
    assert wanted.labels is not None  # noqa: S101  the options were checked
    zone, whole = ground_of_raster(wanted.labels)
    edge = wanted.size_px
    if edge is None or edge > min(whole.shape):
        raise InputError(f"--labels {wanted.labels} is {whole.width_px} x {whole.height_px} px: give --size PX within")
    return [
        Place(zone=zone, window=Window(x0=x0, y0=y0, x1=x0 + edge, y1=y0 + edge))
        for y0 in range(whole.y0, whole.y1 - edge + 1, edge) for x0 in range(whole.x0, whole.x1 - edge + 1, edge)
    ]  # fmt: skip


def _codes(wanted: ChipsConfig, places: Sequence[Place]) -> NDArray[np.int64]:
    """(n, y, x) codes, the least number there is where there is none."""
    assert wanted.labels is not None  # noqa: S101
    none = np.iinfo(np.int64).min
    out = np.full((len(places), *_edges(places)), none, np.int64)
    for codes, place in zip(out, places, strict=True):
        height, width = place.window.shape
        codes[:height, :width] = codes_in(wanted.labels, place.zone, place.window).filled(none)
    return out


def _edges(places: Sequence[Place]) -> tuple[int, int]:
    return max(place.window.height_px for place in places), max(place.window.width_px for place in places)


def _classes(wanted: ChipsConfig, sites: Iterable[Site], codes: NDArray[np.int64] | None) -> list[str]:
    """Names in the order in which they are given; values taken as they are sorted."""
    if codes is not None:
        there = [str(code) for code in np.unique(codes).tolist() if code not in (0, np.iinfo(np.int64).min)]
        return list(dict.fromkeys(wanted.classes.values())) or there
    named = [*wanted.classes.values()] if any(not name for name, _ in wanted.points) else []
    named += [name for name, _ in wanted.points if name]
    as_they_are = sorted({site.label for site in sites} - {name for name, _ in wanted.negatives})
    named += [] if named else as_they_are
    named += [name for name, _ in wanted.negatives] + ([wanted.background] if wanted.background else [])
    return list(dict.fromkeys([*named, *as_they_are]))


def _of_codes(wanted: ChipsConfig, codes: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int16]:
    """Class indices of pixels; -1 of codes that are not asked for."""
    names = wanted.classes or {name: name for name in classes}
    masks = np.full(codes.shape, -1, np.int16)
    for code, name in names.items():
        try:
            masks[codes == int(code)] = classes.index(name)
        except ValueError:
            raise InputError(f"--class {code}={name}: a label raster holds whole numbers, got {code!r}") from None
    return masks


def _drawn(
    sites: Sequence[Site], places: Sequence[Place], classes: Sequence[str], background: str | None
) -> NDArray[np.int16] | None:
    """Polygons drawn into the chips that they meet; None where there are none."""
    from rasterio.features import rasterize  # noqa: PLC0415

    areas = [site for site in sites if shapely.get_dimensions(site.geometry) == 2]
    if not areas:
        return None
    tree = shapely.STRtree([site.geometry for site in areas])
    fill = classes.index(background) if background else -1
    masks = np.full((len(places), *_edges(places)), -1, np.int16)
    for mask, place in zip(masks, places, strict=True):
        near = sorted(tree.query(place.box, predicate="intersects").tolist())
        shapes = [(_on_zone(areas[index], place.zone), classes.index(areas[index].label)) for index in near]
        height, width = place.window.shape
        mask[:height, :width] = rasterize(
            shapes or [(shapely.Point(0, 0), fill)], place.window.shape, fill=fill, dtype=np.int16,
            transform=affine_of(place.zone, place.window),
        )  # fmt: skip
    return masks


def _on_zone(site: Site, zone: int) -> Any:
    return shapely.transform(site.geometry, lambda xy: np.column_stack(utm(zone, xy[:, 0], xy[:, 1])))


def _refuse_empty(classes: Sequence[str], labels: NDArray[np.int16], masks: NDArray[np.int16] | None) -> None:
    for index, name in enumerate(classes):
        if not (labels == index).any() and (masks is None or not (masks == index).any()):
            raise InputError(
                f"class {name!r} is empty: no row and no pixel has it; there are {_there(classes, labels)}"
            )
    if len(classes) < 2:
        raise InputError(f"one class alone, {', '.join(classes)}: a network learns to tell two or more apart")


def _there(classes: Sequence[str], labels: NDArray[np.int16]) -> str:
    counts = [(name, int((labels == index).sum())) for index, name in enumerate(classes)]
    return ", ".join(f"{count} of {name}" for name, count in counts if count) or "none"


def drawn_alike(labels: NDArray[np.int16], seed: int) -> list[int]:
    """As many of each class as the rarest has, drawn, in order."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == value) for value in np.unique(labels[labels >= 0])]
    least = min((len(one) for one in members), default=0)
    drawn = [rng.choice(one, least, replace=False) for one in members]
    return sorted(np.concatenate(drawn).tolist()) if drawn else []
