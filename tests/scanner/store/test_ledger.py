"""The ledger against a plain dictionary, through any sequence of events and restarts."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scanner.store.ledger import Ledger
from scanner.types import Fault, Receipt

UNITS = ("a", "b", "c")
DIGESTS = ("1", "2")


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger(self.path)
        self.model: dict[str, tuple[str, str]] = {}

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()

    @rule(units=st.dictionaries(st.sampled_from(UNITS), st.sampled_from(DIGESTS)))
    def plan(self, units):
        self.ledger.plan("detect", units)
        before = self.model
        self.model = {}
        for unit, digest in units.items():
            known = before.get(unit)
            status = "planned" if known is None else known[1] if known[0] == digest else "stale"
            self.model[unit] = (digest, status)

    @rule(unit=st.sampled_from(UNITS))
    def start(self, unit):
        self.ledger.start("detect", unit)
        if unit in self.model:
            self.model[unit] = (self.model[unit][0], "running")

    @rule(
        unit=st.sampled_from(UNITS),
        digest=st.sampled_from(DIGESTS),
        status=st.sampled_from(["done", "partial", "failed"]),
    )
    def record(self, unit, digest, status):
        receipt = Receipt(stage="detect", unit=unit, digest=digest, status=status)
        if self.model.get(unit, ("", ""))[0] == digest:
            self.ledger.record(receipt)
            self.model[unit] = (digest, status)
        else:
            with pytest.raises(KeyError):
                self.ledger.record(receipt)

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = Ledger(self.path)

    @invariant()
    def ledger_says_what_the_model_says(self):
        rows = {row.receipt.unit: (row.receipt.digest, row.receipt.status) for row in self.ledger.rows("detect")}
        assert rows == self.model


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)
TestLedger = LedgerMachine.TestCase


def test_a_receipt_comes_back_as_it_went_in(tmp_path):
    fault = Fault(scene="s", asset="B02", href="/x", reason="gone")
    receipt = Receipt(
        stage="composite", unit="t", digest="d", status="partial", nbytes=5, seconds=1.5, faults=(fault,),
        fault_count=9, stats={"looks": 3.0},
    )  # fmt: skip
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.plan("composite", {"t": "d"})
    ledger.start("composite", "t")
    ledger.record(receipt)
    (row,) = ledger.rows()
    ledger.close()
    assert row.receipt == receipt
    assert row.attempts == 1
