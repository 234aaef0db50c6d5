import pickle

import pytest

from tiling import Tile, TileId, Window, affine_of, frame_of, margin_for, northing, pixel_at, row_of


def test_a_tile_is_named_and_found_again():
    tile = TileId(zone=32723, column=4, row=81)
    assert str(tile) == "32723-004-081"
    assert TileId.parse("32723-004-081") == tile
    assert TileId.holding(32723, 4 * 92160, 81 * 92160) == tile
    assert TileId.holding(32723, 5 * 92160 - 1e-6, 82 * 92160 - 1e-6) == tile


@pytest.mark.parametrize(
    "text", ["", "32723-004", "32723-4-81-2", "99999-004-081", "32600-001-001", "32661-001-001", "x"]
)
def test_what_is_no_tile_is_refused(text):
    with pytest.raises(ValueError, match=r"tile id|UTM zone"):
        TileId.parse(text)


def test_the_geobox_is_the_read_window():
    tile = Tile(id=TileId(zone=32633, column=5, row=60), margin_px=108)
    box = tile.geobox()
    assert box.shape == (9216 + 216, 9216 + 216)
    assert box.crs.epsg == 32633
    bounds = box.extent.boundingbox
    assert (bounds.left, bounds.bottom) == (5 * 92160 - 1080, 60 * 92160 - 1080)
    assert (bounds.right, bounds.top) == (6 * 92160 + 1080, 61 * 92160 + 1080)
    for gsd_m in (20, 60):
        coarse = tile.geobox(gsd_m)
        assert coarse.extent.boundingbox == bounds
        assert coarse.resolution.x == gsd_m


def test_rows_go_south_in_pixels_and_north_in_tiles():
    low, high = (TileId(zone=32633, column=5, row=row).window for row in (60, 61))
    assert high.y1 == low.y0
    assert low.y1 == -60 * 9216
    assert Tile(id=TileId(zone=32633, column=5, row=60), margin_px=0).core == low


def test_a_window_has_its_affine():
    window = Window(x0=-3, y0=7, x1=30, y1=40)
    assert affine_of(32633, window) @ (0, 0) == (-30, -70)
    assert affine_of(32633, window, 270) @ (1, 2) == (-2 * 270, -9 * 270)
    tile = Tile(id=TileId(zone=32633, column=5, row=60), margin_px=6)
    assert tile.transform(tile.read) == tile.geobox().transform
    assert tile.transform(tile.read, 60) == tile.geobox(60).transform
    # An odd corner is rounded outward, to the west and to the north.
    assert tile.transform(window, 20) @ (0, 0) == (-40, -60)


def test_rows_are_counted_southward_from_the_equator():
    assert (northing(32633, 0), northing(32733, 0)) == (0, 10_000_000)
    assert northing(32633, -566_000) == 5_660_000
    assert northing(32733, 230_000) == 7_700_000
    assert (pixel_at(32633, 605, 25), pixel_at(32733, 605, 9_999_995)) == ((60, -3), (60, 0))
    window = Window(x0=60, y0=6, x1=66, y1=12)
    assert affine_of(32733, window.at(6), 60) @ (0, 0) == (600, 9_999_940)
    assert frame_of(32733, window).bounds == (600, 9_999_880, 660, 9_999_940)
    assert frame_of(32633, window).bounds == (600, -120, 660, -60)


@pytest.mark.parametrize("top_m", [10_000_000, 8_700_040, 7_900_000, 6_300_040, 6_200_020])
def test_pixels_of_southern_granules_are_those_of_the_zone(top_m):
    """Northings where public granules begin: 40 m past a multiple of 60."""
    for gsd_m in (10, 20, 60):
        assert row_of(32721, top_m, gsd_m).is_integer()
        assert northing(32721, row_of(32721, top_m, gsd_m), gsd_m) == top_m
    assert not row_of(32621, top_m, 60).is_integer()


@pytest.mark.parametrize("row", range(0, 109, 9))
@pytest.mark.parametrize("margin_px", [0, 6, 108])
def test_what_a_tile_reads_are_whole_pixels_of_every_size(row, margin_px):
    """In northern zones core and margin, in southern ones up to 5 px more above and below."""
    for zone in (32633, 32733):
        tile = Tile(id=TileId(zone=zone, column=5, row=row), margin_px=margin_px)
        least = tile.core.buffer(margin_px)
        assert northing(zone, tile.core.y1) == row * 92160
        assert tile.read.contains(least)
        assert (tile.read.x0, tile.read.x1) == (least.x0, least.x1)
        if zone < 32700:
            assert tile.read == least
        assert least.y0 - tile.read.y0 < 6
        assert tile.read.y1 - least.y1 < 6
        bounds = frame_of(zone, tile.read).bounds
        for gsd_m in (10, 20, 60):
            assert tile.read.at(gsd_m // 10).times(gsd_m // 10) == tile.read
            assert tile.geobox(gsd_m).extent.boundingbox.bbox == bounds
        assert all((northing(zone, 0) - edge) % 60 == 0 for edge in bounds[1::2])


def test_pixels_that_do_not_fit_are_refused():
    tile = Tile(id=TileId(zone=32633, column=5, row=60), margin_px=6)
    for gsd_m in (0, 15, 40, 70):
        with pytest.raises(ValueError, match="expected 10, 20, 30 or 60"):
            tile.geobox(gsd_m)
    with pytest.raises(ValueError, match="multiple of 6"):
        Tile(id=tile.id, margin_px=7)


@pytest.mark.parametrize(
    ("stride_px", "halo_px", "margin_px"), [(27, 94, 108), (1, 0, 6), (27, 0, 18), (2, 5, 6), (300, 7, 162)]
)
def test_the_margin_is_the_least_that_serves(stride_px, halo_px, margin_px):
    assert margin_for(stride_px, halo_px) == margin_px


def test_tiles_pickle_and_sort():
    tiles = [Tile(id=TileId(zone=32633, column=column, row=2), margin_px=6) for column in (3, 1, 2)]
    assert [tile.id.column for tile in sorted(pickle.loads(pickle.dumps(tiles)))] == [1, 2, 3]  # noqa: S301
