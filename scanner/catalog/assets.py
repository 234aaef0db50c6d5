"""Which asset is which band: by name where there is one, by wavelength where there is none."""

import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from scanner.catalog.fields import epsg_of, first_band
from scanner.catalog.offsets import resolve
from scanner.catalog.profiles import Profile
from scanner.types import BANDS, Asset

__all__ = ["assets_of", "band_of", "resolve_href"]

NATIVE_GSD_M: Mapping[str, float] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B10": 60, "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip

_BY_KEY: Mapping[str, str] = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""The names of Earth Search. Of the common names `rededge` is missing, since three or four bands share it."""

_BY_COMMON_NAME = {**_BY_KEY, "rededge071": "B05", "rededge075": "B06", "rededge078": "B07"}

_WAVELENGTH_UM: Mapping[str, float] = {
    "B01": 0.443, "B02": 0.49, "B03": 0.56, "B04": 0.665, "B05": 0.704, "B06": 0.74, "B07": 0.783, "B08": 0.842,
    "B8A": 0.865, "B09": 0.945, "B10": 1.3735, "B11": 1.61, "B12": 2.19,
}  # fmt: skip
_TOLERANCE_UM = 0.012  # B08 and B8A lie 0.023 apart

_BAND_NAME = re.compile(r"B(\d{1,2}|8A)(?:[_-](\d\d)m)?", re.IGNORECASE)
_NOT_BANDS = frozenset({"visual", "overview", "thumbnail", "metadata", "cloud", "snow-ice", "preview", "tiles"})
_NOT_BAND_KEYS = ("aot", "wvp", "visual", "preview", "thumbnail", "tci")
_SCL = re.compile(r"SCL(?:[_-]\d\dm)?", re.IGNORECASE)


def assets_of(item: Mapping[str, Any], profile: Profile, base: str) -> dict[str, Asset]:
    """The item's bands and its scene classification (`SCL`), by name.

    Where a band comes several times, the file nearest to its native pixel size counts.

    Args:
        item: The STAC item.
        profile: The catalogue's habits.
        base: Folder or URL that relative hrefs start from.
    """
    found: dict[str, tuple[tuple[float, str], Asset]] = {}
    for key, asset in item["assets"].items():
        band = band_of(key, asset) if isinstance(asset, Mapping) and asset.get("href") else None
        if band is None:
            continue
        one = _asset(item, asset, band, profile, base)
        rank = (abs(one.gsd_m - NATIVE_GSD_M[band]), key)
        if band not in found or rank < found[band][0]:
            found[band] = (rank, one)
    return {band: found[band][1] for band in (*BANDS, "SCL") if band in found}


def _asset(item: Mapping[str, Any], asset: Mapping[str, Any], band: str, profile: Profile, base: str) -> Asset:
    href, gsd_m = resolve_href(str(asset["href"]), base), _gsd_m(item, asset, band)
    if band == "SCL":
        return Asset(href=href, gsd_m=gsd_m, scale=1.0, offset=0.0, nodata=0)
    scale, offset = resolve(item, asset, profile)
    nodata = first_band(asset).get("nodata", 0)
    whole = isinstance(nodata, int | float) and nodata == nodata // 1
    return Asset(href=href, gsd_m=gsd_m, scale=scale, offset=offset, nodata=int(nodata) if whole else 0)


def band_of(key: str, asset: Mapping[str, Any]) -> str | None:
    """The band an asset holds, `SCL`, or None: pictures, masks and second encodings are no bands."""
    roles = asset.get("roles") or ()
    if key.lower().endswith("-jp2") or key.lower().startswith(_NOT_BAND_KEYS) or _NOT_BANDS.intersection(roles):
        return None
    if _SCL.fullmatch(key):
        return "SCL"
    bands = asset.get("eo:bands") or asset.get("bands") or []
    if len(bands) > 1:
        return None
    band = bands[0] if bands and isinstance(bands[0], Mapping) else {}
    name = str(band.get("name") or "")
    return _named(key) or _named(name) or _BY_KEY.get(key.lower()) or _BY_KEY.get(name.lower()) or _described(band)


def _named(name: str) -> str | None:
    found = _BAND_NAME.fullmatch(name)
    if not found:
        return None
    band = "B8A" if found[1].upper() == "8A" else f"B{int(found[1]):02d}"
    return band if band in BANDS else None


def _described(band: Mapping[str, Any]) -> str | None:
    """By centre wavelength, since common names are shared (B8A is `rededge` in places); else by common name."""
    wavelength = band.get("center_wavelength", band.get("eo:center_wavelength"))
    if isinstance(wavelength, int | float):
        away, nearest = min((abs(centre - wavelength), name) for name, centre in _WAVELENGTH_UM.items())
        return nearest if away <= _TOLERANCE_UM else None
    return _BY_COMMON_NAME.get(str(band.get("common_name", band.get("eo:common_name"))).lower())


def _gsd_m(item: Mapping[str, Any], asset: Mapping[str, Any], band: str) -> float:
    """Pixel size in metres: stated for the band, for the asset, by its transform; else the band's native one."""
    one, transform = first_band(asset), asset.get("proj:transform")
    stated = [one.get("spatial_resolution"), one.get("raster:spatial_resolution"), one.get("gsd")]
    stated += [asset.get("raster:spatial_resolution"), asset.get("gsd")]
    if isinstance(transform, list) and transform and epsg_of(asset, item["properties"]) != 4326:
        stated.append(transform[0])
    sizes = (float(size) for size in stated if isinstance(size, int | float) and not isinstance(size, bool))
    return next((size for size in sizes if size >= 1), NATIVE_GSD_M[band])


def resolve_href(href: str, base: str) -> str:
    """An absolute path, URL or `/vsi` path; URLs and `/vsi` paths stay as they are."""
    if href.startswith("file://"):
        return url2pathname(urlsplit(href).path)
    if "://" in href or href.startswith("/vsi"):
        return href
    if "://" in base:
        return urljoin(base, href)
    return os.path.normpath(PurePath(base) / href)
