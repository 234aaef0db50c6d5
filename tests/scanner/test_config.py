import datetime as dt
from pathlib import Path

import pytest

from scanner.config import ScanConfig, load_config
from scanner.errors import DatesError, InputError

GIVEN = {"aoi": "0,0,1,1", "dates": "2023-01-01/2023-02-01", "out": Path("x"), "detector": "d"}


def test_days_are_both_included():
    assert ScanConfig(**GIVEN).days == (dt.date(2023, 1, 1), dt.date(2023, 2, 1))


@pytest.mark.parametrize(
    "dates", ["2023-02-01/2023-01-01", "2023-01-01", "yesterday/today", "2023-01-01/2023-02-30", ""]
)
def test_dates_that_are_none_are_refused_by_value(dates):
    with pytest.raises(DatesError, match="--dates"):
        ScanConfig(**GIVEN | {"dates": dates})


@pytest.mark.parametrize(
    ("name", "value"),
    [("looks", 0), ("max_cloud", 101), ("threshold", float("nan")), ("chunk", -1), ("workers", 0), ("level", "l3"),
     ("keep_composites", "some"), ("device", "tpu"), ("join_distance", 0), ("looks", True), ("looks", "most"),
     ("looks", 2.5), ("looks", None)],
)  # fmt: skip
def test_values_out_of_range_name_their_option(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
        ScanConfig(**GIVEN | {name: value})


def test_command_line_overrules_the_file(tmp_path):
    file = tmp_path / "scan.toml"
    file.write_text('aoi = "0,0,1,1"\ndates = "2023-01-01/2023-02-01"\ndetector = "d"\nmax-cloud = 40\nlooks = 5\n')
    config = load_config(file, {"looks": 7, "out": tmp_path, "max_cloud": None})
    assert (config.looks, config.max_cloud) == (7, 40)


@pytest.mark.parametrize("value", ["all", 1, 1000])
def test_looks_are_a_number_or_all(value):
    assert ScanConfig(**GIVEN | {"looks": value}).looks == value


@pytest.mark.parametrize("text", ["loks = 3\n", "looks = ", '"\udcff"'])
def test_a_file_that_cannot_be_understood_is_refused(tmp_path, text):
    file = tmp_path / "scan.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"scan\.toml"):
        load_config(file, GIVEN)


def test_a_missing_detector_lists_the_cards_there_are(monkeypatch, tmp_path):
    monkeypatch.setenv("MINESCAN_MODELS", str(tmp_path))
    with pytest.raises(InputError, match="cards here: "):
        load_config(None, {key: value for key, value in GIVEN.items() if key != "detector"})
