"""Ids stay from scan to scan."""

import dataclasses

import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.detection.ids import keep_ids, name_cells
from scanner.detection.join import join
from scanner.export import candidates_frame


def scan(make_hit, *mines):
    """One candidate per list of (column, row, score)."""
    return join([make_hit(32633, *cell) for mine in mines for cell in mine])


def test_the_first_scan_mints_and_the_same_scan_keeps(make_hit):
    candidates, _ = scan(make_hit, [(2000, 20000, 0.9)], [(2010, 20000, 0.8)])
    assert keep_ids(candidates, None) == candidates
    empty = candidates_frame(())
    assert [one.id for one in keep_ids(candidates, empty)] == [one.id for one in candidates]
    again = keep_ids(candidates, candidates_frame(candidates))
    assert [one.id for one in again] == [one.id for one in candidates]


def test_a_mine_that_grew_to_a_better_cell_keeps_its_id(make_hit):
    before, _ = scan(make_hit, [(2000, 20000, 0.7)])
    after, cells = scan(make_hit, [(2000, 20000, 0.7), (2001, 20000, 0.95)])
    assert after[0].id == "m-32633-27-02001-20000"
    kept = keep_ids(after, candidates_frame(before))
    assert kept[0].id == before[0].id
    assert set(name_cells(cells, kept)["candidate"]) == {before[0].id}
    assert name_cells(cells, kept).dtypes.equals(cells.dtypes)


def test_of_a_mine_that_fell_apart_the_larger_part_keeps_the_id_and_the_other_takes_a_fresh_one(make_hit):
    row = [(2000 + i, 20000, 0.7) for i in range(6)]
    row[0] = (2000, 20000, 0.9)
    before, _ = scan(make_hit, row)
    assert before[0].id == "m-32633-27-02000-20000"
    # The lone part holds the very cell that the id was minted from.
    after, _ = scan(make_hit, row[:1], row[3:])
    kept = keep_ids(after, candidates_frame(before))
    names = {one.cells: one.id for one in kept}
    assert names[3] == before[0].id
    assert names[1] == "m-32633-27-02000-20000-2"


def test_two_mines_that_grew_together_keep_the_id_of_the_larger(make_hit):
    before, _ = scan(make_hit, [(2000, 20000, 0.9)], [(2002, 20000, 0.7), (2003, 20000, 0.7)])
    after, _ = scan(make_hit, [(column, 20000, 0.8) for column in range(2000, 2004)])
    (one,) = keep_ids(after, candidates_frame(before))
    assert one.id == "m-32633-27-02002-20000"


def test_mines_that_only_touch_share_no_id(make_hit):
    before, _ = scan(make_hit, [(2000, 20000, 0.9)])
    after, _ = scan(make_hit, [(2001, 20000, 0.9)])
    assert keep_ids(after, candidates_frame(before))[0].id == "m-32633-27-02001-20000"


def test_an_overlap_on_the_antimeridian_counts_on_both_sides(make_hit):
    (one,), _ = scan(make_hit, [(2000, 20000, 0.9)])
    sides = shapely.MultiPolygon([shapely.box(179.99, 0, 180, 0.01), shapely.box(-180, 0, -179.99, 0.01)])
    east = dataclasses.replace(one, id="m-a", polygon=sides)
    west = dataclasses.replace(one, id="m-b", polygon=shapely.box(-180, 0, -179.99, 0.01))
    assert keep_ids([west], candidates_frame([east]))[0].id == "m-a"


cells = st.lists(st.tuples(st.integers(2000, 2011), st.integers(20000, 20011)), min_size=1, max_size=25, unique=True)


@given(cells, cells)
@settings(deadline=None, max_examples=40)
def test_ids_are_unique_and_each_earlier_one_goes_where_it_overlaps(make_hit, first, second):
    before, _ = join([make_hit(32633, *cell, 0.9) for cell in first])
    after, _ = join([make_hit(32633, *cell, 0.8) for cell in second])
    kept = keep_ids(after, candidates_frame(before))
    names = [one.id for one in kept]
    assert len(names) == len(set(names)) == len(after)
    assert kept == keep_ids(after[::-1], candidates_frame(before[::-1]))
    old = {one.id: set(one.cell_ids) for one in before}
    for one in kept:
        shared = {name: len(set(one.cell_ids) & cells) for name, cells in old.items()}
        assert one.id not in old or shared[one.id] > 0
        # An earlier mine that lies in this one alone cannot have lost its name to nobody.
        if one.id not in old:
            assert all(name in names for name, count in shared.items() if count)
