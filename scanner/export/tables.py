"""Candidates as CSV, GeoJSON and GeoParquet: the same columns in each, the same bytes for the same candidates."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import shapely

from scanner.detection.hits import Candidate

__all__ = ["candidates_frame", "csv_bytes", "geojson_bytes", "parquet_bytes", "plain_rows", "provenance"]

KINDS = {
    "id": "str",
    "lon": "float64",
    "lat": "float64",
    "score": "float64",
    "mean_score": "float64",
    "impact": "str",
    "impact_high": "float64",
    "impact_low": "float64",
    "no_ore": "float64",
    "area_m2": "float64",
    "cells_area_m2": "float64",
    "outline": "str",
    "cells": "int64",
    "clear_looks": "int64",
    "first_scene": "str",
    "last_scene": "str",
    "isolated": "bool",
    "tile": "str",
}
"""The columns every format holds, in order; a registry's three follow."""


def candidates_frame(candidates: Sequence[Candidate], registries: Iterable[str] = ()) -> gpd.GeoDataFrame:
    """The candidates as a frame in EPSG:4326: the columns of `candidates.csv`, then the polygon as `geometry`.

    Args:
        candidates: in the order the rows shall have.
        registries: names whose columns shall be there also when no candidate is; those the candidates carry are.
    """
    columns = {name: pd.Series([getattr(one, name) for one in candidates], dtype=kind) for name, kind in KINDS.items()}
    for name in dict.fromkeys([*registries, *(name for one in candidates for name in one.registries)]):
        entries = [one.registries[name] for one in candidates]
        columns[name] = pd.Series([entry.where for entry in entries], dtype="str")
        columns[f"{name}_name"] = pd.Series([entry.name for entry in entries], dtype="str")
        columns[f"{name}_distance_m"] = pd.Series([entry.distance_m for entry in entries], dtype="float64")
    return gpd.GeoDataFrame(columns, geometry=[one.polygon for one in candidates], crs="EPSG:4326")


def plain_rows(frame: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Every row without its geometry, as plain Python values; None where there is none."""
    columns = {name: frame[name].astype(object).tolist() for name in frame.columns if name != frame.geometry.name}
    return [{name: _plain(values[row]) for name, values in columns.items()} for row in range(len(frame))]


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return None if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value


def csv_bytes(frame: gpd.GeoDataFrame) -> bytes:
    """UTF-8 with a header, `.` decimals, `true` and `false`, empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name in frame.columns if name != frame.geometry.name]
    writer.writerow(names)
    writer.writerows([_cell(name, row[name]) for name in names] for row in plain_rows(frame))
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.{1 if name.endswith(('area_m2', '_distance_m')) else 6}f}"
    return str(value)


def geojson_bytes(frame: gpd.GeoDataFrame) -> bytes:
    """A FeatureCollection after RFC 7946: degrees, outer rings counter-clockwise, split at the antimeridian."""
    features = [
        {"type": "Feature", "properties": row, "geometry": shapely.geometry.mapping(shape)}
        for row, shape in zip(plain_rows(frame), frame.geometry, strict=True)
    ]
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'.encode()


def parquet_bytes(frame: gpd.GeoDataFrame, **notes: Any) -> bytes:
    """GeoParquet; the notes go into the file's own metadata as JSON, `minescan:NAME`."""
    plain = io.BytesIO()
    frame.to_parquet(plain, index=False, compression="zstd")
    if not notes:
        return plain.getvalue()
    table = pq.read_table(io.BytesIO(plain.getvalue()))
    texts = {f"minescan:{name}": json.dumps(value, sort_keys=True) for name, value in notes.items()}
    noted = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **texts}), noted, compression="zstd")
    return noted.getvalue()


def provenance(candidates: Iterable[Candidate]) -> dict[str, dict[str, Any]]:
    """What each candidate came from, by id: weights, threshold, scenes, cells. Plain values, for JSON."""
    return {one.id: _provenance(one) for one in candidates}


def _provenance(one: Candidate) -> dict[str, Any]:
    shared = {name: _plain(value) for name, value in asdict(one.provenance).items()}
    return {**shared, "scenes": list(one.scenes), "cells": list(one.cell_ids)}
