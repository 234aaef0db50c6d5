"""The offset audit: what a scene's own dark pixels say, what they cannot say, and what follows."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling
from scipy import ndimage
from shapely.geometry import box

from scanner.catalog import SceneQuery, find
from scanner.composite.radiometry import WITNESSES, Sample, apply, audit, row, tally
from scanner.composite.read import Grid, Reader
from scanner.composite.sampling import plan_reads, sample_of, take_sample
from scanner.demo.region import make_region
from scanner.demo.sites import RegionSpec
from scanner.types import Asset, Level, Scene

EDGE = 96
WATER = {"B02": 300, "B04": 200, "B8A": 80, "B11": 50, "B12": 40, "B10": 12}
TREES = {"B02": 250, "B04": 220, "B8A": 2800, "B11": 1300, "B12": 600, "B10": 12}
SOIL = {"B02": 600, "B04": 950, "B8A": 2600, "B11": 3200, "B12": 2700, "B10": 14}
AIR = {"B02": 800, "B04": 300, "B8A": 60, "B11": 10, "B12": 5, "B10": 0}
Pixels = dict[str, NDArray[np.uint16]]


def scene(offset: float = 0.0, *, name: str = "a", level: Level = "l2a", baseline: str = "00.00") -> Scene:
    assets = {band: Asset(href="", gsd_m=20, offset=offset) for band in (*WITNESSES[level], "B05")}
    return Scene(
        id=name, collection="made", level=level, time=dt.datetime(2023, 5, 1, tzinfo=dt.UTC), platform="s2",
        look=name, tile="33UWS", baseline=baseline, version="", cloud_cover=None, epsg=32633,
        footprint=box(15, 50, 16, 51), assets=assets | {"SCL": Asset(href="", gsd_m=20, scale=1)},
    )  # fmt: skip


def ground(shares: tuple[float, float] = (0.1, 0.5), *, added: int = 0, level: Level = "l2a", seed: int = 0) -> Pixels:
    """DN of a place with these shares of water and trees, soil for the rest."""
    rng = np.random.default_rng(seed)
    kind = np.digitize(np.linspace(0, 1, EDGE * EDGE, endpoint=False), np.cumsum(shares)).reshape(EDGE, EDGE)
    made = {}
    for band in WITNESSES[level]:
        table = np.array([WATER[band], TREES[band], SOIL[band]]) + (AIR[band] if level == "l1c" else 0)
        dn = table[kind] * rng.normal(1, 0.05, kind.shape) + added
        made[band] = np.clip(dn.round(), 1, 65535).astype(np.uint16)
    return made


def sample(pixels: Mapping[str, NDArray[np.uint16]], given: Scene | None = None, place: str = "here") -> Sample:
    return sample_of(given or scene(), place, lambda band: [pixels[band]])


def shifted(pixels: Pixels, by: int) -> Pixels:
    """The 1000 added or taken off, cut off at 1 as products are; what has no data keeps none."""
    return {b: np.where(a > 0, np.clip(a.astype(int) + by, 1, 65535), 0).astype(np.uint16) for b, a in pixels.items()}


@pytest.mark.parametrize("level", ["l1c", "l2a"])
@pytest.mark.parametrize(
    ("added", "stated", "found", "action"),
    [
        (0, 0.0, 0.0, "agrees"),
        (1000, -0.1, -0.1, "agrees"),
        (1000, 0.0, -0.1, "corrected"),
        (0, -0.1, 0.0, "corrected"),
        (1000, -0.2, -0.1, "corrected"),
        (0, -0.2, 0.0, "corrected"),
    ],
)
def test_water_among_trees_tells(level: Level, added: int, stated: float, found: float, action: str) -> None:
    (verdict,) = audit([sample(ground(added=added, level=level), scene(stated, level=level))])
    assert (verdict.stated, verdict.found, verdict.action) == (stated, found, action)


def test_a_thousand_that_the_baseline_never_added_is_left_out() -> None:
    pixels = ground(added=1000)
    verdicts = audit([sample(pixels, scene(name=base, baseline=base)) for base in ("00.00", "03.01", "04.00", "05.10")])
    assert [verdict.action for verdict in verdicts] == ["corrected", "left out", "corrected", "corrected"]


def test_bands_of_several_offsets_are_no_product() -> None:
    mixed = scene(-0.1)
    mixed = replace(mixed, assets={**mixed.assets, "B11": replace(mixed.assets["B11"], offset=0.0)})
    told, untold = audit([sample(ground(added=1000), mixed), sample(bright(3000), mixed)])
    assert (told.stated, told.found, told.action) == (None, -0.1, "corrected")
    assert (untold.found, untold.action) == (None, "left out")


def bright(level_dn: int, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    smooth = ndimage.zoom(rng.normal(0, 0.3, (8, 8)), EDGE / 8, order=1)
    return {
        band: (level_dn * (1 + 0.1 * smooth) + rng.normal(0, 60, smooth.shape)).astype(np.uint16)
        for band in WITNESSES["l2a"]
    }


@pytest.mark.parametrize("stated", [0.0, -0.1])
@pytest.mark.parametrize("level_dn", [1200, 3000, 9000])
def test_bright_ground_proves_nothing(stated: float, level_dn: int) -> None:
    (verdict,) = audit([sample(bright(level_dn), scene(stated))])
    assert (verdict.found, verdict.action) in {(None, "undecided"), (stated, "agrees")}


@pytest.mark.parametrize("stated", [0.0, -0.1])
def test_snow_and_ice_cloud_prove_nothing(stated: float) -> None:
    """Dark in the short-wave infrared alone, at a tenth of reflectance: the same with and without the 1000."""
    pixels = {band: array if band in ("B11", "B12") else bright(9000)[band] for band, array in bright(1150).items()}
    (verdict,) = audit([sample(pixels, scene(stated))])
    assert verdict.action == "undecided"


def test_water_in_even_glint_is_not_the_thousand() -> None:
    (verdict,) = audit([sample(shifted(ground((1.0, 0.0)), 1000), scene(0.0))])
    assert verdict.action == "undecided"


def test_the_edge_of_the_data_is_not_dark_ground() -> None:
    """Overviews that average over nothing hold values between 0 and the ground beside every edge."""
    pixels = ground((0.1, 0.5), added=1000)
    for array in pixels.values():
        array[:, :40] = 0
        array[:, 40:42] = (array[:, 40:42] * [0.2, 0.7]).astype(np.uint16)
    (verdict,) = audit([sample(pixels, scene(-0.1))])
    assert verdict.action == "agrees"


@pytest.mark.parametrize("width", [0, 9])
def test_too_little_to_say(width: int) -> None:
    pixels = ground()
    for array in pixels.values():
        array[:, width:] = 0
    (verdict,) = audit([sample(pixels, scene(-0.1))])
    assert (verdict.found, verdict.action) == (None, "undecided")


def test_a_scene_without_every_witness_is_not_judged() -> None:
    given = scene(-0.1)
    given = replace(given, assets={name: asset for name, asset in given.assets.items() if name != "B12"})
    with_reader = take_sample(Reader(), given)
    (verdict,) = audit([with_reader])
    assert (verdict.action, verdict.evidence) == ("undecided", "not judged: without B12")


def test_an_unknown_scale_is_not_judged() -> None:
    given = scene(-0.2)
    given = replace(given, assets={name: replace(asset, scale=2e-4) for name, asset in given.assets.items()})
    (verdict,) = audit([sample(ground(), given)])
    assert verdict.action == "undecided"


@pytest.mark.parametrize("cut_at", [0, 1])
@pytest.mark.parametrize("stated", [0.0, -0.1])
def test_an_offset_taken_off_twice_cannot_be_set_right(cut_at: int, stated: float) -> None:
    pixels = {band: np.maximum(array, 1) for band, array in shifted(ground(), -1000).items()}
    for array in pixels.values():
        array[array == 1] = cut_at
    (verdict,) = audit([sample(pixels, scene(stated))])
    assert (verdict.found is None or verdict.found == 0.0, verdict.action) == (True, "left out")


def dry(seed: int, by: int = 0) -> Pixels:
    """Soil and dry trees: nothing dark in the short-wave infrared, the visible dark enough to tell."""
    return shifted(ground((0.0, 0.6), seed=seed), by)


def test_other_looks_raise_a_suspicion_and_change_nothing() -> None:
    sure = [sample(dry(n), scene(name=f"sure{n}")) for n in range(3)]
    odd = sample(dry(9, 1000), scene(name="odd"))
    alone, among = audit([odd])[0], audit([*sure, odd])[-1]
    assert [verdict.action for verdict in audit(sure)] == ["agrees"] * 3
    assert (alone.action, alone.apart) == ("undecided", None)
    assert among.action == "suspect"
    assert among.apart == pytest.approx(0.1, abs=0.005)
    assert apply([odd.scene], [alone]) == apply([odd.scene], [among]) == (odd.scene,)
    assert audit([*sure[:2], odd])[-1].action == "undecided"
    elsewhere = replace(odd, place="there")
    assert audit([*sure, elsewhere])[-1].action == "undecided"


def test_haze_is_no_offset() -> None:
    sure = [sample(dry(n), scene(name=f"sure{n}")) for n in range(3)]
    light = {"B02": 2200, "B04": 1500, "B8A": 900, "B11": 600, "B12": 500}
    hazy = {band: array + np.uint16(light[band]) for band, array in dry(9).items()}
    assert audit([*sure, sample(hazy, scene(name="hazy"))])[-1].action == "undecided"


def test_apply_sets_bands_right_and_leaves_out() -> None:
    scenes = [scene(name="good"), scene(name="wrong", baseline="04.00"), scene(name="never", baseline="02.14")]
    verdicts = audit([sample(ground(added=1000 if one.id != "good" else 0), one) for one in scenes])
    good, wrong = apply(scenes, verdicts)
    assert good is scenes[0]
    assert {name: asset.offset for name, asset in wrong.assets.items() if name != "SCL"} == dict.fromkeys(
        (*WITNESSES["l2a"], "B05"), -0.1
    )
    assert wrong.assets["SCL"] == scenes[1].assets["SCL"]
    assert tally(verdicts) == {"offset agrees": 1, "offset corrected": 1, "offset left out": 1}
    assert json.loads(json.dumps([row(verdict) for verdict in verdicts]))[1]["found"] == -0.1
    assert audit([sample(ground(added=1000), wrong)])[0].action == "agrees"


WRONG = ("corrected", "left out")
shares = st.tuples(st.floats(0, 0.3), st.floats(0, 0.7))


@settings(deadline=None, max_examples=60)
@given(shares=shares, lift=st.integers(0, 900), seed=st.integers(0, 99))
def test_a_shift_of_pixels_and_offset_never_changes_sides(shares: tuple[float, float], lift: int, seed: int) -> None:
    """1000 more in every DN and 0.1 less in the offset, as products have it: neither is contradicted."""
    pixels = shifted(ground(shares, seed=seed), lift)
    (before,) = audit([sample(pixels, scene(0.0))])
    (after,) = audit([sample(shifted(pixels, 1000), scene(-0.1))])
    assert (before.action, after.action) not in {("agrees", wrong) for wrong in WRONG}
    assert (before.action, after.action) not in {(wrong, "agrees") for wrong in WRONG}


@settings(deadline=None, max_examples=40)
@given(shares=shares, by=st.integers(-900, 2000), stated=st.sampled_from([-0.2, 0.1]), seed=st.integers(0, 99))
def test_an_offset_that_no_product_has_is_never_kept(
    shares: tuple[float, float], by: int, stated: float, seed: int
) -> None:
    (verdict,) = audit([sample(shifted(ground(shares, seed=seed), by), scene(stated))])
    assert verdict.action in WRONG


@settings(deadline=None, max_examples=60)
@given(shares=shares, by=st.integers(-900, 2000), dark=st.integers(1, 500), seed=st.integers(0, 99))
def test_darker_ground_never_adds_a_thousand(shares: tuple[float, float], by: int, dark: int, seed: int) -> None:
    """Monotonic: where the pixels deny the 1000, darker ones deny it too."""
    pixels = shifted(ground(shares, seed=seed), by)
    (before,) = audit([sample(pixels)])
    (after,) = audit([sample(shifted(pixels, -dark))])
    assert before.found != 0.0 or after.found == 0.0


@settings(deadline=None, max_examples=30)
@given(kinds=st.lists(st.tuples(shares, st.sampled_from([0, 1000]), st.sampled_from([0.0, -0.1])), max_size=6))
def test_what_changes_a_pixel_depends_on_no_other_scene(
    kinds: list[tuple[tuple[float, float], int, float]],
) -> None:
    samples = [
        sample(ground(one, added=added, seed=n), scene(stated, name=f"s{n}"))
        for n, (one, added, stated) in enumerate(kinds)
    ]
    scenes = [one.scene for one in samples]
    alone = tuple(kept for one in samples for kept in apply([one.scene], audit([one])))
    together = apply(scenes, audit(samples))
    assert [(one.id, dict(one.assets)) for one in alone] == [(one.id, dict(one.assets)) for one in together]
    assert audit(samples[::-1]) == audit(samples)[::-1]


GSD = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20,
       "B01": 60, "B09": 60, "B10": 60}  # fmt: skip


def grid(gsd: int, edge_m: int, block: int, overviews: tuple[int, ...]) -> Grid:
    edge = edge_m // gsd
    return Grid(
        crs="EPSG:32633", x0=0, y0=0, dx=gsd, dy=-gsd, width_px=edge, height_px=edge, block=(block, block),
        itemsize=2, overviews=overviews,
    )  # fmt: skip


@pytest.mark.parametrize("level", ["l1c", "l2a"])
@pytest.mark.parametrize(
    ("block", "overviews", "most"), [(512, (), 0.02), (1024, (), 0.02), (1024, (2, 4, 8, 16), 0.01)]
)
def test_a_granule_costs_little(level: Level, block: int, overviews: tuple[int, ...], most: float) -> None:
    """Bytes inflated, whole blocks, over those of every band of a granule."""
    cost = whole = 0
    for band, gsd in GSD.items():
        of = grid(gsd, 109_800, block, overviews)
        whole += of.nbytes_of(of.window)
        if band in WITNESSES[level]:
            factor, windows = plan_reads(of, gsd)
            assert all(of.window.contains(window) for window in windows)
            cost += sum(of.nbytes_of(window.at(factor)) for window in windows)
    assert cost <= most * whole


@pytest.mark.parametrize("overviews", [(), (2, 4, 8, 16)])
@pytest.mark.parametrize("added", [0, 1000])
def test_samples_from_files(tmp_path: Path, overviews: tuple[int, ...], added: int) -> None:
    """Bands at their own pixel sizes, with and without reduced copies; the places are those of the file."""
    kinds = ndimage.zoom(np.random.default_rng(3).permutation(64 * 64).reshape(64, 64) % 3, 9, order=0)
    assets = {}
    for band in WITNESSES["l2a"]:
        gsd = GSD[band]
        table = (np.array([WATER[band], TREES[band], SOIL[band]]) + added).astype(np.uint16)
        pixels = table[kinds.repeat(20 // gsd, 0).repeat(20 // gsd, 1)]
        path = tmp_path / f"{band}.tif"
        profile = {
            "driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": "uint16",
            "crs": "EPSG:32633", "transform": Affine(gsd, 0, 500000, 0, -gsd, 5600000), "nodata": 0, "tiled": True,
            "blockxsize": 256, "blockysize": 256,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as out:
            out.write(pixels, 1)
            if overviews:
                out.build_overviews(overviews, Resampling.average)
        assets[band] = Asset(href=str(path), gsd_m=gsd)
    given = replace(scene(), assets=assets)
    reader = Reader()
    with reader.session():
        taken = take_sample(reader, given)
    reader.close()
    (verdict,) = audit([taken])
    assert taken.tails["B12"].count_px == (72 if overviews else 512) ** 2
    assert taken.tails["B04"].count_px == (72 if overviews else 1024) ** 2
    assert verdict.found == (-0.1 if added else 0.0)


def test_the_demo_is_never_flagged(tmp_path: Path) -> None:
    region = make_region(tmp_path, 11, RegionSpec(size_px=384, dates=5, mines=2, decoys=8, cloud_called=1))
    query = SceneQuery(
        catalog=str(region.items), collection=None, level="l2a", start=dt.date(2021, 1, 1), end=dt.date(2023, 1, 1),
        aoi=box(-180, -80, 180, 84), max_cloud=None,
    )  # fmt: skip
    scenes = find(query).scenes
    reader = Reader()
    with reader.session():
        verdicts = audit([take_sample(reader, one) for one in scenes])
    reader.close()
    assert len(verdicts) == 10
    assert {verdict.action for verdict in verdicts} <= {"agrees", "undecided"}
    assert {verdict.found for verdict in verdicts} >= {0.0, -0.1}
