"""The masked median equals a float sort, for any number of looks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from scanner.composite.median import CLEAR, masked_median, put_first, put_more, sorting_network


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


@pytest.mark.parametrize(("nodata", "shift"), [(0, 0), (0, 1000), (9, -500)])
def test_values_saturate_and_never_wrap(nodata: int, shift: int) -> None:
    dn = np.array([[0, 1, 9, 500, 64535, 64536, 65535, 1000]], np.uint16)
    state = np.full((1, 4), CLEAR, np.uint8)
    state[0, 3] = 0
    stored = np.full(dn.shape, 3, np.uint16)
    put_first(dn, state, (0, 0, 2), nodata, shift, stored)
    expected = [0 if value == nodata else min(max(value + shift, 1), 65535) for value in dn[0].tolist()]
    expected[6:] = [0, 0]
    assert stored.tolist() == [expected]
    put_more(dn, np.full((1, 4), CLEAR, np.uint8), (0, 0, 2), nodata, shift, stored)
    assert stored[0, 6] == min(65535 + shift, 65535)
    assert stored[0, 1] == expected[1]
