"""Draws docs/demo.png from a demo's folder: `minescan demo --out D && python docs/picture.py D`."""

# ruff: noqa: INP001

import json
import sys
from pathlib import Path

import geopandas as gpd
import matplotlib as mpl
import numpy as np
import shapely
from affine import Affine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from scanner import open_composite
from scanner.demo.plane import PLANE_CRS

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

GSD_M = 20
COLOURS = {"high": "#ff2a2a", "low": "#ffd92e", "unknown": "#c8c8c8"}
PLANTED = "#ffffff"


def true_colour(folder: Path, box: gpd.GeoSeries, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(row, column, 3): the composites of all tiles in the demo's own plane, stretched for the eye."""
    whole = np.full((3, *shape), np.nan, np.float32)
    target = Affine(GSD_M, 0, box.total_bounds[0], 0, -GSD_M, box.total_bounds[3])
    for tile in json.loads((folder / "run.json").read_text())["plan"]["tiles"]:
        cube = open_composite(folder, tile).sel(band=["B04", "B03", "B02"])
        part = np.zeros_like(whole)
        west, south, east, north = box.to_crs(cube.rio.crs).buffer(200).total_bounds
        dn = cube.sel(x=slice(west, east), y=slice(north, south))
        if 0 in dn.shape:
            continue
        reproject(
            dn.to_numpy().astype(np.float32), part, src_transform=dn.rio.transform(), src_nodata=0,
            src_crs=dn.rio.crs, dst_transform=target, dst_crs=CRS(PLANE_CRS).to_wkt(), dst_nodata=0,
            resampling=Resampling.average,
        )  # fmt: skip
        seen = (part > 0).all(axis=0) & np.isnan(whole[0])
        whole[:, seen] = part[:, seen] * 1e-4 - 0.1
    bright = np.clip(np.nan_to_num(whole) / 0.30, 0, 1) ** (1 / 1.5)
    return np.asarray(np.rint(255 * bright).astype(np.uint8).transpose(1, 2, 0))


def outline(axes: Axes, shapes: gpd.GeoSeries, **style: object) -> None:
    """Draw the rings of polygons."""
    for polygon in shapes.explode().geometry:
        axes.plot(*np.asarray(polygon.exterior.coords).T / 1000, **style)


def few_colours(drawn: Image.Image) -> Image.Image:
    """A palette of 128, the outlines' own colours among them: they cover too little for the quantiser to keep them."""
    kept = [channel for colour in COLOURS.values() for channel in ImageColor.getrgb(colour)]
    common = drawn.quantize(125, method=Image.Quantize.MEDIANCUT).getpalette() or []
    swatch = Image.new("P", (1, 1))
    swatch.putpalette([*common[: 3 * 125], *kept])
    return drawn.quantize(palette=swatch, dither=Image.Dither.NONE)


def main(folder: Path, picture: Path) -> None:
    """Composite, candidates and what was planted, in kilometres of the demo's plane."""
    truth = gpd.read_file(folder / "truth.geojson").to_crs(PLANE_CRS)
    mines = truth[truth["kind"] != "decoy"]
    candidates = gpd.read_parquet(folder / "candidates.parquet").to_crs(PLANE_CRS)
    aoi = json.loads((folder / "run.json").read_text())["config"]["aoi"]
    box = gpd.GeoSeries([shapely.box(*map(float, aoi.split(",")))], crs=4326).to_crs(PLANE_CRS)
    west, south, east, north = box.total_bounds
    shape = int((north - south) // GSD_M), int((east - west) // GSD_M)
    image = true_colour(folder, box, shape)
    figure, axes = plt.subplots(figsize=(10, 10 * shape[0] / shape[1] + 0.62), dpi=110)
    figure.subplots_adjust(left=0.006, right=0.994, bottom=0.085, top=0.993)
    axes.imshow(image, extent=(west / 1e3, east / 1e3, south / 1e3, north / 1e3), interpolation="nearest")
    axes.axvline(0, color="white", lw=0.6, alpha=0.5)
    for impact, colour in COLOURS.items():
        chosen = candidates[candidates["impact"] == impact].geometry
        outline(axes, chosen, color="black", lw=3.0, alpha=0.45)
        outline(axes, chosen, color=colour, lw=1.7)
    outline(axes, mines.geometry, color="black", lw=1.9, alpha=0.5)
    outline(axes, mines.geometry, color=PLANTED, lw=0.9, ls=(0, (4, 2)))
    axes.plot([east / 1e3 - 2.4, east / 1e3 - 0.4], [south / 1e3 + 0.35] * 2, color="white", lw=3)
    axes.text(east / 1e3 - 1.4, south / 1e3 + 0.45, "2 km", color="white", ha="center", va="bottom", fontsize=9)
    axes.set(xlim=(west / 1e3, east / 1e3), ylim=(south / 1e3, north / 1e3), xticks=[], yticks=[], aspect="equal")
    keys = [
        Patch(fill=False, ec=COLOURS["high"], lw=1.8, label="candidate, high impact"),
        Patch(fill=False, ec=COLOURS["low"], lw=1.8, label="candidate, low impact"),
        Line2D([], [], color="#444444", lw=1.1, ls=(0, (4, 2)), label="mine as planted"),
        Line2D([], [], color="#bbbbbb", lw=1.0, label="where two UTM zones meet"),
    ]
    figure.legend(handles=keys, ncols=4, loc="lower center", frameon=False, fontsize=9.5)
    draft = picture.with_suffix(".draft.png")
    figure.savefig(draft)
    with Image.open(draft) as drawn:
        few_colours(drawn.convert("RGB")).save(picture, optimize=True)
    draft.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("demo.png"))
