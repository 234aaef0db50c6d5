"""How many looks a pixel wants: what the first K clear ones among the first M cost, and how far they stray.

    python benchmarks/looks.py [--data DIR] [--json FILE] [--granules N]

Two real grounds say how far the median of few looks lies from that of all, beside the looks' own spread: sixteen months
of L2A over fields in Belgium (WorldCereal, 118 dates, SCL) and a year of L1C in Lazio (30 dates, s2cloudless). Neither
catalogue gives the cloud cover of its granules: it is drawn, see `Series.cover`; and every draw moves the calendar by a
random number of days, so that no order wins by where its slots happen to begin. The two are smaller than a block of a
file: what a block of 1024 px must read is said by simulated clouds (`skies.py`). The rescue of bare ground is left out.
"""

import argparse
import datetime as dt
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numba import njit
from numpy.typing import NDArray
from s2cloudless import S2PixelCloudDetector
from skies import DAYS, SKIES

from scanner.composite.clouds import CLOUDLESS_BANDS
from scanner.composite.median import masked_median
from scanner.composite.order import EPOCH, cloud_class, slot_rank

LOOKS = (4, 6, 7, 8, 10, 12, 16, 20, None)
TIMES = (2.0, 2.5, 3.0, 4.0)
"""M over K."""
ORDERS_AT = (12, 8)
"""K at which orders are compared."""
DRAWS = 12
"""Of cloud covers and calendars, for each window of dates."""
BAND_NBYTES, MASK_NBYTES = 2 * (4 + 6 / 4 + 2 / 36), 1 / 4
"""Of 12 bands and of SCL, for each 10 m pixel, decoded."""

Order = Callable[[dt.date, float], tuple[float, ...]]


def slots(days: float, bits: int, day: dt.date) -> int:
    """Bit-reversed place of a slot of so many days, modulo a power of two."""
    return int(f"{int((day - EPOCH).days // days) % (1 << bits):0{bits}b}"[::-1], 2)


ORDERS: dict[str, Order] = {
    "classes 20, 60; 5 days x 128 (ours)": lambda day, cover: (cloud_class(cover), slot_rank(day)),
    "classes 20, 60; 3 days x 128": lambda day, cover: (cloud_class(cover), slots(3, 7, day)),
    "classes 20, 60; 10 days x 64": lambda day, cover: (cloud_class(cover), slots(10, 6, day)),
    "classes 20, 60; year in 64": lambda day, cover: (cloud_class(cover), slots(365.2425 / 64, 6, day)),
    "classes 20, 60; year in 128": lambda day, cover: (cloud_class(cover), slots(365.2425 / 128, 7, day)),
    "classes 20, 60; golden steps of the year": lambda day, cover: (
        cloud_class(cover), (day - EPOCH).days / 365.2425 * 64 * 0.6180339887 % 1),
    "classes 20, 60; by chance": lambda day, cover: (cloud_class(cover), zlib.crc32(str(day).encode())),
    "classes 20, 60; oldest first": lambda day, cover: (cloud_class(cover), day.toordinal()),
    "classes 10, 30, 60; 5 days x 128": lambda day, cover: (sum(cover > edge for edge in (10, 30, 60)), slot_rank(day)),
    "classes 30, 80; 5 days x 128": lambda day, cover: (sum(cover > edge for edge in (30, 80)), slot_rank(day)),
    "class 40; 5 days x 128": lambda day, cover: (cover > 40, slot_rank(day)),
    "place among 128 plus cloud": lambda day, cover: (slot_rank(day) / 128 + cover / 100,),
    "no classes; 5 days x 128": lambda day, _: (slot_rank(day),),
    "cloud alone": lambda _, cover: (cover,),
}  # fmt: skip
OURS = next(iter(ORDERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The looks of one ground in order of time."""

    days: Sequence[dt.date]
    """When."""
    clear: NDArray[np.bool_]
    """(look, row, column): whether the mask lets the pixel in."""
    bands: Mapping[str, NDArray[np.uint16]]
    """Reflectance x 10000 by name, (look, row, column)."""

    def part(self, first: int, last: int) -> "Series":
        """The looks from one to before another."""
        bands = {name: values[first:last] for name, values in self.bands.items()}
        return Series(days=self.days[first:last], clear=self.clear[first:last], bands=bands)

    def cover(self, knows: str, rng: np.random.Generator) -> NDArray[np.float64]:
        """Percent of cloud a catalogue might give.

        Args:
            knows: "granule": drawn from what a beta distribution of 0.4 and 0.6 (U-shaped, 40 % on average) becomes
                once the ground is seen as one place of 110 km; "ground": the ground's own; "nothing": the middle class.
            rng: of the draw.
        """
        share = 1 - self.clear.mean(axis=(1, 2))
        drawn = {"granule": rng.beta(0.4 + share, 1.6 - share), "ground": share, "nothing": np.full(share.size, 0.4)}
        return 100 * drawn[knows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What K and M make of a series."""

    scenes: float
    """Scenes whose bands are read, of all dates."""
    nbytes: float
    """Bytes decoded, masks included, of what all looks decode: scenes without a clear pixel are in neither."""
    short: float
    """Share of pixels with fewer than K looks."""
    blank: float
    """Share of pixels without a look."""
    for_few: float
    """Of the scenes read, those read for less than a thousandth of the pixels."""


@njit(nogil=True, cache=True)
def _take(clear: NDArray[np.bool_], order: NDArray[np.int64], most: int, used: NDArray[np.bool_]) -> None:
    """Mark the first `most` clear looks of every pixel among those of the order."""
    _, rows, cols = clear.shape
    count = np.zeros((rows, cols), np.uint8)
    for place in range(order.size):
        look = order[place]
        for y in range(rows):
            for x in range(cols):
                if clear[look, y, x] and count[y, x] < most:
                    count[y, x] += np.uint8(1)
                    used[look, y, x] = True


def take(series: Series, order: Sequence[int], looks: int | None, most: int | None) -> tuple[Taken, NDArray[np.bool_]]:
    """What a block reads, and (look, row, column) whether a pixel's median holds the look; every look covers it."""
    used = np.zeros(series.clear.shape, np.bool_)
    asked = np.array(order[:most], np.int64)
    _take(series.clear, asked, looks or 255, used)
    pixels = used.sum(axis=(1, 2))
    pixels = pixels[pixels > 0]
    whole = series.clear.any(axis=(1, 2)).sum() * BAND_NBYTES + len(order) * MASK_NBYTES
    count = used.sum(axis=0)
    found = Taken(
        scenes=pixels.size / len(order), nbytes=(pixels.size * BAND_NBYTES + asked.size * MASK_NBYTES) / float(whole),
        short=float((count < (looks or 0)).mean()), blank=float((count == 0).mean()),
        for_few=float((pixels < count.size / 1000).mean()),
    )  # fmt: skip
    return found, used


def median_of(values: NDArray[np.uint16], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    median, count = np.empty(values.shape[1:], np.uint16), np.empty(values.shape[1:], np.uint16)
    masked_median(np.where(used, values, 0).astype(np.uint16), median, count)
    return np.where(count > 0, median / 1e4, np.nan)


def spread(series: Series) -> dict[str, list[float]]:
    """By band: mean distance of a clear look from its pixel's median, its 95th percentile, mean standard deviation."""
    found = {}
    for name, values in series.bands.items():
        looks = np.where(series.clear, values / 1e4, np.nan)
        away = np.abs(looks - median_of(values, series.clear))
        found[name] = [
            float(v) for v in (np.nanmean(away), np.nanpercentile(away, 95), np.nanmean(np.nanstd(looks, axis=0)))
        ]
    return found


def windows(series: Series) -> dict[str, list[Series]]:
    """Windows of dates, beginning in different seasons."""

    def lasting(days: int, step: int) -> Iterator[Series]:
        start = series.days[0]
        while start + dt.timedelta(days=days - 10) <= series.days[-1]:
            inside = [n for n, day in enumerate(series.days) if 0 <= (day - start).days < days]
            yield series.part(inside[0], inside[-1] + 1)
            start += dt.timedelta(days=step)

    count = len(series.days)
    found = {
        "75 dates": [series.part(first, first + 75) for first in range(0, count - 74, 8)],
        "a year": list(lasting(365, 20)), "half a year": list(lasting(183, 30)), "all dates": [series],
    }  # fmt: skip
    return {name: parts for name, parts in found.items() if parts}


def in_order(order: Order, days: Sequence[dt.date], cover: NDArray[np.float64]) -> list[int]:
    places = [order(day, percent) for day, percent in zip(days, cover, strict=True)]
    return sorted(range(len(places)), key=lambda look: (places[look], look))


def means(costs: Sequence[tuple[float, ...]]) -> dict[str, object]:
    """By field of `Taken`."""
    return dict(zip(Taken.__slots__, np.mean(costs, axis=0).tolist(), strict=True))


def row(parts: Sequence[Series], order: Order, limits: tuple[int | None, int | None], knows: str) -> dict[str, object]:
    """Means over windows and draws; of the distances the mean, median and 95th percentile over the pixels."""
    costs: list[tuple[float, ...]] = []
    away: dict[str, list[list[float]]] = {name: [] for name in parts[0].bands}
    rng = np.random.default_rng(0)
    for part in [part for part in parts for _ in range(DRAWS)]:
        moved = dt.timedelta(days=int(rng.integers(0, 1280)))
        days = [day + moved for day in part.days]
        taken, used = take(part, in_order(order, days, part.cover(knows, rng)), *limits)
        costs.append(tuple(asdict(taken).values()))
        for name, values in part.bands.items():
            gap = np.abs(median_of(values, used) - median_of(values, part.clear))
            away[name].append([np.nanmean(gap), np.nanmedian(gap), np.nanpercentile(gap, 95)])
    return means(costs) | {name: np.mean(values, axis=0).tolist() for name, values in away.items()}


def worldcereal(folder: Path) -> Series:
    """64 x 64 px."""
    with (
        xr.open_dataset(next(folder.glob("S2_L2A_10m_*.nc")), mask_and_scale=False) as ten,
        xr.open_dataset(next(folder.glob("S2_L2A_20m_*.nc")), mask_and_scale=False) as twenty,
    ):
        days = [dt.date.fromisoformat(str(time)[:10]) for time in ten["timestamp"].values]
        scl, swir = (twenty[name].values.repeat(2, axis=1).repeat(2, axis=2) for name in ("SCL", "B11"))
        bands = {"red": ten["B04"].values, "NIR": ten["B08"].values, "SWIR": swir}
    return Series(days=days, clear=~np.isin(scl, [0, 1, 3, 8, 9, 10, 11]), bands=bands)


def lazio(folder: Path) -> Series:
    """252 x 252 px of 256, masked at 60 m as the program does."""
    detector = S2PixelCloudDetector(threshold=0.4, average_over=4, dilation_size=2, all_bands=False)
    items = json.loads((folder / "items.json").read_text())["features"]
    items.sort(key=lambda item: item["properties"]["datetime"])
    kept: dict[str, list[NDArray[np.uint16]]] = {"B04": [], "B08": [], "B11": []}
    clear = []
    for item in items:
        pixels = {}
        for name in CLOUDLESS_BANDS:
            with rasterio.open(folder / item["assets"][name]["href"]) as data:
                pixels[name] = data.read(1)[:252, :252]
        coarse = np.stack([p.reshape(42, 6, 42, 6).mean(axis=(1, 3)) / 1e4 for p in pixels.values()], axis=-1)
        cloud = detector.get_cloud_masks(coarse[None].astype(np.float32))[0]
        clear.append(cloud.repeat(6, axis=0).repeat(6, axis=1) == 0)
        for name, stack in kept.items():
            stack.append(pixels[name])
    days = [dt.date.fromisoformat(item["properties"]["datetime"][:10]) for item in items]
    bands = dict(zip(("red", "NIR", "SWIR"), (np.stack(stack) for stack in kept.values()), strict=True))
    return Series(days=days, clear=np.stack(clear), bands=bands)


def most_of(looks: int | None, times: float) -> int | None:
    return None if looks is None else int(times * looks)


def simulate(granules: int) -> dict[str, Mapping[str, Mapping[str, object]]]:
    """What blocks of 1024 px read under each sky, three of each granule: means, and the most of any block."""
    found: dict[str, Mapping[str, Mapping[str, object]]] = {}
    for name, sky in SKIES.items():
        costs: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(granules):
            cover, masks = sky.draw(np.random.default_rng(seed), 3)
            order = in_order(ORDERS[OURS], DAYS, cover)
            for clear in masks:
                block = Series(days=DAYS, clear=clear, bands={})
                for looks, times in itertools.product(LOOKS[:-1], TIMES):
                    most = most_of(looks, times)
                    taken, _ = take(block, order, looks, most)
                    costs.setdefault(f"K {looks}, M {most}", []).append(tuple(asdict(taken).values()))
        found[name] = {limits: means(rows) | {"most_nbytes": max(r[1] for r in rows)} for limits, rows in costs.items()}
        show(f"simulated: {name}", found[name])
    return found


def show(title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
    """One line a row: shares in percent; distances as mean / median / 95th percentile, in 1e-4 of reflectance."""
    print(f"\n{title}")
    for name, values in rows.items():
        cells = [
            f"{key} {100 * value:.2f} %" if isinstance(value, float) else
            f"{key} {' / '.join(f'{1e4 * v:.0f}' for v in value)}"
            for key, value in values.items()
        ]  # fmt: skip
        print(f"  {name:42}{'   '.join(cells)}")


def measure(series: Series, title: str) -> dict[str, object]:
    """How few looks stray on real ground: by K, by order, by what the catalogue knows."""
    found: dict[str, object] = {}
    for name, parts in windows(series).items():
        found[name] = tables = _tables(parts, orders=name != "half a year")
        for table, rows in tables.items():
            show(f"{title}, {name} (of {len(parts)}): {table}", rows)
    return found


def _tables(parts: Sequence[Series], *, orders: bool) -> dict[str, Mapping[str, Mapping[str, object]]]:
    natural, ours = [spread(part) for part in parts], ORDERS[OURS]
    found: dict[str, Mapping[str, Mapping[str, object]]] = {
        "looks themselves: mean / 95th percentile of the distance, standard deviation": {
            "": {band: np.mean([one[band] for one in natural], axis=0).tolist() for band in parts[0].bands}
        },
        "by K, M = 3 K": {
            f"K {looks or 'all'}": row(parts, ours, (looks, most_of(looks, 3)), "granule") for looks in LOOKS
        },
    }
    if not orders:
        return found
    for looks in ORDERS_AT:
        by_order = {name: row(parts, order, (looks, 3 * looks), "granule") for name, order in ORDERS.items()}
        found[f"by order, K = {looks}"] = by_order
    looks, known = ORDERS_AT[-1], itertools.product(("granule", "ground", "nothing"), TIMES)
    found[f"by what the catalogue knows, K = {looks}"] = {
        f"{knows}, M = {times} K": row(parts, ours, (looks, most_of(looks, times)), knows) for knows, times in known
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds worldcereal-l2a and lazio-l1c")
    parser.add_argument("--granules", type=int, default=3, help="simulated under each sky")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, object] = {
        "worldcereal": measure(worldcereal(options.data / "worldcereal-l2a"), "WorldCereal"),
        "lazio": measure(lazio(options.data / "lazio-l1c"), "Lazio"),
    }
    found["simulated"] = simulate(options.granules)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
