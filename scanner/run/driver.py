"""Runs a plan's units on a cluster: bounded in flight, every receipt into the ledger, stoppable anywhere."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from scanner.config import digest_of
from scanner.errors import InputError
from scanner.run.progress import LOGGER, Progress
from scanner.run.tile_job import CompositeUnit, DetectUnit, program_version, run_unit
from scanner.store.ledger import Ledger
from scanner.types import Receipt

__all__ = ["Interrupt", "Interrupted", "Work", "check_workers", "run_units", "watch_signals"]

MAX_ATTEMPTS = 3
"""A unit that failed this often is set aside with its error; the scan goes on."""

POLL_S = 0.5
"""How long the driver waits for a receipt before it looks at signals again."""

PROBE_S = 120.0
"""How long a worker may take to say which version it has: a loaded machine starts processes slowly."""

TELL_S = 1.0
"""Between two words of a worker on how far its unit is."""

Unit = CompositeUnit | DetectUnit


class Interrupted(KeyboardInterrupt):
    """The user stopped the scan; everything in flight was finished and kept."""


@dataclass(slots=True)
class Interrupt:
    """Set by Ctrl-C or SIGTERM."""

    asked: bool = False
    """Submit nothing more; finish what is in flight."""


@contextmanager
def watch_signals() -> Iterator[Interrupt]:
    """First Ctrl-C or SIGTERM: finish what is in flight. Second: now."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def on_signal(number: int, _frame: Any) -> None:
        if interrupt.asked:
            raise Interrupted(f"signal {number} again")
        interrupt.asked = True
        LOGGER.warning("stopping: what is in flight will be finished and kept; once more to stop now")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True, kw_only=True)
class Work:
    """Units that wait, and what follows them."""

    waiting: deque[Unit]
    """To be submitted, first first."""
    follow: dict[str, DetectUnit]
    """By tile: the detection that waits for the tile's composite."""
    on_receipt: Callable[[Receipt], None] | None = None
    """Called after a receipt is in the ledger."""
    attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often each unit failed in this run."""


def check_workers(client: Any, *, patience_s: float = PROBE_S) -> None:
    """A worker answers with this program's version; else no unit would ever come back, and the scan would hang.

    Raises:
        InputError: no worker answers in time, or one cannot import minescan, or has another version of it.
    """
    advice = "the workers need the same minescan as the driver"
    probe = client.submit(program_version, pure=False)
    try:
        found = probe.result(timeout=patience_s)
    except TimeoutError:
        raise InputError(f"--cluster: no worker answered within {patience_s:.0f} s; {advice}") from None
    except Exception as error:  # noqa: BLE001  whatever a worker raises here, it cannot run a unit
        raise InputError(f"--cluster: a worker cannot run minescan ({error}); {advice}") from None
    if found != program_version():
        raise InputError(f"--cluster: a worker has minescan {found}, the driver {program_version()}; {advice}")


def run_units(
    client: Any, work: Work, ledger: Ledger, progress: Progress, interrupt: Interrupt, *, in_flight: int
) -> None:
    """Submit units, at most `in_flight` at once, until none waits or, once asked to stop, none is in flight."""
    from distributed import wait  # noqa: PLC0415

    flying: dict[Any, Unit] = {}
    with _listening(client, progress) as topic:
        while work.waiting or flying:
            while work.waiting and len(flying) < in_flight and not interrupt.asked:
                unit = work.waiting.popleft()
                ledger.start(unit.stage, unit.name)
                attempt = work.attempts.get((unit.stage, unit.name), 0)
                # The folder too: two scans of the same ground may share a scheduler, and each wants its own files.
                key = f"{unit.stage}-{unit.name}-{digest_of([unit.digest, unit.folder])[:16]}-{attempt}"
                flying[client.submit(run_and_tell, unit, topic, key=key, pure=False)] = unit
            if not flying:
                break
            try:
                with client.as_current():
                    ready = wait(list(flying), timeout=POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in ready:
                _settle(_receipt_of(future, unit := flying.pop(future)), unit, work, ledger, progress)


@contextmanager
def _listening(client: Any, progress: Progress) -> Iterator[str]:
    """The topic under which workers tell how far their units are."""
    topic = f"minescan-{uuid4()}"
    client.subscribe_topic(topic, lambda event: progress.reach(*event[1]))
    try:
        yield topic
    finally:
        client.unsubscribe_topic(topic)


def run_and_tell(unit: Unit, topic: str) -> Receipt:
    """On a worker: run a unit, and tell the driver now and then how far it is."""
    from distributed import get_worker  # noqa: PLC0415

    told = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_S and share < 1:
            told = time.monotonic()
            get_worker().log_event(topic, (unit.stage, unit.name, share))

    return run_unit(unit, tell)


def _receipt_of(future: Any, unit: Unit) -> Receipt:
    """The unit's own receipt, or one that says its worker died."""
    error = future.exception()
    if error is None:
        receipt: Receipt = future.result()
        return receipt
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Receipt(stage=unit.stage, unit=unit.name, digest=unit.digest, status="failed", error=reason)


def _settle(receipt: Receipt, unit: Unit, work: Work, ledger: Ledger, progress: Progress) -> None:
    """Enter the receipt, then decide what it makes possible: a retry, the tile's detection, or nothing."""
    ledger.record(receipt)
    progress.reach(unit.stage, unit.name, 0)
    key = (unit.stage, unit.name)
    if receipt.status == "failed":
        work.attempts[key] = work.attempts.get(key, 0) + 1
        LOGGER.warning("%s %s failed (%d of %d): %s", *key, work.attempts[key], MAX_ATTEMPTS, receipt.error)
        if work.attempts[key] < MAX_ATTEMPTS:
            work.waiting.append(unit)
        else:
            progress.advance(unit.stage, f"{unit.name} failed")
    else:
        progress.advance(
            unit.stage, f"{receipt.nbytes / 1e6 / max(receipt.seconds, 1e-9):.0f} MB/s" if receipt.nbytes else ""
        )
        if unit.stage == "composite" and unit.name in work.follow:
            work.waiting.appendleft(work.follow.pop(unit.name))
    if work.on_receipt is not None:
        work.on_receipt(receipt)
