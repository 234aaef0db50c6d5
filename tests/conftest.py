"""Shared fixtures: where the real data lies, when it does; a server of ranges, as slow as wanted."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import RangeServer, nginx


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that want it skip without it."""
    folder = Path(os.environ.get("MINESCAN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture
def range_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RangeServer]]:
    """Starts nginx over a folder: `range_server(folder, delay_s=0.05, lua="")`; it ends with the test."""
    with ExitStack() as running:

        def start(folder: Path, **options: Any) -> RangeServer:
            return running.enter_context(nginx(folder, tmp_path_factory.mktemp("nginx"), **options))

        yield start
