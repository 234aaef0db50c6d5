"""A scene whose pixels contradict its stated offset is set right, or left out and another takes its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from composite_oracle import check, request_for
from synthetic import Granule, make, write_tiff

from scanner.composite.build import build_composite
from scanner.run.tile_job import CompositeUnit
from scanner.store.composite import read_window
from scanner.types import Asset, Scene
from tiling import Window

X_M, Y_M, SIZE_M = 600_000, 5_700_000, 2400
WINDOW = Window(x0=X_M // 10 + 24, y0=-Y_M // 10 + 30, x1=X_M // 10 + 192, y1=-Y_M // 10 + 168)
WATER = {"B02": 300, "B04": 200, "B8A": 80, "B11": 50, "B12": 40}
TREES = {"B02": 250, "B04": 220, "B8A": 2800, "B11": 1300, "B12": 600}


def dated(folder: Path, number: int, *, added: int, stated: float, baseline: str = "04.00") -> Scene:
    """A clear date over water and trees, its DN with `added` in them."""
    granule = Granule(id=f"d{number}", look=f"look2023{number + 1:02d}05", x_m=X_M, y_m=Y_M, seed=number, offset=stated)
    scl = np.full((SIZE_M // 20, SIZE_M // 20), 4, np.uint8)
    scene = make(folder, granule, scl)
    assets = dict(scene.assets)
    for band, water in WATER.items():
        gsd = 20 if band in ("B8A", "B11", "B12") else 10
        edge = SIZE_M // gsd
        rng = np.random.default_rng((number, water))
        wet = np.arange(edge)[:, None] < edge // 4
        dn = np.where(wet, water, TREES[band]) * rng.normal(1, 0.05, (edge, edge)) + added
        write_tiff(folder / f"d{number}_{band}.tif", np.clip(dn, 1, 65535).astype(np.uint16), gsd, granule)
        assets[band] = Asset(href=str(folder / f"d{number}_{band}.tif"), gsd_m=float(gsd), offset=stated)
    return replace(scene, assets=assets, baseline=baseline)


def stating_none(scene: Scene) -> Scene:
    return replace(scene, assets={name: replace(one, offset=0.0) for name, one in scene.assets.items()})


def dates(folder: Path) -> list[Scene]:
    return [dated(folder, number, added=1000, stated=-0.1) for number in range(5)]


@pytest.mark.parametrize("looks", [None, 2])
def test_a_wrong_offset_is_set_right(tmp_path: Path, looks: int | None) -> None:
    honest = dates(tmp_path)
    request = request_for(honest, [WINDOW], tuple(WATER), zone=32633, looks=looks)
    report = check(request, tmp_path / "a")
    assert {verdict.action for verdict in report.offsets} == {"agrees"}
    wrong = tuple(stating_none(scene) for scene in honest)
    report = build_composite(replace(request, scenes=wrong), tmp_path / "b")
    assert {(verdict.action, verdict.found) for verdict in report.offsets} == {("corrected", -0.1)}
    # Of those that no pixel takes nothing is asked.
    assert len(report.offsets) == (len(honest) if looks is None else 2)
    for got, expected in zip(
        read_window(tmp_path / "b", request.tile, request.bands, WINDOW),
        read_window(tmp_path / "a", request.tile, request.bands, WINDOW), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(got, expected)


def test_what_cannot_be_set_right_is_left_out(tmp_path: Path) -> None:
    """Its looks go to the scenes that follow; the unit is done, and its receipt says who is missing."""
    honest = dates(tmp_path)
    request = request_for(honest, [WINDOW], tuple(WATER), zone=32633, looks=2)
    first = build_composite(request, tmp_path / "a").offsets[0].scene
    # No product of that baseline holds the 1000 that its pixels show.
    spoilt = [replace(stating_none(one), baseline="02.14") if one.id == first else one for one in honest]
    unit = CompositeUnit(folder=tmp_path / "b", digest="x", request=replace(request, scenes=tuple(spoilt)))
    receipt = unit.run()
    assert receipt.status == "done"
    assert [(one["scene"], one["action"]) for one in receipt.offsets] == [(first, "left out")]
    assert receipt.stats["offset left out"] == 1
    check(replace(request, scenes=tuple(one for one in honest if one.id != first)), tmp_path / "c")
    for got, expected in zip(
        read_window(tmp_path / "b", request.tile, request.bands, WINDOW),
        read_window(tmp_path / "c", request.tile, request.bands, WINDOW), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(got, expected)


def test_a_unit_may_be_left_without_scenes(tmp_path: Path) -> None:
    (scene,) = [replace(stating_none(one), baseline="02.14") for one in dates(tmp_path)[:1]]
    unit = CompositeUnit(
        folder=tmp_path / "a", digest="x", request=request_for([scene], [WINDOW], tuple(WATER), zone=32633)
    )
    receipt = unit.run()
    assert receipt.status == "done"
    assert [one["action"] for one in receipt.offsets] == ["left out"]
    values, looks = read_window(tmp_path / "a", unit.request.tile, tuple(WATER), WINDOW)
    assert not values.any()
    assert not looks.any()
