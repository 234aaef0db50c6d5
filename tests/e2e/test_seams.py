"""The same ground gives the same answer, however it was cut."""

import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod

from scanner import scan


def _grids(folder):
    """Probabilities of every tile: name to (class, row, column)."""
    found = {}
    for path in sorted((folder / "probability").glob("*.tif")):
        with rasterio.open(path) as file:
            found[path.stem] = file.read()
    return found


def _columns(candidates, *names):
    return candidates[list(names)].to_dict("records")


@pytest.fixture(scope="module")
def quarter(config_of, region, tmp_path_factory):
    """A part of the region that cuts through tiles and the zone edge, scanned alone in small chunks."""
    west, south, east, north = region.aoi
    aoi = f"{west + 0.3 * (east - west)},{south},{east - 0.1 * (east - west)},{south + 0.62 * (north - south)}"
    folder = tmp_path_factory.mktemp("quarter") / "scan"
    result = scan(config_of(folder, aoi=aoi, chunk=27 * 4))
    assert result.exit_code == 0
    return result


def test_chunks_leave_no_trace(tmp_path, config_of, healthy):
    result = scan(config_of(tmp_path / "scan", chunk=27 * 3))
    assert result.run["settings"]["chunk_px"] == 81 != healthy.result.run["settings"]["chunk_px"]
    whole, cut = _grids(healthy.out), _grids(tmp_path / "scan")
    assert whole.keys() == cut.keys()
    for tile, grid in whole.items():
        assert np.isfinite(grid).any(), tile
        np.testing.assert_array_equal(np.isnan(grid), np.isnan(cut[tile]))
        np.testing.assert_allclose(cut[tile], grid, rtol=0, atol=1e-5)
    same = ("id", "cells", "clear_looks", "first_scene", "last_scene", "impact", "isolated", "tile", "lon", "lat")
    assert _columns(result.candidates, *same) == _columns(healthy.result.candidates, *same)


def test_a_part_agrees_with_the_whole(quarter, healthy):
    whole, part = _grids(healthy.out), _grids(quarter.out)
    assert set(part) < set(whole) or set(part) == set(whole)
    shared = 0
    for tile, grid in part.items():
        seen = np.isfinite(grid)
        shared += int(seen[0].sum())
        assert np.isfinite(whole[tile][seen]).all()
        np.testing.assert_allclose(grid[seen], whole[tile][seen], rtol=0, atol=1e-5)
    assert 50 < shared < sum(int(np.isfinite(grid[0]).sum()) for grid in whole.values())


def test_candidates_inside_a_part_are_those_of_the_whole(quarter, healthy):
    same = ("id", "cells", "clear_looks", "impact", "area_m2")
    whole = {row["id"]: row for row in _columns(healthy.result.candidates, *same)}
    shared = [
        row for row in _columns(quarter.candidates, *same) if row["cells"] == whole.get(row["id"], {}).get("cells")
    ]
    assert any(row["cells"] > 1 for row in shared)
    for row in shared:
        assert row == whole[row["id"]]
    cells = gpd.read_parquet(quarter.out / "cells.parquet")
    everything = gpd.read_parquet(healthy.out / "cells.parquet").set_index("cell")
    assert len(cells) > 0
    for cell in cells.itertuples():
        assert everything.loc[cell.cell].verdict == cell.verdict
        assert everything.loc[cell.cell].score == pytest.approx(cell.score, abs=1e-5)


def test_one_mine_in_two_zones_is_one_candidate(healthy):
    cells = gpd.read_parquet(healthy.out / "cells.parquet")
    accepted = cells[cells.verdict == "accepted"]
    zones = accepted.groupby("candidate")["tile"].agg(lambda tiles: {tile.split("-")[0] for tile in tiles})
    both = [name for name, found in zones.items() if found == {"32722", "32723"}]
    assert len(both) == 1
    row = healthy.result.candidates.set_index("id").loc[both[0]]
    west, _, east, _ = row.geometry.bounds
    assert west < -48 < east
    assert row.geometry.geom_type == "Polygon"
    parts = accepted[accepted.candidate == both[0]].geometry.tolist()
    for first in range(len(parts)):
        for second in range(first):
            assert (
                shapely.area(shapely.intersection(parts[first], parts[second])) < 1e-9
            )  # degrees: 12 of 72,900 m², the centimetre that zones are grown by


def test_no_ground_is_counted_twice_or_forgotten(healthy, region):
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shapely.box(*region.aoi), 0.001))
    km2 = healthy.result.run["km2"]
    # whole cells answer for an AOI: those at its edge reach beyond it, but nothing inside is missed
    assert km2["aoi_km2"] == pytest.approx(area / 1e6, rel=1e-3)
    assert km2["seen_km2"] + km2["too_few_looks_km2"] + km2["failed_km2"] == pytest.approx(km2["aoi_km2"])


def test_ids_stay_when_the_neighbourhood_changes(tmp_path, healthy, config_of):
    """A folder whose candidates carry other names keeps those names."""
    shutil.copytree(healthy.out, tmp_path / "scan")
    before = gpd.read_parquet(tmp_path / "scan" / "candidates.parquet")
    renamed = before.assign(id=[f"old-{number}" for number in range(len(before))])
    renamed.to_parquet(tmp_path / "scan" / "candidates.parquet")
    after = scan(config_of(tmp_path / "scan")).candidates
    assert after["id"].tolist() == renamed["id"].tolist()
    cells = gpd.read_parquet(tmp_path / "scan" / "cells.parquet")
    assert set(cells["candidate"].dropna()) == set(renamed["id"])
