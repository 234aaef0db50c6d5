"""Squares of labelled ground that any network learns from: chips, or patches of images, cut when they are wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.standard import STORED_OFFSET, STORED_SCALE, Pixels
from models.training.augment import turn
from models.training.labels import LEFT_OUT

__all__ = ["Image", "Samples", "band_figures", "joined", "of_chips", "of_images"]

Marks = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Labelled squares; each is cut from an image, at a place in it."""

    images: Sequence[Pixels]
    """(band, y, x) each, as composites store them or float32 reflectance."""
    marks: Sequence[Marks] | None
    """(y, x) each: class index a pixel, LEFT_OUT where not labelled; None where squares have a class alone."""
    places: NDArray[np.int64]
    """(n, 3) image, row and column of the square's first pixel, which may lie outside the image."""
    labels: NDArray[np.int64]
    """(n,) class index, LEFT_OUT for none."""
    boxes: NDArray[np.float64]
    """(n, 4) west, south, east, north of all the ground that is cut, in any one frame (degrees)."""
    groups: tuple[str, ...]
    """(n,) region."""
    dates: tuple[str, ...]
    """(n,) of the image."""
    edge_px: int
    """Height and width of a square."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        count = len(self.places)
        if {len(self.labels), len(self.boxes), len(self.groups), len(self.dates)} != {count}:
            raise ValueError(f"got {count} places, {len(self.labels)} labels, {len(self.boxes)} boxes")

    def __len__(self) -> int:
        """How many squares."""
        return len(self.places)

    def cut(self, picks: NDArray[np.int64], turns: Sequence[int]) -> list[Pixels]:
        """(band, edge, edge) of some squares, each turned; missing pixels beyond the image."""
        missing = 0 if self.images[0].dtype == np.uint16 else np.nan
        places = self.places[picks].tolist()
        return [
            turn(_cut(self.images[place[0]], place, self.edge_px, missing), which)
            for place, which in zip(places, turns, strict=True)
        ]

    def cut_marks(self, picks: NDArray[np.int64], turns: Sequence[int]) -> NDArray[np.int64]:
        """(k, edge, edge) class indices of some squares, each turned; LEFT_OUT beyond the image."""
        assert self.marks is not None  # noqa: S101  whoever asks has looked
        places = self.places[picks].tolist()
        marks = [
            turn(_cut(self.marks[place[0]][None], place, self.edge_px, LEFT_OUT)[0], which)
            for place, which in zip(places, turns, strict=True)
        ]
        return np.stack(marks).astype(np.int64)


def _cut(image: Any, place: Sequence[int], edge_px: int, missing: float) -> Any:
    """A square as a view of its image; a copy filled up where it reaches beyond."""
    _, row, column = place
    top, left = max(0, row), max(0, column)
    part = image[:, top : max(0, row + edge_px), left : max(0, column + edge_px)]
    if part.shape[1:] == (edge_px, edge_px):
        return part
    whole = np.full((len(image), edge_px, edge_px), missing, image.dtype)
    whole[:, top - row : top - row + part.shape[1], left - column : left - column + part.shape[2]] = part
    return whole


def of_chips(
    reflectance: Pixels, labels: NDArray[Any], marks: Marks | None, *, edge_px: int, where: tuple[Any, Any, Any]
) -> Samples:
    """Chips (n, band, y, x) as squares of another edge round the same centre pixel.

    Args:
        reflectance: as composites store it, or float32.
        labels: (n,) class index.
        marks: (n, y, x) class index a pixel.
        edge_px: of the squares; beyond a smaller chip pixels are missing.
        where: boxes (n, 4), groups (n,) and dates (n,).
    """
    boxes, groups, dates = where
    offsets = [size // 2 - edge_px // 2 for size in reflectance.shape[2:]]
    places = np.array([(number, *offsets) for number in range(len(reflectance))], np.int64).reshape(-1, 3)
    return Samples(
        images=list(reflectance), marks=None if marks is None else list(marks), places=places,
        labels=np.asarray(labels, np.int64), boxes=_within(boxes, edge_px, reflectance.shape[2:]), groups=tuple(groups),
        dates=tuple(dates), edge_px=edge_px,
    )  # fmt: skip


def _within(boxes: Any, edge_px: int, shape: Sequence[int]) -> NDArray[np.float64]:
    """The ground of the squares that are cut from the middle of chips, and a hair."""
    whole = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    middle, half = whole.mean(axis=1), (whole[:, 1] - whole[:, 0]) / 2
    # Of an odd and an even edge the middles are half a pixel apart.
    half = half * np.minimum(1, (edge_px + 1) / np.array([shape[1], shape[0]]))
    return np.concatenate([middle - half, middle + half], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One labelled image on the lattice of a card."""

    pixels: Pixels
    """(band, y, x)."""
    marks: Marks
    """(y, x) class index, LEFT_OUT where not labelled."""
    group: str
    """What is held out together."""
    date: str
    """Of the composite."""
    phase_px: tuple[int, int]
    """(rows, columns) from pixel (0, 0) to the first edge of the lattice."""
    outline: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """(n, 4) left, top, right, bottom in its pixels -> the same ground in the frame of the boxes."""


def of_images(images: Sequence[Image], *, edge_px: int, stride_px: int, positive_share: float, target: int) -> Samples:
    """Squares of an edge on the lattice of a stride, those that lie in an image whole.

    A square's label is that of its middle stride: the target where so much of it is target, LEFT_OUT where less but
    some is, else the commonest class.
    """
    inset = (edge_px - stride_px) // 2
    places: list[tuple[int, int, int]] = []
    labels: list[int] = []
    boxes: list[NDArray[np.float64]] = []
    groups: list[str] = []
    dates: list[str] = []
    for number, image in enumerate(images):
        height, width = image.marks.shape
        for row in range((image.phase_px[0] - inset) % stride_px, height - edge_px + 1, stride_px):
            for column in range((image.phase_px[1] - inset) % stride_px, width - edge_px + 1, stride_px):
                middle = image.marks[row + inset : row + inset + stride_px, column + inset : column + inset + stride_px]
                places.append((number, row, column))
                labels.append(_label(middle, positive_share, target))
        count = len(places) - len(groups)
        corners = np.array(places[len(groups) :], np.float64).reshape(-1, 3)[:, [2, 1]]
        boxes.append(image.outline(np.concatenate([corners, corners + edge_px], axis=1)))
        groups += [image.group] * count
        dates += [image.date] * count
    return Samples(
        images=[image.pixels for image in images], marks=[image.marks for image in images],
        places=np.array(places, np.int64).reshape(-1, 3), labels=np.array(labels, np.int64),
        boxes=np.concatenate(boxes), groups=tuple(groups), dates=tuple(dates), edge_px=edge_px,
    )  # fmt: skip


def _label(middle: Marks, positive_share: float, target: int) -> int:
    share = float((middle == target).mean())
    if share >= positive_share:
        return target
    others = middle[(middle != LEFT_OUT) & (middle != target)]
    if share > 0 or not others.size:
        return LEFT_OUT
    return int(np.bincount(others.ravel()).argmax())


def joined(parts: Sequence[Samples]) -> Samples:
    """All squares of several sets of one edge and one band list."""
    starts = np.cumsum([0, *(len(part.images) for part in parts[:-1])])
    places = [part.places + np.array([start, 0, 0]) for part, start in zip(parts, starts, strict=True)]
    marks = None
    if all(part.marks is not None for part in parts):
        marks = [mark for part in parts for mark in part.marks or ()]
    return Samples(
        images=[image for part in parts for image in part.images], marks=marks, places=np.concatenate(places),
        labels=np.concatenate([part.labels for part in parts]), boxes=np.concatenate([part.boxes for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        dates=tuple(date for part in parts for date in part.dates), edge_px=parts[0].edge_px,
    )  # fmt: skip


def band_figures(samples: Samples, picks: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation a band, reflectance, of what is there in some squares; each pixel of an image once.

    Raises:
        ValueError: a band has nothing but missing pixels.
    """
    totals = np.zeros((3, len(samples.images[0])))
    for image in np.unique(samples.places[picks, 0]):
        pixels = samples.images[image]
        for band, values in enumerate(pixels):
            there = values[values > 0] if pixels.dtype == np.uint16 else values[np.isfinite(values)]
            numbers = there.astype(np.float64)
            if pixels.dtype == np.uint16:
                numbers = numbers * STORED_SCALE + STORED_OFFSET
            totals[:, band] += len(numbers), numbers.sum(), (numbers**2).sum()
    count, first, second = totals
    if not count.all():
        raise ValueError(f"band {int(np.flatnonzero(count == 0)[0])} (from 0) holds nothing but missing pixels")
    mean = first / count
    return mean, np.maximum(np.sqrt(np.maximum(second / count - mean**2, 0)), 1e-6)
