"""Seams do not exist; what is missing is the mean; wrong arrays and absent devices are refused in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.card import CardError, DeviceUnavailableError
from models.engine import Engine, halving
from models.exporting import export_model
from models.importing.bring import bring
from models.infer import Detector, load
from models.networks import IMPACT, UNET
from models.networks.fcn import Fcn
from models.registry import save_card
from models.standard import Standard
from models.strips import Strips

HALO = 94


def part(ground, rows, columns):
    """The core of these cells with its halo, cut from the ground."""
    return ground[:, 27 * rows[0] : 27 * rows[1] + 2 * HALO, 27 * columns[0] : 27 * columns[1] + 2 * HALO]


@pytest.mark.parametrize("step", [(1, 1), (2, 3), (5, 2), (3, 7)])
def test_chunks_equal_the_whole(detector, ground, step):
    whole = detector.score_core(ground)
    assert whole.shape == (2, 5, 7)
    assert np.ptp(whole[1]) > 1e-3  # else every cell is alike and nothing is shown
    cut = np.full_like(whole, np.nan)
    for top in range(0, 5, step[0]):
        for left in range(0, 7, step[1]):
            rows, columns = (top, min(top + step[0], 5)), (left, min(left + step[1], 7))
            cut[:, rows[0] : rows[1], columns[0] : columns[1]] = detector.score_core(part(ground, rows, columns))
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)


def test_core_equals_the_interior_of_a_padded_image(detector, ground):
    """`score` of the ground from 81 px above the core on: its windows are the core's cells', its rim sees padding."""
    padded = detector.score(ground[:, 13:, 13:])
    core = detector.score_core(ground)
    np.testing.assert_allclose(padded[:, 1:5, 1:7], core[:, 1:, 1:], rtol=0, atol=1e-5)
    assert np.abs(padded[:, 0, :7] - core[:, 0]).max() > 1e-5


def test_nothing_beyond_the_halo_counts_and_the_halo_does(detector, ground):
    rows, columns = (2, 3), (3, 4)
    before = detector.score_core(ground)[:, 2, 3]
    outside = np.random.default_rng(1).uniform(0, 1, ground.shape).astype(np.float32)
    inside = part(ground, rows, columns)
    part(outside, rows, columns)[:] = inside
    np.testing.assert_allclose(detector.score_core(outside)[:, 2, 3], before, rtol=0, atol=1e-5)

    for edge in (np.s_[:, :1, :], np.s_[:, -1:, :], np.s_[:, :, :1], np.s_[:, :, -1:]):
        moved = inside.copy()
        moved[edge] += 3.0
        assert np.abs(detector.score_core(moved)[:, 0, 0] - before).max() > 0


def test_probabilities_sum_to_one(detector, ground):
    scores = detector.score_core(ground)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-6)


def test_missing_is_the_mean(detector, ground):
    mean = np.asarray(detector.card.mean, np.float32)[:, None, None]
    filled = np.where(np.isnan(ground), mean, ground)
    np.testing.assert_allclose(detector.score_core(ground), detector.score_core(filled), rtol=0, atol=1e-5)
    nothing = detector.score_core(np.full((4, 27 + 188, 27 + 188), np.nan, np.float32))
    assert np.isfinite(nothing).all()


def test_read_only_input_is_left_alone(detector, ground):
    frozen = ground.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(detector.score_core(frozen), detector.score_core(ground))
    np.testing.assert_array_equal(frozen, ground)


def test_stored_pixels_score_as_their_reflectance(detector, ground):
    stored = np.where(np.isnan(ground), 0, np.rint((ground + 0.1) * 1e4)).astype(np.uint16)
    reflectance = np.where(stored == 0, np.nan, stored * 1e-4 - 0.1).astype(np.float32)
    np.testing.assert_allclose(detector.score_core(stored), detector.score_core(reflectance), rtol=0, atol=1e-5)


def drawn_pixels(dtype):
    """Two patches of three bands, as any strides, their reflectance, and where they are seen."""
    rng = np.random.default_rng(4)
    stored = rng.integers(0, 65536, (2, 3, 20, 31)).astype(np.uint16)
    stored[rng.random(stored.shape) < 0.2] = 0
    reflectance = np.where(stored == 0, np.nan, stored * 1e-4 - 0.1).astype(np.float32)
    reflectance[0, 0, 2, :2] = np.inf, -np.inf
    stored[0, 0, 2, :2] = 0
    pixels = (stored if dtype == np.uint16 else reflectance)[:, :, 2:, ::2]
    shown = reflectance[:, :, 2:, ::2]
    return pixels, np.nan_to_num(shown, posinf=0, neginf=0), np.isfinite(shown)


def standard(reflectance, _seen, card):
    mean, std = (np.asarray(values)[:, None, None] for values in (card.mean, card.std))
    return (reflectance - mean) / std


def clip(reflectance, _seen, _card):
    return np.clip(reflectance, 0, 1)


def patch(reflectance, seen, _card):
    least, most = (np.array([pick(one[there]) for one, there in zip(reflectance, seen, strict=True)])
                   for pick in (np.min, np.max))  # fmt: skip
    return (reflectance - least[:, None, None, None]) / (most - least)[:, None, None, None]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("formula", [standard, clip, patch])
def test_both_ways_to_scale_are_the_formula(make_card, dtype, formula):
    lattice = {"mode": "window", "window_px": 31, "stride_px": 31, "halo_px": 0}
    card = make_card(band_count=3, scaling=formula.__name__, **lattice)
    pixels, reflectance, seen = drawn_pixels(dtype)
    expected = np.where(seen, formula(reflectance, seen, card), 0)
    scaling = Standard(card)
    for made in (scaling.on_cpu(pixels), scaling.on_gpu(torch.from_numpy(pixels.copy()))):
        assert made.dtype == torch.float32
        assert made.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(made.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0, 1, 3000])
def test_a_flat_patch_is_zero(make_card, value):
    card = make_card(scaling="patch", mode="window", window_px=8, stride_px=8, halo_px=0)
    pixels = np.full((2, 4, 8, 8), value, np.uint16)
    pixels[1, 2, 3] = 0
    for made in (Standard(card).on_cpu(pixels), Standard(card).on_gpu(torch.from_numpy(pixels))):
        assert not made.any()


class Cramped(Fcn):
    """The network on a machine with room for four rows of cells."""

    def after_second(self, pooled):
        if pooled.shape[2] > 3 * 4 + 20:
            raise torch.OutOfMemoryError("no room")
        return super().after_second(pooled)


def test_a_core_that_does_not_fit_is_scored_in_halves(detector):
    net = Cramped(4)
    net.load_state_dict(detector._way._net.state_dict())
    engine = Engine(detector.card, net.eval(), detector.device)
    cramped = Detector(engine, Strips(engine, net))
    core = np.random.default_rng(3).random((4, 11 * 27 + 188, 2 * 27 + 188), np.float32)
    np.testing.assert_allclose(cramped.score_core(core), detector.score_core(core), atol=1e-5, rtol=0)


def test_batches_halve_until_they_fit():
    """The halving alone: a run that fails above three items still gives every item, in order."""

    def run(start, stop):
        if stop - start > 3:
            raise torch.OutOfMemoryError
        return np.arange(start, stop, dtype=np.float32)

    np.testing.assert_array_equal(np.concatenate(halving(run, 0, 11)), np.arange(11))
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda _start, _stop: (_ for _ in ()).throw(torch.OutOfMemoryError()), 0, 4)


@pytest.mark.parametrize("shape", [(4, 200, 215), (4, 188, 188), (215, 215), (4, 216, 215)])
def test_cores_of_a_wrong_shape_are_refused(detector, shape):
    with pytest.raises(CardError, match=r"expected \(band, 27 n \+ 188, 27 m \+ 188\)"):
        detector.score_core(np.zeros(shape, np.float32))


def test_wrong_number_of_bands_is_refused(detector):
    with pytest.raises(CardError, match=r"takes 4 bands \(B02 B03 B04 B05\), got 5"):
        detector.score_core(np.zeros((5, 215, 215), np.float32))
    with pytest.raises(CardError, match="expected \\(band, y, x\\) of 189 px"):
        detector.score(np.zeros((4, 188, 300), np.float32))


def test_judge(judge):
    chips = np.random.default_rng(2).uniform(0, 1, (5, 12, 21, 21)).astype(np.float32)
    chips[0, 3, :5] = np.nan
    scores = judge.score(chips)
    assert scores.shape == (5, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(scores[2:3], judge.score(chips[2:3]), rtol=0, atol=1e-5)
    assert judge.score(chips[:0]).shape == (0, 3)
    with pytest.raises(CardError, match="expected \\(n, band, 21, 21\\)"):
        judge.score(chips[:, :, :20])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_where_there_is_none(tmp_path, make_card, drawn_weights):
    card = make_card()
    save_card(tmp_path / card.name, card, drawn_weights(card))
    with pytest.raises(DeviceUnavailableError, match="no GPU here: use --device auto or cpu"):
        load(tmp_path / card.name, "cuda")
    assert load(tmp_path / card.name, "auto").device.type == "cpu"


_PEAK = """
import sys
from pathlib import Path

import numpy as np

from models.infer import Detector, load

def peak():
    # Not ru_maxrss: that of a child begins at what its parent held when it forked.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

detector = load(sys.argv[1], "cpu")
bands, stride, edges = len(detector.card.bands), detector.card.stride_px, 2 * detector.card.halo_px
detector.score_core(np.zeros((bands, stride + edges, stride + edges), np.uint16))
before = peak()
size = 1100 // stride * stride + edges
pixels = np.zeros((bands, size, size), np.uint16)
pixels += 2000
detector.score_core(pixels)
used = (peak() - before) * 1024
print(used / pixels[0].size, detector.bytes_per_px)
"""

FCN_CARD = {"band_count": 10}
CLASSIFIER = {
    "band_count": 11, "mode": "window", "network": IMPACT, "arguments": {"chip_px": 24}, "window_px": 24,
    "stride_px": 24, "halo_px": 0,
}  # fmt: skip
SEGMENTER = {
    "mode": "window", "output": "pixels", "network": UNET, "arguments": {"width": 8, "depth": 2},
    "window_px": 128, "stride_px": 112, "halo_px": 8,
    "scaling": "patch",
}  # fmt: skip
FINER = {
    "mode": "fcn", "output": "pixels", "network": UNET, "arguments": {"width": 4, "depth": 2, "finer": 2}, "finer": 2,
    "window_px": 52, "stride_px": 4, "halo_px": 24,
}  # fmt: skip


def peak_and_bound(folder):
    """Bytes a pixel that a process of its own took for a core of the card, and `bytes_per_px`."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _PEAK, str(folder)]
    out = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return tuple(map(float, out.stdout.split()))


@pytest.mark.parametrize("changes", [FCN_CARD, CLASSIFIER, SEGMENTER, FINER])
def test_peak_memory_is_within_bytes_per_px(tmp_path, make_card, drawn_weights, changes):
    card = make_card(**changes)
    save_card(tmp_path, card, drawn_weights(card))
    measured, bound = peak_and_bound(tmp_path)
    assert bound / 3 < measured <= bound


@pytest.mark.slow
@pytest.mark.parametrize("changes", [CLASSIFIER, FINER])
def test_peak_memory_of_onnx_is_within_bytes_per_px(tmp_path, monkeypatch, make_card, drawn_weights, changes):
    """Its runtime's maps are counted from the file, all of them, so that the bound is a loose one."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MINESCAN_MODELS", str(tmp_path))
    card = make_card(**changes)
    save_card(tmp_path / card.name, card, drawn_weights(card))
    export_model(card.name, tmp_path / "out.onnx")
    bring(tmp_path / "out.onnx", "back", {})
    measured, bound = peak_and_bound(tmp_path / "back")
    assert measured <= bound < 20 * measured


@pytest.mark.parametrize("changes", [{}, {"network": UNET, "arguments": {"width": 4, "depth": 2}, "output": "pixels",
                                          "window_px": 52, "stride_px": 4, "halo_px": 24}])  # fmt: skip
def test_bf16_where_the_card_permits_and_the_caller_asks(tmp_path, make_card, drawn_weights, changes):
    card = make_card(bf16=True, **changes)
    weights = drawn_weights(card)
    weights["head.weight"] *= 20
    save_card(tmp_path, card, weights)
    size = 3 * card.stride_px + 2 * card.halo_px
    core = np.random.default_rng(1).uniform(0, 0.4, (4, size, size)).astype(np.float32)
    exact = load(tmp_path, "cpu").score_core(core)
    rough = load(tmp_path, "cpu", "bf16").score_core(core)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1
    np.testing.assert_allclose(rough.sum(axis=0), 1, atol=1e-6)
    auto = load(tmp_path, "cpu", "auto").score_core(core)
    assert np.array_equal(auto, rough) or np.array_equal(auto, exact)


def test_bf16_that_the_card_does_not_permit(tmp_path, make_card, drawn_weights):
    card = make_card()
    save_card(tmp_path, card, drawn_weights(card))
    core = np.random.default_rng(1).uniform(0, 0.4, (4, 215, 215)).astype(np.float32)
    with pytest.raises(CardError, match="does not say that bfloat16 moves no cell"):
        load(tmp_path, "cpu", "bf16")
    with pytest.raises(CardError, match="expected fp32, bf16 or auto"):
        load(tmp_path, "cpu", "fp16")
    np.testing.assert_array_equal(load(tmp_path, "cpu", "auto").score_core(core), load(tmp_path).score_core(core))
