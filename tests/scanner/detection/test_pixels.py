"""A segmenter's pixels: the same however they are cut, observed by themselves, judged together."""

import datetime as dt

import numpy as np
import pytest
import shapely

from scanner.detection.found import UNJUDGED, Found
from scanner.detection.judge import Bench, hits_of
from scanner.detection.pixels import AskedPixels, detect_pixels
from scanner.detection.reach import JUDGED_PX, core_reach_px, reach_px
from tests.scanner.detection.segmenters import segmenter, segmenter_card
from tests.scanner.detection.test_detect import make_model
from tiling import Ground, TileId, Window, frame_of

TILE = TileId(zone=32633, column=6, row=61)
CORNER = Window(x0=TILE.window.x1 - 130, y0=TILE.window.y0, x1=TILE.window.x1, y1=TILE.window.y0 + 110)
"""Where a tile ends no patch does."""
STORE = CORNER.buffer(80)
AOI = shapely.Polygon([
    (CORNER.x0 * 10 + 35, -CORNER.y1 * 10 + 42), (CORNER.x1 * 10 + 500, -CORNER.y1 * 10 + 300),
    (CORNER.x1 * 10 + 500, -CORNER.y0 * 10 + 300), (CORNER.x0 * 10 + 200, -CORNER.y0 * 10 + 300),
])  # fmt: skip


@pytest.fixture(scope="module")
def composite():
    rng = np.random.default_rng(5)
    values = rng.integers(1200, 3000, (3, *STORE.shape)).astype(np.uint16)
    values[:, 120:140, 100:130] = 0
    values[1, 150, 110:190] = 0
    return values


def reader(values):
    def read(window):
        rows, columns = window.slices_in(STORE)
        part = values[:, rows, columns]
        ramp = np.arange(STORE.height_px)[:, None] + np.arange(STORE.width_px)
        return part, np.where((part != 0).all(axis=0), 1 + ramp[rows, columns], 0).astype(np.uint16)

    return read


def scanned(model, values, chunk_px, judge=None, threshold=0.5):
    """The corner's grids put together from the parts, and what was found."""
    ground = Ground(TILE.zone, TILE.window, AOI)
    asked = AskedPixels(tile=TILE, card=model.card, ground=ground, chunk_px=chunk_px)
    finer = model.card.finer
    probabilities = np.full((2, CORNER.height_px * finer, CORNER.width_px * finer), np.nan, np.float32)
    looks = np.full(CORNER.shape, UNJUDGED, np.uint16)
    found, stats = [], {}
    for part in detect_pixels(asked, reader(values), model, judge, threshold):
        rows, columns = part.window.slices_in(CORNER)
        assert (looks[rows, columns] == UNJUDGED).all(), "no pixel is answered for twice"
        looks[rows, columns] = part.looks
        if part.probabilities is not None:
            rows, columns = part.window.times(finer).slices_in(CORNER.times(finer))
            probabilities[:, rows, columns] = part.probabilities
        found.append(part.found)
        stats = {name: value + stats.get(name, 0) for name, value in part.stats.items()}
    return asked, probabilities, looks, Found.together(found), stats


@pytest.mark.parametrize(("mode", "finer"), [("fcn", 1), ("fcn", 4), ("window", 1), ("window", 2)])
def test_chunks_of_any_size_give_what_one_gives(composite, mode, finer):
    model = segmenter(mode, finer)
    _, whole, looks, found, stats = scanned(model, composite, 9216)
    assert np.nanstd(whole[1]) > 0.05
    assert 0 < len(found) < np.isfinite(whole[1]).sum()
    for chunk_px in (32, 96):
        _, cut, cut_looks, cut_found, cut_stats = scanned(model, composite, chunk_px)
        np.testing.assert_allclose(cut, whole, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(cut_looks, looks)
        near = np.abs(found.scores - 0.5) > 2e-5
        assert set(zip(found.rows[near], found.columns[near], strict=True)) <= set(
            zip(cut_found.rows, cut_found.columns, strict=True)
        )
        assert cut_stats == pytest.approx(stats, rel=1e-9)


def test_the_whole_is_one_pass_over_the_tiles_own_corner(composite):
    """Oracle: the network alone, on a core that begins on its lattice, cut to the judged pixels by hand."""
    model = segmenter("fcn")
    _, probabilities, _, _, _ = scanned(model, composite, 9216)
    step = model.card.stride_px
    core = Window(
        x0=CORNER.x0 // step * step, y0=CORNER.y0 // step * step, x1=-(-CORNER.x1 // step) * step,
        y1=-(-CORNER.y1 // step) * step,
    )  # fmt: skip
    rows, columns = core.buffer(model.card.halo_px).slices_in(STORE)
    scores = model.score_core(composite[:, rows, columns])
    rows, columns = CORNER.slices_in(core)
    seen = np.isfinite(probabilities[1])
    np.testing.assert_allclose(probabilities[:, seen], scores[:, rows, columns][:, seen], atol=1e-5)


def test_a_pixel_is_observed_when_itself_has_a_look_in_every_band(composite):
    _, probabilities, looks, found, stats = scanned(segmenter("window", 2), composite, 64, threshold=0.0)
    inner = CORNER.slices_in(STORE)
    seen = (composite != 0).all(axis=0)[inner]
    judged = looks != UNJUDGED
    finite = np.isfinite(probabilities[1])
    assert not finite[~(seen & judged).repeat(2, 0).repeat(2, 1)].any()
    assert len(found) == finite.sum() == stats["observed_cells"]
    assert stats["seen_km2"] < stats["judged_km2"]
    assert ((looks == 0) == (judged & ~seen)).all()
    area = shapely.intersection(AOI, frame_of(TILE.zone, CORNER)).area / 1e6
    assert stats["judged_km2"] == pytest.approx(area, rel=2e-3)


def test_pixels_share_the_verdict_of_their_square_and_hits_know_where_they_lie(composite):
    judge = make_model("impact", ("high_impact", "low_impact", "no_ore"))
    model = segmenter("fcn", 2)
    asked, _, looks, found, _ = scanned(model, composite, 64, judge)
    assert core_reach_px(model.card, judge.card) == 32
    bench = Bench(
        tile=TILE, lattice=asked.lattice, cells=asked.cells, impact=judge.card, scenes={"s": dt.date(2024, 5, 1)},
        clear_in=lambda windows: [("s",)] * len(windows),
    )  # fmt: skip
    hits = hits_of(found, bench)
    assert len(hits) == len(found) > 50
    anchor = asked.lattice.anchor_y
    for hit, row, column in list(zip(hits, found.rows, found.columns, strict=True))[::37]:
        x, y = int(TILE.window.x0 + column // 2), int(TILE.window.y0 + row // 2)
        assert hit.cell == str(asked.lattice.cell_in(asked.cells, int(row), int(column)))
        assert shapely.contains_xy(hit.polygon, hit.lon, hit.lat)
        assert hit.clear_looks == looks[y - CORNER.y0, x - CORNER.x0]
        left, top = x // JUDGED_PX * JUDGED_PX + 3, (y - anchor) // JUDGED_PX * JUDGED_PX + anchor + 3
        chip = Window(x0=left, y0=top, x1=left + 21, y1=top + 21)
        rows, columns = chip.slices_in(STORE)
        expected = judge.score(composite[:, rows, columns][None])[0]
        np.testing.assert_allclose([hit.impact_high, hit.impact_low, hit.no_ore], expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["fcn", "window"])
def test_the_margin_holds_what_cores_and_chips_read(mode):
    """Whatever the phase, a core that holds a pixel reads no farther from it than the reach."""
    judge = make_model("impact", ("high_impact", "low_impact", "no_ore")).card
    for card in (
        segmenter_card(mode),
        segmenter_card(
            mode, **({"window_px": 32, "halo_px": 0} if mode == "window" else {"stride_px": 8, "halo_px": 40})
        ),
    ):
        reach = reach_px(card, judge, None)
        for x in range(300):
            core = x // card.stride_px * card.stride_px
            chip = x // JUDGED_PX * JUDGED_PX + 3
            wide = core_reach_px(card, judge)
            assert x - reach <= core - wide
            assert core + card.stride_px + wide <= x + 1 + reach
            assert core - wide <= chip
            assert chip + 21 <= core + card.stride_px + wide
