"""A window classifier whose patches are smaller than the judge's chips: more ground is read, nothing else changes."""

import numpy as np
import pytest
import torch

from models import ModelCard
from models.infer import open_model
from models.networks import KERAS_CNN, build
from scanner.detection.cells import observed_cells
from scanner.detection.detect import Asked, detect_tile
from scanner.detection.reach import core_reach_px
from tests.scanner.detection.test_detect import make_model
from tiling import CellRange, Lattice, TileId, chunks

BANDS = ("B02", "B03", "B04")
TILE = TileId(zone=32633, column=6, row=61)
LATTICE = Lattice(zone=32633, stride_px=12)
SOME = LATTICE.cells_of(TILE)
CELLS = CellRange(column0=SOME.column0, column1=SOME.column0 + 6, row0=SOME.row0, row1=SOME.row0 + 4)
GROUND = CELLS.window(LATTICE).buffer(30)


def classifier(window_px: int):
    layers = (
        {"kind": "conv", "inputs": 3, "outputs": 4, "kernel": (3, 3)}, {"kind": "activation", "name": "relu"},
        {"kind": "max_over", "keep": False}, {"kind": "dense", "inputs": 4, "outputs": 1},
    )  # fmt: skip
    card = ModelCard(
        name="drawn", task="detector", mode="window", network=KERAS_CNN,
        arguments={"members": (layers,), "ends": "sigmoid"}, level="l2a", bands=BANDS, mean=(0.1,) * 3,
        std=(0.05,) * 3, window_px=window_px, stride_px=12, halo_px=(window_px - 12) // 2,
        classes=("not_mine", "mine"), limits="drawn", licence="none", origin="drawn",
    )  # fmt: skip
    torch.manual_seed(3)
    return open_model(card, build(KERAS_CNN, bands=3, classes=2, **card.arguments).state_dict())


@pytest.mark.parametrize(("window_px", "reach_px"), [(12, 5), (24, 6), (36, 12)])
def test_scores_and_chips_are_those_of_each_cell_alone(window_px, reach_px):
    rng = np.random.default_rng(2)
    composite = rng.integers(1200, 3000, (3, *GROUND.shape)).astype(np.uint16)
    composite[:, 40:60, 40:60] = 0
    detector, judge = classifier(window_px), make_model("impact", ("high_impact", "low_impact", "no_ore"))
    assert core_reach_px(detector.card, judge.card) == reach_px

    def read(window):
        rows, columns = window.slices_in(GROUND)
        return composite[:, rows, columns], composite[0, rows, columns]

    for chunk_px in (24, 9999):
        asked = Asked(
            tile=TILE, lattice=LATTICE, cells=CELLS, judged=np.ones(CELLS.shape, bool),
            chunks=chunks(LATTICE, CELLS, chunk_px=chunk_px, halo_px=detector.card.halo_px),
        )  # fmt: skip
        found = detect_tile(asked, read, detector, judge, 0.0)
        assert len(found.found) == CELLS.shape[0] * CELLS.shape[1]
        for place, (row, column) in enumerate(np.ndindex(CELLS.shape)):
            own = LATTICE.window(LATTICE.cell_in(CELLS, row, column))
            patch = composite[(slice(None), *own.buffer(detector.card.halo_px).slices_in(GROUND))]
            seen = bool(observed_cells(patch, detector.card)[0, 0])
            assert found.observed[row, column] == seen == ((patch != 0).all(axis=0).mean() >= 0.9)
            np.testing.assert_allclose(found.found.scores[place], detector.score_core(patch)[1, 0, 0], atol=1e-5)
            y, x = (part.start - 5 for part in own.slices_in(GROUND))
            chip = composite[:, y : y + 21, x : x + 21]
            np.testing.assert_allclose(found.found.impacts[place], judge.score(chip[None])[0], atol=1e-5)
