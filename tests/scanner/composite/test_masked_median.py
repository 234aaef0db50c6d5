"""The masked median equals a float sort, for any number of looks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from scanner.composite.median import Masked, masked_median, selected_median, sorting_network
from scanner.composite.states import COVERED, SELECTED, put


def oracle(stack: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    median = np.zeros(stack.shape[1:], np.uint16)
    count = (stack > 0).sum(axis=0).astype(np.uint16)
    for y, x in np.ndindex(*median.shape):
        values = sorted(int(value) for value in stack[:, y, x] if value)
        if values:
            low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
            median[y, x] = (low + high + 1) // 2
    return median, count


def reduced(stack: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    median, count = (np.full(stack.shape[1:], 7, np.uint16) for _ in range(2))
    masked_median(stack, median, count)
    return median, count


@pytest.mark.parametrize("looks", [1, 2, 3, 5, 8, 12, 24, 33, 100, 257])
@pytest.mark.parametrize("top", [4, 65536])
def test_equals_sorting(looks: int, top: int) -> None:
    rng = np.random.default_rng(looks)
    stack = rng.integers(0, top, (looks, 3, 131), dtype=np.uint16)
    stack[rng.random(stack.shape) < 0.4] = 0
    for got, expected in zip(reduced(stack), oracle(stack), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_thousand_looks_and_the_largest_values() -> None:
    stack = np.full((1000, 2, 3), 65535, np.uint16)
    stack[:, 0, 0] = 0
    stack[::2, 0, 1] = 65534
    stack[1:, 1, 1] = 0
    median, count = reduced(stack)
    assert median.tolist() == [[0, 65535, 65535], [65535, 65535, 65535]]
    assert count.tolist() == [[0, 1000, 1000], [1000, 1, 1000]]


def test_no_looks_at_all() -> None:
    median, count = reduced(np.zeros((0, 2, 2), np.uint16))
    assert not median.any()
    assert not count.any()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 24, 75])
def test_the_network_sorts_zeros_and_ones(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(50):
        values = (rng.random(size) < rng.random()).astype(int)
        for low, high in sorting_network(size):
            values[low], values[high] = sorted((values[low], values[high]))
        assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize(("nodata", "shift"), [(0, 0), (0, 1000), (9, -500), (0, -1000), (0, 65_534), (7, -65_534)])
def test_values_saturate_and_never_wrap(nodata: int, shift: int, factor: int) -> None:
    rng = np.random.default_rng(factor)
    dn = rng.choice(np.array([0, 1, 7, 9, 499, 500, 501, 999, 64535, 64536, 65535], np.uint16), (11, 301))
    state = rng.choice(np.array([0, COVERED, SELECTED, COVERED | SELECTED], np.uint8), (13, 310))
    at = (1, 2, factor)
    rows, cols = ((start + np.arange(size)) // factor for start, size in zip(at, dn.shape, strict=False))
    under = state[np.ix_(rows, cols)]
    has, chosen = dn != nodata, (under & SELECTED) != 0
    stored = np.clip(dn.astype(np.int64) + shift, 1, 65535)
    for fresh in (True, False):
        before = rng.integers(0, 65536, dn.shape).astype(np.uint16)
        out = before.copy()
        wrong = put(dn, state, at, (nodata, shift), fresh, out)
        np.testing.assert_array_equal(out, np.where(has & chosen, stored, 0 if fresh else before))
        assert wrong == bool((chosen & (has != ((under & COVERED) != 0))).any())
        right = np.where(under & COVERED, np.uint16(5), np.uint16(nodata))
        assert not put(right, state, at, (nodata, shift), fresh, out)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("offset", [(0, 0), (1, 1), (3, 2)])
def test_the_median_of_dn_is_that_of_what_was_put(factor: int, offset: tuple[int, int]) -> None:
    rng = np.random.default_rng(factor)
    codings = np.array([(0, 0, 0), (0, 1000, 0), (9, -500, 1), (0, 65_534, 1), (7, -65_534, 0)] * 3, np.int64)
    dn = rng.choice(np.array([0, 1, 7, 9, 499, 500, 501, 999, 64535, 64536, 65535], np.uint16), (len(codings), 11, 301))
    state = rng.choice(np.array([0, COVERED, SELECTED, COVERED | SELECTED], np.uint8), (len(codings), 15, 310))
    at = (*offset, factor)
    stack, wrong, fresh = np.empty_like(dn), False, True
    for values, own, out, (nodata, shift, checked) in zip(dn, state, stack, codings.tolist(), strict=True):
        wrong |= put(values, own, at, (nodata, shift), fresh, out) and bool(checked)
    median, count = (np.full(dn.shape[1:], 7, np.uint16) for _ in range(2))
    assert selected_median(dn, Masked(state, at, codings), median, count) == wrong
    for got, expected in zip((median, count), reduced(stack), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert not selected_median(dn, Masked(state, at, codings * (1, 1, 0)), median, count)
