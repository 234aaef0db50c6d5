"""What a plan will cost, as ranges, before anything is read."""

from dataclasses import asdict, dataclass
from typing import Any

from scanner.composite.request import expected_nbytes
from scanner.run.plan import ScanPlan
from tiling import Window

__all__ = ["CostEstimate", "Range", "describe", "estimate"]

COMPRESSED_SHARE = (0.35, 1.0)
"""Transferred bytes per decoded byte: deflated Sentinel-2 bands run from a third to nearly all."""
DECODE_BYTES_PER_CORE_SECOND = (60e6, 240e6)
"""Decoded and reduced bytes a core manages in a second; low on remote files, high on local ones."""
DETECT_PX_PER_CORE_SECOND = (1.5e6, 8e6)
"""Pixels a core scores in a second with the FCN."""
ZARR_BYTES_PER_PX = (0.3, 1.0)
"""Compressed share of a composite's bytes, reflectance and looks together."""


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
    """Pixels inflated; `high` is never exceeded."""
    bytes: Range
    """Bytes that leave the catalogue's store."""
    requests: Range
    """Reads of a file: opening it, and its blocks."""
    memory_bytes: Range
    """Peak of all workers together."""
    zarr_bytes: Range
    """Disk for the composites."""
    composite_hours: Range
    """Wall time of reading and compositing with the workers there are."""
    detect_hours: Range
    """Wall time of detecting and judging."""

    @property
    def hours(self) -> Range:
        """Wall time in all."""
        low, high = self.composite_hours, self.detect_hours
        return Range(low=low.low + high.low, high=low.high + high.high)

    def as_json(self) -> dict[str, Any]:
        """For `plan --json` and run.json."""
        return asdict(self) | {"hours": asdict(self.hours)}


def estimate(plan: ScanPlan, *, cores: int, memory_bytes: int) -> CostEstimate:
    """Price a plan.

    Args:
        plan: the scan.
        cores: cores of all workers together.
        memory_bytes: what all workers together may use.
    """
    decoded = sum(expected_nbytes(tile.request) for tile in plan.tiles)
    pixels = sum(_area(window) for tile in plan.tiles for window in tile.request.windows)
    bands = len(plan.settings.detector.bands)
    reads = sum(len(tile.request.scenes) * (bands + 1) * len(tile.request.windows) for tile in plan.tiles)
    blocks = decoded / (1024 * 1024 * 2)
    return CostEstimate(
        tiles=len(plan.tiles),
        cells=sum(tile.judged_cells for tile in plan.tiles),
        scenes=len(plan.scenes),
        decoded_bytes=Range(low=0.0, high=float(decoded)),
        bytes=Range(low=0.1 * COMPRESSED_SHARE[0] * decoded, high=COMPRESSED_SHARE[1] * decoded),
        requests=Range(low=float(reads), high=float(2 * reads + 4 * blocks)),
        memory_bytes=Range(low=0.0, high=float(memory_bytes)),
        zarr_bytes=Range(low=0.0, high=ZARR_BYTES_PER_PX[1] * pixels * bands * 4),
        composite_hours=_hours(decoded, DECODE_BYTES_PER_CORE_SECOND, cores),
        detect_hours=_hours(pixels, DETECT_PX_PER_CORE_SECOND, cores),
    )


def _area(window: Window) -> int:
    return window.width_px * window.height_px


def _hours(amount: float, rates: tuple[float, float], cores: int) -> Range:
    return Range(low=0.1 * amount / rates[1] / cores / 3600, high=amount / rates[0] / cores / 3600)


def describe(cost: CostEstimate) -> list[str]:
    """The estimate for a person, one line a quantity."""
    return [
        f"tiles          {cost.tiles}",
        f"cells          {cost.cells}",
        f"scenes         {cost.scenes}",
        f"bytes read     {_span(cost.bytes, 1e9, 'GB')}",
        f"inflated       at most {cost.decoded_bytes.high / 1e9:.2f} GB",
        f"requests       {_span(cost.requests, 1, '')}",
        f"peak memory    at most {cost.memory_bytes.high / 1e9:.1f} GB",
        f"composites     at most {cost.zarr_bytes.high / 1e9:.2f} GB of disk",
        f"compositing    {_span(cost.composite_hours, 1, 'h')}",
        f"detecting      {_span(cost.detect_hours, 1, 'h')}",
        f"hours          {_span(cost.hours, 1, 'h')}",
    ]


def _span(amount: Range, unit: float, name: str) -> str:
    digits = 3 if amount.high / unit < 10 else 0
    return f"{amount.low / unit:.{digits}f} to {amount.high / unit:.{digits}f} {name}".rstrip()
