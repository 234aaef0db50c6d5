"""Any network from labelled squares: learnt, resumed to the last bit, split so that no held-out pixel was seen."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.card import CardError, ModelCard
from models.networks import FCN, IMPACT, UNET, build
from models.training.ahead import ahead
from models.training.augment import changes, laid, light_terms, lit, moved, turn
from models.training.checkpoint import CheckpointError, Keeper
from models.training.config import TrainConfig
from models.training.folds import median_step, over_folds
from models.training.labels import LEFT_OUT
from models.training.loop import Session
from models.training.patches import train_patches
from models.training.samples import Image, band_figures, joined, of_chips, of_images
from models.training.split import Fold, Split, folds_of
from models.training.transfer import Start

BANDS = ("B02", "B04", "B08")
STILL = TrainConfig(gain=0, band_gain=0, offset=0, batch=4, average=0.5, threads=1)


def make_draft(network: str = UNET, **changes) -> ModelCard:
    values = {
        "name": "draft", "task": "detector", "mode": "window", "network": network, "level": "l2a", "bands": BANDS,
        "mean": (0.0,) * 3, "std": (1.0,) * 3, "window_px": 16, "stride_px": 8, "halo_px": 4, "output": "pixels",
        "arguments": {"width": 4, "depth": 2}, "classes": ("not_mine", "mine"), "limits": "", "licence": "",
        "origin": "",
    }  # fmt: skip
    return ModelCard(**(values | changes))


JUDGE = {"task": "impact", "output": "cells", "arguments": {}, "window_px": 21, "stride_px": 21, "halo_px": 0}


def stored(count: int, edge: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark chips as composites store them, each with a bright rectangle of class 1, one pixel missing."""
    rng = np.random.default_rng(seed)
    chips = rng.integers(1200, 1400, (count, 3, edge, edge)).astype(np.uint16)
    masks = np.zeros((count, edge, edge), np.int16)
    for chip, mask in zip(chips, masks, strict=True):
        row, column = rng.integers(edge // 2, size=2)
        mask[row : row + edge // 2, column : column + edge // 3] = 1
        chip[:, mask == 1] += 2500
        chip[:, 0, 0] = 0
        mask[-1, -1] = LEFT_OUT
    return chips, masks


def squares(count: int = 16, edge: int = 16, labels: np.ndarray | None = None):
    chips, masks = stored(count, edge)
    boxes = np.array([(x, 0.0, x + 0.5, 0.5) for x in range(count)])
    groups = tuple("abcd"[number % 4] for number in range(count))
    labels = np.full(count, LEFT_OUT) if labels is None else labels
    return of_chips(chips, labels, masks, edge_px=edge, where=(boxes, groups, ("d",) * count))


def fold_of(samples, held_out: str = "d") -> Fold:
    outside = np.array([group == held_out for group in samples.groups])
    return Fold(
        name="once",
        train=np.flatnonzero(~outside),
        held_out=np.flatnonzero(outside),
        units=(held_out,) * int(outside.any()),
    )


def test_a_segmenter_learns_the_bright_rectangles():
    config = dataclasses.replace(STILL, epochs=12, rate=1e-2, loss="focal", gamma=1.0)
    samples = squares()
    trained = train_patches(make_draft(), samples, config, fold_of(samples))
    assert trained.metrics["f1"] > 0.9
    assert len(trained.history) == 12
    assert np.sum(trained.metrics["confusion"]) <= 4 * 8 * 8  # the middle of each held-out square
    mean, _ = band_figures(samples, fold_of(samples).train)
    np.testing.assert_allclose(trained.mean, mean)
    seen = np.concatenate([samples.images[pick][0].ravel() for pick in fold_of(samples).train])
    assert trained.mean[0] == pytest.approx((seen[seen > 0] * 1e-4 - 0.1).mean())


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"scaling": "patch"}, {"amp": True}),
        ({"scaling": "clip"}, {"zoom": 0.2, "shear": 10.0, "gain": 0.1, "optimizer": "adam", "weight_decay": 1e-3}),
        (
            {"arguments": {"width": 4, "depth": 2, "finer": 2}, "finer": 2},
            {"schedule": "plateau", "class_weights": (1.0, 2.0)},
        ),
    ],
)
def test_every_kind_of_training_runs(changes, config):
    samples = squares(8)
    trained = train_patches(
        make_draft(**changes), samples, dataclasses.replace(STILL, steps=3, **config), fold_of(samples)
    )
    assert all(torch.isfinite(value).all() for value in trained.state_dict.values())
    assert trained.metrics["steps"] == 3


def test_a_judge_and_the_fcn_learn_from_chips():
    labels = np.arange(12) % 3
    samples = squares(12, 25, labels)
    samples.images[0][:] = 1300
    draft = make_draft(IMPACT, **JUDGE, classes=("high", "low", "none"))
    cut = of_chips(
        np.stack(samples.images), labels, None, edge_px=21, where=(samples.boxes, samples.groups, samples.dates)
    )
    trained = train_patches(draft, cut, dataclasses.replace(STILL, steps=2), fold_of(cut, "nobody"))
    assert trained.metrics["measured_on"] == "the training set"
    assert trained.state_dict["dense.weight"].shape == (1024, 2304)
    lengths = {"mode": "fcn", "window_px": 189, "stride_px": 27, "halo_px": 94, "output": "cells", "arguments": {}}
    chips = np.random.default_rng(0).integers(1000, 3000, (4, 3, 201, 201)).astype(np.uint16)
    wide = of_chips(chips, np.array([0, 1, 0, 1]), None, edge_px=215, where=(np.zeros((4, 4)), ("x",) * 4, ("d",) * 4))
    assert (wide.cut(np.array([0]), [0])[0][:, :7] == 0).all()
    np.testing.assert_array_equal(wide.cut(np.array([1]), [0])[0][:, 7:208, 7:208], chips[1])
    train_patches(
        make_draft(FCN, **lengths), wide, dataclasses.replace(STILL, steps=1, batch=2), fold_of(wide, "nobody")
    )


def state_kept(path, samples, config, at: int):
    """A training that is stopped after the state of step `at` was kept."""

    class StopError(Exception):
        pass

    def stop(step: int, _total: int, _loss: float) -> None:
        if step == at + 1:
            raise StopError

    keeper = Keeper(path=path, identity="this", every_s=0.0)
    with pytest.raises(StopError):
        train_patches(make_draft(), samples, config, fold_of(samples), Session(on_step=stop, keeper=keeper))
    return keeper


@pytest.mark.parametrize(
    "config",
    [
        {"epochs": 4, "schedule": "plateau", "check_every": 2, "patience": 3},
        {"steps": 9, "check_every": 3, "zoom": 0.1},
    ],
)
def test_resumed_equals_uninterrupted(tmp_path, config):
    samples = squares(12)
    config = dataclasses.replace(STILL, gain=0.1, offset=0.01, rate=3e-3, **config)
    whole = train_patches(make_draft(), samples, config, fold_of(samples))
    keeper = state_kept(tmp_path / "once.safetensors", samples, config, 4)
    resumed = train_patches(make_draft(), samples, config, fold_of(samples), Session(keeper=keeper))
    assert all(torch.equal(whole.state_dict[name], resumed.state_dict[name]) for name in whole.state_dict)
    assert whole.history == resumed.history
    assert whole.metrics == resumed.metrics


def test_another_trainings_state_is_refused(tmp_path):
    samples = squares(8)
    keeper = state_kept(tmp_path / "once.safetensors", samples, dataclasses.replace(STILL, steps=6), 2)
    with pytest.raises(CheckpointError, match="another recipe"):
        dataclasses.replace(keeper, identity="that").found()
    keeper.path.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="no state of a training"):
        keeper.found()


def test_draws_ahead_are_those_of_a_loop():
    def draw(rng: np.random.Generator, step: int) -> float:
        return step + rng.random()

    drawn = list(ahead(draw, np.random.default_rng(0), range(1, 6)))
    rng = np.random.default_rng(0)
    for step, (value, state) in enumerate(drawn, start=1):
        assert value == step + rng.random()
        assert state == rng.bit_generator.state
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda _rng, step: 1 / step, rng, [1, 0]))


def test_a_change_moves_marks_with_their_pixels():
    """Bright pixels stay those of class 1 through zoom and shear; what lies beyond has no class and is zero."""
    config = TrainConfig(gain=0, band_gain=0, offset=0, zoom=0.3, shear=20)
    rng = np.random.default_rng(1)
    marks = torch.zeros((6, 40, 40), dtype=torch.long)
    marks[:, 10:30, 12:26] = 1
    pixels = (marks[:, None] * 4.0 + 1.0).repeat(1, 3, 1, 1)
    change = changes(6, 3, config, rng)
    squares, drawn = moved(pixels, marks, change)
    assert (drawn == LEFT_OUT).any()
    assert (squares[:, 0][drawn == LEFT_OUT] < 1).all()
    inside = (squares[:, 0] > 4.5) == (drawn == 1)
    assert inside[(squares[:, 0] < 2) | (squares[:, 0] > 4.9)].all()
    assert not torch.equal(drawn[0], drawn[1])


def test_light_is_a_gain_and_an_offset_of_reflectance():
    config, rng = TrainConfig(), np.random.default_rng(0)
    reflectance = rng.uniform(0.05, 0.5, (2, 3, 5, 5)).astype(np.float32)
    mean, std = np.array([0.1, 0.2, 0.3], np.float32), np.array([0.05, 0.1, 0.2], np.float32)
    change = changes(2, 3, config, rng)
    scaled = torch.from_numpy((reflectance - mean[:, None, None]) / std[:, None, None])
    scaled[0, 0, 0, 0] = 0.0
    light = light_terms(change, mean, std)
    changed = lit(scaled, *light)
    expected = reflectance * change.gain[:, :, None, None] + change.offset[:, :, None, None]
    expected = (expected - mean[:, None, None]) / std[:, None, None]
    expected[0, 0, 0, 0] = 0
    np.testing.assert_allclose(changed, expected, atol=1e-5)
    raw = reflectance.copy()
    raw[0, 0, 0, 0] = np.nan
    terms = (light[0] / std, light[1] - light[0] * mean / std)
    np.testing.assert_allclose(laid([turn(one, 5) for one in raw], *terms), turn(expected, 5), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    by=st.sampled_from(["group", "block", "date"]),
    kind=st.sampled_from(["once", "kfold", "repeated"]),
)
def test_no_held_out_pixel_is_trained_on(seed, by, kind):
    """Squares thrown at random, overlapping: no pixel of an image is in both parts of any fold, halos included."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (30, 2))
    boxes = np.concatenate([corners, corners + 12], axis=1).astype(np.float64)
    groups = [f"g{number}" for number in rng.integers(0, 6, 30)]
    dates = [f"t{number}" for number in rng.integers(0, 5, 30)]
    split = Split(kind=kind, by=by, share=0.3, folds=3, repeats=2, block=20.0)
    try:
        folds = folds_of(split, groups, dates, boxes, seed)
    except ValueError as error:
        if "[split]" not in str(error):
            raise
        return
    for fold in folds:
        images = {}
        for part, picks in (("train", fold.train), ("held_out", fold.held_out)):
            for pick in picks:
                x, y = corners[pick]
                # Of one date all squares are cut from one image.
                key = dates[pick] if by == "date" else "all"
                image = images.setdefault((part, key), np.zeros((80, 80), bool))
                image[y : y + 12, x : x + 12] = True
        for key in dates if by == "date" else ["all"]:
            parts = [images.get((part, key), np.zeros((80, 80), bool)) for part in ("train", "held_out")]
            assert not (parts[0] & parts[1]).any()
        assert len(fold.train) + len(fold.held_out) + fold.beside == 30
    if kind == "kfold":
        held = sorted(itertools.chain.from_iterable(fold.held_out.tolist() for fold in folds))
        assert held == list(range(30))


@pytest.mark.parametrize("block", [50.0, 90.0])
def test_pixels_of_overlapping_squares_are_in_one_part(block):
    """Every pixel of a picture has its own number; what the parts cut of it, as patches and as chips, is disjoint."""
    picture = np.arange(1, 200 * 200 + 1, dtype=np.uint16).reshape(1, 200, 200)
    image = Image(
        pixels=picture, marks=np.zeros((200, 200), np.int16), group="g", date="t", phase_px=(3, 5), outline=np.array
    )
    patches = of_images([image], edge_px=24, stride_px=8, positive_share=0.1, target=1)
    corners = np.random.default_rng(0).integers(0, 160, (60, 2))
    chips = np.stack([picture[:, y : y + 40, x : x + 40] for x, y in corners])
    boxes = np.concatenate([corners, corners + 40], axis=1)
    cut = of_chips(chips, np.zeros(60), None, edge_px=24, where=(boxes, ("g",) * 60, ("t",) * 60))
    for samples in (patches, cut):
        for kind in ("once", "kfold", "repeated"):
            split = Split(kind=kind, block=block, folds=3, repeats=3)
            for fold in folds_of(split, samples.groups, samples.dates, samples.boxes, 1):
                train, held_out = (
                    np.unique(np.stack(samples.cut(part, [0] * len(part)))) for part in (fold.train, fold.held_out)
                )
                assert not np.intersect1d(train, held_out).size
                assert fold.beside > 0


def test_held_out_units_by_name():
    groups, dates, boxes = list("aabb"), ["x"] * 4, np.arange(4)[:, None] * 10 + np.array([0, 0, 1, 1.0])
    (fold,) = folds_of(Split(by="group", held_out=("b",)), groups, dates, boxes, 0)
    assert fold.train.tolist() == [0, 1]
    assert fold.units == ("b",)
    with pytest.raises(ValueError, match="'c' is no group; there are a, b"):
        folds_of(Split(by="group", held_out=("c",)), groups, dates, boxes, 0)
    with pytest.raises(ValueError, match="there is 1 alone"):
        folds_of(Split(by="date"), groups, dates, boxes, 0)
    assert len(folds_of(Split(kind="none"), groups, dates, boxes, 0)[0].train) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "twice"},
        {"by": "luck"},
        {"share": 1.0},
        {"folds": 1},
        {"block": 0},
        {"kind": "kfold", "held_out": ("a",)},
    ],
)
def test_splits_that_cannot_be(changes):
    with pytest.raises(ValueError, match=r"\[split\]"):
        Split(**changes)


def test_images_are_cut_on_the_lattice_and_labelled_by_their_middle():
    marks = np.zeros((40, 50), np.int16)
    marks[16:20, 20:24] = 1
    marks[30:, :] = LEFT_OUT
    pixels = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)
    image = Image(pixels=pixels, marks=marks, group="g", date="t", phase_px=(4, 4), outline=lambda boxes: boxes / 10)
    samples = of_images([image], edge_px=16, stride_px=8, positive_share=0.2, target=1)
    assert samples.places[:, 1].tolist()[:3] == [0, 0, 0]
    assert sorted(set(samples.places[:, 2].tolist())) == [0, 8, 16, 24, 32]
    assert sorted(set(samples.places[:, 1].tolist())) == [0, 8, 16, 24]
    labels = dict(zip(map(tuple, samples.places[:, 1:].tolist()), samples.labels.tolist(), strict=True))
    assert labels[8, 16] == 1  # 16 of 64 pixels
    assert labels[0, 0] == 0
    np.testing.assert_array_equal(samples.cut(np.array([1]), [0])[0], pixels[:, :16, 8:24])
    np.testing.assert_allclose(samples.boxes[1], [0.8, 0, 2.4, 1.6])
    both = joined([samples, samples])
    np.testing.assert_array_equal(both.cut(np.array([len(samples) + 1]), [0])[0], pixels[:, :16, 8:24])


def test_fine_tuning_keeps_what_has_a_name():
    old = make_draft()
    weights = build(UNET, bands=3, classes=2, width=4, depth=2).state_dict()
    new = make_draft(bands=("B08", "B11", "B02"), classes=("not_mine", "pond", "mine"))
    start = Start(card=dataclasses.replace(old, mean=(1.0, 2.0, 3.0)), weights=weights, draft=new)
    net = build(UNET, bands=3, classes=3, width=4, depth=2)
    fresh = net.state_dict()["head.weight"].clone()
    start.into(net)
    begun, first = net.state_dict(), "down.0.0.weight"
    assert torch.equal(begun[first][:, 0], weights[first][:, 2])
    assert torch.allclose(begun[first][:, 1], weights[first].mean(dim=1))
    assert torch.equal(begun[first][:, 2], weights[first][:, 0])
    assert torch.equal(begun["head.weight"][0], weights["head.weight"][0])
    assert torch.equal(begun["head.weight"][1], fresh[1])
    assert torch.equal(begun["head.weight"][2], weights["head.weight"][1])
    assert torch.equal(begun["down.1.0.weight"], weights["down.1.0.weight"])
    mean, _ = start.scaling(np.array([7.0, 8.0, 9.0]), np.ones(3))
    assert mean.tolist() == [3.0, 8.0, 1.0]
    with pytest.raises(CardError, match="expected the same"):
        Start(card=old, weights=weights, draft=make_draft(arguments={"width": 8, "depth": 2}))


def test_what_cannot_be_learnt_is_said():
    samples = squares(8)
    nothing = fold_of(samples, "nobody")
    with pytest.raises(ValueError, match="learns from label rasters"):
        train_patches(make_draft(), dataclasses.replace(samples, marks=None), STILL, nothing)
    with pytest.raises(ValueError, match="does not take squares of 18 px"):
        train_patches(make_draft(), squares(8, 18), STILL, nothing)
    empty = dataclasses.replace(samples, marks=[np.zeros_like(mark) for mark in samples.marks])
    with pytest.raises(ValueError, match="class mine"):
        train_patches(make_draft(), empty, STILL, nothing)
    dark = dataclasses.replace(samples, images=[np.zeros_like(image) for image in samples.images])
    with pytest.raises(ValueError, match="nothing but missing"):
        train_patches(make_draft(), dark, STILL, nothing)


def test_figures_of_folds_have_means_and_spreads():
    row = {"classes": ["a", "b"], "precision": 1.0, "recall": 1.0, "held_out": ["x"]}
    metrics = {
        "one": row | {"accuracy": 0.8, "f1": 0.5, "confusion": [[4, 1], [1, 4]], "step": 10},
        "two": row | {"accuracy": 1.0, "f1": None, "confusion": [[5, 0], [0, 5]], "step": 30},
    }
    said = over_folds(metrics)
    assert said["accuracy"] == 0.9
    assert said["f1"] == 0.5
    assert said["spread"]["accuracy"] == pytest.approx(0.1414, abs=1e-4)
    assert said["spread"]["f1"] is None
    assert said["confusion"] == [[9, 1], [1, 9]]
    assert said["trainings"]["one"]["per_class_f1"]["a.f1"] == pytest.approx(0.8)
    assert median_step(metrics) == 20
