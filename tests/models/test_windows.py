"""Windows and whole passes: equal to a naive loop over patches or one pass, whatever the cut, blind to all outside."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.card import CardError
from models.engine import Engine
from models.infer import Detector, open_model
from models.networks import IMPACT, UNET
from models.windows import Windows

UNET_OF_TWO = {"network": UNET, "arguments": {"width": 3, "depth": 2}}
KINDS = {
    "window cells": {
        "mode": "window", "network": IMPACT, "arguments": {"chip_px": 24},
        "window_px": 24, "stride_px": 12, "halo_px": 6,
        "scaling": "clip",
    },
    "window cells by patch": {
        "mode": "window", "network": IMPACT, "arguments": {"chip_px": 20},
        "window_px": 20, "stride_px": 20, "halo_px": 0,
        "scaling": "patch",
    },
    "window pixels": {
        "mode": "window", "output": "pixels", **UNET_OF_TWO, "window_px": 32, "stride_px": 16, "halo_px": 8,
        "scaling": "patch",
    },
    "window pixels, finer": {
        "mode": "window", "output": "pixels", "network": UNET, "arguments": {"width": 2, "depth": 1, "finer": 4},
        "finer": 4, "window_px": 12, "stride_px": 8, "halo_px": 2,
    },
    "fcn pixels": {
        "mode": "fcn", "output": "pixels", **UNET_OF_TWO, "window_px": 52, "stride_px": 4, "halo_px": 24,
    },
    "fcn pixels, finer": {
        "mode": "fcn", "output": "pixels", "network": UNET, "arguments": {"width": 2, "depth": 1, "finer": 2},
        "finer": 2, "window_px": 20, "stride_px": 4, "halo_px": 8, "scaling": "clip",
    },
}  # fmt: skip
OF_WINDOWS = [kind for kind in KINDS if kind.startswith("window")]
OF_WHOLE = [kind for kind in KINDS if kind.startswith("fcn")]
ROWS, COLUMNS = 4, 5


@pytest.fixture(scope="module")
def opened(make_card, drawn_weights):
    """opened(kind) -> Detector, whose scores vary from place to place."""
    made = {}

    def of(kind):
        if kind not in made:
            card = make_card(band_count=3, **KINDS[kind])
            weights = drawn_weights(card)
            weights["head.weight"] *= 30
            for name in weights:
                if name.endswith("running_mean"):
                    weights[name] += torch.linspace(-0.3, 0.3, len(weights[name]))
            made[kind] = open_model(card, weights)
        return made[kind]

    return of


def ground_of(card, rows=ROWS, columns=COLUMNS, seed=5):
    """Reflectance of a core with its halo, some of it missing, some of it above one."""
    rng = np.random.default_rng(seed)
    shape = [count * card.stride_px + 2 * card.halo_px for count in (rows, columns)]
    pixels = rng.uniform(-0.05, 1.1, (3, *shape)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    return pixels


def edge_of(card):
    return card.stride_px * card.finer if card.output == "pixels" else 1


def scaled(pixels, card):
    """The three scalings by their formulas, in double precision, of one patch."""
    mean, std = (np.asarray(values)[:, None, None] for values in (card.mean, card.std))
    seen = np.isfinite(pixels)
    known = np.where(seen, pixels, 0).astype(np.float64)
    if card.scaling == "standard":
        return np.where(seen, (known - mean) / std, 0)
    if card.scaling == "clip":
        return np.where(seen, np.clip(known, 0, 1), 0)
    if not seen.any() or np.ptp(pixels[seen]) == 0:
        return np.zeros(pixels.shape)
    least = pixels[seen].min()
    return np.where(seen, (known - least) / np.ptp(pixels[seen]), 0)


def plain(detector, patch):
    """(class, ...) of one patch by plain torch in double precision."""
    net = detector._way._engine.net
    with torch.inference_mode():
        logits = net.double()(torch.from_numpy(scaled(patch, detector.card))[None])
        net.float()
        return torch.softmax(logits, dim=1)[0].numpy()


@pytest.mark.parametrize("kind", OF_WINDOWS)
def test_windows_equal_a_loop_over_patches(opened, kind, monkeypatch):
    monkeypatch.setattr("models.windows._BATCH_PX", {"cpu": 3 * KINDS[kind]["window_px"] ** 2})
    detector = opened(kind)
    detector = Detector(detector._way._engine, Windows(detector._way._engine))
    card, size, edge = detector.card, detector.card.window_px, edge_of(detector.card)
    ground = ground_of(card)
    expected = np.empty((2, ROWS * edge, COLUMNS * edge))
    for row, column in itertools.product(range(ROWS), range(COLUMNS)):
        y, x = row * card.stride_px, column * card.stride_px
        scores = plain(detector, ground[:, y : y + size, x : x + size])
        halo = card.halo_px * card.finer
        middle = scores[:, halo : halo + edge, halo : halo + edge] if card.output == "pixels" else scores[:, None, None]
        expected[:, row * edge : (row + 1) * edge, column * edge : (column + 1) * edge] = middle
    got = detector.score_core(ground)
    assert got.dtype == np.float32
    assert np.ptp(got[1]) > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", OF_WHOLE)
def test_a_whole_pass_equals_plain_torch_inside_the_halo(opened, kind):
    detector = opened(kind)
    card = detector.card
    ground = ground_of(card)
    halo = card.halo_px * card.finer
    expected = plain(detector, ground)[:, halo:-halo, halo:-halo]
    got = detector.score_core(ground)
    assert got.shape == (2, ROWS * edge_of(card), COLUMNS * edge_of(card))
    assert np.ptp(got[1]) > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def cuts(count):
    """Ways to part so many rows: where each part ends."""
    return st.sets(st.integers(1, count - 1), max_size=count - 1).map(lambda inner: [0, *sorted(inner), count])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(rows=cuts(ROWS), columns=cuts(COLUMNS))
def test_chunks_equal_the_whole(opened, kind, rows, columns):
    detector = opened(kind)
    card, edge, stride = detector.card, edge_of(detector.card), detector.card.stride_px
    ground = ground_of(card)
    whole = detector.score_core(ground)
    cut = np.full_like(whole, np.nan)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            part = ground[
                :, top * stride : bottom * stride + 2 * card.halo_px, left * stride : right * stride + 2 * card.halo_px
            ]
            cut[:, top * edge : bottom * edge, left * edge : right * edge] = detector.score_core(part)
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_the_patch_and_its_halo_counts(opened, kind):
    detector = opened(kind)
    card, edge = detector.card, edge_of(detector.card)
    ground, other = ground_of(card), ground_of(card, seed=6) * 3
    y, x = card.stride_px, 2 * card.stride_px
    field = np.s_[:, y : y + card.stride_px + 2 * card.halo_px, x : x + card.stride_px + 2 * card.halo_px]
    other[field] = ground[field]
    cell = np.s_[:, edge : 2 * edge, 2 * edge : 3 * edge]
    before = detector.score_core(ground)
    np.testing.assert_allclose(detector.score_core(other)[cell], before[cell], rtol=0, atol=1e-5)
    ground[field] += 0.5 * np.random.default_rng(8).random(ground[field].shape, np.float32)
    assert np.abs(detector.score_core(ground)[cell] - before[cell]).max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_stored_pixels_score_as_their_reflectance(opened, kind):
    detector = opened(kind)
    ground = ground_of(detector.card)
    stored = np.where(np.isnan(ground), 0, np.rint((ground + 0.1) * 1e4)).astype(np.uint16)
    reflectance = np.where(stored == 0, np.nan, stored * 1e-4 - 0.1).astype(np.float32)
    stored.flags.writeable = False
    np.testing.assert_allclose(detector.score_core(stored), detector.score_core(reflectance), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_scored_from_its_first_pixel_on(opened, kind):
    """Windows: the first patch begins at pixel (0, 0); pixels of an fcn: the image's own, nothing seen beyond."""
    detector = opened(kind)
    card, edge = detector.card, edge_of(detector.card)
    ground = ground_of(card)
    if card.mode == "window":
        image = np.pad(ground, ((0, 0), (0, card.stride_px - 1), (0, 1)), constant_values=0.3)
        np.testing.assert_allclose(detector.score(image), detector.score_core(ground), rtol=0, atol=1e-5)
        return
    halo = card.halo_px
    own = np.s_[:, halo : halo + ROWS * card.stride_px + 1, halo:-halo]
    alone = np.full_like(ground, np.nan)
    alone[own] = ground[own]
    scores = detector.score(ground[own])
    assert scores.shape == (2, ROWS * edge, COLUMNS * edge)
    np.testing.assert_allclose(scores, detector.score_core(alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ground_without_a_look_has_finite_scores(opened, kind):
    detector = opened(kind)
    card = detector.card
    size = card.stride_px + 2 * card.halo_px
    for pixels in (np.zeros((3, size, size), np.uint16), np.full((3, size, size), 2000, np.uint16)):
        scores = detector.score_core(pixels)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-6)


def test_one_channel_is_the_targets_sigmoid(make_card):
    card = make_card(band_count=2, **{**KINDS["window cells"], "scaling": "standard"})
    engine = Engine(card, lambda patches: patches.mean((2, 3))[:, :1] * 9, torch.device("cpu"))
    detector = Detector(engine, Windows(engine))
    ground = ground_of(card)[:2]
    scores = detector.score_core(ground)
    patch = np.nanmean(scaled(ground[:, :24, :24], card)[0])
    np.testing.assert_allclose(
        scores[:, 0, 0], [1 - 1 / (1 + np.exp(-9 * patch)), 1 / (1 + np.exp(-9 * patch))], atol=1e-5
    )


@pytest.mark.parametrize("kind", ["window pixels", "fcn pixels"])
def test_what_does_not_fit_is_scored_in_halves(opened, kind):
    detector = opened(kind)
    card, net = detector.card, detector._way._engine.net
    most = (32 * 32 if kind == "window pixels" else (2 * 4 + 48) * (5 * 4 + 48)) + 1

    def cramped(image):
        if image.shape[0] * image.shape[2] * image.shape[3] > most:
            raise torch.OutOfMemoryError("no room")
        return net(image)

    engine = Engine(card, cramped, detector.device)
    halved = Detector(engine, type(detector._way)(engine))
    ground = ground_of(card)
    np.testing.assert_allclose(halved.score_core(ground), detector.score_core(ground), rtol=0, atol=1e-5)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        halved.score_core(ground)


@pytest.mark.parametrize(
    ("kind", "changes", "complaint"),
    [
        ("window cells", {"window_px": 32, "stride_px": 20}, r"fails on \(1, 3, 32, 32\)"),
        ("window cells", {"output": "pixels"}, r"makes \(1, 2\) of|network makes \(1, 2\), expected \(1, 2, 24, 24\)"),
        ("window pixels", {"output": "cells"}, r"makes \(1, 2, 32, 32\), expected \(1, 2\)"),
        ("window pixels", {"finer": 2}, r"makes \(1, 2, 32, 32\), expected \(1, 2, 64, 64\)"),
        ("window pixels", {"window_px": 34, "stride_px": 18}, "fails on"),
        ("fcn pixels", {"halo_px": 20}, "sees 24 px and pools by 4: expected a halo of 24 or more"),
        ("fcn pixels", {"stride_px": 6}, "a stride of 4 or a multiple"),
        ("fcn pixels", {"finer": 2}, "give the card the network's"),
        ("fcn pixels", {"output": "cells"}, "give the card the network's"),
        ("fcn pixels", {"arguments": {"width": 4, "depth": 2}}, "do not fit its network"),
        ("fcn pixels", {"arguments": {"breadth": 4}}, "has no argument 'breadth'"),
        ("fcn pixels", {"bands": ("B02",), "mean": (0.1,), "std": (0.1,)}, "do not fit its network"),
    ],
)
def test_cards_and_weights_that_do_not_fit(opened, make_card, kind, changes, complaint):
    weights = opened(kind)._way._engine.net.state_dict()
    card = make_card(band_count=3, **(KINDS[kind] | changes))
    with pytest.raises(CardError, match=complaint) as caught:
        open_model(card, weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["window pixels", "fcn pixels"])
def test_cores_and_images_of_a_wrong_shape_are_refused(opened, kind):
    detector = opened(kind)
    stride, halo = detector.card.stride_px, detector.card.halo_px
    wrong = rf"expected \(band, {stride} n \+ {2 * halo}, {stride} m \+ {2 * halo}\)"
    for shape in (
        (3, 2 * halo, 2 * halo + stride),
        (3, 2 * halo + stride, 2 * halo + stride + 1),
        (2 * halo + stride,) * 2,
    ):
        with pytest.raises(CardError, match=wrong):
            detector.score_core(np.zeros(shape, np.float32))
    with pytest.raises(CardError, match="takes 3 bands"):
        detector.score_core(np.zeros((4, 2 * halo + stride, 2 * halo + stride), np.float32))
    with pytest.raises(CardError, match="px or more each way"):
        detector.score(np.zeros((3, stride - 1, 100), np.float32))
    with pytest.raises(CardError, match="takes 3 bands"):
        detector.score(np.zeros((4, 100, 100), np.float32))
