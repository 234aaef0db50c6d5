"""The offset is applied exactly once, whatever the catalogue says and leaves out."""

import pytest

from scanner.catalog.offsets import resolve
from scanner.catalog.profiles import EARTH_SEARCH, EARTH_SEARCH_UNTOUCHED, GENERIC, PLANETARY_COMPUTER, profile_of

NAMES = {"flag": "earthsearch:boa_offset_applied", "baseline": "s2:processing_baseline"}


def one(offset=None, **properties):
    """A minimal item and asset; `flag` is the Earth Search flag."""
    given = {"datetime": "2023-05-01T00:00:00Z"} | {NAMES.get(key, key): value for key, value in properties.items()}
    asset = {} if offset is None else {"raster:bands": [{"offset": offset}]}
    return {"id": "x", "properties": given, "assets": {}}, asset


@pytest.mark.parametrize(
    ("profile", "offset", "properties", "expected"),
    [
        (EARTH_SEARCH, -0.1, {"flag": True, "baseline": "05.10"}, 0.0),
        (EARTH_SEARCH, -0.1, {"flag": False, "baseline": "05.10"}, -0.1),
        (EARTH_SEARCH, 0, {"flag": False, "baseline": "02.14"}, 0.0),
        (EARTH_SEARCH, None, {"flag": False, "baseline": "04.00"}, -0.1),
        (EARTH_SEARCH, None, {"flag": False, "baseline": "03.01"}, 0.0),
        (EARTH_SEARCH, -0.1, {"baseline": "05.10"}, -0.1),
        (EARTH_SEARCH_UNTOUCHED, -0.1, {"baseline": "05.10"}, -0.1),
        (EARTH_SEARCH_UNTOUCHED, None, {"baseline": "05.10"}, -0.1),
        (PLANETARY_COMPUTER, None, {"baseline": "05.10"}, -0.1),
        (PLANETARY_COMPUTER, None, {"baseline": "04.00"}, -0.1),
        (PLANETARY_COMPUTER, None, {"baseline": "03.01"}, 0.0),
        (GENERIC, -0.1, {"baseline": "03.01"}, -0.1),
        (GENERIC, 0.0, {"baseline": "05.10"}, 0.0),
        (GENERIC, None, {"baseline": "05.10"}, -0.1),
        (GENERIC, None, {"baseline": "02.12"}, 0.0),
        (GENERIC, None, {"s2:product_uri": "S2A_MSIL2A_20180501T100031_N0500_R122_T33UWS_20230501T150000.SAFE"}, -0.1),
        (GENERIC, None, {"datetime": "2022-01-25T00:00:00Z"}, -0.1),
        (GENERIC, None, {"datetime": "2022-01-24T23:59:59Z"}, 0.0),
        (GENERIC, float("nan"), {"baseline": "02.12"}, 0.0),
        (GENERIC, -0.1, {"flag": True}, 0.0),
    ],
)
def test_offsets(profile, offset, properties, expected):
    item, asset = one(offset, **properties)
    assert resolve(item, asset, profile) == (1e-4, expected)


@pytest.mark.parametrize(
    "asset",
    [
        {"raster:bands": [{"scale": 2e-4, "offset": -0.2}]},
        {"bands": [{"name": "B02", "raster:scale": 2e-4, "raster:offset": -0.2}]},
        {"bands": [{"name": "B02"}], "raster:scale": 2e-4, "raster:offset": -0.2},
    ],
)
def test_scale_and_offset_of_both_versions_of_stac(asset):
    assert resolve(one()[0], asset, GENERIC) == (2e-4, -0.2)


@pytest.mark.parametrize(
    ("catalog", "collection", "expected"),
    [
        ("https://earth-search.aws.element84.com/v1", "sentinel-2-l2a", EARTH_SEARCH),
        ("https://earth-search.aws.element84.com/v1/", "sentinel-2-c1-l2a", EARTH_SEARCH_UNTOUCHED),
        ("https://earth-search.aws.element84.com/v1", "sentinel-2-l1c", EARTH_SEARCH_UNTOUCHED),
        ("https://earth-search.aws.element84.com/v1", None, EARTH_SEARCH),
        ("https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a", PLANETARY_COMPUTER),
        ("http://127.0.0.1:8000", "sentinel-2-l2a", GENERIC),
        ("items.json", None, GENERIC),
    ],
)
def test_profiles_are_known_by_host(catalog, collection, expected):
    assert profile_of(catalog, collection) is expected
