"""Training chips on disk: a Zarr v3 group, and the parts that a run leaves behind before it is whole.

chips.zarr/  reflectance (chip, band, y, x)   uint16 as composites store it, 0 where nothing was clear
mask (chip, y, x)                int16 class index, -1 not labelled; where polygons or a raster say it
label, lon, lat, zone, x0, y0, dates, group, clear_looks (chip)
scenes (chip, byte)              which scenes are clear in it: bits of the attribute `scenes`
digest (chip, 32)                sha256 of its pixels, mask and scenes
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import FolderError, InputError
from scanner.store.layout import write_atomic
from scanner.types import NODATA, OFFSET_DN, Fault

__all__ = ["Chips", "Part", "chips_identity", "read_chips", "read_part", "write_chips", "write_part"]

KIND = "minescan-chips"
VERSION = 1
CHUNK_NBYTES = 4 << 20
"""Of a chunk of reflectance, at least one chip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some chips, as one unit built them."""

    places: NDArray[np.int64]
    """(k,) which of the places asked for."""
    reflectance: NDArray[np.uint16]
    """(k, band, y, x)."""
    seen: NDArray[np.float64]
    """(k,) share of the chip's pixels with a look in every band."""
    clear_looks: NDArray[np.uint16]
    """(k,) median over the chip."""
    scenes: tuple[tuple[str, ...], ...]
    """(k,) ids of the scenes that are clear in it."""
    faults: tuple[Fault, ...] = ()
    """Files that could not be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips:
    """A whole set, read back."""

    reflectance: NDArray[np.uint16]
    """(n, band, y, x) as stored."""
    mask: NDArray[np.int16] | None
    """(n, y, x) class index, -1 where not labelled."""
    labels: NDArray[np.int16]
    """(n,) class index, -1 where only the mask says."""
    boxes: NDArray[np.float64]
    """(n, 4) west, south, east, north of the chip, degrees."""
    groups: tuple[str, ...]
    """(n,) region or block."""
    dates: tuple[str, ...]
    """(n,) START/END of the composite."""
    classes: tuple[str, ...]
    """Names of the class indices."""
    bands: tuple[str, ...]
    """Of the second axis."""
    level: str
    """Processing level."""
    digest: str
    """sha256 of everything in it."""


def write_part(path: Path, part: Part) -> None:
    """One file, whole or not there."""
    from safetensors.numpy import save  # noqa: PLC0415

    arrays = {name: np.ascontiguousarray(getattr(part, name)) for name in ("places", "reflectance", "seen")}
    notes = {
        "scenes": json.dumps(part.scenes),
        "faults": json.dumps([[one.scene, one.asset, one.href, one.reason] for one in part.faults]),
    }
    write_atomic(path, save(arrays | {"clear_looks": part.clear_looks}, metadata=notes))


def read_part(path: Path) -> Part:
    """What `write_part` wrote."""
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in ("places", "reflectance", "seen", "clear_looks")}
        notes = file.metadata()
    faults = [Fault(scene=a, asset=b, href=c, reason=d) for a, b, c, d in json.loads(notes["faults"])]
    return Part(scenes=tuple(map(tuple, json.loads(notes["scenes"]))), faults=tuple(faults), **arrays)


def chips_identity(path: Path) -> str | None:
    """What the set at `path` was asked to be, as `write_chips` was told; None where nothing lies.

    Raises:
        FolderError: something else lies there.
    """
    if not path.exists():
        return None
    attributes = _attributes(path)
    if attributes is None:
        raise FolderError(f"--out {path} is there and is no set of chips; choose another")
    return str(attributes["identity"])


def _attributes(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((path / "zarr.json").read_text()).get("attributes", {})
    except (OSError, ValueError):
        return None
    return found if found.get("kind") == KIND else None


def write_chips(
    path: Path, pixels: Mapping[str, NDArray[Any]], rows: Mapping[str, NDArray[Any]], scenes: Sequence[Sequence[str]],
    attributes: Mapping[str, Any],
) -> str:  # fmt: skip
    """Write a set beside its place and move it there whole; gives its digest.

    Args:
        path: of the group; nothing lies there.
        pixels: `reflectance`, and `mask` where there is one.
        rows: one number a chip each.
        scenes: of each chip, the ids of those that are clear in it.
        attributes: of the group.
    """
    import zarr  # noqa: PLC0415

    names = sorted({name for one in scenes for name in one})
    bits = np.array([np.packbits(np.isin(names, list(one))) for one in scenes], np.uint8)
    digests = _digests(pixels, rows, scenes)
    whole = hashlib.sha256(json.dumps(dict(attributes), sort_keys=True).encode() + digests.tobytes()).hexdigest()
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    group = zarr.create_group(
        draft, zarr_format=3,
        attributes=dict(attributes) | {"kind": KIND, "version": VERSION, "scenes": names, "digest": whole},
    )  # fmt: skip
    for name, values in {**pixels, "scenes": bits, "digest": digests, **rows}.items():
        _write_array(group, name, values, attributes)
    draft.replace(path)
    return whole


def _digests(
    pixels: Mapping[str, NDArray[Any]], rows: Mapping[str, NDArray[Any]], scenes: Sequence[Sequence[str]]
) -> NDArray[np.uint8]:
    found = []
    arrays = [values for _, values in sorted({**pixels, **rows}.items())]
    for index, ids in enumerate(scenes):
        one = hashlib.sha256(json.dumps(sorted(ids)).encode())
        for values in arrays:
            one.update(np.ascontiguousarray(values[index]).tobytes())
        found.append(np.frombuffer(one.digest(), np.uint8))
    return np.array(found, np.uint8).reshape(len(scenes), 32)


def _write_array(group: Any, name: str, values: NDArray[Any], attributes: Mapping[str, Any]) -> None:
    from zarr.codecs import BloscCodec  # noqa: PLC0415

    axes = {"reflectance": ("chip", "band", "y", "x"), "mask": ("chip", "y", "x"), "scenes": ("chip", "byte"),
            "digest": ("chip", "sha256")}  # fmt: skip
    notes: dict[str, Any] = {}
    if name == "reflectance":
        notes = {"scale_factor": 1e-4, "add_offset": -OFFSET_DN * 1e-4, "_FillValue": NODATA,
                 "band_names": list(attributes["bands"]), "units": "1"}  # fmt: skip
    chips = max(1, CHUNK_NBYTES // max(1, values[:1].nbytes)) if values.ndim > 1 else len(values)
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=(min(chips, len(values)), *values.shape[1:]),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), attributes=notes,
        dimension_names=axes.get(name, ("chip",)),
    )  # fmt: skip
    array[:] = values


def read_chips(path: Path) -> Chips:
    """A set in memory, as it is stored.

    Raises:
        InputError: no set of chips lies there.
    """
    import zarr  # noqa: PLC0415

    attributes = _attributes(path)
    if attributes is None:
        raise InputError(f"{path} is no set of chips; make one with minescan chips --out {path}")
    group = zarr.open_group(path, mode="r", zarr_format=3)

    def whole(name: str) -> NDArray[Any]:
        array: Any = group[name]
        return np.asarray(array[:])

    return Chips(
        reflectance=whole("reflectance"), mask=whole("mask") if "mask" in group else None, labels=whole("label"),
        boxes=np.stack([whole(edge) for edge in ("west", "south", "east", "north")], axis=1),
        groups=tuple(attributes["groups"][index] for index in whole("group")),
        dates=tuple(attributes["dates"][index] for index in whole("dates")),
        classes=tuple(attributes["classes"]), bands=tuple(attributes["bands"]), level=attributes["level"],
        digest=attributes["digest"],
    )  # fmt: skip
