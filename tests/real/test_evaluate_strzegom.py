"""The shipped quarry card on real dates: the command's cells and figures against a loop over the files themselves."""

import json

import numpy as np
import pytest
import rasterio

from models import load
from models.infer import Detector
from scanner.run.evaluate import EvaluateConfig, run_evaluate

DATES = ("2021-06-19", "2022-07-19", "2023-02-09", "2023-05-30")
CHECKED = DATES[1:3]
"""A summer's and a winter's: a loop over cells takes seconds."""
QUARRY, STRIDE_PX, WINDOW_PX, HALO_PX = 10, 27, 189, 94


@pytest.fixture(scope="module")
def strzegom(shared_data):
    folder = shared_data / "strzegom"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def _mask(folder, date):
    return folder / "labels" / f"mask_strzegom_{date.replace('-', '')}_33u.tif"


def _image(folder, date, bands):
    """Stored values (band, y, x) of a date, 200 px of nothing around them, and the upper left corner in zone pixels."""
    items = json.loads((folder / "items.json").read_text())["features"]
    (item,) = [item for item in items if item["properties"]["datetime"].startswith(date)]
    stored = np.zeros((len(bands), 801, 801), np.uint16)
    for row, band in enumerate(bands):
        asset = item["assets"][band]
        offset = asset["raster:bands"][0]["offset"]
        with rasterio.open(folder / asset["href"]) as file:
            counts, corner = file.read(1).astype(int), (round(file.transform.c / 10), -round(file.transform.f / 10))
        inside = np.where(counts == 0, 0, counts + round(offset * 1e4) + 1000)
        stored[row, 200:601, 200:601] = inside
    return stored, (corner[0] - 200, corner[1] - 200)


def _cells(folder, date, detector: Detector):
    """Label (1 quarry, 0 not) and score of every cell that is observed and that the mask says enough of."""
    stored, (x0, y0) = _image(folder, date, detector.card.bands)
    codes = np.zeros(stored.shape[1:])
    with rasterio.open(_mask(folder, date)) as file:
        codes[200:601, 200:601] = file.read(1)
    found = []
    for top in range(-y0 % STRIDE_PX, 801, STRIDE_PX):
        for left in range(-x0 % STRIDE_PX, 801, STRIDE_PX):
            rim = (WINDOW_PX - STRIDE_PX) // 2
            window = stored[:, top - rim : top + STRIDE_PX + rim, left - rim : left + STRIDE_PX + rim]
            core = stored[:, top - HALO_PX : top + STRIDE_PX + HALO_PX, left - HALO_PX : left + STRIDE_PX + HALO_PX]
            whole = core.shape[1:] == (STRIDE_PX + 2 * HALO_PX,) * 2
            if not whole or (window != 0).all(axis=0).mean() < 0.9:
                continue
            cell = codes[top : top + STRIDE_PX, left : left + STRIDE_PX]
            label = _label(float((cell == QUARRY).mean()), float((cell > 0).mean()))
            if label is not None:
                found.append((label, float(detector.score_core(np.ascontiguousarray(core))[1, 0, 0])))
    return found


def _label(quarry, labelled):
    if quarry >= 0.1:
        return 1
    return 0 if quarry == 0 and labelled >= 0.5 else None


def test_cells_and_figures_of_each_date(strzegom, tmp_path):
    detector = load("quarry-l2a-10band", "cpu")
    assert isinstance(detector, Detector)
    expected = {}
    for date in CHECKED:
        expected[f"{date}/{date}"] = np.zeros((2, 2), int)
        for label, score in _cells(strzegom, date, detector):
            expected[f"{date}/{date}"][label, int(score > 0.6)] += 1
    found = run_evaluate(
        EvaluateConfig(
            card="quarry-l2a-10band", catalog=str(strzegom / "items.json"), device="cpu", out=tmp_path / "out",
            dates=tuple(f"{date}/{date}" for date in DATES), labels=tuple(_mask(strzegom, date) for date in DATES),
            classes={"10": "mine"}, season=True,
        )
    ).found  # fmt: skip
    parts = found["by_dates"]
    assert {dates: parts[dates]["confusion"] for dates in expected} == {
        dates: counts.tolist() for dates, counts in expected.items()
    }
    assert found["confusion"] == sum(np.array(part["confusion"]) for part in parts.values()).tolist()
    assert set(found["by_season"]) == {"spring", "summer", "winter"}
    # Remembering the other dates knows every quarry cell: the card adds nothing here, and takes some away.
    assert found["remembering"]["per_class"]["mine"]["f1"] == 1
    assert found["remembering"]["difference"]["mine.f1"] < 0
