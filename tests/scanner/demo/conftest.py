from pathlib import Path

import pytest

from scanner.demo.region import Region, make_region
from scanner.demo.sites import RegionSpec

SPEC = RegionSpec(size_px=384, dates=5, mines=2, decoys=8, cloud_called=1)


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    """A tiny region: two granules of 3.84 km on five dates."""
    folder: Path = tmp_path_factory.mktemp("region")
    return make_region(folder, 11, SPEC)
