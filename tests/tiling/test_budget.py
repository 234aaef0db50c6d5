import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling import Shares, chunk_px_for, stack_rows

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


@given(st.integers(1, 500), st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300 * MB))
def test_strips_fit_and_are_as_few_and_as_even_as_can_be(slots, width_px, height_px, nbytes):
    rows = stack_rows(slots=slots, width_px=width_px, height_px=height_px, nbytes=nbytes)
    row_nbytes = slots * width_px * 3
    assert 1 <= rows <= height_px
    assert rows == 1 or rows * row_nbytes <= nbytes
    strips = -(-height_px // rows)
    assert strips == 1 or rows == 1 or (strips - 1) * (nbytes // row_nbytes) < height_px
    assert strips * rows - height_px < strips


def test_strips_by_hand():
    assert stack_rows(slots=24, width_px=1024, height_px=1024, nbytes=72 * MB) == 1024
    assert stack_rows(slots=96, width_px=1024, height_px=1024, nbytes=72 * MB) == 256
    assert stack_rows(slots=400, width_px=1024, height_px=1024, nbytes=72 * MB) == 61
    assert stack_rows(slots=10**6, width_px=1024, height_px=1024, nbytes=72 * MB) == 1


@given(st.integers(1, 64), st.integers(0, 64_000 * MB))
def test_the_shares_are_within_the_memory(threads, memory_bytes):
    shares = Shares.of(memory_bytes=memory_bytes, threads=threads)
    assert shares.nbytes <= max(memory_bytes, threads * shares.work_nbytes + memory_bytes // 2)
    more = Shares.of(memory_bytes=memory_bytes + MB, threads=threads)
    assert shares.nbytes <= more.nbytes
    assert shares.stack_nbytes <= more.stack_nbytes


def test_the_shares_by_hand():
    shares = Shares.of(memory_bytes=600 * MB, threads=2)
    assert shares.stack_nbytes == 72 * MB
    assert shares.streams_nbytes == 64 * MB
    assert shares.mask_nbytes == shares.held_nbytes == (600 - 64) * MB // 8
    assert 560 * MB < shares.nbytes <= 600 * MB


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_the_stack_gets_what_memory_leaves(threads):
    sizes = [Shares.of(memory_bytes=n * MB, threads=threads).stack_nbytes for n in (100, 300, 600, 4000)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 72 * MB
