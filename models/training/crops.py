"""Labelled images cut into cores of cells: at any phase to train, on the zone's lattice to measure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.networks.geometry import STRIDE_PX, WINDOW_PX
from models.training.augment import blend, relight, turn
from models.training.config import TrainConfig
from models.training.labels import DetectorSample, cell_labels, cells_fitting, core_of

__all__ = ["Ground", "draw_crop", "ground_of", "on_lattice"]

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_INSET_PX = (WINDOW_PX - STRIDE_PX) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A sample and where its target is."""

    sample: DetectorSample
    """The image."""
    target: NDArray[np.bool_]
    """(y, x) pixels of the target."""
    target_px: NDArray[np.int64]
    """(k, 2) row and column of each."""

    def labels(self, start: tuple[int, int], cells: tuple[int, int], share: float) -> Labels:
        """(r, c) labels of the cells whose first window starts at `start`."""
        top, left = start[0] + _INSET_PX, start[1] + _INSET_PX
        return cell_labels(
            self.target[top : top + STRIDE_PX * cells[0], left : left + STRIDE_PX * cells[1]], positive_share=share
        )


def ground_of(sample: DetectorSample, targets: Collection[int]) -> Ground:
    """The sample with the pixels of these class codes marked."""
    target = np.isin(sample.labels, list(targets))
    return Ground(sample=sample, target=target, target_px=np.argwhere(target))


def on_lattice(ground: Ground, positive_share: float) -> tuple[Floats, Labels]:
    """Core (band, y, x) and labels (r, c) of the zone's cells whose 189 px window lies in the image."""
    start = ground.sample.phase_px
    height, width = ground.target.shape
    cells = (cells_fitting(height, start[0]), cells_fitting(width, start[1]))
    return core_of(ground.sample.reflectance, start, cells), ground.labels(start, cells, positive_share)


def draw_crop(grounds: Sequence[Ground], config: TrainConfig, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """A square core at any phase with its cells' labels, blended, turned and relit."""
    ground = grounds[int(rng.integers(len(grounds)))]
    count = min(config.crop_cells, *(cells_fitting(min(each.target.shape)) for each in grounds))
    start = _start(ground, count, config.near_target, rng)
    if rng.random() < config.on_lattice:
        start = _snapped(ground, start, count)
    image = blend(ground.sample, [each.sample for each in grounds], config.blend, rng)
    pixels = core_of(image, start, (count, count))
    which = int(rng.integers(8))
    cells = ground.labels(start, (count, count), config.positive_share)
    return relight(turn(pixels, which), config, rng), np.ascontiguousarray(turn(cells, which))


def _start(ground: Ground, count: int, near_target: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where the first window of a crop starts: anywhere, or so that a target pixel lies in the core."""
    reach = STRIDE_PX * count
    last = [edge - 2 * _INSET_PX - reach for edge in ground.target.shape]
    row, column = (int(rng.integers(end + 1)) for end in last)
    if len(ground.target_px) and rng.random() < near_target:
        pixel = ground.target_px[int(rng.integers(len(ground.target_px)))] - _INSET_PX - rng.integers(reach, size=2)
        row, column = (min(max(0, int(begin)), end) for begin, end in zip(pixel, last, strict=True))
    return row, column


def _snapped(ground: Ground, start: tuple[int, int], count: int) -> tuple[int, int]:
    """The nearest start on the zone's lattice whose windows lie in the image; the same start where none does."""
    snapped = []
    for begin, phase, edge in zip(start, ground.sample.phase_px, ground.target.shape, strict=True):
        steps = min(max(0, round((begin - phase) / STRIDE_PX)), cells_fitting(edge, phase) - count)
        if steps < 0:
            return start
        snapped.append(phase + STRIDE_PX * steps)
    return snapped[0], snapped[1]
