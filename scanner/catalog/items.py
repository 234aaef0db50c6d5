"""From a STAC item to a scene."""

from collections.abc import Mapping
from typing import Any

from scanner.catalog import fields
from scanner.catalog.assets import assets_of
from scanner.catalog.fields import ItemError
from scanner.catalog.profiles import profile_of
from scanner.types import Level, Scene

__all__ = ["looks_like_item", "scene_of"]


def looks_like_item(value: Any) -> bool:
    """Whether a value has the shape of a STAC item: an id, properties and assets."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("properties"), Mapping)
        and isinstance(value.get("assets"), Mapping)
    )


def scene_of(item: Mapping[str, Any], *, level: Level, catalog: str, base: str) -> Scene:
    """The scene an item describes.

    Args:
        item: The STAC item, of `level` or of no stated level.
        level: The level it is taken for.
        catalog: URL or path of the catalogue.
        base: Folder or URL that relative hrefs start from.

    Raises:
        ItemError: it lacks a time, a footprint or any band.
    """
    collection = str(item.get("collection") or "")
    profile = profile_of(catalog, collection, item)
    footprint = fields.footprint_of(item)
    time = fields.sensing_time(item)
    assets = assets_of(item, profile, base)
    if not set(assets) - {"SCL"}:
        raise ItemError("none of its assets is a Sentinel-2 band")
    return Scene(
        id=item["id"],
        collection=collection,
        level=level,
        time=time,
        platform=fields.platform_of(item),
        look=fields.look_of(item, footprint),
        tile=fields.tile_of(item, footprint),
        baseline=fields.baseline_of(item) or "00.00",
        version=fields.version_of(item),
        cloud_cover=fields.cloud_cover_of(item),
        epsg=fields.epsg_of(item["properties"], *_first_asset(item)),
        footprint=footprint,
        assets=assets,
        signer=profile.signer,
    )


def _first_asset(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Some catalogues state the CRS on the assets alone; a granule has one."""
    return [asset for asset in item["assets"].values() if isinstance(asset, Mapping) and fields.epsg_of(asset)][:1]
