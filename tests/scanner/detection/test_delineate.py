"""Outlines: only round hits, the same whichever tile drew them, given to the candidate whose cells they touch."""

import numpy as np
import pytest
import shapely
from shapely.affinity import translate

from scanner.detection.delineate import block_px, delineate, read_pieces, united, write_pieces
from scanner.detection.join import join
from scanner.detection.outline import outlined
from scanner.detection.reach import DELINEATE_PX, reach_px
from scanner.detection.shapes import area_m2
from tests.scanner.detection.segmenters import segmenter, segmenter_card
from tiling import Lattice, Tile, TileId, Window

WEST, EAST = (TileId(zone=32633, column=column, row=61) for column in (5, 6))
EDGE_X = EAST.window.x0
TOP = EAST.window.y0 + 4000
GROUND = Window(x0=EDGE_X - 500, y0=TOP - 300, x1=EDGE_X + 500, y1=TOP + 400)
LATTICE = Lattice(zone=32633, stride_px=27)


@pytest.fixture(scope="module")
def composite():
    rng = np.random.default_rng(8)
    coarse = rng.integers(1200, 3000, (3, GROUND.height_px // 10, GROUND.width_px // 10))
    values = coarse.repeat(10, axis=1).repeat(10, axis=2).astype(np.uint16)
    values[:, 300:330, 480:490] = 0
    return values


def reader(values, within=GROUND):
    """What lies outside `within` was never composited."""

    def read(window):
        out = np.zeros((3, *window.shape), np.uint16)
        inside = window.intersect(within)
        if inside:
            out[(slice(None), *inside.slices_in(window))] = values[(slice(None), *inside.slices_in(GROUND))]
        return out, out[0]

    return read


def tile_of(tile, card):
    margin = -(-(reach_px(segmenter_card("fcn"), None, card) + 27) // 6) * 6
    return Tile(id=tile, margin_px=margin)


def cells_at(*corners):
    """(cell, 4) of 27 px cells at these columns and rows from the tiles' edge."""
    boxes = [(EDGE_X + 27 * column, TOP + 27 * row) for column, row in corners]
    return np.array([(x, y, x + 27, y + 27) for x, y in boxes])


@pytest.mark.parametrize(("mode", "finer"), [("fcn", 1), ("window", 1), ("window", 2)])
def test_the_outlines_are_the_pixels_above_the_threshold_within_reach(composite, mode, finer):
    """Oracle: the network over all the ground at once, and a mask of the cells' surroundings."""
    model = segmenter(mode, finer)
    cells = cells_at((-2, 0), (-1, 0), (1, 3))
    pieces = delineate(tile_of(EAST, model.card), cells, reader(composite), model)
    step, halo = model.card.stride_px, model.card.halo_px
    core = Window(
        x0=-(-(GROUND.x0 + halo) // step) * step, y0=-(-(GROUND.y0 + halo) // step) * step,
        x1=(GROUND.x1 - halo) // step * step, y1=(GROUND.y1 - halo) // step * step,
    )  # fmt: skip
    scores = model.score_core(composite[(slice(None), *core.buffer(halo).slices_in(GROUND))])[-1]
    near = np.zeros(core.shape, bool)
    for x0, y0, x1, y1 in cells.tolist():
        near[Window(x0=x0, y0=y0, x1=x1, y1=y1).buffer(DELINEATE_PX).slices_in(core)] = True
    near &= (composite != 0).all(axis=0)[core.slices_in(GROUND)]
    expected = (scores > model.card.threshold) & near.repeat(finer, 0).repeat(finer, 1)
    rows, columns = np.nonzero(expected)
    frame = core.times(finer)
    whole = shapely.coverage_union_all(shapely.box(
        frame.x0 + columns, frame.y0 + rows, frame.x0 + columns + 1, frame.y0 + rows + 1
    ))  # fmt: skip
    assert 0 < expected.sum() < near.sum() * finer**2
    assert shapely.equals(shapely.union_all(pieces), whole)
    assert len(pieces) == len(shapely.get_parts(whole))


@pytest.mark.parametrize("mode", ["fcn", "window"])
def test_two_tiles_draw_one_outline_together(composite, mode):
    """Each with its own hits and no more ground than its margin: united they are what one tile draws of all."""
    model = segmenter(mode)
    left, right = cells_at((-3, 0), (-1, 1)), cells_at((0, 1), (2, 2))
    wide = Tile(id=EAST, margin_px=600)
    whole = delineate(wide, np.concatenate([left, right]), reader(composite), model)
    west, east = tile_of(WEST, model.card), tile_of(EAST, model.card)
    parts = [
        delineate(west, left, reader(composite, west.read), model),
        delineate(east, right, reader(composite, east.read), model),
    ]
    together = united(np.concatenate(parts))
    assert [piece.wkb for piece in together] == [piece.wkb for piece in whole]
    assert min(map(len, parts)) > 0


def test_no_hit_costs_nothing_and_pieces_come_back_from_disk(composite, tmp_path):
    model = segmenter("window")
    none = delineate(tile_of(EAST, model.card), np.zeros((0, 4), np.int64), reader(composite), model)
    some = delineate(tile_of(EAST, model.card), cells_at((0, 0)), reader(composite), model)
    for pieces in (none, some):
        write_pieces(tmp_path / "pieces.parquet", pieces)
        first = (tmp_path / "pieces.parquet").read_bytes()
        assert read_pieces(tmp_path / "pieces.parquet").tolist() == pieces.tolist()
        write_pieces(tmp_path / "pieces.parquet", pieces)
        assert (tmp_path / "pieces.parquet").read_bytes() == first
    assert len(none) == 0 < len(some)


def test_blocks_are_whole_steps_and_no_narrower_than_the_halo():
    assert block_px(segmenter_card("window")) == 256
    assert block_px(segmenter_card("fcn", stride_px=48, window_px=48, halo_px=480)) == 480


def candidates_at(make_hit, *places):
    found, _ = join([make_hit(32633, *place) for place in places])
    return found


def drawn(column, row, columns=1.0, rows=1.0, finer=2):
    """A rectangle, measured in cells from the south-west corner of a cell, in output pixels."""
    box = shapely.box(column * 27, -(row + rows) * 27, (column + columns) * 27, -row * 27)
    return shapely.transform(box, lambda xy: xy * finer)


def test_a_candidate_takes_the_pieces_that_touch_its_cells(make_hit):
    one, other = sorted(
        candidates_at(make_hit, (2000, 20000), (2001, 20000), (2020, 20000)), key=lambda item: -item.cells
    )
    near, beside, far = drawn(2000.5, 20000.25, 1, 0.5), drawn(1999, 20001, 1, 1), drawn(2003, 20003)
    found = outlined([one, other], {32633: [[near], [far, beside]]}, 2)
    assert [item.outline for item in found] == ["delineated", "cells"]
    assert found[1] == other
    assert found[0].area_m2 == pytest.approx(one.area_m2 * 0.75, rel=1e-3)
    assert (found[0].cells_area_m2, found[0].cells, found[0].id) == (one.area_m2, one.cells, one.id)
    assert shapely.contains_xy(found[0].polygon, found[0].lon, found[0].lat)
    assert found[0].area_m2 == round(area_m2(found[0].polygon), 1)


def test_what_two_tiles_drew_twice_counts_once(make_hit):
    (one,) = candidates_at(make_hit, (2000, 20000))
    whole = drawn(2000, 20000, 1, 1)
    halves = [drawn(2000, 20000, 0.75, 1), drawn(2000.25, 20000, 0.75, 1)]
    (twice,), (once,) = (outlined([one], {32633: some}, 2) for some in ([[halves[0]], [halves[1]]], [[whole]]))
    assert (repr(twice), twice.polygon.wkb) == (repr(once), once.polygon.wkb)  # repr, since NaN differs from itself


def test_a_piece_between_two_candidates_is_parted_and_not_doubled(make_hit):
    found = candidates_at(make_hit, (2000, 20000), (2004, 20000))
    assert len(found) == 2
    bridge = drawn(2000, 20000, 5, 1)
    parted = outlined(found, {32633: [[bridge]]}, 2)
    total = sum(item.area_m2 for item in parted)
    assert [item.outline for item in parted] == ["delineated"] * 2
    assert total == pytest.approx(5 * found[0].area_m2, rel=1e-3)
    assert parted[0].area_m2 == pytest.approx(parted[1].area_m2, rel=1e-3)
    assert shapely.area(shapely.intersection(parted[0].polygon, parted[1].polygon)) < 1e-12


def test_a_zone_without_pieces_or_candidates_is_passed_over(make_hit):
    found = candidates_at(make_hit, (2000, 20000))
    assert outlined(found, {32633: [], 32634: [[drawn(2000, 20000)]]}, 2) == found
    assert outlined([], {32633: [[drawn(2000, 20000)]]}, 2) == ()


def test_outlines_across_the_antimeridian_are_split_there(make_hit):
    lattice = Lattice(zone=32760, stride_px=27)
    column, row = 3017, 30066
    (one,) = candidates_at(make_hit, (2000, 20000))
    (edge,) = join([make_hit(32760, column, row)])[0]
    box = drawn(column, row, 1, 1, finer=1)
    shifted = translate(box, yoff=lattice.anchor_y)
    found = outlined([edge, one], {32760: [[shifted]]}, 1)
    assert found[0].outline == "delineated"
    assert all(-180 <= bound <= 180 for bound in found[0].polygon.bounds[::2])
