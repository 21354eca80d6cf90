"""Closed round trips from fills, flat to flat, per strategy and symbol.

A round trip opens with the fill that leaves a flat position and closes with the fill that makes
it flat again; everything in between (adding, reducing) belongs to it. A fill that flips the
position closes one trip and opens the next; its fee is split by quantity. A split of the shares
scales the open trip, so that all its prices are on the basis of its exit.

Money here is float64: these frames are statistics, the ledger stays with the log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.errors import UsageError

TRADE_COLUMNS = (
    "strategy", "symbol", "direction", "entry_ts", "exit_ts", "qty", "entry_px", "exit_px",
    "pnl_usd", "return_frac", "fees_usd", "bars_held", "exit_reason",
)  # fmt: skip
OPEN_COLUMNS = (
    "strategy", "symbol", "direction", "entry_ts", "qty", "entry_px", "cash_usd", "fees_usd",
)  # fmt: skip

_SIGN = {"buy": 1.0, "sell": -1.0}


class SplitApplied(NamedTuple):
    """A split that the account went through: ``ratio`` = its quantity after / before.

    The ratio is that of the quantities, rounding included: 33 shares that became 49 in a 3 for 2
    have 49 / 33, or the trip never becomes flat. It precedes every fill with
    ``ts_known >= ts_ns``. ``cash_usd`` was paid for fractions.
    """

    ts_ns: int
    symbol: str
    ratio: float
    cash_usd: float = 0.0


class _Fill(NamedTuple):
    strategy: str
    symbol: str
    signed_qty: float
    px: float
    fee: float
    ts_fill: int
    ts_known: int
    reason: str


class _Trip:
    """One open round trip; ``qty`` is signed, ``cash`` is what it paid and received so far."""

    __slots__ = (
        "cash", "entered_notional", "entered_qty", "exited_notional", "exited_qty", "fees",
        "n_fills", "opened_fill", "peak", "qty",
    )  # fmt: skip

    def __init__(self, fill: _Fill) -> None:
        self.opened_fill = fill
        self.qty = self.cash = self.fees = self.peak = 0.0
        self.entered_qty = self.entered_notional = 0.0
        self.exited_qty = self.exited_notional = 0.0
        self.n_fills = 0

    def add(self, signed_qty: float, px: float, fee: float) -> None:
        notional = signed_qty * px
        if signed_qty * self.opened_fill.signed_qty > 0:
            self.entered_qty += abs(signed_qty)
            self.entered_notional += abs(notional)
        else:
            self.exited_qty += abs(signed_qty)
            self.exited_notional += abs(notional)
        self.qty += signed_qty
        self.cash -= notional + fee
        self.fees += fee
        self.n_fills += 1
        self.peak = max(self.peak, abs(self.qty))

    def is_flat(self) -> bool:
        """Whether what is left is no more than the rounding of float additions."""
        return abs(self.qty) <= 4.0 * sys.float_info.epsilon * self.n_fills * self.peak

    def split(self, ratio: float, cash: float) -> None:
        self.qty *= ratio
        self.peak *= ratio
        self.entered_qty *= ratio
        self.exited_qty *= ratio
        self.cash += cash
        self.n_fills += 1

    @property
    def direction(self) -> str:
        return "long" if self.opened_fill.signed_qty > 0 else "short"


def _nanoseconds(column: pd.Series[pd.Timestamp]) -> list[int]:
    stamps: list[int] = column.dt.as_unit("ns").astype("int64").tolist()
    return stamps


def _rows(fills: pd.DataFrame) -> Iterator[_Fill]:
    unknown = set(fills["side"]) - set(_SIGN)
    if unknown:
        raise UsageError(f"fills: side {unknown.pop()!r} is neither 'buy' nor 'sell'.")
    signed = fills["qty"].astype(float) * fills["side"].map(_SIGN).astype(float)
    columns: tuple[list[Any], ...] = (
        fills["strategy"].tolist(), fills["symbol"].tolist(), signed.tolist(),
        fills["px"].astype(float).tolist(), fills["fee_usd"].astype(float).tolist(),
        _nanoseconds(fills["ts_fill"]), _nanoseconds(fills["ts_known"]),
        fills["reason"].tolist(),
    )  # fmt: skip
    return map(_Fill._make, zip(*columns, strict=True))


def _overshoots(trip: _Trip, fill: _Fill) -> bool:
    """Whether the fill reduces the position by more than there is, rounding left out."""
    if fill.signed_qty * trip.qty >= 0:
        return False
    slack = 4.0 * sys.float_info.epsilon * (trip.n_fills + 1) * trip.peak
    return abs(fill.signed_qty) > abs(trip.qty) + slack


def _apply_split(trips: dict[tuple[str, str], _Trip], split: SplitApplied) -> None:
    touched = [trip for (_, symbol), trip in trips.items() if symbol == split.symbol]
    net = sum(trip.qty for trip in touched)
    for trip in touched:
        trip.split(split.ratio, split.cash_usd * trip.qty / net if net else 0.0)


def _walk(
    fills: Iterable[_Fill], splits: Iterable[SplitApplied]
) -> tuple[list[tuple[_Trip, _Fill]], list[_Trip]]:
    """Return the closed trips with the fill that closed each, and the open ones."""
    trips: dict[tuple[str, str], _Trip] = {}
    closed: list[tuple[_Trip, _Fill]] = []
    waiting = sorted(splits, reverse=True)
    for fill in fills:
        while waiting and waiting[-1].ts_ns <= fill.ts_known:
            _apply_split(trips, waiting.pop())
        key = (fill.strategy, fill.symbol)
        trip = trips.get(key)
        left_qty, left_fee = fill.signed_qty, fill.fee
        if trip is not None and _overshoots(trip, fill):
            closing_fee = fill.fee * (abs(trip.qty) / abs(fill.signed_qty))
            left_qty, left_fee = fill.signed_qty + trip.qty, fill.fee - closing_fee
            trip.add(-trip.qty, fill.px, closing_fee)
            closed.append((trip, fill))
            trip = None
        if trip is None:
            trip = trips[key] = _Trip(fill)
        trip.add(left_qty, fill.px, left_fee)
        if trip.is_flat():
            closed.append((trip, fill))
            del trips[key]
    while waiting:
        _apply_split(trips, waiting.pop())
    return closed, list(trips.values())


def _utc(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    for column in columns:
        stamps = frame[column].astype("int64")
        frame[column] = pd.to_datetime(stamps, unit="ns", utc=True).dt.as_unit("ns")
    return frame


def _bars_held(
    closed: list[tuple[_Trip, _Fill]], closes: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return how many closes each trip was held at, shape (n_trades,)."""
    symbols = np.array([last.symbol for _, last in closed], dtype=object)
    entered = np.array([trip.opened_fill.ts_known for trip, _ in closed], dtype=np.int64)
    left = np.array([last.ts_known for _, last in closed], dtype=np.int64)
    held = np.zeros(len(closed), dtype=np.int64)
    for symbol in set(symbols):
        rows = symbols == symbol
        stamps = closes[symbol]
        held[rows] = np.searchsorted(stamps, left[rows]) - np.searchsorted(stamps, entered[rows])
    return held


def trades(
    fills: pd.DataFrame,
    closes: Mapping[str, NDArray[np.int64]],
    splits: Iterable[SplitApplied] = (),
) -> pd.DataFrame:
    """Return the closed round trips, one a row, in the order in which they closed.

    ``fills`` is a Result's frame in the order of the log: ``strategy, symbol, side`` ("buy" or
    "sell"), ``qty`` > 0, ``px``, ``fee_usd``, ``ts_fill`` and ``ts_known`` (zone-aware),
    ``reason``. ``closes`` holds each symbol's bar closes, int64 ns UTC, ascending.

    Columns: ``strategy, symbol, direction`` ("long" or "short"), ``entry_ts, exit_ts`` (first
    and last ``ts_fill``), ``qty`` (all that was entered), ``entry_px, exit_px`` (averages by
    quantity), ``pnl_usd`` (net of the fees of its fills; dividends, borrow and fees charged by
    the day belong to the account, not to a trade), ``return_frac`` (``pnl_usd`` / entered
    notional), ``fees_usd``, ``bars_held`` (closes at which it was held: 0 when entered and left
    within one bar), ``exit_reason`` (of the last fill).

    Law: the ``pnl_usd`` of these, and ``cash_usd`` + ``qty x mark`` of ``open_trades``, sum to
    the change of equity that the fills caused.
    """
    closed, _ = _walk(_rows(fills), splits)
    rows = []
    for (trip, last), held in zip(closed, _bars_held(closed, closes).tolist(), strict=True):
        first = trip.opened_fill
        rows.append(
            (
                first.strategy, first.symbol, trip.direction, first.ts_fill, last.ts_fill,
                trip.entered_qty, trip.entered_notional / trip.entered_qty,
                trip.exited_notional / trip.exited_qty, trip.cash,
                trip.cash / trip.entered_notional, trip.fees, held, last.reason,
            )
        )  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
    floats = ("qty", "entry_px", "exit_px", "pnl_usd", "return_frac", "fees_usd")
    frame = frame.astype({**dict.fromkeys(floats, "float64"), "bars_held": "int64"})
    return _utc(frame, ("entry_ts", "exit_ts"))


def open_trades(fills: pd.DataFrame, splits: Iterable[SplitApplied] = ()) -> pd.DataFrame:
    """Return the round trips that are still open, in the order in which they opened.

    Columns: ``strategy, symbol, direction, entry_ts``, ``qty`` (signed, what is left),
    ``entry_px``, ``cash_usd`` (received less paid so far, fees included: marked at ``px`` the
    trip has made ``cash_usd + qty * px``), ``fees_usd``.
    """
    _, still_open = _walk(_rows(fills), splits)
    rows = [
        (
            trip.opened_fill.strategy, trip.opened_fill.symbol, trip.direction,
            trip.opened_fill.ts_fill, trip.qty, trip.entered_notional / trip.entered_qty,
            trip.cash, trip.fees,
        )
        for trip in still_open
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(OPEN_COLUMNS))
    floats = ("qty", "entry_px", "cash_usd", "fees_usd")
    return _utc(frame.astype(dict.fromkeys(floats, "float64")), ("entry_ts",))
