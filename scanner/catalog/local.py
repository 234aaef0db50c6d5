"""Items of a catalogue that is a file: ItemCollection, static catalogue, stac-geoparquet."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scanner.errors import CatalogError

__all__ = ["Found", "items_of_file"]

Found = tuple[Mapping[str, Any], str]
"""A STAC item, and the folder or URL that its relative hrefs start from."""

_EXPECTED = "expected a STAC API's URL, an ItemCollection, a catalog.json or a stac-geoparquet file"


def items_of_file(catalog: str) -> Iterator[Found]:
    """Every item of a local catalogue, each with the folder its relative hrefs start from.

    Raises:
        CatalogError: there is no such file, or it (or one that it links to) is not STAC.
    """
    path = (
        Path(url2pathname(urlsplit(catalog).path) if catalog.startswith("file://") else catalog).expanduser().absolute()
    )
    if path.is_dir():
        path = next((path / name for name in ("catalog.json", "collection.json") if (path / name).exists()), path)
    if not path.exists():
        raise CatalogError(f"--catalog {catalog}: no such file; {_EXPECTED}")
    if path.is_dir():
        raise CatalogError(f"--catalog {catalog}: a folder without catalog.json; {_EXPECTED}")
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        yield from _of_parquet(path)
    else:
        yield from _of_json(path, set())


def _of_parquet(path: Path) -> Iterator[Found]:
    import rustac  # noqa: PLC0415

    try:
        features = rustac.read_sync(str(path), format="parquet", set_self_link=False)["features"]
    except (rustac.RustacError, KeyError, TypeError, OSError, ValueError) as error:
        raise CatalogError(f"--catalog {path}: not a stac-geoparquet file: {' '.join(str(error).split())}") from None
    yield from ((item, str(path.parent)) for item in features)


def _of_json(path: Path, seen: set[Path]) -> Iterator[Found]:
    """Items of a STAC JSON file and of those it links to; each file is read once, so circles end."""
    if path in seen:
        return
    seen.add(path)
    value = _read_json(path)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "FeatureCollection":
        yield from ((item, str(path.parent)) for item in _list(value, "features", path))
    elif kind == "Feature":
        yield value, str(path.parent)
    elif kind in ("Catalog", "Collection") or (isinstance(value, dict) and "stac_version" in value):
        for href in _children(value, path):
            yield from _of_json(_linked(href, path), seen)
    else:
        raise CatalogError(f"--catalog {path}: JSON, but not STAC; {_EXPECTED}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CatalogError(f"--catalog {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CatalogError(f"--catalog {path}: not valid JSON (truncated?): {error}; {_EXPECTED}") from None


def _list(value: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    found = value.get(name, [])
    if not isinstance(found, list):
        raise CatalogError(f"--catalog {path}: its {name!r} is not a list; {_EXPECTED}")
    return found


def _children(value: Mapping[str, Any], path: Path) -> list[str]:
    links = [link for link in _list(value, "links", path) if isinstance(link, Mapping)]
    return [str(link.get("href")) for link in links if link.get("rel") in ("child", "item")]


def _linked(href: str, path: Path) -> Path:
    if href.startswith("file://"):
        return Path(url2pathname(urlsplit(href).path))
    if "://" in href:
        raise CatalogError(f"--catalog {path}: links to {href}; a catalogue in files can link to files only")
    return Path(path.parent, href).resolve()
