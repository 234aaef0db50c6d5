"""Ranges of local files, through descriptors that threads share."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Files", "pread"]

OPEN_FILES = 256
"""Descriptors kept: a season's looks of one band, well below the usual limit of 1024."""


@dataclass(slots=True)
class _File:
    """An open file."""

    descriptor: int
    """To read from."""
    users: int = 0
    """Reads under way; it is not closed meanwhile."""


class Files:
    """Descriptors kept open for reading at any place, by any thread; the least recently used is closed first."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, path: str) -> Iterator[int]:
        """A descriptor that stays open inside the block."""
        with self._lock:
            if path not in self._open:
                self._open[path] = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            file = self._open[path]
            file.users += 1
            self._open.move_to_end(path)
            self._shut(OPEN_FILES)
        try:
            yield file.descriptor
        finally:
            with self._lock:
                file.users -= 1

    def close(self) -> None:
        """Close all that are not in use."""
        with self._lock:
            self._shut(0)

    def _shut(self, most: int) -> None:
        unused = [path for path, file in self._open.items() if file.users == 0] if len(self._open) > most else []
        for path in unused[: max(0, len(self._open) - most)]:
            os.close(self._open.pop(path).descriptor)


def pread(descriptor: int, start: int, stop: int) -> bytes:
    """The bytes of [start, stop) that the file has."""
    body = os.pread(descriptor, stop - start, start)
    while body and len(body) < stop - start:
        more = os.pread(descriptor, stop - start - len(body), start + len(body))
        if not more:
            break
        body += more
    return body
