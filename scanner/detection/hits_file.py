"""One tile's hits on disk, until all tiles are joined."""

import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from scanner.detection.hits import Hit
from scanner.store.layout import write_atomic

__all__ = ["read_hits", "write_hits"]

NAMES = tuple(item.name for item in fields(Hit))
KINDS = {"clear_looks": pa.int32(), "polygon": pa.binary(), "scenes": pa.list_(pa.string())} | {
    name: pa.float64() for name in ("lon", "lat", "score", "impact_high", "impact_low", "no_ore")
}


def write_hits(path: Path, hits: Sequence[Hit]) -> None:
    """The same hits give the same bytes."""
    columns = {name: [getattr(hit, name) for hit in hits] for name in NAMES}
    columns["polygon"] = [shapely.to_wkb(polygon) for polygon in columns["polygon"]]
    schema = pa.schema([(name, KINDS.get(name, pa.string())) for name in NAMES])
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), sink)
    write_atomic(path, sink.getvalue())


def read_hits(path: Path) -> tuple[Hit, ...]:
    """What `write_hits` wrote."""
    rows = pq.read_table(path).to_pylist()
    return tuple(
        Hit(**row | {"polygon": shapely.from_wkb(row["polygon"]), "scenes": tuple(row["scenes"])}) for row in rows
    )
