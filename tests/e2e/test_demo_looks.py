"""The first eight looks of every pixel find on the demo region what all of them find."""

import geopandas as gpd
import pytest

from scanner import ScanConfig
from scanner.demo.region import make_region
from scanner.demo.run import DEMO_SEED, DETECTOR
from scanner.demo.server import serve
from scanner.demo.sites import RegionSpec
from scanner.run.scan import scan


@pytest.mark.slow
@pytest.mark.parametrize("seed", [DEMO_SEED, 21])
def test_the_default_finds_the_same_candidates_as_all_looks(tmp_path, seed):
    region = make_region(tmp_path, seed, RegionSpec())
    found = {}
    with serve(region.items, region.collection) as url:
        options = {"aoi": ",".join(map(str, region.aoi)), "dates": region.dates, "catalog": url, "detector": DETECTOR}
        for name, more in (("default", {}), ("all", {"looks": "all"})):
            result = scan(ScanConfig(**options, **more, out=tmp_path / name))
            assert result.run["settings"]["looks"] == (None if more else 8)
            found[name] = gpd.read_parquet(tmp_path / name / "candidates.parquet").set_index("id").sort_index()
    assert len(found["all"]) == 12
    assert list(found["default"].index) == list(found["all"].index)
    assert list(found["default"]["impact"]) == list(found["all"]["impact"])
    assert (found["default"]["clear_looks"] <= 8).all()
    assert (found["all"]["clear_looks"] > 8).any()
