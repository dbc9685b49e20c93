"""A ledger that failed is left alone for a pause."""

import pytest

from serving.errors import StorageFailed
from serving.ledger.resilient_ledger import ResilientLedger
from tests.support.serving_fakes import FakeLedger


def test_failed_ledger_gets_no_request_for_a_pause():
    now, behind = [0.0], FakeLedger(broken=True)
    ledger = ResilientLedger(behind, 1.0, lambda: now[0])
    with pytest.raises(StorageFailed, match="could not be used"):
        ledger.usage("a", 0, 1)
    behind.broken = False
    for call in (lambda: ledger.usage("b", 0, 1), lambda: ledger.claim("b", [], 0)):
        with pytest.raises(StorageFailed, match="tried again after a pause"):
            call()
    assert behind.reads == behind.claims == []
    ledger.redeem([])
    assert ledger.identity() == behind.name
    now[0] = 1.0
    assert ledger.usage("b", 0, 1) == behind.stored and ledger.claim("b", [], 0) == {}
