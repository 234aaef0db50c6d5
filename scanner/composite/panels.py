"""How the ground of a unit is cut: panels on the block lines of the files, and in each panel blocks of every band."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tiling import Window

__all__ = ["JOB_PX", "Lines", "PanelCut", "Source", "blocks_of", "cut_panels"]

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

    @property
    def unit_px(self) -> tuple[int, int]:
        """(rows, columns) in zone px on which the blocks of the 10 and 20 m bands end together.

        60 m bands are a hundredth of the bytes: their larger blocks are rather inflated again.
        """
        sizes = {gsd: lines for gsd, lines in self.lines.items() if gsd < 60} or self.lines
        return (
            max(lines.height_px * gsd // 10 for gsd, lines in sizes.items()),
            max(lines.width_px * gsd // 10 for gsd, lines in sizes.items()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelCut:
    """One panel."""

    window: Window
    """Zone px; edges inside a wanted window lie on block lines."""
    lines: Mapping[int, Lines] = field(default_factory=dict)
    """Block lines by pixel size; plain ones where there are none."""

    def region(self, gsd_m: int) -> Window | None:
        """The panel's pixels of a size: those whose upper left corner lies in it, so that panels partition them."""
        factor = gsd_m // 10
        edges = [-(-edge // factor) for edge in (self.window.x0, self.window.y0, self.window.x1, self.window.y1)]
        x0, y0, x1, y1 = edges
        return Window(x0=x0, y0=y0, x1=x1, y1=y1) if x0 < x1 and y0 < y1 else None


def cut_panels(
    windows: Sequence[Window], sources: Sequence[Source], columns: Callable[[int], int]
) -> tuple[PanelCut, ...]:
    """Partition the wanted windows: each source takes what no earlier one covers, the rest goes by a plain grid.

    Args:
        windows: disjoint, zone px.
        sources: the most important first.
        columns: how many units of an edge (px) a panel may be wide.
    """
    plain = Source(extent=_bounds(windows), lines={10: Lines()})
    panels: list[PanelCut] = []
    left = list(windows)
    for source in (*sources, plain):
        taken = [part for window in left if (part := window.intersect(source.extent))]
        left = [rest for window in left for rest in window.subtract(source.extent)]
        rows, width = source.unit_px
        step = (rows, width * columns(max(rows, width)))
        origin = (0, 0) if source is plain else (source.extent.y0, source.extent.x0)
        lines = {} if source is plain else source.lines
        panels += [PanelCut(window=part, lines=lines) for window in taken for part in _cells(window, origin, step)]
    return tuple(panels)


def blocks_of(panel: PanelCut, gsd_m: int) -> tuple[Window, ...]:
    """The blocks of a panel in pixels of `gsd_m`."""
    region = panel.region(gsd_m)
    if region is None:
        return ()
    lines = panel.lines.get(gsd_m, Lines())
    return tuple(_cells(region, (lines.row, lines.column), (lines.height_px, lines.width_px)))


def _cells(window: Window, origin: tuple[int, int], step: tuple[int, int]) -> Iterator[Window]:
    for y0, y1 in _spans(window.y0, window.y1, origin[0], step[0]):
        for x0, x1 in _spans(window.x0, window.x1, origin[1], step[1]):
            yield Window(x0=x0, y0=y0, x1=x1, y1=y1)


def _spans(low: int, high: int, origin: int, step: int) -> Iterator[tuple[int, int]]:
    first = origin + (low - origin) // step * step
    for start in range(first, high, step):
        yield max(start, low), min(start + step, high)


def _bounds(windows: Sequence[Window]) -> Window:
    bounds = windows[0]
    for window in windows[1:]:
        bounds = bounds.union_bounds(window)
    return bounds
