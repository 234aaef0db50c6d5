"""The scenes behind a pixel: one bit each, in every window what brute force finds."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.store.provenance import ClearScenes, make_clear, pack
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
    assert list(ClearScenes(array, WHOLE)(window)) == expected


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_many_windows_are_told_what_each_is_told_alone(seed, edge):
    rng = np.random.default_rng(seed)
    whole = Window(x0=0, y0=-1400, x1=1400, y1=0)
    names = [f"scene-{place}" for place in range(9)]
    array = make_clear(zarr.create_group(zarr.storage.MemoryStore()), names, whole, 20)
    array[:] = pack(np.where(rng.random((9, 700, 700)) < 0.02, 3, 5).astype(np.uint8), list(range(9)), 3)
    corners = rng.integers(0, 1400 - edge, (40, 2)).tolist()
    windows = [Window(x0=x, y0=y - 1400, x1=x + edge, y1=y - 1400 + edge) for x, y in corners]
    scenes = ClearScenes(array, whole)
    assert scenes.behind(windows) == [scenes(window) for window in windows]
    with pytest.raises(ValueError, match="not inside"):
        scenes(whole.buffer(1))


def test_a_tile_without_scenes_has_none_behind_it():
    assert ClearScenes(None, WHOLE).behind([WHOLE, WHOLE]) == [(), ()]
