"""The driver against real schedulers: a cluster that cannot work is said to be one."""

import logging
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass

import pytest
from distributed import Client, LocalCluster

from scanner.errors import InputError
from scanner.run.driver import Interrupt, Work, check_workers, run_units
from scanner.run.progress import LOGGER, open_progress
from scanner.run.tile_job import CompositeUnit
from scanner.store.layout import ScanFolder
from scanner.store.ledger import Ledger
from scanner.types import Receipt


def test_a_cluster_without_workers_is_refused_instead_of_waited_for():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(InputError, match="no worker answered within 1 s"),
    ):
        check_workers(client, patience_s=1.0)


def test_a_worker_that_has_this_program_is_welcome():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        check_workers(client, patience_s=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(CompositeUnit):
    """A unit that says how far it is."""

    @property
    def name(self) -> str:
        return "32633-001-001"

    def run(self, on_share=None):
        for share in (0.25, 0.5, 0.75):
            on_share(share)
            time.sleep(0.01)
        return Receipt(stage="composite", unit=self.name, digest=self.digest, status="done")


class Watch:
    def __init__(self):
        self.seen = []

    def stage(self, name, total, done=0):
        self.seen.append((name, total, done))

    def advance(self, name, note=""):
        self.seen.append((name, note or "done"))

    def reach(self, name, unit, share):
        self.seen.append((name, unit, share))


def test_a_worker_says_how_far_its_unit_is(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.run.driver.TELL_S", 0.0)
    folder = ScanFolder(tmp_path)
    unit = Slow(folder=tmp_path, digest="d", request=None)
    watch = Watch()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        closing(Ledger(folder.ledger)) as ledger,
    ):
        ledger.plan("composite", {unit.name: "d"})
        work = Work(waiting=deque([unit]), follow={})
        run_units(client, work, ledger, watch, Interrupt(), in_flight=1)
    shares = [("composite", unit.name, share) for share in (0.25, 0.5, 0.75, 0)]
    assert watch.seen == [*shares, ("composite", "done")]


def test_lines_count_shares_of_units_in_hand(monkeypatch):
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    monkeypatch.setattr(LOGGER, "handlers", [handler])
    before = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    monkeypatch.setattr("scanner.run.progress.EVERY_S", 0.0)
    with open_progress("lines") as progress:
        progress.stage("composite", 2)
        progress.reach("composite", "a", 0.5)
        progress.reach("composite", "a", 0)
        progress.advance("composite", "90 MB/s")
    LOGGER.setLevel(before)
    first, second, third = said
    assert first == "composite: 2 of 2 to do"
    assert second.startswith("composite: 0 of 2, ")
    assert second.endswith(" s left, 50% of a")
    assert third.startswith("composite: 1 of 2, ")
