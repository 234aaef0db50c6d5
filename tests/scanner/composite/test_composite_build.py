"""Composites of granules made by code equal brute force; nothing but a pixel's own looks shapes it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from composite_oracle import Oracle, check, request_for
from numpy.typing import NDArray
from pyproj import Transformer
from synthetic import BANDS, Granule, make

from scanner.composite.build import CompositeRequest, band_gsd, build_composite
from scanner.store.composite import read_window
from scanner.types import Scene
from tiling import Window

X_M, Y_M = 600_000, 5_700_000
WINDOW = Window(x0=X_M // 10 + 24, y0=-Y_M // 10 + 30, x1=X_M // 10 + 192, y1=-Y_M // 10 + 168)


def looks(folder: Path, count: int = 6, **more: object) -> list[Scene]:
    """Looks of one granule, in several cloud classes, on both sides of the change of baseline."""
    return [
        make(
            folder,
            Granule(
                id=f"one{n}", look=f"look2021{n + 1:02d}05", x_m=X_M, y_m=Y_M, seed=n,
                cloud_cover=(5.0, 40.0, None, 90.0)[n % 4], offset=-0.1 if n % 2 else 0.0, **more,
            ),
        )
        for n in range(count)
    ]  # fmt: skip


def overlapping(folder: Path, count: int = 4) -> list[Scene]:
    """A second granule of each look, one kilometre east, in another cloud class."""
    return [
        make(
            folder,
            Granule(
                id=f"two{n}", look=f"look2021{n + 1:02d}05", x_m=X_M + 960, y_m=Y_M + 120, seed=100 + n,
                cloud_cover=(70.0, 40.0, 5.0, 30.0)[n % 4], border_m=60,
            ),
        )
        for n in range(count)
    ]  # fmt: skip


def other_zone(folder: Path, count: int = 3) -> list[Scene]:
    x, y = Transformer.from_crs("EPSG:32633", "EPSG:32634", always_xy=True).transform(X_M + 300, Y_M)
    return [
        make(
            folder,
            Granule(
                id=f"far{n}", look=f"look2021{n + 2:02d}05", x_m=x // 60 * 60, y_m=y // 60 * 60, seed=200 + n,
                epsg=32634,
            ),
        )
        for n in range(count)
    ]  # fmt: skip


def build(request: CompositeRequest, folder: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    build_composite(request, folder)
    return read_window(folder, request.tile, request.bands, request.windows[0])


@pytest.mark.parametrize("k", [None, 1, 2, 3])
def test_one_granule_a_look(tmp_path: Path, k: int | None) -> None:
    request = request_for(looks(tmp_path), [WINDOW], BANDS, zone=32633, looks=k)
    report = check(request, tmp_path)
    assert report.looks == 6
    assert not report.faults
    assert 0 < report.nbytes_needed <= report.nbytes_decoded


@pytest.mark.parametrize(("k", "most"), [(None, None), (1, None), (2, 3), (None, 2)])
def test_overlapping_granules_of_one_look(tmp_path: Path, k: int | None, most: int | None) -> None:
    scenes = looks(tmp_path) + overlapping(tmp_path)
    check(request_for(scenes, [WINDOW], BANDS, zone=32633, looks=k, max_looks=most), tmp_path)


@pytest.mark.parametrize("k", [None, 2])
def test_granules_of_two_zones(tmp_path: Path, k: int | None) -> None:
    scenes = looks(tmp_path, 3) + other_zone(tmp_path)
    request = request_for(scenes, [WINDOW], BANDS, zone=32633, looks=k)
    check(request, tmp_path)


def test_pixels_that_do_not_lie_on_the_zone_grid(tmp_path: Path) -> None:
    """In a northern zone a granule begins at a northing of 40 m beyond a multiple of 60; another lies anywhere."""
    shifted = [
        make(tmp_path, Granule(id="s1", look="look20210105", x_m=X_M, y_m=Y_M + 40, seed=1)),
        make(tmp_path, Granule(id="s2", look="look20210205", x_m=X_M - 13.7, y_m=Y_M + 6.1, seed=2)),
    ]
    check(request_for(shifted, [WINDOW], BANDS, zone=32633), tmp_path)


def test_values_saturate_and_never_wrap(tmp_path: Path) -> None:
    scenes = looks(tmp_path, 3, low=64000, high=65536)
    request = request_for(scenes, [WINDOW], ("B02", "B05"), zone=32633)
    check(request, tmp_path)
    values, _ = read_window(tmp_path, request.tile, ("B02",), WINDOW)
    assert values.max() == 65535
    assert not ((values > 0) & (values < 64000)).any()


def test_scenes_without_a_mask_go_by_nodata(tmp_path: Path) -> None:
    scenes = looks(tmp_path, 3, scl=False, border_m=120)
    report = check(request_for(scenes, [WINDOW], BANDS, zone=32633), tmp_path)
    assert report.mask_kinds == ("nodata",)


@pytest.mark.parametrize("k", [None, 1, 2])
def test_without_a_mask_each_band_goes_by_its_own_nodata(tmp_path: Path, k: int | None) -> None:
    scenes = looks(tmp_path, 4, scl=False)
    for n, scene in enumerate(scenes):
        for band, rows in (("B02", slice(0, 60 + n)), ("B05", slice(20, 40))):
            with rasterio.open(scene.assets[band].href, "r+") as file:
                pixels = file.read(1)
                pixels[rows] = 0
                file.write(pixels, 1)
    request = request_for(scenes, [WINDOW], ("B02", "B05"), zone=32633, looks=k)
    check(request, tmp_path)
    _, blue = read_window(tmp_path, request.tile, ("B02",), WINDOW)
    _, edge = read_window(tmp_path, request.tile, ("B05",), WINDOW)
    assert not blue[:30].any()
    assert (edge[:8] == (k or 4)).mean() > 0.5


def test_scenes_with_and_without_a_mask(tmp_path: Path) -> None:
    bare = make(tmp_path, Granule(id="bare", look="look20210905", x_m=X_M, y_m=Y_M, scl=False, seed=9))
    report = check(request_for([*looks(tmp_path, 3), bare], [WINDOW], BANDS, zone=32633, looks=2), tmp_path)
    assert report.mask_kinds == ("nodata", "scl")


def test_a_band_is_as_fine_as_its_finest_file(tmp_path: Path) -> None:
    scene = looks(tmp_path, 1)[0]
    assert band_gsd([scene], BANDS) == {"B02": 10, "B04": 10, "B05": 20, "B11": 20, "B01": 60}
    fine = replace(scene, assets={**scene.assets, "B05": scene.assets["B02"]})
    assert band_gsd([scene, fine], ("B05", "B01")) == {"B05": 10, "B01": 60}
    check(request_for([scene, replace(fine, id="fine", look="x20210705")], [WINDOW], ("B05",), zone=32633), tmp_path)


def cuts() -> list[Sequence[Window]]:
    x0, y0, x1, y1 = WINDOW.x0, WINDOW.y0, WINDOW.x1, WINDOW.y1
    halves = [Window(x0=x0, y0=y0, x1=x0 + 66, y1=y1), Window(x0=x0 + 66, y0=y0, x1=x1, y1=y1)]
    return [
        halves,
        [*WINDOW.subtract(hole := Window(x0=x0 + 30, y0=y0 + 42, x1=x0 + 96, y1=y0 + 78)), hole],
    ]


@pytest.mark.parametrize("k", [None, 2])
def test_windows_blocks_memory_and_threads_change_nothing(tmp_path: Path, k: int | None) -> None:
    scenes = looks(tmp_path) + overlapping(tmp_path) + other_zone(tmp_path, 2)
    request = request_for(scenes, [WINDOW], BANDS, zone=32633, looks=k)
    expected = build(request, tmp_path / "a")
    others = [replace(request, windows=tuple(windows)) for windows in cuts()]
    others += [replace(request, memory_bytes=20_000), replace(request, memory_bytes=300_000, threads=1)]
    other_blocks = looks(tmp_path, block=64) + overlapping(tmp_path) + other_zone(tmp_path, 2)
    for other in (*others, replace(request, scenes=tuple(reversed(other_blocks)))):
        build_composite(other, tmp_path / "b")
        for got, wanted in zip(read_window(tmp_path / "b", request.tile, BANDS, WINDOW), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_thread_and_two_write_the_same_files(tmp_path: Path) -> None:
    scenes = looks(tmp_path) + overlapping(tmp_path)
    request = request_for(scenes, [WINDOW], BANDS, zone=32633, looks=2)
    for threads in (1, 2):
        build_composite(replace(request, threads=threads), tmp_path / str(threads))
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


@pytest.mark.parametrize("k", [1, 2])
def test_a_new_night_moves_no_pixel_that_has_its_looks(tmp_path: Path, k: int) -> None:
    """Shadows alone: what is called cloud may be taken back by the rescue once there are more looks."""
    rng = np.random.default_rng(3)
    scenes = []
    for n in range(7):
        scl = np.where(rng.random((120, 120)) < 0.4, 3, 4).astype(np.uint8)
        cloud = 99.0 if n == 6 else 10.0
        granule = Granule(id=f"n{n}", look=f"look2021{n + 1:02d}05", x_m=X_M, y_m=Y_M, seed=n, cloud_cover=cloud)
        scenes.append(make(tmp_path, granule, scl))
    request = request_for(scenes[:6], [WINDOW], ("B02",), zone=32633, looks=k)
    before, clear = build(request, tmp_path / "a")
    after, _ = build(replace(request, scenes=tuple(scenes)), tmp_path / "b")
    assert 0 < (clear < k).sum() < (clear == k).sum()
    np.testing.assert_array_equal(after[0][clear == k], before[0][clear == k])


def quarry(folder: Path, cloudy_from: int = 1) -> tuple[list[Scene], Window]:
    """Ten looks of clear ground; a bare square in the middle is called cloud in all but the first."""
    scenes = []
    for n in range(10):
        scl = np.full((150, 150), 4, np.uint8)
        scl[60:90, 60:90] = 8 if n >= cloudy_from else 4
        if n == 9:
            scl[:] = 9
        granule = Granule(id=f"q{n}", look=f"look2021{n + 1:02d}05", x_m=X_M, y_m=Y_M, size_m=3000, seed=n)
        scenes.append(make(folder, granule, scl))
    return scenes, Window(x0=X_M // 10 + 96, y0=-Y_M // 10 + 96, x1=X_M // 10 + 204, y1=-Y_M // 10 + 204)


@pytest.mark.parametrize("k", [None, 3])
def test_bare_ground_that_is_always_called_cloud_is_rescued(tmp_path: Path, k: int | None) -> None:
    scenes, window = quarry(tmp_path)
    request = request_for(scenes, [window], ("B02", "B05", "B01"), zone=32633, looks=k)
    report = check(request, tmp_path)
    oracle = Oracle(request=request, window=window)
    assert oracle.rescued is not None
    assert report.rescued_px == 4 * int(oracle.rescued.sum()) == 60 * 60
    _, clear = read_window(tmp_path, request.tile, ("B02",), window)
    assert clear[50, 50] >= (k or 8)


def test_two_looks_are_too_few_to_rescue(tmp_path: Path) -> None:
    scenes, window = quarry(tmp_path, cloudy_from=0)
    request = request_for(scenes[:2], [window], ("B02",), zone=32633)
    assert check(request, tmp_path).rescued_px == 0


def test_cloud_that_comes_and_goes_stays_masked(tmp_path: Path) -> None:
    scenes, window = quarry(tmp_path, cloudy_from=3)
    request = request_for(scenes, [window], ("B02",), zone=32633)
    report = check(request, tmp_path)
    assert report.rescued_px == 0
    _, clear = read_window(tmp_path, request.tile, ("B02",), window)
    assert clear[50, 50] <= 3


def test_rescue_does_not_depend_on_the_cut(tmp_path: Path) -> None:
    scenes, window = quarry(tmp_path)
    request = request_for(scenes, [window], ("B02",), zone=32633)
    expected, _ = build(request, tmp_path / "a")
    left = Window(x0=window.x0, y0=window.y0, x1=window.x0 + 48, y1=window.y1)
    split = replace(request, windows=(left, *window.subtract(left)))
    report = build_composite(split, tmp_path / "b")
    got, _ = read_window(tmp_path / "b", request.tile, ("B02",), window)
    np.testing.assert_array_equal(got, expected)
    assert report.rescued_px == 60 * 60


def test_no_scenes_and_no_ground(tmp_path: Path) -> None:
    request = request_for([], [WINDOW], BANDS, zone=32633)
    values, clear = build(request, tmp_path)
    assert not values.any()
    assert not clear.any()
    away = Window(x0=WINDOW.x0 + 600, y0=WINDOW.y0, x1=WINDOW.x0 + 660, y1=WINDOW.y1)
    assert not build(request_for(looks(tmp_path, 1), [away], BANDS, zone=32633), tmp_path)[0].any()


def test_a_window_must_lie_on_whole_pixels(tmp_path: Path) -> None:
    odd = Window(x0=WINDOW.x0 + 1, y0=WINDOW.y0, x1=WINDOW.x1, y1=WINDOW.y1)
    with pytest.raises(ValueError, match="60 m"):
        request_for(looks(tmp_path, 1), [odd], BANDS, zone=32633)


def test_progress_ends_at_one(tmp_path: Path) -> None:
    shares: list[float] = []
    request = request_for(looks(tmp_path, 2), list(cuts()[0]), ("B02",), zone=32633)
    build_composite(request, tmp_path, on_progress=shares.append)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
