"""What a rule sees: float64 views of the run's exact integers, built here and nowhere else.

``Snapshot`` is filled by the desk at the decision's close, in integers. A number that is not
known is None (or -1 where a negative value has no meaning); it becomes NaN in the view, and a
comparison with NaN is False, so a rule written as "True when inside the limit" refuses it.
"""

from __future__ import annotations

from typing import NamedTuple

from mqd.core.money import Scale
from mqd.core.order import Order, Side

NAN = float("nan")
INF = float("inf")
Rates = tuple[float, float, float]
"""Ticks a USD, lots a share and quanta a USD."""
NO_LIMIT_TICKS = 2**62
"""An own open order without a limit price (market, stop) trades at any price."""


class Snapshot(NamedTuple):
    """The account and one symbol at a decision's close, in the integers of the run.

    ``lots`` is the signed position. ``open_buy_lots`` and ``open_sell_lots`` are our own working,
    submitted and unknown quantities in this symbol (members of one OCO group count once, legs that
    wait for their entry not at all). ``gross_quanta`` and ``net_quanta`` are the positions marked
    at this close; ``open_gross_quanta`` is what all open orders could still add to gross (for
    each symbol ``worst_lots(...) - |lots|``, at its mark), ``open_buy_quanta`` and
    ``open_sell_quanta`` the marked value of all open buys and sells of the account.
    ``multiplier`` is the account's: gross may reach equity x multiplier.

    ``open_sell_ticks_min`` is the lowest limit of our open sells (0: one has none),
    ``open_buy_ticks_max`` the highest limit of our open buys (``NO_LIMIT_TICKS``: one has none).
    ``average_volume_lots`` is the 20-day mean volume, -1 when unknown. ``recent_ticks`` are up to
    20 last closes, this one left out. ``ref_confirmed`` is 1 when quote and trade agree on the
    price. ``sector_gross_quanta`` is the worst-case gross of the symbol's sector (None: all of
    gross counts, as if one sector). ``n_replaces`` counts the replaces in the order's lineage.
    ``monotonic_ns`` is the clock that rates are counted on (-1: ``now_ns``, as in a replay).
    """

    now_ns: int
    scale: Scale
    lots: int
    open_buy_lots: int
    open_sell_lots: int
    cash_quanta: int
    equity_quanta: int
    gross_quanta: int
    net_quanta: int
    ref_ticks: int
    ref_ns: int
    multiplier: float
    open_gross_quanta: int = 0
    open_buy_quanta: int = 0
    open_sell_quanta: int = 0
    session: int = 0
    n_open_symbol: int = 0
    n_open_account: int = 0
    open_sell_ticks_min: int = 0
    open_buy_ticks_max: int = NO_LIMIT_TICKS
    average_volume_lots: int = -1
    recent_ticks: tuple[int, ...] = ()
    ref_confirmed: int = 0
    sector_gross_quanta: int | None = None
    n_replaces: int = 0
    monotonic_ns: int = -1


class Counters(NamedTuple):
    """What the manager itself counts (``mqd.risk.history``), as it enters a view."""

    orders_last_s: float = 0.0
    orders_last_min: float = 0.0
    account_orders_last_min: float = 0.0
    order_tokens: float = 0.0
    fills_last_min: float = 0.0
    messages_last_min: float = 0.0
    messages_today: float = 0.0
    orders_today: float = 0.0
    fills_today: float = 0.0
    day_notional: float = 0.0
    day_start_equity: float = NAN
    high_water_equity: float = NAN
    last_same_order_age_ns: float = float("inf")
    seen_before: float = 0.0
    tripped: float = 0.0
    allowed: float = 1.0
    denied: float = 0.0
    sector_known: float = 0.0


NO_COUNTS = Counters()
"""A fresh desk's counts: nothing sent, no marks, no token."""


class OrderView(NamedTuple):
    """An order as a rule sees it; every field is a float.

    ``qty`` > 0 shares; ``side`` +1.0 buy, -1.0 sell; ``px`` the price that values it (its limit,
    else its stop, else the reference price); ``notional`` qty x px; ``reducing`` 1.0 when it can
    only bring the position nearer to zero (computed by the manager), else 0.0; ``limit_px`` its
    limit, 0.0 when it has none.
    """

    qty: float
    side: float
    px: float
    notional: float
    reducing: float
    limit_px: float


class PortfolioView(NamedTuple):
    """The account and the order's symbol as a rule sees them; every field is a float.

    Money in USD, quantities in shares, ages in ns. NaN means "not known" and must refuse.

    ``qty`` signed position; ``open_qty`` our own open quantity on the order's side (>= 0),
    ``open_opposite_qty`` on the other; ``gross`` and ``net`` count open orders at their worst
    (``net`` in the order's direction), ``gross_held`` and ``net_held`` only what is filled;
    ``open_notional`` the marked value of all open orders; ``sector_gross`` worst-case gross of
    the symbol's sector. ``ref_px`` the close the decision saw, ``ref_age_ns`` its age,
    ``median_px`` the median of the ``n_prices`` closes before it, ``ref_confirmed`` 1.0 when a
    second kind of evidence agrees. ``open_opposite_px`` the best limit of our open orders on
    the other side. ``average_volume`` 20-day mean shares a session, -1.0 when unknown.

    Counts by the manager: ``orders_last_s``, ``orders_last_min`` (this strategy's),
    ``account_orders_last_min``, ``order_tokens`` (left in the rate bucket), ``fills_last_min``
    (this symbol and side), ``messages_last_min``, ``messages_today``, ``orders_today``,
    ``fills_today``, ``day_notional`` (filled today), ``day_start_equity``, ``high_water_equity``,
    ``last_same_order_age_ns`` (inf: never sent), ``seen_before`` 1.0 when this order id was sent,
    ``tripped`` 1.0 when the strategy is, ``allowed`` and ``denied`` from the lists,
    ``sector_known``.
    """

    qty: float
    equity: float
    cash: float
    gross: float
    net: float
    open_qty: float
    ref_px: float
    ref_age_ns: float
    now_ns: float
    open_opposite_qty: float
    open_opposite_px: float
    gross_held: float
    net_held: float
    open_notional: float
    sector_gross: float
    n_open_symbol: float
    n_open_account: float
    average_volume: float
    median_px: float
    n_prices: float
    ref_confirmed: float
    n_replaces: float
    multiplier: float
    orders_last_s: float
    orders_last_min: float
    account_orders_last_min: float
    order_tokens: float
    fills_last_min: float
    messages_last_min: float
    messages_today: float
    orders_today: float
    fills_today: float
    day_notional: float
    day_start_equity: float
    high_water_equity: float
    last_same_order_age_ns: float
    seen_before: float
    tripped: float
    allowed: float
    denied: float
    sector_known: float


def worst_lots(lots: int, open_buy_lots: int, open_sell_lots: int) -> int:
    """Return the largest |position| that open orders can lead to; opposite sides never net."""
    return max(abs(lots), abs(lots + open_buy_lots), abs(lots - open_sell_lots))


def is_reducing(side: Side, lots: int, snapshot: Snapshot) -> bool:
    """Say whether an order can only bring the position nearer to zero, whatever fills first.

    Opposite sign, and no larger than |position| less what our open orders already close.
    """
    if side > 0:
        return 0 < lots <= -snapshot.lots - snapshot.open_buy_lots
    return 0 < lots <= snapshot.lots - snapshot.open_sell_lots


def increase_lots(side: Side, lots: int, snapshot: Snapshot) -> int:
    """Return by how many lots an order raises the symbol's worst-case |position|."""
    held, buys, sells = snapshot.lots, snapshot.open_buy_lots, snapshot.open_sell_lots
    after = held + buys + lots if side > 0 else held - sells - lots
    return max(0, abs(after) - worst_lots(held, buys, sells))


def order_view(order: Order, px_ticks: int, reducing: bool = False) -> OrderView:
    """Return the floats of ``order``; ``px_ticks`` values a market order (-1: not known).

    A float is ``units / units in 1`` rounded once, so a value on the grid of cents and shares is
    the float that its decimal text denotes.
    """
    return OrderView(
        *order_floats(
            order.lots, order.side, order.limit_ticks, order.stop_ticks, px_ticks,
            order.scale.tick_lot_quanta, rates(order.scale), reducing,
        )
    )  # fmt: skip


def order_floats(
    lots: int, side: int, limit_ticks: int, stop_ticks: int, px_ticks: int, lot_quanta: int,
    rates: Rates, reducing: bool,
) -> tuple[float, float, float, float, float, float]:  # fmt: skip
    """Return the fields of an ``OrderView``; the compiled loop calls the same function."""
    ticks_per_usd, lots_per_share, quanta_per_usd = rates
    ticks = limit_ticks or stop_ticks or px_ticks
    known = ticks > 0
    return (
        lots / lots_per_share,
        float(side),
        ticks / ticks_per_usd if known else NAN,
        lots * ticks * lot_quanta / quanta_per_usd if known else NAN,
        1.0 if reducing else 0.0,
        limit_ticks / ticks_per_usd,
    )


def portfolio_view(
    snapshot: Snapshot, side: Side = Side.BUY, counters: Counters = NO_COUNTS
) -> PortfolioView:
    """Return the floats of ``snapshot`` for an order on ``side``."""
    recent = sorted(snapshot.recent_ticks)
    floats = portfolio_floats(
        snapshot, side, rates(snapshot.scale), _median(recent), float(len(recent))
    )
    return PortfolioView(*(*floats, *counters))


def portfolio_floats(
    s: Snapshot, side: int, rates: Rates, median_ticks: float, n_prices: float
) -> tuple[float, ...]:
    """Return the fields of a ``PortfolioView`` before its counters, from the fields of ``s``.

    The compiled loop calls the same function.
    """
    ticks_per_usd, lots_per_share, usd = rates
    ref_ticks = _count(s.ref_ticks)
    open_gross = _count(s.open_gross_quanta)
    open_side, open_other = s.open_buy_lots, s.open_sell_lots
    open_net, cross_ticks = s.open_buy_quanta, s.open_sell_ticks_min
    if not side > 0:
        open_side, open_other = open_other, open_side
        open_net, cross_ticks = -s.open_sell_quanta, s.open_buy_ticks_max
    gross = _ratio(s.gross_quanta, usd) + open_gross / usd
    sector = s.sector_gross_quanta
    return (
        _ratio(s.lots, lots_per_share), _ratio(s.equity_quanta, usd), _ratio(s.cash_quanta, usd),
        gross, _ratio(s.net_quanta, usd) + open_net / usd, _count(open_side) / lots_per_share,
        ref_ticks / ticks_per_usd if ref_ticks > 0.0 else NAN,
        float(s.now_ns - s.ref_ns) if _count(s.ref_ns) >= 0.0 else NAN,
        float(s.now_ns), _count(open_other) / lots_per_share,
        INF if cross_ticks >= NO_LIMIT_TICKS else cross_ticks / ticks_per_usd,
        _ratio(s.gross_quanta, usd), _ratio(s.net_quanta, usd),
        (s.open_buy_quanta + s.open_sell_quanta) / usd, gross if sector is None else sector / usd,
        _count(s.n_open_symbol), _count(s.n_open_account),
        -1.0 if s.average_volume_lots == -1 else _count(s.average_volume_lots) / lots_per_share,
        median_ticks / ticks_per_usd, n_prices, float(s.ref_confirmed),
        _count(s.n_replaces), float(s.multiplier),
    )  # fmt: skip


_RATES: dict[tuple[object, ...], Rates] = {}


def rates(scale: Scale) -> Rates:
    """Return ticks a USD, lots a share and quanta a USD; whole numbers for decimal scales."""
    key = (scale.tick, scale.lot, scale.quantum)
    known = _RATES.get(key)
    if known is None:
        known = (float(1 / scale.tick), float(1 / scale.lot), float(1 / scale.quantum))
        _RATES[key] = known
    return known


def _ratio(units: int | None, per_one: float) -> float:
    return NAN if units is None else units / per_one


def _count(units: int | None) -> float:
    return NAN if units is None or units < 0 else float(units)


def _median(ordered: list[int]) -> float:
    n = len(ordered)
    if not n:
        return NAN
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2
