"""How the ground of a unit is cut: each granule grid's own ground, and in it the blocks of every band."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tiling import Window

__all__ = ["JOB_PX", "Lines", "Part", "Source", "blocks_of", "cut"]

JOB_PX = 1024
"""Edge of the pixels reduced together where files do not say otherwise; smaller blocks are taken several at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Where blocks begin: multiples of a size from an origin, in pixels of a band."""

    row: int = 0
    """A row where a block begins."""
    column: int = 0
    """A column where a block begins."""
    height_px: int = JOB_PX
    """Rows reduced together: a multiple of the file's block."""
    width_px: int = JOB_PX
    """Columns reduced together: a multiple of the file's block."""

    @classmethod
    def of_blocks(cls, row: int, column: int, block: tuple[int, int]) -> "Lines":
        """Lines of a file whose first pixel is (row, column), blocks taken together up to a good size."""
        rows, cols = block
        width = max(JOB_PX // cols, 1) * cols
        height = max(JOB_PX * JOB_PX // width // rows, 1) * rows
        return cls(row=row, column=column, height_px=height, width_px=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A granule grid of the tile's own zone: where its files lie and how they are blocked."""

    extent: Window
    """Zone px."""
    lines: Mapping[int, Lines]
    """By pixel size in metres, for every size among the bands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Ground that is cut on the lines of one source."""

    window: Window
    """Zone px."""
    lines: Mapping[int, Lines] = field(default_factory=dict)
    """Block lines by pixel size; plain ones where there are none."""

    def region(self, gsd_m: int) -> Window | None:
        """The part's pixels of a size: those whose upper left corner lies in it, so that parts partition them."""
        factor = gsd_m // 10
        edges = [-(-edge // factor) for edge in (self.window.x0, self.window.y0, self.window.x1, self.window.y1)]
        x0, y0, x1, y1 = edges
        return Window(x0=x0, y0=y0, x1=x1, y1=y1) if x0 < x1 and y0 < y1 else None


def cut(windows: Sequence[Window], sources: Sequence[Source]) -> tuple[Part, ...]:
    """Partition the wanted windows: each source takes what no earlier one covers, the rest goes by a plain grid.

    Args:
        windows: disjoint, zone px.
        sources: the most important first.
    """
    parts: list[Part] = []
    left = list(windows)
    for source in sources:
        parts += [Part(window=one, lines=source.lines) for window in left if (one := window.intersect(source.extent))]
        left = [rest for window in left for rest in window.subtract(source.extent)]
    return (*parts, *(Part(window=window) for window in left))


def blocks_of(part: Part, gsd_m: int) -> tuple[Window, ...]:
    """The blocks of a part in pixels of `gsd_m`, row by row."""
    region = part.region(gsd_m)
    if region is None:
        return ()
    lines = part.lines.get(gsd_m, Lines())
    return tuple(
        Window(x0=x0, y0=y0, x1=x1, y1=y1)
        for y0, y1 in _spans(region.y0, region.y1, lines.row, lines.height_px)
        for x0, x1 in _spans(region.x0, region.x1, lines.column, lines.width_px)
    )


def _spans(low: int, high: int, origin: int, step: int) -> Iterator[tuple[int, int]]:
    first = origin + (low - origin) // step * step
    for start in range(first, high, step):
        yield max(start, low), min(start + step, high)
