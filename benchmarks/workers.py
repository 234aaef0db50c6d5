"""What is measured in real worker processes: their memory, and two of them beside one."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ours
import psutil
from measure import Row, peak_bytes

from deploy.clusters import ClusterSpec, open_cluster
from scanner.composite.build import CompositeRequest

__all__ = ["Crew", "crew", "peak_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Workers that have everything imported and compiled."""

    client: Any
    """Dask's."""
    addresses: tuple[str, ...]
    """One each."""
    start_s: float
    """From nothing to the first warm unit done."""

    def timed(self, row: Row, tasks: Sequence[tuple[str, Any, tuple[Any, ...]]]) -> None:
        """Run (worker, function, arguments) side by side where the workers differ, one after another where not."""
        before, began = self._cpu_s(), time.perf_counter()
        futures = [self.client.submit(call, *args, workers=[at], pure=False) for at, call, args in tasks]
        self.client.gather(futures)
        wall_s = time.perf_counter() - began
        row.add(self._cpu_s() - before, wall_s)

    def _cpu_s(self) -> float:
        times = [psutil.Process(pid).cpu_times() for pid in self.client.run(_pid).values()]
        return sum(one.user + one.system for one in times)


def _pid() -> int:
    return psutil.Process().pid


@contextmanager
def crew(workers: int, threads: int, small: CompositeRequest, folder: Path) -> Iterator[Crew]:
    """The program's own local workers, warmed by a small unit each."""
    began = time.perf_counter()
    spec = ClusterSpec(workers=workers, threads_per_worker=threads)
    with open_cluster(spec) as client:
        addresses = tuple(sorted(client.run(_pid)))
        warm = [
            client.submit(_warm, folder / f"warm-{place}", small, workers=[at], pure=False)
            for place, at in enumerate(addresses)
        ]
        client.gather(warm)
        yield Crew(client=client, addresses=addresses, start_s=time.perf_counter() - began)


def _warm(root: Path, small: CompositeRequest) -> None:
    ours.run(ours.composite_unit(root, small))
    shutil.rmtree(root)


def peak_of(root: Path, wanted: CompositeRequest, small: CompositeRequest, *, detect: bool) -> dict[str, float]:
    """The most memory of a fresh worker that makes one composite, with or without its detection."""
    with crew(1, wanted.threads, small, root.parent) as one:
        began = time.perf_counter()
        (peak,) = one.client.gather([one.client.submit(_peak, root, wanted, detect, pure=False)])
        return {"peak_bytes": peak, "seconds": round(time.perf_counter() - began, 2), "start_s": round(one.start_s, 2)}


def _peak(root: Path, wanted: CompositeRequest, detect: bool) -> int:  # noqa: FBT001  crosses to a worker
    ours.run(ours.composite_unit(root, wanted))
    if detect:
        ours.run(ours.detect_unit(root, wanted))
    shutil.rmtree(root)
    return peak_bytes()
