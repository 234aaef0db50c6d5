"""Others' networks: a torch.export program or an ONNX file in place of weights, as a module that gives logits."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.card import CardError, ModelCard
from models.plain_pt2 import plain_archive

__all__ = ["CARD_KEY", "Program", "input_shape", "needs_onnx", "onnx_card", "open_program", "run_of"]

Run = Callable[[Tensor], Tensor]

CARD_KEY = "minescan.card"
"""Name of the ONNX metadata that holds the card of an exported model."""

_ONNX_EXTRA = "pip install 'minescan[onnx]'"


class Program(nn.Module):
    """(n, band, y, x) float32, scaled as the card says -> logits, (n, class, …), or of one channel for two classes.

    A core's pixels and halo in mode fcn, patches in mode window. The program itself is no submodule: those of
    torch.export refuse `eval`, and ONNX has none.
    """

    def __init__(self, run: Run, card: ModelCard) -> None:
        super().__init__()
        self._run = (run,)
        self._probabilities = card.gives == "probabilities"
        self._one_cell = card.mode == "window" and card.output == "cells"

    def forward(self, patches: Tensor) -> Tensor:
        """What the program says, as logits."""
        numbers = self._run[0](patches)
        if numbers.dim() == 1:
            numbers = numbers[:, None]
        if self._one_cell:
            numbers = numbers.flatten(1)
        if not self._probabilities:
            return numbers
        return numbers.logit() if numbers.shape[1] == 1 else numbers.log()


def open_program(folder: Path, card: ModelCard, device: torch.device) -> Program:
    """The program beside a card, on a device (ONNX on the CPU unless its runtime has the GPU).

    Nothing in the file is unpickled or executed but its operators.

    Raises:
        CardError: not a whole file of its kind, one that holds more than operators and numbers, or no onnxruntime.
    """
    return Program(run_of(folder / card.file, card.form, device), card)


def run_of(path: Path, form: str, device: torch.device) -> Run:
    """A file's program as a function of one tensor: `form` is torch_export or onnx."""
    return _torch_run(path, device) if form == "torch_export" else _onnx_run(path, device)


def input_shape(path: Path, form: str) -> tuple[int | None, ...]:
    """The shape a program says its one input has; None for what is free."""
    if form == "onnx":
        shape = _session(path, torch.device("cpu")).get_inputs()[0].shape
        return tuple(edge if isinstance(edge, int) else None for edge in shape)
    (node,) = [node for node in _exported(path).graph.nodes if node.op == "placeholder" and "val" in node.meta][-1:]
    return tuple(edge if isinstance(edge, int) else None for edge in node.meta["val"].shape)


def onnx_card(path: Path) -> Mapping[str, Any] | None:
    """The fields of the card that `minescan models export` put into an ONNX file; None where there is none."""
    text = _session(path, torch.device("cpu")).get_modelmeta().custom_metadata_map.get(CARD_KEY)
    try:
        values = json.loads(text) if text else None
    except json.JSONDecodeError as error:
        raise CardError(f"{path}: the card inside it is not JSON: {error}") from error
    return values if isinstance(values, dict) else None


def needs_onnx(what: str) -> CardError:
    """The one line for a missing extra."""
    return CardError(f"{what} needs onnx and onnxruntime, which are not installed: {_ONNX_EXTRA}")


def _torch_run(path: Path, device: torch.device) -> Run:
    from torch.export.passes import move_to_device_pass  # noqa: PLC0415

    program = _exported(path)
    if device.type != "cpu":
        program = move_to_device_pass(program, str(device))
    # Its guards were evaluated as Python; shapes are checked by the operators themselves.
    module = program.module(check_guards=False)
    return lambda patches: _only(path, module(patches))


def _exported(path: Path) -> Any:
    archive = plain_archive(path)
    log = logging.getLogger("torch.export")
    level = log.level
    # On a damaged graph torch logs a traceback before it raises.
    log.setLevel(logging.CRITICAL)
    try:
        return torch.export.load(archive)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"{path} is not a program that torch {torch.__version__} can load: {reason}") from error
    finally:
        log.setLevel(level)


def _onnx_run(path: Path, device: torch.device) -> Run:
    session = _session(path, device)
    name = session.get_inputs()[0].name

    def run(patches: Tensor) -> Tensor:
        given = np.ascontiguousarray(patches.detach().cpu().numpy(), np.float32)
        try:
            outputs = session.run(None, {name: given})
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise CardError(f"{path} fails on {given.shape}: {reason}") from error
        return torch.from_numpy(_only(path, outputs)).to(patches.device)

    return run


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        raise needs_onnx(str(path)) from None
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        # From bytes: a model without a folder cannot name other files to read.
        session = onnxruntime.InferenceSession(
            path.read_bytes(), sess_options=options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"{path} is not an ONNX file that onnxruntime can load: {reason}") from error
    if len(session.get_inputs()) != 1 or session.get_inputs()[0].type != "tensor(float)":
        given = ", ".join(f"{item.name} {item.type}" for item in session.get_inputs())
        raise CardError(f"{path} takes {given}, expected one tensor of float32: (patches, band, y, x)")
    return session


def _only(path: Path, outputs: Any) -> Any:
    if isinstance(outputs, tuple | list):
        if len(outputs) != 1:
            raise CardError(f"{path} gives {len(outputs)} outputs, expected one: (patches, class, …)")
        return outputs[0]
    return outputs
