"""What is put into a mask store comes out of it, in memory or from its file."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.composite.mask_store import CHUNK_PX, MaskStore
from tiling import Window


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999), corner=st.tuples(st.integers(-900, 900), st.integers(-900, 900)),
    shape=st.tuples(st.integers(1, 1300), st.integers(1, 1300)),
    origin=st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
    most_nbytes=st.sampled_from([0, 3000, 1 << 30]), data=st.data(),
)  # fmt: skip
def test_windows_come_out_as_they_went_in(
    seed: int, corner: tuple[int, int], shape: tuple[int, int], origin: tuple[int, int], most_nbytes: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    whole = Window(x0=corner[1], y0=corner[0], x1=corner[1] + shape[1], y1=corner[0] + shape[0])
    store = MaskStore(whole, 2, origin=origin, most_nbytes=most_nbytes)
    states = rng.integers(0, 2, (shape[0] // 200 + 1, shape[1] // 200 + 1), dtype=np.uint8)
    states = states.repeat(200, 0).repeat(200, 1)[: shape[0], : shape[1]] * np.uint8(5)
    cut = origin[0] + (whole.y0 - origin[0]) // CHUNK_PX * CHUNK_PX + CHUNK_PX
    for y0, y1 in ((whole.y0, min(cut, whole.y1)), (min(cut, whole.y1), whole.y1)):
        if y0 < y1:
            strip = Window(x0=whole.x0, y0=y0, x1=whole.x1, y1=y1)
            store.put(1, strip, states[strip.slices_in(whole)])
    x0, y0 = data.draw(st.integers(whole.x0, whole.x1 - 1)), data.draw(st.integers(whole.y0, whole.y1 - 1))
    window = Window(
        x0=x0, y0=y0, x1=data.draw(st.integers(x0 + 1, whole.x1)), y1=data.draw(st.integers(y0 + 1, whole.y1))
    )
    out = np.full((2, *window.shape), 9, np.uint8)
    for plane in (0, 1):
        store.get(plane, window, out[plane])
    expected = states[window.slices_in(whole)]
    np.testing.assert_array_equal(out[1], expected)
    assert not out[0].any()
    assert store.any_of(0, window) == 0
    assert store.any_of(1, window) & int(np.bitwise_or.reduce(expected, axis=None)) == expected.max()
    store.close()
