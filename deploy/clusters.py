"""Where units run: worker processes on this machine, or a Dask cluster that is already there.

A worker runs one unit at a time and the unit uses the worker's threads: so memory is the number of workers times what
one unit needs, and Dask's own thread pool never multiplies the threads of numba, torch and GDAL.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploy.worker import thread_environment

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

__all__ = ["ClusterError", "ClusterSpec", "LocalShape", "local_shape", "open_cluster"]

QUEUES = ("slurm", "pbs", "lsf", "sge", "kubernetes", "gateway")
"""Clusters that are not started from here."""

THREADS_AIM = 4
"""Threads of a worker when nothing is said: enough to hide reading behind computing."""

MEMORY_SHARE = 0.8
"""Of the memory that is free now, what the workers may have together."""

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""

START_S = 120.0
"""A machine under load takes its time to start a process that imports numpy."""


class ClusterError(ValueError):
    """No such cluster, or it cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """Which cluster, and how large.

    Raises:
        ClusterError: an unknown kind, or a number below 1.
    """

    kind: str = "local"
    """`local`, or a scheduler's address such as `tcp://host:8786`."""
    workers: int | None = None
    """Worker processes; by default what cores, memory and units allow."""
    threads_per_worker: int | None = None
    """Threads of one unit; by default the cores shared out evenly."""
    memory_bytes: int | None = None
    """Bytes for all workers together; by default four fifths of the memory free now."""
    units: int | None = None
    """How many units there are to run: more workers than that would idle."""
    unit_bytes: int = 0
    """Bytes one unit needs at least: more workers than fit are not started."""
    device: Literal["cpu", "cuda"] = "cpu"
    """With `cuda` there is one worker: one process holds the GPU."""

    def __post_init__(self) -> None:
        if self.kind != "local" and "://" not in self.kind:
            raise ClusterError(_refusal(self.kind))
        for name in ("workers", "threads_per_worker", "memory_bytes", "units"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ClusterError(f"{name} {value}: expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalShape:
    """How this machine is shared out among workers."""

    workers: int
    """Processes."""
    threads: int
    """Threads of each."""
    memory_bytes: int
    """Bytes each may use."""


def local_shape(spec: ClusterSpec, *, cores: int, free_bytes: int) -> LocalShape:
    """Workers, threads and memory for a machine of `cores` cores and `free_bytes` bytes of free memory."""
    memory_bytes = spec.memory_bytes or int(free_bytes * MEMORY_SHARE)
    workers = spec.workers or _workers_for(spec, cores, memory_bytes)
    threads = spec.threads_per_worker or max(1, cores // workers)
    return LocalShape(workers=workers, threads=threads, memory_bytes=memory_bytes // workers)


@contextlib.contextmanager
def open_cluster(spec: ClusterSpec) -> "Iterator[Client]":
    """A client whose workers are up; on leaving, a cluster that was started here is gone.

    The dashboard's address is the client's `dashboard_link`. Ctrl-C reaches this process alone: local workers finish
    what they have in hand until they are told to stop.

    Raises:
        ClusterError: no scheduler answers, no worker comes up, or the calling script would start itself again.
    """
    with _local(spec) if spec.kind == "local" else _connected(spec.kind) as client:
        yield client


def _refusal(kind: str) -> str:
    known = "known are local and a scheduler's address such as tcp://host:8786"
    if kind in QUEUES:
        return (
            f"--cluster {kind}: not started from here yet; start a Dask scheduler there and give its address: {known}"
        )
    return f"--cluster {kind!r} is unknown: {known}"


def _workers_for(spec: ClusterSpec, cores: int, memory_bytes: int) -> int:
    if spec.device == "cuda":
        return 1
    limits = [max(1, cores // (spec.threads_per_worker or THREADS_AIM))]
    if spec.units is not None:
        limits.append(spec.units)
    if spec.unit_bytes:
        limits.append(memory_bytes // spec.unit_bytes)
    return max(1, min(limits))


@contextlib.contextmanager
def _connected(address: str) -> "Iterator[Client]":
    from distributed import Client  # noqa: PLC0415

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"--cluster {address}: no Dask scheduler answers there ({error})") from None
    try:
        yield client
    finally:
        with _quiet():
            client.close()


@contextlib.contextmanager
def _local(spec: ClusterSpec) -> "Iterator[Client]":
    import dask  # noqa: PLC0415
    from distributed import Client, LocalCluster  # noqa: PLC0415

    _require_guard()
    shape = _shape_here(spec)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment_restored())
        stack.enter_context(dask.config.set(_settings(shape)))
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            memory_limit=shape.memory_bytes,
            dashboard_address=f"127.0.0.1:{_dashboard_port()}",
            silence_logs=logging.ERROR,
        )
        client = Client(cluster, set_as_default=False)
        stack.push(partial(_close, cluster, client))
        _start(cluster, client, shape.workers)
        yield client


def _shape_here(spec: ClusterSpec) -> LocalShape:
    import psutil  # noqa: PLC0415
    from dask.system import CPU_COUNT  # noqa: PLC0415
    from distributed.system import MEMORY_LIMIT  # noqa: PLC0415

    free_bytes = min(psutil.virtual_memory().available, MEMORY_LIMIT)
    return local_shape(spec, cores=CPU_COUNT, free_bytes=free_bytes)


def _settings(shape: LocalShape) -> dict[str, Any]:
    """Units price their own memory: spilling, pausing and killing by Dask's guess would only stall or repeat them."""
    environment = thread_environment(shape.threads) | {
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "DASK_LOGGING__DISTRIBUTED": "error",
    }
    return {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": False,
        "distributed.worker.multiprocessing-method": "spawn",
    }


def _start(cluster: "LocalCluster", client: "Client", workers: int) -> None:
    # The thread that starts the workers blocks SIGINT and they inherit the mask: so it holds from their first
    # instruction, and for those started again after a crash. The tracker's own start lifts the mask: it goes first.
    resource_tracker.ensure_running()
    cluster.sync(_block_sigint)
    cluster.scale(workers)
    try:
        client.wait_for_workers(workers, timeout=START_S)
    except TimeoutError:
        raise ClusterError(f"{workers} local workers did not come up within {START_S:.0f} s") from None


async def _block_sigint() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _close(cluster: "LocalCluster", client: "Client", failure: type[BaseException] | None, *_: object) -> None:
    with _quiet():
        if failure is not None:
            cluster.sync(_kill, cluster)
        client.close()
        cluster.close(timeout=10)


async def _kill(cluster: "LocalCluster") -> None:
    """Units are done over or not at all: after a failure nobody waits for those in hand."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            os.kill(nanny.pid, signal.SIGKILL)


def _dashboard_port() -> int:
    """8787 when it is free; else 0, any port: asking Dask for a taken one draws a warning."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8787))
        except OSError:
            return 0
    return 8787


def _require_guard() -> None:
    """Workers import the calling script anew: without a guard it would start them again, and so on."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:
        return
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if "__name__" not in text:
        raise ClusterError(
            f"{file} would be run again by every worker: put what it does under `if __name__ == '__main__':`"
        )


@contextlib.contextmanager
def _environment_restored() -> Iterator[None]:
    """What the nannies put into this process's environment for the workers to inherit is taken out again."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Connections that end because we end them are not worth a line."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
