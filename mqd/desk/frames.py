"""Pandas frames of a run from its columns; the integers become floats here and nowhere before.

Desk and compiled loop leave the same columns (``Orders``, ``Fills``, cash and lots a step), so
their frames cannot differ in anything but ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from mqd.core.bar import Floats, Ints
from mqd.core.clock import iso
from mqd.core.money import MOST_QUANTA, Scale
from mqd.errors import BOOKS, AmountTooLarge

_SIDES = ("buy", "sell")
_FLOAT_EXACT = 2**53


class Orders(NamedTuple):
    """Columns over a run's orders, in the order of decision.

    Text columns are pandas string arrays; the others int64: ``place`` the symbol's place in the
    run, ``side`` +1 or -1, prices in ticks (0: none), quantities in lots, times in ns.
    ``booked_lots`` and ``notional_ticks`` (sum of lots x ticks) are those of its executions.
    """

    id: ExtensionArray
    strategy: ExtensionArray
    place: Ints
    side: Ints
    lots: Ints
    type: ExtensionArray
    limit_ticks: Ints
    stop_ticks: Ints
    time_in_force: ExtensionArray
    reason: ExtensionArray
    decided_ns: Ints
    status: ExtensionArray
    filled_lots: Ints
    booked_lots: Ints
    notional_ticks: Ints


class Fills(NamedTuple):
    """Columns over a run's executions, in the order of the log; units as in ``Orders``."""

    execution_id: ExtensionArray
    order_id: ExtensionArray
    strategy: ExtensionArray
    place: Ints
    side: Ints
    lots: Ints
    ticks: Ints
    fee_quanta: Ints
    ts_fill: Ints
    ts_known: Ints
    reason: ExtensionArray


class Units:
    """What a run's integers are divided by to become shares, prices and USD, by place."""

    def __init__(self, scales: Mapping[str, Scale]) -> None:
        self.symbols = tuple(scales)
        self.scales = tuple(scales.values())
        self.lots: Floats = np.array([float(1 / scale.lot) for scale in self.scales])
        self.ticks: Floats = np.array([float(1 / scale.tick) for scale in self.scales])
        self.quanta = float(1 / self.scales[0].quantum)


def words(values: Sequence[str]) -> ExtensionArray:
    """Return text as the array that a frame keeps it in, whether there is any or not."""
    return pd.array(values, dtype="str")


def coded(table: Sequence[str], codes: Ints) -> ExtensionArray:
    """Return the text at each place of ``table``."""
    return words(table).take(codes)


def stamps(ts_ns: Any) -> pd.DatetimeIndex:
    """Return int64 nanoseconds as a zone-aware UTC index."""
    return pd.DatetimeIndex(np.asarray(ts_ns, dtype="datetime64[ns]")).tz_localize("UTC")


def _side(side: Ints) -> ExtensionArray:
    return coded(_SIDES, (side < 0).astype(np.intp))


def _prices(ticks: Ints, per: Floats) -> Floats:
    """Return prices, NaN where there are 0 ticks: none."""
    prices: Floats = np.where(ticks != 0, ticks / per, np.nan)
    return prices


def _average(notional: Ints, lots: Ints) -> Floats:
    """Return notional / lots, rounded once; NaN without lots.

    Above 2**53 a float cannot hold either of them, and Python divides the integers.
    """
    ratio = np.full(len(lots), np.nan)
    np.divide(notional, lots, out=ratio, where=lots != 0)
    for row in np.flatnonzero((notional > _FLOAT_EXACT) & (lots != 0)).tolist():
        ratio[row] = int(notional[row]) / int(lots[row])
    return ratio


def order_frame(orders: Orders, units: Units) -> pd.DataFrame:
    """Return every order, in the order of decision; quantities and prices as float."""
    lots, ticks = units.lots[orders.place], units.ticks[orders.place]
    return pd.DataFrame(
        {
            "id": orders.id,
            "strategy": orders.strategy,
            "symbol": coded(units.symbols, orders.place),
            "side": _side(orders.side),
            "qty": orders.lots / lots,
            "type": orders.type,
            "limit_px": _prices(orders.limit_ticks, ticks),
            "stop_px": _prices(orders.stop_ticks, ticks),
            "time_in_force": orders.time_in_force,
            "reason": orders.reason,
            "decided": stamps(orders.decided_ns),
            "status": orders.status,
            "filled_qty": orders.filled_lots / lots,
            "avg_px": _average(orders.notional_ticks, orders.booked_lots) / ticks,
        }
    )


def fill_frame(fills: Fills, units: Units) -> pd.DataFrame:
    """Return every execution in the order of the log."""
    return pd.DataFrame(
        {
            "execution_id": fills.execution_id,
            "order_id": fills.order_id,
            "strategy": fills.strategy,
            "symbol": coded(units.symbols, fills.place),
            "side": _side(fills.side),
            "qty": fills.lots / units.lots[fills.place],
            "px": fills.ticks / units.ticks[fills.place],
            "fee_usd": fills.fee_quanta / units.quanta,
            "ts_fill": stamps(fills.ts_fill),
            "ts_known": stamps(fills.ts_known),
            "reason": fills.reason,
        }
    )


def known_closes(closes: Ints, last_rows: Ints) -> Ints:
    """Return a symbol's last known close in ticks at every step, 0 before its first bar."""
    known: Ints = np.where(last_rows >= 0, closes[np.maximum(last_rows, 0)], 0)
    return known


def curves(
    ts_close: Ints, cash: Ints, lots: Ints, closes: Sequence[Ints], units: Units
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return equity (``equity, cash, gross, net`` in USD) and positions at every bar's close.

    ``cash`` in quanta, ``lots`` (n_steps, n_symbols), ``closes`` in ticks a symbol and step.
    Raises ``AmountTooLarge`` with the first bar whose sums are above ``MOST_QUANTA``.
    """
    net = np.zeros(len(ts_close), dtype=np.int64)
    gross = np.zeros(len(ts_close), dtype=np.int64)
    fits = np.abs(cash) <= MOST_QUANTA
    for place, scale in enumerate(units.scales):
        lot_quanta = closes[place] * scale.tick_lot_quanta
        held = lots[:, place]
        fits &= np.abs(held.astype(np.float64)) * lot_quanta.astype(np.float64) <= MOST_QUANTA
        value = held * lot_quanta
        net += value
        gross += np.abs(value)
        fits &= gross <= MOST_QUANTA
    fits &= np.abs(cash + net) <= MOST_QUANTA
    if not fits.all():
        bar = iso(int(ts_close[int(np.argmin(fits))]))
        raise AmountTooLarge(BOOKS, bar, MOST_QUANTA / units.quanta)
    index = stamps(ts_close)
    index.name = "ts_close"
    columns = {"equity": cash + net, "cash": cash, "gross": gross, "net": net}
    money = {name: column / units.quanta for name, column in columns.items()}
    quantities = dict(zip(units.symbols, (lots / units.lots).T, strict=True))
    return pd.DataFrame(money, index=index), pd.DataFrame(quantities, index=index)
