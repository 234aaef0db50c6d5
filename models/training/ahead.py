"""The next batches are made while the network learns from this one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

__all__ = ["DEPTH", "ahead"]

DEPTH = 2
"""Batches that wait: one is enough where making them is quicker than learning, another evens it out."""

Item = TypeVar("Item")
State = dict[str, Any]


def ahead(
    draw: Callable[[np.random.Generator, int], Item], rng: np.random.Generator, steps: Iterable[int]
) -> Iterator[tuple[Item, State]]:
    """What draw(rng, step) gives for each step in order, and the generator's state after it.

    One is used, DEPTH wait, the next is drawn: what a draw fills may be filled again DEPTH + 3 draws later.

    One thread draws, so the draws are those of a loop. The state is what a training that is resumed goes on from: the
    generator itself is ahead.
    """

    def one(step: int) -> tuple[Item, State]:
        return draw(rng, step), dict(rng.bit_generator.state)

    waiting: deque[Future[tuple[Item, State]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        for step in steps:
            waiting.append(pool.submit(one, step))
            if len(waiting) > DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
