"""KML: valid against OGC KML 2.2, and GDAL reads the same candidates back."""

from xml.etree import ElementTree as ET

import pyogrio
import pytest
import shapely
from fastkml import validator

from scanner.export import candidates_frame
from scanner.export.kml import kml_bytes

K = "{http://www.opengis.net/kml/2.2}"


@pytest.fixture(params=[3, 0], ids=["three", "none"])
def some(request, candidates):
    return candidates[: request.param]


def written(tmp_path, frame):
    path = tmp_path / "candidates.kml"
    path.write_bytes(kml_bytes(frame))
    return path


def test_it_validates_against_ogc_kml_2_2(tmp_path, some):
    path = written(tmp_path, candidates_frame(some, ["permits & <more>"]))
    assert validator.validate(file_to_validate=path) is True


def test_the_validator_can_tell(tmp_path, candidates):
    path = written(tmp_path, candidates_frame(candidates))
    path.write_bytes(path.read_bytes().replace(b"<color>ff0000ff", b"<color>red"))
    with pytest.raises(AssertionError):
        validator.validate(file_to_validate=path)


def test_gdal_reads_every_candidate_as_one_feature_of_one_layer(tmp_path, candidates):
    path = written(tmp_path, candidates_frame(candidates))
    assert len(pyogrio.list_layers(path)) == 1
    frame = pyogrio.read_dataframe(path)
    assert frame["Name"].tolist() == ["m-b", "m-a", "m-c"]
    for shape, one in zip(frame.geometry, candidates, strict=True):
        point, *parts = shapely.get_parts(shapely.force_2d(shape))
        assert (point.x, point.y) == (one.lon, one.lat)
        polygon = shapely.union_all(parts)
        assert polygon.equals_exact(shapely.union_all(shapely.get_parts(one.polygon)), 1e-8)


def test_libkml_reads_the_columns_with_their_types(tmp_path, candidates):
    frame = pyogrio.read_dataframe(written(tmp_path, candidates_frame(candidates)))
    expected = candidates_frame(candidates)
    for name in ("lon", "lat", "score", "area_m2", "cells", "clear_looks", "isolated", "impact", "tile", "first_scene"):
        assert frame[name].tolist() == expected[name].tolist(), name
    assert frame["score"].dtype == "float64"
    assert frame["impact_high"].isna().tolist() == [False, False, True]
    assert frame["permits & <more>"].tolist() == ["inside", "near", "outside"]
    # What XML cannot hold is replaced, all else comes through.
    assert frame["permits & <more>_name"][0] == 'Mina "São João", <b>A&B</b>; 砂\ufffd'


def test_styles_tell_the_impact(candidates):
    root = ET.fromstring(kml_bytes(candidates_frame(candidates)))  # noqa: S314
    styles = {style.get("id"): style.find(f"{K}IconStyle/{K}color").text for style in root.iter(f"{K}Style")}
    # aabbggrr
    assert styles == {"high": "ff0000ff", "low": "ff00ffff", "unknown": "ffa0a0a0"}
    marks = list(root.iter(f"{K}Placemark"))
    assert [mark.find(f"{K}styleUrl").text for mark in marks] == ["#high", "#low", "#unknown"]
    assert [mark.get("id") for mark in marks] == ["m-b", "m-a", "m-c"]


def test_the_balloon_shows_every_column(candidates):
    frame = candidates_frame(candidates)
    root = ET.fromstring(kml_bytes(frame))  # noqa: S314
    for balloon in root.iter(f"{K}BalloonStyle"):
        table = ET.fromstring(f"<all>{balloon.find(f'{K}text').text}</all>")  # noqa: S314
        rows = [[cell.text for cell in row] for row in table.iter("tr")]
        assert rows == [[name, f"$[minescan/{name}]"] for name in frame.columns if name != "geometry"]
    fields = [field.get("name") for field in root.iter(f"{K}SimpleField")]
    assert fields == [name for name in frame.columns if name != "geometry"]
    data = [item.get("name") for item in next(root.iter(f"{K}SchemaData"))]
    assert data == fields


def test_rings_of_holes_are_inner_boundaries(candidates):
    root = ET.fromstring(kml_bytes(candidates_frame(candidates)))  # noqa: S314
    holed = next(root.iter(f"{K}Placemark"))
    assert len(list(holed.iter(f"{K}outerBoundaryIs"))) == 1
    assert len(list(holed.iter(f"{K}innerBoundaryIs"))) == 1
