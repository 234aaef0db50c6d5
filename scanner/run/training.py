"""`minescan train`: a recipe in, a card out, fed by the same catalogue and compositor as a scan."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from models import ModelCard, save_card
from models.networks import FCN, IMPACT
from models.networks.geometry import CHIP_PX, FIELD_PX, HALO_PX, STRIDE_PX, WINDOW_PX
from models.registry import user_folder
from scanner.catalog.search import SceneQuery
from scanner.config import parse_dates
from scanner.errors import CatalogError, InputError
from scanner.run.chips import ChipSource, reflectance_at
from scanner.run.progress import LOGGER, open_progress
from scanner.run.recipe import LabelledPoints, LabelledRaster, Recipe, read_recipe
from tiling import Lattice, Window, affine_of, pixel_at, row_of, utm, zone_of

if TYPE_CHECKING:
    from models.training.labels import ChipSet, DetectorSample
    from models.training.train import Trained

__all__ = ["train"]

CLASSES = {"detector": ("not_mine", "mine"), "impact": ("high_impact", "low_impact", "no_ore")}

BLOCK_DEG = 0.1
"""Points of one block of ground are held out together."""


def train(recipe_file: Path, out: Path | None = None) -> Iterator[str]:
    """Train what a recipe says, save its card, and yield lines that say where it lies and how it measured.

    Args:
        recipe_file: TOML; see `scanner.run.recipe`.
        out: folder of the card; by default its name among the user's models.

    Raises:
        InputError: the recipe, its files or its labels do not fit; the catalogue has no scenes for them.
    """
    recipe = read_recipe(recipe_file)
    yield f"training {recipe.name}: seed {recipe.train.seed}, at most {recipe.train.steps} steps"
    try:
        trained = _train_on_rasters(recipe) if recipe.rasters else _train_on_points(recipe)
    except ValueError as error:
        raise InputError(f"recipe {recipe_file}: {error}") from None
    folder = out or user_folder() / recipe.name
    card = save_card(folder, _card(recipe, trained), trained.state_dict)
    yield f"{folder}: sha256 {card.sha256}"
    yield from (f"{name}: {value}" for name, value in sorted(card.metrics.items()))


def _card(recipe: Recipe, trained: "Trained") -> ModelCard:
    detector = recipe.task == "detector"
    return ModelCard(
        name=recipe.name, task=recipe.task, mode="fcn" if detector else "window",
        network=FCN if detector else IMPACT, level=recipe.level, bands=recipe.bands, mean=trained.mean, std=trained.std,
        window_px=WINDOW_PX if detector else CHIP_PX, stride_px=STRIDE_PX if detector else CHIP_PX,
        halo_px=HALO_PX if detector else 0, classes=CLASSES[recipe.task], threshold=recipe.threshold,
        impact=recipe.impact, metrics=trained.metrics, limits=recipe.limits, licence=recipe.licence,
        origin=recipe.origin,
    )  # fmt: skip


def _source(recipe: Recipe, dates: str) -> ChipSource:
    start, end = parse_dates(dates)
    query = SceneQuery(
        catalog=recipe.catalog, collection=recipe.collection, level=recipe.level, start=start, end=end,
        aoi=shapely.Point(0, 0), max_cloud=recipe.max_cloud,
    )  # fmt: skip
    return ChipSource(query=query, bands=recipe.bands)


def _train_on_rasters(recipe: Recipe) -> "Trained":
    from models.training.train import train_detector  # noqa: PLC0415

    groups = {raster.group for raster in recipe.rasters}
    if unknown := sorted(set(recipe.held_out) - groups):
        raise InputError(f"held_out {unknown[0]!r} is no group of a raster; there are {', '.join(sorted(groups))}")
    with open_progress() as progress:
        progress.stage("images", len(recipe.rasters))
        samples = []
        for raster in recipe.rasters:
            samples.append(_sample(recipe, raster))
            progress.advance("images", raster.group)
        progress.stage("training", recipe.train.steps)
        return train_detector(
            samples, recipe.train, targets=recipe.targets, held_out=recipe.held_out, threshold=recipe.threshold,
            on_step=lambda _step, _total, loss: progress.advance("training", f"loss {loss:.4f}"),
        )  # fmt: skip


def _sample(recipe: Recipe, raster: LabelledRaster) -> "DetectorSample":
    from models.training.labels import DetectorSample  # noqa: PLC0415

    zone, window, labels = _labels_on_grid(raster.labels)
    reflectance, _ = reflectance_at(_source(recipe, raster.dates), zone, window)
    return DetectorSample(
        reflectance=reflectance, labels=labels, group=raster.group, place=raster.place,
        phase_px=Lattice(zone=zone, stride_px=STRIDE_PX).phase_px(window),
    )  # fmt: skip


def _labels_on_grid(path: Path) -> tuple[int, Window, NDArray[np.int64]]:
    """Zone, window and class codes of a label raster, brought to the zone's 10 m grid by nearest pixel."""
    import rasterio  # noqa: PLC0415
    from rasterio.enums import Resampling  # noqa: PLC0415
    from rasterio.vrt import WarpedVRT  # noqa: PLC0415
    from rasterio.warp import transform_bounds  # noqa: PLC0415

    try:
        with rasterio.open(path) as source:
            if source.crs is None:
                raise InputError(f"label raster {path} has no CRS; give it one with gdal_edit.py -a_srs")
            west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
            zone = int(zone_of((west + east) / 2, (south + north) / 2))
            bounds = transform_bounds(source.crs, f"EPSG:{zone}", *source.bounds)
            left, right = (round(edge / 10) for edge in bounds[::2])
            bottom, top = (round(row_of(zone, edge)) for edge in bounds[1::2])
            window = Window(x0=left, y0=top, x1=right, y1=bottom)
            # GDAL's default tolerance would let a pixel depend on the block it is warped with.
            with WarpedVRT(
                source, crs=f"EPSG:{zone}", transform=affine_of(zone, window), width=window.width_px,
                height=window.height_px, resampling=Resampling.nearest, tolerance=1e-9,
            ) as warped:  # fmt: skip
                labels = warped.read(1, masked=True).filled(0)
    except rasterio.errors.RasterioError as error:
        raise InputError(f"label raster {path}: {error}") from None
    return zone, window, np.nan_to_num(labels).astype(np.int64)


def _train_on_points(recipe: Recipe) -> "Trained":
    from models.training.train import train_detector_on_chips, train_judge  # noqa: PLC0415

    edge = FIELD_PX if recipe.task == "detector" else CHIP_PX
    with open_progress() as progress:
        chips = _chips(recipe, edge, progress)
        blocks = sorted(set(chips.groups))
        drawn = np.random.default_rng(recipe.train.seed).permutation(blocks)
        held_out = sorted(drawn[: round(recipe.held_out_share * len(blocks))].tolist())
        progress.stage("training", recipe.train.steps)
        fit = train_detector_on_chips if recipe.task == "detector" else train_judge
        return fit(
            chips, recipe.train, held_out=held_out,
            on_step=lambda _step, _total, loss: progress.advance("training", f"loss {loss:.4f}"),
        )  # fmt: skip


def _chips(recipe: Recipe, edge_px: int, progress: Any) -> "ChipSet":
    """A chip at every point that has scenes; points without are counted and said."""
    from models.training.labels import ChipSet  # noqa: PLC0415

    classes = CLASSES[recipe.task]
    chips: list[NDArray[np.float32]] = []
    labels: list[int] = []
    groups: list[str] = []
    missing = 0
    for points in recipe.points:
        source, rows = _source(recipe, points.dates), read_points(points, classes)
        progress.stage("chips", len(rows))
        for lon, lat, label in rows:
            try:
                chips.append(_chip(source, lon, lat, edge_px))
            except CatalogError as error:
                missing += 1
                LOGGER.log(logging.DEBUG, "no chip at %s, %s: %s", lon, lat, error)
            else:
                labels.append(label)
                groups.append(f"{np.floor(lon / BLOCK_DEG):.0f} {np.floor(lat / BLOCK_DEG):.0f}")
            progress.advance("chips")
    if missing:
        LOGGER.warning("%d points have no scenes and were left out", missing)
    if not chips:
        raise InputError(f"recipe {recipe.name}: no point has scenes; check dates and catalogue")
    for index, name in enumerate(classes):
        LOGGER.info("%s: %d chips", name, labels.count(index))
    return ChipSet(chips=np.stack(chips), labels=np.array(labels), groups=groups)


def _chip(source: ChipSource, lon: float, lat: float, edge_px: int) -> NDArray[np.float32]:
    zone = int(zone_of(lon, lat))
    x0, y0 = (at - edge_px // 2 for at in pixel_at(zone, *utm(zone, lon, lat)))
    reflectance, _ = reflectance_at(source, zone, Window(x0=x0, y0=y0, x1=x0 + edge_px, y1=y0 + edge_px))
    return reflectance


def read_points(points: LabelledPoints, classes: Sequence[str]) -> list[tuple[float, float, int]]:
    """Longitude, latitude and class index of every row whose class is asked for.

    Raises:
        InputError: the file cannot be read, or has no such column or no row of the classes.
    """
    frame = _frame(points.file)
    if points.column not in frame.columns:
        raise InputError(
            f"{points.file} has no column {points.column!r}; there are {', '.join(map(str, frame.columns))}"
        )
    if unknown := sorted(set(points.classes.values()) - set(classes)):
        raise InputError(f"{points.file}: class {unknown[0]!r} is not one of {', '.join(classes)}")
    names = frame[points.column].astype(str).map(dict(points.classes))
    kept = frame[names.notna()]
    centres = shapely.centroid(kept.geometry.to_numpy())
    rows = [
        (float(point.x), float(point.y), classes.index(name))
        for point, name in zip(centres, names[names.notna()], strict=True)
    ]
    if not rows:
        raise InputError(f"{points.file}: no row's {points.column} is one of {', '.join(points.classes)}")
    return rows


def _frame(path: Path) -> Any:
    import geopandas as gpd  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    import pyogrio  # noqa: PLC0415

    if path.suffix.lower() == ".csv":
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}") from None
        if not {"lon", "lat"} <= set(table.columns):
            raise InputError(f"{path} has no columns lon and lat; there are {', '.join(map(str, table.columns))}")
        return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(table["lon"], table["lat"]), crs="EPSG:4326")
    try:
        return gpd.read_file(path).to_crs("EPSG:4326")
    except (OSError, ValueError, pyogrio.errors.DataSourceError) as error:
        raise InputError(f"{path}: {error}") from None
