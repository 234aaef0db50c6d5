"""Ranges of files, local and from nginx on loopback, equal slices of them; whatever the server does meanwhile."""

import pickle
import random
import re
import subprocess
import threading
import time
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import free_port

from scanner.composite import fetch, files, remote
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
    with pytest.raises(FetchError, match=r"No such file|Not Found") as caught:
        fetcher.get(absent, [(5, 10)])
    assert caught.value.missing
    assert len(server.served()) <= 2, "what is missing is not asked for again"


# Counts what is under way, and the most that ever was; log_by_lua runs when a request ends.
COUNTED = """
    local now = state:incr("now", 1, 0)
    if now > (state:get("most") or 0) then state:set("most", now) end
    ngx.header["X-Most"] = state:get("most")
"""
ENDS = "log_by_lua_block { ngx.shared.state:incr('now', -1) }"


def most_at_once(server):
    with urllib.request.urlopen(f"{server.url}/a.bin") as response:  # noqa: S310
        return int(response.headers["X-Most"])


@pytest.fixture
def quick(monkeypatch):
    """Waits between requests are short."""
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.02)


@pytest.mark.parametrize("by_submit", [True, False])
def test_as_many_are_in_flight_as_may_be(by_submit, folder, range_server):
    fetcher = Fetcher(most_in_flight=20)
    server = range_server(folder, lua=COUNTED + " ngx.sleep(0.05)", more=ENDS)
    place = Place(href=f"{server.url}/a.bin")
    ranges = [(at, at + 9) for at in range(0, 960_000, 2000)]
    if by_submit:
        waiting = [fetcher.submit(place, [one]) for one in ranges]
        assert [one.result(60) for one in waiting] == [slices([one]) for one in ranges]
    else:
        far = [(at, at + 9) for at in range(0, 960_000, 80_000)]
        assert fetcher.get(place, far) == slices(far)
    assert most_at_once(server) == (20 if by_submit else 12)
    assert len({one.connection for one in server.served()}) <= 21, "connections are used again"
    fetcher.close()


FAULTS = {
    "503": "return ngx.exit(503)",
    "500": "return ngx.exit(500)",
    "429": "return ngx.exit(429)",
    "408": "ngx.status = 408; ngx.say(1); return ngx.exit(200)",
    "closed at once": "return ngx.exit(444)",
    "cut off": """
        ngx.status = 206
        ngx.header["Content-Range"] = "bytes 100-1099/1000000"
        ngx.header["Content-Length"] = 1000
        ngx.print(string.rep("x", 10)); ngx.flush(true)
        return ngx.exit(444)""",
    "less than asked": """
        ngx.status = 206
        ngx.header["Content-Range"] = "bytes 100-599/1000000"
        ngx.header["Content-Length"] = 500
        ngx.print(string.rep("x", 500))
        return ngx.exit(206)""",
    "silent": "ngx.sleep(5)",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("quick")
def test_a_request_that_fails_is_made_again(fault, folder, range_server, fetcher, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", urllib3.Timeout(connect=5, read=0.5))
    server = range_server(folder, lua=f'if state:incr("count", 1, 0) <= 2 then {FAULTS[fault]} end')
    assert fetcher.get(Place(href=f"{server.url}/a.bin"), [(100, 1100)]) == slices([(100, 1100)])
    assert fetcher.counters.requests == 3
    assert fetcher.counters.retries == 2
    assert fetcher.counters.nbytes_fetched == 1000
    assert fetcher.counters.throttled == (2 if fault in ("503", "429", "408", "silent") else 0)


@pytest.mark.usefixtures("quick")
def test_a_server_that_stays_broken_is_given_up(folder, range_server, fetcher):
    server = range_server(folder, lua="return ngx.exit(500)")
    with pytest.raises(FetchError, match=r"a\.bin: HTTP 500 Internal Server Error, 5 times$") as caught:
        fetcher.get(Place(href=f"{server.url}/a.bin"), [(0, 10)])
    assert not caught.value.missing
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (copy.href, copy.reason, copy.missing) == (caught.value.href, caught.value.reason, False)
    assert len(server.served()) == 5


@pytest.mark.usefixtures("quick")
def test_nobody_listens(fetcher):
    with pytest.raises(FetchError, match=r"Connection refused, 5 times$"):
        fetcher.get(Place(href=f"http://127.0.0.1:{free_port()}/a.bin"), [(0, 10)])


@pytest.mark.usefixtures("quick")
def test_what_the_server_asks_to_wait_is_waited(folder, range_server, fetcher):
    server = range_server(
        folder, lua='if state:incr("count", 1, 0) == 1 then ngx.header["Retry-After"] = 1; return ngx.exit(429) end'
    )
    began = time.monotonic()
    assert fetcher.get(Place(href=f"{server.url}/a.bin"), [(0, 10)]) == slices([(0, 10)])
    assert time.monotonic() - began >= 1


@pytest.mark.usefixtures("quick")
def test_patience_ends(folder, range_server, fetcher, monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.5)
    server = range_server(folder, lua="return ngx.exit(503)")
    with pytest.raises(FetchError, match="HTTP 503"):
        fetcher.get(Place(href=f"{server.url}/a.bin"), [(0, 10)])
    assert len(server.served()) > 3
    assert len({one.connection for one in server.served()}) == 1, "a refusal does not cost a connection"


def test_the_end_of_the_file_is_where_the_bytes_end(folder, range_server, fetcher):
    server = range_server(folder)
    ranges = [(999_990, 1_000_010), (3_000_000, 3_000_010)]
    for _ in range(2):
        assert fetcher.get(Place(href=f"{server.url}/a.bin"), ranges) == slices(ranges)
    assert {one.status for one in server.served()} == {206, 416}
    assert len({one.connection for one in server.served()}) <= 2


@pytest.mark.usefixtures("quick")
def test_refusals_for_load_bring_the_requests_in_flight_down(folder, range_server, fetcher):
    limited = COUNTED + "if now > 6 then ngx.sleep(0.01); return ngx.exit(429) end"
    server = range_server(folder, lua=limited + " ngx.sleep(0.02)", more=ENDS)
    place = Place(href=f"{server.url}/a.bin")
    ranges = [(at, at + 9) for at in range(0, 960_000, 2000)]
    waiting = [fetcher.submit(place, [one]) for one in ranges]
    assert [one.result(60) for one in waiting] == [slices([one]) for one in ranges]
    refused = sum(one.status == 429 for one in server.served())
    assert refused == fetcher.counters.retries
    assert fetcher.counters.throttled >= 3
    assert refused < len(ranges) / 2, "48 in flight throughout would have been refused seven times of eight"


def test_a_server_without_ranges(folder, range_server, fetcher):
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    server = range_server(folder, more="max_ranges 0;")
    ranges = [(10, 20), (999_990, 1_000_010)]
    assert fetcher.get(Place(href=f"{server.url}/a.bin"), ranges) == slices(ranges)
    with pytest.raises(FetchError, match="ignores ranges and the file has 68157440 bytes"):
        fetcher.get(Place(href=f"{server.url}/huge.bin"), [(0, 10)])


def test_redirects_are_followed(folder, range_server, fetcher):
    server = range_server(folder, lua='if ngx.var.uri == "/old.bin" then return ngx.redirect("/a.bin", 302) end')
    assert fetcher.get(Place(href=f"{server.url}/old.bin"), [(7, 70)]) == slices([(7, 70)])


def test_a_query_arrives_as_it_was_signed(folder, range_server, fetcher):
    server = range_server(folder)
    query = "st=2026-01-01T00%3A00%3A00Z&sp=rl&sig=ab%2Bcd%2Fe%3D"
    assert fetcher.get(Place(href=f"{server.url}/a.bin?{query}"), [(7, 70)]) == slices([(7, 70)])
    assert server.served()[0].uri == f"/a.bin?{query}"


def test_through_a_proxy(folder, range_server, fetcher, monkeypatch):
    server = range_server(folder)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "localhost")
    place = Place(href="http://data.invalid/a.bin")
    assert fetcher.get(place, [(7, 70)]) == slices([(7, 70)])


def test_certificates_are_checked(folder, range_server, fetcher, tmp_path, monkeypatch):
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out"]
    subprocess.run([*command, certificate, *names], check=True, capture_output=True)
    server = range_server(folder, tls=f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}")
    place = Place(href=f"{server.url}/a.bin")
    with pytest.raises(FetchError, match=r"CERTIFICATE_VERIFY_FAILED\] certificate verify failed: self.signed"):
        fetcher.get(place, [(7, 70)])
    assert fetcher.counters.requests == 1
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusting = Fetcher()
    assert trusting.get(place, [(7, 70)]) == slices([(7, 70)])
    trusting.close()


def test_closing_cancels_what_waits_and_ends_the_threads(folder, range_server):
    before = threading.active_count()
    fetcher = Fetcher(most_in_flight=2)
    server = range_server(folder, delay_s=0.2)
    waiting = [fetcher.submit(Place(href=f"{server.url}/a.bin"), [(at, at + 9)]) for at in range(40)]
    waiting[0].result(10)
    fetcher.close()
    assert threading.active_count() == before
    assert all(one.done() for one in waiting)
    assert sum(one.cancelled() for one in waiting) >= 34
    assert all(one.cancelled() or len(one.result()[0]) == 9 for one in waiting)
    with pytest.raises(RuntimeError, match="closed"):
        fetcher.submit(Place(href=f"{server.url}/a.bin"), [(0, 9)])


def test_idle_threads_hold_no_bytes(folder, range_server, fetcher):
    server = range_server(folder)
    future = fetcher.submit(Place(href=f"{server.url}/a.bin"), [(0, 1_000_000)])
    assert len(future.result(10)[0]) == 1_000_000
    gone = weakref.ref(future)
    del future
    for _ in range(100):
        if gone() is None:
            break
        time.sleep(0.02)
    assert gone() is None


def test_what_is_cancelled_is_not_fetched(folder, range_server):
    fetcher = Fetcher(most_in_flight=1)
    server = range_server(folder, delay_s=0.1)
    first, second, third = (fetcher.submit(Place(href=f"{server.url}/a.bin"), [(at, at + 9)]) for at in range(3))
    assert second.cancel()
    assert [first.result(10), third.result(10)] == [slices([(0, 9)]), slices([(2, 11)])]
    assert [one.range for one in server.served()] == ["bytes=0-8", "bytes=2-10"]
    fetcher.close()


def test_what_somebody_waits_for_goes_first(folder, range_server):
    fetcher = Fetcher(most_in_flight=1)
    server = range_server(folder, delay_s=0.05)
    place = Place(href=f"{server.url}/a.bin")
    later = [fetcher.submit(place, [(at, at + 9)]) for at in range(10)]
    fetcher.get(place, [(500, 509)])
    assert [one.result(10) for one in later] == [slices([(at, at + 9)]) for at in range(10)]
    asked = [int(re.findall(r"\d+", one.range)[0]) for one in server.served()]
    assert asked.index(500) <= 2
    assert [at for at in asked if at != 500] == list(range(10)), "in order"
    fetcher.close()


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_few_and_safe_to_share(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "OPEN_FILES", 5)
    fetcher = Fetcher()
    for index in range(40):
        (tmp_path / str(index)).write_bytes(str(index).encode() * 5000)
    before = descriptors()

    def read(seed):
        for index in random.Random(seed).choices(range(40), k=300):
            content = str(index).encode() * 5000
            assert fetcher.get(Place(href=str(tmp_path / str(index))), [(3, 4000), (4998, 99999)]) == [
                content[3:4000], content[4998:99999],
            ]  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert descriptors() <= before + 5
    fetcher.close()
    assert descriptors() == before


def test_local_files_that_cannot_be_read(tmp_path, fetcher):
    with pytest.raises(FetchError, match="Is a directory") as caught:
        fetcher.get(Place(href=str(tmp_path)), [(0, 10)])
    assert not caught.value.missing
    with pytest.raises(FetchError, match="No such file") as caught:
        fetcher.submit(Place(href=str(tmp_path / "none")), [(0, 10)]).result()
    assert caught.value.missing


@pytest.mark.parametrize("place", [Place(href="/dev/null"), Place(href="http://127.0.0.1:9/a")])
def test_what_is_no_range_is_refused(place, fetcher):
    with pytest.raises(ValueError, match="bytes 10 to 9 are no range"):
        fetcher.get(place, [(0, 5), (10, 9)])
    assert fetcher.get(place, []) == []
    assert fetcher.get(place, [(5, 5)]) == [b""]
