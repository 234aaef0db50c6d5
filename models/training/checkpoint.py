"""A training's whole state in one file: tensors as safetensors, numbers as JSON in its header, never a pickle."""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["CheckpointError", "Keeper", "State"]

EVERY_S = 30.0


class CheckpointError(ValueError):
    """What was kept belongs to another training. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that the next step depends on."""

    tensors: Mapping[str, Tensor]
    """Weights, moments, states of generators; by a dotted name."""
    numbers: Mapping[str, Any]
    """Counters, rates, history: what JSON holds without loss."""


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Keeps the state of one training in a file, now and then."""

    path: Path
    """The file."""
    identity: str
    """Of recipe and data: another's state is refused."""
    every_s: float = EVERY_S
    """Seconds between two states."""
    _kept_s: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether the last state is old enough."""
        return time.monotonic() - self._kept_s >= self.every_s

    def keep(self, state: State) -> None:
        """The file holds this state or the one before, whatever dies in between."""
        notes = {"identity": self.identity, "numbers": json.dumps(state.numbers)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        draft.write_bytes(save(tensors, metadata=notes))
        draft.replace(self.path)
        self._kept_s = time.monotonic()

    def found(self) -> State | None:
        """The state that was kept, or None.

        Raises:
            CheckpointError: it is of another recipe or other data, or broken.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                notes = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path} is no state of a training: {error}; remove it") from None
        if notes.get("identity") != self.identity:
            raise CheckpointError(
                f"{self.path} is the state of another recipe or of other data: use those to go on, or remove "
                f"{self.path.parent}, or choose another --out"
            )
        return State(tensors=tensors, numbers=json.loads(notes["numbers"]))
