"""Scan a country for mines: catalogue in, candidate mines out.

from scanner import ScanConfig, scan, open_composite
"""

from typing import TYPE_CHECKING, Any

from scanner.config import ScanConfig
from scanner.errors import MinescanError

if TYPE_CHECKING:
    from scanner.run.scan import ScanResult, scan
    from scanner.store.composite import open_composite

__all__ = ["MinescanError", "ScanConfig", "ScanResult", "open_composite", "scan"]

_LATE = {"ScanResult": "scanner.run.scan", "scan": "scanner.run.scan", "open_composite": "scanner.store.composite"}


def __getattr__(name: str) -> Any:
    """Heavy rooms are opened when they are asked for, so that `minescan --help` is quick."""
    if name in _LATE:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
