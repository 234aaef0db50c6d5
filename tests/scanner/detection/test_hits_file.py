"""Hits on disk: what was written comes back, batch by batch, the same bytes twice."""

from scanner.detection.hits_file import read_hits, write_hits


def test_batches_come_back_in_order_and_are_the_same_bytes(make_hit, tmp_path):
    hits = [make_hit(32633, 2000 + i, 20000, scenes=("a", "b")[: i % 3], impact_high=0.25) for i in range(7)]
    path = tmp_path / "hits.parquet"
    write_hits(path, iter([hits[:4], hits[4:]]))
    first = path.read_bytes()
    assert [repr(hit) for hit in read_hits(path)] == [repr(hit) for hit in hits]  # repr, since NaN differs from itself
    write_hits(path, iter([hits[:4], hits[4:]]))
    assert path.read_bytes() == first
    write_hits(path, [])
    assert read_hits(path) == ()
    assert [file.name for file in tmp_path.iterdir()] == ["hits.parquet"]
