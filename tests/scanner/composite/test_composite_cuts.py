"""Parts and blocks partition the ground on the files' own lines; warps and masks do not depend on the window."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import Granule, write_tiff

from scanner.composite.clouds import CLOUDLESS_BANDS, Masks, coarse_metres, mask_kind
from scanner.composite.cuts import Lines, Source, blocks_of, cut
from scanner.composite.read import Grid, Reader
from scanner.composite.reduce import coding_of
from scanner.composite.warp import extent_of, place
from scanner.types import Asset, Scene
from tiling import Window

GRID = Grid(
    crs="EPSG:32634", x0=199_980.0, y0=5_700_000.0, dx=10.0, dy=-10.0, width_px=600, height_px=500, block=(64, 64),
    itemsize=2, overviews=(),
)  # fmt: skip

edges = st.integers(-300, 300).map(lambda n: n * 6)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    x0, y0 = draw(edges), draw(edges)
    return Window(x0=x0, y0=y0, x1=x0 + 6 * draw(st.integers(1, 400)), y1=y0 + 6 * draw(st.integers(1, 400)))


@st.composite
def sources(draw: st.DrawFn) -> Source:
    x0, y0 = draw(st.integers(-3000, 3000)), draw(st.integers(-3000, 3000))
    size, block = draw(st.integers(100, 4000)), draw(st.sampled_from([64, 256, 512, 1024]))
    lines = {gsd: Lines.of_blocks(-(-y0 * 10 // gsd), -(-x0 * 10 // gsd), (block, block)) for gsd in (10, 20, 60)}
    return Source(extent=Window(x0=x0, y0=y0, x1=x0 + size, y1=y0 + size), lines=lines)


@settings(deadline=None, max_examples=60)
@given(windows(), st.lists(sources(), max_size=3))
def test_every_pixel_is_in_one_block(wanted: Window, found: list[Source]) -> None:
    parts = cut([wanted], found)
    for gsd in (10, 20, 60):
        outer = wanted.at(gsd // 10)
        hits = np.zeros(outer.shape, np.uint8)
        for part in parts:
            for block in blocks_of(part, gsd):
                hits[block.slices_in(outer)] += 1
        assert (hits == 1).all()


def test_a_granule_is_cut_on_its_own_blocks() -> None:
    lines = {10: Lines.of_blocks(-1000, 500, (1024, 1024)), 20: Lines.of_blocks(-500, 250, (512, 512))}
    source = Source(extent=Window(x0=500, y0=-1000, x1=11480, y1=9980), lines=lines)
    (part,) = cut([Window(x0=600, y0=0, x1=9000, y1=8400)], [source])
    first, second, *_ = blocks_of(part, 10)
    assert (first.x0, first.x1, first.y1, second.x1) == (600, 500 + 1024, -1000 + 1024, 500 + 2048)
    assert [(block.x1 - 250) % 1024 for block in blocks_of(part, 20)][:3] == [0, 0, 0]


@pytest.mark.parametrize("epsg", [32633, 32634, 4326])
def test_a_warp_does_not_depend_on_the_window(epsg: int) -> None:
    grid = GRID if epsg == 32634 else Grid(
        crs=f"EPSG:{epsg}", x0=17.0 if epsg == 4326 else 601_003.3, y0=51.0 if epsg == 4326 else 5_650_000.0,
        dx=9e-5 if epsg == 4326 else 10.0, dy=-9e-5 if epsg == 4326 else -10.0, width_px=600, height_px=500,
        block=(64, 64), itemsize=2, overviews=(),
    )  # fmt: skip
    reach = extent_of(grid, 32633)
    assert reach is not None
    whole = Window(x0=reach.x0 + 100, y0=reach.y0 + 100, x1=reach.x0 + 300, y1=reach.y0 + 260)
    pixels = np.arange(500 * 600, dtype=np.uint32).reshape(500, 600).astype(np.uint16)

    def values(window: Window) -> np.ndarray:
        placement = place(grid, 32633, 10, window)
        assert placement is not None
        source = placement.source
        return placement.apply(pixels[source.y0 : source.y1, source.x0 : source.x1], 0)

    expected = values(whole)
    part = Window(x0=whole.x0 + 33, y0=whole.y0 + 50, x1=whole.x0 + 90, y1=whole.y0 + 51)
    np.testing.assert_array_equal(values(part), expected[part.slices_in(whole)])
    assert (expected != 0).mean() > 0.5


def test_ground_that_cannot_be_projected_is_outside() -> None:
    assert place(GRID, 32734, 10, Window(x0=0, y0=0, x1=60, y1=60)) is None


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.0), (1e-4, -0.1), (2e-4, -0.2), (1.0, 0.0)])
def test_stored_values_are_reflectance(scale: float, offset: float) -> None:
    coding = coding_of(scale, offset, 7)
    dn = np.array([1, 2, 3000, 6000, 65535], np.int64)
    stored = np.clip(dn + coding.shift, 1, 65535) if coding.table is None else coding.table[dn]
    expected = np.clip(np.floor((dn * scale + offset) * 1e4 + 1000 + 0.5), 1, 65535)
    np.testing.assert_array_equal(stored, expected)
    assert coding.table is None or coding.table[7] == 0


def l1c(folder: Path, size_m: int = 6000) -> Scene:
    rng, assets = np.random.default_rng(0), {}
    for band in CLOUDLESS_BANDS:
        gsd = {"B01": 60, "B09": 60, "B10": 60, "B02": 10, "B04": 10, "B08": 10}.get(band, 20)
        pixels = rng.integers(300, 6000, (size_m // gsd, size_m // gsd), dtype=np.uint16)
        pixels = np.where(np.arange(len(pixels)) > len(pixels) // 2, 400 + pixels // 20, 3000 + pixels // 2)
        pixels[:, : 600 // gsd] = 0
        granule = Granule(id="l1c", look="", x_m=600_000, y_m=5_700_000)
        write_tiff(folder / f"{band}.tif", pixels.astype(np.uint16), gsd, granule)
        assets[band] = Asset(href=str(folder / f"{band}.tif"), gsd_m=float(gsd), offset=-0.1)
    return Scene(
        id="l1c", collection="made", level="l1c", time=None, platform="", look="look20210105", tile="", baseline="",
        version="", cloud_cover=None, epsg=32633, footprint=None, assets=assets,
    )  # fmt: skip


def test_s2cloudless_does_not_depend_on_the_ground_it_is_asked_for(tmp_path: Path) -> None:
    scene = l1c(tmp_path)
    assert mask_kind(scene) == "s2cloudless"
    whole = Window(x0=60_000, y0=-570_000, x1=60_600, y1=-569_400)
    parts = [whole, Window(x0=60_150, y0=-569_750, x1=60_450, y1=-569_600), whole.buffer(600)]
    seen = []
    for ground in parts:
        reader, out = Reader(), np.zeros((90, 120), np.uint8)
        with reader.session():
            masks = Masks(reader, 32633, ground, 10)
            masks.read(scene, Window(x0=60_200, y0=-569_730, x1=60_320, y1=-569_640), out)
        reader.close()
        seen.append(out)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    assert len(np.unique(seen[0])) == 2


def test_s2cloudless_covers_what_has_data(tmp_path: Path) -> None:
    scene = l1c(tmp_path)
    reader, out = Reader(), np.zeros((600, 600), np.uint8)
    whole = Window(x0=60_000, y0=-570_000, x1=60_600, y1=-569_400)
    with reader.session():
        Masks(reader, 32633, whole, 10).read(scene, whole, out)
    reader.close()
    assert not out[:, :60].any()
    assert (out[:, 60:] & 1).all()


def test_the_coarse_pixel_follows_the_granule() -> None:
    assert coarse_metres(109_800) == 120
    assert coarse_metres(2_560) == 60
