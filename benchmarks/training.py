"""A step of a training beside the bare forward and backward pass of the same batch, interleaved.

    python benchmarks/training.py [--device cuda] [--rounds 5] [--json FILE]

The floor: forward, cross-entropy, backward, on a batch that is there already; no optimizer, no data. Ours: everything
that `minescan train` does between two steps (chips cut, turned, scaled, lit, in part zoomed; loss, optimizer, mean of
weights). Beside them the floor with the same optimizer's step: of small batches and many weights it is the larger part.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch

from models.card import ModelCard
from models.networks import FCN, IMPACT, UNET
from models.training.config import TrainConfig
from models.training.loop import FUSED_FROM, Session, fit
from models.training.patches import _logits, _network, _Squares
from models.training.samples import of_chips
from models.training.split import Fold

BANDS = tuple(f"B{number:02d}" for number in range(1, 13))
CELLS = {"task": "detector", "mode": "fcn", "window_px": 189, "stride_px": 27, "halo_px": 94}
JUDGE = {"task": "impact", "window_px": 21, "stride_px": 21, "halo_px": 0}
PIXELS = {"window_px": 128, "stride_px": 64, "halo_px": 32, "output": "pixels"}
CASES = {
    "fcn 215 px x 16": (FCN, 215, 16, CELLS, {}),
    "impact 21 px x 16": (IMPACT, 21, 16, JUDGE, {}),
    "impact 21 px x 128": (IMPACT, 21, 128, JUDGE, {}),
    "unet 128 px x 8": (UNET, 128, 8, PIXELS, {}),
    "unet 128 px x 8, zoom": (UNET, 128, 8, PIXELS, {"zoom": 0.2, "shear": 5.0}),
}  # fmt: skip


def make(case: str, device: str):
    network, edge, batch, lengths, changes = CASES[case]
    draft = ModelCard(
        **({"task": "detector", "mode": "window"} | lengths), name="draft", network=network, level="l2a", bands=BANDS,
        mean=(0.2,) * 12, std=(0.1,) * 12, classes=("not_mine", "mine"), limits="", licence="", origin="",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    count = 8 * batch
    marks = (rng.random((count, edge, edge)) < 0.2).astype(np.int16)
    samples = of_chips(
        rng.integers(1000, 5000, (count, 12, edge, edge)).astype(np.uint16), np.arange(count) % 2, marks, edge_px=edge,
        where=(np.zeros((count, 4)), ("g",) * count, ("d",) * count),
    )  # fmt: skip
    config = TrainConfig(steps=10**6, batch=batch, check_every=10**6, **changes)
    whole = Fold(name="whole", train=np.arange(count), held_out=np.arange(0), units=())
    net = _network(draft, samples).to(device)
    return net, config, _Squares(draft, samples, config, whole, torch.device(device))


def bare(net, inputs, labels, given, optimizer=None) -> float:
    net.train()
    began = time.perf_counter()
    for _ in range(given.steps):
        net.zero_grad()
        torch.nn.functional.cross_entropy(_logits(net, inputs), labels, ignore_index=-1).backward()
        if optimizer is not None:
            optimizer.step()
    finish(given.device)
    return (time.perf_counter() - began) / given.steps


def finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class EnoughError(Exception):
    """The benchmark has what it wants."""


def ours(net, config, squares, floor, given) -> list[tuple[tuple[float, float], float]]:
    """(floors, ours) seconds a step of each round: the training is stopped now and then for the floors."""
    found, state = [], {"began": time.perf_counter()}

    def on_step(step: int, _total: int, _loss: float) -> None:
        if step % given.steps:
            return
        finish(given.device)
        took = (time.perf_counter() - state["began"]) / given.steps
        found.append((floor(), took))
        if len(found) > given.rounds:
            raise EnoughError
        state["began"] = time.perf_counter()

    try:
        fit(net, config, squares.task(), Session(on_step=on_step, device=given.device))
    except EnoughError:
        return found[1:]
    raise AssertionError("it ended by itself")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--only")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for case in CASES:
        if given.only and given.only not in case:
            continue
        torch.manual_seed(0)
        net, config, squares = make(case, given.device)
        inputs, labels = squares.ready(squares.draw(np.random.default_rng(0), 1))

        fused = sum(one.numel() for one in net.parameters()) > FUSED_FROM
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-6, fused=fused)

        def floor(net=net, inputs=inputs, labels=labels, optimizer=optimizer) -> tuple[float, float]:
            return bare(net, inputs, labels, given), bare(net, inputs, labels, given, optimizer)

        floor()
        found = ours(net, config, squares, floor, given)
        ratios = sorted(took / least for (least, _), took in found)
        row = {
            "case": case, "floor_ms": 1e3 * float(np.median([least for (least, _), _ in found])),
            "with_optimizer_ms": 1e3 * float(np.median([least for (_, least), _ in found])),
            "ours_ms": 1e3 * float(np.median([took for _, took in found])), "ratio": float(np.median(ratios)),
            "ratio_with_optimizer": float(np.median([took / least for (_, least), took in found])), "ratios": ratios,
        }  # fmt: skip
        rows.append(row)
        spread = " to ".join(f"{ratio:.2f}" for ratio in itertools.chain(ratios[:1], ratios[-1:]))
        print(
            f"{case:24} floor {row['floor_ms']:7.1f} ms, with optimizer {row['with_optimizer_ms']:7.1f} ms, "
            f"ours {row['ours_ms']:7.1f} ms: {row['ratio']:.2f} ({spread}), {row['ratio_with_optimizer']:.2f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
