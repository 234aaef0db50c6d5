"""However the ground comes: the pixels of plain numpy, each shard stored once, no more waiting than was reckoned."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.store.composite import CompositeWriter, open_scenes, read_window
from scanner.store.shards import Room, Shards
from tiling import Tile, TileId, Window

TILE = Tile(id=TileId(zone=32633, column=6, row=61), margin_px=108)
X0, Y0 = TILE.read.x0, TILE.read.y0
BANDS = {"B02": 10, "B05": 20, "B01": 60}
OUTER = Window(x0=-30, y0=60, x1=300, y1=300)

edges = st.integers(1, 9)
few = settings(max_examples=60, deadline=None, derandomize=True)


def spans(low: int, high: int, cuts: list[int]) -> list[tuple[int, int]]:
    inside = sorted({low, high, *(cut for cut in cuts if low < cut < high)})
    return list(pairwise(inside))


def panels(window: Window, rows: list[int], columns: list[int]) -> list[Window]:
    """The window cut at rows and columns, row by row."""
    return [
        Window(x0=x0, y0=y0, x1=x1, y1=y1)
        for y0, y1 in spans(window.y0, window.y1, rows)
        for x0, x1 in spans(window.x0, window.x1, columns)
    ]


@st.composite
def wanted(draw) -> list[Window]:
    """One to three disjoint windows in OUTER, side by side."""
    cuts = sorted(draw(st.sets(st.integers(OUTER.x0, OUTER.x1), min_size=2, max_size=4)))
    tops = [sorted(draw(st.sets(st.integers(OUTER.y0, OUTER.y1), min_size=2, max_size=2))) for _ in cuts[1:]]
    return [Window(x0=x0, y0=y0, x1=x1, y1=y1) for (x0, x1), (y0, y1) in zip(pairwise(cuts), tops, strict=True)]


def lines(low: int, high: int):
    return st.lists(st.integers(low, high), max_size=6)


class Stored:
    """A store in memory that counts."""

    def __init__(self, shard_px: tuple[int, int], dtype: type = np.uint16) -> None:
        self.pixels = np.zeros((2, *OUTER.shape), dtype)
        self.shard_px = shard_px
        self.times: dict[tuple[int, int], int] = {}

    def __call__(self, window: Window, planes) -> None:
        rows, cols = window.slices_in(OUTER)
        place = rows.start // self.shard_px[0], cols.start // self.shard_px[1]
        assert place == ((rows.stop - 1) // self.shard_px[0], (cols.stop - 1) // self.shard_px[1])
        self.times[place] = self.times.get(place, 0) + 1
        for layer, plane in zip(self.pixels, planes, strict=True):
            layer[rows, cols] = plane


@few
@given(st.data(), wanted(), lines(OUTER.y0, OUTER.y1), lines(OUTER.x0, OUTER.x1), st.integers(0, 2**31))
def test_any_cut_in_any_order_stores_every_shard_once(data, windows, rows, columns, seed):
    shard_px = (data.draw(st.integers(8, 120)), data.draw(st.integers(8, 400)))
    whole = np.random.default_rng(seed).integers(0, 65536, (2, *OUTER.shape), dtype=np.uint16)
    parts = data.draw(st.permutations([part for window in windows for part in panels(window, rows, columns)]))
    dropped = data.draw(st.integers(0, 2))
    most = data.draw(st.sampled_from([None, 0, 5_000, 40_000]))
    store, room = Stored(shard_px), Room(most)
    shards = Shards(OUTER, shard_px, windows, store, room)
    expected = np.zeros_like(whole)
    for part in parts[dropped:]:
        at = (slice(None), *part.slices_in(OUTER))
        expected[at] = whole[at]
        shards.put(part, whole[at])
        assert most is None or room.held_nbytes <= most
    if not dropped:
        assert room.held_nbytes == 0
    shards.finish()
    assert room.held_nbytes == 0
    np.testing.assert_array_equal(store.pixels, expected)
    if most is None:
        assert set(store.times.values()) <= {1}


def test_counts_wait_as_bytes_until_one_is_larger():
    window = Window(x0=0, y0=60, x1=40, y1=100)
    top, bottom = Window(x0=0, y0=60, x1=40, y1=80), Window(x0=0, y0=80, x1=40, y1=100)
    store, room = Stored((40, 400)), Room(None)
    shards = Shards(OUTER, (40, 400), [window], store, room)
    value = np.full((20, 40), 5000, np.uint16)
    shards.put(top, [value, np.full((20, 40), 255, np.uint8)])
    assert room.held_nbytes == 40 * 40 * 3
    shards.put(bottom, [value, np.full((20, 40), 256, np.uint16)])
    assert room.held_nbytes == 0
    rows, cols = window.slices_in(OUTER)
    np.testing.assert_array_equal(store.pixels[1, rows, cols], np.repeat([255, 256], 20)[:, None].repeat(40, 1))
    np.testing.assert_array_equal(store.pixels[0, rows, cols], 5000)


def write_all(folder: Path, parts: list[Window], **options: object) -> dict[str, np.ndarray]:
    """Every band and the scenes' bits, from two threads; what was written, over the read window."""
    rng = np.random.default_rng(0)
    writer = CompositeWriter(folder, TILE, BANDS, **options)
    whole = {
        band: rng.integers(1, 65536, TILE.read.at(gsd // 10).shape, dtype=np.uint16) for band, gsd in BANDS.items()
    }
    seen = {band: np.zeros_like(pixels) for band, pixels in whole.items()}

    def write(part: Window, band: str) -> None:
        region = part.at(BANDS[band] // 10)
        at = region.slices_in(TILE.read.at(BANDS[band] // 10))
        seen[band][at] = whole[band][at]
        writer.write(band, region, whole[band][at], whole[band][at] % 300)

    with ThreadPoolExecutor(2) as pool:
        for part in parts:
            list(pool.map(write, [part] * len(BANDS), BANDS))
            region = part.at(2)
            writer.write_scenes(["s1", "s2"], 20, region, np.full((1, *region.shape), 64, np.uint8))
    writer.finish()
    return seen


def test_what_a_composite_holds_is_what_was_written(tmp_path):
    window = Window(x0=X0 + 300, y0=Y0 + 900, x1=X0 + 2700, y1=Y0 + 2700)
    parts = panels(window, [Y0 + 1380, Y0 + 1500], [X0 + 1200])
    seen = write_all(tmp_path, parts[::-1], windows=[window])
    for band, gsd in BANDS.items():
        values, looks = read_window(tmp_path, TILE, (band,), window.buffer(60))
        fine = seen[band].repeat(gsd // 10, 0).repeat(gsd // 10, 1)[window.buffer(60).slices_in(TILE.read)]
        np.testing.assert_array_equal(values[0], fine)
        np.testing.assert_array_equal(looks, fine % 300)
    scenes = open_scenes(tmp_path, TILE)
    assert scenes(Window(x0=window.x1 - 3, y0=window.y1 - 3, x1=window.x1, y1=window.y1)) == ("s2",)
    assert scenes(Window(x0=window.x1 + 1, y0=window.y1, x1=window.x1 + 9, y1=window.y1 + 9)) == ()


def test_the_same_pixels_are_the_same_bytes(tmp_path):
    window = Window(x0=X0, y0=Y0, x1=X0 + 4800, y1=Y0 + 1500)
    first, *others = (tmp_path / str(number) for number in range(4))
    for folder in (first, *others):
        write_all(folder, panels(window, [Y0 + 720], [X0 + 2400]), windows=[window])
    files = [path for path in first.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        for other in others:
            assert (other / path.relative_to(first)).read_bytes() == path.read_bytes(), path


def test_the_files_of_a_composite_are_written_once_each(tmp_path):
    window = Window(x0=X0 + 300, y0=Y0 + 900, x1=X0 + 2700, y1=Y0 + 2700)
    parts = panels(window, [Y0 + 1380, Y0 + 1500], [X0 + 1200])
    once, through = (written(tmp_path / str(len(windows)), parts, windows) for windows in ([window], []))
    assert set(once.values()) == {1}
    assert set(through) == set(once)
    assert max(through.values()) > 1


def written(folder: Path, parts: list[Window], windows: list[Window]) -> dict[str, int]:
    """How often each file of a band changed: looked at after every call."""
    writer = CompositeWriter(folder, TILE, BANDS, windows)
    stamps, changes = {}, {}

    def look() -> None:
        for path in (folder / "composite.zarr").glob("*/r*m/*/c/*/*/*"):
            name, stamp = str(path.relative_to(folder)), path.stat().st_mtime_ns
            changes[name] = changes.get(name, 0) + (stamps.get(name) != stamp)
            stamps[name] = stamp

    for part in parts:
        for band, gsd in BANDS.items():
            ones = np.ones(part.at(gsd // 10).shape, np.uint16)
            writer.write(band, part.at(gsd // 10), ones, ones)
            look()
    writer.finish()
    look()
    return changes


def test_what_waited_in_a_unit_that_was_killed_is_gone_and_built_afresh(tmp_path):
    window = Window(x0=X0 + 300, y0=Y0 + 900, x1=X0 + 900, y1=Y0 + 1500)
    ones = np.ones((300, 600), np.uint16)
    half = Window(x0=window.x0, y0=window.y0, x1=window.x1, y1=window.y0 + 300)
    CompositeWriter(tmp_path, TILE, BANDS, [window]).write("B02", half, ones, ones)
    stored, _ = read_window(tmp_path, TILE, ("B02",), half)
    assert stored[0, :124].all()
    assert not stored[0, 124:].any()
    seen = write_all(tmp_path, [window], windows=[window])
    values, _ = read_window(tmp_path, TILE, ("B02",), window)
    np.testing.assert_array_equal(values[0], seen["B02"][window.slices_in(TILE.read)])
