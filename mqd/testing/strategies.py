"""Hypothesis strategies for what users test: bars, orders, reports, portfolios, limits.

They shrink to calm values: one bar, one share, a flat account, the catalogue's limits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from mqd.errors import UsageError

try:
    from hypothesis import strategies as st
except ImportError as missing:
    raise UsageError(
        "mqd.testing needs hypothesis. 'make test' installs it; elsewhere: pip install hypothesis."
    ) from missing

from mqd.core.bar import SymbolBars
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.risk.limits import LimitValues
from mqd.risk.views import OrderView, PortfolioView
from mqd.testing.cases import INF, ORDER, PORTFOLIO, Case, Reads

SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))
FIRST_OPEN_NS = 1_704_205_800 * 1_000_000_000
"""2024-01-02 09:30 in New York."""

ALL_FIELDS = Reads(
    frozenset(OrderView._fields),
    frozenset(PortfolioView._fields),
    frozenset(LimitValues._fields),
    (),
)


@st.composite
def bars(
    draw: st.DrawFn, *, symbol: str = "AAA", rows_min: int = 1, rows_max: int = 60
) -> SymbolBars:
    """Minute bars of one symbol that pass every rule of loading.

    ``rows_min`` to ``rows_max`` bars, prices on a tick of 0.01 between 1 and 1,000 USD, volumes
    whole and possibly 0, strictly increasing stamps, all inside one session a day.
    """
    n = draw(st.integers(rows_min, rows_max))
    moves = st.tuples(*(st.integers(-500, 500),) * 4, st.integers(0, 100_000))
    rows = draw(st.lists(moves, min_size=n, max_size=n))
    px_open, high, low, close, volume = (np.empty(n) for _ in range(5))
    last = draw(st.integers(100, 100_000))
    for i, (gap, body, up, down, size) in enumerate(rows):
        start = _inside(last + gap)
        last = _inside(start + body)
        px_open[i], close[i], volume[i] = start / 100, last / 100, size
        high[i] = _inside(max(start, last) + abs(up)) / 100
        low[i] = _inside(min(start, last) - abs(down)) / 100
    row = np.arange(n, dtype=np.int64)
    day, minute = row // 390, row % 390
    ts_open = FIRST_OPEN_NS + day * NS_PER_DAY + minute * NS_PER_MINUTE
    made = SymbolBars(
        symbol, SCALE.tick, SCALE.lot, ts_open, ts_open + NS_PER_MINUTE, px_open, high, low,
        close, volume, FIRST_OPEN_NS // NS_PER_DAY + day, day.astype(np.float64),
        (minute + 1).astype(np.float64), (389 - minute).astype(np.float64),
    )  # fmt: skip
    for name in made.__slots__:
        if isinstance(column := getattr(made, name), np.ndarray):
            column.flags.writeable = False
    return made


def _inside(ticks: int) -> int:
    return min(max(ticks, 100), 100_000)


@st.composite
def orders(draw: st.DrawFn, *, symbol: str = "AAA", scale: Scale = SCALE) -> Order:
    """Well-formed orders of every type, on the integers of ``scale``."""
    kind = draw(st.sampled_from(OrderType))
    px = st.integers(1, 100_000)
    has_limit = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    has_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    return Order(
        client_order_id=f"o{draw(st.integers(0, 10**9))}",
        strategy=draw(st.sampled_from(("s1", "s2"))),
        symbol=symbol,
        side=draw(st.sampled_from(Side)),
        lots=draw(st.integers(1, 1_000)),
        type=kind,
        time_in_force=draw(st.sampled_from((TimeInForce.DAY, TimeInForce.GTC))),
        decided_ns=FIRST_OPEN_NS + draw(st.integers(0, 10**6)) * NS_PER_MINUTE,
        scale=scale,
        limit_ticks=draw(px) if has_limit else 0,
        stop_ticks=draw(px) if has_stop else 0,
        trail_ticks=draw(st.integers(1, 1_000)) if kind is OrderType.TRAILING_STOP else 0,
    )


ENDS = (ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED)


@st.composite
def reports(draw: st.DrawFn, order: Order) -> tuple[ExecutionReport, ...]:
    """A legal set of reports on ``order``: accepted, some fills, and sometimes an end.

    Fills have distinct execution ids and sum to at most the order's quantity; a REJECTED comes
    alone. Shuffle and repeat the tuple as you like: every permutation must end in one state.
    """
    now = order.decided_ns

    def report(kind: ReportKind, at: int, **fields: Any) -> ExecutionReport:
        base = ExecutionReport(kind, order.client_order_id, order.symbol, at, venue_order_id="v1")
        return base._replace(**fields)

    end = draw(st.sampled_from((None, *ENDS)))
    if end is ReportKind.REJECTED:
        return (report(end, now, text="rejected"),)
    made = [report(ReportKind.ACCEPTED, now)]
    done = 0
    for i, part in enumerate(draw(st.lists(st.integers(1, order.lots), max_size=4))):
        lots = min(part, order.lots - done)
        if not lots:
            break
        done += lots
        kind = ReportKind.FILL if done == order.lots else ReportKind.PARTIAL_FILL
        at = now + (i + 1) * NS_PER_MINUTE
        made.append(
            report(kind, at, execution_id=f"{order.client_order_id}-{i}", last_lots=lots,
                   last_ticks=draw(st.integers(1, 100_000)), cum_lots=done, ts_fill=at)
        )  # fmt: skip
    if end is not None and done < order.lots:
        made.append(report(end, now + 10 * NS_PER_MINUTE, cum_lots=done))
    return tuple(made)


def portfolios() -> st.SearchStrategy[PortfolioView]:
    """Portfolio views whose money, quantities and open orders agree with each other."""
    return cases(ALL_FIELDS).map(lambda case: case.portfolio)


def limits() -> st.SearchStrategy[LimitValues]:
    """Limit values, from "nothing may pass" to wide, in each field's own unit."""
    return st.builds(
        LimitValues, **{name: st.sampled_from(limit_pool(name)) for name in LimitValues._fields}
    )


def limit_pool(name: str) -> tuple[float, ...]:
    """Return the values tried for one limit, its default first."""
    default = LimitValues._field_defaults[name]
    if "_frac_" in name:
        pool: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
    elif "_usd_" in name:
        pool = (0.0, 100.0, 500.0, 1_000.0, 5_000.0, 25_000.0, 100_000.0)
    elif "_ns_" in name:
        pool = (0.0, 1e9, 60e9, 3600e9, 172_800e9)
    elif name.startswith(("qty", "position_qty")):
        pool = (0.0, 1.0, 5.0, 10.0, 50.0, 100.0, 1_000.0)
    elif name == "multiplier_max":
        pool = (1.0, 2.0, 4.0)
    else:
        pool = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 60.0)
    return (default, *pool)


FREE_FIELDS: dict[str, tuple[float, ...]] = {
    "ref_age_ns": (0.0, 1.0, 1e9, 5e9, 60e9, 3600e9, 86_400e9, 172_800e9, 172_801e9, 1e15),
    "now_ns": (1.7e18, 1.7e18 + 3600e9, 1.7e18 + 86_400e9, 1.8e18),
    "average_volume": (1e6, -1.0, 0.0, 100.0, 1_000.0, 1e4),
    "n_prices": (20.0, 0.0, 4.0, 5.0),
    "ref_confirmed": (0.0, 1.0),
    "multiplier": (1.0, 2.0, 4.0),
    "order_tokens": (10.0, 0.0, 0.5, 1.0, 2.0),
    "last_same_order_age_ns": (INF, 0.0, 5e8, 1e9, 60e9),
    "seen_before": (0.0, 1.0),
    "tripped": (0.0, 1.0),
    "allowed": (1.0, 0.0),
    "denied": (0.0, 1.0),
    "sector_known": (1.0, 0.0),
}
COUNT_FIELDS = ("n_replaces", "orders_last_s", "orders_last_min", "account_orders_last_min",
                "fills_last_min", "messages_last_min", "messages_today", "orders_today",
                "fills_today")  # fmt: skip
COUNTS = (0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 10.0, 11.0, 50.0, 59.0, 60.0, 61.0, 119.0, 120.0, 160.0)
PRICES = (100.0, 1.0, 8.0, 64.0, 250.0)
EQUITIES = (100_000.0, 1_000.0, 10_000.0, 0.0, -100.0, 1_000_000.0)
MONEY = (0.0, 100.0, 1_000.0, 10_000.0, 50_000.0, 100_000.0, 250_000.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 99.0, 100.0, 101.0, 1_000.0, 10_000.0)


@st.composite
def cases(draw: st.DrawFn, reads: Reads) -> Case:
    """Calls with coherent numbers, varied in the fields that the rule reads."""
    ref = draw(st.sampled_from(PRICES))
    near = [abs(c) for c in reads.constants if 0 < abs(c) < 1e7]
    sizes = (*SIZES, *near, *(max(1.0, c // ref) for c in near), *(2 * c for c in near))
    size, signed = st.sampled_from(sizes), st.sampled_from((0.0, *sizes, *(-s for s in sizes)))
    offset = draw(st.sampled_from((None, 1.0, 0.75, 0.95, 1.05, 1.25)))
    order = _order(draw(size), draw(st.sampled_from((1.0, -1.0))), ref, offset)
    portfolio = PORTFOLIO._replace(
        qty=draw(signed), ref_px=ref, equity=draw(st.sampled_from(EQUITIES)),
        open_qty=draw(st.sampled_from((0.0, *sizes))) if draw(st.booleans()) else 0.0,
    )  # fmt: skip
    if reads.has("open_opposite_qty", "open_opposite_px"):
        portfolio = portfolio._replace(
            open_opposite_qty=draw(st.sampled_from((0.0, 1.0, 10.0))),
            open_opposite_px=ref * draw(st.sampled_from((1.0, 0.0, 0.95, 1.05, INF))),
        )
    portfolio = _filled_in(portfolio, order.side, draw(st.sampled_from(MONEY)))
    portfolio = portfolio._replace(**_free(draw, reads, ref))
    limits_drawn = LimitValues()._replace(
        **{name: draw(st.sampled_from((*limit_pool(name), *near))) for name in sorted(reads.limits)}
    )
    return Case(with_reducing(order, portfolio), portfolio, limits_drawn)


def _order(qty: float, side: float, ref: float, offset: float | None) -> OrderView:
    px = ref if offset is None else ref * offset
    return ORDER._replace(
        qty=qty, side=side, px=px, notional=qty * px, limit_px=0.0 if offset is None else px
    )


def _filled_in(portfolio: PortfolioView, side: float, others: float) -> PortfolioView:
    """Make the account's money agree with the symbol's; ``others`` is held elsewhere."""
    p = portfolio
    held, opened = p.qty * p.ref_px, p.open_qty * p.ref_px
    worst = max(abs(p.qty), abs(p.qty + side * p.open_qty), abs(p.qty - side * p.open_opposite_qty))
    n_open = (p.open_qty > 0) + (p.open_opposite_qty > 0)
    return p._replace(
        gross_held=abs(held) + others, net_held=held + others, cash=p.equity - held - others,
        gross=worst * p.ref_px + others, net=held + others + side * opened,
        sector_gross=worst * p.ref_px, open_notional=opened + p.open_opposite_qty * p.ref_px,
        n_open_symbol=float(n_open), n_open_account=float(n_open),
    )  # fmt: skip


def _free(draw: st.DrawFn, reads: Reads, ref: float) -> dict[str, float]:
    drawn = {}
    for name in sorted(reads.portfolio):
        if name in FREE_FIELDS:
            drawn[name] = draw(st.sampled_from((*FREE_FIELDS[name], *reads.constants)))
        elif name in COUNT_FIELDS:
            near = (value for value in reads.constants if 0 <= value < 1e6)
            drawn[name] = draw(st.sampled_from((*COUNTS, *near)))
        elif name in ("n_open_symbol", "n_open_account"):
            drawn[name] = draw(st.sampled_from((0.0, 1.0, 4.0, 5.0, 49.0, 50.0)))
        elif name == "median_px":
            drawn[name] = ref * draw(st.sampled_from((1.0, 0.5, 0.8, 0.84, 1.2, 1.25, 1.3)))
        elif name in ("day_start_equity", "high_water_equity"):
            drawn[name] = draw(st.sampled_from((*EQUITIES, 102_000.0, 101_000.0, 120_000.0)))
        elif name == "day_notional":
            drawn[name] = draw(st.sampled_from(MONEY))
    return drawn


def with_reducing(order: OrderView, portfolio: PortfolioView) -> OrderView:
    """Return the order with ``reducing`` as the manager computes it from the same numbers."""
    closes = portfolio.qty * order.side < 0.0
    fits = order.qty <= abs(portfolio.qty) - portfolio.open_qty
    return order._replace(reducing=1.0 if closes and fits else 0.0)


WILD = (0.0, float("nan"), INF, -INF, -1.0, 1.0, 1e308, -1e308, 5e-324, 0.5, 1e18)
WILD_ORDER = {
    "qty": (1.0, float("nan"), INF, 1e308, 5e-324, 0.5),
    "side": (1.0, -1.0, float("nan")),
    "reducing": (0.0, 1.0),
}


@st.composite
def wild_cases(draw: st.DrawFn, reads: Reads) -> Case:
    """Calls with any float in the fields that the rule reads: NaN, infinities, zeros, extremes."""
    case = draw(cases(reads))
    for where in ("order", "portfolio", "limits"):
        for name in sorted(getattr(reads, where)):
            pool = WILD_ORDER.get(name, WILD) if where == "order" else WILD
            if draw(st.booleans()):
                case = case.replace(where, name, draw(st.sampled_from(pool)))
    return case
