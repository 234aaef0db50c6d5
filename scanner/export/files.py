"""Files that a driver must write itself are there in full or not at all: written beside their place, then moved."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; on leaving, that file and those written beside it (.dbf, .shx) take their places at once.

    Nothing of the old file is touched when the writing fails. The folder is made when it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield room / path.name
        # The named file last: who sees it sees its companions too.
        for written in sorted(room.iterdir(), key=lambda file: (file.name == path.name, file.name)):
            _flush(written)
            written.replace(path.parent / written.name)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if os.name == "posix":
        _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
