"""The one global order of looks: it asks nothing but the scene, so a new night moves no other (promise 2).

Cloud class first, so that clear looks come early; then calendar slots in bit-reversed order, so that any first K looks
are spread over the year and not crowded into one dry season; then the look's key.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scanner.types import Scene

__all__ = ["Entry", "cloud_class", "entries", "look_day", "slot_rank"]

EPOCH = dt.date(2015, 6, 27)
SLOT_DAYS = 5
SLOT_BITS = 7

_DAY_IN_LOOK = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The place of a look in the order, for those pixels whose best granule has this cloud class.

    A look of granules in several classes has one entry per class. At a pixel it stands at the first entry whose class
    is that of a granule covering the pixel, and takes its value there; its later entries do not count for that pixel.
    """

    look: str
    """Key of the look."""
    cloud_class: int
    """0, 1 or 2: the best class among the granules that cover the pixel."""
    slot_rank: int
    """Place of the look's calendar slot in bit-reversed order, 0 to 127."""
    scenes: tuple[Scene, ...]
    """Every granule of the look, in the order in which their clear pixels are taken."""


def cloud_class(cloud_cover: float | None) -> int:
    """0 up to 20 %, 1 up to 60 % or where the catalogue does not say, 2 above."""
    if cloud_cover is None:
        return 1
    return 0 if cloud_cover <= 20 else 1 if cloud_cover <= 60 else 2


def look_day(scene: Scene) -> dt.date:
    """The UTC day a look began, read from its key, so that every granule of the look gives the same.

    The catalogue writes a date into every key. A key without one (made by hand) falls back on the granule's own time.
    """
    for year, month, day in _DAY_IN_LOOK.findall(scene.look):
        try:
            return dt.date(int(year), int(month), int(day))
        except ValueError:
            continue
    return scene.time.date()


def slot_rank(day: dt.date) -> int:
    """The place of a day's five-day slot, its seven bits reversed: neighbours in time lie far apart in the order."""
    slot = (day - EPOCH).days // SLOT_DAYS % (1 << SLOT_BITS)
    return int(f"{slot:0{SLOT_BITS}b}"[::-1], 2)


def entries(scenes: Iterable[Scene], *, zone: int) -> tuple[Entry, ...]:
    """Every look's entries in global order, by cloud class, slot and key; the input's order does not matter.

    Args:
        scenes: Scenes without reprocessings, as the catalogue gives them.
        zone: EPSG code of the tile: granules in this CRS come before others of their look.
    """
    looks: dict[str, dict[tuple[str, str], Scene]] = {}
    for scene in scenes:
        looks.setdefault(scene.look, {})[scene.collection, scene.id] = scene
    found = [entry for look, granules in looks.items() for entry in _of_look(look, granules, zone)]
    return tuple(sorted(found, key=lambda entry: (entry.cloud_class, entry.slot_rank, entry.look)))


def _of_look(look: str, granules: Mapping[tuple[str, str], Scene], zone: int) -> list[Entry]:
    def in_value_order(scene: Scene) -> tuple[bool, int, str, str]:
        return scene.epsg != zone, cloud_class(scene.cloud_cover), scene.id, scene.collection

    ordered = tuple(sorted(granules.values(), key=in_value_order))
    rank = slot_rank(min(look_day(scene) for scene in ordered))
    classes = sorted({cloud_class(scene.cloud_cover) for scene in ordered})
    return [Entry(look=look, cloud_class=one, slot_rank=rank, scenes=ordered) for one in classes]
