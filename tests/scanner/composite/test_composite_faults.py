"""A file that cannot be had is a fault in the report, never the end of the build; remote files read as local ones."""

import http.server
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from composite_oracle import check, request_for
from numpy.typing import NDArray
from synthetic import Granule, make

from scanner.composite.build import CompositeReport, build_composite
from scanner.composite.gdal_read import gdal_path
from scanner.errors import InputError
from scanner.store.composite import read_window
from scanner.types import Scene
from tiling import Window

X_M, Y_M = 600_000, 5_700_000
WINDOW = Window(x0=X_M // 10, y0=-Y_M // 10, x1=X_M // 10 + 120, y1=-Y_M // 10 + 120)


class Files(http.server.SimpleHTTPRequestHandler):
    """Ranges of the files of a folder; each path fails as often as `failures` says, with 503."""

    folder: Path
    failures: dict[str, int]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = self.folder / self.path.lstrip("/")
        if self.failures.get(self.path, 0) > 0:
            self.failures[self.path] -= 1
            self._send(503, b"", body=body)
        elif not path.is_file():
            self._send(404, b"", body=body)
        else:
            data, wanted = path.read_bytes(), self.headers.get("Range")
            if wanted is None:
                self._send(200, data, body=body)
            else:
                first, last = wanted.removeprefix("bytes=").split("-")
                part = data[int(first) : int(last or len(data)) + 1]
                ranges = {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"}
                self._send(206, part, body=body, **ranges)

    def _send(self, status: int, data: bytes, *, body: bool, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, dict[str, int]]]:
    failures: dict[str, int] = {}
    handler = type("Here", (Files,), {"folder": tmp_path, "failures": failures})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}", failures
        serving.shutdown()
        thread.join()


def three(folder: Path) -> list[Scene]:
    return [
        make(folder, Granule(id=f"s{n}", look=f"look2021{n + 1:02d}05", x_m=X_M, y_m=Y_M, seed=n)) for n in range(3)
    ]


def moved(scene: Scene, asset: str, href: str) -> Scene:
    return replace(scene, assets={**scene.assets, asset: replace(scene.assets[asset], href=href)})


def build(scenes: list[Scene], folder: Path) -> tuple[NDArray[np.uint16], CompositeReport]:
    request = request_for(scenes, [WINDOW], ("B02", "B05"), zone=32633)
    report = build_composite(request, folder)
    return read_window(folder, request.tile, request.bands, WINDOW)[0], report


def without(scene: Scene, asset: str) -> Scene:
    return replace(scene, assets={name: one for name, one in scene.assets.items() if name != asset})


def spoiled(kind: str, folder: Path, scene: Scene, asset: str) -> Scene:
    path = folder / f"spoiled_{kind}.tif"
    if kind == "truncated":
        path.write_bytes(Path(scene.assets[asset].href).read_bytes()[:2000])
    elif kind == "text":
        path.write_text("this is not a raster")
    elif kind == "empty":
        path.write_bytes(b"")
    return moved(scene, asset, str(path))


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "absent"])
def test_a_band_that_cannot_be_read_leaves_the_other_looks(tmp_path: Path, kind: str) -> None:
    scenes = three(tmp_path)
    got, report = build([*scenes[:2], spoiled(kind, tmp_path, scenes[2], "B02")], tmp_path / "a")
    (fault,) = report.faults
    assert (fault.scene, fault.asset) == ("s2", "B02")
    assert fault.reason
    assert "\n" not in fault.reason
    whole, _ = build(scenes, tmp_path / "b")
    fewer, _ = build([*scenes[:2], without(scenes[2], "B02")], tmp_path / "c")
    np.testing.assert_array_equal(got[1], whole[1])
    if kind != "truncated":
        np.testing.assert_array_equal(got[0], fewer[0])


@pytest.mark.parametrize("kind", ["truncated", "text", "absent"])
def test_a_mask_that_cannot_be_read_drops_the_granule(tmp_path: Path, kind: str) -> None:
    scenes = three(tmp_path)
    got, report = build([*scenes[:2], spoiled(kind, tmp_path, scenes[2], "SCL")], tmp_path / "a")
    assert [(fault.scene, fault.asset) for fault in report.faults] == [("s2", "SCL")]
    expected, _ = build(scenes[:2], tmp_path / "b")
    np.testing.assert_array_equal(got, expected)


def test_a_scene_without_a_band_is_a_fault(tmp_path: Path) -> None:
    scenes = three(tmp_path)
    _, report = build([scenes[0], without(scenes[1], "B05")], tmp_path / "a")
    assert [(fault.scene, fault.asset, fault.reason) for fault in report.faults] == [
        ("s1", "B05", "the scene has no such asset")
    ]


def test_files_behind_http(tmp_path: Path, server: tuple[str, dict[str, int]]) -> None:
    url, failures = server
    scenes = [
        replace(
            scene,
            assets={
                name: replace(one, href=f"{url}/{Path(one.href).name}") if name != "SCL" else one
                for name, one in scene.assets.items()
            },
        )
        for scene in three(tmp_path)
    ]
    failures["/s1_B02.tif"] = 2
    expected, _ = build(three(tmp_path), tmp_path / "local")
    got, report = build(scenes, tmp_path / "remote")
    assert not report.faults
    assert failures["/s1_B02.tif"] == 0
    np.testing.assert_array_equal(got, expected)


def test_a_url_that_is_gone(tmp_path: Path, server: tuple[str, dict[str, int]]) -> None:
    scenes = three(tmp_path)
    gone = moved(scenes[0], "B02", f"{server[0]}/gone.tif")
    _, report = build([gone, *scenes[1:]], tmp_path / "a")
    (fault,) = report.faults
    assert (fault.scene, fault.asset) == ("s0", "B02")
    assert "404" in fault.reason
    assert fault.href.endswith("/gone.tif")


def test_a_server_that_stays_down(tmp_path: Path, server: tuple[str, dict[str, int]]) -> None:
    scenes = three(tmp_path)
    server[1]["/s0_B05.tif"] = 1000
    down = moved(scenes[0], "B05", f"{server[0]}/s0_B05.tif")
    _, report = build([down, *scenes[1:]], tmp_path / "a")
    assert [(fault.scene, fault.asset) for fault in report.faults] == [("s0", "B05")]


def test_a_signature_needs_its_package(
    tmp_path: Path, server: tuple[str, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "planetary_computer", None)
    scenes = [
        replace(moved(scene, "SCL", f"{server[0]}/{scene.id}_SCL.tif"), signer="planetary_computer")
        for scene in three(tmp_path)
    ]
    with pytest.raises(InputError, match="pip install planetary-computer"):
        build(scenes, tmp_path / "a")


def test_a_dropped_granule_changes_no_other(tmp_path: Path) -> None:
    """With the mask of one granule of a look gone, the look's other granule still gives its values."""
    scenes = three(tmp_path)
    east = make(tmp_path, Granule(id="east", look="look20210105", x_m=X_M + 600, y_m=Y_M, seed=8))
    broken = spoiled("text", tmp_path, scenes[0], "SCL")
    request = request_for([east, *scenes[1:]], [WINDOW], ("B02",), zone=32633, looks=2)
    check(request, tmp_path / "a")
    build_composite(replace(request, scenes=(broken, *request.scenes)), tmp_path / "b")
    one, two = (read_window(tmp_path / name, request.tile, ("B02",), WINDOW) for name in "ab")
    np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("https://host/a.tif?x=1", "/vsicurl/https://host/a.tif?x=1"),
        ("s3://sentinel-s2-l1c/tiles/B02.jp2", "/vsis3/sentinel-s2-l1c/tiles/B02.jp2"),
        ("/data/a.tif", "/data/a.tif"),
        ("file:///data/a.tif", "/data/a.tif"),
    ],
)
def test_paths_of_gdal(href: str, path: str) -> None:
    assert gdal_path(href) == path
