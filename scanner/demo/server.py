"""A real STAC API over a folder of items, on loopback, for as long as it is wanted."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanner.errors import CatalogError

__all__ = ["serve"]

_PATIENCE_S = 30.0


@contextmanager
def serve(items: Path, collection: Path) -> Iterator[str]:
    """Yields the URL of `rustac serve` over an ItemCollection, and stops the server whatever happens inside.

    A client cannot resolve hrefs that are relative to a file it never saw: the items are served with `file://`
    URLs. (A bare path would be taken as one of the server.)

    Raises:
        CatalogError: the server is not installed, or ended before it answered.
    """
    with tempfile.TemporaryDirectory(prefix="minescan-stac-") as scratch:
        served = Path(scratch) / "items.json"
        served.write_text(json.dumps(_absolute(items)))
        port = _free_port()
        command = [_program(), "serve", "-a", f"127.0.0.1:{port}", str(collection), str(served)]
        log = Path(scratch) / "log"
        # A session of its own: Ctrl-C reaches the scan alone, which finishes what is in flight with its catalogue up.
        with log.open("wb") as sink, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        ) as server:  # fmt: skip
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_until_up(url, server, log)
                yield url
            finally:
                _stop(server)


def _absolute(items: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(items.read_text())
    for item in content["features"]:  # type: ignore[attr-defined]
        item["links"] = []
        for asset in item["assets"].values():
            asset["href"] = (items.parent / asset["href"]).resolve().as_uri()
    return content


def _program() -> str:
    beside = Path(sys.executable).with_name("rustac")
    found = str(beside) if beside.is_file() else shutil.which("rustac")
    if found is None:
        raise CatalogError("the STAC server rustac is not beside this Python: pip install rustac")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    # A proxy of the environment must not be asked for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _PATIENCE_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{url}/collections", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    words = log.read_text(errors="replace").strip().splitlines()
    raise CatalogError(f"rustac serve did not come up at {url}: {words[-1] if words else 'it said nothing'}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
