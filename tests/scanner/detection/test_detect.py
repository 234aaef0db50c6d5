"""Seams do not exist, cloud is not absence, nothing is thrown away."""

import datetime as dt

import numpy as np
import pytest
import torch

from models import ModelCard
from models.infer import open_model
from models.networks import build
from scanner.detection.detect import Asked, detect_tile
from scanner.detection.found import UNJUDGED, Found
from scanner.detection.judge import Bench, hits_of
from tiling import CellRange, Lattice, TileId, Window, chunks

BANDS = ("B02", "B03", "B04")
LATTICE = Lattice(zone=32633, stride_px=27)
TILE = TileId(zone=32633, column=6, row=61)
SOME = LATTICE.cells_of(TILE)
CELLS = CellRange(column0=SOME.column0, column1=SOME.column0 + 13, row0=SOME.row0, row1=SOME.row0 + 11)
GROUND = CELLS.window(LATTICE).buffer(94)


def make_card(task: str, classes: tuple[str, ...]) -> ModelCard:
    detector = task == "detector"
    return ModelCard(
        name="drawn", task=task, mode="fcn" if detector else "window",
        network="balaniuk-fcn" if detector else "balaniuk-impact", level="l2a", bands=BANDS, mean=(0.1,) * 3,
        std=(0.05,) * 3, window_px=189 if detector else 21, stride_px=27 if detector else 21,
        halo_px=94 if detector else 0, classes=classes, limits="drawn", licence="none", origin="drawn",
    )  # fmt: skip


def make_model(task: str, classes: tuple[str, ...]):
    torch.manual_seed(11)
    card = make_card(task, classes)
    net = build(card.network, bands=3, classes=len(classes))
    return open_model(card, {key: value * 2 for key, value in net.state_dict().items()})


@pytest.fixture(scope="module")
def detector():
    return make_model("detector", ("not_mine", "mine"))


@pytest.fixture(scope="module")
def composite():
    rng = np.random.default_rng(5)
    values = rng.integers(1200, 3000, (3, *GROUND.shape)).astype(np.uint16)
    values[:, 100:140, 90:130] = 0
    return values


def reader(values, looks=7):
    def read(window: Window):
        rows, columns = window.slices_in(GROUND)
        part = values[:, rows, columns]
        return part, np.where((part != 0).all(axis=0), looks, 0).astype(np.uint16)

    return read


def places(found: Found) -> list[tuple[int, int]]:
    return list(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


def ask(chunk_px: int, judged=None) -> Asked:
    mask = np.ones(CELLS.shape, bool) if judged is None else judged
    parts = chunks(LATTICE, CELLS, chunk_px=chunk_px, halo_px=94)
    return Asked(tile=TILE, lattice=LATTICE, cells=CELLS, judged=mask, chunks=parts)


@pytest.mark.parametrize("chunk_px", [27, 54, 100, 135])
def test_chunks_of_any_size_give_what_one_gives(detector, composite, chunk_px):
    whole = detect_tile(ask(10_000), reader(composite), detector, None, 0.5)
    cut = detect_tile(ask(chunk_px), reader(composite), detector, None, 0.5)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(cut.looks, whole.looks)
    np.testing.assert_array_equal(cut.observed, whole.observed)
    assert places(cut.found) == places(whole.found)
    assert np.ptp(whole.probabilities[1]) > 0.01


def test_only_judged_cells_are_answered_and_the_others_change_nothing(detector, composite):
    judged = np.zeros(CELLS.shape, bool)
    judged[2, 3] = judged[9, 12] = True
    few = detect_tile(ask(135, judged), reader(composite), detector, None, 0.0)
    whole = detect_tile(ask(135), reader(composite), detector, None, 0.0)
    np.testing.assert_allclose(few.probabilities[:, judged], whole.probabilities[:, judged], atol=1e-5, rtol=0)
    assert np.isnan(few.probabilities[:, ~judged]).all()
    assert (few.looks[~judged] == UNJUDGED).all()
    assert len(few.found) == 2


def bench(impact=None) -> Bench:
    days = {"late": dt.date(2023, 5, 1), "early": dt.date(2021, 5, 1)}

    def clear_in(windows):
        return [("early", "late") if window.width_px == 27 else () for window in windows]

    return Bench(tile=TILE, lattice=LATTICE, cells=CELLS, impact=impact, scenes=days, clear_in=clear_in)


def brute_observed(values) -> np.ndarray:
    valid = (values != 0).all(axis=0)
    return np.array(
        [
            [valid[94 - 81 + r * 27 :][:189, 94 - 81 + c * 27 :][:, :189].mean() >= 0.9 for c in range(CELLS.shape[1])]
            for r in range(CELLS.shape[0])
        ]
    )


def test_a_cell_is_observed_when_nine_tenths_of_its_window_has_a_look_in_every_band(detector, composite):
    holes = composite.copy()
    holes[1, 200:280, 100:300] = 0
    found = detect_tile(ask(135), reader(holes), detector, None, 0.0)
    expected = brute_observed(holes)
    np.testing.assert_array_equal(found.observed, expected)
    assert 0 < expected.sum() < expected.size
    assert np.isnan(found.probabilities[:, ~expected]).all()
    assert not np.isnan(found.probabilities[:, expected]).any()


def test_hits_that_were_not_seen_keep_their_row_and_reason(detector, composite):
    holes = composite.copy()
    holes[:, 200:320] = 0
    asked = ask(135)
    hits = hits_of(detect_tile(asked, reader(holes), detector, None, 0.0).found, bench())
    assert len(hits) == CELLS.shape[0] * CELLS.shape[1]
    assert {hit.verdict for hit in hits} == {"accepted", "unobserved"}
    first = hits[0]
    assert first.cell == str(LATTICE.cell_in(CELLS, 0, 0))
    assert first.tile == "32633-006-061"
    assert (first.first_scene, first.last_scene, first.scenes) == ("2021-05-01", "2023-05-01", ("early", "late"))


def test_the_judge_rejects_by_its_best_class_from_the_pixels_around_the_cell(detector, composite):
    judge = make_model("impact", ("high_impact", "low_impact", "no_ore"))
    asked = ask(135)
    found = detect_tile(asked, reader(composite), detector, judge, 0.0)
    hits = hits_of(found.found, bench(judge.card))
    row, column = 6, 7
    centre_y, centre_x = 94 + row * 27 + 13, 94 + column * 27 + 13
    chip = composite[:, centre_y - 10 : centre_y + 11, centre_x - 10 : centre_x + 11].astype(np.float32)
    expected = judge.score(((chip - 1000) * 1e-4)[None])[0]
    hit = next(hit for hit in hits if hit.cell == str(LATTICE.cell_in(CELLS, row, column)))
    np.testing.assert_allclose([hit.impact_high, hit.impact_low, hit.no_ore], expected, atol=1e-5)
    for hit in hits:
        best = max(("high", hit.impact_high), ("low", hit.impact_low), ("no_ore", hit.no_ore), key=lambda item: item[1])
        if hit.verdict != "unobserved":
            assert (hit.verdict == "no_ore") == (best[0] == "no_ore")


def test_clear_looks_is_the_median_over_the_cells_own_pixels(detector, composite):
    def read(window: Window):
        rows, columns = window.slices_in(GROUND)
        ramp = (np.arange(GROUND.height_px)[:, None] + np.arange(GROUND.width_px)).astype(np.uint16)
        return composite[:, rows, columns], ramp[rows, columns]

    found = detect_tile(ask(135), read, detector, None, 0.5)
    ramp = np.arange(27)[:, None] + np.arange(27)
    assert found.looks[3, 4] == np.median(ramp) + (94 + 81) + (94 + 108)


def test_ground_without_a_single_look_is_unobserved_and_costs_no_network(composite):
    found = detect_tile(
        ask(135), reader(np.zeros_like(composite)), make_model("detector", ("not_mine", "mine")), None, 0.0
    )
    assert np.isnan(found.probabilities).all()
    assert not found.observed.any()
    assert (found.looks == 0).all()
    assert not len(found.found)
