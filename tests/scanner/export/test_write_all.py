"""The candidates' files: the contract's columns, readable by others, the same bytes twice."""

import csv
import io
import json
import zipfile

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from scanner.detection.join import join
from scanner.errors import FolderError, InputError
from scanner.export import FORMATS, candidates_frame, export_to, read_candidates, write_all
from scanner.export.tables import csv_bytes, geojson_bytes

COLUMNS = [
    "id", "lon", "lat", "score", "mean_score", "impact", "impact_high", "impact_low", "no_ore", "area_m2",
    "cells_area_m2", "outline", "cells", "clear_looks", "first_scene", "last_scene", "isolated", "tile",
]  # fmt: skip
CELL_COLUMNS = [
    "cell", "tile", "lon", "lat", "score", "impact_high", "impact_low", "no_ore", "clear_looks", "verdict", "candidate",
    "geometry",
]  # fmt: skip
REGISTRY = ["permits & <more>", "permits & <more>_name", "permits & <more>_distance_m"]
FILES = {"candidates.csv", "candidates.kml", "candidates.geojson", "candidates.parquet", "cells.parquet"}


@pytest.fixture
def folder(tmp_path, candidates, cells):
    write_all(tmp_path / "scan", candidates, cells)
    return tmp_path / "scan"


def test_nothing_but_the_five_files_is_there(folder):
    assert {file.name for file in folder.iterdir()} == FILES


def test_written_twice_is_the_same_to_the_byte(folder, tmp_path, candidates, cells):
    write_all(tmp_path / "elsewhere", candidates, cells)
    for name in FILES:
        assert (tmp_path / "elsewhere" / name).read_bytes() == (folder / name).read_bytes(), name


def test_csv_is_the_contract(folder):
    raw = (folder / "candidates.csv").read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert list(rows[0]) == COLUMNS + REGISTRY
    assert [row["id"] for row in rows] == ["m-b", "m-a", "m-c"]
    first, second, third = rows
    assert (first["score"], first["impact"], first["isolated"], first["cells"]) == ("0.910000", "high", "true", "1")
    assert all(len(row[name].split(".")[1]) == 6 for row in rows for name in ("lon", "lat"))
    assert first[REGISTRY[1]].startswith('Mina "São João", <b>A&B</b>; 砂')
    assert (second["score"], second[REGISTRY[0]], second[REGISTRY[2]]) == ("0.812500", "near", "512.3")
    assert (third["impact"], third["impact_high"], third[REGISTRY[2]]) == ("unknown", "", "")
    assert (first["first_scene"], first["last_scene"]) == ("2021-06-01", "2021-08-30")


def test_csv_writes_no_exponents(candidates):
    frame = candidates_frame(candidates).assign(area_m2=[1e20, 1e-9, 72900.04], lon=[1e-7, -0.0, 5.0])
    rows = list(csv.DictReader(io.StringIO(csv_bytes(frame).decode())))
    assert [row["area_m2"] for row in rows] == ["100000000000000000000.0", "0.0", "72900.0"]
    assert rows[0]["lon"] == "0.000000"


def test_parquet_reads_back_whole(folder, candidates):
    frame = read_candidates(folder)
    assert list(frame.columns) == [*COLUMNS, *REGISTRY, "geometry"]
    assert frame.crs == "EPSG:4326"
    assert frame["isolated"].dtype == bool
    assert frame["cells"].dtype == "int64"
    pd.testing.assert_frame_equal(frame, candidates_frame(candidates))
    notes = json.loads(pq.read_metadata(folder / "candidates.parquet").metadata[b"minescan:provenance"])
    assert notes["m-b"] == {
        "detector_sha256": "d" * 64, "impact_sha256": "", "delineator_sha256": "", "threshold": 0.6, "cells": ["b"],
        "scenes": ["S2A_X", "S2B_Y"],
    }  # fmt: skip


def test_cells_hold_every_hit_and_its_reason(folder):
    cells = gpd.read_parquet(folder / "cells.parquet")
    assert list(cells.columns) == CELL_COLUMNS
    assert cells["cell"].tolist() == ["a", "b", "c", "d"]
    assert cells["verdict"].tolist() == ["accepted"] * 3 + ["no_ore"]
    assert cells["candidate"].fillna("none").tolist() == ["m-a", "m-b", "m-c", "none"]
    assert pq.read_table(folder / "cells.parquet")["candidate"].to_pylist()[3] is None
    assert cells.crs == "EPSG:4326"


def test_geojson_is_rfc_7946(folder):
    document = json.loads((folder / "candidates.geojson").read_text())
    assert set(document) == {"type", "features"}
    for feature in document["features"]:
        assert list(feature["properties"]) == COLUMNS + REGISTRY
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw
            assert not any(ring.is_ccw for ring in part.interiors)
            assert part.bounds[2] - part.bounds[0] < 1
    assert document["features"][2]["geometry"]["type"] == "MultiPolygon"
    assert document["features"][2]["properties"]["impact_high"] is None
    assert len(document["features"][0]["geometry"]["coordinates"]) == 2


@pytest.mark.parametrize("name", ["candidates.geojson", "candidates.parquet"])
def test_polygon_and_point_agree_in_every_format(folder, name, candidates):
    frame = gpd.read_file(folder / name) if name.endswith("geojson") else gpd.read_parquet(folder / name)
    for row, one in zip(frame.itertuples(), candidates, strict=True):
        assert row.geometry.equals_exact(one.polygon, 0)
        assert shapely.contains_xy(row.geometry, row.lon, row.lat)


def test_no_candidates_are_valid_files_too(tmp_path):
    write_all(tmp_path, (), join([])[1], registries=["permits"])
    names = ["permits", "permits_name", "permits_distance_m"]
    assert (tmp_path / "candidates.csv").read_text() == ",".join([*COLUMNS, *names]) + "\n"
    assert json.loads((tmp_path / "candidates.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
    assert len(pyogrio.read_dataframe(tmp_path / "candidates.geojson")) == 0
    frame = read_candidates(tmp_path)
    assert list(frame.columns) == [*COLUMNS, *names, "geometry"]
    assert (len(frame), frame.crs) == (0, "EPSG:4326")
    cells = gpd.read_parquet(tmp_path / "cells.parquet")
    assert list(cells.columns) == CELL_COLUMNS
    assert cells.crs == "EPSG:4326"


def test_empty_and_full_parquet_have_one_schema(tmp_path, joined):
    write_all(tmp_path / "none", (), join([])[1])
    write_all(tmp_path / "some", *joined)
    for name in ("candidates.parquet", "cells.parquet"):
        none, some = (pq.read_schema(tmp_path / which / name) for which in ("none", "some"))
        assert none.remove_metadata().equals(some.remove_metadata()), name


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_holds_the_rows_and_comes_out_the_same_twice(folder, tmp_path, extension):
    twice = []
    for run in ("one", "two"):
        target = tmp_path / run / f"mines{extension}"
        assert export_to(folder, target) == 3
        twice.append({file.name: file.read_bytes() for file in target.parent.iterdir()})
    assert twice[0] == twice[1]
    assert f"mines{extension}" in twice[0]


@pytest.mark.parametrize("extension", [".fgb", ".gpkg", ".shp", ".json", ".kmz"])
def test_gdal_reads_what_was_exported(folder, tmp_path, extension):
    target = tmp_path / f"mines{extension}"
    export_to(folder, target)
    frame = pyogrio.read_dataframe(target).sort_values("score", ascending=False, ignore_index=True)
    assert frame["id"].tolist() == ["m-b", "m-a", "m-c"]
    assert frame.crs == "EPSG:4326"
    assert frame["isolated"].astype(bool).all()
    assert frame["cells"].tolist() == [1, 1, 1]
    for shape, expected in zip(frame.geometry, read_candidates(folder).geometry, strict=True):
        assert sum(part.area for part in shapely.get_parts(shape)) == pytest.approx(expected.area)


def test_shapefile_names_stay_apart(folder, tmp_path):
    export_to(folder, tmp_path / "m.shp")
    names = list(pyogrio.read_info(tmp_path / "m.shp")["fields"])
    assert len(names) == len(COLUMNS + REGISTRY) == len(set(names))
    assert all(len(name) <= 10 for name in names)
    assert (tmp_path / "m.prj").exists()


def test_kmz_holds_the_kml(folder, tmp_path):
    export_to(folder, tmp_path / "m.kmz")
    with zipfile.ZipFile(tmp_path / "m.kmz") as archive:
        assert archive.namelist() == ["doc.kml"]
        assert archive.read("doc.kml") == (folder / "candidates.kml").read_bytes()


def test_exports_equal_the_scan_s_own_files(folder, tmp_path):
    for extension in (".csv", ".geojson", ".kml"):
        export_to(folder, tmp_path / f"again{extension}")
        assert (tmp_path / f"again{extension}").read_bytes() == (folder / f"candidates{extension}").read_bytes()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"min_score": 0.8125}, ["m-b", "m-a"]),
        ({"impact": "low"}, ["m-a"]),
        ({"impact": ["high", "unknown"]}, ["m-b", "m-c"]),
        ({"min_area_m2": 1e9}, []),
        ({"min_score": 0.9, "impact": "low"}, []),
    ],
)
@pytest.mark.parametrize("extension", [".csv", ".gpkg"])
def test_filters_leave_out(folder, tmp_path, extension, filters, expected):
    target = tmp_path / f"some{extension}"
    assert export_to(folder, target, **filters) == len(expected)
    assert pyogrio.read_dataframe(target, read_geometry=False)["id"].tolist() == expected


def test_what_cannot_be_exported_is_said_in_one_line(folder, tmp_path):
    with pytest.raises(InputError, match=r"'m\.dwg'.*\.csv, \.fgb"):
        export_to(folder, tmp_path / "m.dwg")
    with pytest.raises(InputError, match="expected any of high, low"):
        export_to(folder, tmp_path / "m.csv", impact="huge")
    with pytest.raises(FolderError, match=r"candidates\.parquet"):
        export_to(tmp_path, tmp_path / "m.csv")
    (tmp_path / "file").write_text("")
    for extension in (".csv", ".gpkg"):
        with pytest.raises(InputError, match="cannot write"):
            export_to(folder, tmp_path / "file" / f"m{extension}")
    (folder / "candidates.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FolderError, match="cannot be read"):
        export_to(folder, tmp_path / "m.csv")


def test_a_failed_export_leaves_the_old_file_and_no_crumbs(folder, tmp_path, monkeypatch):
    target = tmp_path / "out" / "m.gpkg"
    export_to(folder, target)
    before = target.read_bytes()

    def fail(*_args, **_options):
        raise pyogrio.errors.DataSourceError("disk full")

    monkeypatch.setattr(pyogrio, "write_dataframe", fail)
    with pytest.raises(InputError, match="disk full"):
        export_to(folder, target)
    assert target.read_bytes() == before
    assert [file.name for file in target.parent.iterdir()] == ["m.gpkg"]


def test_geojson_of_a_frame_with_missing_texts_is_null(candidates):
    frame = candidates_frame(candidates).assign(tile=pd.Series([None, "x", None], dtype="str"))
    tiles = [feature["properties"]["tile"] for feature in json.loads(geojson_bytes(frame))["features"]]
    assert tiles == [None, "x", None]
