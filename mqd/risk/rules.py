# ruff: noqa: ARG001, ARG005 - every rule has one signature, whatever it reads
"""The controls, each a pure function ``rule(order, portfolio, limits) -> bool`` of floats.

True means "inside the limit". A comparison with NaN is False, so every rule is written to be
True only when it knows: a missing number refuses. No division, no state, no clock.

``@rule(...)`` says what a refusal prints, and whether an order that only reduces risk passes
where the rule says False ("O" in the catalogue; without it the rule binds every order, "H").
The manager decides what reduces; a rule never has to trust the order.
"""

from __future__ import annotations

from mqd.risk.declare import Rule, RuleSpec, rule, spec_of
from mqd.risk.limits import LimitValues
from mqd.risk.verdict import RefusalCode
from mqd.risk.views import OrderView, PortfolioView

__all__ = ["RULES", "Rule", "RuleSpec", "rule", "spec_of"]

VALUATION_MARKUP = 1.03
"""The venue values an order without a limit at 3 % above the last price (Alpaca, shorts)."""

C = RefusalCode


@rule(code=C.DENIED_SYMBOL, control=15, observes=lambda o, p: p.denied)
def denied_symbol(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """15: the symbol is not on the deny list."""
    return portfolio.denied == 0.0


@rule(code=C.NOT_IN_UNIVERSE, control=15, reducing_passes=True, observes=lambda o, p: p.allowed)
def in_universe(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """15: the symbol is in the configured universe."""
    return portfolio.allowed == 1.0


@rule(code=C.STRATEGY_TRIPPED, control=13, reducing_passes=True, observes=lambda o, p: p.tripped)
def strategy_armed(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """13: the strategy was not tripped by repeated executions or an overfill."""
    return portfolio.tripped == 0.0


@rule(code=C.SELF_TRADE, control=14, observes=lambda o, p: p.open_opposite_px)
def no_self_trade(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """14: no own open order on the other side could meet this one."""
    if portfolio.open_opposite_qty == 0.0:
        return True
    if not portfolio.open_opposite_qty > 0.0:
        return False
    if not order.limit_px > 0.0:
        return False
    return order.side * order.limit_px < order.side * portfolio.open_opposite_px


@rule(
    code=C.DUPLICATE,
    control=12,
    limit="same_order_age_ns_min",
    observes=lambda o, p: p.last_same_order_age_ns,
)
def no_duplicate(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """12: this order id was never sent, and no equal order a moment ago."""
    return (
        portfolio.seen_before == 0.0
        and portfolio.last_same_order_age_ns >= limits.same_order_age_ns_min
    )


@rule(
    code=C.STALE_PRICE,
    control=18,
    reducing_passes=True,
    limit="ref_age_ns_max",
    observes=lambda o, p: p.ref_age_ns,
)
def fresh_price(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """18: the reference price exists, is not from the future and not too old."""
    return portfolio.ref_px > 0.0 and 0.0 <= portfolio.ref_age_ns <= limits.ref_age_ns_max


@rule(
    code=C.BAD_TICK,
    control=19,
    reducing_passes=True,
    limit="bad_tick_frac_max",
    observes=lambda o, p: abs(p.ref_px - p.median_px) / p.median_px,
    needs=("prices_min", lambda o, p: p.n_prices),
)
def believable_price(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """19: the price is near the median of the last closes, or confirmed by a second source."""
    if not portfolio.n_prices >= limits.prices_min:
        return False
    move = abs(portfolio.ref_px - portfolio.median_px)
    if move <= limits.bad_tick_frac_max * portfolio.median_px:
        return True
    return portfolio.ref_confirmed == 1.0 and move >= 0.0 and limits.bad_tick_frac_max >= 0.0


@rule(
    code=C.ORDER_QTY,
    control=3,
    reducing_passes=True,
    limit="qty_max",
    observes=lambda o, p: o.qty,
)
def order_qty(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """3: shares of one order."""
    return 0.0 < order.qty <= limits.qty_max


@rule(
    code=C.ORDER_VOLUME,
    control=3,
    reducing_passes=True,
    limit="volume_frac_max",
    also=("qty_unknown_volume_max",),
    observes=lambda o, p: o.qty / p.average_volume if p.average_volume > 0.0 else o.qty,
)
def order_volume(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """3: share of the 20-day mean volume; a small fixed quantity while that is unknown."""
    if portfolio.average_volume == -1.0:
        return order.qty <= limits.qty_unknown_volume_max
    return order.qty <= limits.volume_frac_max * portfolio.average_volume


@rule(
    code=C.ORDER_NOTIONAL,
    control=4,
    reducing_passes=True,
    limit="notional_usd_max",
    also=("notional_frac_max",),
    observes=lambda o, p: o.qty * _valuation(o, p),
)
def order_notional(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """4: value of one order at its limit, or 3 % above the last price if that is more."""
    at_limit = order.notional
    at_markup = order.qty * (portfolio.ref_px * VALUATION_MARKUP)
    cap = limits.notional_frac_max * portfolio.equity
    usd_max = limits.notional_usd_max
    return at_limit <= usd_max and at_markup <= usd_max and at_limit <= cap and at_markup <= cap


def _valuation(order: OrderView, portfolio: PortfolioView) -> float:
    return max(order.px, portfolio.ref_px * VALUATION_MARKUP)


@rule(
    code=C.POSITION_QTY,
    control=5,
    reducing_passes=True,
    limit="position_qty_max",
    observes=lambda o, p: abs(p.qty + o.side * (p.open_qty + o.qty)),
)
def position_qty(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """5: shares of the position if every own open order of this side fills."""
    worst = portfolio.qty + order.side * (portfolio.open_qty + order.qty)
    return abs(worst) <= limits.position_qty_max


@rule(
    code=C.POSITION_NOTIONAL,
    control=5,
    reducing_passes=True,
    limit="position_frac_max",
    observes=lambda o, p: abs(p.qty + o.side * (p.open_qty + o.qty)) * p.ref_px / p.equity,
)
def position_notional(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """5: value of the position if every own open order of this side fills."""
    worst = portfolio.qty + order.side * (portfolio.open_qty + order.qty)
    return abs(worst) * portfolio.ref_px <= limits.position_frac_max * portfolio.equity


@rule(
    code=C.GROSS_EXPOSURE,
    control=6,
    reducing_passes=True,
    limit="gross_frac_max",
    observes=lambda o, p: (p.gross + o.qty * p.ref_px) / p.equity,
)
def gross_exposure(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """6: sum of |market value|, open orders and this one at their worst."""
    gross = portfolio.gross + order.qty * portfolio.ref_px
    return gross <= limits.gross_frac_max * portfolio.equity


@rule(
    code=C.NET_EXPOSURE,
    control=6,
    reducing_passes=True,
    limit="net_frac_max",
    observes=lambda o, p: (p.net + o.side * o.qty * p.ref_px) / p.equity,
)
def net_exposure(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """6: signed market value, open orders of this direction and this one filled."""
    net = order.side * portfolio.net + order.qty * portfolio.ref_px
    return net <= limits.net_frac_max * portfolio.equity


@rule(
    code=C.CONCENTRATION,
    control=7,
    reducing_passes=True,
    limit="concentration_frac_max",
    observes=lambda o, p: (abs(p.qty) + p.open_qty + o.qty) * p.ref_px / p.equity,
)
def concentration(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """7: one symbol's share of equity; opposite quantities never net down."""
    value = (abs(portfolio.qty) + portfolio.open_qty + order.qty) * portfolio.ref_px
    return value <= limits.concentration_frac_max * portfolio.equity


@rule(
    code=C.SECTOR,
    control=7,
    reducing_passes=True,
    limit="sector_frac_max",
    also=("sector_unknown_frac_max",),
    observes=lambda o, p: (p.sector_gross + o.qty * p.ref_px) / p.equity,
)
def sector(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """7: one sector's share of equity; symbols without a sector share one small bucket."""
    if portfolio.sector_known == 1.0:
        cap = limits.sector_frac_max
    elif portfolio.sector_known == 0.0:
        cap = limits.sector_unknown_frac_max
    else:
        return False
    return portfolio.sector_gross + order.qty * portfolio.ref_px <= cap * portfolio.equity


@rule(
    code=C.MARGIN,
    control=20,
    reducing_passes=True,
    limit="margin_equity_frac_max",
    observes=lambda o, p: p.equity,
)
def intraday_margin(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """20: no deficit after the fill: equity still covers the maintenance of longs and shorts.

    Twice the long value is gross + net, twice the short value gross - net. What open orders
    may add is charged at the dearer of the two rates.
    """
    long_rate, short_rate = limits.margin_long_frac_min, limits.margin_short_frac_min
    held = (
        long_rate * (portfolio.gross_held + portfolio.net_held)
        + short_rate * (portfolio.gross_held - portfolio.net_held)
    ) / 2.0
    added = (portfolio.gross - portfolio.gross_held) + order.qty * portfolio.ref_px
    needed = held + max(long_rate, short_rate) * added
    return needed <= limits.margin_equity_frac_max * portfolio.equity


@rule(
    code=C.DAILY_LOSS,
    control=9,
    reducing_passes=True,
    limit="daily_loss_frac_max",
    observes=lambda o, p: 1.0 - p.equity / p.day_start_equity,
)
def daily_loss(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """9: equity has lost less than the limit since the session's start (equality trips)."""
    start = portfolio.day_start_equity
    return start > 0.0 and start - portfolio.equity < limits.daily_loss_frac_max * start


@rule(
    code=C.DRAWDOWN,
    control=10,
    reducing_passes=True,
    limit="drawdown_frac_max",
    observes=lambda o, p: 1.0 - p.equity / p.high_water_equity,
)
def drawdown(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """10: equity is less than the limit below its highest mark (equality trips)."""
    top = portfolio.high_water_equity
    return top > 0.0 and top - portfolio.equity < limits.drawdown_frac_max * top


@rule(
    code=C.ORDER_RATE,
    control=11,
    reducing_passes=True,
    limit="orders_s_max",
    observes=lambda o, p: p.orders_last_s,
)
def order_rate(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """11: the account's token bucket holds a token; excess is refused, never queued."""
    return portfolio.order_tokens >= 1.0


@rule(
    code=C.ORDERS_PER_MINUTE,
    control=11,
    reducing_passes=True,
    limit="orders_min_max",
    also=("account_orders_min_max",),
    observes=lambda o, p: p.orders_last_min,
)
def orders_per_minute(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """11: orders of the last minute, this one included, of the strategy and of the account."""
    return (
        portfolio.orders_last_min + 1.0 <= limits.orders_min_max
        and portfolio.account_orders_last_min + 1.0 <= limits.account_orders_min_max
    )


@rule(
    code=C.REPEATED_FILLS,
    control=13,
    reducing_passes=True,
    limit="fills_min_max",
    observes=lambda o, p: p.fills_last_min,
)
def repeated_fills(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """13: fills of this symbol and side in the last minute."""
    return portfolio.fills_last_min < limits.fills_min_max


@rule(
    code=C.OPEN_ORDERS,
    control=22,
    reducing_passes=True,
    limit="open_orders_symbol_max",
    also=("open_orders_account_max",),
    observes=lambda o, p: p.n_open_symbol,
)
def open_orders(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """22: open orders of the symbol and of the account, unknown ones and this one included."""
    return (
        portfolio.n_open_symbol + 1.0 <= limits.open_orders_symbol_max
        and portfolio.n_open_account + 1.0 <= limits.open_orders_account_max
    )


@rule(
    code=C.MESSAGES,
    control=23,
    reducing_passes=True,
    limit="messages_min_max",
    also=("messages_per_fill_max", "messages_free_max", "replaces_max"),
    observes=lambda o, p: p.messages_last_min,
)
def messages(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """23: calls a minute, replaces of one order, and messages a fill once there are many."""
    allowed = limits.messages_per_fill_max * portfolio.fills_today
    allowed = max(allowed, limits.messages_free_max)
    return (
        portfolio.messages_today <= allowed
        and limits.messages_free_max >= 0.0
        and portfolio.messages_last_min + 1.0 <= limits.messages_min_max
        and portfolio.n_replaces <= limits.replaces_max
    )


@rule(
    code=C.TURNOVER,
    control=28,
    reducing_passes=True,
    limit="turnover_frac_max",
    observes=lambda o, p: (p.day_notional + p.open_notional + o.qty * p.ref_px) / p.equity,
)
def turnover(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """28: value traded today, open orders and this one included."""
    value = portfolio.day_notional + portfolio.open_notional + order.qty * portfolio.ref_px
    return value <= limits.turnover_frac_max * portfolio.equity


RULES: tuple[Rule, ...] = (
    denied_symbol, in_universe, strategy_armed, no_self_trade, no_duplicate, fresh_price,
    believable_price, order_qty, order_volume, order_notional, position_qty, position_notional,
    gross_exposure, net_exposure, concentration, sector, intraday_margin, daily_loss, drawdown,
    order_rate, orders_per_minute, repeated_fills, open_orders, messages, turnover,
)  # fmt: skip
"""Every control of a full limits file; well-formed orders and buying power are integer checks."""
