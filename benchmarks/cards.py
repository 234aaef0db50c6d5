"""Ground a second of every card there is, in both precisions, beside its bare network and its operations counted.

    python benchmarks/cards.py [CARD ...] [--size 1512] [--threads 2] [--rounds 5] [--json cards.json]

A card is a name or a folder; without any, all that `minescan models list` shows. The ground is random; a judge gets as
many chips as cover it. *bare* is the network alone, on random numbers of the same shapes: nothing scaled, cut or kept.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from deploy.worker import prepare_worker


def measure(names: list[str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """By card: operations a pixel, and Mpx/s of the bare network and of both precisions."""
    import torch  # noqa: PLC0415
    from measure import Row, interleaved  # noqa: PLC0415

    from models import find_card  # noqa: PLC0415

    torch.set_num_threads(options.threads)
    found = {}
    for name in names:
        card = find_card(name)
        pixels = _pixels(card, options.size)
        ground_px = _ground_px(card, pixels.shape)
        calls = _calls(name, pixels)
        rows: dict[str, Row] = {}
        interleaved({}, calls, 1)
        interleaved(rows, calls, options.rounds)
        rates = {f"{label}_mpx_s": round(ground_px / 1e6 / row.wall, 2) for label, row in rows.items()}
        cpu_s = {f"{label}_cpu_s": round(row.cpu, 3) for label, row in rows.items()}
        flop = _flop(calls["fp32"])
        gflops = {f"{label}_gflop_s": round(flop / 1e9 / row.wall) for label, row in rows.items()}
        found[card.name] = {"flop_px": round(flop / ground_px)} | rates | gflops | cpu_s
    return found


def _pixels(card, size):
    """Stored pixels of a core with its halo, or chips."""
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(0)
    if card.task == "impact":
        shape = [max(1, size**2 // card.window_px**2), len(card.bands), card.window_px, card.window_px]
    else:
        edge = size // card.stride_px * card.stride_px + 2 * card.halo_px
        shape = [len(card.bands), edge, edge]
    return rng.integers(1500, 4500, shape, dtype=np.uint16)


def _ground_px(card, shape):
    """Pixels that are scored: the core's, without its halo."""
    return shape[0] * shape[2] * shape[3] if card.task == "impact" else (shape[1] - 2 * card.halo_px) ** 2


def _calls(name, pixels) -> dict[str, Callable[[], object]]:
    from safetensors.torch import load_file  # noqa: PLC0415

    from models import find_card, load  # noqa: PLC0415
    from models.infer import open_model  # noqa: PLC0415
    from models.registry import find  # noqa: PLC0415

    card, exact = find_card(name), load(name, "cpu")
    calls = {"bare": _bare(exact, pixels), "fp32": _scoring(exact, pixels)}
    if card.form == "weights":
        # Whatever the card permits: that is what is to be found out.
        calls["bf16"] = _scoring(open_model(card, load_file(find(name) / card.file), bf16=True), pixels)
    return calls


def _scoring(model, pixels) -> Callable[[], object]:
    score = model.score if model.card.task == "impact" else model.score_core
    return lambda: score(pixels)


def _bare(model, pixels) -> Callable[[], object]:
    """The network alone: the paper's convolutions by `floor`, else what a recorded run gave to the network."""
    import floor  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from models.networks import FCN  # noqa: PLC0415

    card = model.card
    if card.network == FCN and card.task == "detector":
        return lambda: floor.convolve(pixels.shape[1], pixels.shape[2], card.name, torch.get_num_threads())
    engine = model._engine if card.task == "impact" else model._way._engine  # noqa: SLF001
    net, shapes = engine.net, []
    engine.net = lambda image: shapes.append(image.shape) or net(image)
    _scoring(model, pixels)()
    engine.net = net
    given = {shape: torch.rand(shape).contiguous(memory_format=torch.channels_last) for shape in set(shapes)}

    def run() -> None:
        with engine.running():
            for shape in shapes:
                net(given[shape])

    return run


def _flop(call: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def main() -> None:
    """Print a line a card."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cards", nargs="*", help="names or folders; all there are without any")
    parser.add_argument("--size", type=int, default=1512, help="edge of the ground, px of 10 m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # Before anything that brings torch: its threads are decided when it is loaded.
    prepare_worker(options.threads)
    from models import cards  # noqa: PLC0415

    found = measure(options.cards or [card.name for card in cards()], options)
    for name, row in found.items():
        print(f"{name:28}" + "".join(f"{kind} {value}   " for kind, value in row.items()), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"size_px": options.size, "threads": options.threads, "cards": found}) + "\n"
        )


if __name__ == "__main__":
    main()
