"""What a recipe learns from, read: chips from a file or cut anew, labelled rasters with their composites."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from models.networks import FCN
from models.networks.geometry import STRIDE_PX
from models.standard import STORED_OFFSET, STORED_SCALE
from models.training.labels import LEFT_OUT, DetectorSample
from models.training.loop import Session
from models.training.patches import Trained, train_patches
from models.training.samples import Image, Samples, joined, of_chips, of_images
from models.training.split import Fold, folds_of
from models.training.train import train_detector
from scanner.catalog.search import SceneQuery, search
from scanner.config import parse_dates
from scanner.errors import CatalogError, InputError
from scanner.run.chip_config import ChipsConfig
from scanner.run.chip_set import make_chips
from scanner.run.chips import composite_at, lonlat_box
from scanner.run.draft import Draft
from scanner.run.label_raster import codes_in, ground_of_raster
from scanner.run.plan import search_area
from scanner.run.progress import LOGGER, Progress
from scanner.run.recipe import LabelledPoints, LabelledRaster, Recipe
from scanner.store.chips import Chips, chips_nbytes, read_chips
from tiling import Lattice, Window, lonlat, northing

__all__ = ["Source", "source_of"]

MEMORY_SHARE = 0.6
"""Of the memory that is free, chips may take this; the rest is for the network."""


class Source(Protocol):
    """Labelled images or squares."""

    @property
    def digest(self) -> str:
        """sha256 of all that is learnt from."""

    def folds(self, seed: int) -> tuple[Fold, ...]:
        """The trainings that the recipe's split asks for."""

    def everything(self) -> Fold:
        """All of it, nothing held out."""

    def fit(self, fold: Fold, session: Session) -> Trained:
        """One training."""


def source_of(recipe: Recipe, draft: Draft, work: Path, progress: Progress) -> Source:
    """Read what a recipe names.

    Args:
        recipe: what is learnt.
        draft: its card, and the edge of its squares.
        work: a folder for chips that are cut for this training.
        progress: shown while images are read.

    Raises:
        InputError: files, labels and recipe do not fit, or the catalogue has no scenes for them.
    """
    if recipe.rasters and recipe.network == FCN:
        return _FcnImages(recipe, tuple(_sample(recipe, raster) for raster in _told(recipe.rasters, progress)))
    if recipe.rasters:
        card = draft.card
        target = len(card.classes) - 1
        images = [_image(recipe, raster, card.stride_px) for raster in _told(recipe.rasters, progress)]
        samples = of_images(
            images, edge_px=draft.edge_px, stride_px=card.stride_px if card.mode == "window" else draft.edge_px,
            positive_share=recipe.train.positive_share, target=target,
        )  # fmt: skip
        if not len(samples):
            raise InputError(f"recipe {recipe.name}: no raster holds a square of {draft.edge_px} px")
        return _Squares(recipe, draft, samples, _digest([image.pixels for image in images], samples))
    sets = [_read(recipe.chips.file)] if recipe.chips else [_cut(recipe, one, draft, work) for one in recipe.points]
    samples = joined([_of_set(recipe, draft, chips) for chips in sets])
    return _Squares(recipe, draft, samples, hashlib.sha256("".join(one.digest for one in sets).encode()).hexdigest())


def _told(rasters: Sequence[LabelledRaster], progress: Progress) -> Iterator[LabelledRaster]:
    progress.stage("images", len(rasters))
    for raster in rasters:
        yield raster
        progress.advance("images", raster.group)


def _read(path: Path) -> Chips:
    """Chips in memory, where there is room for them."""
    needed, free = chips_nbytes(path), psutil.virtual_memory().available
    if needed > MEMORY_SHARE * free:
        raise InputError(
            f"{path} takes {needed / 1e9:.1f} GB in memory, {free / 1e9:.1f} GB are free: cut smaller or fewer chips"
        )
    return read_chips(path)


def _cut(recipe: Recipe, points: LabelledPoints, draft: Draft, work: Path) -> Chips:
    """Chips at a recipe's own points, as `minescan chips` makes them."""
    if unknown := sorted(set(points.classes.values()) - set(recipe.classes)):
        raise InputError(f"{points.file}: class {unknown[0]!r} is not one of {', '.join(recipe.classes)}")
    name = hashlib.sha256(repr(points).encode()).hexdigest()[:16]
    config = ChipsConfig(
        out=work / f"{name}.zarr", points=(("", points.file),), dates=(points.dates,), column=points.column,
        classes=points.classes, size_px=draft.edge_px, catalog=recipe.catalog, collection=recipe.collection,
        level=recipe.level, bands=recipe.bands, looks=recipe.looks, max_cloud=recipe.max_cloud,
    )  # fmt: skip
    for line in make_chips(config).lines():
        LOGGER.info(line)
    return read_chips(config.out)


def _of_set(recipe: Recipe, draft: Draft, chips: Chips) -> Samples:
    """A set of chips as squares: bands by name, classes by name, those that the recipe does not name left out."""
    if chips.level != recipe.level:
        raise InputError(f"recipe {recipe.name}: the chips are of level {chips.level}, expected {recipe.level}")
    if missing := [band for band in recipe.bands if band not in chips.bands]:
        raise InputError(f"recipe {recipe.name}: the chips have no {missing[0]}; they have {' '.join(chips.bands)}")
    if recipe.chips and (missing := [name for name in recipe.classes if name not in chips.classes]):
        raise InputError(
            f"recipe {recipe.name}: the chips have no class {missing[0]!r}; they have {', '.join(chips.classes)}: name "
            "them as classes, the target last"
        )
    smallest = min(chips.reflectance.shape[2:])
    if smallest < draft.edge_px and recipe.network != FCN:
        raise InputError(
            f"recipe {recipe.name}: the chips are {smallest} px, {recipe.network} sees {draft.edge_px}: cut them with "
            f"--size {draft.edge_px} or set window_px"
        )
    order = [chips.bands.index(band) for band in recipe.bands]
    reflectance = chips.reflectance if order == list(range(len(chips.bands))) else chips.reflectance[:, order]
    codes = np.array([*map(_place_in(recipe.classes), chips.classes), LEFT_OUT], np.int16)
    marks = None if chips.mask is None else codes[chips.mask]
    return of_chips(
        reflectance, codes[chips.labels], marks, edge_px=draft.edge_px, where=(chips.boxes, chips.groups, chips.dates)
    )


def _place_in(classes: Sequence[str]) -> Callable[[str], int]:
    return lambda name: classes.index(name) if name in classes else LEFT_OUT


def _composite(recipe: Recipe, raster: LabelledRaster, zone: int, window: Window) -> NDArray[np.uint16]:
    start, end = parse_dates(raster.dates)
    query = SceneQuery(
        catalog=recipe.catalog, collection=recipe.collection, level=recipe.level, start=start, end=end,
        aoi=search_area(lonlat_box(zone, window)), max_cloud=recipe.max_cloud,
    )  # fmt: skip
    scenes = search(query)
    if not scenes:
        raise CatalogError(f"no scenes of {raster.dates} over {raster.labels} in {recipe.catalog}; check the dates")
    stored, _ = composite_at(scenes, recipe.bands, zone, window, None if recipe.looks == "all" else recipe.looks)
    return stored


def _sample(recipe: Recipe, raster: LabelledRaster) -> DetectorSample:
    zone, window = ground_of_raster(raster.labels)
    stored = _composite(recipe, raster, zone, window)
    # In this order of roundings, on which the shipped weights rest.
    reflectance = (stored.astype(np.float32) - np.float32(-STORED_OFFSET / STORED_SCALE)) * np.float32(STORED_SCALE)
    reflectance[stored == 0] = np.nan
    return DetectorSample(
        reflectance=reflectance, labels=codes_in(raster.labels, zone, window).filled(0), group=raster.group,
        place=raster.place, phase_px=Lattice(zone=zone, stride_px=STRIDE_PX).phase_px(window),
    )  # fmt: skip


def _image(recipe: Recipe, raster: LabelledRaster, stride_px: int) -> Image:
    zone, window = ground_of_raster(raster.labels)
    codes = codes_in(raster.labels, zone, window)
    marks = np.full(codes.shape, LEFT_OUT if recipe.codes else 0, np.int16)
    for code, index in _indices(recipe).items():
        marks[codes.filled(0) == code] = index
    marks[np.ma.getmaskarray(codes)] = LEFT_OUT

    def outline(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        return _degrees(zone, boxes + np.array([window.x0, window.y0] * 2))

    return Image(
        pixels=_composite(recipe, raster, zone, window), marks=marks, group=raster.group, date=raster.dates,
        phase_px=Lattice(zone=zone, stride_px=stride_px).phase_px(window), outline=outline,
    )  # fmt: skip


def _indices(recipe: Recipe) -> Mapping[int, int]:
    if not recipe.codes:
        return dict.fromkeys(recipe.targets, len(recipe.classes) - 1)
    if unknown := sorted(set(recipe.codes.values()) - set(recipe.classes)):
        raise InputError(f"recipe {recipe.name}: [codes] {unknown[0]!r} is not one of {', '.join(recipe.classes)}")
    try:
        return {int(code): recipe.classes.index(name) for code, name in recipe.codes.items()}
    except ValueError:
        raise InputError(
            f"recipe {recipe.name}: [codes] expected whole numbers, got {', '.join(recipe.codes)}"
        ) from None


def _degrees(zone: int, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) left, top, right, bottom in zone pixels -> west, south, east, north that hold them."""
    x = boxes[:, [0, 2, 2, 0]] * 10
    y = northing(zone, boxes[:, [1, 1, 3, 3]])
    lon, lat = lonlat(zone, x, y)
    return np.stack([lon.min(axis=1), lat.min(axis=1), lon.max(axis=1), lat.max(axis=1)], axis=1)


def _digest(arrays: Iterable[NDArray[np.generic]], samples: Samples) -> str:
    whole = hashlib.sha256()
    for array in (*arrays, *(samples.marks or ()), samples.places):
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class _Squares:
    """Squares of any network."""

    recipe: Recipe
    """What is learnt."""
    draft: Draft
    """The card, and the edge of the squares."""
    samples: Samples
    """All of them."""
    digest: str
    """sha256 of what they were cut from."""

    def folds(self, seed: int) -> tuple[Fold, ...]:
        """As the recipe's split says, by region, block or date."""
        assert self.recipe.split is not None  # noqa: S101  a recipe has one
        samples = self.samples
        return folds_of(self.recipe.split, samples.groups, samples.dates, samples.boxes, seed)

    def everything(self) -> Fold:
        """All squares."""
        whole = np.arange(len(self.samples), dtype=np.int64)
        return Fold(name="whole", train=whole, held_out=whole[:0], units=())

    def fit(self, fold: Fold, session: Session) -> Trained:
        """One training."""
        return train_patches(self.draft.card, self.samples, self.recipe.train, fold, session)


@dataclass(frozen=True, slots=True)
class _FcnImages:
    """Whole images, from which the FCN's crops are drawn at any phase."""

    recipe: Recipe
    """What is learnt."""
    images: tuple[DetectorSample, ...]
    """All of them."""

    @property
    def digest(self) -> str:
        """sha256 of pixels and labels."""
        whole = hashlib.sha256()
        for image in self.images:
            whole.update(image.reflectance.tobytes() + np.ascontiguousarray(image.labels).tobytes())
        return whole.hexdigest()

    def folds(self, seed: int) -> tuple[Fold, ...]:
        """By group: crops of one image overlap, so an image is in one part whole."""
        assert self.recipe.split is not None  # noqa: S101
        split = replace(self.recipe.split, by="group") if self.recipe.split.by == "block" else self.recipe.split
        groups = [image.group for image in self.images]
        return folds_of(split, groups, groups, np.zeros((len(groups), 4)), seed)

    def everything(self) -> Fold:
        """All images."""
        whole = np.arange(len(self.images), dtype=np.int64)
        return Fold(name="whole", train=whole, held_out=whole[:0], units=())

    def fit(self, fold: Fold, session: Session) -> Trained:
        """One training."""
        recipe = self.recipe
        return train_detector(
            self.images, recipe.train, targets=recipe.targets, held_out=fold.units, threshold=recipe.threshold,
            session=session,
        )  # fmt: skip
