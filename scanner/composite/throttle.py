"""How many requests a server bears: additive increase, multiplicative decrease, and what waits meanwhile."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Crew", "Limit", "Line", "Outcome", "Waiting"]


@dataclass(slots=True)
class Limit:
    """The requests one host may have in flight (AIMD, as TCP does: Chiu and Jain 1989)."""

    most: int
    """Never more than this; the start."""
    allowed: float = field(init=False)
    """In flight at most, at least 1."""
    in_flight: int = 0
    """Under way now."""
    _cut_s: float = float("-inf")
    """When it was last halved."""

    def __post_init__(self) -> None:
        self.allowed = float(self.most)

    @property
    def has_room(self) -> bool:
        """Whether one more may begin."""
        return self.in_flight < int(self.allowed)

    def bear(self) -> None:
        """A request went well: one more for each round of them."""
        self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)

    def refuse(self, begun_s: float, now_s: float) -> bool:
        """A request was refused for load: half as many. Whether that changed anything.

        What had begun before the last cut says nothing about the rate since, so a burst of refusals halves once.
        """
        if begun_s < self._cut_s:
            return False
        self._cut_s = now_s
        before, self.allowed = self.allowed, max(1.0, self.allowed / 2)
        return self.allowed < before


@dataclass(slots=True, order=True)
class Waiting:
    """A piece of work in the line; sorts by its turn."""

    rank: int
    """Lower goes first."""
    number: int
    """Order of coming within a rank; kept by a retry, so that it goes before what came later."""
    host: str = field(compare=False)
    """Whose limit counts."""
    work: Any = field(compare=False)
    """What is to be done."""


class Line:
    """Work waiting for its turn at its host. Has no lock, no clock and no thread: its owner brings them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers = itertools.count()
        self._limits: dict[str, Limit] = {}
        self._ready: dict[str, list[Waiting]] = {}
        self._later: list[tuple[float, Waiting]] = []

    def limit(self, host: str) -> Limit:
        """The host's own."""
        if host not in self._limits:
            self._limits[host] = Limit(self._most)
            self._ready[host] = []
        return self._limits[host]

    def add(self, host: str, work: Any, *, rank: int) -> None:
        """Put work at the end of its rank."""
        self.limit(host)
        heapq.heappush(self._ready[host], Waiting(rank, next(self._numbers), host, work))

    def postpone(self, waiting: Waiting, due_s: float) -> None:
        """Put work back; its old turn counts again once it is due."""
        heapq.heappush(self._later, (due_s, waiting))

    def take(self, now_s: float) -> Waiting | None:
        """The first whose host has room, counted as in flight; None while there is none."""
        while self._later and self._later[0][0] <= now_s:
            waiting = heapq.heappop(self._later)[1]
            heapq.heappush(self._ready[waiting.host], waiting)
        heads = [ready[0] for host, ready in self._ready.items() if ready and self._limits[host].has_room]
        if not heads:
            return None
        first = min(heads)
        heapq.heappop(self._ready[first.host])
        self._limits[first.host].in_flight += 1
        return first

    def __len__(self) -> int:
        """What waits, postponed or not."""
        return sum(map(len, self._ready.values())) + len(self._later)

    def next_due_s(self) -> float | None:
        """When the first of what is postponed is due."""
        return self._later[0][0] if self._later else None

    def clear(self) -> list[Any]:
        """Take out everything that waits."""
        everything = [one.work for ready in self._ready.values() for one in ready]
        everything += [waiting.work for _, waiting in self._later]
        for ready in self._ready.values():
            ready.clear()
        self._later.clear()
        return everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request."""

    overload: bool = False
    """Whether the host asked for fewer."""
    again_s: float | None = None
    """Seconds until it is to be made once more; None: it is done with."""


class Crew:
    """Threads, as many as are of use, that work off a line."""

    def __init__(self, most: int, serve: Callable[[Any], Outcome]) -> None:
        self.throttled = 0
        """Times a host's requests in flight were halved."""
        self._most = most
        self._serve = serve
        self._line = Line(most)
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._wake = threading.Condition()

    def add(self, host: str, works: Sequence[Any], *, rank: int) -> None:
        """Put work in the line; lower ranks go first."""
        with self._wake:
            if self._closed:
                raise RuntimeError("the fetcher is closed")
            for work in works:
                self._line.add(host, work, rank=rank)
            for _ in range(min(len(self._line) - self._idle, self._most - len(self._threads))):
                self._threads.append(threading.Thread(target=self._run, name="fetch", daemon=True))
                self._threads[-1].start()
            self._wake.notify(len(works))

    def close(self) -> list[Any]:
        """End the threads, letting them finish what is in flight; gives back what waited."""
        with self._wake:
            self._closed = True
            waiting = self._line.clear()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        return waiting + self._line.clear()

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            begun_s = time.monotonic()
            outcome = self._serve(waiting.work)
            now_s = time.monotonic()
            with self._wake:
                limit = self._line.limit(waiting.host)
                limit.in_flight -= 1
                if outcome.overload:
                    self.throttled += limit.refuse(begun_s, now_s)
                else:
                    limit.bear()
                if outcome.again_s is not None:
                    self._line.postpone(waiting, now_s + outcome.again_s)
                self._wake.notify()
            del waiting  # an idle thread holds no bytes

    def _next(self) -> Waiting | None:
        with self._wake:
            while not self._closed:
                waiting = self._line.take(time.monotonic())
                due_s = self._line.next_due_s()
                if waiting is not None:
                    if due_s is not None:
                        self._wake.notify()  # somebody else watches for what is postponed
                    return waiting
                self._idle += 1
                self._wake.wait(None if due_s is None else max(0.0, due_s - time.monotonic()))
                self._idle -= 1
        return None
