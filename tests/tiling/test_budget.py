import pytest

from tiling import Panel, chunk_px_for, composite_nbytes, look_rows, panel_blocks

MB = 1 << 20


def test_the_chunk_is_the_largest_that_fits():
    for memory_bytes in (40 * MB, 100 * MB, 999 * MB):
        core_px = chunk_px_for(memory_bytes=memory_bytes, bytes_per_px=100, stride_px=27, halo_px=94)
        assert core_px % 27 == 0
        assert (core_px + 188) ** 2 * 100 <= memory_bytes < (core_px + 27 + 188) ** 2 * 100


def test_the_chunk_has_a_least_and_a_most():
    assert chunk_px_for(memory_bytes=1, bytes_per_px=100, stride_px=27, halo_px=94) == 27
    assert chunk_px_for(memory_bytes=10**15, bytes_per_px=1, stride_px=27, halo_px=94) == 342 * 27
    assert chunk_px_for(memory_bytes=10**15, bytes_per_px=1, stride_px=300, halo_px=0, tile_px=600) == 600


def _panel(**changes):
    numbers = {"looks": 60, "block_px": 1024, "mask_gsd_m": 20, "margin_px": 120, "threads": 2, "bands": 10}
    return Panel(**{**numbers, **changes})


@pytest.mark.parametrize("looks", [1, 12, 70, 400])
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("memory_bytes", [512 * MB, 2048 * MB, 16384 * MB])
def test_a_panel_fits_and_one_more_column_would_not(looks, threads, memory_bytes):
    panel = _panel(looks=looks, threads=threads)
    rows = look_rows(panel, memory_bytes=memory_bytes)
    columns = panel_blocks(panel, memory_bytes=memory_bytes)
    assert 1 <= rows <= 1024
    row_nbytes = threads * looks * 1024 * 2
    assert rows == 1 or rows * row_nbytes <= memory_bytes // 2
    assert rows == 1024 or (rows + 1) * row_nbytes > memory_bytes // 2
    if columns > 1:
        assert composite_nbytes(panel, columns=columns, rows=rows) <= memory_bytes
    if columns < 10:
        assert composite_nbytes(panel, columns=columns + 1, rows=rows) > memory_bytes


def test_many_looks_shrink_the_strip_but_not_below_a_row():
    rows = [look_rows(_panel(looks=looks), memory_bytes=256 * MB) for looks in (10, 100, 1000, 10**6)]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == 1024
    assert rows[-1] == 1
    assert panel_blocks(_panel(looks=10**6), memory_bytes=256 * MB) == 1


def test_the_peak_by_hand():
    panel = _panel(looks=3, block_px=512, mask_gsd_m=20, margin_px=0, threads=4, bands=2)
    masks = 3 * (256 + 6) * (512 + 6)
    outputs = 3 * 2 * 512 * 512 * 2
    buffers = 4 * 3 * 100 * 512 * 2
    assert composite_nbytes(panel, columns=2, rows=100) == masks + outputs + buffers


def test_a_panel_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        _panel(looks=0)
