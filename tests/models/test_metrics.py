"""Figures against hand counts and scikit-learn."""

import json
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from models.metrics import accuracy, confusion, f1, figures, flat, precision, recall, report


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


HAND = np.array([[50, 3, 2], [4, 20, 1], [0, 5, 15]])
"""Rows true, columns predicted; 100 units."""


def test_a_matrix_worked_by_hand():
    found = figures(HAND, ("rock", "crop", "mine"))
    assert found["overall_accuracy"] == pytest.approx(0.85)
    # By chance: (55 * 54 + 25 * 28 + 20 * 18) / 100^2 = 0.403.
    assert found["kappa"] == pytest.approx((0.85 - 0.403) / (1 - 0.403))
    mine = found["per_class"]["mine"]
    assert mine["support"] == 20
    assert mine["predicted"] == 18
    assert mine["recall"] == mine["producers_accuracy"] == pytest.approx(15 / 20)
    assert mine["precision"] == mine["users_accuracy"] == pytest.approx(15 / 18)
    assert mine["specificity"] == pytest.approx(77 / 80)
    assert mine["accuracy"] == pytest.approx((15 + 77) / 100)
    assert mine["f1"] == pytest.approx(30 / 38)
    assert mine["iou"] == pytest.approx(15 / 23)
    assert found["mean_producers_accuracy"] == pytest.approx((50 / 55 + 20 / 25 + 15 / 20) / 3)
    assert found["mean_users_accuracy"] == pytest.approx((50 / 54 + 20 / 28 + 15 / 18) / 3)
    assert found["macro_f1"] == pytest.approx((100 / 109 + 40 / 53 + 30 / 38) / 3)
    assert found["confusion"] == HAND.tolist()


labelled = st.integers(2, 5).flatmap(
    lambda count: st.lists(
        st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), min_size=1, max_size=60
    ).map(lambda pairs: (count, np.array(pairs)))
)


@given(labelled)
def test_equal_to_scikit_learn(case):
    count, pairs = case
    truth, guess, labels = pairs[:, 0], pairs[:, 1], range(count)
    found = figures(confusion(truth, guess, count), [str(label) for label in labels])
    np.testing.assert_array_equal(found["confusion"], sklearn.metrics.confusion_matrix(truth, guess, labels=labels))
    assert found["overall_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kappa without a second class, which is NaN there and None here
        kappa = sklearn.metrics.cohen_kappa_score(truth, guess, labels=labels)
    assert found["kappa"] == (None if np.isnan(kappa) else pytest.approx(kappa, abs=1e-12))
    theirs = sklearn.metrics.precision_recall_fscore_support(truth, guess, labels=labels, zero_division=np.nan)
    tables = sklearn.metrics.multilabel_confusion_matrix(truth, guess, labels=labels)
    for label, row in enumerate(found["per_class"].values()):
        for name, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
            assert row[name] == (None if np.isnan(values[label]) else pytest.approx(values[label]))
        (tn, fp), (fn, tp) = tables[label]
        assert row["specificity"] == (pytest.approx(tn / (tn + fp)) if tn + fp else None)
        assert row["accuracy"] == pytest.approx((tp + tn) / len(truth))
        assert row["iou"] == (pytest.approx(tp / (tp + fp + fn)) if tp + fp + fn else None)
    means = sklearn.metrics.precision_recall_fscore_support(
        truth, guess, labels=labels, average="macro", zero_division=np.nan
    )
    for name, mean in zip(("mean_users_accuracy", "mean_producers_accuracy", "macro_f1"), means, strict=False):
        assert found[name] == pytest.approx(mean)


@given(labelled, st.randoms())
def test_the_names_of_classes_may_be_changed_about(case, random):
    count, pairs = case
    order = list(range(count))
    random.shuffle(order)
    place = np.argsort(order)
    plain = figures(confusion(*pairs.T, count), [f"class {label}" for label in range(count)])
    moved = figures(confusion(*place[pairs].T, count), [f"class {label}" for label in order])
    assert flat(moved) == {name: pytest.approx(value) for name, value in flat(plain).items()}


@given(labelled)
def test_a_perfect_answer_has_ones_and_no_figure_leaves_its_range(case):
    count, pairs = case
    names = [str(label) for label in range(count)]
    perfect = flat(figures(confusion(pairs[:, 0], pairs[:, 0], count), names))
    assert set(perfect.values()) <= {1.0, None}
    found = flat(figures(confusion(*pairs.T, count), names))
    lowest = {name: -1 if name == "kappa" else 0 for name in found}
    assert all(value is None or lowest[name] <= value <= 1 for name, value in found.items())


def test_a_class_that_is_nowhere_is_in_no_mean():
    found = figures(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), ("a", "b", "mine"))
    assert {found["per_class"]["mine"][name] for name in ("precision", "recall", "f1", "iou")} == {None}
    assert found["per_class"]["mine"]["specificity"] == 1
    assert found["mean_producers_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_class_alone_leaves_kappa_open():
    assert figures(np.array([[5, 0], [0, 0]]), ("a", "b"))["kappa"] is None
