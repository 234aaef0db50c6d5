"""The candidates of a scan on disk: written, read, and given out in other formats or fewer of them."""

import io
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import geopandas as gpd
import pyogrio

from scanner.detection.hits import Candidate
from scanner.errors import FolderError, InputError
from scanner.export.files import replacing
from scanner.export.kml import kml_bytes
from scanner.export.tables import candidates_frame, csv_bytes, geojson_bytes, parquet_bytes, provenance
from scanner.store.layout import write_atomic

__all__ = ["FORMATS", "export_to", "read_candidates", "write_all"]

ENCODERS: dict[str, Callable[[gpd.GeoDataFrame], bytes]] = {
    ".csv": csv_bytes,
    ".geojson": geojson_bytes,
    ".json": geojson_bytes,
    ".kml": kml_bytes,
    ".parquet": parquet_bytes,
}
DRIVERS = {".fgb": "FlatGeobuf", ".gpkg": "GPKG", ".shp": "ESRI Shapefile"}
FORMATS = tuple(sorted([*ENCODERS, *DRIVERS, ".kmz"]))
"""Extensions that can be written."""

SHORT = {"impact_high": "imp_high", "impact_low": "imp_low", "clear_looks": "looks", "first_scene": "first"}
"""Shapefile has room for 10 letters."""


def write_all(
    folder: Path, candidates: Sequence[Candidate], cells: gpd.GeoDataFrame, *, registries: Iterable[str] = ()
) -> None:
    """Write candidates.csv, .kml, .geojson, .parquet and cells.parquet, each whole or not at all.

    The same candidates give the same bytes: no clock, no path. candidates.parquet carries `provenance` as the
    metadata `minescan:provenance`.

    Args:
        folder: the scan's.
        candidates: in the order of the rows.
        cells: every hit, as `join` gave them, or `name_cells` where ids were kept since.
        registries: names of all registries, so that their columns are there without candidates too.
    """
    folder = Path(folder)
    frame = candidates_frame(candidates, registries)
    files = {
        "cells.parquet": parquet_bytes(cells),
        "candidates.csv": csv_bytes(frame),
        "candidates.kml": kml_bytes(frame),
        "candidates.geojson": geojson_bytes(frame),
        "candidates.parquet": parquet_bytes(frame, provenance=provenance(candidates)),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)


def read_candidates(folder: Path) -> gpd.GeoDataFrame | None:
    """The candidates that lie in a scan's folder, or None before the first.

    Raises:
        FolderError: candidates.parquet is damaged.
    """
    source = Path(folder) / "candidates.parquet"
    if not source.is_file():
        return None
    try:
        return gpd.read_parquet(source)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FolderError(f"{source}: cannot be read ({reason}); remove it and scan again") from error


def export_to(
    folder: Path,
    path: Path,
    *,
    min_score: float | None = None,
    min_area_m2: float | None = None,
    impact: str | Collection[str] | None = None,
) -> int:
    """Write the candidates of a scan to a file whose extension says the format; returns how many were written.

    Args:
        folder: the scan's, which holds candidates.parquet.
        path: one of FORMATS; replaced when it is there.
        min_score: leave out candidates with a lower score.
        min_area_m2: leave out smaller ones.
        impact: `high`, `low` or `unknown`, or several: leave out the others.

    Raises:
        FolderError: the folder holds no candidates.
        InputError: an extension or filter that is not known, or the file cannot be written.
    """
    folder, path = Path(folder), Path(path)
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise InputError(f"cannot export to {path.name!r}: expected a name that ends in {', '.join(FORMATS)}")
    frame = read_candidates(folder)
    if frame is None:
        raise FolderError(f"{folder} holds no candidates.parquet: expected the folder of a finished scan")
    if min_score is not None:
        frame = frame[frame["score"] >= min_score]
    if min_area_m2 is not None:
        frame = frame[frame["area_m2"] >= min_area_m2]
    if impact is not None:
        frame = frame[frame["impact"].isin(_impacts(impact))]
    frame = frame.reset_index(drop=True)
    try:
        _write(frame, path, extension)
    except (OSError, pyogrio.errors.DataSourceError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"cannot write {path}: {reason}") from error
    return len(frame)


def _impacts(impact: str | Collection[str]) -> set[str]:
    wanted = {impact} if isinstance(impact, str) else set(impact)
    known = ("high", "low", "unknown")
    if not wanted <= set(known):
        raise InputError(f"impact {', '.join(sorted(wanted))}: expected any of {', '.join(known)}")
    return wanted


def _write(frame: gpd.GeoDataFrame, path: Path, extension: str) -> None:
    if extension in ENCODERS:
        write_atomic(path, ENCODERS[extension](frame))
    elif extension == ".kmz":
        write_atomic(path, _kmz(frame))
    else:
        with replacing(path) as room:
            _drive(frame, room, extension)


def _kmz(frame: gpd.GeoDataFrame) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        # ZipInfo without a date means 1980: no clock.
        archive.writestr(zipfile.ZipInfo("doc.kml"), kml_bytes(frame), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _drive(frame: gpd.GeoDataFrame, path: Path, extension: str) -> None:
    options: dict[str, str] = {}
    geometry_type = "Unknown"
    promote = None
    if extension == ".shp":
        frame = _narrow(frame)
        options = {"DBF_DATE_LAST_UPDATE": "1980-01-01", "ENCODING": "UTF-8"}
        geometry_type, promote = "MultiPolygon", True
    # GeoPackage writes the time of its last change, and reads it from here.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1980-01-01T00:00:00.000Z"})
    try:
        pyogrio.write_dataframe(
            frame,
            path,
            layer="candidates" if extension != ".shp" else None,
            driver=DRIVERS[extension],
            geometry_type=geometry_type,
            promote_to_multi=promote,
            layer_options=options,
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _narrow(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """What fits a dBase table: different names of 10 plain letters, texts of 254 bytes, 1 and 0 for true and false."""
    narrow: dict[str, str] = {}
    for name in frame.columns.drop(frame.geometry.name):
        short = base = re.sub(r"\W+", "_", SHORT.get(name, name), flags=re.ASCII)[:10]
        count = 1
        while short.lower() in {taken.lower() for taken in narrow.values()}:
            count += 1
            short = f"{base[:7]}_{count}"
        narrow[name] = short
    texts = {name: frame[name].str.slice(0, 60) for name in frame.columns if name.endswith("_name")}
    return frame.assign(isolated=frame["isolated"].astype("int32"), **texts).rename(columns=narrow)
