import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scanner.errors import FolderError
from scanner.store.layout import ScanFolder, write_atomic


def test_a_second_driver_is_told_who_has_the_folder(tmp_path):
    folder = ScanFolder(tmp_path)
    program = f"""
from pathlib import Path
from scanner.errors import FolderError
from scanner.store.layout import ScanFolder
try:
    with ScanFolder(Path({str(tmp_path)!r})).lock():
        print("locked")
except FolderError as error:
    print(error)
"""
    with folder.lock():
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "is being scanned by" in said
    assert "pid" in said
    with folder.lock():
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot write"):
        ScanFolder(tmp_path / "file" / "scan").begin()


def test_a_damaged_run_json_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(FolderError, match="cannot be read"):
        ScanFolder(tmp_path).read_run()


def test_an_atomic_write_leaves_no_draft(tmp_path):
    write_atomic(tmp_path / "sub" / "file", b"1")
    write_atomic(tmp_path / "sub" / "file", b"2")
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file"]
    assert (tmp_path / "sub" / "file").read_bytes() == b"2"


def test_many_may_write_the_same_file_at_once(tmp_path):
    texts = [bytes([65 + number]) * 4096 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            list(pool.map(lambda text: write_atomic(tmp_path / "file", text), texts))
    assert (tmp_path / "file").read_bytes() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_tile_has_one_owner_at_a_time(tmp_path):
    folder, held = ScanFolder(tmp_path), []

    def work(_: int) -> None:
        with folder.own("32633-001-001"):
            held.append(True)
            most.append(len(held))
            time.sleep(0.005)
            held.pop()

    most: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert most == [1] * 8
