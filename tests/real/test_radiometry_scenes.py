"""The offset audit on real scenes: every corrupted Strzegom date is caught, no honest scene of four places flagged."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import box

from scanner.catalog import SceneQuery, find
from scanner.composite.radiometry import WITNESSES, Sample, Verdict, apply, audit
from scanner.composite.read import Reader
from scanner.composite.sampling import sample_of, take_sample
from scanner.types import Asset, Level, Scene
from tiling import Window

FLAGS = {"corrected", "left out", "suspect"}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    with made.session():
        yield made
    made.close()


def search(items: Path, level: Level) -> tuple[Scene, ...]:
    query = SceneQuery(
        catalog=str(items), collection=None, level=level, start=dt.date(2015, 6, 27), end=dt.date(2030, 1, 1),
        aoi=box(-180, -80, 180, 84), max_cloud=None,
    )  # fmt: skip
    return find(query).scenes


@dataclass(frozen=True, kw_only=True)
class Date:
    """A real scene with its pixels in hand, to be corrupted."""

    scene: Scene
    """As the catalogue gives it."""
    pixels: dict[str, NDArray[np.uint16]]
    """By witness band, whole."""

    @property
    def honest(self) -> float:
        """The offset it has; the folder's SOURCE.md tells which dates are which."""
        return self.scene.assets["B12"].offset

    def stating(self, offset: float) -> Sample:
        """With another offset in its metadata."""
        assets = {name: replace(asset, offset=offset) for name, asset in self.scene.assets.items()}
        return sample_of(replace(self.scene, assets=assets), self.scene.tile, lambda band: [self.pixels[band]])

    def taken_off(self, dn: int) -> "Date":
        """With so much less in every DN, cut off at zero; what has no data keeps none."""
        pixels = {b: np.where(a > 0, np.maximum(a.astype(int) - dn, 0), 0) for b, a in self.pixels.items()}
        return replace(self, pixels={band: array.astype(np.uint16) for band, array in pixels.items()})


@pytest.fixture(scope="module")
def strzegom(shared_data: Path, reader: Reader) -> tuple[Date, ...]:
    scenes = search(shared_data / "strzegom" / "items.json", "l2a")
    whole = Window(x0=0, y0=0, x1=401, y1=401)
    return tuple(
        Date(scene=one, pixels={band: reader.read(one, band, whole) for band in WITNESSES["l2a"]}) for one in scenes
    )


CORRUPTIONS: dict[str, dict[float, tuple[int, float, float | None]]] = {
    "removed": {-0.1: (0, 0.0, -0.1)},
    "removed from the pixels, and stated": {-0.1: (1000, -0.1, 0.0)},
    "doubled": {-0.1: (0, -0.2, -0.1), 0.0: (0, -0.2, 0.0)},
    "doubled in the pixels": {-0.1: (2000, -0.1, None)},
    "taken off where it never was": {0.0: (1000, 0.0, None)},
    "swapped": {-0.1: (0, 0.0, -0.1), 0.0: (0, -0.1, 0.0)},
}
"""By a date's honest offset: DN taken off, what is stated, and what sets it right; None where it must be left out."""


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corrupted_strzegom_date_is_caught(strzegom: tuple[Date, ...], name: str) -> None:
    """One date at a time among honest ones, which stay as they are; and all of them together."""
    cases = CORRUPTIONS[name]
    bad = {
        d.scene.id: d.taken_off(cases[d.honest][0]).stating(cases[d.honest][1]) for d in strzegom if d.honest in cases
    }
    good = {date.scene.id: date.stating(date.honest) for date in strzegom}
    cures = {date.scene.id: cases[date.honest][2] for date in strzegom if date.honest in cases}

    def caught(verdicts: Sequence[Verdict]) -> set[str]:
        flagged = [one for one in verdicts if one.action in FLAGS]
        assert all(cures[one.scene] == (one.found if one.action == "corrected" else None) for one in flagged)
        return {one.scene for one in flagged}

    alone = [key for key in bad if caught(audit(list((good | {key: bad[key]}).values()))) == {key}]
    together = caught(audit(list(bad.values())))
    print(f"{name}: one at a time {len(alone)} of {len(bad)}, all together {len(together)} of {len(bad)}")  # noqa: T201
    assert alone == list(bad)
    assert together == set(bad)


def test_what_is_corrected_has_the_offset_of_the_honest_catalogue(strzegom: tuple[Date, ...]) -> None:
    swapped = [date.stating(round(-0.1 - date.honest, 6)) for date in strzegom]
    kept = apply([one.scene for one in swapped], audit(swapped))
    assert [{a.offset for a in scene.assets.values()} for scene in kept] == [{date.honest} for date in strzegom]


def test_a_correction_needs_no_other_scene(strzegom: tuple[Date, ...]) -> None:
    for date in strzegom:
        (verdict,) = audit([date.stating(round(-0.1 - date.honest, 6))])
        assert (verdict.action, verdict.found) == ("corrected", date.honest)


def none_flagged(place: str, verdicts: Sequence[Verdict], decided: int) -> None:
    count = Counter(verdict.action for verdict in verdicts)
    print(f"{place}: {dict(count)} of {len(verdicts)}")  # noqa: T201
    assert [verdict for verdict in verdicts if verdict.action in FLAGS] == []
    assert count["agrees"] >= decided


@pytest.mark.parametrize(("place", "level", "decided"), [("strzegom", "l2a", 4), ("lazio-l1c", "l1c", 28)])
def test_no_untouched_scene_is_flagged(
    shared_data: Path, reader: Reader, place: str, level: Level, decided: int
) -> None:
    scenes = search(shared_data / place / "items.json", level)
    none_flagged(place, audit([take_sample(reader, scene) for scene in scenes]), decided)


def write(folder: Path, name: str, pixels: NDArray[Any]) -> Asset:
    path = folder / f"{name}.tif"
    profile = {
        "driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": "uint16",
        "crs": "EPSG:32631", "transform": Affine(10, 0, 501_360, 0, -10, 5_629_680),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels.astype(np.uint16), 1)
    return Asset(href=str(path), gsd_m=10)


def made(name: str, level: Level, assets: dict[str, Asset]) -> Scene:
    return Scene(
        id=name, collection="real", level=level, time=dt.datetime(2018, 1, 1, tzinfo=dt.UTC), platform="sentinel-2",
        look=name, tile="31UDS", baseline="00.00", version="", cloud_cover=None, epsg=32631,
        footprint=box(2.9, 50.8, 3.1, 50.85), assets=assets,
    )  # fmt: skip


def test_no_worldcereal_date_is_flagged(shared_data: Path, tmp_path: Path, reader: Reader) -> None:
    """118 dates, half of them under cloud, some in December's shadows with B02 cut off at 1."""
    assets: dict[str, dict[str, Asset]] = {}
    for gsd in (10, 20):
        (path,) = (shared_data / "worldcereal-l2a").glob(f"S2_L2A_{gsd}m_*.nc")
        with xr.open_dataset(path, mask_and_scale=False) as data:
            for band in [band for band in WITNESSES["l2a"] if band in data]:
                for time, pixels in zip(data["timestamp"].values, data[band].values, strict=True):
                    name = str(time)[:19].replace(":", "")
                    asset = replace(write(tmp_path, f"{name}_{band}", pixels), gsd_m=gsd)
                    assets.setdefault(name, {})[band] = asset
    samples = [take_sample(reader, made(name, "l2a", one)) for name, one in assets.items()]
    assert len(samples) == 118
    none_flagged("worldcereal-l2a", audit(samples), 64)


def test_the_spanish_chip_is_not_flagged(shared_data: Path, tmp_path: Path, reader: Reader) -> None:
    (path,) = (shared_data / "sen1floods11").glob("*.tif")
    with rasterio.open(path) as data:
        stack = data.read()
    order = [f"B{n:02}" for n in range(1, 9)] + ["B8A", "B09", "B10", "B11", "B12"]
    assets = {band: write(tmp_path, band, stack[order.index(band)]) for band in WITNESSES["l1c"]}
    none_flagged("sen1floods11", audit([take_sample(reader, made("spain", "l1c", assets))]), 1)


def test_hazy_dates_with_a_thousand_in_blue_are_not_mistaken(shared_data: Path, reader: Reader) -> None:
    """B02 alone would be: its hundredths lie at 874 to 1428 on honest dates."""
    scenes = search(shared_data / "lazio-l1c" / "items.json", "l1c")
    whole = Window(x0=0, y0=0, x1=256, y1=256)
    hazy = [one for one in scenes if 1000 < np.percentile(reader.read(one, "B02", whole), 1) < 1500]
    assert len(hazy) >= 5
    assert {verdict.found for verdict in audit([take_sample(reader, scene) for scene in hazy])} == {0.0}
