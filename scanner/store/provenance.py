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

__all__ = ["GROUP", "make_clear", "pack", "scenes_in"]

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


def scenes_in(array: Any, whole: Window, window: Window) -> tuple[str, ...]:
    """Ids of the scenes that are clear in at least one mask pixel under a window of zone pixels."""
    factor = array.attrs["gsd_m"] // 10
    rows, columns = window.at(factor).slices_in(whole.at(factor))
    bits = np.unpackbits(np.bitwise_or.reduce(np.asarray(array[:, rows, columns]), axis=(1, 2)))
    return tuple(scene for scene, clear in zip(array.attrs["scenes"], bits, strict=False) if clear)
