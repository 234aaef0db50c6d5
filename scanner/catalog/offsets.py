"""From an asset's numbers to reflectance: DN x scale + offset, with the offset applied exactly once.

Processing baseline 04.00 (25 January 2022) added 1000 to every DN. Whether a catalogue's files still hold it is said in
three ways, which may contradict each other; a profile lists the rules it goes by, and the first that answers counts.
The Earth Search flag is itself wrong on some items (its issues 66 and 71): the pixels, when read, have the last word.
"""

from collections.abc import Callable, Mapping
from typing import Any

from scanner.catalog.fields import baseline_of, first_band, sensing_time
from scanner.catalog.profiles import Profile, Rule

__all__ = ["ADDED", "resolve"]

ADDED = -0.1
"""Reflectance at DN 0 in products of baseline 04.00 and later."""

_SCALE = 1e-4
_FIRST_WITH_OFFSET = "04.00"
_FIRST_DAY_WITH_OFFSET = "2022-01-25"
_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


def resolve(item: Mapping[str, Any], asset: Mapping[str, Any], profile: Profile) -> tuple[float, float]:
    """Scale and offset of one asset, by the first of the profile's rules that has an answer.

    Args:
        item: The STAC item, as a dict.
        asset: One of its assets.
        profile: The catalogue's habits.
    """
    stated = _number(asset, "scale")
    answers = (_ANSWERS[rule](item, asset) for rule in profile.offset_rules)
    offset = next((answer for answer in answers if answer is not None), 0.0)
    return (_SCALE if stated is None or stated <= 0 else stated), offset


def _from_flag(item: Mapping[str, Any], _asset: Mapping[str, Any]) -> float | None:
    """Already subtracted when the catalogue says so, whatever `raster:bands` still states; no answer otherwise."""
    properties = item["properties"]
    return 0.0 if any(properties.get(flag) is True for flag in _FLAGS) else None


def _from_statement(_item: Mapping[str, Any], asset: Mapping[str, Any]) -> float | None:
    return _number(asset, "offset")


def _from_baseline(item: Mapping[str, Any], _asset: Mapping[str, Any]) -> float | None:
    """Of the baseline and not of the day: archives were reprocessed. The day counts where no baseline is known."""
    baseline = baseline_of(item)
    if baseline is not None:
        return ADDED if baseline >= _FIRST_WITH_OFFSET else 0.0
    return ADDED if sensing_time(item).date().isoformat() >= _FIRST_DAY_WITH_OFFSET else 0.0


_ANSWERS: Mapping[Rule, Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]] = {
    "flag": _from_flag,
    "stated": _from_statement,
    "baseline": _from_baseline,
}


def _number(asset: Mapping[str, Any], name: str) -> float | None:
    """`raster:bands[0].name`, or `raster:name` on the band or the asset (raster extension 2)."""
    band = first_band(asset)
    for holder, key in ((band, name), (band, f"raster:{name}"), (asset, f"raster:{name}")):
        value = holder.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 (NaN)
            return float(value)
    return None
