"""Tiny problems with one answer: learnt, the same from the same seed, measured on what was held out."""

import dataclasses

import numpy as np
import pytest
import torch

from models.infer import open_model
from models.training.augment import blend, relight, turn
from models.training.config import TrainConfig
from models.training.crops import draw_crop, ground_of, on_lattice
from models.training.labels import LEFT_OUT, ChipSet, DetectorSample, cell_labels, cells_fitting, core_of
from models.training.loop import Session
from models.training.losses import make_loss
from models.training.train import train_detector, train_judge

STILL = TrainConfig(gain=0, band_gain=0, offset=0, blend=0, near_target=0)


def make_sample(seed: int, group: str, place: str = "") -> DetectorSample:
    """Dark noise of 3 bands with one bright square of class 10 in its middle, off any lattice."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.1, 0.02, (3, 300, 290)).astype(np.float32)
    labels = np.zeros((300, 290), np.int16)
    labels[120:180, 118:170] = 10
    image[:, labels == 10] += 0.4
    image[:, 0] = np.nan
    return DetectorSample(reflectance=image, labels=labels, group=group, phase_px=(7, 21), place=place)


@pytest.fixture(scope="module")
def samples():
    return [make_sample(0, "a", "here"), make_sample(1, "b", "here"), make_sample(2, "c")]


def test_cells_are_positive_from_a_tenth_on():
    target = np.zeros((54, 81), bool)
    target[:27, :27].flat[:73] = True  # 73 of 729 px: a tenth and a little
    target[:27, 27:54].flat[:72] = True
    np.testing.assert_array_equal(cell_labels(target, 0.1), [[1, LEFT_OUT, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("edge", "phase", "cells"), [(189, 0, 1), (188, 0, 0), (215, 26, 1), (215, 0, 1), (401, 21, 8)]
)
def test_cells_whose_window_lies_in_the_image(edge, phase, cells):
    assert cells_fitting(edge, phase) == cells


def test_core_beyond_the_image_is_missing():
    image = np.arange(2 * 250 * 260, dtype=np.float32).reshape(2, 250, 260)
    core = core_of(image, (7, 21), (2, 1))
    assert core.shape == (2, 27 * 2 + 188, 215)
    padded = np.pad(image, ((0, 0), (13, 13), (13, 13)), constant_values=np.nan)
    np.testing.assert_array_equal(core, padded[:, 7 : 7 + 242, 21 : 21 + 215])


def test_lattice_labels_lie_where_the_scores_do(samples):
    """The cell labels are those of the ground in the middle of the core that is scored."""
    ground = ground_of(samples[0], {10})
    core, labels = on_lattice(ground, 0.1)
    marked = core_of(np.where(ground.target, 1.0, 0.0).astype(np.float32)[None], (7, 21), labels.shape)[0]
    np.testing.assert_array_equal(labels, cell_labels(marked[94:-94, 94:-94] == 1, 0.1))
    assert core.shape[1:] == marked.shape
    assert (labels == 1).any()


def test_crops_keep_labels_on_their_ground(samples):
    """Through crop and turn, a cell is positive exactly where its own 27 px are bright."""
    rng = np.random.default_rng(0)
    ground = [ground_of(sample, {10}) for sample in samples]
    seen = set()
    for _ in range(40):
        pixels, cells = draw_crop(ground, STILL, rng)
        bright = (pixels[0, 94:-94, 94:-94] > 0.3).reshape(cells.shape[0], 27, cells.shape[1], 27).mean((1, 3))
        np.testing.assert_array_equal(cells, np.select([bright >= 0.1, bright > 0], [1, LEFT_OUT], 0))
        seen.add(cells.tobytes())
    assert len(seen) > 10


@pytest.mark.parametrize("count", [1, 2, 3])
def test_crops_on_the_lattice_are_its_cells(samples, count):
    """Undone, a crop is a block of the very core that a scan would score."""
    ground = ground_of(samples[0], {10})
    core, labels = on_lattice(ground, 0.1)
    config = dataclasses.replace(STILL, on_lattice=1, crop_cells=count)
    blocks = {}
    for row in range(labels.shape[0] - count + 1):
        for column in range(labels.shape[1] - count + 1):
            edge = 27 * count + 188
            block = core[:, 27 * row : 27 * row + edge, 27 * column : 27 * column + edge]
            for which in range(8):
                blocks[turn(block, which).tobytes()] = turn(labels[row : row + count, column : column + count], which)
    for seed in range(8):
        pixels, cells = draw_crop([ground], config, np.random.default_rng(seed))
        np.testing.assert_array_equal(blocks[pixels.tobytes()], cells)


def test_eight_turns_are_eight():
    square = np.arange(9).reshape(1, 3, 3)
    assert len({turn(square, which).tobytes() for which in range(8)}) == 8
    np.testing.assert_array_equal(turn(square, 0), square)


def test_relight_is_one_gain_and_offset_a_band():
    pixels = np.random.default_rng(0).uniform(0, 1, (3, 5, 5)).astype(np.float32)
    lit = relight(pixels, TrainConfig(), np.random.default_rng(1))
    for band in range(3):
        slope, offset = np.polyfit(pixels[band].ravel(), lit[band].ravel(), 1)
        np.testing.assert_allclose(lit[band], pixels[band] * slope + offset, atol=1e-5)
        assert abs(slope - 1) > 1e-3
    np.testing.assert_array_equal(relight(pixels, STILL, np.random.default_rng(1)), pixels)


def test_only_dates_of_one_place_are_blended(samples):
    rng = np.random.default_rng(0)
    assert blend(samples[2], samples, 1.0, rng) is samples[2].reflectance
    mixed = blend(samples[0], samples, 1.0, rng)
    away, towards = np.nanmax(np.abs(mixed - samples[0].reflectance)), np.nanmax(np.abs(mixed - samples[1].reflectance))
    assert 0 < away <= towards


def test_classes_weigh_the_same():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    labels = torch.tensor([0, 0, 0, 1, LEFT_OUT])
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))

    def loss(**config) -> float:
        return float(make_loss(TrainConfig(**config), 2)(logits, labels))

    assert loss() == pytest.approx((right + wrong) / 2)
    assert loss(balance=0) == pytest.approx((3 * right + wrong) / 4)
    assert loss(class_weights=(1.0, 3.0)) == pytest.approx((right + 3 * wrong) / 4)
    p = 1 / (1 + np.exp(-2))
    assert loss(loss="focal", gamma=2.0) == pytest.approx(((1 - p) ** 2 * right + p**2 * wrong) / 2)
    assert loss(loss="focal", gamma=0.0) == pytest.approx(loss())
    assert float(make_loss(TrainConfig(), 2)(logits, torch.full((5,), LEFT_OUT))) == 0
    with pytest.raises(ValueError, match="expected one of: cross-entropy, focal"):
        loss(loss="hinge")
    with pytest.raises(ValueError, match="one a class"):
        loss(class_weights=(1.0,))


def test_detector_learns_the_bright_square(samples):
    config = dataclasses.replace(STILL, steps=30, rate=3e-3, check_every=15, crop_cells=3, average=0.5)
    steps = []
    trained = train_detector(
        samples, config, targets={10}, held_out={"c"},
        session=Session(on_step=lambda step, total, _loss: steps.append((step, total))),
    )  # fmt: skip
    assert trained.metrics["held_out"] == ["c"]
    assert trained.metrics["measured_on"] == "held-out groups"
    assert steps[:2] == [(1, 30), (2, 30)]
    assert trained.metrics["recall"] == 1
    assert trained.metrics["precision"] == 1
    inside = np.concatenate([sample.reflectance[0].ravel() for sample in samples[:2]])
    assert trained.mean[0] == pytest.approx(np.nanmean(inside), rel=1e-5)
    assert trained.std[0] == pytest.approx(np.nanstd(inside), rel=1e-5)


def test_the_weights_kept_score_in_a_detector_as_in_training(samples, make_card):
    config = dataclasses.replace(STILL, steps=2, crop_cells=2)
    trained = train_detector(samples, config, targets={10})
    card = make_card(band_count=3, mean=trained.mean, std=trained.std)
    assert trained.metrics["measured_on"] == "the training set"
    detector = open_model(card, dict(trained.state_dict))
    core, labels = on_lattice(ground_of(samples[0], {10}), 0.1)
    assert detector.score_core(core).shape == (2, *labels.shape)


def test_same_seed_same_weights(samples):
    config = TrainConfig(steps=3, batch=1, crop_cells=2)
    threads = torch.get_num_threads()
    once = train_detector(samples, config, targets={10})
    torch.rand(5)
    again = train_detector(samples, config, targets={10})
    other = train_detector(samples, dataclasses.replace(config, seed=1), targets={10})
    assert all(torch.equal(once.state_dict[key], again.state_dict[key]) for key in once.state_dict)
    assert not torch.equal(once.state_dict["conv1.weight"], other.state_dict["conv1.weight"])
    assert torch.get_num_threads() == threads


def test_patience_ends_it_and_the_best_is_kept(samples):
    config = TrainConfig(steps=60, batch=1, crop_cells=1, check_every=1, patience=2, rate=1.0)
    trained = train_detector(samples, config, targets={10}, held_out={"c"})
    assert trained.metrics["steps"] < 60
    assert trained.metrics["step"] == trained.metrics["steps"] - 2


def test_nothing_to_learn_is_said(samples):
    with pytest.raises(ValueError, match="no pixel in them has a class of \\[11\\]"):
        train_detector(samples, STILL, targets={11})
    with pytest.raises(ValueError, match="0 images to train on"):
        train_detector(samples, STILL, targets={10}, held_out={"a", "b", "c"})
    with pytest.raises(ValueError, match="labels"):
        dataclasses.replace(samples[0], labels=samples[0].labels[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"average": 1.0},
        {"blend": 1.5},
        {"gain": -1},
        {"positive_share": 0},
        {"epochs": 0},
        {"optimizer": "sgd"},
        {"schedule": "step"},
        {"class_weights": (1.0, 0.0)},
        {"zoom": 1.0},
        {"shear": 60.0},
    ],
)
def test_configs_that_cannot_train(changes):
    with pytest.raises(ValueError, match="must"):
        TrainConfig(**changes)


def make_chips(edge: int, classes: int, count: int = 24) -> ChipSet:
    rng = np.random.default_rng(3)
    labels = np.arange(count) % classes
    chips = rng.normal(0.1, 0.02, (count, 2, edge, edge)).astype(np.float32)
    chips += (labels * 0.2)[:, None, None, None].astype(np.float32)
    return ChipSet(chips=chips, labels=labels, groups=["x" if n % 4 else "y" for n in range(count)])


def test_judge_learns_three_grey_levels():
    config = dataclasses.replace(STILL, steps=20, batch=8, rate=1e-3, check_every=10)
    trained = train_judge(make_chips(21, 3), config, held_out={"y"})
    assert trained.metrics["accuracy"] == 1
    assert np.sum(trained.metrics["confusion"]) == 6
    again = train_judge(make_chips(25, 3), dataclasses.replace(config, steps=2))
    assert again.state_dict["dense.weight"].shape == (1024, 2304)
    assert [row["step"] for row in trained.history] == [10, 20]


def test_judge_needs_every_class():
    with pytest.raises(ValueError, match="of class no_ore"):
        train_judge(make_chips(21, 2), STILL)
