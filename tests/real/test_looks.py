"""The first K looks on real ground: brute force at every K; by default near to all looks at a third of the bytes."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from scanner.composite.build import CompositeReport, build_composite
from scanner.config import ScanConfig
from scanner.store.composite import read_window
from scanner.types import Scene

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "scanner" / "composite"))

from composite_oracle import check, request_for
from test_composite_oracle import WORLD, lazio, lazio_windows, world

__all__ = ["lazio", "world"]

K = ScanConfig(aoi="", dates="2017-08-01/2018-11-30", out=Path(), detector="").looks
"""The default."""
EVERY = [(2, None), (3, 5), (4, None), (6, None), (7, None), (8, None), (8, 12), (10, 25), (16, None), (20, None)]


@pytest.mark.parametrize(("looks", "most"), EVERY)
@pytest.mark.parametrize("world", [64], indirect=True)
def test_l2a_equals_brute_force(world: list[Scene], tmp_path: Path, looks: int, most: int | None) -> None:
    check(request_for(world, [WORLD], ("B04", "B11"), zone=32631, looks=looks, max_looks=most), tmp_path)


@pytest.mark.parametrize(("looks", "most"), [(3, None), (8, None), (8, 12), (16, None)])
def test_l1c_equals_brute_force(lazio: tuple[Scene, ...], tmp_path: Path, looks: int, most: int | None) -> None:
    check(request_for(lazio, lazio_windows(), ("B02",), zone=32633, looks=looks, max_looks=most), tmp_path)


BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12", "B8A")


@pytest.fixture(scope="module", params=[0, 21, 43])
def both(
    world: list[Scene], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[int | str, tuple[CompositeReport, np.ndarray]]:
    """75 dates from one on, their cloud cover the chip's own: report and reflectance (band, y, x) by K."""
    dates = [replace(scene, cloud_cover=_cloud(scene)) for scene in sorted(world, key=lambda scene: scene.time)]
    asked = request_for(dates[request.param : request.param + 75], [WORLD], BANDS, zone=32631)
    found = {}
    for looks in (K, "all"):
        folder = tmp_path_factory.mktemp("looks")
        report = build_composite(replace(asked, looks=None if looks == "all" else looks), folder)
        values, _ = read_window(folder, asked.tile, ("B04", "B08", "B11"), WORLD)
        found[looks] = report, np.where(values > 0, values / 1e4, np.nan)
    return found


def _cloud(scene: Scene) -> float:
    with rasterio.open(scene.assets["SCL"].href) as data:
        return 100 * float(np.isin(data.read(1), [8, 9, 10]).mean())


@pytest.mark.parametrize("world", [32], indirect=True)
def test_the_default_reads_at_most_a_third_of_75_dates(both: dict) -> None:
    assert both[K][0].nbytes_decoded <= both["all"][0].nbytes_decoded / 3


@pytest.mark.parametrize("world", [32], indirect=True)
def test_the_default_strays_by_less_than_half_of_what_looks_differ(both: dict) -> None:
    """A clear look lies 0.032, 0.066 and 0.045 from its pixel's median; the oldest first would stray by two thirds."""
    away = np.nanmean(np.abs(both[K][1] - both["all"][1]), axis=(1, 2))
    assert (away < np.array([0.032, 0.066, 0.045]) / 2).all()
