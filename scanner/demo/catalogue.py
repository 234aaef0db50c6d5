"""STAC items like Earth Search's for the granules of a synthetic region, with hrefs relative to the file."""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from scanner.demo.clouds import Day
from scanner.demo.plane import to_lonlat, to_plane
from scanner.demo.spectra import BANDS, GSD_M
from tiling import Window, frame_of, northing

__all__ = ["COLLECTION", "Tile", "footprint", "item_id", "make_item", "write_catalogue"]

COLLECTION: Final = "sentinel-2-l2a"
"""Collection id, as Earth Search and Planetary Computer have it."""

_EXTENSIONS: Final = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v1.1.0", "eo/v1.1.0", "raster/v1.1.0", "view/v1.0.0", "grid/v1.0.0", "mgrs/v1.0.0")
]
_NAMES: Final = {
    "B01": ("coastal", "coastal", 0.443), "B02": ("blue", "blue", 0.49), "B03": ("green", "green", 0.56),
    "B04": ("red", "red", 0.665), "B05": ("rededge1", "rededge", 0.704), "B06": ("rededge2", "rededge", 0.74),
    "B07": ("rededge3", "rededge", 0.783), "B08": ("nir", "nir", 0.842), "B8A": ("nir08", "nir08", 0.865),
    "B09": ("nir09", "nir09", 0.945), "B11": ("swir16", "swir16", 1.61), "B12": ("swir22", "swir22", 2.19),
}  # fmt: skip
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Where the granules of one MGRS tile lie."""

    mgrs: str
    """Zone, latitude band and grid square."""
    zone: int
    """EPSG code."""
    window: Window
    """Zone pixels of 10 m, edges multiples of 6."""


def item_id(tile: Tile, day: Day) -> str:
    """As Earth Search names its items: also the granule's folder."""
    return f"{day.platform}_{tile.mgrs}_{day.time:%Y%m%d}_0_L2A"


def footprint(tile: Tile, day: Day) -> BaseGeometry:
    """The part of the granule inside the swath, in degrees."""
    edge = shapely.get_coordinates(shapely.segmentize(frame_of(tile.zone, tile.window), 1000))
    ground = shapely.Polygon(np.column_stack(to_plane(tile.zone, edge[:, 0], edge[:, 1])))
    seen = ground.intersection(day.swath)
    return shapely.set_precision(
        shapely.transform(seen, lambda points: np.column_stack(to_lonlat(points[:, 0], points[:, 1]))), 1e-7
    )


def make_item(tile: Tile, day: Day, scl: Any) -> dict[str, Any]:
    """The item of one granule, with the percentages its own scene classification gives."""
    place = footprint(tile, day)
    known = max(int((scl > 0).sum()), 1)
    share = {name: 100 * float(np.isin(scl, classes).sum()) / known for name, classes in _SHARES.items()}
    name, stamp = item_id(tile, day), f"{day.time:%Y%m%dT%H%M%S}"
    written = (day.time + dt.timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
    code = day.baseline.replace(".", "")
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": _EXTENSIONS, "id": name,
        "collection": COLLECTION, "bbox": [round(side, 7) for side in place.bounds], "geometry": mapping(place),
        "links": [{"rel": "collection", "type": "application/json", "href": "./collection.json"}],
        "properties": {
            "datetime": day.time.strftime("%Y-%m-%dT%H:%M:%S.024000Z"), "created": written, "updated": written,
            "platform": f"sentinel-2{day.platform[-1].lower()}", "constellation": "sentinel-2",
            "instruments": ["msi"], "gsd": 10, "eo:cloud_cover": round(share.pop("clouds"), 6),
            "proj:epsg": tile.zone, "grid:code": f"MGRS-{tile.mgrs}", "mgrs:utm_zone": int(tile.mgrs[:2]),
            "mgrs:latitude_band": tile.mgrs[2], "mgrs:grid_square": tile.mgrs[3:],
            "s2:product_type": "S2MSI2A", "s2:processing_baseline": day.baseline,
            "s2:product_uri": f"{day.platform}_MSIL2A_{stamp}_N{code}_R081_T{tile.mgrs}_{stamp}.SAFE",
            "s2:generation_time": written, "s2:sequence": "0",
            "s2:datatake_id": f"G{day.platform}_{stamp}_{day.orbit:06d}_N{day.baseline}",
            "s2:nodata_pixel_percentage": round(100 * float((scl == 0).mean()), 6),
            **{f"s2:{kind}_percentage": round(value, 6) for kind, value in share.items()},
        },
        "assets": {**{_NAMES[band][0]: _band(tile, day, band) for band in BANDS}, "scl": _scl(tile, day)},
    }  # fmt: skip


_SHARES: Final = {
    "clouds": (8, 9, 10), "cloud_shadow": (3,), "vegetation": (4,), "not_vegetated": (5,), "water": (6,),
    "medium_proba_clouds": (8,), "high_proba_clouds": (9,), "thin_cirrus": (10,),
}  # fmt: skip


def _band(tile: Tile, day: Day, band: str) -> dict[str, Any]:
    key, common, wavelength = _NAMES[band]
    gsd = GSD_M[band]
    return {
        "href": f"./{item_id(tile, day)}/{band}.tif", "type": _COG, "title": f"{key} ({band}) - {gsd}m", "gsd": gsd,
        "eo:bands": [{"name": band, "common_name": common, "center_wavelength": wavelength}],
        **_projection(tile, gsd),
        "raster:bands": [
            {"nodata": 0, "data_type": "uint16", "bits_per_sample": 15, "spatial_resolution": gsd, "scale": 0.0001,
             "offset": -0.1 if day.offset_dn else 0}
        ],
        "roles": ["data", "reflectance"],
    }  # fmt: skip


def _scl(tile: Tile, day: Day) -> dict[str, Any]:
    return {
        "href": f"./{item_id(tile, day)}/SCL.tif", "type": _COG, "title": "Scene classification map (SCL)", "gsd": 20,
        **_projection(tile, 20), "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}],
        "roles": ["data"],
    }  # fmt: skip


def _projection(tile: Tile, gsd: int) -> dict[str, Any]:
    window = tile.window
    return {
        "proj:shape": [window.height_px * 10 // gsd, window.width_px * 10 // gsd],
        "proj:transform": [gsd, 0, window.x0 * 10, 0, -gsd, northing(tile.zone, window.y0)],
    }


def write_catalogue(folder: Path, items: list[dict[str, Any]]) -> tuple[Path, Path]:
    """Writes `items.json` and `collection.json` beside the granules' folders."""
    items = sorted(items, key=lambda item: item["id"])
    boxes = np.asarray([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    collection = {
        "type": "Collection", "id": COLLECTION, "stac_version": "1.0.0", "stac_extensions": [],
        "description": "A synthetic Sentinel-2 L2A region, made by code for minescan's demo: no real place.",
        "license": "CC0-1.0", "links": [],
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
    }  # fmt: skip
    item_file, collection_file = folder / "items.json", folder / "collection.json"
    item_file.write_text(json.dumps({"type": "FeatureCollection", "features": items}, indent=1) + "\n")
    collection_file.write_text(json.dumps(collection, indent=1) + "\n")
    return item_file, collection_file
