"""Losses by hand, their gradients by differences, and what none of them may see."""

import math

import pytest
import torch

from models.training.config import TrainConfig
from models.training.labels import LEFT_OUT
from models.training.losses import LOSSES, at_depths, make_loss

OVERLAPS = ["dice", "bce-dice", "focal-tversky"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """These networks are too small for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def logits_of(probabilities: list[float]) -> torch.Tensor:
    """(1, 2, 1, n) logits whose softmax gives the second class these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.log(p / (1 - p))])[None, :, None]


LABELS = torch.tensor([[[1, 1, 0, 0, LEFT_OUT]]])
GIVEN = logits_of([0.75, 0.25, 0.5, 0.25, 0.999])
# Found 1, missed 1, falsely found 0.75.


def test_dice_by_hand():
    assert make_loss(TrainConfig(loss="dice"), 2)(GIVEN, LABELS).item() == pytest.approx(1 - 3 / 4.75)


def test_bce_dice_is_half_and_half():
    entropy = -(math.log(0.75) + math.log(0.25) + math.log(0.5) + math.log(0.75)) / 4
    loss = make_loss(TrainConfig(loss="bce-dice", balance=0), 2)
    assert loss(GIVEN, LABELS).item() == pytest.approx(0.5 * entropy + 0.5 * (1 - 3 / 4.75))


@pytest.mark.parametrize("gamma", [1.0, 4 / 3, 3.0])
def test_focal_tversky_by_hand(gamma):
    loss = make_loss(TrainConfig(loss="focal-tversky", alpha=0.7, beta=0.3, gamma=gamma), 2)
    index = 2 / (1 + 0.7 * 1 + 0.3 * 0.75 + 1)
    assert loss(GIVEN, LABELS).item() == pytest.approx((1 - index) ** (1 / gamma))


def test_alpha_weighs_what_is_missed():
    missing, inventing = logits_of([0.1, 0.1]), logits_of([0.9, 0.9])
    loss = make_loss(TrainConfig(loss="focal-tversky"), 2)
    assert loss(missing, torch.tensor([[[1, 1]]])) > loss(inventing, torch.tensor([[[0, 0]]]))


def test_focal_of_balanced_classes_by_hand():
    """Each class's mean of (1 - p) ** 2 times -log p, and the mean of the classes."""
    mine = (0.25**2 * -math.log(0.75) + 0.75**2 * -math.log(0.25)) / 2
    rest = (0.5**2 * -math.log(0.5) + 0.25**2 * -math.log(0.75)) / 2
    loss = make_loss(TrainConfig(loss="focal", gamma=2.0, balance=1.0), 2)
    assert loss(GIVEN, LABELS).item() == pytest.approx((mine + rest) / 2)


def test_of_three_classes_the_mean_is_taken():
    """Probabilities of a third each: of a class with m of n pixels found m / 3, missed 2 m / 3, false (n - m) / 3."""
    labels = torch.tensor([[[0, 0, 0, 1]]])
    expected = [1 - (2 * m / 3 + 1) / (2 * m / 3 + 2 * m / 3 + (4 - m) / 3 + 1) for m in (3, 1, 0)]
    loss = make_loss(TrainConfig(loss="dice"), 3)
    assert loss(torch.zeros(1, 3, 1, 4), labels).item() == pytest.approx(sum(expected) / 3)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_those_of_differences(name, classes):
    torch.manual_seed(classes)
    logits = torch.randn(2, classes, 2, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(classes, (2, 2, 2))
    labels[0, 0] = LEFT_OUT
    loss = make_loss(TrainConfig(loss=name), classes)
    assert torch.autograd.gradcheck(lambda given: loss(given, labels), logits)
    loss(logits, labels).backward()
    assert not logits.grad[0, :, 0].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_perfect_and_empty_have_finite_gradients(name):
    loss = make_loss(TrainConfig(loss=name), 2)
    for labels in (torch.tensor([[[1, 0]]]), torch.full((1, 1, 2), LEFT_OUT)):
        logits = torch.tensor([[[[-60.0, 60.0]], [[60.0, -60.0]]]], requires_grad=True)
        value = loss(logits, labels)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-3)
        assert torch.isfinite(logits.grad).all()


def test_classifiers_have_these_losses_too():
    for name in OVERLAPS:
        loss = make_loss(TrainConfig(loss=name), 3)
        assert 0 < loss(torch.zeros(5, 3), torch.tensor([0, 1, 2, 1, LEFT_OUT])).item() < 1.2


def test_depths_count_alike_and_against_every_label():
    """A mine of one pixel, in the corner that no coarse grid of labels would hold."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, 3, 3] = 1
    loss = make_loss(TrainConfig(), 2)
    coarse, fine = torch.randn(1, 2, 2, 2), torch.randn(1, 2, 4, 4)
    repeated = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = (loss(repeated, labels) + loss(fine, labels)) / 2
    torch.testing.assert_close(at_depths(loss, (coarse, fine), labels), expected)
    torch.testing.assert_close(at_depths(loss, fine, labels), loss(fine, labels))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"loss": "luck"}, "expected one of: cross-entropy, focal, dice, bce-dice, focal-tversky"),
        ({"loss": "focal-tversky", "gamma": 0.75}, "gamma 0.75 must be within 1 to 3"),
        ({"loss": "dice", "class_weights": (1.0, 2.0)}, "leave class_weights out"),
        ({"alpha": 0.0, "beta": 0.0}, "alpha, beta must be 0 or more, one above 0"),
        ({"alpha": -1.0}, "alpha, beta must be 0 or more"),
    ],
)
def test_losses_that_cannot_be(options, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        make_loss(TrainConfig(**options), 2)
    assert "\n" not in str(caught.value)
