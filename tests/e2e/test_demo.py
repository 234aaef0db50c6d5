"""The demo, whole, on a small region with the shipped weights; the region of `minescan demo` itself is marked slow."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from models import find_card
from scanner.demo.ground import Ground, make_ground
from scanner.demo.plane import ZONES
from scanner.demo.region import tiles_of
from scanner.demo.report import Comparison, compare
from scanner.demo.run import DEMO_SEED, DETECTOR, run_demo
from scanner.demo.sites import RegionSpec
from scanner.demo.spectra import BANDS
from scanner.errors import FolderError
from scanner.store.composite import read_window
from tiling import Tile, TileId, margin_for

SEED = 5
SMALL = RegionSpec(size_px=600, dates=5, mines=4, decoys=8, cloud_called=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A demo that was run."""

    out: Path
    code: int
    said: str

    @property
    def run(self) -> dict:
        return json.loads((self.out / "run.json").read_text())

    @property
    def comparison(self) -> Comparison:
        return compare(self.out / "truth.geojson", gpd.read_parquet(self.out / "candidates.parquet"))


def _run(out: Path, *args: int, **options: object) -> Done:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = run_demo(out, *args, **options)
    return Done(out=out, code=code, said=said.getvalue())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return _run(tmp_path_factory.mktemp("demo") / "scan", seed=SEED, spec=SMALL)


def test_mines_are_found_and_little_else(demo: Done) -> None:
    found = demo.comparison
    assert len(found.planted) == 4
    assert found.found >= 3
    assert len(found.false) <= 1
    assert demo.code == (0 if found.good else 1)
    assert demo.run["failures"] == 0
    assert demo.run["km2"]["seen_km2"] == pytest.approx(demo.run["km2"]["aoi_km2"], rel=0.01)


def test_it_says_what_was_found_and_where_it_lies(demo: Done) -> None:
    assert demo.comparison.table() in demo.said
    for name in ("candidates.csv", "candidates.kml", "truth.geojson"):
        assert str(demo.out / name) in demo.said
        assert (demo.out / name).stat().st_size > 0


def test_one_mine_on_a_tile_corner_and_a_zone_edge_is_one_candidate(demo: Done) -> None:
    mine = demo.comparison.planted[0]
    assert {"tile_corner", "zone"} <= set(mine.on_edge.split(","))
    assert len(mine.candidates) == 1
    cells = gpd.read_parquet(demo.out / "cells.parquet")
    tiles = set(cells[cells["candidate"] == mine.candidates[0]]["tile"])
    assert {tile.split("-")[0] for tile in tiles} == {str(zone) for zone in ZONES}
    assert len(tiles) > 2


def _called_cloud(ground: Ground, folder: Path, tile_ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Composite values (band, n) and clear looks (n,) of the pixels that the masks call cloud on every date."""
    values, looks = [], []
    for text in tile_ids:
        tile = Tile(id=TileId.parse(text), margin_px=margin_for(27, 94))
        for granule in tiles_of(SMALL):
            window = granule.window.intersect(tile.core) if granule.zone == tile.id.zone else None
            if window is None:
                continue
            label, _ = ground.sample(granule.zone, window)
            called = ground.palette.always_cloud[label]
            pixels, clear = read_window(folder, tile, BANDS, window)
            values.append(pixels[:, called])
            looks.append(clear[called])
    return np.concatenate(values, axis=1), np.concatenate(looks)


def test_bare_ground_that_is_always_called_cloud_is_rescued(demo: Done) -> None:
    """Its scene classification says cloud on every date: without the rescue it would have no clear look at all."""
    values, looks = _called_cloud(make_ground(SEED, SMALL), demo.out, demo.run["plan"]["tiles"])
    assert looks.size > 500
    assert (looks > 0).mean() > 0.9
    assert (values[:, looks > 0] > 0).all()
    assert demo.run["totals"]["rescued_px"] > 500
    mine = next(row for row in demo.comparison.planted if row.always_cloud)
    assert mine.candidates


def test_no_more_is_decoded_than_the_plan_allows(demo: Done) -> None:
    bounds = demo.run["cost"]["decoded_bytes"]
    assert 0 < bounds["low"] <= demo.run["totals"]["decoded_bytes"] <= bounds["high"]


def test_again_into_the_same_folder_resumes(demo: Done) -> None:
    before = {path: path.read_bytes() for path in sorted(demo.out.glob("candidates.*"))}
    units = {path: path.stat().st_mtime_ns for path in (demo.out / ".units").iterdir()}
    catalogue = demo.run["identity"]["catalog"]
    again = _run(demo.out, seed=SEED, spec=SMALL)
    assert again.code == demo.code
    assert again.run["identity"]["catalog"] != catalogue
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in units} == units


def test_a_folder_of_another_scan_is_left_alone(tmp_path: Path) -> None:
    other = json.dumps({"identity": {"catalog": "http://127.0.0.1:1"}, "detector": {"name": "quarry-l2a-10band"}})
    (tmp_path / "run.json").write_text(other)
    with pytest.raises(FolderError, match="not the demo's"):
        run_demo(tmp_path, seed=SEED, spec=SMALL)
    assert (tmp_path / "run.json").read_text() == other
    assert not (tmp_path / "truth.geojson").exists()


def test_the_cards_say_that_they_are_for_the_demo_alone() -> None:
    card = find_card(DETECTOR)
    assert card.bands == BANDS
    for each in (card, find_card(card.impact or "")):
        assert "demo alone" in each.limits
        assert str(DEMO_SEED) not in each.origin.replace(",", "").split()


@pytest.mark.slow
def test_the_demo_itself(tmp_path: Path) -> None:
    done = _run(tmp_path / "demo")
    assert done.comparison.good
    assert done.code == 0
    assert len(done.comparison.planted) == 12
    assert done.run["totals"]["decoded_bytes"] <= done.run["cost"]["decoded_bytes"]["high"]
