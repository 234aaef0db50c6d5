"""Files that cannot be had and disks that are full cost rows in the ledger, never the scan."""

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from scanner import scan
from scanner.demo.region import Region
from scanner.types import Receipt

CORNER = "-48.0230,-18.7440,-48.0120,-18.7400"
"""A part of one tile."""


class Stop(KeyboardInterrupt):
    """The test's own Ctrl-C."""


def _copy(region: Region, folder: Path) -> Path:
    """The region's files linked into another folder, where some can be replaced."""
    shutil.copytree(region.folder, folder, copy_function=os.link)
    return folder


def _replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def _scene_ids(items: Path) -> list[str]:
    return sorted(
        item["id"] for item in json.loads(items.read_text())["features"] if item["properties"]["proj:epsg"] == 32722
    )


def _probabilities(folder: Path, tile: str) -> NDArray[np.float32]:
    with rasterio.open(folder / "probability" / f"{tile}.tif") as file:
        return file.read(file.count)


def test_broken_files_are_named_and_healed(  # noqa: PLR0917  fixtures
    tmp_path, region, config_of, healthy, written, composites, minescan
):
    folder = _copy(region, tmp_path / "region")
    scenes = _scene_ids(region.items)
    broken = {
        f"{scenes[0]}/B04.tif": (folder / scenes[0] / "B04.tif").read_bytes()[:20_000],
        f"{scenes[1]}/B08.tif": None,
        f"{scenes[2]}/B11.tif": b"<html>Service unavailable</html>",
        f"{scenes[3]}/SCL.tif": b"",
    }
    for name, content in broken.items():
        _replace(folder / name, content)
    config = config_of(tmp_path / "scan", catalog=str(folder / "items.json"))
    result = scan(config)
    assert result.exit_code == 1
    status = minescan("status", tmp_path / "scan")
    assert status.code == 1
    for name in broken:
        scene, file = name.split("/")
        asset = file.removesuffix(".tif")
        assert any(scene in line and f" {asset} " in line and name in line for line in result.failures), name
        assert any(
            line.startswith(f"not read: {scene} {asset} ") and name in line for line in status.out.splitlines()
        ), name
    assert set(result.run["units"].values()) == {"done", "partial"}
    assert written(tmp_path / "scan").keys() == written(healthy.out).keys()
    for name in ("32723-002-085", "32723-002-086"):  # beyond the broken granules' reach all is as it would have been
        ours, theirs = (_probabilities(folder, name)[:, 5:] for folder in (tmp_path / "scan", healthy.out))
        assert np.isfinite(theirs).sum() > 5
        np.testing.assert_array_equal(ours, theirs)

    partial = {unit for unit, state in result.run["units"].items() if state == "partial"}
    for name in broken:
        (folder / name).unlink(missing_ok=True)
        os.link(region.folder / name, folder / name)
    receipts: list[Receipt] = []

    def stop_once(receipt: Receipt) -> None:
        receipts.append(receipt)
        if len(receipts) == 1:
            raise Stop

    with pytest.raises(Stop):  # between a new composite and its detections: those of the old one must not stand
        scan(config, on_receipt=stop_once)
    healed = scan(config, on_receipt=stop_once)
    assert healed.exit_code == 0
    assert {f"{receipt.stage} {receipt.unit}" for receipt in receipts if receipt.stage == "composite"} == partial
    assert minescan("status", tmp_path / "scan").code == 0
    ours, theirs = written(tmp_path / "scan"), written(healthy.out)
    kept = {name for name in ours if name.startswith(("candidates", "cells"))}
    for name in ours.keys() - kept:
        assert ours[name] == theirs[name], name
    assert composites(tmp_path / "scan") == composites(healthy.out)
    # Ids stay what they were when first seen; everything else is the healthy scan's.
    found, expected = healed.candidates.drop(columns="id"), healthy.result.candidates.drop(columns="id")
    assert found.to_csv(index=False) == expected.to_csv(index=False)


class _Ranges(SimpleHTTPRequestHandler):
    """Files over HTTP in ranges, as object stores give them; some are gone."""

    gone: frozenset[str] = frozenset()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.path.lstrip("/") in self.gone or not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if asked:
            start, _, stop = asked.partition("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def do_HEAD(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.path.lstrip("/") in self.gone or not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody looks."""


@contextmanager
def _served(folder: Path, gone: set[str]) -> Iterator[str]:
    handler = type("Handler", (_Ranges,), {"gone": frozenset(gone)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_files_over_http_some_of_them_gone(tmp_path, region, config_of):
    scenes = _scene_ids(region.items)
    gone = {f"{scenes[0]}/B04.tif", f"{scenes[1]}/SCL.tif"}
    with _served(region.folder, gone) as url:
        catalog = tmp_path / "items.json"
        catalog.write_text(region.items.read_text().replace('"./', f'"{url}/'))
        result = scan(config_of(tmp_path / "scan", catalog=str(catalog), aoi=CORNER))
    assert result.exit_code == 1
    assert len(result.failures) == len(gone)
    for name in gone:
        assert any(f"{url}/{name}" in line and "404" in line for line in result.failures), result.failures
    assert result.run["km2"]["seen_km2"] > 0


def _blank(region: Region, folder: Path, value: float, dtype: str) -> Path:
    """The region's catalogue with every band replaced by one value."""
    folder.mkdir()
    items = json.loads(region.items.read_text())
    done = {}
    for item in items["features"]:
        for name, asset in item["assets"].items():
            source = region.folder / asset["href"]
            key = (item["properties"]["proj:epsg"], asset["gsd"], name == "scl")
            if key not in done:
                with rasterio.open(source) as file:
                    profile = file.profile | ({} if key[2] else {"dtype": dtype, "nodata": 0, "predictor": 1})
                    pixels = file.read(1) if key[2] else np.full(file.shape, value, dtype)
                done[key] = folder / f"{len(done)}.tif"
                with rasterio.open(done[key], "w", **profile) as file:
                    file.write(pixels, 1)
            asset["href"] = str(done[key])
    (folder / "items.json").write_text(json.dumps(items))
    return folder / "items.json"


@pytest.mark.parametrize(("value", "dtype"), [(0, "uint16"), (np.nan, "float32")])
def test_nothing_but_nodata(tmp_path, region, config_of, minescan, value, dtype):
    catalog = _blank(region, tmp_path / "blank", value, dtype)
    result = scan(config_of(tmp_path / "scan", catalog=str(catalog), aoi=CORNER))
    assert result.exit_code == 0, result.failures
    assert len(result.candidates) == 0
    km2 = result.run["km2"]
    assert km2["seen_km2"] == 0
    assert km2["too_few_looks_km2"] == pytest.approx(km2["aoi_km2"])
    assert km2["aoi_km2"] > 0.3
    for path in (tmp_path / "scan" / "probability").glob("*.tif"):
        with rasterio.open(path) as file:
            assert np.isnan(file.read()).all()
    assert len(gpd.read_parquet(tmp_path / "scan" / "candidates.parquet")) == 0
    assert minescan("status", tmp_path / "scan").code == 0
    assert minescan("export", tmp_path / "scan", "--to", tmp_path / "none.kml").code == 0


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk takes the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["60k", "1500k"])
def test_a_full_disk_loses_nothing_that_was_done(  # noqa: PLR0917  fixtures
    tmp_path, arguments, cluster, healthy, written, minescan, size
):
    disk = tmp_path / "disk"
    with _small_disk(disk, size):
        said = minescan("scan", *arguments(disk / "scan", cluster=cluster), "--quiet")
        assert said.code == 1, said
        assert "Traceback" not in said.err
        assert "No space left" in said.err or "disk" in said.err, said.err
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        said = minescan("scan", *arguments(disk / "scan", cluster=cluster), "--quiet")
        assert said.code == 0, said
        ours, theirs = written(disk / "scan"), written(healthy.out)
        assert {name: data for name, data in ours.items() if "/" in name} == {
            name: data for name, data in theirs.items() if "/" in name
        }
        assert len(gpd.read_parquet(disk / "scan" / "candidates.parquet")) == len(healthy.result.candidates)
