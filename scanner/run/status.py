"""What of a scan is done, failed or waiting, and which files could not be had."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scanner.store.layout import ScanFolder
from scanner.store.ledger import Ledger, Row

__all__ = ["ScanStatus", "read_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanStatus:
    """A scan folder's state."""

    rows: tuple[Row, ...]
    """Every unit."""

    @property
    def complete(self) -> bool:
        """Every unit is done."""
        return all(row.receipt.status == "done" for row in self.rows)

    def lines(self) -> Iterator[str]:
        """For a terminal: counts a stage, then every unit and file that needs a look."""
        for stage in ("composite", "detect"):
            counts = Counter(row.receipt.status for row in self.rows if row.receipt.stage == stage)
            yield f"{stage}: " + (
                ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing planned"
            )
        for row in self.rows:
            receipt = row.receipt
            if receipt.status == "failed":
                yield f"failed: {receipt.stage} {receipt.unit} after {row.attempts} attempts: {receipt.error}"
            for one in receipt.offsets:
                yield f"offset {one['action']}: {one['scene']} ({receipt.unit}): {one['evidence']}"
            for fault in receipt.faults:
                yield f"not read: {fault.scene} {fault.asset} ({receipt.unit}) {fault.href}: {fault.reason}"
            if receipt.fault_count > len(receipt.faults):
                yield f"not read: {receipt.fault_count - len(receipt.faults)} more files ({receipt.unit})"


def read_status(folder: Path) -> ScanStatus:
    """The state of the scan in a folder, also while it runs.

    Raises:
        FolderError: no scan lies there.
    """
    place = ScanFolder(folder)
    place.require()
    ledger = Ledger(place.ledger)
    try:
        return ScanStatus(rows=tuple(ledger.rows()))
    finally:
        ledger.close()
