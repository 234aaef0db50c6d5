import pytest

from tiling import Window


def test_a_window_is_never_empty():
    for corners in [(0, 0, 0, 5), (0, 0, 5, 0), (3, 0, 1, 5)]:
        with pytest.raises(ValueError, match="x0 < x1"):
            Window(**dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)))
    with pytest.raises(ValueError, match="x0 < x1"):
        Window(x0=0, y0=0, x1=4, y1=9).buffer(-2)


def test_windows_that_touch_do_not_meet():
    left, right = Window(x0=0, y0=0, x1=5, y1=5), Window(x0=5, y0=0, x1=9, y1=5)
    assert left.intersect(right) is None
    assert left.union_bounds(right) == Window(x0=0, y0=0, x1=9, y1=5)
    assert left.shape == (5, 5)


def test_coarser_is_rounded_outward_also_below_zero():
    assert Window(x0=-7, y0=-13, x1=13, y1=-1).at(6) == Window(x0=-2, y0=-3, x1=3, y1=0)


def test_slices_need_the_inside():
    outer = Window(x0=-10, y0=-10, x1=10, y1=10)
    assert Window(x0=-10, y0=0, x1=0, y1=10).slices_in(outer) == (slice(10, 20), slice(0, 10))
    with pytest.raises(ValueError, match="not inside"):
        outer.buffer(1).slices_in(outer)
