"""Labels of pixels as labels of what a model answers for: cells, or pixels that are not in doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNLABELLED", "Shares", "cell_classes", "majority", "near_edges"]

UNLABELLED = -1
"""Class of what nobody labelled."""

Classes = NDArray[np.int16]
"""Index into a card's classes, or UNLABELLED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """When a cell has a class.

    Raises:
        ValueError: a share is not above 0 and at most 1.
    """

    target: float = 0.1
    """Of a cell's pixels: from this on it is the target's; with less, but some, it is left out."""
    labelled: float = 0.5
    """Of a cell's pixels: without the target's, it has a class when so many are labelled."""

    def __post_init__(self) -> None:
        for name, value in (("target", self.target), ("labelled", self.labelled)):
            if not 0 < value <= 1:
                raise ValueError(f"the {name} share of a cell is {value}, expected above 0 to 1")


def cell_classes(pixels: Classes, cell_px: int, classes: int, shares: Shares) -> tuple[Classes, NDArray[np.bool_]]:
    """Classes of cells from those of their pixels, and which cells are in doubt: some of the target, but too little.

    A cell without enough of the target (the last class) has the class that most of its pixels have, of as many the
    earlier one; so does one in doubt.

    Args:
        pixels: (n cell_px, m cell_px) class of each pixel.
        cell_px: edge of a cell.
        classes: how many there are.
        shares: from which share on.

    Returns:
        (n, m) classes and (n, m) doubts.
    """
    rows, columns = (edge // cell_px for edge in pixels.shape)
    cells = pixels.reshape(rows, cell_px, columns, cell_px)
    counts = np.stack([(cells == index).sum(axis=(1, 3)) for index in range(classes)])
    area, target = cell_px**2, counts[-1]
    known = counts.sum(axis=0) >= shares.labelled * area
    others = np.where(known & (counts[:-1].sum(axis=0) > 0), counts[:-1].argmax(axis=0), UNLABELLED)
    enough = (target >= shares.target * area) & (target > 0)
    return np.where(enough, classes - 1, others).astype(np.int16), (target > 0) & ~enough


def majority(votes: Sequence[Classes], classes: int) -> Classes:
    """The class most votes are for, of as many the later one (the target is last); UNLABELLED votes do not count."""
    stack = np.stack(votes)
    counts = np.stack([(stack == index).sum(axis=0) for index in reversed(range(classes))])
    return np.where(counts.any(axis=0), classes - 1 - counts.argmax(axis=0), UNLABELLED).astype(np.int16)


def near_edges(pixels: Classes, radius_px: int) -> NDArray[np.bool_]:
    """Labelled pixels with another class within so many pixels, rows and columns alike: doubtful ones.

    Where labelled ground ends is no edge. Leaving these out is what Ayala et al. (2021) do for roads.
    """
    from scipy import ndimage  # noqa: PLC0415

    labelled, size = pixels != UNLABELLED, 2 * radius_px + 1
    most = pixels.max(initial=0) + 1
    highest = ndimage.maximum_filter(pixels, size, mode="constant", cval=UNLABELLED)
    lowest = ndimage.minimum_filter(np.where(labelled, pixels, most), size, mode="constant", cval=most)
    return np.asarray(labelled & (lowest != highest))
