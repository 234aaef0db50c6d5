"""Bytes of files from anywhere: ranges merged, many in flight, asked again when they fail, fewer at once on refusal."""

import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from scanner.composite.address import Addresses, Place
from scanner.composite.files import Files, pread
from scanner.composite.remote import Client, RequestError
from scanner.composite.throttle import Crew, Outcome
from scanner.errors import AssetError

__all__ = ["Counters", "FetchError", "Fetcher", "Place", "Span", "merged"]

Bytes = bytes | memoryview
Range = tuple[int, int]

GAP_BYTES = 64 * 1024
"""Ranges nearer than this are one request: at 50 ms a request, so many bytes are cheaper than another one."""

SPAN_BYTES = 8 * 1024 * 1024
"""Ranges are merged up to this size, so that one file still arrives by several connections."""

ATTEMPTS = 5
"""Requests for the same bytes; those refused for load count in time alone."""

PATIENCE_S = 60.0
"""After so long since the first request for the same bytes no further one is made."""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0

REFUSED = (301, 400, 401, 403)
"""What a signed address that has expired, or names the wrong region, is answered."""


class FetchError(AssetError):
    """Bytes of a file could not be had, after every retry."""

    def __init__(self, href: str, reason: str, *, missing: bool = False) -> None:
        super().__init__(href, reason)
        self.missing = missing
        """Whether there is no such file."""


@dataclass(slots=True)
class Counters:
    """What fetching has cost so far."""

    requests: int = 0
    """Ranges asked of a disk or a server, retries included."""
    nbytes_fetched: int = 0
    """Bytes that came, gaps between merged ranges included."""
    retries: int = 0
    """Requests made again."""
    throttled: int = 0
    """Times a host's requests in flight were halved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Ranges asked for at once."""

    start: int
    """First byte."""
    stop: int
    """After the last byte."""
    members: tuple[int, ...]
    """Which of the ranges lie in it."""


def merged(ranges: Sequence[Range], *, gap: int = GAP_BYTES, most: int = SPAN_BYTES) -> tuple[Span, ...]:
    """Ranges, in any order, as few spans: joined where they lie within `gap` bytes and stay within `most` together.

    Raises:
        ValueError: one of them is no range.
    """
    spans: list[Span] = []
    for start, stop, index in sorted((start, stop, index) for index, (start, stop) in enumerate(_checked(ranges))):
        if start == stop:
            continue
        last = spans[-1] if spans else None
        if last and start <= last.stop + gap and max(stop, last.stop) - last.start <= most:
            spans[-1] = Span(start=last.start, stop=max(stop, last.stop), members=(*last.members, index))
        else:
            spans.append(Span(start=start, stop=stop, members=(index,)))
    return tuple(spans)


def _checked(ranges: Sequence[Range]) -> Sequence[Range]:
    for start, stop in ranges:
        if not 0 <= start <= stop:
            raise ValueError(f"bytes {start} to {stop} are no range")
    return ranges


@dataclass(slots=True)
class _Call:
    """One call's ranges on their way."""

    place: Place
    """The file."""
    ranges: Sequence[Range]
    """As asked."""
    parts: list[Bytes]
    """As they come."""
    left: int
    """Spans that have not come."""
    over: bool = False
    """Whether it has failed."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of the fields above."""
    future: Future[list[Bytes]] = field(default_factory=Future)
    """What the caller holds."""

    def begin(self) -> bool:
        """Whether its bytes are still wanted."""
        with self.lock:
            return not self.over and (self.future.running() or self.future.set_running_or_notify_cancel())

    def fill(self, span: Span, body: bytes) -> None:
        """Cut a span's ranges out of its bytes; nothing is copied."""
        view = memoryview(body)
        for index in span.members:
            start, stop = self.ranges[index]
            self.parts[index] = view[start - span.start : stop - span.start]
        with self.lock:
            self.left -= 1
            done = self.left == 0 and not self.over
        if done:
            self.future.set_result(self.parts)

    def fail(self, error: Exception) -> None:
        """Give up the whole of it."""
        with self.lock:
            before, self.over = self.over, True
        if not before and not self.future.cancel():
            self.future.set_exception(error)


@dataclass(slots=True)
class _Request:
    """One span on its way."""

    call: _Call
    """Whose."""
    span: Span
    """Which bytes."""
    attempts: int = 0
    """Requests made."""
    begun_s: float = 0.0
    """When the first was made."""
    url: str = ""
    """The address last asked."""
    signed_again: bool = False
    """Whether its address has been refused and made anew."""


class Fetcher:
    """Fetches ranges for any number of threads. Close it when they are done."""

    def __init__(self, *, most_in_flight: int = 48) -> None:
        self._counters = Counters()
        self._lock = threading.Lock()
        self._files = Files()
        self._addresses = Addresses()
        self._client = Client(most_in_flight)
        self._crew = Crew(most_in_flight, self._serve)

    @property
    def counters(self) -> Counters:
        """The cost until now."""
        with self._lock:
            return replace(self._counters, throttled=self._crew.throttled)

    def get(self, place: Place, ranges: Sequence[Range]) -> list[Bytes]:
        """The bytes of each [start, stop), shorter only where the file ends; goes before what was submitted.

        Raises:
            FetchError: they could not be had.
            InputError: the place cannot be signed here.
        """
        return self._ask(place, ranges, rank=0).result() if place.is_remote else self._read(place, ranges)

    def read_into(self, place: Place, start: int, buffer: memoryview) -> None:
        """Fill a buffer from a local file.

        Raises:
            FetchError: the file is not there, or ends before.
        """
        try:
            with self._files.using(place.path) as descriptor:
                had = os.preadv(descriptor, [buffer], start)
        except OSError as error:
            raise FetchError(
                place.href, error.strerror or str(error), missing=isinstance(error, FileNotFoundError)
            ) from None
        if had < len(buffer):
            raise FetchError(place.href, f"the file ends at byte {start + had}, expected {start + len(buffer)}")
        self._count(1, had)

    def submit(self, place: Place, ranges: Sequence[Range]) -> Future[list[Bytes]]:
        """As `get`, in the background and in order; a local file is read at once."""
        if place.is_remote:
            return self._ask(place, ranges, rank=1)
        future: Future[list[Bytes]] = Future()
        try:
            future.set_result(self._read(place, ranges))
        except FetchError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Cancel what waits and end the threads, once what is in flight has come."""
        for request in self._crew.close():
            request.call.fail(FetchError(request.call.place.href, "the fetcher was closed"))
        self._client.close()
        self._files.close()

    def _count(self, requests: int, nbytes: int = 0, retries: int = 0) -> None:
        with self._lock:
            self._counters.requests += requests
            self._counters.nbytes_fetched += nbytes
            self._counters.retries += retries

    def _read(self, place: Place, ranges: Sequence[Range]) -> list[Bytes]:
        try:
            with self._files.using(place.path) as descriptor:
                parts: list[Bytes] = [pread(descriptor, start, stop) for start, stop in _checked(ranges)]
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise FetchError(place.href, error.strerror or str(error), missing=missing) from None
        self._count(len(ranges), sum(map(len, parts)))
        return parts

    def _ask(self, place: Place, ranges: Sequence[Range], *, rank: int) -> Future[list[Bytes]]:
        spans = merged(ranges)
        call = _Call(place=place, ranges=ranges, parts=[b""] * len(ranges), left=len(spans))
        if spans:
            self._crew.add(place.host, [_Request(call=call, span=span) for span in spans], rank=rank)
        else:
            call.future.set_result(call.parts)
        return call.future

    def _serve(self, request: _Request) -> Outcome:
        """Make one request, and see to what became of it."""
        call, span = request.call, request.span
        if not call.begin():
            return Outcome()
        request.begun_s = request.begun_s or time.monotonic()
        request.attempts += 1
        try:
            request.url = self._addresses.url(call.place)
            body = self._client.get(request.url, span.start, span.stop)
        except RequestError as trouble:
            return self._after(request, trouble)
        except OSError as error:
            return self._after(request, RequestError(" ".join(str(error).split())[:300]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's, and the thread lives on
            call.fail(error)
            return Outcome()
        self._count(1, len(body), int(request.attempts > 1))
        call.fill(span, body)
        return Outcome()

    def _after(self, request: _Request, trouble: RequestError) -> Outcome:
        """Whether the bytes are asked for again, and when."""
        self._count(1, retries=int(request.attempts > 1))
        place = request.call.place
        if place.is_signed and trouble.status in REFUSED and not request.signed_again:
            request.signed_again = True
            self._addresses.refused(place, request.url, trouble.region)
            return Outcome(again_s=0.0)
        wait_s = _wait_s(request.attempts, trouble.wait_s)
        patient = time.monotonic() + wait_s < request.begun_s + PATIENCE_S
        if trouble.retry and patient and (trouble.overload or request.attempts < ATTEMPTS):
            return Outcome(overload=trouble.overload, again_s=wait_s)
        tried = f", {request.attempts} times" if request.attempts > 1 else ""
        request.call.fail(FetchError(place.href, f"{trouble.reason}{tried}", missing=trouble.status in (404, 410)))
        return Outcome(overload=trouble.overload)


def _wait_s(attempts: int, asked_s: float | None) -> float:
    """Exponential with full jitter, on top of what the server asks."""
    most_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempts - 1))
    return (asked_s or 0.0) + random.uniform(0.0, most_s)  # noqa: S311
