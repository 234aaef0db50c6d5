"""Stopped anywhere, run again: the same files, and nothing done twice."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from scanner import ScanConfig, scan
from scanner.errors import FolderError
from scanner.run.driver import Interrupted
from scanner.types import Receipt


class Stop(KeyboardInterrupt):
    """The test's own Ctrl-C."""


def _one_step(config: ScanConfig) -> Receipt | None:
    """Scan until the first receipt; None when nothing was left to do and the scan came to its end."""
    seen: list[Receipt] = []

    def stop(receipt: Receipt) -> None:
        seen.append(receipt)
        raise Stop

    try:
        assert scan(config, on_receipt=stop).exit_code == 0
    except Stop:
        return seen[0]
    return None


def test_stopped_after_every_receipt(tmp_path, config_of, healthy, written, composites):
    steps: list[Receipt] = []
    while (step := _one_step(config_of(tmp_path / "scan"))) is not None:
        steps.append(step)
        assert len(steps) < 40, Counter((step.stage, step.unit) for step in steps)
    assert Counter((step.stage, step.unit) for step in steps) == Counter(
        (receipt.stage, receipt.unit) for receipt in healthy.receipts
    )
    assert written(tmp_path / "scan") == written(healthy.out)
    assert composites(tmp_path / "scan") == composites(healthy.out)


def test_a_finished_scan_runs_no_unit_and_writes_the_same(tmp_path, config_of, healthy, written):
    shutil.copytree(healthy.out, tmp_path / "scan")
    receipts: list[Receipt] = []
    scan(config_of(tmp_path / "scan"), on_receipt=receipts.append)
    assert receipts == []
    assert written(tmp_path / "scan") == written(healthy.out)


def test_what_was_deleted_is_made_again_and_nothing_else(tmp_path, config_of, healthy, written):
    shutil.copytree(healthy.out, tmp_path / "scan")
    lost = min((tmp_path / "scan" / "probability").glob("*.tif"))
    lost.unlink()
    receipts: list[Receipt] = []
    scan(config_of(tmp_path / "scan"), on_receipt=receipts.append)
    assert [(receipt.stage, receipt.unit) for receipt in receipts] == [("detect", lost.stem)]
    assert written(tmp_path / "scan") == written(healthy.out)


@pytest.mark.parametrize("keep", ["none", "hits"])
def test_composites_that_are_not_kept(tmp_path, config_of, healthy, written, keep):
    config = config_of(tmp_path / "scan", keep_composites=keep)
    finished = [step for step in (_one_step(config), _one_step(config)) if step]
    receipts: list[Receipt] = []
    scan(config, on_receipt=receipts.append)
    scan(config, on_receipt=receipts.append)  # all is done: nothing runs, though composites are gone
    assert Counter((receipt.stage, receipt.unit) for receipt in [*finished, *receipts]) == Counter(
        (receipt.stage, receipt.unit) for receipt in healthy.receipts
    )
    left = {path.name for path in (tmp_path / "scan" / "composite.zarr").iterdir() if path.is_dir()}
    with_hits = {receipt.unit for receipt in healthy.receipts if receipt.stats.get("hits")}
    assert left == (with_hits if keep == "hits" else set())
    assert with_hits
    assert written(tmp_path / "scan") == written(healthy.out)
    if keep == "none":  # as if a kill had come between the last receipt and the removal
        left_behind = tmp_path / "scan" / "composite.zarr" / finished[0].unit
        shutil.copytree(healthy.out / "composite.zarr" / finished[0].unit, left_behind)
        scan(config)
        assert not left_behind.exists()


# --- the same with real processes


def _start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scanner", "scan", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def _ledger(folder: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """State and attempts of every unit; empty before the scan begins."""
    if not (folder / "ledger.sqlite").exists():
        return {}
    try:
        with sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT stage, unit, status, attempts FROM units").fetchall()
    except sqlite3.OperationalError:
        return {}
    finally:
        if "db" in locals():
            db.close()
    return {(stage, unit): (status, attempts) for stage, unit, status, attempts in rows}


def _wait_for(process: subprocess.Popen[str], folder: Path, what: Callable[[Counter[str]], bool]) -> None:
    for _ in range(900):
        if what(Counter(status for status, _ in _ledger(folder).values())):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("the scan never came so far")


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    return out, err


def test_kill_9_leaves_no_workers_and_resumes(tmp_path, arguments, config_of, healthy, written, composites):
    folder = tmp_path / "scan"
    process = _start(arguments(folder))
    _wait_for(process, folder, lambda states: states["done"] >= 3)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert alive == []
    done = {unit for unit, (status, _) in _ledger(folder).items() if status == "done"}
    receipts: list[Receipt] = []
    scan(config_of(folder), on_receipt=receipts.append)
    again = {(receipt.stage, receipt.unit) for receipt in receipts}
    assert not again & done
    assert again | done == {(receipt.stage, receipt.unit) for receipt in healthy.receipts}
    assert written(folder) == written(healthy.out)
    assert composites(folder) == composites(healthy.out)


def test_ctrl_c_once_keeps_what_is_in_flight(tmp_path, arguments, config_of, healthy, written, minescan):
    folder = tmp_path / "scan"
    process = _start(arguments(folder))
    _wait_for(process, folder, lambda states: states["running"] >= 1 and states["done"] >= 1)
    locked = minescan("scan", *arguments(folder))
    assert locked.code == 2
    assert f"pid {process.pid}" in locked.line
    process.send_signal(signal.SIGINT)
    _, err = _end(process)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "minescan: interrupted; the same command resumes"
    assert "Traceback" not in err
    states = Counter(status for status, _ in _ledger(folder).values())
    assert states["running"] == 0
    assert states["planned"] > 0
    before = {unit for unit, (status, _) in _ledger(folder).items() if status == "done"}
    status = minescan("status", folder)
    assert status.code == 1
    assert "planned" in status.out
    receipts: list[Receipt] = []
    scan(config_of(folder), on_receipt=receipts.append)
    assert not before & {(receipt.stage, receipt.unit) for receipt in receipts}
    assert written(folder) == written(healthy.out)
    assert minescan("status", folder).code == 0


def test_an_interrupt_between_two_receipts_is_the_same_from_python(tmp_path, config_of):
    def stop(_: Receipt) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        scan(config_of(tmp_path / "scan"), on_receipt=stop)
    states = Counter(status for status, _ in _ledger(tmp_path / "scan").values())
    assert states["running"] == 0 or states["done"] >= 1


# --- the folder


def test_a_second_driver_is_kept_out(tmp_path, config_of, healthy):
    shutil.copytree(healthy.out, tmp_path / "scan")
    with (tmp_path / "scan" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("somebody@elsewhere pid 1")
        other.flush()
        with pytest.raises(FolderError, match="somebody@elsewhere pid 1"):
            scan(config_of(tmp_path / "scan"))


def _copy_of(items: Path, folder: Path) -> Path:
    target = folder / "copy.json"
    target.write_text(items.read_text().replace('"./', f'"{items.parent}/'))
    return target


def test_a_folder_begun_with_other_options_is_refused_by_name(tmp_path, region, healthy, arguments, minescan):
    shutil.copytree(healthy.out, tmp_path / "scan")
    (tmp_path / "permits.geojson").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"name": "a"}, '
        '"geometry": {"type": "Point", "coordinates": [-48, -18.73]}}]}'
    )
    west, south, east, north = region.aoi
    others: dict[str, Any] = {
        "aoi": f"{west},{south},{east - 0.01},{north}",
        "dates": region.dates.replace("2022", "2023"),
        "catalog": _copy_of(region.items, tmp_path),
        "collection": "sentinel-2-l2a",
        "max-cloud": 95,
        "looks": 3,
        "detector": "other-detector",
        "impact": "none",
        "threshold": 0.7,
        "join-distance": 500,
        "chunk": 270,
        "registry": f"permits={tmp_path / 'permits.geojson'}",
        "keep-composites": "hits",
    }
    before = {path: path.read_bytes() for path in (tmp_path / "scan").rglob("*") if path.is_file()}
    for option, value in others.items():
        said = minescan("scan", *arguments(tmp_path / "scan", **{option: value}))
        assert said.code == 2, option
        assert f"was begun with --{option} " in said.line, option
    after = {path: path.read_bytes() for path in (tmp_path / "scan").rglob("*") if path.is_file()}
    before.pop(tmp_path / "scan" / ".lock"), after.pop(tmp_path / "scan" / ".lock")
    assert before == after


def test_a_damaged_run_json_is_named(tmp_path, healthy, arguments, minescan):
    shutil.copytree(healthy.out, tmp_path / "scan")
    (tmp_path / "scan" / "run.json").write_text("{")
    said = minescan("scan", *arguments(tmp_path / "scan"))
    assert said.code == 2
    assert "run.json" in said.line
