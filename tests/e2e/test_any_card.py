"""Window classifiers and segmenters scan; outlines are the ground's, whichever tiles and chunks drew them.

Two shapes brighter than anything else are painted into every scene: one astride two tiles, one astride two zones.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from pyproj import Geod
from rasterio.features import geometry_mask

from models.card import ModelCard
from models.networks import KERAS_CNN, UNET, build
from models.registry import save_card
from scanner import scan
from scanner.store.layout import ScanFolder
from tiling import lonlat, utm

WEST, EAST = 32722, 32723
BRIGHT = 12_000
SOUND = {
    "task": "detector", "level": "l2a", "classes": ("not_mine", "mine"), "limits": "Made by hand for a test.",
    "licence": "CC0-1.0", "origin": "a rule: reflectance of red above 0.8",
}  # fmt: skip


def _classifier(root: Path) -> None:
    """Patches of 24 px in steps of 12: is the brightest red above 0.8?"""
    bands = ("B02", "B04", "B08", "B11")
    layers = ({"kind": "max_over", "keep": False}, {"kind": "dense", "inputs": 4, "outputs": 1})
    card = ModelCard(
        name="bright-patches", mode="window", network=KERAS_CNN, arguments={"members": (layers,), "ends": "sigmoid"},
        bands=bands, mean=(0.0,) * 4, std=(1.0,) * 4, window_px=24, stride_px=12, halo_px=6, **SOUND,
    )  # fmt: skip
    weights = build(card.network, bands=4, classes=2, **card.arguments).state_dict()
    weights["members.0.1.weight"][:] = torch.tensor([[0.0, 40.0, 0.0, 0.0]])
    weights["members.0.1.bias"][:] = -32.0
    save_card(root / card.name, card, weights)
    strict = {"k": 500, "distance_m": 100.0, "threshold": 1.0}
    save_card(root / "bright-alone", replace(card, name="bright-alone", isolation=strict), weights)


def _segmenter(root: Path, mode: str, **changes: object) -> None:
    """A U-Net of which only the path past all pools is left: red above 0.8, pixel by pixel; it wants green beside."""
    lengths = {"window_px": 32, "stride_px": 24, "halo_px": 4} if mode == "window" else {
        "window_px": 2, "stride_px": 2, "halo_px": 12,
    }  # fmt: skip
    values = {"name": f"bright-{mode}", "bands": ("B03", "B04"), **lengths} | SOUND | changes
    card = ModelCard(
        mode=mode, output="pixels", network=UNET, arguments={"width": 1, "depth": 1}, mean=(0.0,) * 2, std=(1.0,) * 2,
        **values,
    )  # fmt: skip
    weights = {key: torch.zeros_like(value) if value.is_floating_point() else value
               for key, value in build(UNET, bands=2, classes=2, **card.arguments).state_dict().items()}  # fmt: skip
    for key, value in weights.items():
        if key.endswith("running_var"):
            value.fill_(1 - 1e-5)
        elif "down.0" in key or "joined.0" in key:
            if key.endswith(("1.weight", "4.weight")):
                value.fill_(1)
            elif value.dim() == 4:
                value[0, 1 if key == "down.0.0.weight" else 0, 1, 1] = 1
    weights["head.weight"][1] = 40.0
    weights["head.bias"][1] = -32.0
    save_card(root / card.name, card, weights)


@pytest.fixture(scope="module", autouse=True)
def bright_cards(cards):
    _classifier(cards)
    _segmenter(cards, "window")
    _segmenter(cards, "fcn")
    _segmenter(cards, "fcn", name="far-sighted", halo_px=258)
    _segmenter(cards, "window", name="bright-l1c", level="l1c")
    _segmenter(cards, "window", name="bright-b10", bands=("B10", "B04"))


@pytest.fixture(scope="module")
def shapes(region):
    """The painted shapes in degrees: by the corner of four tiles of the western zone, and on the edge of the zones."""
    _, south, _, north = region.aoi
    _, corner_n = utm(WEST, -48.0, (south + north) / 2)
    corner_n = round(corner_n / 92160) * 92160
    edge_e, _ = utm(WEST, -48.0, (south + north) / 2)
    tiles = [(-1700, -260), (-1050, -260), (-1050, 40), (-1300, 310), (-1700, 310), (-1500, 0)]
    zones = [(-310, -900), (280, -900), (350, -620), (-310, -620)]
    return [_degrees([(edge_e + e, corner_n + n) for e, n in ring]) for ring in (tiles, zones)]


def _degrees(ring):
    return shapely.Polygon(list(zip(*lonlat(WEST, *np.array(ring).T), strict=True)))


@pytest.fixture(scope="module")
def painted(region, shapes, tmp_path_factory):
    """The region's catalogue with the shapes in every scene, clear there on every date."""
    folder = tmp_path_factory.mktemp("painted") / "region"
    shutil.copytree(region.folder, folder)
    files = [path for name in ("B02", "B03", "B04", "B08", "B11", "SCL") for path in folder.glob(f"*/{name}.tif")]
    assert len(files) == 60
    for path in files:
        with rasterio.open(path, "r+") as file:
            ground = [shapely.transform(shape, _to(file.crs.to_epsg())) for shape in shapes]
            inside = geometry_mask(ground, file.shape, file.transform, invert=True)
            pixels = file.read(1)
            pixels[inside & (pixels > 0)] = 5 if path.stem == "SCL" else BRIGHT
            file.write(pixels, 1)
    return folder / region.items.name


def _to(zone):
    return lambda xy: np.column_stack(utm(zone, xy[:, 0], xy[:, 1]))


@pytest.fixture(scope="module")
def options(painted, shapes):
    west, south, east, north = shapely.union_all(shapes).bounds
    aoi = f"{west - 0.004},{south - 0.004},{east + 0.004},{north + 0.004}"
    return {"catalog": str(painted), "aoi": aoi, "detector": "bright-patches"}


@pytest.fixture(scope="module")
def outlined(config_of, options, tmp_path_factory):
    result = scan(config_of(tmp_path_factory.mktemp("outlined") / "scan", delineate="bright-window", **options))
    assert result.exit_code == 0, result.failures
    return result


def _m2(polygon):
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(polygon))[0])


def test_outlines_have_the_area_of_what_was_drawn_and_cells_keep_theirs(outlined, shapes):
    found = outlined.candidates
    assert found["outline"].tolist() == ["delineated"] * 2
    tiles = {path.stem.split(".")[0] for path in (outlined.out / ".units").glob("*.outlines.parquet")}
    assert {tile[:5] for tile in tiles} == {str(WEST), str(EAST)}
    assert len(tiles) >= 3
    for shape in shapes:
        (row,) = [row for row in found.itertuples() if row.geometry.intersects(shape)]
        assert row.area_m2 == pytest.approx(_m2(shape), rel=0.03)
        assert shapely.area(row.geometry.symmetric_difference(shape)) < 0.06 * shapely.area(shape)
        assert row.cells_area_m2 > 1.5 * row.area_m2
        assert shapely.contains_xy(row.geometry, row.lon, row.lat)
    cells = gpd.read_parquet(outlined.out / "cells.parquet")
    for row in found.itertuples():
        own = cells[cells["candidate"] == row.id]
        assert len(own) == row.cells
        assert _m2(shapely.union_all(own.geometry.to_numpy(), grid_size=1e-8)) == pytest.approx(
            row.cells_area_m2, rel=1e-3
        )
    assert outlined.run["delineator"]["name"] == "bright-window"


def test_chunks_leave_no_trace_in_the_outlines(outlined, config_of, options, tmp_path):
    again = scan(config_of(tmp_path / "scan", delineate="bright-window", chunk=36, **options))
    assert again.run["settings"]["chunk_px"] == 36 != outlined.run["settings"]["chunk_px"]
    for name in ("candidates.csv", "candidates.geojson", "candidates.kml"):
        assert (again.out / name).read_bytes() == (outlined.out / name).read_bytes(), name
    for path in (outlined.out / ".units").glob("*.outlines.parquet"):
        assert (again.out / ".units" / path.name).read_bytes() == path.read_bytes()


def test_a_lost_outline_is_drawn_again(outlined, config_of, options, tmp_path):
    shutil.copytree(outlined.out, tmp_path / "scan")
    (lost, *_) = sorted((tmp_path / "scan" / ".units").glob("*.outlines.parquet"))
    lost.unlink()
    receipts = []
    again = scan(config_of(tmp_path / "scan", delineate="bright-window", **options), on_receipt=receipts.append)
    assert [(one.stage, one.unit) for one in receipts] == [("detect", lost.name.split(".")[0])]
    assert (again.out / "candidates.csv").read_bytes() == (outlined.out / "candidates.csv").read_bytes()


@pytest.mark.parametrize("mode", ["window", "fcn"])
def test_segmenters_scan_by_pixels(mode, config_of, options, shapes, tmp_path):
    given = options | {"detector": f"bright-{mode}", "chunk": 120 if mode == "window" else 300}
    result = scan(config_of(tmp_path / "scan", **given))
    assert result.exit_code == 0, result.failures
    cells = gpd.read_parquet(result.out / "cells.parquet")
    assert set(cells["verdict"]) == {"accepted"}
    assert cells["cell"].str.match(r"3272[23]-1-").all()
    assert result.candidates["outline"].tolist() == ["cells"] * 2
    assert (result.candidates["area_m2"] == result.candidates["cells_area_m2"]).all()
    for shape in shapes:
        (row,) = [row for row in result.candidates.itertuples() if row.geometry.intersects(shape)]
        assert row.area_m2 == pytest.approx(_m2(shape), rel=0.03)
    hits = 0
    folder = ScanFolder(result.out)
    for path in sorted((result.out / "probability").glob("*.tif")):
        with rasterio.open(path) as probability, rasterio.open(folder.coverage(path.stem)) as coverage:
            assert probability.shape == coverage.shape
            assert all(0 < edge <= 2048 and edge % 512 == 0 for edge in probability.shape)
            assert probability.descriptions == ("not_mine", "mine")
            assert probability.transform.a == 10
            window = rasterio.windows.get_data_window(coverage.read(1, masked=True))
            scores, looks = probability.read(2, window=window), coverage.read(1, window=window)
            hits += int((scores > 0.6).sum())
            np.testing.assert_array_equal(np.isfinite(scores), (looks > 0) & (looks < 65535))
    assert hits == len(cells)
    km2 = result.run["km2"]
    assert km2["seen_km2"] + km2["too_few_looks_km2"] == pytest.approx(km2["aoi_km2"])
    west, south, east, north = map(float, options["aoi"].split(","))
    assert km2["aoi_km2"] == pytest.approx(_m2(shapely.box(west, south, east, north)) / 1e6, rel=5e-3)


def test_a_cards_isolation_rule_is_its_default(config_of, options, arguments, tmp_path, minescan):
    given = options | {"detector": "bright-alone"}
    result = scan(config_of(tmp_path / "scan", **given))
    assert len(result.candidates) == 0
    cells = gpd.read_parquet(result.out / "cells.parquet")
    assert set(cells["verdict"]) == {"below_isolated_threshold"}
    said = minescan("scan", *arguments(tmp_path / "scan", **given), "--no-isolation")
    assert said.code == 2
    assert "was begun with --isolation True, now it is False" in said.line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"delineate": "bright-patches"}, ("--delineate bright-patches", "one score a cell of 12 px", "segmenter")),
        ({"delineate": "no-such-card"}, ("--delineate", "no model card 'no-such-card'")),
        ({"delineate": "drawn-impact"}, ("--delineate drawn-impact", "task impact")),
        ({"delineate": "bright-l1c"}, ("'bright-l1c'", "level l1c, got l2a")),
        ({"delineate": "bright-b10"}, ("bright-b10 needs B10", "another delineator")),
        ({"detector": "far-sighted"}, ("--detector far-sighted", "halo of 258 px", "--delineate")),
        ({"precision": "bf16"}, ("--precision bf16", "does not permit it")),
    ],
)
def test_what_cannot_draw_or_scan_is_refused_in_one_line(changes, words, options, arguments, tmp_path, minescan):
    said = minescan("scan", *arguments(tmp_path / "scan", **(options | changes)))
    assert said.code == 2
    assert all(word in said.line for word in words), said.line
    assert not (tmp_path / "scan" / "ledger.sqlite").exists()


def test_plan_prices_outlines_of_a_far_sighted_delineator(options, arguments, tmp_path, minescan):
    prices = []
    for card in (None, "far-sighted"):
        said = minescan("plan", *arguments(tmp_path / "scan", **options, delineate=card), "--json")
        assert said.code == 0, said.err
        prices.append(json.loads(said.out))
    assert prices[0]["delineate_hours"]["high"] == 0 < prices[1]["delineate_hours"]["high"]
    assert prices[1]["zarr_bytes"]["high"] > 1.25 * prices[0]["zarr_bytes"]["high"]
