"""The scenes behind a pixel: one bit each, in every window what brute force finds."""

import numpy as np
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.store.provenance import make_clear, pack, scenes_in
from tiling import Window

WHOLE = Window(x0=600, y0=-600, x1=720, y1=-480)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 19), st.integers(0, 2**31), st.integers(0, 100), st.integers(0, 100), st.integers(1, 20))
def test_a_window_names_the_scenes_that_are_clear_in_it(count, seed, x, y, edge):
    rng = np.random.default_rng(seed)
    states = np.where(rng.random((count, 60, 60)) < 0.01, 3, 5).astype(np.uint8)
    planes = [None if rng.random() < 0.2 else place for place in range(count)]
    names = [f"scene-{place}" for place in range(count)]
    array = make_clear(zarr.create_group(zarr.storage.MemoryStore()), names, WHOLE, 20)
    array[:] = pack(states, planes, 3)
    window = Window(x0=600 + x, y0=-600 + y, x1=600 + x + edge, y1=-600 + y + edge)
    under = states[:, y // 2 : -(-(y + edge) // 2), x // 2 : -(-(x + edge) // 2)]
    expected = [names[place] for place in range(count) if planes[place] is not None and (under[place] == 3).any()]
    assert list(scenes_in(array, WHOLE, window)) == expected
