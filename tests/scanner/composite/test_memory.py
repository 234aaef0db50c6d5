"""The measured peak is within the budget, and memory changes no pixel: not of files from afar, nor of spoilt ones."""

import json
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from composite_oracle import request_for
from synthetic import GSD, Granule, make

from scanner.composite.build import CompositeRequest, build_composite
from scanner.store.composite import read_window
from scanner.types import Scene
from tiling import Window

X_M, Y_M = 600_000, 5_700_000

CHILD = """
import json, pickle, sys
from pathlib import Path
from scanner.composite.build import build_composite

def status(key):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1])

small, wanted, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
build_composite(small, folder / "small")
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
report = build_composite(wanted, folder / "wanted")
print(json.dumps({
    "rise": status("VmHWM") - before, "peak": status("VmHWM"), "decoded": report.nbytes_decoded,
    "faults": len(report.faults),
}))
"""
"""A first build loads the libraries and the kernels: the budget is for the data."""


def peak_of(folder: Path, small: CompositeRequest, wanted: CompositeRequest) -> dict[str, int]:
    """Bytes of a process of its own that builds `wanted`."""
    (folder / "requests").write_bytes(pickle.dumps((small, wanted, folder)))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder / "requests")],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    assert found["faults"] == 0
    return found


def many(folder: Path, count: int, size_m: int) -> tuple[list[Scene], Window]:
    """Dates whose files are those of two granules in turn."""
    two = [
        make(folder, Granule(id=f"s{n}", look=f"look{n}", x_m=X_M, y_m=Y_M, seed=n, size_m=size_m, block=1024))
        for n in range(2)
    ]
    edge = size_m // 10
    window = Window(x0=X_M // 10, y0=-Y_M // 10, x1=X_M // 10 + edge, y1=-Y_M // 10 + edge)
    return [replace(two[n % 2], id=f"n{n}", look=f"look{20200101 + n}") for n in range(count)], window


def test_the_peak_is_within_a_small_budget(tmp_path: Path) -> None:
    """All looks of the blocks in hand would take 250 MB."""
    scenes, window = many(tmp_path, 60, 12_000)
    wanted = request_for(scenes, [window], ("B02", "B05"), zone=32633, memory_bytes=150_000_000)
    small = replace(wanted, scenes=tuple(scenes[:2]), windows=(replace(window, x1=window.x0 + 60),))
    found = peak_of(tmp_path, small, wanted)
    assert 20_000_000 < found["rise"] <= wanted.memory_bytes
    once = len(scenes) * (4 * 2 + 2 + 1) * 1024 * 1024
    assert once <= found["decoded"] < 1.1 * once, "four blocks of B02, one of B05, one of the mask"


@pytest.mark.slow
def test_the_peak_does_not_grow_with_the_looks(tmp_path: Path) -> None:
    peaks = {}
    for count in (24, 96, 400):
        scenes, window = many(tmp_path, count, 12_000)
        wanted = request_for(scenes, [window], ("B02", "B04", "B05"), zone=32633, memory_bytes=600_000_000)
        small = replace(wanted, scenes=tuple(scenes[:2]), windows=(replace(window, x1=window.x0 + 60),))
        found = peak_of(tmp_path, small, wanted)
        assert found["rise"] <= wanted.memory_bytes
        peaks[count] = found["peak"]
    assert peaks[96] <= 1.1 * peaks[24]
    assert max(peaks.values()) < 1_000_000_000


def few(folder: Path, **more: object) -> tuple[list[Scene], Window]:
    """Six looks in blocks of which a job holds several."""
    scenes = [
        make(folder, Granule(id=f"s{n}", look=f"look2021{n + 1:02d}05", x_m=X_M, y_m=Y_M, seed=n, **more))
        for n in range(6)
    ]
    return scenes, Window(x0=X_M // 10 + 24, y0=-Y_M // 10 + 30, x1=X_M // 10 + 192, y1=-Y_M // 10 + 210)


def build(request: CompositeRequest, folder: Path) -> tuple[np.ndarray, list[tuple[str, str]]]:
    report = build_composite(request, folder)
    values, clear = zip(
        *(read_window(folder, request.tile, (b,), request.windows[0]) for b in request.bands), strict=True
    )
    return np.concatenate([*values, clear]), sorted((fault.scene, fault.asset) for fault in report.faults)


STRIPS = (20_000, 100_000, 1_500_000)
"""Bytes: a row at a time, some rows without and some with room for inflaters."""


@pytest.mark.parametrize("looks", [None, 2])
@pytest.mark.parametrize("at", [0.3, 0.97])
def test_spoilt_bytes_spoil_the_same_pixels_whatever_the_memory(tmp_path: Path, looks: int | None, at: float) -> None:
    scenes, window = few(tmp_path, block=128)
    for scene in scenes[1:3]:
        path = Path(scene.assets["B02"].href)
        data = bytearray(path.read_bytes())
        place = int(at * len(data))
        data[place : place + 4] = bytes(255 - value for value in data[place : place + 4])
        path.write_bytes(data)
    request = request_for(scenes, [window], ("B02", "B05"), zone=32633, looks=looks)
    expected, faults = build(request, tmp_path / "a")
    assert faults == [("s1", "B02"), ("s2", "B02")]
    for memory in STRIPS:
        got, same = build(replace(request, memory_bytes=memory), tmp_path / "b")
        np.testing.assert_array_equal(got, expected)
        assert same == faults


def test_remote_blocks_come_once_however_many_strips(tmp_path: Path, range_server) -> None:
    scenes, window = few(tmp_path, block=64)
    request = request_for(scenes, [window], tuple(band for band in GSD if band != "SCL"), zone=32633, threads=1)
    expected, _ = build(request, tmp_path / "a")
    served = []
    for memory in (request.memory_bytes, *STRIPS):
        server = range_server(tmp_path)
        afar = [_moved(scene, server.url) for scene in scenes]
        got, faults = build(replace(request, scenes=tuple(afar), memory_bytes=memory), tmp_path / "b")
        np.testing.assert_array_equal(got, expected)
        assert not faults
        served.append(Counter((one.uri, one.range) for one in server.served()))
    assert served[1:] == served[:1] * len(STRIPS)


def _moved(scene: Scene, url: str) -> Scene:
    named = {name: replace(asset, href=f"{url}/{Path(asset.href).name}") for name, asset in scene.assets.items()}
    return replace(scene, assets=named)
