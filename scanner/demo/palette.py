"""Every patch of the ground as one row of a table: its spectra, its year, its texture."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scanner.demo.spectra import SURFACES

__all__ = ["Cycle", "Palette", "PaletteBuilder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """How green a patch is through the year: a floor and one bell."""

    floor: float = 0.0
    """Green fraction out of season."""
    rise: float = 0.0
    """What the season adds."""
    peak_day: float = 45.0
    """Day of the year of full green."""
    width_days: float = 60.0
    """Half width of the season, days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The patches of a region; index 0 is the first added."""

    bare: NDArray[np.float32]
    """(patch, band) reflectance without vegetation."""
    full: NDArray[np.float32]
    """(patch, band) reflectance under full green."""
    cycle: NDArray[np.float32]
    """(patch, 4): floor, rise, peak day, width in days."""
    texture: NDArray[np.float32]
    """(patch,) relative spread of brightness."""
    scl: NDArray[np.uint8]
    """(patch,) scene class when not green."""
    always_cloud: NDArray[np.bool_]
    """(patch,) whether the scene classification always calls it cloud."""

    def green(self, day: float) -> NDArray[np.float32]:
        """(patch,) green fraction on a day of the year."""
        floor, rise, peak, width = self.cycle.T
        away = np.abs(day - peak) % 365
        away = np.minimum(away, 365 - away)
        return np.asarray(np.clip(floor + rise * np.exp(-((away / width) ** 2)), 0, 1), np.float32)

    def reflectance(self, day: float) -> NDArray[np.float32]:
        """(patch, band) reflectance on a day of the year."""
        green = self.green(day)[:, None]
        return (1 - green) * self.bare + green * self.full

    def classes(self, day: float) -> NDArray[np.uint8]:
        """(patch,) scene class on a day of the year: 4 vegetation, 5 bare, 6 water."""
        return np.where((self.green(day) > 0.35) & (self.scl == 5), 4, self.scl).astype(np.uint8)


@dataclass(slots=True)
class PaletteBuilder:
    """Collects patches while the ground is painted."""

    rng: np.random.Generator
    """Draws each patch's own shade."""
    rows: list[tuple[str, Cycle, NDArray[np.float32], bool]] = field(default_factory=list)
    """Surface, cycle, shade per band, always cloud."""

    def add(self, surface: str, cycle: Cycle | None = None, *, spread: float = 0.05, always_cloud: bool = False) -> int:
        """The label of a new patch of a surface, a little brighter and redder, or darker and bluer, than the next."""
        ramp = np.linspace(-0.5, 0.5, 12, dtype=np.float32)
        shade = np.exp(self.rng.normal(0, spread) + self.rng.normal(0, spread) * ramp)
        self.rows.append((surface, cycle or Cycle(), shade.astype(np.float32), always_cloud))
        return len(self.rows) - 1

    def build(self) -> Palette:
        """The finished table."""
        kinds = [SURFACES[name] for name, *_ in self.rows]
        shades = np.stack([shade for _, _, shade, _ in self.rows])
        cycles = [(c.floor, c.rise, c.peak_day, c.width_days) for _, c, _, _ in self.rows]
        return Palette(
            bare=np.stack([kind.spectrum() for kind in kinds]) * shades,
            full=np.stack([kind.spectrum(green=True) for kind in kinds]) * shades,
            cycle=np.asarray(cycles, np.float32),
            texture=np.asarray([kind.texture for kind in kinds], np.float32),
            scl=np.asarray([kind.scl for kind in kinds], np.uint8),
            always_cloud=np.asarray([called for *_, called in self.rows], np.bool_),
        )
