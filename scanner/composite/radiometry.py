"""Whether a scene's offset is what its own pixels say: the thousand of baseline 04.00, there or not.

A product holds either no offset or -0.1. Where the 1000 was added, nothing in the short-wave infrared lies below it;
where it was not, water, shadow and forest do. So a scene with dark pixels below 850 cannot hold it, and one whose
darkest pixels in every band lie just above 1000, vegetation among them, can hardly lack it. All else proves nothing:
haze, cloud, snow and bare ground are bright under either.

A verdict that changes a pixel comes from the scene's own file alone, at places fixed in it. Other looks at the same
ground only raise a suspicion: they come and go with the dates asked for, and no pixel may depend on those.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from scanner.types import Level, Scene

__all__ = ["WITNESSES", "Sample", "Tail", "Verdict", "apply", "audit", "row", "tally", "wanted"]

ADDED: Final = -0.1
"""Reflectance at DN 0 where the 1000 was added."""

FIRST_BASELINE: Final = "04.00"
"""The first that added it."""

FIRST: Final[Mapping[Level, tuple[str, ...]]] = {"l2a": ("B12", "B04"), "l1c": ("B10", "B12", "B04")}
"""The bands that are always looked at: they deny the 1000, and raise suspicions."""

WITNESSES: Final[Mapping[Level, tuple[str, ...]]] = {
    level: (*bands, "B02", "B8A", "B11") for level, bands in FIRST.items()
}
"""The bands a scene is judged by. It has all of them or is not judged; `wanted` says which are worth reading."""

BELOW_ADDED: Final = {"B10": 850, "B12": 850, "B04": 500}
"""A hundredth of the pixels below this DN: no 1000 in it. Reflectance -0.015, which no ground has; in red -0.05, since
corrected shadows overshoot there (in B02 the lowest of 160 thousand pixels at Strzegom in February: -0.033)."""

FLOORS: Final[Mapping[Level, Mapping[str, tuple[int, int]]]] = {
    "l2a": {"B02": (850, 1400), "B04": (850, 1400), "B8A": (950, 1400), "B11": (950, 1400), "B12": (950, 1400)},
    "l1c": {
        "B02": (1500, 2500), "B04": (1200, 1900), "B8A": (950, 2500), "B10": (990, 1050), "B11": (950, 2200),
        "B12": (950, 1700),
    },
}  # fmt: skip
"""Where the darkest thousandth ends, DN, when the 1000 is in it. L1C has the light of the air on top of that, and a
cirrus band that is black wherever no high cloud is."""

VEGETATION: Final = 500
"""B8A over B04 by this many DN, whatever the offset: not open water, which glint can turn an even grey."""

VEGETATED: Final = 0.01
"""Least share of vegetation."""

CUT: Final = 0.35
"""Share of the ground at DN 1 or below in B02 and B04, above which an offset was taken off that was not there. The most
in 118 honest dates: 0.21, on a December day; the next 0.01."""

CUT_IF_WRONG: Final = 0.05
"""The same where the stated offset is not the found one: what is cut off cannot be set right."""

LEAST_GROUND: Final = 0.01
"""Share of the points that must be ground for that."""

LEAST_PX: Final = 1000
"""Pixels of a band without which nothing is said."""

LEAST_LOOKS: Final = 3
"""Other scenes of the same ground, judged by their own pixels, without which a scene is not compared."""

LEAST_POINTS: Final = 200
"""Points of the ground they must have in common."""

APART: Final = (0.06, 0.14)
"""Reflectance by which a scene lies above the others, or below, from the first quarter of the ground to the third, in
red and short-wave infrared alike, when it is the offset. Cloud and haze vary with the ground and the wavelength."""

SCALE: Final = 1e-4

Action = Literal["agrees", "undecided", "suspect", "corrected", "left out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The dark end of a band."""

    count_px: int
    """Pixels with data, away from the edge of the data."""
    share: float
    """Share of the pixels that have data."""
    trace: int
    """DN under which a thousandth of them lies, and at least twelve."""
    low: int
    """DN under which a hundredth of them lies, and at least twelve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen of a scene, at places fixed in its files."""

    scene: Scene
    """As the catalogue gave it."""
    place: str
    """The grid and the places on it: samples of one place lie pixel on pixel."""
    tails: Mapping[str, Tail] = field(compare=False)
    """By band."""
    points: Mapping[str, NDArray[np.uint16]] = field(compare=False)
    """DN by band at the same points of the ground, 0 without data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a scene's offset."""

    collection: str
    """The scene's collection id."""
    scene: str
    """The scene's id."""
    stated: float | None
    """Offset after the catalogue's flags were weighed, reflectance; None where its bands differ."""
    found: float | None
    """Offset its own pixels show, reflectance; None where they show none."""
    action: Action
    """`corrected`: the found offset is used. `left out`: the scene is not. Otherwise the stated offset is used."""
    evidence: str
    """Why, in one line."""
    apart: float | None = None
    """Reflectance above other scenes of the same ground; None where it was not compared."""


def wanted(scene: Scene, tails: Mapping[str, Tail]) -> tuple[str, ...]:
    """The bands worth reading next: none once what is left could not contradict the stated offset."""
    witnesses, first = WITNESSES[scene.level], FIRST[scene.level]
    if _unfit(scene):
        return ()
    if any(band not in tails for band in first):
        return first
    settled = _denied(tails) or _stated(scene) == ADDED or not _inside(scene.level, tails)
    return () if settled and not _maybe_cut(tails) else tuple(band for band in witnesses if band not in tails)


def audit(samples: Sequence[Sample]) -> tuple[Verdict, ...]:
    """One verdict a sample, in their order. `action` depends on the others only where it says `suspect`."""
    own = [_judge(sample) for sample in samples]
    places: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        places[sample.place].append(index)
    for indices in places.values():
        unsure = [i for i in indices if own[i].action == "undecided" and samples[i].points]
        sure = [i for i in indices if own[i].action in ("agrees", "corrected")]
        if unsure and len(sure) >= LEAST_LOOKS:
            looks = np.stack([_reflectance(samples[i], own[i]) for i in sure])
            for i in unsure:
                own[i] = _compare(own[i], _reflectance(samples[i], own[i]), looks)
    return tuple(own)


def apply(scenes: Sequence[Scene], verdicts: Sequence[Verdict]) -> tuple[Scene, ...]:
    """The scenes to use, in their order: those left out are gone, those corrected have the offset that was found."""
    by_key = {(verdict.collection, verdict.scene): verdict for verdict in verdicts}
    kept = []
    for scene in scenes:
        verdict = by_key.get((scene.collection, scene.id))
        if verdict is None or verdict.action in ("agrees", "undecided", "suspect"):
            kept.append(scene)
        elif verdict.action == "corrected" and verdict.found is not None:
            kept.append(_with_offset(scene, verdict.found))
    return tuple(kept)


def row(verdict: Verdict) -> dict[str, Any]:
    """The verdict for JSON."""
    return {name: getattr(verdict, name) for name in Verdict.__slots__}


def tally(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """How many scenes of each action, for a receipt."""
    return {f"offset {action}": float(count) for action, count in Counter(one.action for one in verdicts).items()}


def _with_offset(scene: Scene, offset: float) -> Scene:
    """SCL and whatever else is not a band keeps its own."""
    assets = {
        name: replace(asset, offset=offset) if name.startswith("B") else asset for name, asset in scene.assets.items()
    }
    return replace(scene, assets=assets)


def _judge(sample: Sample) -> Verdict:
    """By the scene's own file alone."""
    scene, stated = sample.scene, _stated(sample.scene)
    found, evidence = _found(sample, stated)
    action, evidence = _rule(sample, stated, found, evidence)
    return Verdict(
        collection=scene.collection, scene=scene.id, stated=stated, found=found, action=action, evidence=evidence
    )


def _rule(sample: Sample, stated: float | None, found: float | None, evidence: str) -> tuple[Action, str]:
    """What a found offset, or none, makes of the stated one."""
    baseline, cut = sample.scene.baseline, _cut(sample)
    if cut > (CUT if found == stated else CUT_IF_WRONG) and found != ADDED:
        return "left out", f"B02 and B04 are cut off at zero on {cut:.0%} of the ground: an offset was taken off twice"
    if found is None:
        if stated in (0.0, ADDED) or not sample.tails:
            return "undecided", evidence
        told = "bands of several offsets" if stated is None else f"the offset {stated}"
        return "left out", f"no product has {told}; {evidence}"
    if found == stated:
        return "agrees", evidence
    if found == ADDED and "00.00" < baseline < FIRST_BASELINE:
        return "left out", f"{evidence}; no product of baseline {baseline} holds the 1000"
    return "corrected", evidence


def _stated(scene: Scene) -> float | None:
    found = {round(scene.assets[band].offset, 6) for band in scene.assets if band.startswith("B")}
    return found.pop() + 0.0 if len(found) == 1 else None


def _unfit(scene: Scene) -> str:
    """Why a scene cannot be judged; empty where it can."""
    missing = [band for band in WITNESSES[scene.level] if band not in scene.assets]
    if missing:
        return f"without {', '.join(missing)}"
    other = any(abs(scene.assets[band].scale - SCALE) > SCALE * 1e-3 for band in WITNESSES[scene.level])
    return f"a scale other than {SCALE:g}" if other else ""


def _found(sample: Sample, stated: float | None) -> tuple[float | None, str]:
    """The offset the pixels show, and how. A statement is believed on fewer bands than contradict one."""
    scene, tails = sample.scene, sample.tails
    if unfit := _unfit(scene):
        return None, f"not judged: {unfit}"
    fewest = min(tail.count_px for tail in tails.values())
    if fewest < LEAST_PX:
        return None, f"not judged: {fewest} pixels with data"
    if denied := _denied(tails):
        return 0.0, denied
    shown = ", ".join(f"{band} {tail.trace}" for band, tail in tails.items())
    complete = tails.keys() == set(WITNESSES[scene.level])
    if _inside(scene.level, tails) and (stated == ADDED or (complete and _vegetated(sample))):
        return ADDED, f"the darkest pixels of every band lie just above 1000: {shown}"
    return None, f"no dark ground to tell by: {shown}"


def _denied(tails: Mapping[str, Tail]) -> str:
    """Why there is no 1000 in the pixels; empty where there may be."""
    for band, limit in BELOW_ADDED.items():
        if band in tails and tails[band].low < limit:
            return f"a hundredth of {band} lies below {tails[band].low}, impossible with 1000 added"
    return ""


def _maybe_cut(tails: Mapping[str, Tail]) -> bool:
    """Whether it is worth looking for ground cut off at zero."""
    red, swir = tails["B04"], tails["B12"]
    return min(red.low, swir.low) <= 1 or red.share < 0.9 * swir.share


def _inside(level: Level, tails: Mapping[str, Tail]) -> bool:
    """Whether the darkest pixels of every band lie where the 1000 would put them."""
    return all(FLOORS[level][band][0] <= tail.trace <= FLOORS[level][band][1] for band, tail in tails.items())


def _vegetated(sample: Sample) -> bool:
    near, red = (sample.points[band].astype(np.int32) for band in ("B8A", "B04"))
    data = (near > 0) & (red > 0)
    return bool((data & (near - red > VEGETATION)).sum() > VEGETATED * max(data.sum(), 1))


def _cut(sample: Sample) -> float:
    """Share of the ground where B02 and B04 alike are at DN 1 or below, though another band is not."""
    if not {"B02", "B04"} <= sample.points.keys():
        return 0.0
    ground = np.any([points > 1 for points in sample.points.values()], axis=0)
    if ground.mean() < LEAST_GROUND:
        return 0.0
    return min(float((sample.points[band][ground] <= 1).mean()) for band in ("B02", "B04"))


def _reflectance(sample: Sample, verdict: Verdict) -> NDArray[np.float32]:
    """B04 and B12, (band, point), with the offset in use; NaN without data."""
    values = []
    for band in ("B04", "B12"):
        asset, points = sample.scene.assets[band], sample.points[band]
        offset = asset.offset if verdict.found is None else verdict.found
        values.append(np.where(points > 0, points * np.float32(asset.scale) + np.float32(offset), np.nan))
    return np.stack(values).astype(np.float32)


def _compare(verdict: Verdict, mine: NDArray[np.float32], looks: NDArray[np.float32]) -> Verdict:
    """With how far it lies above the median of the others; suspect where it is an offset."""
    both = np.isfinite(mine).all(axis=0) & (np.isfinite(looks).all(axis=1).sum(axis=0) >= LEAST_LOOKS)
    if both.sum() < LEAST_POINTS:
        return verdict
    apart = mine[:, both] - np.nanmedian(looks[:, :, both], axis=0)
    verdict = replace(verdict, apart=round(float(np.median(apart)), 4))
    quarters = np.quantile(apart, (0.25, 0.75), axis=1)
    side = 1 if quarters.min() > 0 else -1
    least, most = float((side * quarters).min()), float((side * quarters).max())
    if least < APART[0] or most > APART[1]:
        return verdict
    where = f"{least:.3f} to {most:.3f} {'above' if side > 0 else 'below'} {len(looks)} other scenes"
    return replace(verdict, action="suspect", evidence=f"half of the ground lies {where} in B04 and B12 alike")
