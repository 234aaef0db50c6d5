"""Figures against hand counts."""

import numpy as np
import pytest

from models.metrics import accuracy, confusion, f1, precision, recall, report


def test_counts_and_figures():
    truth = [0, 0, 0, 1, 1, 2, -1]
    guess = [0, 1, 0, 1, 0, 2, 2]
    counts = confusion(truth, guess, 3)
    np.testing.assert_array_equal(counts, [[2, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert accuracy(counts) == pytest.approx(4 / 6)
    assert precision(counts, 1) == pytest.approx(1 / 2)
    assert recall(counts, 0) == pytest.approx(2 / 3)
    assert f1(counts, 1) == pytest.approx(2 / (2 + 1 + 1))


def test_nothing_to_count_is_none_in_a_report():
    figures = report(confusion([0, 0], [0, 0], 2), ("not_mine", "mine"), 1)
    assert figures["precision"] is None
    assert figures["recall"] is None
    assert figures["f1"] is None
    assert figures["accuracy"] == 1
    assert figures["confusion"] == [[2, 0], [0, 0]]


def test_lengths_must_match():
    with pytest.raises(ValueError, match="got 2 true and 3"):
        confusion([0, 1], [0, 1, 1], 2)
