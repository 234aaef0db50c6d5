"""From a question (where, when, which level) to the scenes that answer it."""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from scanner.catalog.api import items_of_api
from scanner.catalog.fields import ItemError, cloud_cover_of, footprint_of, level_of, sensing_time, strip_of
from scanner.catalog.items import looks_like_item, scene_of
from scanner.catalog.local import items_of_file
from scanner.catalog.profiles import profile_of
from scanner.config import DEFAULT_CATALOG
from scanner.errors import CatalogError
from scanner.types import Level, Scene

__all__ = ["DEFAULT_CATALOG", "Findings", "SceneQuery", "Skipped", "find", "newest", "search"]

_LOG = logging.getLogger("minescan")
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneQuery:
    """What is asked of a catalogue."""

    catalog: str
    """URL of a STAC API, or path of a file."""
    collection: str | None
    """Collection id; None for the catalogue's usual one, in a file for every item of the level."""
    level: Level
    """Processing level."""
    start: dt.date
    """First day, UTC, included."""
    end: dt.date
    """Last day, UTC, included."""
    aoi: BaseGeometry
    """EPSG:4326, within [-180, 180]; halo included, since only scenes that meet it are given."""
    max_cloud: float | None
    """Percent; scenes that do not say are kept."""
    page_size: int = 100
    """Items asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An item that fits the question but cannot be used."""

    id: str
    """Item id, or its place in the catalogue."""
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The answer, and what became of the rest."""

    scenes: tuple[Scene, ...]
    """By time, then id; without reprocessings."""
    skipped: tuple[Skipped, ...]
    """Items that lack what is needed."""
    superseded: tuple[str, ...]
    """Ids of scenes that a newer processing replaces."""
    seen: int
    """Items the catalogue gave."""
    left_out: Mapping[str, int]
    """How many did not fit, by reason: collection, level, dates, area, clouds."""

    def explain(self) -> str:
        """One line: what became of the items, for a message when nothing is left."""
        parts = [f"{count} {reason}" for reason, count in sorted(self.left_out.items()) if count]
        parts += [f"{len(self.skipped)} that cannot be used"] if self.skipped else []
        return f"{self.seen} items seen" + (f": {', '.join(parts)}" if parts else "")


def search(query: SceneQuery) -> tuple[Scene, ...]:
    """The scenes that meet the AOI, by time and id, without reprocessings; what is skipped is logged.

    Raises:
        CatalogError: the catalogue cannot be read, has no such collection, or holds another level.
    """
    return find(query).scenes


def find(query: SceneQuery) -> Findings:
    """As `search`, with an account of what was left out and why.

    Raises:
        CatalogError: the catalogue cannot be read, has no such collection, or holds another level.
    """
    if query.catalog.startswith(("http://", "https://")):
        collection = _collection(query)
        query = replace(query, collection=collection)
        days = (query.start, query.end)
        items = items_of_api(query.catalog, collection, days, query.aoi, page_size=query.page_size)
    else:
        items = items_of_file(query.catalog)
    sieve = _Sieve(query)
    for item, base in items:
        sieve.take(item, base)
    sieve.refuse_wrong_catalog()
    scenes, superseded = newest(sieve.found)
    for one in sieve.skipped[:_NAMED]:
        _LOG.warning("skipped %s: %s", one.id, one.reason)
    if len(sieve.skipped) > _NAMED:
        _LOG.warning("skipped %d more items", len(sieve.skipped) - _NAMED)
    return Findings(
        scenes=scenes,
        skipped=tuple(sieve.skipped),
        superseded=superseded,
        seen=sieve.seen,
        left_out=dict(sieve.left_out),
    )


def _collection(query: SceneQuery) -> str:
    """The collection an API is asked for: a search over all would page through every sensor's items."""
    profile = profile_of(query.catalog, query.collection)
    collection = query.collection or profile.collections.get(query.level)
    if collection is None:
        raise CatalogError(f"--catalog {query.catalog}: {profile.name} has no {query.level} collection; give --level")
    named = level_of({"properties": {}, "collection": collection})
    if named not in (None, query.level):
        raise CatalogError(f"--collection {collection} holds {named}, expected {query.level}; give --level {named}")
    return collection


class _Sieve:
    """Takes items one by one and keeps the scenes that answer the query."""

    def __init__(self, query: SceneQuery) -> None:
        self.query = query
        self.seen = 0
        self.found: list[tuple[Scene, str]] = []
        self.skipped: list[Skipped] = []
        self.left_out: Counter[str] = Counter()
        self.collections: set[str] = set()
        self.levels: Counter[str] = Counter()
        shapely.prepare(query.aoi)

    def take(self, item: Any, base: str) -> None:
        """Keep, leave out or skip one item."""
        self.seen += 1
        if not looks_like_item(item):
            name = item.get("id") if isinstance(item, Mapping) else None
            self.skipped.append(Skipped(id=str(name or f"item {self.seen}"), reason="it is not a STAC item"))
            return
        try:
            reason = self._misfit(item) or self._keep(item, base)
        except ItemError as error:
            self.skipped.append(Skipped(id=item["id"], reason=" ".join(str(error).split())))
            return
        if reason:
            self.left_out[reason] += 1

    def _misfit(self, item: Mapping[str, Any]) -> str | None:
        """What the question rules out before a scene is made."""
        query, collection = self.query, str(item.get("collection") or "")
        self.collections.add(collection)
        if query.collection is not None and collection != query.collection:
            return "of another collection"
        level = level_of(item) or query.level
        self.levels[level] += 1
        if level != query.level:
            return "of another level"
        if not query.start <= sensing_time(item).date() <= query.end:
            return "outside the dates"
        cover = cloud_cover_of(item)
        if query.max_cloud is not None and cover is not None and cover > query.max_cloud:
            return "cloudier than the limit"
        return None

    def _keep(self, item: Mapping[str, Any], base: str) -> str | None:
        if not shapely.intersects(self.query.aoi, footprint_of(item)):
            return "outside the area"
        scene = scene_of(item, level=self.query.level, catalog=self.query.catalog, base=base)
        self.found.append((scene, strip_of(item)))
        return None

    def refuse_wrong_catalog(self) -> None:
        """A catalogue that cannot hold the answer is refused; one that merely has no scene there is not."""
        query = self.query
        if self.seen == 0 or query.level in self.levels:
            return
        if self.levels:
            others = ", ".join(sorted(self.levels))
            raise CatalogError(
                f"--catalog {query.catalog} holds {others}, expected {query.level}; give --level {others}"
            )
        if query.collection is not None and self.collections - {query.collection}:
            there = ", ".join(sorted(filter(None, self.collections))) or "none"
            raise CatalogError(f"--catalog {query.catalog}: no collection {query.collection!r}; it has {there}")
        if len(self.skipped) == self.seen:
            raise CatalogError(f"--catalog {query.catalog}: none of its {self.seen} features is a STAC item")


def newest(found: Iterable[tuple[Scene, str]]) -> tuple[tuple[Scene, ...], tuple[str, ...]]:
    """Scenes without reprocessings, by time and id; and the ids of those replaced.

    Of one look and tile the newest baseline counts. Within it, two datastrips are two pieces of ground (a datatake cut
    at a receiving station), and both stay; of one datastrip the newest version counts, then the last id.

    Args:
        found: Scenes, each with the key of its datastrip.
    """
    groups: dict[tuple[str, str], list[tuple[Scene, str]]] = {}
    everything = list(found)
    for scene, strip in everything:
        groups.setdefault((scene.look, scene.tile), []).append((scene, strip))
    kept: list[Scene] = []
    for group in groups.values():
        baseline = max(scene.baseline for scene, _ in group)
        strips: dict[str, Scene] = {}
        for scene, strip in group:
            if scene.baseline == baseline:
                strips[strip] = max(strips.get(strip, scene), scene, key=_age)
        kept += strips.values()
    chosen = {id(scene) for scene in kept}
    replaced = sorted(scene.id for scene, _ in everything if id(scene) not in chosen)
    return tuple(sorted(kept, key=lambda scene: (scene.time, scene.id, scene.collection))), tuple(replaced)


def _age(scene: Scene) -> tuple[str, str, str]:
    return scene.version, scene.id, scene.collection
