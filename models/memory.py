"""How much memory a network's operations hold at once, counted on a run of them."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(run: Callable[[], object]) -> int:
    """Bytes of the tensors made in `run` that live together at most, without what is kept inside an operation."""
    counter = _Counter()
    with counter:
        run()
    return counter.peak


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
