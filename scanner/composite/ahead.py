"""Which remote blocks are asked for before their turn: as many as a share of the memory holds."""

import threading
from collections.abc import Iterator, Sequence

from scanner.composite.read import Reader
from scanner.composite.reduce import BandJob
from scanner.errors import AssetError
from scanner.types import Scene
from tiling import Window

__all__ = ["Ahead"]


class Ahead:
    """Walks the jobs in their order, ahead of the threads that do them."""

    def __init__(self, reader: Reader, jobs: Sequence[tuple[BandJob, Window]], *, most_nbytes: int) -> None:
        """Nothing is asked for yet.

        Args:
            reader: what the jobs read with.
            jobs: (band, block) in the order in which they are done.
            most_nbytes: packed bytes on their way or arrived and not yet read.
        """
        self._reader = reader
        self._most_nbytes = most_nbytes
        self._lock = threading.Lock()
        self._reads = self._walk(jobs)

    def top_up(self) -> None:
        """Ask for the next blocks until the share is full; returns at once where another thread is at it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._reader.nbytes_ahead < self._most_nbytes:
                read = next(self._reads, None)
                if read is None:
                    return
                self._reader.read_ahead(*read)
        finally:
            self._lock.release()

    def _walk(self, jobs: Sequence[tuple[BandJob, Window]]) -> Iterator[tuple[Scene, str, Window]]:
        for job, block in jobs:
            scenes = [granule.scene for look in job.looks(block) for granule in look.granules]
            self._reader.open_ahead((scene, job.band) for scene in scenes)
            for scene in scenes:
                try:
                    placement = job.placement(scene, block)
                except AssetError:
                    continue
                if placement is not None:
                    yield scene, job.band, placement.source
