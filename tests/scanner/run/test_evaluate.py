"""Options of an evaluation, seasons, and what is printed and written of its figures."""

import csv
import json

import numpy as np
import pytest
from matplotlib import image

from models.evaluate import Grouping, Units, evaluate
from scanner.errors import DatesError, FolderError, InputError
from scanner.run.evaluate import EvaluateConfig, season_of
from scanner.run.scorecard import WRITTEN, Scorecard, check_out

SAID = {
    "card": "drawn", "level": "l2a", "unit": "cell", "unit_m": 270, "threshold": 0.6, "unobserved": 3, "left_out": 2,
    "remembered": "no training labels given", "relax_px": 0,
}  # fmt: skip


def config(tmp_path, **changes) -> EvaluateConfig:
    values = {
        "card": "drawn", "catalog": "items.json", "dates": ("2021-06-01/2021-06-30",), "out": tmp_path / "out",
        "labels": (tmp_path / "a.tif",),
    }  # fmt: skip
    return EvaluateConfig(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 1.0}, "--threshold 1.0: expected a number from 0 to below 1"),
        ({"max_cloud": 101}, "--max-cloud 101"),
        ({"looks": 0}, "--looks 0"),
        ({"share": 0.0}, "--share 0.0: expected a number above 0 to 1"),
        ({"labelled": 1.5}, "--labelled 1.5"),
        ({"relax": -1}, "--relax -1"),
        ({"dates": ("2021-01-01/2021-01-02",) * 3, "labels": ("a", "b")}, "got 3 --dates and 2 --labels"),
        ({"dates": ()}, "both needed"),
    ],
)
def test_options_out_of_range(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        config(tmp_path, **changes)


def test_dates_are_days(tmp_path):
    with pytest.raises(DatesError):
        config(tmp_path, dates=("summer",))


def test_dates_and_labels_pair(tmp_path):
    two = ("2021-06-01/2021-06-30", "2021-12-01/2021-12-30")
    assert config(tmp_path, dates=two, labels=("a", "b")).pairs == ((two[0], "a"), (two[1], "b"))
    assert config(tmp_path, dates=two, labels=("a",)).pairs == ((two[0], "a"), (two[1], "a"))
    assert config(tmp_path, dates=two[:1], labels=("a", "b")).pairs == ((two[0], "a"), (two[0], "b"))


@pytest.mark.parametrize(
    ("dates", "zone", "season"),
    [
        ("2021-06-19/2021-06-19", 32633, "summer"),
        ("2021-06-19/2021-06-19", 32723, "winter"),
        ("2020-12-01/2021-02-28", 32633, "winter"),
        ("2021-03-01/2021-05-31", 32633, "spring"),
        ("2021-03-01/2021-05-31", 32723, "autumn"),
        ("2021-01-01/2021-12-31", 32633, "several seasons"),
    ],
)
def test_seasons(dates, zone, season):
    assert season_of(dates, zone) == season


def scorecard(**changes) -> Scorecard:
    rng = np.random.default_rng(4)
    mine = rng.random(50).astype(np.float32)
    values = {
        "truth": (mine + rng.normal(0, 0.2, 50) > 0.5).astype(np.int16),
        "probabilities": np.stack([1 - mine, mine], axis=1),
        "remembered": rng.integers(-1, 2, 50).astype(np.int16),
        "doubtful": rng.random(50) < 0.1,
        "groups": {"dates": Grouping(names=("dry", "wet"), index=rng.integers(0, 2, 50).astype(np.int32))},
    }
    found = evaluate(Units(**(values | changes)), ("not_mine", "mine"), 0.6)
    return Scorecard(said=SAID, found=found, target="mine", failures=())


def test_what_is_written_is_whole_and_the_same_twice(tmp_path):
    card = scorecard()
    card.write(tmp_path / "a")
    card.write(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(WRITTEN)
    for name in WRITTEN:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in WRITTEN[2:]:
        assert image.imread(tmp_path / "a" / name).shape == (550, 660, 4)
        assert b"Software" not in (tmp_path / "a" / name).read_bytes()
    check_out(tmp_path / "a")


def test_the_table_and_the_file_say_the_same(tmp_path):
    card = scorecard()
    card.write(tmp_path)
    whole = json.loads((tmp_path / "metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    by_name = {(row["scope"], row["group"], row["metric"]): row for row in rows}
    assert float(by_name["all", "", "kappa"]["model"]) == whole["kappa"]
    assert float(by_name["all", "", "mine.f1"]["remembering"]) == whole["remembering"]["per_class"]["mine"]["f1"]
    assert by_name["all", "", "mine.precision"]["trivial"] == ""
    assert float(by_name["by_dates", "wet", "mine.f1"]["model"]) == whole["by_dates"]["wet"]["per_class"]["mine"]["f1"]
    assert ("relaxed", "", "kappa") in by_name
    lines = list(card.lines())
    kappa = next(line for line in lines if line.startswith("kappa "))
    row = by_name["all", "", "kappa"]
    shown = [f"{float(row[name]):.4f}" for name in ("model", "model_there", "remembering")]
    assert kappa.split()[1:] == ["50", *shown, f"{float(row['difference']):+.4f}", f"{float(row['trivial']):.4f}"]


def test_where_memory_knows_all_one_column_is_enough():
    lines = list(scorecard(remembered=np.zeros(50, np.int16)).lines())
    assert not any(" there " in line for line in lines)
    assert any("remembering" in line and "difference" in line for line in lines)


def test_what_is_missing_is_said(tmp_path):
    card = scorecard(truth=np.zeros(50, np.int16), remembered=np.full(50, -1, np.int16))
    assert card.notes == [
        "no labelled cell is mine: what is divided by their number is null",
        "not compared with remembering: no training labels given",
    ]
    card.write(tmp_path)
    whole = json.loads((tmp_path / "metrics.json").read_text())
    assert whole["per_class"]["mine"]["recall"] is None
    assert whole["per_class"]["mine"]["average_precision"] is None
    assert whole["remembering"] is None
    recall = next(line for line in card.lines() if line.startswith("mine: recall"))
    assert recall.split()[2:] == ["50", "-", "-", "-", "-"]


def test_a_folder_with_other_things_in_it(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"holds notes.txt"):
        check_out(tmp_path)
    with pytest.raises(FolderError, match="is a file"):
        check_out(tmp_path / "notes.txt")
    check_out(tmp_path / "new")
