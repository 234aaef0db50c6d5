"""How the demo's weights were made: on other draws of the demo's generator. `python -m scanner.demo.training [DIR]`.

The same command on the same kind of machine gives the same weights; every seed is printed.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.networks import FCN, IMPACT
from models.networks.geometry import CHIP_PX, HALO_PX, STRIDE_PX, WINDOW_PX
from models.registry import SHIPPED, save_card
from models.training.config import TrainConfig
from models.training.labels import ChipSet, DetectorSample
from models.training.loop import Session
from models.training.patches import Trained
from models.training.train import train_detector, train_judge
from scanner.demo.clouds import days
from scanner.demo.ground import Ground, make_ground
from scanner.demo.noise import fractal
from scanner.demo.region import tiles_of
from scanner.demo.render import clear_view
from scanner.demo.sites import RegionSpec
from scanner.demo.spectra import BANDS, CLOUD
from scanner.demo.truth import impact_points, labels
from tiling import Lattice, Window, pixel_at, utm

__all__ = ["DETECTOR", "JUDGE", "TRAIN_SEEDS", "make_cards"]

DETECTOR: Final = "demo-l2a-12band"
JUDGE: Final = "demo-impact-l2a-12band"

TRAIN_SEEDS: Final = (901, 902, 903, 904, 905)
HELD_OUT_SEED: Final = 906
"""A whole region that neither network is fitted to: it chooses the step and gives the cards their figures."""

_SPEC: Final = RegionSpec(mines=14, decoys=64)
"""More look-alikes than the demo has: a town taken for a mine is the commonest mistake."""
_KINDS: Final = ("high_impact", "low_impact", "no_ore")
_DETECTOR_CONFIG: Final = TrainConfig(seed=1, steps=400, batch=2, positive_share=0.05, balance=0.75, check_every=20)
_JUDGE_CONFIG: Final = TrainConfig(seed=2, steps=400, batch=32, rate=5e-4, check_every=20)
_CHIP_SHARE: Final = 0.03
"""A chip is a mine's when this share of it is; with less but some in its cell it is left out."""
_NOISE: Final = 0.0015
"""Of a median of a dozen looks, reflectance."""
_HAZE: Final = 0.03
"""Thin cloud that no mask calls, at its thickest, as the share of an opaque cloud."""
_LIMITS: Final = (
    "For minescan's demo alone: trained and measured on draws of its synthetic generator, whose spectra and shapes are "
    "made up. It has never seen a real image and says nothing about real ground."
)
Image = NDArray[np.float32]


def make_cards(root: Path) -> tuple[ModelCard, ModelCard]:
    """Draw regions, train both networks, and save their cards under `root`."""
    began = time.monotonic()
    click.echo(f"regions from seeds {TRAIN_SEEDS}, held out {HELD_OUT_SEED}")
    samples, chips = _draw()
    click.echo(f"drawn in {time.monotonic() - began:.0f} s; chips of {_counts(chips)}")
    held_out = (str(HELD_OUT_SEED),)
    detector = train_detector(samples, _DETECTOR_CONFIG, targets=(1,), held_out=held_out, session=Session(on_step=_say))
    click.echo(f"detector: {detector.metrics}, {time.monotonic() - began:.0f} s")
    judge = train_judge(chips, _JUDGE_CONFIG, classes=_KINDS, held_out=held_out, session=Session(on_step=_say))
    click.echo(f"judge: {judge.metrics}, {time.monotonic() - began:.0f} s")
    return (
        save_card(root / DETECTOR, _detector_card(detector), detector.state_dict),
        save_card(root / JUDGE, _judge_card(judge), judge.state_dict),
    )


def _draw() -> tuple[list[DetectorSample], ChipSet]:
    """Both granules of every region as labelled images, and the chips of their cells and points."""
    samples: list[DetectorSample] = []
    chips: list[Image] = []
    kinds: list[int] = []
    groups: list[str] = []
    for seed in (*TRAIN_SEEDS, HELD_OUT_SEED):
        ground = make_ground(seed, _SPEC)
        for tile in tiles_of(_SPEC):
            rng = np.random.default_rng([seed, tile.zone])
            view = _hazy(clear_view(ground, tile.zone, tile.window, days(seed, _SPEC)), rng)
            window = tile.window
            phase = Lattice(zone=tile.zone, stride_px=STRIDE_PX).phase_px(window)
            target = labels(ground, tile.zone, window)
            samples.append(DetectorSample(reflectance=view, labels=target, group=str(seed), phase_px=phase))
            for row, column, kind in _places(ground, tile.zone, window, rng):
                half = CHIP_PX // 2
                chips.append(view[:, row - half : row + half + 1, column - half : column + half + 1])
                kinds.append(kind)
                groups.append(str(seed))
    return samples, ChipSet(chips=np.stack(chips), labels=np.asarray(kinds), groups=groups)


def _hazy(view: Image, rng: np.random.Generator) -> Image:
    """What the compositor leaves on a clear view: a little noise, a little thin cloud here and there."""
    haze = _HAZE * np.clip(fractal(rng, (view.shape[1], view.shape[2]), coarsest_px=200) / 2, 0, 1)
    view += haze * (CLOUD[:, None, None] - view)
    view += np.float32(_NOISE) * rng.standard_normal(view.shape, dtype=np.float32)
    return view


def _places(ground: Ground, zone: int, window: Window, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Row, column and class of chips: at the centres of cells of four random phases, and at impact points."""
    sites = ground.sites_in(zone, window)
    code = np.asarray([2] + [_KINDS.index(_IMPACT[site.kind]) for site in ground.sites])
    for _ in range(4):
        yield from _cells(code[sites], sites > 0, rng)
    for point in impact_points(ground, int(rng.integers(1 << 30)), per_site=6):
        e, n = (float(np.ravel(axis)[0]) for axis in utm(zone, np.array([point.lon]), np.array([point.lat])))
        x, y = pixel_at(zone, e, n)
        row, column = y - window.y0, x - window.x0
        if CHIP_PX <= row < window.height_px - CHIP_PX and CHIP_PX <= column < window.width_px - CHIP_PX:
            yield row, column, _KINDS.index(point.label)


_IMPACT: Final = {"high": "high_impact", "low": "low_impact", "decoy": "no_ore"}


def _cells(
    code: NDArray[np.int64], planted: NDArray[np.bool_], rng: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    """Cells of one lattice: all with a mine or centred on a decoy, a quarter of those near either, few others.

    A scan centres the judge's chips on cells, wherever in the cell the mine is.
    """
    first = rng.integers(STRIDE_PX, size=2)
    half, cell = CHIP_PX // 2, STRIDE_PX // 2
    for row in range(int(first[0]) + cell, len(code) - cell, STRIDE_PX):
        for column in range(int(first[1]) + cell, code.shape[1] - cell, STRIDE_PX):
            chip = code[row - half : row + half + 1, column - half : column + half + 1]
            whole = code[row - cell : row + cell + 1, column - cell : column + cell + 1]
            share = np.bincount(chip.ravel(), minlength=3) / chip.size
            if share[:2].max() >= _CHIP_SHARE:
                yield row, column, int(share[:2].argmax())
            elif (whole == 2).all():
                around = slice(max(row - 45, 0), row + 46), slice(max(column - 45, 0), column + 46)
                share_kept = 1.0 if planted[row, column] else 0.25 if planted[around].any() else 0.03
                if rng.random() < share_kept:
                    yield row, column, 2


def _detector_card(trained: Trained) -> ModelCard:
    return _card(
        trained, name=DETECTOR, task="detector", mode="fcn", network=FCN, window_px=WINDOW_PX, halo_px=HALO_PX,
        classes=("not_mine", "mine"), threshold=0.6, impact=JUDGE,
    )  # fmt: skip


def _judge_card(trained: Trained) -> ModelCard:
    return _card(
        trained, name=JUDGE, task="impact", mode="window", network=IMPACT, window_px=CHIP_PX, halo_px=0,
        classes=_KINDS, threshold=0.0,
    )  # fmt: skip


def _card(trained: Trained, **which: Any) -> ModelCard:
    seeds = ", ".join(str(seed) for seed in TRAIN_SEEDS)
    return ModelCard(
        level="l2a", bands=BANDS, mean=trained.mean, std=trained.std, stride_px=STRIDE_PX, metrics=trained.metrics,
        limits=_LIMITS, licence="Apache-2.0",
        origin=f"python -m scanner.demo.training: synthetic regions from seeds {seeds}; held out: {HELD_OUT_SEED}",
        **which,
    )  # fmt: skip


def _counts(chips: ChipSet) -> str:
    return ", ".join(f"{name} {int((chips.labels == code).sum())}" for code, name in enumerate(_KINDS))


def _say(step: int, total: int, loss: float) -> None:
    if step % 20 == 0 or step == total:
        click.echo(f"step {step} of {total}, loss {loss:.3f}")


if __name__ == "__main__":
    make_cards(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
