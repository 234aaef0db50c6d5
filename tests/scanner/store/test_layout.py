import subprocess
import sys

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
