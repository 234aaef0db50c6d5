"""Others' networks: a torch.export program or an ONNX file in place of weights, as a module that gives logits."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.card import CardError, ModelCard
from models.plain_pt2 import card_in, plain_archive

__all__ = ["CARD_KEY", "Program", "ProgramFile", "needs_onnx", "open_program", "read_program"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFile:
    """A program, read and found to hold operators and numbers alone."""

    path: Path
    """Where it was read, for messages."""
    form: str
    """torch_export or onnx."""
    content: bytes
    """The whole of it: no part lies in another file."""

    def run(self, device: torch.device) -> Run:
        """It as a function of one tensor (ONNX on the CPU unless its runtime has the GPU)."""
        return self._torch_run(device) if self.form == "torch_export" else self._onnx_run(device)

    def input_shape(self) -> tuple[int | None, ...]:
        """The shape it says its one input has; None for what is free."""
        if self.form == "onnx":
            shape = self._session(torch.device("cpu")).get_inputs()[0].shape
        else:
            shape = [node for node in self._exported().graph.nodes if node.op == "placeholder"][-1].meta["val"].shape
        return tuple(edge if isinstance(edge, int) else None for edge in shape)

    def card(self) -> Mapping[str, Any] | None:
        """The fields of the card that `minescan models export` put into it; None where there is none."""
        if self.form == "torch_export":
            return card_in(self.path)
        text = self._session(torch.device("cpu")).get_modelmeta().custom_metadata_map.get(CARD_KEY)
        try:
            values = json.loads(text) if text else None
        except json.JSONDecodeError as error:
            raise CardError(f"{self.path}: the card inside it is not JSON: {error}") from error
        return values if isinstance(values, dict) else None

    def _torch_run(self, device: torch.device) -> Run:
        from torch.export.passes import move_to_device_pass  # noqa: PLC0415

        program = self._exported()
        if device.type != "cpu":
            program = move_to_device_pass(program, str(device))
        # Its guards were evaluated as Python; shapes are checked by the operators themselves.
        module = program.module(check_guards=False)
        return lambda patches: self._only(module(patches))

    def _exported(self) -> Any:
        log = logging.getLogger("torch.export")
        level = log.level
        # On a damaged graph torch logs a traceback before it raises.
        log.setLevel(logging.CRITICAL)
        try:
            return torch.export.load(io.BytesIO(self.content))
        except Exception as error:
            raise self._unfit(f"is not a program that torch {torch.__version__} can load", error) from error
        finally:
            log.setLevel(level)

    def _onnx_run(self, device: torch.device) -> Run:
        session = self._session(device)
        name = session.get_inputs()[0].name

        def run(patches: Tensor) -> Tensor:
            given = np.ascontiguousarray(patches.detach().cpu().numpy(), np.float32)
            try:
                outputs = session.run(None, {name: given})
            except Exception as error:
                raise self._unfit(f"fails on {given.shape}", error) from error
            return torch.from_numpy(self._only(outputs)).to(patches.device)

        return run

    def _session(self, device: torch.device) -> Any:
        try:
            import onnxruntime  # noqa: PLC0415
        except ImportError:
            raise needs_onnx(str(self.path)) from None
        wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                self.content, sess_options=options, providers=[*providers, "CPUExecutionProvider"]
            )
        except Exception as error:
            raise self._unfit("is not an ONNX file that onnxruntime can load", error) from error
        if len(session.get_inputs()) != 1 or session.get_inputs()[0].type != "tensor(float)":
            given = ", ".join(f"{item.name} {item.type}" for item in session.get_inputs())
            raise CardError(f"{self.path} takes {given}, expected one tensor of float32: (patches, band, y, x)")
        return session

    def _only(self, outputs: Any) -> Any:
        if isinstance(outputs, tuple | list):
            if len(outputs) != 1:
                raise CardError(f"{self.path} gives {len(outputs)} outputs, expected one: (patches, class, …)")
            return outputs[0]
        return outputs

    def _unfit(self, what: str, error: Exception) -> CardError:
        return CardError(f"{self.path} {what}: {' '.join(str(error).split())[:200]}")


def read_program(path: Path, form: str, *, beside: bool = False) -> ProgramFile:
    """A .pt2 or .onnx file; nothing in it is unpickled or executed.

    Args:
        path: the file.
        form: torch_export or onnx.
        beside: take in weights that an ONNX file keeps in another of its folder, as torch writes them unless told not
            to. A card's file must be whole, since its digest is of one file.

    Raises:
        CardError: not a whole file of its kind, one that holds more than operators and numbers, or no onnx.
    """
    content = plain_archive(path).getvalue() if form == "torch_export" else _onnx_content(path, beside=beside)
    return ProgramFile(path=path, form=form, content=content)


def open_program(folder: Path, card: ModelCard, device: torch.device) -> Program:
    """The program beside a card, on a device; CardError as `read_program`."""
    return Program(read_program(folder / card.file, card.form).run(device), card)


def needs_onnx(what: str) -> CardError:
    """The one line for a missing extra."""
    return CardError(f"{what} needs onnx and onnxruntime, which are not installed: {_ONNX_EXTRA}")


def _onnx_content(path: Path, *, beside: bool) -> bytes:
    try:
        import onnx  # noqa: PLC0415
    except ImportError:
        raise needs_onnx(str(path)) from None
    try:
        model = onnx.load(path, load_external_data=beside)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"{path} is not a whole ONNX file: {reason}") from error
    if any(_lies_outside(model)):
        raise CardError(f"{path} keeps weights in another file: import it anew (minescan models import)")
    content: bytes = model.SerializeToString()
    return content


def _lies_outside(message: Any) -> Iterator[bool]:
    """Of every tensor in an ONNX message: whether its numbers are in another file."""
    from onnx import TensorProto  # noqa: PLC0415

    if isinstance(message, TensorProto):
        yield message.data_location == TensorProto.EXTERNAL
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _lies_outside(inner)
