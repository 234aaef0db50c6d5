"""Both published detectors of Amazon Mining Watch scan thirty real dates of L1C."""

import numpy as np
import pytest
import rasterio

from models import load
from models.importing.bring import bring
from scanner import ScanConfig, open_composite, scan
from scanner.detection.detect import reflectance_of

FILES = {"2026": "48px_v4.21-CNN100ka_2026-05-08ep179.h5", "2024": "48px_v3.2-3.7ensemble_2024-02-13.h5"}
AOI = "12.7155,42.0555,12.7325,42.0725"


@pytest.mark.parametrize("year", FILES)
def test_scores_are_the_detectors_own_on_the_scans_composite(year, shared_data, tmp_path):
    folder = tmp_path / "card"
    bring(shared_data / "weights" / "amazon-mining-watch" / FILES[year], f"amw-{year}", {}, out=folder)
    result = scan(
        ScanConfig(
            aoi=AOI, dates="2018-01-01/2018-12-31", catalog=str(shared_data / "lazio-l1c" / "items.json"),
            detector=str(folder), out=tmp_path / "scan", workers=1,
        )
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.failures == ()
    detector, seen = load(folder), 0
    for file in sorted((tmp_path / "scan" / "probability").glob("*.tif")):
        with rasterio.open(file) as data:
            probabilities, edges = data.read(), data.transform
        cube = open_composite(result.out, tile=file.stem).sel(band=list(detector.card.bands))
        for row, column in np.argwhere(np.isfinite(probabilities[-1])):
            left, top = edges.c + column * edges.a, edges.f + row * edges.e
            patch = cube.sel(x=slice(left - 120, left + 360), y=slice(top + 120, top - 360))
            assert patch.shape[1:] == (48, 48)
            own = detector.score_core(reflectance_of(patch.values))
            np.testing.assert_allclose(own[:, 0, 0], probabilities[:, row, column], atol=1e-5)
            seen += 1
    assert seen > 30
