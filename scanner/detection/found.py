"""What a detector found on one tile, as columns: a tile of pixels has thousands of hits."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tiling import Window

__all__ = ["UNJUDGED", "Found", "Reader", "Stored", "read_ahead"]

UNJUDGED = 65535
"""Value of the coverage grid outside the area of interest or the zone."""

Stored = tuple[NDArray[np.uint16], NDArray[np.uint16]]
"""Composite (band, y, x) and clear looks (y, x)."""

Reader = Callable[[Window], Stored]
"""A window of zone pixels in; composite (band, y, x) and clear looks (y, x) out."""

Place = TypeVar("Place")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Cells whose score is above the threshold; every column has one entry a cell."""

    rows: NDArray[np.int64]
    """Rows in the tile's grid, 0 the northernmost."""
    columns: NDArray[np.int64]
    """Columns in the tile's grid."""
    scores: NDArray[np.float32]
    """Probabilities of the target class."""
    impacts: NDArray[np.float32]
    """(cell, class) probabilities of the judge; no classes without a judge."""
    looks: NDArray[np.uint16]
    """Median clear looks over the cell's own pixels."""
    observed: NDArray[np.bool_]
    """False where too little of the cell's window was seen for the score to count."""

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, which: slice | NDArray[np.int64]) -> "Found":
        """Some of the cells, or all in another order."""
        return Found(**{name: getattr(self, name)[which] for name in self.__slots__})

    @classmethod
    def together(cls, some: Sequence["Found"]) -> "Found":
        """All of them, north to south, west to east."""
        if not some:
            none = np.zeros(0, np.int64)
            return cls(
                rows=none, columns=none, scores=none.astype(np.float32), impacts=np.zeros((0, 0), np.float32),
                looks=none.astype(np.uint16), observed=none.astype(bool),
            )  # fmt: skip
        whole = cls(**{name: np.concatenate([getattr(one, name) for one in some]) for name in cls.__slots__})
        return whole.part(np.lexsort((whole.columns, whole.rows)))


def read_ahead(parts: Sequence[tuple[Place, Window]], read: Reader) -> Iterator[tuple[Place, Stored]]:
    """Each part with its pixels, the next one's being read meanwhile: two are held at most."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = [pool.submit(read, window) for _, window in parts[:1]]
        for number, (place, _) in enumerate(parts):
            pixels = coming.pop().result()
            coming += [pool.submit(read, window) for _, window in parts[number + 1 : number + 2]]
            yield place, pixels
