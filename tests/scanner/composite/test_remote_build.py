"""A composite through a real server, late and unreliable, equals the composite of the same files on disk."""

import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composite_oracle import request_for
from numpy.typing import NDArray
from servers import RangeServer
from synthetic import Granule, make

from scanner.composite import fetch
from scanner.composite.build import CompositeReport, build_composite
from scanner.composite.tiff import HEAD_NBYTES
from scanner.store.composite import read_window
from scanner.types import Scene
from tiling import Window

BANDS = ("B02", "B04", "B08", "B05", "B11")
X_M, Y_M, LOOKS = 600_000, 5_700_000, 6
LEFT, TOP = X_M // 10, -Y_M // 10
# Whole blocks of every band, so that none is read for two windows.
WINDOWS = [Window(x0=LEFT + x, y0=TOP + y, x1=LEFT + x + 96, y1=TOP + y + 96) for y in (0, 96) for x in (0, 96)]
HEAD = f"bytes=0-{HEAD_NBYTES - 1}"

Serve = Callable[..., RangeServer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def scenes(folder: Path) -> list[Scene]:
    granules = [Granule(id=f"s{n}", look=f"look{n}", x_m=X_M, y_m=Y_M, seed=n, block=48) for n in range(LOOKS)]
    return [make(folder, one) for one in granules]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between requests are short."""
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.02)


def at(server: RangeServer, scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes as the server gives them."""
    return [
        replace(scene, assets={
            name: replace(one, href=f"{server.url}/{Path(one.href).name}") for name, one in scene.assets.items()
        })
        for scene in scenes
    ]  # fmt: skip


def build(scenes: Sequence[Scene], root: Path, **more: Any) -> tuple[list[NDArray[np.uint16]], CompositeReport]:
    request = request_for(scenes, WINDOWS, BANDS, zone=32633, **more)
    report = build_composite(request, root)
    return [part for window in WINDOWS for part in read_window(root, request.tile, BANDS, window)], report


def twice(server: RangeServer) -> list[tuple[str, str]]:
    """Ranges that were answered more than once."""
    asked = Counter((one.uri, one.range) for one in server.served())
    return [one for one, times in asked.items() if times > 1]


COUNT = 'local n = state:incr("count", 1, 0);'
# Says what it would send, sends ten bytes and hangs up.
CUT_OFF = """
    local first, last = ngx.var.http_range:match("(%d+)-(%d+)")
    ngx.status = 206
    ngx.header["Content-Range"] = "bytes " .. first .. "-" .. last .. "/*"
    ngx.header["Content-Length"] = last - first + 1
    ngx.print(string.rep("x", 10)); ngx.flush(true)
    return ngx.exit(444)
"""
TROUBLES = {
    "late": ("", 206),
    "refusals": ("if n % 9 == 4 then return ngx.exit(429) elseif n % 9 == 8 then return ngx.exit(503) end", 429),
    "hung up": ("if n % 7 == 3 then return ngx.exit(444) end", 444),
    "cut off": (f"if n % 7 == 3 then {CUT_OFF} end", 206),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_remote_composite_equals_the_local_one(
    trouble: str, folder: Path, scenes: list[Scene], range_server: Serve, tmp_path: Path
) -> None:
    lua, status = TROUBLES[trouble]
    server = range_server(folder, delay_s=0.05, lua=COUNT + lua)
    expected, _ = build(scenes, tmp_path / "local")
    got, report = build(at(server, scenes), tmp_path / "remote")
    assert not report.faults
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert status in {one.status for one in server.served()}
    assert bool(twice(server)) == (trouble != "late"), "what went wrong is asked for again, and nothing else"


def test_a_file_that_is_gone_is_a_fault_and_the_rest_is_built(
    folder: Path, scenes: list[Scene], range_server: Serve, tmp_path: Path
) -> None:
    gone = folder / Path(scenes[3].assets["B04"].href).name
    gone.unlink()
    server = range_server(folder, delay_s=0.05)
    expected, _ = build(scenes, tmp_path / "local")
    got, report = build(at(server, scenes), tmp_path / "remote")
    assert [(one.scene, one.asset, one.reason) for one in report.faults] == [("s3", "B04", "HTTP 404 Not Found")]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(one.uri == f"/{gone.name}" for one in server.served()) == 1


@pytest.mark.parametrize("memory_bytes", [1_600_000, 400_000_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_byte_is_asked_for_once_whatever_is_asked_ahead(
    memory_bytes: int, threads: int, folder: Path, scenes: list[Scene], range_server: Serve, tmp_path: Path
) -> None:
    """With little memory threads run into blocks that nobody has asked for yet."""
    server = range_server(folder)
    build(at(server, scenes), tmp_path / "remote", memory_bytes=memory_bytes, threads=threads)
    assert not twice(server)
    heads = [one.uri for one in server.served() if one.range == HEAD]
    assert len(heads) == LOOKS * (len(BANDS) + 1)
    # A mask is read in one strip, a block of each look once for each job.
    assert len(server.served()) - len(heads) <= LOOKS * (1 + len(BANDS) * len(WINDOWS))


# Counts what is under way, and the most that ever was; log_by_lua runs when a request ends.
AT_ONCE = """
    local now = state:incr("now", 1, 0)
    if now > (state:get("most") or 0) then state:set("most", now) end
    ngx.header["X-Most"] = state:get("most")
"""
ENDS = "log_by_lua_block { ngx.shared.state:incr('now', -1) }"


def test_two_threads_keep_many_requests_in_flight(
    folder: Path, scenes: list[Scene], range_server: Serve, tmp_path: Path
) -> None:
    (folder / "any").write_text("any")
    server = range_server(folder, lua=AT_ONCE + "ngx.sleep(0.05)", more=ENDS)
    build(at(server, scenes), tmp_path / "remote", threads=2)
    with urllib.request.urlopen(f"{server.url}/any") as response:  # noqa: S310
        assert int(response.headers["X-Most"]) > 4 * LOOKS
