"""Which orders a paced desk still asks for when the stream is silent."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.live.paced import BarInbox, PacedBroker


@pytest.mark.parametrize(
    ("kind", "status", "asked"),
    [
        (ReportKind.FOUND, "canceled", False), (ReportKind.FOUND, "expired", False),
        (ReportKind.FOUND, "filled", False), (ReportKind.CANCELED, "", False),
        (ReportKind.FOUND, "new", True), (ReportKind.FOUND, "partially_filled", True),
        (ReportKind.NOT_FOUND_YET, "", True), (ReportKind.OUTCOME_UNKNOWN, "", True),
    ],
)  # fmt: skip
def test_an_order_that_is_over_is_not_asked_for_again(kind, status, asked):
    said = [ExecutionReport(kind, "a", "IBM", 1, status=status)]
    connector = SimpleNamespace(n_updates=0, submit=lambda *_: None, reports=lambda: said)
    control = SimpleNamespace(state=lambda: SimpleNamespace(updates=0))
    market = SimpleNamespace(n_steps=0)
    broker = PacedBroker(connector, control, market, BarInbox(), Decimal("0.01"))
    broker.submit(SimpleNamespace(client_order_id="a"))
    assert broker.has_resting
    assert broker.reports()[0].kind is kind
    assert broker.has_resting is asked
