"""The shipped quarry card on the images it was made from: every quarry cell, nothing else."""

import json

import numpy as np
import pytest
import rasterio

from models import find_card, load
from models.training.crops import ground_of, on_lattice
from models.training.labels import DetectorSample


@pytest.fixture(scope="module")
def strzegom(shared_data):
    folder = shared_data / "strzegom"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    bands = find_card("quarry-l2a-10band").bands
    return [_sample(folder, item, bands) for item in json.loads((folder / "items.json").read_text())["features"]]


def _sample(folder, item, bands) -> DetectorSample:
    date = item["properties"]["datetime"][:10]
    with rasterio.open(folder / "labels" / f"mask_strzegom_{date.replace('-', '')}_33u.tif") as file:
        labels = file.read(1).astype(np.int16)
        x0, y0 = round(file.transform.c / 10), -round(file.transform.f / 10)
    image = np.empty((len(bands), *labels.shape), np.float32)
    for row, band in enumerate(bands):
        asset = item["assets"][band]
        scale, offset = (asset["raster:bands"][0][key] for key in ("scale", "offset"))
        with rasterio.open(folder / asset["href"]) as file:
            counts = file.read(1)
        image[row] = np.where(counts == 0, np.nan, counts * scale + offset)
    return DetectorSample(reflectance=image, labels=labels, group=date, phase_px=(-y0 % 27, -x0 % 27))


def test_every_quarry_cell_and_no_other(strzegom):
    detector = load("quarry-l2a-10band", "cpu")
    cells = {}
    for sample in strzegom:
        core, labels = on_lattice(ground_of(sample, {10}), 0.1)
        hits = detector.score_core(core)[1] > detector.card.threshold
        cells[sample.group] = (
            int((labels == 1).sum()),
            int((hits & (labels == 1)).sum()),
            int((hits & (labels == 0)).sum()),
        )
    assert cells == {
        "2021-06-19": (5, 5, 0),
        "2022-07-19": (6, 6, 0),
        "2023-02-09": (6, 6, 0),
        "2023-05-30": (6, 6, 0),
    }
