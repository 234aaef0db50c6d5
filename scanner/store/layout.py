"""Where everything of a scan lies in its folder, and who may write there."""

import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.errors import FolderError

__all__ = ["ScanFolder", "replaced", "write_atomic"]


def write_atomic(path: Path, data: bytes) -> None:
    """The file holds either what it held or all of `data`, whatever dies in between."""
    with replaced(path) as draft:
        draft.write_bytes(data)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to; when the block ends well that file takes its place at once, and is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two workers may write the same file at once, and one would move the other's draft away.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield draft
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class ScanFolder:
    """The paths of one scan."""

    root: Path
    """The folder the user named."""

    @property
    def run_json(self) -> Path:
        """Configuration, catalogue, scenes, weights, versions, timings, rates."""
        return self.root / "run.json"

    @property
    def ledger(self) -> Path:
        """The state of every unit."""
        return self.root / "ledger.sqlite"

    def hits(self, tile: str) -> Path:
        """The hits of one tile, before they are joined."""
        return self.root / ".units" / f"{tile}.parquet"

    def outlines(self, tile: str) -> Path:
        """What the delineator drew round the hits of one tile, before candidates are given their outlines."""
        return self.root / ".units" / f"{tile}.outlines.parquet"

    def probability(self, tile: str) -> Path:
        """Probabilities of one tile, one pixel a cell."""
        return self.root / "probability" / f"{tile}.tif"

    def coverage(self, tile: str) -> Path:
        """Clear looks of one tile: one pixel a cell, or an input pixel where cells are parts of one."""
        return self.root / "coverage" / f"{tile}.tif"

    def begin(self) -> None:
        """Make the folder.

        Raises:
            FolderError: it cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".write-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise FolderError(
                f"--out {self.root}: cannot write there ({error.strerror}); choose another folder"
            ) from None

    def require(self) -> None:
        """Check that a scan lies here.

        Raises:
            FolderError: it does not.
        """
        if not self.run_json.is_file():
            raise FolderError(f"{self.root} is not a scan's folder (no run.json); name the --out of an earlier scan")

    def read_run(self) -> dict[str, Any]:
        """run.json, or an empty dict before the first scan.

        Raises:
            FolderError: the file is damaged.
        """
        try:
            found: dict[str, Any] = json.loads(self.run_json.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise FolderError(
                f"{self.run_json}: cannot be read ({error}); restore it or choose another --out"
            ) from None
        return found

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Replace run.json whole."""
        write_atomic(self.run_json, json.dumps(run, indent=1, default=str).encode() + b"\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other drivers out until the block ends; the lock dies with its process.

        Raises:
            FolderError: another driver has it.
        """
        path = self.root / ".lock"
        with path.open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stream.seek(0)
                owner = stream.read().strip() or "another process"
                raise FolderError(
                    f"{self.root} is being scanned by {owner}; wait for it or choose another --out"
                ) from None
            stream.truncate(0)
            stream.write(f"{os.environ.get('USER', 'user')}@{socket.gethostname()} pid {os.getpid()}")
            stream.flush()
            yield

    @contextmanager
    def own(self, tile: str) -> Iterator[None]:
        """One unit of a tile at a time, whichever process runs it; the lock dies with its process.

        A worker of a cluster outlives a driver that was killed: the unit it has in hand must end before the next
        driver's unit of that tile writes.
        """
        path = self.hits(tile).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
