"""Which scenes were clear where: one bit a scene and mask pixel, beside a tile's composite.

    composite.zarr/32633-006-061/scenes/  clear (byte, y, x); its attribute `scenes` names the bits, first bit first

A candidate is explained by the scenes of its own pixels, not by all whose footprint happens to meet it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scanner.store.shards import SCENES_CUT
from tiling import Window

__all__ = ["GROUP", "ClearScenes", "make_clear", "pack"]

GROUP = "scenes"


def make_clear(group: Any, scenes: Sequence[str], whole: Window, gsd_m: int) -> Any:
    """The array for these scenes over a tile's read window, empty; its shards are written where something is seen."""
    from zarr.codecs import BloscCodec  # noqa: PLC0415

    window, nbytes, chunk_px = whole.at(gsd_m // 10), max(1, -(-len(scenes) // 8)), SCENES_CUT.chunk_px
    attributes = {"scenes": list(scenes), "gsd_m": gsd_m, "long_name": "clear scenes, one bit each"}
    return group.create_group(GROUP).create_array(
        "clear", shape=(nbytes, *window.shape), dtype="uint8", fill_value=0, dimension_names=("byte", "y", "x"),
        chunks=(1, chunk_px, chunk_px), shards=(nbytes, *SCENES_CUT.shard(window.width_px)),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), attributes=attributes,
    )  # fmt: skip


def pack(states: NDArray[np.uint8], planes: Sequence[int | None], flags: int) -> NDArray[np.uint8]:
    """Bits (byte, row, column), most significant first: has the mask (plane, row, column) all flags? None has none."""
    packed = np.zeros((max(1, -(-len(planes) // 8)), *states.shape[1:]), np.uint8)
    _pack(states, np.array([-1 if plane is None else plane for plane in planes], np.int64), np.uint8(flags), packed)
    return packed


@njit(nogil=True, cache=True)
def _pack(
    states: NDArray[np.uint8], planes: NDArray[np.int64], flags: np.uint8, packed: NDArray[np.uint8]
) -> None:  # pragma: no cover
    for row in range(packed.shape[1]):
        for scene, plane in enumerate(planes):
            if plane >= 0:
                state, out, bit = states[plane, row], packed[scene // 8, row], np.uint8(128 >> scene % 8)
                for column in range(out.size):
                    if (state[column] & flags) == flags:
                        out[column] |= bit


class ClearScenes:
    """Which scenes are clear where on one tile, read block by block however many windows are asked about."""

    def __init__(self, array: Any | None, whole: Window) -> None:
        """None for a tile whose scenes were all left out.

        Args:
            array: as `make_clear` made it.
            whole: the window of zone pixels that it covers.
        """
        self._array, self._whole = array, whole

    def __call__(self, window: Window) -> tuple[str, ...]:
        """Ids of the scenes that are clear in at least one mask pixel under a window of zone pixels."""
        return self.behind([window])[0]

    def behind(self, windows: Sequence[Window]) -> list[tuple[str, ...]]:
        """The same of many windows, small ones in their thousands too; equal answers are one object."""
        found: list[tuple[str, ...]] = [()] * len(windows)
        if self._array is None or not windows:
            return found
        factor = self._array.attrs["gsd_m"] // 10
        under = np.array([(box.y0, box.y1, box.x0, box.x1) for box in (window.at(factor) for window in windows)])
        outer = self._whole.at(factor)
        under -= np.array([outer.y0, outer.y0, outer.x0, outer.x0])
        if under.min() < 0 or (under.max(axis=0) > np.repeat(outer.shape, 2)).any():
            raise ValueError(f"a window is not inside {self._whole}")
        block = under[:, 0] // SCENES_CUT.chunk_px * 2**32 + under[:, 2] // SCENES_CUT.chunk_px
        for key in np.unique(block):
            here = np.flatnonzero(block == key)
            patterns, which = np.unique(self._bits(under[here]), axis=0, return_inverse=True)
            names = [self._names(pattern) for pattern in patterns]
            for place, pattern in zip(here.tolist(), which.tolist(), strict=True):
                found[place] = names[pattern]
        return found

    def _bits(self, under: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(window, byte): the bits of each window's pixels, joined by or; one read for all."""
        assert self._array is not None  # noqa: S101
        y0, y1, x0, x1 = under.T
        top, left = y0.min(), x0.min()
        pixels = np.asarray(self._array[:, top : y1.max(), left : x1.max()])
        bits = np.zeros((len(under), len(pixels)), np.uint8)
        for dy in range((y1 - y0).max()):
            for dx in range((x1 - x0).max()):
                bits |= pixels[:, np.minimum(y0 + dy, y1 - 1) - top, np.minimum(x0 + dx, x1 - 1) - left].T
        return bits

    def _names(self, pattern: NDArray[np.uint8]) -> tuple[str, ...]:
        assert self._array is not None  # noqa: S101
        clear = np.unpackbits(pattern)
        return tuple(scene for scene, bit in zip(self._array.attrs["scenes"], clear, strict=False) if bit)
