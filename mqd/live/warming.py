"""Before the first bar and while a desk waits for one: the way of an order, gone without an order.

A rule is compiled at its first call, which takes a second; and a path that nobody went for a
second is out of the processor's caches, which costs an order four times what it needs. So rules
are called once before the session, and shortly before a bar an order that nobody sends is judged,
written out and thrown away. Nothing is logged, counted, or sent; no rule's state moves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mqd import logs
from mqd.adapters.alpaca import wire
from mqd.core.bar import SymbolBars
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.desk import records
from mqd.desk.loop import Desk
from mqd.live.market import GrowingMarket
from mqd.live.runners import LateRunner
from mqd.log_files import encode
from mqd.result import Named
from mqd.strategy.compiled import Program, program
from mqd.strategy.feature_columns import compute_features
from mqd.strategy.strategy import Strategy

NAME = f"mq1-0000-{'a' * 26}"
MADE_UP_BARS = 128


class WarmUp:
    """Keeps a desk's way to an order warm; called on the desk's thread alone."""

    def __init__(self, desk: Desk, market: GrowingMarket) -> None:
        self._parts, self._market = desk.parts, market
        self._traders = [(t.name, t.strategy, t.runner) for t in desk.traders]
        self._turn, self._failed = 0, False
        self._log = logs.get_logger("warm_up")

    def first(self) -> None:
        """Build what strategies need at their first bar, and call each compiled rule once."""
        for name, strategy, runner in self._traders:
            if not isinstance(runner, LateRunner):
                continue
            try:
                made = runner.get_ready() or _made(strategy, self._market)
                _call_once(made, len(self._market.symbols))
            except Exception as error:  # noqa: BLE001 - its first bar tells, on real numbers
                self._log.info("not_warm", strategy=name, why=str(error))

    def __call__(self) -> None:
        """Go the way once: features of one symbol, an order of it judged and written out."""
        if self._failed:
            return
        try:
            self._go()
        except Exception as error:  # noqa: BLE001 - what is wrong shows at the next bar
            self._failed = True
            self._log.info("stays_cold", why=str(error))

    def _go(self) -> None:
        held = [symbol for symbol in self._market.symbols if self._market.n_rows[symbol]]
        if not held:
            return
        self._turn += 1
        symbol = held[self._turn % len(held)]
        name, _, runner = self._traders[self._turn % len(self._traders)]
        if isinstance(runner, LateRunner):
            runner.learn(symbol)
        scale, now_ns = self._parts.valuation.scales[symbol], self._parts.clock.now_ns()
        order, _ = self._parts.gate.judge(
            Order(NAME, name, symbol, Side.BUY, 1, OrderType.MARKET, TimeInForce.DAY, now_ns, scale)
        )
        encode(records.intent(order))
        wire.order_body(order, (), price_steps=True)


def compile_rules(named: Named, market: GrowingMarket) -> None:
    """Compile the rules of a run on made-up bars: before its streams open, as nobody is heard
    meanwhile."""
    for name, strategy, _ in named:
        if strategy.kind != "event":
            try:
                _call_once(_made(strategy, market), len(market.symbols))
            except Exception as error:  # noqa: BLE001 - its first bar tells, on real numbers
                logs.get_logger("warm_up").info("not_compiled", strategy=name, why=str(error))


def _made(strategy: Strategy, market: GrowingMarket) -> Program:
    """Return a strategy's rule where no bar has come yet: made-up bars name its features."""
    bars = made_up_bars(market.symbols[0], market)
    return program(strategy, compute_features(strategy, bars).names)


def made_up_bars(symbol: str, market: GrowingMarket) -> SymbolBars:
    """Return bars that never were: every price is 1,000 ticks, and so is every volume."""
    plan, n = market.plan, MADE_UP_BARS
    px = np.full(n, 1000.0 * float(plan.ticks[symbol]))
    stamps = plan.first_ns + np.arange(n, dtype=np.int64) * plan.timeframe_ns
    minutes = np.arange(n, dtype=float)
    flat = np.zeros(n)
    return SymbolBars(
        symbol, plan.ticks[symbol], plan.lots[symbol], stamps, stamps + plan.timeframe_ns,
        px, px, px, px, px, np.zeros(n, dtype=np.int64), flat, minutes, minutes[::-1].copy(),
        px if "vwap" in plan.extras else None, px if "trade_count" in plan.extras else None,
    )  # fmt: skip


def _call_once(made: Program, n_symbols: int) -> None:
    """Let a compiled rule be compiled; one that is not may do anything when it is called."""
    if not made.compiled:
        return
    ones, flags = np.ones(n_symbols), np.zeros(n_symbols, np.bool_)
    whole = made.kind == "allocate"
    values = tuple(
        (flags if field == "tradable" else ones) if whole else 1.0 for field in made.fields
    )
    held = (ones if whole else 0.0,) * len(made.position_fields)
    state = (made.new_state(),) if made.has_state else ()
    call: Callable[..., object] = made.call
    call(values, held, *state)
