"""A comparison as a whole: the model beside remembering and beside the most frequent class."""

import json

import numpy as np
import pytest

from models.evaluate import Grouping, Units, evaluate, predicted, together
from models.metrics import confusion, figures, flat
from models.units import UNLABELLED

CLASSES = ("not_mine", "mine")


def _units(count=200, seed=3, classes=2, **changes) -> Units:
    rng = np.random.default_rng(seed)
    scores = rng.random((count, classes)).astype(np.float32)
    values = {
        "truth": rng.integers(0, classes, count).astype(np.int16),
        "probabilities": scores / scores.sum(axis=1, keepdims=True),
        "remembered": rng.integers(-1, classes, count).astype(np.int16),
        "doubtful": rng.random(count) < 0.2,
    }
    return Units(**(values | changes))


def test_the_model_and_remembering_are_compared_on_what_both_know():
    units = _units()
    found = evaluate(units, CLASSES, 0.6)
    guess = (units.probabilities[:, 1] > 0.6).astype(int)
    known = units.remembered != UNLABELLED
    assert found["confusion"] == confusion(units.truth, guess, 2).tolist()
    memory = found["remembering"]
    assert memory["units"] == known.sum() < found["units"] == 200
    assert memory["confusion"] == confusion(units.truth[known], units.remembered[known], 2).tolist()
    assert memory["model"]["confusion"] == confusion(units.truth[known], guess[known], 2).tolist()
    ours, theirs = flat(memory["model"]), flat(memory)
    assert memory["difference"] == {name: pytest.approx(ours[name] - theirs[name]) for name in ours}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_most_frequent_class_is_the_trivial_answer():
    units = _units(truth=np.array([1] * 30 + [0] * 170, np.int16))
    trivial = evaluate(units, CLASSES, 0.6)["trivial"]
    assert trivial["always"] == "not_mine"
    assert trivial["overall_accuracy"] == pytest.approx(0.85)
    assert trivial["kappa"] == pytest.approx(0)
    assert trivial["per_class"]["mine"]["recall"] == 0
    assert trivial["per_class"]["mine"]["precision"] is None


def test_nothing_remembered_is_not_compared():
    units = _units(remembered=np.full(200, UNLABELLED, np.int16))
    assert evaluate(units, CLASSES, 0.6)["remembering"] is None


def test_a_card_that_remembers_adds_nothing():
    units = _units()
    same = np.stack([units.truth == 0, units.truth == 1], axis=1).astype(np.float32)
    found = evaluate(_units(probabilities=same, remembered=units.truth), CLASSES, 0.6)
    assert set(found["remembering"]["difference"].values()) == {0.0}
    assert found["overall_accuracy"] == found["kappa"] == found["macro_f1"] == 1


def test_of_two_classes_the_threshold_decides_and_of_more_the_highest():
    two = np.array([[0.5, 0.5], [0.4, 0.6], [0.3, 0.7]], np.float32)
    np.testing.assert_array_equal(predicted(two, 0.6), [0, 0, 1])
    three = np.array([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]], np.float32)
    np.testing.assert_array_equal(predicted(three, 0.9), [1, 0])


def test_relaxed_figures_leave_doubtful_units_out():
    units = _units()
    relaxed = evaluate(units, CLASSES, 0.6)["relaxed"]
    sure = ~units.doubtful
    guess = units.probabilities[:, 1] > 0.6
    assert relaxed["left_out"] == units.doubtful.sum()
    assert relaxed["confusion"] == confusion(units.truth[sure], guess[sure], 2).tolist()
    assert "relaxed" not in evaluate(_units(doubtful=np.zeros(200, bool)), CLASSES, 0.6)
    assert evaluate(_units(doubtful=np.ones(200, bool)), CLASSES, 0.6)["relaxed"] is None


def test_groups_are_joined_by_name_and_add_up():
    first, second = (
        _units(count, seed, groups={"dates": Grouping(names=names, index=index)})
        for count, seed, names, index in (
            (60, 1, ("dry", "wet"), np.array([0, 1] * 30, np.int32)),
            (40, 2, ("wet", "other"), np.array([0] * 39 + [-1], np.int32)),
        )
    )
    found = evaluate(together([first, second]), CLASSES, 0.6)
    assert {name: part["units"] for name, part in found["by_dates"].items()} == {"dry": 30, "wet": 69}
    assert found["units"] == 100
    dry = first.where(first.groups["dates"].index == 0)
    assert found["by_dates"]["dry"]["confusion"] == evaluate(dry, CLASSES, 0.6)["confusion"]


def test_more_classes():
    units = _units(classes=4)
    names = ("a", "b", "c", "quarry")
    found = evaluate(units, names, 0.6)
    expected = figures(confusion(units.truth, units.probabilities.argmax(axis=1), 4), names)
    assert {key: found[key] for key in ("confusion", "kappa", "macro_f1")} == {
        key: expected[key] for key in ("confusion", "kappa", "macro_f1")
    }
    assert set(found["curves"]) == set(found["calibration"]) == set(names)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected \\(1 or more, 2\\)"):
        evaluate(_units(0), CLASSES, 0.6)
    with pytest.raises(ValueError, match=r"expected \(1 or more, 3\)"):
        evaluate(_units(), ("a", "b", "c"), 0.6)
    with pytest.raises(ValueError, match="got 200 labels"):
        _units(remembered=np.zeros(3, np.int16))
