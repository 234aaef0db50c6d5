"""Promise 2: the order of looks asks nothing but the scene, and a new scene moves no other."""

import datetime as dt
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from scanner.composite.order import EPOCH, Entry, cloud_class, entries, look_day, slot_rank
from scanner.types import Scene

ZONE = 32633


def scene(
    name: str = "a", look: str = "GS2A_20230501T100031_041000", cloud: float | None = 0.0, epsg: int = ZONE
) -> Scene:
    return Scene(
        id=name, collection="sentinel-2-l2a", level="l2a", time=dt.datetime(2023, 5, 2, 0, 10, tzinfo=dt.UTC),
        platform="sentinel-2a", look=look, tile="33UWS", baseline="05.09", version="", cloud_cover=cloud, epsg=epsg,
        footprint=box(16, 50, 17, 51), assets={},
    )  # fmt: skip


@st.composite
def _scenes(draw):
    days = draw(st.lists(st.dates(dt.date(2015, 7, 1), dt.date(2035, 1, 1)), min_size=1, max_size=8, unique=True))
    clouds = st.none() | st.floats(0, 100)
    return [
        scene(f"{day}-{number}", f"GS2A_{day:%Y%m%d}T100031_041000", draw(clouds), draw(st.sampled_from([ZONE, 32634])))
        for day in days
        for number in range(draw(st.integers(1, 3)))
    ]


def place(entry: Entry) -> tuple[int, int, str]:
    return entry.cloud_class, entry.slot_rank, entry.look


@given(_scenes(), st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_input_order(scenes, rng):
    shuffled = scenes.copy()
    rng.shuffle(shuffled)
    assert entries(shuffled, zone=ZONE) == entries(scenes, zone=ZONE)


@given(_scenes(), st.data())
def test_a_later_scene_moves_no_other(scenes, data):
    before = data.draw(st.lists(st.sampled_from(scenes), unique_by=lambda one: one.id))
    old = [place(entry) for entry in entries(before, zone=ZONE)]
    new = [place(entry) for entry in entries(scenes, zone=ZONE)]
    assert [one for one in new if one in set(old)] == old


@given(_scenes())
def test_every_look_has_an_entry_for_each_of_its_classes_holding_all_its_granules(scenes):
    found = entries(scenes, zone=ZONE)
    assert {(entry.look, entry.cloud_class) for entry in found} == {
        (s.look, cloud_class(s.cloud_cover)) for s in scenes
    }
    for entry in found:
        assert {s.id for s in entry.scenes} == {s.id for s in scenes if s.look == entry.look}


@given(_scenes())
def test_the_zone_changes_values_not_places(scenes):
    here, there = entries(scenes, zone=ZONE), entries(scenes, zone=32634)
    assert [place(entry) for entry in here] == [place(entry) for entry in there]


def test_granules_go_same_zone_first_then_class_then_id():
    given_scenes = [scene("d", cloud=5, epsg=32634), scene("c", cloud=70), scene("b", cloud=5), scene("a", cloud=5)]
    random.Random(1).shuffle(given_scenes)
    (first, second) = entries(given_scenes, zone=ZONE)
    assert [s.id for s in first.scenes] == ["a", "b", "c", "d"]
    assert (first.cloud_class, second.cloud_class) == (0, 2)
    assert first.scenes == second.scenes


def test_the_same_scene_twice_counts_once():
    assert len(entries([scene(), scene()], zone=ZONE)[0].scenes) == 1


@pytest.mark.parametrize(("cover", "expected"), [(0, 0), (20, 0), (20.01, 1), (60, 1), (None, 1), (60.01, 2), (100, 2)])
def test_cloud_classes(cover, expected):
    assert cloud_class(cover) == expected


def test_slots_are_bit_reversed_five_day_steps_that_return_after_640_days():
    ranks = [slot_rank(EPOCH + dt.timedelta(days=5 * slot)) for slot in range(128)]
    assert ranks[:5] == [0, 64, 32, 96, 16]
    assert sorted(ranks) == list(range(128))
    assert slot_rank(EPOCH + dt.timedelta(days=4)) == 0
    assert slot_rank(EPOCH + dt.timedelta(days=640)) == 0
    assert slot_rank(EPOCH - dt.timedelta(days=1)) == 127


def test_the_first_looks_of_a_year_are_spread_over_it():
    year = [EPOCH + dt.timedelta(days=365 + 5 * step) for step in range(73)]
    looks = [scene(str(day), f"GS2A_{day:%Y%m%d}T100031_041000") for day in year]
    first = sorted(look_day(entry.scenes[0]) for entry in entries(looks, zone=ZONE)[:12])
    gaps = [(after - before).days for before, after in itertools.pairwise(first)]
    assert max(gaps) <= 60


def test_the_day_is_the_looks_own_not_the_granules():
    assert look_day(scene()) == dt.date(2023, 5, 1)
    assert look_day(scene(look="sentinel-2a_R022_20230430")) == dt.date(2023, 4, 30)
    assert look_day(scene(look="by-hand")) == dt.date(2023, 5, 2)
    assert look_day(scene(look="by-hand-20239999")) == dt.date(2023, 5, 2)
