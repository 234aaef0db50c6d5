"""A card's network as a file that runs elsewhere: a torch.export program or ONNX, checked to give equal numbers."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.card import CardError, ModelCard, read_card
from models.networks import build
from models.networks.fcn import Fcn
from models.plain_pt2 import plain_archive
from models.programs import CARD_KEY, Program, needs_onnx, read_program
from models.registry import checked_file, find

__all__ = ["TOLERANCE", "export_model"]

TOLERANCE = 1e-5
"""Greatest difference of a probability between a network and its exported file."""

_FORMS = {".pt2": "torch_export", ".onnx": "onnx"}


class _Core(nn.Module):
    """The paper's logits of a core from its pixels and halo."""

    def __init__(self, net: Fcn) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net.core(image)


def export_model(name: str | Path, target: Path) -> float:
    """Write a card's network to `target`, the card inside it; the greatest difference of a probability seen.

    In mode window the file takes (n, band, window, window); in mode fcn a core with its halo, (n, band, stride r + 2
    halo, stride c + 2 halo), of any r and c; float32, scaled as the card says. It gives logits, (n, class, …).

    Raises:
        CardError: no such card, another ending than .pt2 or .onnx, a missing extra, or a file that gives other numbers
            (it is removed).
    """
    if target.suffix not in _FORMS:
        raise CardError(f"{target}: expected a file that ends in .pt2 (torch.export) or .onnx")
    folder = find(name)
    card, form = read_card(folder), _FORMS[target.suffix]
    if card.form != "weights":
        raise CardError(f"card {card.name!r} is a program already: copy {folder / card.file}")
    net = build(card.network, bands=len(card.bands), classes=len(card.classes), **card.arguments).eval()
    net.load_state_dict(load_file(checked_file(folder, card)))
    module = _Core(net) if isinstance(net, Fcn) else net
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(module, card, form, target)
    difference = _difference(module, card, form, target)
    if not difference <= TOLERANCE:
        target.unlink()
        raise CardError(f"{target} gave probabilities {difference:.1e} from the network's; it was removed")
    return difference


def _write(module: nn.Module, card: ModelCard, form: str, target: Path) -> None:
    exported = _exported(module, card)
    if form == "torch_export":
        torch.export.save(exported, target)
        target.write_bytes(plain_archive(target, card.to_json()).getvalue())
        return
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError:
        raise needs_onnx(str(target)) from None
    # It says on every run that torchvision, which is not needed, is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch 2.13's exporter calls what torch itself deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program: Any = torch.onnx.export(exported, dynamo=True, verbose=False)
    program.model.metadata_props[CARD_KEY] = json.dumps(json.loads(card.to_json()))
    program.save(target)


def _exported(module: nn.Module, card: ModelCard) -> Any:
    """Any number of patches; in mode fcn any core of whole cells."""
    dim = torch.export.Dim
    free: dict[int, Any] = {0: dim("n", min=1, max=1 << 16)}
    if card.mode == "fcn":
        for axis, name in ((2, "r"), (3, "c")):
            free[axis] = card.stride_px * dim(name, min=1, max=1 << 12) + 2 * card.halo_px
    return torch.export.export(module, (_example(card, 2, 3, 2),), dynamic_shapes=(free,))


def _example(card: ModelCard, count: int, rows: int, columns: int) -> Tensor:
    if card.mode == "window":
        rows_px = columns_px = card.window_px
    else:
        rows_px, columns_px = (card.stride_px * cells + 2 * card.halo_px for cells in (rows, columns))
    drawn = torch.Generator().manual_seed(rows)
    return torch.rand((count, len(card.bands), rows_px, columns_px), generator=drawn)


def _difference(module: nn.Module, card: ModelCard, form: str, target: Path) -> float:
    """Greatest difference of a probability over drawn patches, or cores of several sizes."""
    program = Program(read_program(target, form).run(torch.device("cpu")), card)
    worst = 0.0
    with torch.inference_mode():
        for count, rows, columns in ((2, 3, 2), (1, 1, 1), (5, 1, 4)):
            given = _example(card, count, rows, columns)
            ours, theirs = (torch.softmax(each(given), dim=1) for each in (module, program))
            worst = max(worst, float((ours - theirs).abs().max()))
    return worst
