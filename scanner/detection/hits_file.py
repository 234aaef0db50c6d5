"""One tile's hits on disk, until all tiles are joined."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from scanner.detection.hits import Hit
from scanner.store.layout import replaced

__all__ = ["read_hits", "write_hits"]

NAMES = tuple(item.name for item in fields(Hit))
KINDS = {"clear_looks": pa.int32(), "polygon": pa.binary(), "scenes": pa.list_(pa.string())} | {
    name: pa.float64() for name in ("lon", "lat", "score", "impact_high", "impact_low", "no_ore")
}
SCHEMA = pa.schema([(name, KINDS.get(name, pa.string())) for name in NAMES])


def write_hits(path: Path, batches: Iterable[Sequence[Hit]]) -> None:
    """The same batches give the same bytes; one is held at a time."""
    with replaced(path) as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
        for hits in batches:
            columns = {name: [getattr(hit, name) for hit in hits] for name in NAMES}
            columns["polygon"] = shapely.to_wkb(columns["polygon"]).tolist()
            writer.write_table(pa.table(columns, schema=SCHEMA))


def read_hits(path: Path) -> tuple[Hit, ...]:
    """What `write_hits` wrote."""
    columns = {name: column.to_pylist() for name, column in zip(NAMES, pq.read_table(path).columns, strict=True)}
    columns["polygon"] = list(shapely.from_wkb(columns["polygon"]))
    columns["scenes"] = [tuple(scenes) for scenes in columns["scenes"]]
    return tuple(Hit(**dict(zip(NAMES, row, strict=True))) for row in zip(*columns.values(), strict=True))
