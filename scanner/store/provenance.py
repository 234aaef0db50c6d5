"""Which scenes were clear where: one bit a scene and mask pixel, beside a tile's composite.

    composite.zarr/32633-006-061/scenes/  clear (byte, y, x); its attribute `scenes` names the bits, first bit first

A candidate is explained by the scenes of its own pixels, not by all whose footprint happens to meet it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling import Window

__all__ = ["GROUP", "make_clear", "pack", "scenes_in"]

GROUP = "scenes"
SHARD_PX, CHUNK_PX = 768, 256


def make_clear(group: Any, scenes: Sequence[str], whole: Window, gsd_m: int) -> Any:
    """The array for these scenes over a tile's read window, empty; its shards are written where something is seen."""
    from zarr.codecs import BloscCodec  # noqa: PLC0415

    window = whole.at(gsd_m // 10)
    attributes = {"scenes": list(scenes), "gsd_m": gsd_m, "long_name": "clear scenes, one bit each"}
    return group.create_group(GROUP).create_array(
        "clear", shape=(max(1, -(-len(scenes) // 8)), *window.shape), dtype="uint8", fill_value=0,
        chunks=(1, CHUNK_PX, CHUNK_PX), shards=(1, SHARD_PX, SHARD_PX), dimension_names=("byte", "y", "x"),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), attributes=attributes,
    )  # fmt: skip


def pack(states: NDArray[np.uint8], planes: Sequence[int | None], flags: int) -> NDArray[np.uint8]:
    """Bits (byte, row, column), most significant first: has the mask (plane, row, column) all flags? None has none."""
    packed = np.zeros((max(1, -(-len(planes) // 8)), *states.shape[1:]), np.uint8)
    for scene, plane in enumerate(planes):
        if plane is not None:
            packed[scene // 8] |= ((states[plane] & flags) == flags).astype(np.uint8) << np.uint8(7 - scene % 8)
    return packed


def scenes_in(array: Any, whole: Window, window: Window) -> tuple[str, ...]:
    """Ids of the scenes that are clear in at least one mask pixel under a window of zone pixels."""
    factor = array.attrs["gsd_m"] // 10
    rows, columns = window.at(factor).slices_in(whole.at(factor))
    bits = np.unpackbits(np.bitwise_or.reduce(np.asarray(array[:, rows, columns]), axis=(1, 2)))
    return tuple(scene for scene, clear in zip(array.attrs["scenes"], bits, strict=False) if clear)
