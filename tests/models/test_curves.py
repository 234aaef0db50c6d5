"""Threshold curves and calibration against naive loops and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from models.curves import average_precision, calibration, curve

units = st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=50).map(
    lambda pairs: (np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], np.float32))
)


@given(units)
def test_a_curve_equals_counting_at_each_threshold(case):
    positive, probability = case
    found = curve(positive, probability)
    for place in (0, 1, 30, 60, 99, 100):
        above = probability > place / 100
        hits = int((above & positive).sum())
        expected = {
            "precision": (hits, above.sum()),
            "recall": (hits, positive.sum()),
            "f1": (2 * hits, above.sum() + positive.sum()),
        }
        for name, (part, whole) in expected.items():
            assert found[name][place] == (pytest.approx(part / whole) if whole else None)


@given(units)
def test_bins_hold_every_unit_and_the_error_is_their_weighed_distance(case):
    positive, probability = case
    found = calibration(positive, probability)
    error = 0.0
    for number, row in enumerate(found["bins"]):
        low, high = np.float64(number) / 10, np.float64(number + 1) / 10
        wide = probability.astype(np.float64)
        inside = (wide * 10 >= number) & ((wide * 10 < number + 1) | (number == 9))
        assert (row["from"], row["to"], row["units"]) == (low, high, inside.sum())
        if inside.any():
            assert row["share"] == pytest.approx(positive[inside].mean())
            assert row["probability"] == pytest.approx(wide[inside].mean())
            error += inside.mean() * abs(positive[inside].mean() - wide[inside].mean())
        else:
            assert row["share"] is row["probability"] is None
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-12)
    theirs = sklearn.metrics.brier_score_loss(positive, probability.astype(np.float64), pos_label=True)
    assert found["brier"] == pytest.approx(theirs, abs=1e-12)


def test_worked_by_hand():
    positive = np.array([False, True, True, False])
    probability = np.array([0.15, 0.95, 0.35, 0.85], np.float32)
    assert average_precision(positive, probability) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4, bool), probability) is None
    found = curve(positive, probability)
    assert found["precision"][50] == pytest.approx(1 / 2)
    assert found["recall"][50] == pytest.approx(1 / 2)
    assert found["precision"][96] is None
    assert found["recall"][96] == 0
    measured = calibration(positive, probability)
    assert measured["brier"] == pytest.approx((0.15**2 + 0.05**2 + 0.65**2 + 0.85**2) / 4)
    assert measured["expected_calibration_error"] == pytest.approx((0.15 + 0.05 + 0.65 + 0.85) / 4)


def test_what_is_said_truly_is_calibrated():
    positive, probability = np.array([True, False] * 50), np.full(100, 0.5, np.float32)
    assert calibration(positive, probability)["expected_calibration_error"] == 0
    assert calibration(positive[:0], probability[:0])["brier"] is None
