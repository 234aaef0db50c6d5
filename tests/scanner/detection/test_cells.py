"""Counting kernels equal numpy, for windows and cells of any size."""

from types import SimpleNamespace

import numpy as np
import pytest

from scanner.detection.cells import median_looks, observed_cells

SHAPES = [(27, 189, 94), (4, 8, 5), (5, 5, 0), (6, 10, 2)]


def card(stride_px: int, window_px: int, halo_px: int):
    return SimpleNamespace(stride_px=stride_px, window_px=window_px, halo_px=halo_px)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [0, 1, 30, 65535])
def test_the_median_of_looks_is_numpys_half_rounded_up(shape, most):
    stride, _, halo = shape
    clear = np.random.default_rng(most).integers(0, most + 1, (3 * stride + 2 * halo, 5 * stride + 2 * halo))
    found = median_looks(clear.astype(np.uint16), card(*shape))
    core = clear[halo : halo + 3 * stride, halo : halo + 5 * stride]
    cells = core.reshape(3, stride, 5, stride).swapaxes(1, 2).reshape(3, 5, -1)
    np.testing.assert_array_equal(found, np.floor(np.median(cells, axis=2) + 0.5))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_is_observed_at_nine_tenths(shape):
    stride, window, halo = shape
    rng = np.random.default_rng(1)
    composite = rng.integers(1, 9, (3, 4 * stride + 2 * halo, 3 * stride + 2 * halo)).astype(np.uint16)
    holes = np.linspace(0, 0.12, composite.shape[2])
    composite[rng.random(composite.shape) < holes] = 0
    before = (window - stride) // 2
    seen = (composite != 0).all(axis=0)
    expected = [
        [
            10 * seen[top : top + window, left : left + window].sum() >= 9 * window**2
            for left in range(halo - before, halo - before + 3 * stride, stride)
        ]
        for top in range(halo - before, halo - before + 4 * stride, stride)
    ]
    np.testing.assert_array_equal(observed_cells(composite, card(*shape)), expected)
