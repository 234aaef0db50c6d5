"""Which remote blocks are asked for before their turn: as many as a share of the memory holds."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from scanner.composite.read import Reader
from scanner.composite.reduce import BandJob
from scanner.errors import AssetError
from scanner.types import Scene
from tiling import Window

__all__ = ["Ahead"]

Read = tuple[Scene, str, Window]

HEADS_JOBS = 8
"""Headers are asked for so many jobs before blocks are: a round trip of nothing else at each new band otherwise."""


class Ahead:
    """Asks for what the jobs will read: those that are begun in turn, and when they have all of theirs the next."""

    def __init__(self, reader: Reader, jobs: Sequence[tuple[BandJob, Window]], *, most_nbytes: int) -> None:
        """Nothing is asked for yet.

        Args:
            reader: what the jobs read with.
            jobs: (band, block) in the order in which they are begun.
            most_nbytes: packed bytes on their way or arrived and not yet read.
        """
        self._reader = reader
        self._jobs = jobs
        self._most_nbytes = most_nbytes
        self._lock = threading.Lock()
        self._begun: deque[None] = deque()
        self._asked = 0
        self._turns: deque[Iterator[Read]] = deque()

    def begin(self) -> None:
        """A thread begins the next of the jobs."""
        self._begun.append(None)
        self.top_up()

    def top_up(self) -> None:
        """Ask for blocks until the share is full; returns at once where another thread is at it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._reader.nbytes_ahead < self._most_nbytes and (read := self._next()):
                self._reader.read_ahead(*read)
        finally:
            self._lock.release()

    def _next(self) -> Read | None:
        while True:
            while self._asked < len(self._jobs) and (self._asked < len(self._begun) or not self._turns):
                self._turns.append(self._reads(self._asked))
                self._asked += 1
            if not self._turns:
                return None
            reads = self._turns.popleft()
            read = next(reads, None)
            if read is not None:
                self._turns.append(reads)
                return read

    def _reads(self, number: int) -> Iterator[Read]:
        job, block = self._jobs[number]
        taken = [granule.scene for look in job.looks(block) for granule in look.granules]
        scenes = [scene for scene in taken if self._reader.is_remote(scene, job.band)]
        for band in dict.fromkeys(job.band for job, _ in self._jobs[number : number + HEADS_JOBS]):
            self._reader.open_ahead((scene, band) for scene in scenes)
        for scene in scenes:
            try:
                placement = job.placement(scene, block)
            except AssetError:
                continue
            if placement is not None:
                yield scene, job.band, placement.source
