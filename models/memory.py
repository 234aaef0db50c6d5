"""How much memory a network's operations hold at once, counted on a run of them; of ONNX, from the file."""

import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["onnx_bytes", "peak_bytes"]


def peak_bytes(run: Callable[[], object]) -> int:
    """Bytes of the tensors made in `run` that live together at most, without what is kept inside an operation."""
    counter = _Counter()
    with counter:
        run()
    return counter.peak


def onnx_bytes(path: Path, shape: Sequence[int]) -> int:
    """Bytes of all maps of an ONNX file together, float32, for an input of this shape: its runtime holds fewer at once.

    A map whose shape the file leaves open counts as the largest that is known.
    """
    import onnx  # noqa: PLC0415

    model = onnx.load_model_from_string(path.read_bytes())
    weights = {item.name for item in model.graph.initializer}
    (given,) = [item for item in model.graph.input if item.name not in weights]
    for axis, size in zip(given.type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model).graph
    made = {name for node in graph.node for name in node.output}
    known = {
        item.name: math.prod(axis.dim_value for axis in item.type.tensor_type.shape.dim)
        for item in (*graph.value_info, *graph.output)
    }
    sizes: list[int] = [known[name] for name in made if known.get(name, 0) > 0]
    largest = max(sizes, default=math.prod(shape))
    return 4 * (sum(sizes) + (len(made) - len(sizes)) * largest)


class _Counter(TorchDispatchMode):
    """Sees the result of every operation; a storage that nobody holds any more has gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}  # noqa: SLF001
        for storage in _storages(result):
            # A view of a weight is no memory of the run's.
            if storage._cdata not in given:  # noqa: SLF001
                self._count(storage)
        return result

    def _count(self, storage: UntypedStorage) -> None:
        place = storage._cdata  # noqa: SLF001  the storage itself, whatever looks at it
        if place not in self._live:
            weakref.finalize(storage, self._live.pop, place, None)
        self._live[place] = storage.nbytes()
        self.peak = max(self.peak, sum(self._live.values()))


def _storages(values: object) -> list[UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
