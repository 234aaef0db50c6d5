"""`minescan chips`: labelled places in, a Zarr of chips out, through the same catalogue and compositor as a scan."""

import fcntl
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.config import digest_of
from scanner.detection.cells import OBSERVED_TENTHS
from scanner.errors import CatalogError, FolderError, InputError
from scanner.run.chip_config import ChipsConfig
from scanner.run.chip_job import Batch, batches, build_part
from scanner.run.chip_labels import Asked, drawn_alike, read_asked
from scanner.run.progress import LOGGER, Progress, open_progress
from scanner.store.chips import Part, chips_identity, read_chips, read_part, write_chips, write_part
from scanner.store.layout import write_atomic
from scanner.types import Fault

__all__ = ["ChipsResult", "make_chips"]

FAULTS_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsResult:
    """What came of it."""

    out: Path
    """The Zarr group."""
    counts: Mapping[str, int]
    """Chips a class."""
    left_out: Mapping[str, int]
    """Places that became none, by reason."""
    digest: str
    """sha256 of everything in it."""
    faults: tuple[Fault, ...]
    """Files that could not be had; the chips were made of the others."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from (f"{name}: {count} chips" for name, count in self.counts.items())
        lost = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        if lost:
            yield f"left out: {lost}"
        yield f"{self.out}: sha256 {self.digest}"


def make_chips(config: ChipsConfig) -> ChipsResult:
    """Cut a chip at every place; the same call again resumes, and does nothing where all is there.

    Raises:
        InputError: the labels do not fit, no place has scenes or a clear look, or a class is left without a chip.
        FolderError: the place of the output holds something else.
    """
    asked = read_asked(config)
    if config.balance:
        asked = asked.only(drawn_alike(asked.labels, config.seed))
    identity = _identity(config, asked)
    if (before := chips_identity(config.out)) is not None:
        if before != identity:
            raise FolderError(f"--out {config.out} holds chips of other labels or options; choose another --out")
        return _as_it_lies(config.out)
    parts = config.out.with_name(f"{config.out.name}.parts")
    work, uncovered = _work(config, asked)
    with _owned(parts, identity), open_progress() as progress:
        paths = _build(work, parts, progress)
        built = ((read_part(path), first) for path, (_, first) in zip(paths, work, strict=True))
        try:
            result = _assemble(config, asked, built, uncovered, identity)
        finally:
            # Whole, or of no use: what is refused here other options must build anew.
            shutil.rmtree(parts)
    return result


def _identity(config: ChipsConfig, asked: Asked) -> str:
    """What a set of chips is bound to: the places and their labels, not the files that said them."""
    mask = hashlib.sha256(asked.masks.tobytes()).hexdigest() if asked.masks is not None else None
    catalog = config.catalog if "://" in config.catalog else str(Path(config.catalog).resolve())
    return digest_of([
        [(place.zone, str(place.window)) for place in asked.places], asked.labels.tolist(), asked.groups, asked.classes,
        mask, config.dates, catalog, config.collection, config.level, config.bands, config.looks, config.max_cloud,
        config.balance, config.seed,
    ])  # fmt: skip


@contextmanager
def _owned(parts: Path, identity: str) -> Iterator[None]:
    """Parts of this very set, and nobody else building it."""
    try:
        parts.mkdir(parents=True, exist_ok=True)
        stream = (parts / ".lock").open("w")
    except OSError as error:
        raise FolderError(f"--out: cannot write {parts} ({error.strerror}); choose another place") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderError(f"{parts} is being written by another process; wait for it") from None
        mark = parts / "identity"
        if mark.exists() and mark.read_text() != identity:
            raise FolderError(
                f"{parts} was begun with other labels or options; use the same to resume, or remove it, or choose "
                "another --out"
            )
        write_atomic(mark, identity.encode())
        yield


def _work(config: ChipsConfig, asked: Asked) -> tuple[list[tuple[Batch, int]], set[int]]:
    """Batches with the number of their first place, and the chips that no scene covers; a chip a place and date."""
    work: list[tuple[Batch, int]] = []
    without: set[int] = set()
    looks = None if config.looks == "all" else config.looks
    for number, dates in enumerate(config.dates):
        first = number * len(asked.places)
        found, uncovered = batches(asked.places, config.query(dates), config.bands, looks)
        work += [(batch, first) for batch in found]
        without |= {first + place for place in uncovered}
    if not work:
        raise CatalogError(
            f"none of {len(asked.places)} places lies under a {config.level} scene of {' or '.join(config.dates)} in "
            f"{config.catalog}: check the coordinates, --dates and --catalog"
        )
    return work, without


def _build(work: Sequence[tuple[Batch, int]], parts: Path, progress: Progress) -> list[Path]:
    """The file of every part, those of an earlier run as they lie."""
    paths = [parts / f"{digest_of([batch.digest, batch.places, first])[:40]}.safetensors" for batch, first in work]
    before = sum(len(batch.places) for (batch, _), path in zip(work, paths, strict=True) if path.exists())
    progress.stage("chips", sum(len(batch.places) for batch, _ in work), before)
    for (batch, _), path in zip(work, paths, strict=True):
        if not path.exists():
            write_part(path, build_part(batch))
            for _ in batch.places:
                progress.advance("chips", str(batch.tile.id))
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """Chips that were had, by the number of place and date."""

    chips: dict[int, tuple[NDArray[np.uint16], int, tuple[str, ...]]]
    """Pixels (band, y, x), clear looks, ids of scenes."""
    faults: tuple[Fault, ...]
    """Files that could not be had."""
    unclear: int
    """Chips that were built and hold too little."""


def _gather(parts: Iterable[tuple[Part, int]]) -> _Built:
    chips: dict[int, tuple[NDArray[np.uint16], int, tuple[str, ...]]] = {}
    faults: dict[tuple[str, str], Fault] = {}
    unclear = 0
    for part, first in parts:
        faults |= {(one.scene, one.asset): one for one in part.faults}
        for index, place in enumerate(part.places.tolist()):
            if 10 * part.seen[index] < OBSERVED_TENTHS:
                unclear += 1
                continue
            chips[first + place] = (part.reflectance[index], int(part.clear_looks[index]), part.scenes[index])
    return _Built(chips=chips, faults=tuple(faults.values()), unclear=unclear)


def _assemble(
    config: ChipsConfig, asked: Asked, parts: Iterable[tuple[Part, int]], uncovered: set[int], identity: str
) -> ChipsResult:
    built = _gather(parts)
    left_out = Counter(asked.left_out)
    left_out.update({"without scenes": len(uncovered), "without a clear look": built.unclear})
    kept = _kept(config, asked, sorted(built.chips), left_out)
    chips = [built.chips[number] for number in kept]
    places, dates = np.array(kept) % len(asked.places), np.array(kept) // len(asked.places)
    names, groups = np.unique([asked.groups[place] for place in places], return_inverse=True)
    pixels: dict[str, NDArray[Any]] = {"reflectance": _stacked([chip for chip, _, _ in chips], asked.edges_px)}
    if asked.masks is not None:
        pixels["mask"] = asked.masks[places]
    rows = asked.rows(places) | {
        "dates": dates.astype(np.int32), "group": groups.astype(np.int32),
        "clear_looks": np.array([looks for _, looks, _ in chips], np.uint16),
    }  # fmt: skip
    attributes = {
        "identity": identity, "classes": list(asked.classes), "groups": names.tolist(), "dates": list(config.dates),
        "bands": list(config.bands), "level": config.level, "looks": config.looks, "max_cloud": config.max_cloud,
        "left_out": dict(left_out),
    }  # fmt: skip
    digest = write_chips(config.out, pixels, rows, [scenes for _, _, scenes in chips], attributes)
    _say_faults(built.faults)
    return ChipsResult(
        out=config.out, counts=_counts(asked.classes, rows["label"], pixels.get("mask")), left_out=left_out,
        digest=digest, faults=built.faults,
    )  # fmt: skip


def _stacked(chips: Sequence[NDArray[np.uint16]], edges_px: tuple[int, int]) -> NDArray[np.uint16]:
    """(n, band, y, x), smaller ones filled up with missing pixels."""
    out = np.zeros((len(chips), len(chips[0]), *edges_px), np.uint16)
    for whole, chip in zip(out, chips, strict=True):
        whole[:, : chip.shape[1], : chip.shape[2]] = chip
    return out


def _kept(config: ChipsConfig, asked: Asked, numbers: Sequence[int], left_out: Counter[str]) -> list[int]:
    """The chips that were had, as many of each class where that was asked for; refuses a class that has none."""
    lost = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
    if not numbers:
        raise InputError(f"no chip could be had: {lost}; other --dates or more --max-cloud may help")
    labels = asked.labels[np.array(numbers) % len(asked.places)]
    for index, name in enumerate(asked.classes):
        if asked.masks is None and not (labels == index).any():
            raise InputError(f"class {name!r} is empty: none of its places became a chip ({lost})")
    if not config.balance:
        return list(numbers)
    drawn = drawn_alike(labels, config.seed)
    left_out["beyond the rarest class"] += len(numbers) - len(drawn)
    return [numbers[index] for index in drawn]


def _counts(classes: Sequence[str], labels: NDArray[np.int16], masks: NDArray[np.int16] | None) -> dict[str, int]:
    """Chips of each class; where pixels have classes, the chips that hold one of it."""
    whole = labels[:, None, None] if masks is None else masks
    return {name: int((whole == index).any(axis=(1, 2)).sum()) for index, name in enumerate(classes)}


def _as_it_lies(out: Path) -> ChipsResult:
    chips = read_chips(out)
    return ChipsResult(
        out=out, counts=_counts(chips.classes, chips.labels, chips.mask), left_out={}, digest=chips.digest, faults=()
    )


def _say_faults(faults: Sequence[Fault]) -> None:
    for fault in faults[:FAULTS_NAMED]:
        LOGGER.warning("%s %s could not be read from %s: %s", fault.scene, fault.asset, fault.href, fault.reason)
    if len(faults) > FAULTS_NAMED:
        LOGGER.warning("%d more files could not be read", len(faults) - FAULTS_NAMED)
