"""Pandas frames of a desk that has run; the integers become floats here and nowhere before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mqd.core.bar import Floats, Ints
from mqd.core.money import Scale
from mqd.core.order import Side
from mqd.desk.loop import Desk
from mqd.desk.records import SIDE_WORD
from mqd.portfolio.attribution import Share

ORDER_COLUMNS = (
    "id", "strategy", "symbol", "side", "qty", "type", "limit_px", "stop_px", "time_in_force",
    "reason", "decided", "status", "filled_qty", "avg_px",
)  # fmt: skip
FILL_COLUMNS = (
    "execution_id", "order_id", "strategy", "symbol", "side", "qty", "px", "fee_usd", "ts_fill",
    "ts_known", "reason",
)  # fmt: skip


def stamps(ts_ns: Any) -> pd.DatetimeIndex:
    """Return int64 nanoseconds as a zone-aware UTC index."""
    return pd.DatetimeIndex(np.asarray(ts_ns, dtype="datetime64[ns]")).tz_localize("UTC")


def _frame(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str], times: Sequence[str]
) -> pd.DataFrame:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    held: dict[str, Any] = dict(zip(columns, map(list, values), strict=True))
    for name in times:
        held[name] = stamps(np.array(held[name], dtype=np.int64))
    return pd.DataFrame(held)


class _Units(NamedTuple):
    """What one symbol's integers are divided by to become shares, prices and USD."""

    lots: float
    ticks: float
    quanta: float

    @staticmethod
    def of(scale: Scale) -> _Units:
        return _Units(float(1 / scale.lot), float(1 / scale.tick), float(1 / scale.quantum))


def _units(desk: Desk) -> dict[str, _Units]:
    return {symbol: _Units.of(scale) for symbol, scale in desk.parts.valuation.scales.items()}


def orders(desk: Desk) -> pd.DataFrame:
    """Return every order, in the order of decision; quantities and prices as float."""
    rows, units = [], _units(desk)
    nan = float("nan")
    for state in desk.parts.machine.states():
        order = state.order
        unit = units[order.symbol]
        limit, stop = order.limit_ticks, order.stop_ticks
        booked = state.booked_lots
        rows.append(
            (
                order.client_order_id, order.strategy, order.symbol, SIDE_WORD[order.side],
                order.lots / unit.lots, str(order.type), limit / unit.ticks if limit else nan,
                stop / unit.ticks if stop else nan, str(order.time_in_force), str(order.reason),
                order.decided_ns, str(state.status), state.cum_lots / unit.lots,
                state.notional / booked / unit.ticks if booked else nan,
            )
        )  # fmt: skip
    return _frame(rows, ORDER_COLUMNS, ("decided",))


def fills(desk: Desk) -> pd.DataFrame:
    """Return every execution in the order of the log."""
    rows, units = [], _units(desk)
    for report, order in desk.parts.hearing.fills:
        unit = units[order.symbol]
        rows.append(
            (
                report.execution_id, order.client_order_id, order.strategy, order.symbol,
                SIDE_WORD[order.side], report.last_lots / unit.lots,
                report.last_ticks / unit.ticks, report.fee_quanta / unit.quanta,
                report.ts_fill, report.ts_ns, str(order.reason),
            )
        )  # fmt: skip
    return _frame(rows, FILL_COLUMNS, ("ts_fill", "ts_known"))


def owned_fills(desk: Desk, market_fills: pd.DataFrame) -> pd.DataFrame:
    """Return the fills by the strategy they belong to: netted orders split, crosses included."""
    shares = desk.parts.hearing.shares
    if not shares and not desk.crossed:
        return market_fills
    reasons = dict(zip(market_fills["order_id"], market_fills["reason"], strict=True))
    rows = [
        _share_row(desk, share, report.execution_id, (report.ts_fill, report.ts_ns), reason)
        for report, share in shares
        for reason in (reasons[report.client_order_id],)
    ]
    rows += [_share_row(desk, share, "", when, "target") for when, share in desk.crossed]
    rows.sort(key=lambda row: row[9])
    return _frame(rows, FILL_COLUMNS, ("ts_fill", "ts_known"))


def _share_row(
    desk: Desk, share: Share, name: str, when: tuple[int, int], reason: str
) -> tuple[Any, ...]:
    scale = desk.parts.valuation.scales[share.symbol]
    ticks = share.lot_quanta // scale.tick_lot_quanta
    side = Side.BUY if share.lots > 0 else Side.SELL
    return (
        name, "", share.strategy, share.symbol, SIDE_WORD[side], float(abs(share.lots) * scale.lot),
        float(ticks * scale.tick), float(share.fee * scale.quantum), *when, reason,
    )  # fmt: skip


def curves(desk: Desk, start_cash: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return equity (``equity, cash, gross, net`` in USD) and positions at every bar's close."""
    market, valuation = desk.parts.market, desk.parts.valuation
    cash, lots = desk.curve.spread(market.n_steps, start_cash)
    net = np.zeros(market.n_steps, dtype=np.int64)
    gross = np.zeros(market.n_steps, dtype=np.int64)
    quantities: dict[str, Floats] = {}
    for place, symbol in enumerate(market.symbols):
        scale = valuation.scales[symbol]
        value = lots[:, place] * _closes(desk, place, symbol) * scale.tick_lot_quanta
        net += value
        gross += np.abs(value)
        quantities[symbol] = lots[:, place] / float(1 / scale.lot)
    index = stamps(np.asarray(market.ts_close))
    index.name = "ts_close"
    units = float(1 / valuation.quantum)
    columns = {"equity": cash + net, "cash": cash, "gross": gross, "net": net}
    equity = pd.DataFrame({name: column / units for name, column in columns.items()}, index=index)
    return equity, pd.DataFrame(quantities, index=index)


def _closes(desk: Desk, place: int, symbol: str) -> Ints:
    """Return a symbol's last known close in ticks at every step, 0 before its first bar."""
    market = desk.parts.market
    rows = market.last_rows_of(place)
    closes = np.asarray(market.tapes[symbol].close)[np.maximum(rows, 0)]
    out: Ints = np.where(rows >= 0, closes, 0)
    return out
