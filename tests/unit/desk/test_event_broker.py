"""What an event strategy is handed: orders, groups and timers through the whole desk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

import mqd
from mqd.core.order import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from mqd.errors import OrderRefused, UsageError

DAY_NS = 86_400 * 10**9
Act = Callable[[Any, Any, int], None]


def flat_bars(n: int = 6) -> mqd.Bars:
    """Return ``n`` days at 100, high 101, low 99."""
    days = pd.bdate_range("2024-01-02", periods=n).strftime("%Y-%m-%dT14:30:00Z")
    frame = pd.DataFrame({"symbol": "X", "timestamp": pd.to_datetime(days)})
    frame[["open", "high", "low", "close", "volume"]] = 100.0, 101.0, 99.0, 100.0, 1e6
    return mqd.Bars.from_pandas(frame)


def run(act: Act, bars: mqd.Bars | None = None, **words: Any) -> mqd.Result:
    """Replay a strategy that calls ``act(desk, bar, n)`` at its n-th bar."""

    class Acts(mqd.Strategy):
        def on_start(self, desk: Any) -> None:
            self.n = 0

        def on_bar(self, desk: Any, bar: Any) -> None:
            self.n += 1
            act(desk, bar, self.n)

    return mqd.backtest(Acts(), flat_bars() if bars is None else bars, **words)


BUY = mqd.OrderRequest(symbol="X", side=Side.BUY, qty=Decimal(10))
BRACKET = replace(
    BUY, order_class=OrderClass.BRACKET, take_profit_px=Decimal(110), stop_loss_px=Decimal(90)
)


def test_a_denied_bracket_leaves_the_list_of_orders_readable():
    seen = []

    def act(desk: Any, bar: Any, n: int) -> None:
        if n == 1:
            name = desk.broker.submit(replace(BRACKET, qty=Decimal(10**7)))
            seen.append(desk.broker.order(name).status)
        seen.append(len(desk.broker.orders()))

    run(act)
    assert seen == [OrderStatus.DENIED, 0, 0, 0, 0, 0, 0]


def test_a_bracket_and_an_oco_work_through_the_desk():
    def act(desk: Any, bar: Any, n: int) -> None:
        if n == 1:
            desk.broker.submit(replace(BRACKET, time_in_force=TimeInForce.GTC))
        if n == 3:
            for order in desk.broker.orders():
                desk.broker.cancel(order.client_order_id)
                break
        if n == 4:
            sell = replace(BRACKET, side=Side.SELL, order_class=OrderClass.OCO)
            desk.broker.submit(replace(sell, take_profit_px=Decimal("100.5")))

    result = run(act, costs=mqd.Costs())
    statuses = result.orders["status"].tolist()
    assert statuses == ["filled", "canceled", "canceled", "filled", "canceled"]
    assert result.fills["px"].tolist() == [100.0, 100.5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qty": 1.5}, "qty = 1.5; it must be a Decimal above zero"),
        ({"qty": Decimal("NaN")}, "must be a Decimal above zero"),
        ({"qty": Decimal("0.5")}, "not a multiple of 1"),
        ({"side": "buy"}, "must be one of Side.BUY, Side.SELL"),
        ({"type": "limits"}, "must be one of OrderType.MARKET"),
        ({"type": OrderType.LIMIT, "limit_px": 100.5}, "limit_px = 100.5"),
        ({"type": OrderType.LIMIT, "limit_px": Decimal("1.00001")}, "limit_px: price 1.00001"),
        ({"take_profit_px": Decimal(110)}, "a simple order takes 0 of take_profit_px"),
        ({"order_class": OrderClass.BRACKET}, "a bracket order takes 2 of take_profit_px"),
        (
            {"order_class": OrderClass.BRACKET, "take_profit_px": Decimal(90),
             "stop_loss_px": Decimal(110)},
            "take_profit_px must lie above stop_loss_px",
        ),
        (
            {"order_class": OrderClass.OCO, "type": OrderType.LIMIT, "limit_px": Decimal(1),
             "take_profit_px": Decimal(110), "stop_loss_px": Decimal(90)},
            "an oco order takes its prices",
        ),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_with_a_sentence(change, says):
    with pytest.raises(OrderRefused, match=r"^Order on X refused: ") as caught:
        run(lambda desk, bar, n: desk.broker.submit(replace(BUY, **change)))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qty": 2.5}, "qty = 2.5"),
        ({"limit_px": Decimal(-1)}, "limit_px = Decimal('-1')"),
        ({"limit_px": Decimal("1.00001")}, "price 1.00001 is not a multiple"),
        ({"stop_px": Decimal(5)}, "a limit order has no stop_px to replace"),
    ],
)
def test_a_malformed_replacement_is_refused_with_a_sentence(change, says):
    def act(desk: Any, bar: Any, n: int) -> None:
        if n == 1:
            request = replace(BUY, type=OrderType.LIMIT, limit_px=Decimal(50))
            name = desk.broker.submit(replace(request, time_in_force=TimeInForce.GTC))
            desk.broker.replace(name, **change)

    with pytest.raises(OrderRefused) as caught:
        run(act)
    assert says in str(caught.value)


def test_limit_fills_of_an_event_strategy_cost_no_slippage():
    def act(desk: Any, bar: Any, n: int) -> None:
        if n == 1:
            desk.broker.submit(replace(BUY, type=OrderType.LIMIT, limit_px=Decimal("99.5")))
        if n == 3:
            desk.broker.submit(replace(BUY, side=Side.SELL))

    result = run(act, costs=mqd.Costs(slippage_bps=100))
    assert result.fills["px"].tolist() == [99.5, 99.0]
    assert result.costs["slippage"] == pytest.approx(10 * 1.0)


class Early(mqd.Strategy):
    """Sets a timer at the start and keeps what it hears in a list that outlives it."""

    label: str = mqd.param("a")

    def on_start(self, desk: Any) -> None:
        desk.clock.set_timer(desk.clock.now_ns() + DAY_NS, self.label)

    def on_timer(self, desk: Any, name: str) -> None:
        HEARD.append((self.label, name))


HEARD: list[tuple[str, str]] = []


def test_a_timer_is_heard_by_the_strategy_that_set_it_alone():
    HEARD.clear()
    mqd.backtest([(Early(label="a"), 0.5), (Early(label="b"), 0.5)], flat_bars())
    assert HEARD == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize("arguments", [("name", 5), (5.0, "name"), (True, "name")])
def test_a_timer_of_the_wrong_shape_is_refused(arguments):
    with pytest.raises(UsageError, match="int nanoseconds, then a name"):
        run(lambda desk, bar, n: desk.clock.set_timer(*arguments))


def test_the_past_holds_no_later_bar_and_no_later_action():
    frame = flat_bars().to_pandas()
    actions = pd.DataFrame({"symbol": ["X"], "ex_date": ["2024-01-05"], "kind": ["dividend"]})
    actions["ratio"], actions["amount"] = None, 1.0
    seen = []

    def act(desk: Any, bar: Any, n: int) -> None:
        past = desk.history("X", 3)
        seen.append((len(past), int(past.ts_close[-1]) == bar.ts_close, len(past.actions)))

    run(act, mqd.Bars.from_pandas(frame, actions=actions))
    assert seen == [(min(n, 3), True, int(n >= 4)) for n in range(1, 7)]


class Flips(mqd.Strategy):
    """Turns round every other bar, with a stop far away."""

    def decide(self, now: Any, position: Any) -> float:
        """Return half a slot, long or short."""
        return 0.5 if now.session_index % 4 < 2 else -0.5


def test_a_flip_cancels_its_protection_once(tmp_path):
    frame = pd.concat([flat_bars(9).to_pandas().assign(symbol=name) for name in ("X", "Y")])
    pair = [(Flips(stop_loss_frac=0.5), 0.5), (Flips(stop_loss_frac=0.4), 0.5)]
    result = mqd.backtest(pair, mqd.Bars.from_pandas(frame), out=tmp_path / "run")
    assert len(result.fills) > 8
    assert result.notes == ()
    lines = "".join(path.read_text() for path in sorted((tmp_path / "run/log").glob("*.ndjson")))
    asked = [line for line in lines.splitlines() if '"kind":"command"' in line]
    names = [json.loads(line)["payload"]["id"] for line in asked]
    assert len(names) == len(set(names)) > 4
