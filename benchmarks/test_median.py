"""The masked median beside numpy's: pytest benchmarks/test_median.py --benchmark-group-by=param:looks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from scanner.composite.median import masked_median

SHAPE = (256, 1024)


def stack_of(looks: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    stack = rng.integers(1, 65536, (looks, *SHAPE), dtype=np.uint16)
    stack[rng.random(stack.shape) < 0.35] = 0
    return stack


@pytest.mark.parametrize("looks", [12, 24, 75])
def test_ours(benchmark, looks: int) -> None:
    stack = stack_of(looks)
    median, count = np.empty(SHAPE, np.uint16), np.empty(SHAPE, np.uint16)
    masked_median(stack[:, :1], median[:1], count[:1])
    benchmark(masked_median, stack, median, count)
    benchmark.extra_info["million_values_per_second"] = stack.size / benchmark.stats["min"] / 1e6


@pytest.mark.parametrize("looks", [12, 24])
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_numpy(benchmark, looks: int) -> None:
    stack = stack_of(looks)[:, :64].astype(np.float32)
    stack[stack == 0] = np.nan
    benchmark.pedantic(np.nanmedian, (stack,), {"axis": 0}, rounds=2)
    benchmark.extra_info["million_values_per_second"] = stack.size / benchmark.stats["min"] / 1e6
