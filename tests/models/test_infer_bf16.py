"""Shipped cards that permit bfloat16: in it no cell of their test sets crosses the threshold."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from models import cards, load
from models.registry import SHIPPED
from models.training.crops import ground_of, on_lattice


def test_the_cards_that_permit_it_are_those_tested_here():
    shipped = {folder.name for folder in SHIPPED.iterdir()}
    permitting = {card.name: card.metrics["bf16"]["crossed"] for card in cards() if card.bf16 and card.name in shipped}
    assert permitting == {"quarry-l2a-10band": 0, "demo-l2a-12band": 0}


def crossed(name, samples, target):
    """Cells on another side of the threshold, of how many, and the largest change of a probability."""
    exact, rough = load(name, "cpu"), load(name, "cpu", "bf16")
    scores = []
    for sample in samples:
        core, _ = on_lattice(ground_of(sample, {target}), 0.1)
        scores.append([detector.score_core(core)[1].ravel() for detector in (exact, rough)])
    one, other = np.concatenate(scores, axis=1)
    threshold = exact.card.threshold
    return int(((one > threshold) != (other > threshold)).sum()), one.size, float(np.abs(one - other).max())


def test_no_cell_of_strzegom_crosses(shared_data):
    folder = shared_data / "strzegom"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    sample_of = runpy.run_path(str(Path(__file__).with_name("test_quarry_card.py")))["_sample"]
    items = json.loads((folder / "items.json").read_text())["features"]
    bands = load("quarry-l2a-10band", "cpu").card.bands
    count, cells, change = crossed("quarry-l2a-10band", [sample_of(folder, item, bands) for item in items], 10)
    assert (count, cells) == (0, 256)
    assert change < 0.01


@pytest.mark.slow
def test_no_cell_of_the_demos_held_out_region_crosses(monkeypatch):
    from scanner.demo import training  # noqa: PLC0415

    monkeypatch.setattr(training, "TRAIN_SEEDS", ())
    count, cells, change = crossed("demo-l2a-12band", training._draw()[0], 1)
    assert (count, cells) == (0, 2888)
    assert change < 0.01
