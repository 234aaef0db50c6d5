"""What a plan will cost, as ranges, before anything is read."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner.composite.request import expected_nbytes, least_nbytes
from scanner.run.plan import ScanPlan
from tiling import Window

if TYPE_CHECKING:
    from models import Detector

__all__ = ["CostEstimate", "Pace", "Range", "describe", "estimate", "pace_of"]

DECODE_BYTES_PER_CORE_SECOND = (60e6, 240e6)
"""Decoded and reduced bytes a core manages in a second: 190 to 220 MB were measured on local files (docs/speed.md). The
low end, for slower cores and for networks, is a third of that and was not measured."""
PACE_MARGINS = (1 / 3, 2.0)
"""Networks are timed where the plan is made, on one small core: workers may be slower, and larger cores quicker."""

PROBE_PX = 192
"""Least edge of that core."""
START_HOURS = 30 / 3600
"""Workers, libraries and kernels are ready after 4 to 10 s here, later on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number known only within bounds."""

    low: float
    """At least this."""
    high: float
    """At most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """What a scan will take."""

    tiles: int
    """Tiles with at least one judged cell."""
    cells: int
    """Cells the scan answers for."""
    scenes: int
    """Scenes read by any tile."""
    decoded_bytes: Range
    """Pixels inflated: the masks alone, to every block as often as it may be cut. The truth lies between."""
    bytes: Range
    """Bytes that leave the catalogue's store: fewer than are inflated, by how well they are compressed."""
    requests: Range
    """Reads of a file: opening it, and its blocks."""
    memory_bytes: Range
    """What the units of all workers may hold together, beside the programs themselves."""
    zarr_bytes: Range
    """Disk for the composites."""
    composite_hours: Range
    """Wall time of reading and compositing with the workers there are."""
    detect_hours: Range
    """Wall time of detecting and judging."""
    delineate_hours: Range
    """Wall time of drawing outlines: from no hit to hits everywhere."""

    @property
    def hours(self) -> Range:
        """Wall time in all."""
        stages = (self.composite_hours, self.detect_hours, self.delineate_hours)
        return Range(low=sum(stage.low for stage in stages), high=sum(stage.high for stage in stages))

    def as_json(self) -> dict[str, Any]:
        """For `plan --json` and run.json."""
        return asdict(self) | {"hours": asdict(self.hours)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What one network takes."""

    px_per_core_second: float
    """Pixels of a core, its halo's work included, that a processor's core scores in a second."""
    unit_nbytes: int
    """What a unit that runs it may hold."""


def pace_of(detector: "Detector", core_px: int, unit_nbytes: int) -> Pace:
    """A network timed on a small core; of larger ones the halo is a smaller part.

    Args:
        detector: ready to run.
        core_px: edge of the cores that it will be given.
        unit_nbytes: what a unit that runs it may hold.
    """
    import torch  # noqa: PLC0415

    card = detector.card
    edge = -(-PROBE_PX // card.stride_px) * card.stride_px + 2 * card.halo_px
    pixels = np.full((len(card.bands), edge, edge), 2000, np.uint16)
    seconds = 0.0
    for _ in range(2):  # the first time kernels are compiled and threads begun
        began = time.perf_counter()
        detector.score_core(pixels)
        seconds = time.perf_counter() - began
    scored = edge**2 * (core_px / (core_px + 2 * card.halo_px)) ** 2
    return Pace(px_per_core_second=scored / seconds / torch.get_num_threads(), unit_nbytes=unit_nbytes)


def estimate(plan: ScanPlan, paces: Sequence[Pace], *, cores: int, workers: int) -> CostEstimate:
    """Price a plan.

    Args:
        plan: the scan.
        paces: the detector's, then the delineator's where there is one.
        cores: cores of all workers together.
        workers: units that run at once.
    """
    decoded = Range(
        low=float(sum(least_nbytes(tile.request) for tile in plan.tiles)),
        high=float(sum(expected_nbytes(tile.request) for tile in plan.tiles)),
    )
    pixels = float(sum(_area(window) for tile in plan.tiles for window in tile.request.windows))
    bands = len(plan.settings.bands)
    opened = sum(len(tile.request.scenes) * (bands + 1) * len(tile.request.windows) for tile in plan.tiles)
    blocks = decoded.high / (1024 * 1024 * 2)
    return CostEstimate(
        tiles=len(plan.tiles),
        cells=sum(tile.judged_cells for tile in plan.tiles),
        scenes=len(plan.scenes),
        decoded_bytes=decoded,
        bytes=Range(low=0.0, high=decoded.high),
        requests=Range(low=float(len(plan.scenes)), high=2 * opened + 4 * blocks),
        memory_bytes=Range(low=0.0, high=float(workers * max(pace.unit_nbytes for pace in paces))),
        zarr_bytes=Range(low=0.0, high=4 * bands * pixels),
        composite_hours=_hours(decoded, DECODE_BYTES_PER_CORE_SECOND, cores),
        detect_hours=_scoring(pixels, paces[:1], cores),
        delineate_hours=_scoring(pixels, paces[1:], cores),
    )


def _area(window: Window) -> int:
    return window.width_px * window.height_px


def _scoring(pixels: float, paces: Sequence[Pace], cores: int) -> Range:
    if not paces:
        return Range(low=0.0, high=0.0)
    slow, fast = (margin * paces[0].px_per_core_second for margin in PACE_MARGINS)
    return _hours(Range(low=0.0, high=pixels), (slow, fast), cores)


def _hours(amount: Range, rates: tuple[float, float], cores: int) -> Range:
    slow, fast = rates
    return Range(low=amount.low / fast / cores / 3600, high=amount.high / slow / cores / 3600 + START_HOURS)


def describe(cost: CostEstimate) -> list[str]:
    """The estimate for a person, one line a quantity."""
    return [
        f"tiles          {cost.tiles}",
        f"cells          {cost.cells}",
        f"scenes         {cost.scenes}",
        f"bytes read     at most {cost.bytes.high / 1e9:.2f} GB",
        f"inflated       {_span(cost.decoded_bytes, 1e9, 'GB')}",
        f"requests       {_span(cost.requests, 1, '')}",
        f"memory         at most {cost.memory_bytes.high / 1e9:.1f} GB",
        f"composites     at most {cost.zarr_bytes.high / 1e9:.2f} GB of disk",
        f"compositing    {_span(cost.composite_hours, 1, 'h')}",
        f"detecting      {_span(cost.detect_hours, 1, 'h')}",
        f"outlines       {_span(cost.delineate_hours, 1, 'h')}",
        f"hours          {_span(cost.hours, 1, 'h')}",
    ]


def _span(amount: Range, unit: float, name: str) -> str:
    digits = 3 if amount.high / unit < 10 else 0
    return f"{amount.low / unit:.{digits}f} to {amount.high / unit:.{digits}f} {name}".rstrip()
