"""Busts and corrections in the books, a user's rule, refusals told, OPG, settled cash."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import mqd
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import OrderStatus
from tests.parity.twin_cases import bars_of
from tests.unit.desk.desk_cases import Crosses, built, wave

FREE = mqd.Costs()


class BuyOnce(mqd.Strategy):
    """Buys ten at the first bar and keeps them."""

    def decide(self, now: Any, position: Any) -> float:
        """Return the whole weight."""
        return 1.0


def bought(n: int = 4) -> tuple[Any, Any]:
    desk, log = built(
        BuyOnce(), bars_of({"AAA": wave(n)}, []), sizer=mqd.FixedQuantity(10), costs=FREE
    )
    desk.run()
    return desk, log


def say(desk: Any, kind: ReportKind, **words: Any) -> None:
    """Let the venue say something of the only order after the run."""
    order = desk.parts.machine.states()[0].order
    desk.parts.broker._out.append(
        ExecutionReport(
            kind, order.client_order_id, "AAA", desk.parts.journal.now_ns, "v1", **words
        )
    )
    desk.parts.hearing.listen()


def test_a_bust_takes_position_and_cash_back_by_a_new_record():
    desk, log = bought()
    ledger = desk.parts.valuation.ledger
    assert ledger.lots == {"AAA": 10}
    seq = log.seq
    say(desk, ReportKind.BUST, ref_execution_id="x1")
    assert ledger.lots == {}
    assert ledger.cash == -ledger.deposits
    assert ledger.imbalance() == 0
    assert log.seq == seq + 2, "the venue's word, then the entry that undoes the fill"
    assert desk.parts.machine.quarantined == {"AAA"}
    say(desk, ReportKind.BUST, ref_execution_id="x1")
    assert ledger.lots == {}, "the same bust twice is one bust"


def test_a_correction_replaces_the_execution_in_the_books():
    desk, _ = bought()
    ledger = desk.parts.valuation.ledger
    paid = -ledger.deposits - ledger.cash
    ticks = desk.parts.hearing.fills[0][0].last_ticks
    say(
        desk, ReportKind.CORRECT, ref_execution_id="x1", execution_id="x2", last_lots=10,
        last_ticks=ticks + 100, cum_lots=10,
    )  # fmt: skip
    scale = desk.parts.valuation.scales["AAA"]
    assert ledger.lots == {"AAA": 10}
    assert -ledger.deposits - ledger.cash - paid == 10 * 100 * scale.tick_lot_quanta
    assert ledger.imbalance() == 0


@mqd.rule(limit="order_qty_max", observes=lambda order, portfolio: order.qty)
def at_most_five(order: Any, portfolio: Any, limits: Any) -> bool:
    """Refuse more than five shares an order."""
    return order.qty <= 5.0


def test_a_rule_of_ones_own_binds_in_a_backtest_and_the_first_refusal_is_told():
    bars = bars_of({"AAA": wave(30)}, [])
    free = mqd.backtest(Crosses(), bars, sizer=mqd.FixedQuantity(4), rules=[at_most_five])
    bound = mqd.backtest(Crosses(), bars, sizer=mqd.FixedQuantity(6), rules=[at_most_five])
    assert free.metrics["n_denied"] == 0
    assert free.metrics["n_orders"] > 0
    assert bound.metrics["n_orders"] == 0
    assert bound.metrics["n_denied"] == (bound.orders["status"] == OrderStatus.DENIED).sum() > 0
    assert any("orders were refused; the first: " in note for note in bound.notes)


class AtTheOpen(mqd.Strategy):
    """Sends an on-open order at its ``at``-th bar."""

    at: int = mqd.param(0, low=0, high=10_000)

    def on_start(self, desk: Any) -> None:
        """Count bars and keep what is said."""
        self.seen, self.said = 0, []

    def on_bar(self, desk: Any, bar: Any) -> None:
        """Send once."""
        if self.seen == self.at:
            desk.broker.submit(
                mqd.OrderRequest(
                    symbol=bar.symbol, side=mqd.Side.BUY, qty=Decimal(1),
                    time_in_force=mqd.TimeInForce.OPG,
                )
            )  # fmt: skip
        self.seen += 1


@pytest.mark.parametrize(("at", "status"), [(5, "rejected"), (389, "filled")])
def test_an_on_open_order_is_taken_outside_the_session_only(at, status):
    bars = mqd.load_bars("datasets/equity_minute.parquet", symbols=["MSFT"], end="2022-05-20")
    orders = mqd.backtest(AtTheOpen(at=at), bars).orders
    assert orders["status"].tolist() == [status]


class ReadsCash(mqd.Strategy):
    """Buys, sells two bars later, and notes settled cash at every bar."""

    def on_start(self, desk: Any) -> None:
        """Start the notes."""
        self.seen, self.settled, self.cash = 0, [], []

    def on_bar(self, desk: Any, bar: Any) -> None:
        """Trade by the bar's number."""
        side = {0: mqd.Side.BUY, 2: mqd.Side.SELL}.get(self.seen)
        if side is not None:
            desk.broker.submit(mqd.OrderRequest(symbol="AAA", side=side, qty=Decimal(100)))
        account = desk.broker.account()
        self.settled.append(account.settled_quanta)
        self.cash.append(account.cash_quanta)
        self.seen += 1


def test_an_event_strategy_sees_unsettled_cash_as_unsettled():
    desk, _ = built(ReadsCash(), bars_of({"AAA": wave(12)}, []), account="cash", costs=FREE)
    desk.run()
    seen = desk.traders[0].strategy
    gaps = [cash - settled for cash, settled in zip(seen.cash, seen.settled, strict=True)]
    assert gaps[:3] == [0, 0, 0], "a purchase settles at once"
    assert gaps[3] > 0, "the sale of the fourth bar has not settled"
    assert gaps[-1] == 0, "at the end it has"


def test_history_holds_no_later_bar_in_any_buffer():
    class Looks(mqd.Strategy):
        def on_bar(self, desk: Any, bar: Any) -> None:
            past = desk.history("AAA", 3)
            base = past.close.base if past.close.base is not None else past.close
            assert len(base) <= 3
            with pytest.raises(ValueError, match="read-only"):
                past.close[0] = np.float64(1.0)

    mqd.backtest(Looks(), bars_of({"AAA": wave(8)}, []))
