"""The verdict on an order where rules run: the counterpart of ``risk.manager`` and the gate.

The rules are the functions that the desk calls, over views made by the same two functions
(``risk.views.order_floats``, ``portfolio_floats``), so every float has the desk's bits.
"""

from __future__ import annotations

from typing import Any

from mqd.core.money import MOST_QUANTA
from mqd.core.order import OrderType
from mqd.kernel.books import leave
from mqd.kernel.layout import World
from mqd.kernel.past import at_most_zero, counters_of
from mqd.kernel.records import TYPES
from mqd.risk.views import (
    NAN,
    NO_LIMIT_TICKS,
    Snapshot,
    order_floats,
    portfolio_floats,
    worst_lots,
)
from mqd.strategy import jit

BUYING_POWER = 1
MALFORMED = 2**62
MARKET = TYPES.index(OrderType.MARKET)
CLOSES = 20

Seen: Any = jit.argument_type("Seen", tuple(n for n in Snapshot._fields if n != "recent_ticks"))
Money: Any = jit.argument_type("Money", ("gross", "net", "adds", "buys", "sells", "sector", "n"))


def ask_rules(order: Any, portfolio: Any, line: Any, reducing: bool) -> int:
    """Stand in for the rules; bound when the core is built."""
    raise NotImplementedError


def verdict(
    w: World, p: int, b: Any, signed: int, kind: int, limit: int, stop: int, leg: bool
) -> int:
    """Return a bit mask of all that refuses an order, 0 when nothing does.

    ``leg``: the second order of an OCO pair, which must only reduce.
    """
    line, top = w.controls[p], w.controls[len(w.books)]
    side = 1 if signed > 0 else -1
    lots = abs(signed)
    buys, sells = open_lots(b, 1), open_lots(b, -1)
    reducing = lots <= (-b.lots - buys if side > 0 else b.lots - sells)
    mask = 0 if reducing or not top.level else top.latch_bit
    if leg and not reducing:
        mask |= MALFORMED
    after = b.lots + buys + lots if side > 0 else b.lots - sells - lots
    if side < 0 and b.lot_parts > 1 and after < 0 and lots % b.lot_parts:
        return mask | MALFORMED
    money = money_of(w, line.sector)
    equity = w.account.cash + money.net
    increase = abs(after) - worst_lots(b.lots, buys, sells)
    if increase > 0:
        cost, gross = increase * b.mark * b.lot_quanta, money.gross + money.adds
        if not at_most_zero(cost, line.cost_k, gross, line.gross_k, equity, -line.equity_k):
            mask |= BUYING_POWER
    rates = (line.ticks_per_usd, line.lots_per_share, line.usd)
    ref = b.mark if b.mark > 0 else -1
    order = order_floats(lots, side, limit, stop, ref, b.lot_quanta, rates, reducing)
    seen = Seen(
        now_ns=top.clock_ns, scale=0, lots=b.lots, open_buy_lots=buys, open_sell_lots=sells,
        cash_quanta=w.account.cash, equity_quanta=equity, gross_quanta=money.gross,
        net_quanta=money.net, ref_ticks=ref, ref_ns=line.ref_ns, multiplier=w.account.multiplier,
        open_gross_quanta=money.adds, open_buy_quanta=money.buys, open_sell_quanta=money.sells,
        session=0, n_open_symbol=n_open(b), n_open_account=money.n,
        open_sell_ticks_min=sell_ticks(b), open_buy_ticks_max=buy_ticks(b),
        average_volume_lots=w.rows[top.marked, len(w.books) + p], ref_confirmed=0,
        sector_gross_quanta=money.sector, n_replaces=0, monotonic_ns=-1,
    )  # fmt: skip
    n, median = median_ticks(w, p, b.row, top)
    portfolio = portfolio_floats(seen, side, rates, median, float(n))
    counters = counters_of(w, p, signed, kind, limit, stop)
    return mask | ask_rules(order, portfolio + counters, line, reducing)


def open_lots(b: Any, side: int) -> int:
    """Return the lots of one side that may still fill; an OCO pair counts once."""
    total, pair = 0, 0
    if b.target.on and b.target.side == side:
        total = b.target.left
    if b.stop.on and b.stop.side == side:
        pair = b.stop.size - b.stop.filled
    if b.profit.on and b.profit.side == side:
        pair = max(pair, b.profit.size - b.profit.filled)
    return total + pair


def n_open(b: Any) -> int:
    """Return how many orders of a symbol are open."""
    return int((b.target.on != 0) + (b.stop.on != 0) + (b.profit.on != 0))


def sell_ticks(b: Any) -> int:
    """Return the lowest limit of the open sells, 0 when one has none."""
    if (b.target.on and b.target.side < 0) or (b.stop.on and b.stop.side < 0):
        return 0
    return b.profit.level if b.profit.on and b.profit.side < 0 else NO_LIMIT_TICKS


def buy_ticks(b: Any) -> int:
    """Return the highest limit of the open buys, 0 without any."""
    if (b.target.on and b.target.side > 0) or (b.stop.on and b.stop.side > 0):
        return NO_LIMIT_TICKS
    return b.profit.level if b.profit.on and b.profit.side > 0 else 0


def money_of(w: World, sector: int) -> Any:
    """Return the account's sums over its symbols, in quanta, and its open orders."""
    gross, net, adds, buys, sells, inside, n = 0, 0, 0, 0, 0, 0, 0
    most = 0.0
    for q in range(len(w.books)):
        b = w.books[q]
        value = b.mark * b.lot_quanta
        buy, sell = open_lots(b, 1), open_lots(b, -1)
        worst = worst_lots(b.lots, buy, sell)
        most += float(abs(b.lots) + buy + sell) * float(value)
        net += b.lots * value
        gross += abs(b.lots) * value
        adds += (worst - abs(b.lots)) * value
        buys += buy * value
        sells += sell * value
        n += n_open(b)
        if w.controls[q].sector == sector:
            inside += worst * value
    if most > MOST_QUANTA:
        leave(w.account)
    return Money(gross, net, adds, buys, sells, inside, n)


def median_ticks(w: World, p: int, row: int, top: Any) -> tuple[int, float]:
    """Return how many of the last closes are known, this one left out, and their median."""
    n = min(row, CLOSES)
    if n <= 0:
        return 0, NAN
    for i in range(n):
        ticks = w.tape[p, row - n + i].close
        at = i
        while at > 0 and top.sorted[at - 1] > ticks:
            top.sorted[at] = top.sorted[at - 1]
            at -= 1
        top.sorted[at] = ticks
    return n, (top.sorted[n // 2] + top.sorted[(n - 1) // 2]) / 2
