"""What cannot be used is refused in one line, with its exit code, before anything is begun."""

import json
import socket
from pathlib import Path

import pytest
import torch


@pytest.fixture
def refused(tmp_path, arguments, minescan):
    """refused(code, *words, **options): the scan says one line that holds the words, and leaves no folder."""

    def check(code: int, *words: str, more: tuple[str, ...] = (), **options: object) -> str:
        options = {"out": tmp_path / "scan"} | options
        said = minescan("scan", *arguments(**options), *more)
        assert said.code == code, said
        for word in words:
            assert word in said.line, said.line
        assert said.out == ""
        assert not (tmp_path / "scan").exists()
        return str(said.line)

    return check


CROSSED = '{"type":"Polygon","coordinates":[[[-48.1,-18.8],[-48,-18.7],[-48,-18.8],[-48.1,-18.7],[-48.1,-18.8]]]}'
EMPTY = '{"type":"FeatureCollection","features":[]}'


@pytest.mark.parametrize(
    ("aoi", "words"),
    [
        ("10,50,10.1,50.1", ("no l2a scenes", "outside the area", "--aoi")),
        (EMPTY, ("--aoi", "no geometry")),
        ("", ("--aoi is empty",)),
        ("736200,7924840,738200,7926840", ("--aoi", "projected", "EPSG:4326")),
        (CROSSED, ("--aoi", "Self-intersection")),
        ("-48.02,-18.73,-47.99,-18.74", ("--aoi", "south", "north")),
        ("-48.02,-18.73,-47.99", ("--aoi", "west,south,east,north")),
        ("a,b,c,d", ("--aoi",)),
        ("nowhere.gpkg", ("--aoi", "nowhere.gpkg")),
        ("10,84.5,11,85", ("--aoi", "84")),
        ("10,nan,11,50", ("--aoi",)),
        ('{"type":"Polygon"', ("--aoi", "JSON")),
    ],
)
def test_area(refused, aoi, words):
    refused(2, *words, aoi=aoi)


def test_area_file_that_is_no_vector_file(refused, tmp_path):
    (tmp_path / "area.gpkg").write_bytes(b"not a GeoPackage")
    refused(2, "--aoi", "area.gpkg", aoi=tmp_path / "area.gpkg")


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ("2022-08-13/2021-07-04", ("--dates", "2021-07-04/2022-08-13")),
        ("2001-01-01/2001-12-31", ("no l2a scenes from 2001-01-01 to 2001-12-31", "outside the dates")),
        ("summer", ("--dates", "START/END")),
        ("2022-02-30/2022-03-01", ("--dates", "START/END")),
        (None, ("--dates is missing",)),
    ],
)
def test_dates(refused, dates, words):
    refused(2, *words, dates=dates)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "nobody"}, ("--detector", "nobody", "drawn-detector", "other-detector")),
        ({"detector": None}, ("--detector is missing", "drawn-detector", "other-detector")),
        ({"detector": "drawn-impact"}, ("--detector", "task impact", "detector")),
        ({"impact": "drawn-detector"}, ("--impact", "task detector", "impact")),
        ({"impact": "impact-5-bands"}, ("impact-5-bands", "B12")),
        ({"detector": "drawn-l1c"}, ("l2a", "l1c")),
        ({"level": "l1c"}, ("drawn-detector", "l2a", "l1c")),
        ({"detector": "wants-b10"}, ("wants-b10", "B10")),
    ],
)
def test_cards(refused, options, words):
    refused(2, *words, **options)


def test_card_without_its_weights(refused, cards, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "card.json").write_bytes((cards / "drawn-detector" / "card.json").read_bytes())
    refused(2, "weights", detector=folder)
    refused(2, "weights", detector=folder, chunk=270)


def test_card_with_other_weights(refused, cards, tmp_path):
    folder = tmp_path / "swapped"
    folder.mkdir()
    (folder / "card.json").write_bytes((cards / "drawn-detector" / "card.json").read_bytes())
    (folder / "weights.safetensors").write_bytes((cards / "other-detector" / "weights.safetensors").read_bytes())
    refused(2, "sha256", detector=folder)
    refused(2, "sha256", detector=folder, chunk=270)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "l3"}, ("--level", "l1c", "l2a")),
        ({"collection": "landsat"}, ("--", "landsat", "sentinel-2-l2a")),
        ({"looks": 0}, ("--looks", "from 1")),
        ({"looks": "many"}, ("--looks", "many")),
        ({"threshold": 1.5}, ("--threshold", "0 to 1")),
        ({"max_cloud": 101}, ("--max-cloud", "100")),
        ({"chunk": "big"}, ("--chunk", "auto")),
        ({"chunk": 0}, ("--chunk", "from 1")),
        ({"workers": 0}, ("--workers", "from 1")),
        ({"keep_composites": "some"}, ("--keep-composites", "hits")),
        ({"nonsense": 1}, ("--nonsense",)),
        ({"cluster": "slurm"}, ("--cluster slurm", "address")),
        ({"cluster": "nowhere"}, ("--cluster 'nowhere'", "local")),
        ({"registry": "permits"}, ("--registry", "NAME=FILE")),
        ({"registry": "permits=missing.gpkg"}, ("permits", "missing.gpkg")),
        ({"registry": "score=missing.gpkg"}, ("score", "another name")),
    ],
)
def test_options(refused, options, words):
    line = refused(2, *words, **options)
    assert line.count("--cluster") <= 1


def test_a_scheduler_that_nobody_runs(refused):
    refused(2, "--cluster tcp://127.0.0.1:1", "no Dask scheduler answers", cluster="tcp://127.0.0.1:1")


def test_registry_that_is_no_vector_file(refused, tmp_path):
    (tmp_path / "permits.gpkg").write_bytes(b"\0" * 100)
    refused(2, "registry permits", "permits.gpkg", registry=f"permits={tmp_path / 'permits.gpkg'}")


def _listening() -> tuple[socket.socket, int]:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken, taken.getsockname()[1]


def test_catalogue(refused, tmp_path, region):
    refused(2, "--catalog", "no such file", catalog=tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"type": "FeatureColl')
    refused(2, "--catalog", "JSON", catalog=tmp_path / "broken.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    refused(2, "--catalog", "not STAC", catalog=tmp_path / "other.json")
    (tmp_path / "empty.json").write_text(EMPTY)
    refused(2, "no l2a scenes", catalog=tmp_path / "empty.json")
    taken, port = _listening()  # bound, but nobody listens: the connection is refused
    with taken:
        refused(2, f"127.0.0.1:{port}", catalog=f"http://127.0.0.1:{port}")
    items = json.loads(region.items.read_text())
    for item in items["features"]:
        del item["assets"]["swir16"]
    (region.folder / "no-b11.json").write_text(json.dumps(items))
    refused(2, "B11", "drawn-detector", catalog=region.folder / "no-b11.json")


def test_gpu_where_there_is_none(refused):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    refused(2, "--device cuda", "no CUDA GPU", device="cuda")


def test_folder_that_cannot_be_written(tmp_path, arguments, minescan):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "scan", Path("/proc/minescan-scan")):
        said = minescan("scan", *arguments(out))
        assert said.code == 2
        assert f"--out {out}" in said.line
        assert "choose another folder" in said.line
    assert (tmp_path / "file").read_text() == "in the way"
    assert minescan("scan", *arguments(None)).line.startswith("minescan: --out is missing")


def test_budgets_stop_before_anything_is_read(refused):
    assert "raise it" in refused(3, "--max-bytes 1000:", "bytes", max_bytes=1000)
    refused(3, "--max-hours 1e-09:", "hours", max_hours=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("looks = ", ("--config", "scan.toml")),
        ("lucks = 3", ("--config", "scan.toml", "'lucks'", "looks")),
        ("looks = 2.5", ("--looks 2.5", "whole number")),
        ("looks = true", ("--looks True",)),
        ("dates = 2022-01-01", ("--dates", "text")),
        ("isolation = 'yes'", ("--isolation 'yes'", "true or false")),
        ("registry = 'a=b'", ("--registry", "table")),
        ("chunk = 'wide'", ("--chunk 'wide'",)),
        ("detector = 3", ("--detector 3",)),
        ("level = 'l3'", ("--level", "l2a")),
    ],
)
def test_config_file(tmp_path, arguments, minescan, text, words):
    (tmp_path / "scan.toml").write_text(text)
    drop = dict.fromkeys(("dates", "detector"), None) if text.startswith(("dates", "detector")) else {}
    if drop:
        drop = {text.split()[0]: None}
    said = minescan("scan", *arguments(tmp_path / "scan", config=tmp_path / "scan.toml", **drop))
    assert said.code == 2, said
    for word in words:
        assert word in said.line, said.line
    assert not (tmp_path / "scan").exists()


def test_config_file_that_is_missing_or_no_text(refused, tmp_path):
    refused(2, "--config", "scan.toml", config=tmp_path / "scan.toml")
    (tmp_path / "scan.toml").write_bytes(b"\xff\xfe\x00")
    refused(2, "--config", "scan.toml", config=tmp_path / "scan.toml")


def test_other_commands_on_what_is_no_scan(tmp_path, minescan):
    for command in (("status", tmp_path), ("export", tmp_path, "--to", tmp_path / "a.csv")):
        said = minescan(*command)
        assert said.code == 2
        assert "not a scan's folder" in said.line
    assert list(tmp_path.iterdir()) == []
    assert minescan("models", "show", "nobody").code == 2
    assert "nobody" in minescan("models", "show", "nobody").line
    assert minescan("scam").code == 2


def test_export_to_what_cannot_be_written(tmp_path, healthy, minescan):
    said = minescan("export", healthy.out, "--to", tmp_path / "a.nonsense")
    assert said.code == 2
    assert "csv" in said.line
    (tmp_path / "file").write_text("in the way")
    said = minescan("export", healthy.out, "--to", tmp_path / "file" / "a.csv")
    assert said.code == 2
    assert str(tmp_path / "file") in said.line
