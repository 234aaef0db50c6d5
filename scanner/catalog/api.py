"""Items of a STAC API, page by page, with patience for a server's bad moments."""

import datetime as dt
import warnings
from collections.abc import Iterator
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from scanner.catalog.local import Found
from scanner.errors import CatalogError

__all__ = ["items_of_api", "search_shapes"]

_MAX_VERTICES = 400
"""Servers limit the body of a request, and intersect slowly."""

_MAX_SEARCHES = 8
_TIMEOUT_S = (10.0, 60.0)


def items_of_api(
    url: str, collection: str, days: tuple[dt.date, dt.date], aoi: BaseGeometry, *, page_size: int
) -> Iterator[Found]:
    """Items of one collection sensed in `days` (both included) that may meet the AOI, each once.

    The server's answer is a superset: dates, geometry and clouds are looked at again by the caller.

    Raises:
        CatalogError: the API cannot be reached, answers with an error or nonsense, or has no such collection.
    """
    from pystac_client.warnings import PystacClientWarning  # noqa: PLC0415

    seen: set[str] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            client = _open(url)
            _require_collection(client, url, collection)
            for shape in search_shapes(aoi):
                asked = client.search(
                    collections=[collection], intersects=mapping(shape), datetime=_datetime(days), limit=page_size
                )
                for item in asked.items_as_dicts():
                    if item.get("id") not in seen:
                        seen.add(str(item.get("id")))
                        yield item, _base(item, url)
    except CatalogError:
        raise
    except Exception as error:
        # pystac and pystac-client raise a dozen kinds, bare Exception among them; all mean that this is no usable API.
        raise CatalogError(f"--catalog {url}: {_one_line(error)}; expected a STAC API that answers") from error


def _open(url: str) -> Any:
    from pystac_client import Client  # noqa: PLC0415
    from pystac_client.stac_api_io import StacApiIO  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    # A wrong URL should be told at once; a server that has answered before deserves more patience.
    io = StacApiIO(timeout=_TIMEOUT_S, max_retries=_retry(connect=1))
    client = Client.open(url, stac_io=io)
    if not client.get_links("search") and not client.conforms_to("ITEM_SEARCH"):
        raise CatalogError(
            f"--catalog {url}: is STAC, but not an API that can be searched; download it and give the file"
        )
    for scheme in ("http://", "https://"):
        io.session.mount(scheme, HTTPAdapter(max_retries=_retry(connect=5)))
    return client


def _retry(*, connect: int) -> Any:
    """Waits 0, 1, 2, 4, 8 s, or as long as the server says; a search is a question, so a POST may be asked again."""
    from urllib3 import Retry  # noqa: PLC0415

    return Retry(
        total=5, connect=connect, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )  # fmt: skip


def _require_collection(client: Any, url: str, collection: str) -> None:
    """A search for an unknown collection answers nothing, which would look like a cloudy year."""
    if client.get_collection(collection) is None:
        there = ", ".join(sorted(str(one.id) for one in client.get_collections())[:20])
        raise CatalogError(
            f"--catalog {url}: no collection {collection!r}; it has {there or 'none'}; give --collection"
        )


def _datetime(days: tuple[dt.date, dt.date]) -> str:
    """Up to the midnight after the last day: the caller drops that instant, and no fraction of a second is missed."""
    first, last = days
    return f"{first}T00:00:00Z/{last + dt.timedelta(days=1)}T00:00:00Z"


def search_shapes(aoi: BaseGeometry) -> tuple[BaseGeometry, ...]:
    """Simple shapes that together cover the AOI: one per part, or hulls and boxes where there is too much of it.

    Parts on the two sides of the antimeridian are never put into one box.
    """
    parts = [part for part in shapely.get_parts(aoi) if not part.is_empty]
    if len(parts) > _MAX_SEARCHES:
        sides = ([p for p in parts if p.centroid.x < 0], [p for p in parts if p.centroid.x >= 0])
        parts = [shapely.union_all(side).envelope for side in sides if side]
    return tuple(_simple(part) for part in parts)


def _simple(part: BaseGeometry) -> BaseGeometry:
    for shape in (part, part.convex_hull):
        if shapely.get_num_coordinates(shape) <= _MAX_VERTICES:
            return shape
    return part.envelope


def _base(item: dict[str, Any], url: str) -> str:
    """What relative hrefs of a served item start from: its own address."""
    own = [str(link.get("href")) for link in item.get("links", []) if link.get("rel") == "self"]
    return own[-1] if own and "://" in own[-1] else url


def _one_line(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    text = " ".join(str(error).split()) or type(error).__name__
    return (f"HTTP {status}: " if status else "") + text[:240]
