import geopandas as gpd
import pytest
import shapely
from shapely.geometry import shape

from scanner.demo.region import Region
from scanner.demo.report import compare


def _candidates(rows: list[tuple[str, float, str, shapely.Geometry]]) -> gpd.GeoDataFrame:
    names, scores, impacts, outlines = zip(*rows, strict=True)
    data = {"id": names, "score": scores, "impact": impacts}
    return gpd.GeoDataFrame(data, geometry=list(outlines), crs=4326)


@pytest.fixture
def outline(region: Region) -> dict[str, shapely.Geometry]:
    truth = gpd.read_file(region.truth)
    return dict(zip(truth["id"], truth.geometry, strict=True))


def test_found_missed_and_false(region: Region, outline: dict[str, shapely.Geometry]) -> None:
    kind = {site.id: site.kind for site in region.sites}
    decoy = next(name for name, what in kind.items() if what == "decoy")
    sea = shapely.box(-47.5, -18.7, -47.49, -18.69)
    rows = [
        ("b", 0.7, "low", outline["mine-00"].centroid.buffer(0.002)),
        ("a", 0.9, kind["mine-00"], outline["mine-00"].centroid.buffer(0.001)),
        ("c", 0.8, "unknown", outline[decoy].representative_point().buffer(1e-5)),
        ("d", 0.6, "low", sea),
    ]
    result = compare(region.truth, _candidates(rows))
    assert result.found == 1
    assert result.planted[0].candidates == ("a", "b")
    assert result.planted[0].score == 0.9
    assert result.planted[1].candidates == ()
    what = next(site.what for site in region.sites if site.id == decoy)
    assert result.false == (("c", what), ("d", "ground"))
    assert not result.good
    table = result.table()
    assert "MISSED" in table
    assert "found 1 of 2 planted mines (1 with the right impact); 2 of 4 candidates are false" in table


def test_all_found_is_good(region: Region, outline: dict[str, shapely.Geometry]) -> None:
    rows = [(name, 0.9, "high", outline[name]) for name in ("mine-00", "mine-01")]
    result = compare(region.truth, _candidates(rows))
    assert (result.found, result.false, result.good) == (2, (), True)


def test_no_candidates_at_all(region: Region) -> None:
    nothing = gpd.GeoDataFrame({"id": [], "score": [], "impact": []}, geometry=[], crs=4326)
    result = compare(region.truth, nothing)
    assert (result.found, result.candidates, result.good) == (0, 0, False)
    assert shape(gpd.read_file(region.truth).geometry[0]).area > 0
