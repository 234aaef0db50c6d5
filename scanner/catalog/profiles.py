"""The habits of catalogues: which collection holds a level, which rule tells the offset, how files are signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from scanner.types import Level

__all__ = [
    "EARTH_SEARCH",
    "EARTH_SEARCH_UNTOUCHED",
    "GENERIC",
    "PLANETARY_COMPUTER",
    "Profile",
    "Rule",
    "payment_note",
    "profile_of",
]

Rule = Literal["flag", "stated", "baseline"]
"""How the offset is found: a flag that says it was taken off; `raster:bands`; the processing baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What must be known of a catalogue to read it."""

    name: str
    """For messages and run.json."""
    collections: Mapping[Level, str]
    """Collection asked for by default, by level."""
    offset_rules: tuple[Rule, ...]
    """In order; the first that has an answer counts."""
    signer: Literal["planetary_computer"] | None = None
    """How hrefs are signed at the moment of reading."""
    requester_pays: frozenset[Level] = frozenset()
    """Levels whose files lie in buckets that want an account."""


_USUAL: Mapping[Level, str] = {"l2a": "sentinel-2-l2a", "l1c": "sentinel-2-l1c"}

EARTH_SEARCH = Profile(
    name="Earth Search",
    collections=_USUAL,
    offset_rules=("flag", "stated", "baseline"),
    requester_pays=frozenset({"l1c"}),
)
"""`sentinel-2-l2a`: the flag says the offset is off while `raster:bands` still states it."""

EARTH_SEARCH_UNTOUCHED = Profile(
    name="Earth Search",
    collections=_USUAL,
    offset_rules=("stated", "baseline"),
    requester_pays=frozenset({"l1c"}),
)
"""`sentinel-2-c1-l2a` and `sentinel-2-l1c`: files as ESA made them, no flag, the offset stated."""

PLANETARY_COMPUTER = Profile(
    name="Planetary Computer",
    collections={"l2a": "sentinel-2-l2a"},
    offset_rules=("stated", "baseline"),
    signer="planetary_computer",
)
"""Files as ESA made them, nothing stated: the baseline tells."""

GENERIC = Profile(name="generic", collections=_USUAL, offset_rules=("flag", "stated", "baseline"))
"""Any other API and any file: bands by `eo:bands`."""

_HOSTS: Mapping[str, str] = {
    "earth-search.aws.element84.com": "earth-search",
    "planetarycomputer.microsoft.com": "planetary-computer",
}
_ASSET_HOSTS: Mapping[str, str] = {
    "sentinel-cogs.s3.us-west-2.amazonaws.com": "earth-search",
    "sentinel-cogs": "earth-search",
    "sentinel-s2-l1c": "earth-search",
    "e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com": "earth-search",
    "sentinel2l2a01.blob.core.windows.net": "planetary-computer",
}
_UNTOUCHED = ("sentinel-2-c1-l2a", "sentinel-2-l1c")


def profile_of(catalog: str, collection: str | None, item: Mapping[str, Any] | None = None) -> Profile:
    """The profile of a catalogue's collection, by the catalogue's host.

    Args:
        catalog: URL or path of the catalogue.
        collection: Collection id, where one is known.
        item: One of its items: a saved or mirrored item is known by where its files lie.
    """
    maker = _HOSTS.get(urlsplit(catalog).hostname or "")
    if maker is None and item is not None:
        makers = (_ASSET_HOSTS.get(urlsplit(href).hostname or "") for href in _hrefs(item))
        maker = next((one for one in makers if one), None)
    if maker == "planetary-computer":
        return PLANETARY_COMPUTER
    if maker == "earth-search":
        return EARTH_SEARCH_UNTOUCHED if collection in _UNTOUCHED else EARTH_SEARCH
    return GENERIC


def payment_note(catalog: str, collection: str | None, level: Level) -> str | None:
    """One line where reading a level of a catalogue takes an account that pays, else None."""
    if level not in profile_of(catalog, collection).requester_pays:
        return None
    return f"{level.upper()} of {catalog} lies in requester-pays buckets: reading it takes an AWS account that pays"


def _hrefs(item: Mapping[str, Any]) -> list[str]:
    return [str(asset.get("href")) for asset in item["assets"].values() if isinstance(asset, Mapping)]
