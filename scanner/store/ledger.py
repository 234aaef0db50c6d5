"""The state of every unit, in one SQLite file with one writer: the driver."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scanner.types import Fault, Receipt, Status

__all__ = ["Ledger", "Row"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS units (
    stage TEXT NOT NULL, unit TEXT NOT NULL, digest TEXT NOT NULL, status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, nbytes INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '', fault_count INTEGER NOT NULL DEFAULT 0, faults TEXT NOT NULL DEFAULT '[]',
    stats TEXT NOT NULL DEFAULT '{}', offsets TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (stage, unit)
);

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One unit as the ledger knows it."""

    receipt: Receipt
    """The last receipt, or a stub for a unit that has none."""
    attempts: int
    """How often it was begun under this digest."""


class Ledger:
    """Units by (stage, tile): planned, running, done, partial, failed or stale.

    A unit is done when its receipt is here, and its receipt is written only after its data is on disk.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        # WAL with FULL: a receipt that was acknowledged survives a power cut, and readers never block the driver.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        if "offsets" not in {row[1] for row in self._db.execute("PRAGMA table_info(units)")}:
            # A folder begun by minescan 0.1.
            self._db.execute("ALTER TABLE units ADD COLUMN offsets TEXT NOT NULL DEFAULT '[]'")

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def plan(self, stage: str, units: Mapping[str, str]) -> None:
        """Enter units with their digests; one whose digest changed becomes stale, one no longer planned leaves."""
        with self._transaction():
            known = dict(self._db.execute("SELECT unit, digest FROM units WHERE stage = ?", (stage,)))
            for unit in known.keys() - units.keys():
                self._db.execute("DELETE FROM units WHERE stage = ? AND unit = ?", (stage, unit))
            for unit, digest in units.items():
                if unit not in known:
                    sql = "INSERT INTO units (stage, unit, digest, status) VALUES (?, ?, ?, 'planned')"
                    self._db.execute(sql, (stage, unit, digest))
                elif known[unit] != digest:
                    sql = "UPDATE units SET digest = ?, status = 'stale', attempts = 0 WHERE stage = ? AND unit = ?"
                    self._db.execute(sql, (digest, stage, unit))

    def start(self, stage: str, unit: str) -> None:
        """A unit is on its way; after a kill it stays `running`, which a resume treats as missing."""
        sql = "UPDATE units SET status = 'running', attempts = attempts + 1 WHERE stage = ? AND unit = ?"
        self._db.execute(sql, (stage, unit))

    def wait(self, stage: str, unit: str) -> None:
        """What a unit left is out of date: it waits again, and its receipt is forgotten."""
        sql = (
            "UPDATE units SET status = 'planned', error = '', fault_count = 0, faults = '[]', stats = '{}', "
            "offsets = '[]' WHERE stage = ? AND unit = ?"
        )
        self._db.execute(sql, (stage, unit))

    def record(self, receipt: Receipt) -> None:
        """Enter a receipt."""
        sql = (
            "UPDATE units SET status = ?, nbytes = ?, seconds = ?, error = ?, fault_count = ?, faults = ?, stats = ?, "
            "offsets = ? WHERE stage = ? AND unit = ? AND digest = ?"
        )
        faults = json.dumps([asdict(fault) for fault in receipt.faults])
        values = (receipt.status, receipt.nbytes, receipt.seconds, receipt.error, receipt.fault_count, faults)
        offsets = json.dumps([dict(one) for one in receipt.offsets])
        key = (json.dumps(dict(receipt.stats)), offsets, receipt.stage, receipt.unit, receipt.digest)
        if self._db.execute(sql, (*values, *key)).rowcount != 1:
            raise KeyError(f"no planned {receipt.stage} unit {receipt.unit} with digest {receipt.digest[:12]}")

    def rows(self, stage: str | None = None) -> Iterator[Row]:
        """Every unit, by stage and name."""
        columns = "stage, unit, digest, status, nbytes, seconds, error, fault_count, faults, stats, offsets, attempts"
        sql = f"SELECT {columns} FROM units WHERE ? IS NULL OR stage = ? ORDER BY stage, unit"  # noqa: S608
        for found in self._db.execute(sql, (stage, stage)):
            *plain, count, faults, stats, offsets, attempts = found
            receipt = Receipt(
                **dict(zip(("stage", "unit", "digest", "status", "nbytes", "seconds", "error"), plain, strict=True)),
                fault_count=count, faults=tuple(Fault(**item) for item in json.loads(faults)), stats=json.loads(stats),
                offsets=tuple(json.loads(offsets)),
            )  # fmt: skip
            yield Row(receipt=receipt, attempts=attempts)

    def status(self, stage: str, unit: str) -> Status | None:
        """A unit's state, or None when it was never planned."""
        sql = "SELECT status FROM units WHERE stage = ? AND unit = ?"
        found = self._db.execute(sql, (stage, unit)).fetchone()
        return found[0] if found else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
