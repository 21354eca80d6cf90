"""Event strategies: only ``desk.clock`` and ``desk.broker``, every kind of order and hook."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import mqd
from mqd import errors
from mqd.core.clock import NS_PER_DAY
from mqd.core.execution_report import ReportKind
from mqd.core.order import OrderClass, OrderStatus, OrderType, Side
from tests.parity.twin_cases import bars_of
from tests.unit.desk.desk_cases import built, reconciled

ROWS = [
    (0, 100.0, 101.0, 99.0, 100.0, 1e6),
    (1, 100.0, 101.0, 97.0, 98.0, 1e6),
    (2, 98.0, 104.0, 97.5, 103.0, 1e6),
    (3, 103.0, 108.0, 102.0, 107.0, 1e6),
    (4, 107.0, 107.5, 95.0, 96.0, 1e6),
    (5, 96.0, 97.0, 94.0, 95.0, 1e6),
    (6, 95.0, 96.0, 94.0, 95.0, 1e6),
]
FREE = mqd.Costs()


class Scripted(mqd.Strategy):
    """Runs the function that its test wrote for each bar, and notes what it hears."""

    def on_start(self, desk: Any) -> None:
        """Begin with nothing."""
        self.n, self.heard, self.timers, self.ids = 0, [], [], []

    def on_bar(self, desk: Any, bar: Any) -> None:
        """Follow the script."""
        self.act(self, desk, self.n)
        self.n += 1

    def on_report(self, desk: Any, report: Any) -> None:
        """Note the kind."""
        self.heard.append((self.n, report.kind, report.client_order_id))

    def on_timer(self, desk: Any, name: str) -> None:
        """Note the timer."""
        self.timers.append((self.n, name))


def played(act: Any) -> tuple[Any, Any]:
    """Return the strategy and its desk after a run of the seven bars."""
    desk, _ = built(Scripted(), bars_of({"AAA": ROWS}, []), costs=FREE)
    strategy = desk.traders[0].strategy
    strategy.act = act
    desk.run()
    desk.stop()
    assert reconciled(desk).ok
    return strategy, desk


def buy(**words: Any) -> mqd.OrderRequest:
    """Return a request for ten shares."""
    return mqd.OrderRequest(**{"symbol": "AAA", "side": Side.BUY, "qty": Decimal(10), **words})


def fills_of(desk: Any) -> list[tuple[int, int, Decimal]]:
    """Return ``(step, signed lots, px)`` of each fill."""
    closes = list(desk.parts.market.ts_close)
    return [
        (closes.index(r.ts_ns), int(order.side) * r.last_lots, r.last_ticks * order.scale.tick)
        for r, order in desk.parts.hearing.fills
    ]


def test_a_limit_waits_for_its_price() -> None:
    """Bought at the limit on the first bar that trades through it."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            me.ids.append(desk.broker.submit(buy(type=OrderType.LIMIT, limit_px=Decimal("97.2"))))

    me, desk = played(act)
    assert fills_of(desk) == [(1, 10, Decimal("97.2"))]
    assert [kind for _, kind, _ in me.heard] == [ReportKind.ACCEPTED, ReportKind.FILL]


def test_a_day_limit_ends_with_its_session() -> None:
    """The next session does not know it."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            desk.broker.submit(buy(type=OrderType.LIMIT, limit_px=Decimal(95)))

    me, desk = played(act)
    assert fills_of(desk) == []
    assert me.heard[-1][:2] == (1, ReportKind.EXPIRED)


def test_a_stop_buys_above_the_market() -> None:
    """Triggered on the bar whose high reaches it."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 1:
            desk.broker.submit(buy(type=OrderType.STOP, stop_px=Decimal(102)))

    assert fills_of(played(act)[1]) == [(2, 10, Decimal(102))]


def test_a_bracket_takes_its_profit_and_drops_its_stop() -> None:
    """Entry at the open, target within a later bar, the stop is cancelled."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            request = buy(
                order_class=OrderClass.BRACKET, take_profit_px=Decimal(105),
                stop_loss_px=Decimal(90), time_in_force=mqd.TimeInForce.GTC,
            )  # fmt: skip
            me.ids.append(desk.broker.submit(request))

    me, desk = played(act)
    assert fills_of(desk) == [(1, 10, Decimal(100)), (3, -10, Decimal(105))]
    stop = desk.parts.machine.state(f"{me.ids[0]}-sl")
    assert stop.status is OrderStatus.CANCELED


def test_cancel_and_replace() -> None:
    """A cancelled order is over; a replaced one works on at its new price."""

    def act(me: Any, desk: Any, n: int) -> None:
        gtc = mqd.TimeInForce.GTC
        if n == 0:
            for px in ("80", "81"):
                request = buy(type=OrderType.LIMIT, limit_px=Decimal(px), time_in_force=gtc)
                me.ids.append(desk.broker.submit(request))
        if n == 2:
            desk.broker.cancel(me.ids[0])
            me.ids.append(desk.broker.replace(me.ids[1], limit_px=Decimal("95.5")))
            assert [order.client_order_id for order in desk.broker.orders()]

    me, desk = played(act)
    states = [desk.parts.machine.state(name).status for name in me.ids]
    assert states == [OrderStatus.CANCELED, OrderStatus.REPLACED, OrderStatus.FILLED]
    assert fills_of(desk) == [(4, 10, Decimal("95.5"))]


def test_timers_fire_once_and_in_order() -> None:
    """At the first close that is not before them."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            now = desk.clock.now_ns()
            desk.clock.set_timer(now + 2 * NS_PER_DAY, "second")
            desk.clock.set_timer(now + NS_PER_DAY, "first")

    me, _ = played(act)
    assert me.timers == [(1, "first"), (2, "second")]


def test_a_denied_order_is_told_and_raises_nothing() -> None:
    """Ten thousand shares are more than the account can pay."""

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            me.ids.append(desk.broker.submit(buy(qty=Decimal(10_000))))
            assert desk.broker.order(me.ids[0]).status is OrderStatus.DENIED

    me, desk = played(act)
    assert fills_of(desk) == []
    assert [name for _, _, name in me.heard] == me.ids


def test_an_order_from_a_report_follows() -> None:
    """What ``on_report`` sends at an open works in that bar, not at the open gone by."""

    class Follows(Scripted):
        def on_report(self, desk: Any, report: Any) -> None:
            if report.kind is ReportKind.FILL and desk.broker.position("AAA").lots > 0:
                request = buy(side=Side.SELL, type=OrderType.LIMIT, limit_px=Decimal("100.5"))
                self.ids.append(desk.broker.submit(request))

    def act(me: Any, desk: Any, n: int) -> None:
        if n == 0:
            desk.broker.submit(buy())

    desk, _ = built(Follows(), bars_of({"AAA": ROWS}, []), costs=FREE)
    desk.traders[0].strategy.act = act
    desk.run()
    assert fills_of(desk)[:2] == [(1, 10, Decimal(100)), (1, -10, Decimal("100.5"))]


def test_history_ends_now() -> None:
    """No bar after the present one is in reach."""

    def act(me: Any, desk: Any, n: int) -> None:
        past = desk.history("AAA", 100)
        assert len(past) == n + 1
        assert past.ts_close[-1] == desk.clock.now_ns()

    played(act)


@pytest.mark.parametrize(
    "words",
    [{"qty": Decimal("0.5")}, {"qty": 1.0}, {"symbol": "ZZZ"}, {"limit_px": Decimal(5)}],
    ids=["half", "float", "unknown", "superfluous"],
)
def test_a_malformed_request_raises(words: dict[str, Any]) -> None:
    """Before any rule looks at it."""

    def act(me: Any, desk: Any, n: int) -> None:
        with pytest.raises((errors.OrderRefused, errors.UnknownSymbol)):
            desk.broker.submit(buy(**words))

    _, desk = played(act)
    assert fills_of(desk) == []
