"""Half-open integer rectangles of pixels: what every room counts in."""

from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Window:
    """A rectangle of pixels, half-open, never empty.

    Zone pixels are 10 m: x = easting / 10 eastward, y southward from the equator (`tiling.grid`), as in rasters. `at`
    and `times` change the pixel size around the same origin.
    """

    x0: int
    """First column, px."""
    y0: int
    """First row (northernmost), px."""
    x1: int
    """One past the last column, px."""
    y1: int
    """One past the last row, px."""

    def __post_init__(self) -> None:
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise ValueError(f"a window needs x0 < x1 and y0 < y1, got {self.x0, self.y0, self.x1, self.y1}")

    @property
    def width_px(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def height_px(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy counts."""
        return self.height_px, self.width_px

    def buffer(self, px: int) -> "Window":
        """The window grown by `px` on every side (shrunk where negative)."""
        return Window(x0=self.x0 - px, y0=self.y0 - px, x1=self.x1 + px, y1=self.y1 + px)

    def intersect(self, other: "Window") -> "Window | None":
        """The pixels in both, or None."""
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        return Window(x0=x0, y0=y0, x1=x1, y1=y1) if x0 < x1 and y0 < y1 else None

    def contains(self, other: "Window") -> bool:
        """Whether every pixel of `other` is in this window."""
        return self.x0 <= other.x0 and other.x1 <= self.x1 and self.y0 <= other.y0 and other.y1 <= self.y1

    def at(self, factor: int) -> "Window":
        """The same ground in pixels `factor` times coarser, rounded outward."""
        return Window(x0=self.x0 // factor, y0=self.y0 // factor, x1=-(-self.x1 // factor), y1=-(-self.y1 // factor))

    def times(self, factor: int) -> "Window":
        """The same ground in pixels `factor` times finer."""
        return Window(x0=self.x0 * factor, y0=self.y0 * factor, x1=self.x1 * factor, y1=self.y1 * factor)

    def slices_in(self, outer: "Window") -> tuple[slice, slice]:
        """(rows, columns) of this window in an array that covers `outer`.

        Raises:
            ValueError: this window is not inside `outer`.
        """
        if not outer.contains(self):
            raise ValueError(f"{self} is not inside {outer}")
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def subtract(self, other: "Window") -> tuple["Window", ...]:
        """The pixels not in `other`, as at most four disjoint windows: above, left, right, below."""
        hole = self.intersect(other)
        if hole is None:
            return (self,)
        edges = (
            (self.x0, self.y0, self.x1, hole.y0),
            (self.x0, hole.y0, hole.x0, hole.y1),
            (hole.x1, hole.y0, self.x1, hole.y1),
            (self.x0, hole.y1, self.x1, self.y1),
        )
        return tuple(Window(x0=x0, y0=y0, x1=x1, y1=y1) for x0, y0, x1, y1 in edges if x0 < x1 and y0 < y1)

    def union_bounds(self, other: "Window") -> "Window":
        """The smallest window that holds both."""
        return Window(
            x0=min(self.x0, other.x0), y0=min(self.y0, other.y0), x1=max(self.x1, other.x1), y1=max(self.y1, other.y1)
        )
