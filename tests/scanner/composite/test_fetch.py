"""Ranges of files, local and from nginx on loopback, equal slices of them; whatever the server does meanwhile."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.composite.fetch import Fetcher, FetchError, Place, merged

CONTENT = random.Random(7).randbytes(1_000_000)


@pytest.fixture
def fetcher():
    one = Fetcher()
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.bin").write_bytes(CONTENT)
    return tmp_path / "files"


def slices(ranges, content=CONTENT):
    return [content[start:stop] for start, stop in ranges]


RANGES = st.lists(
    st.tuples(st.integers(0, len(CONTENT) + 5000), st.integers(0, 200_000)).map(lambda one: (one[0], sum(one))),
    max_size=12,
)


@given(ranges=RANGES, gap=st.integers(0, 100_000), most=st.integers(1, 400_000))
def test_merged_spans_cover_every_range_and_no_more(ranges, gap, most):
    spans = merged(ranges, gap=gap, most=most)
    assert sorted(index for span in spans for index in span.members) == [
        index for index, (start, stop) in enumerate(ranges) if start < stop
    ]
    for span in spans:
        inside = [ranges[index] for index in span.members]
        assert (span.start, span.stop) == (min(start for start, _ in inside), max(stop for _, stop in inside))
        assert len(inside) == 1 or span.stop - span.start <= most


def test_ranges_that_nearly_touch_are_one_request(folder, range_server, fetcher):
    server = range_server(folder)
    ranges = [(1000, 2000), (0, 16), (2000 + 60_000, 63_000), (500_000, 500_001)]
    assert fetcher.get(Place(href=f"{server.url}/a.bin"), ranges) == slices(ranges)
    assert sorted(one.range for one in server.served()) == ["bytes=0-62999", "bytes=500000-500000"]
    assert fetcher.counters.requests == 2
    assert fetcher.counters.nbytes_fetched == 63_001


def test_any_ranges_equal_slices_of_the_file(folder, range_server, fetcher):
    server = range_server(folder)

    @settings(max_examples=60, deadline=None)
    @given(ranges=RANGES)
    def check(ranges):
        for href in (f"{server.url}/a.bin", str(folder / "a.bin")):
            assert fetcher.get(Place(href=href), ranges) == slices(ranges)
            assert fetcher.submit(Place(href=href), ranges).result(60) == slices(ranges)

    check()


@pytest.mark.parametrize("form", ["{folder}/a.bin", "file://{folder}/a.bin", "{url}/a.bin", "/vsicurl/{url}/a.bin"])
def test_every_way_to_name_a_file(form, folder, range_server, fetcher):
    server = range_server(folder)
    place = Place(href=form.format(folder=folder, url=server.url))
    assert place.is_remote == ("url" in form)
    assert fetcher.get(place, [(5, 10)]) == slices([(5, 10)])
    absent = Place(href=place.href.replace("a.bin", "b.bin"))
    with pytest.raises(FetchError, match="not found|No such file|Not Found") as caught:
        fetcher.get(absent, [(5, 10)])
    assert caught.value.missing
    assert len(server.served()) <= 2, "what is missing is not asked for again"


def test_latency_is_hidden(folder, range_server, fetcher):
    server = range_server(folder, delay_s=0.05)
    began = time.monotonic()
    waiting = [fetcher.submit(Place(href=f"{server.url}/a.bin"), [(at, at + 9)]) for at in range(0, 960_000, 2000)]
    assert [one.result(60) for one in waiting] == [slices([(at, at + 9)]) for at in range(0, 960_000, 2000)]
    assert time.monotonic() - began < 480 * 0.05 / 4, "48 in flight take 0.5 s; one after the other 24 s"
