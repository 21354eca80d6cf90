"""One tested span of a walk-forward: its equity, fills and trades, closed at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from mqd import statistics
from mqd.core.money import Scale, rate_units
from mqd.desk.assumptions import assumptions
from mqd.execution.costs import RegulatoryDay, fill_fee, per_lot_parts, worsened
from mqd.market_data.bars import Bars
from mqd.report.trades import trades
from mqd.result import Result

WINDOW_END: Final = "window_end"
CENT_PARTS: Final = Decimal("0.000001")
"""Money is carried from window to window in millionths of the currency."""
COUNTED: Final = ("n_orders", "n_denied", "ambiguous_bars", "capped_fills", "trimmed_fills")


@dataclass(frozen=True, eq=False)
class Segment:
    """What was traded in one tested span, everything closed at its end.

    ``equity``: as ``Result.equity``, tested bars only, the last row after the closing. ``fills``
    and ``trades``: with the closings, reason "window_end". ``money``: what is left, the cash of
    the next window. ``n_closed``: positions that the end closed.
    """

    equity: pd.DataFrame
    fills: pd.DataFrame
    trades: pd.DataFrame
    starting_equity: float
    money: Decimal
    fees_usd: float
    counted: Mapping[str, float]
    n_closed: int
    closing_usd: float
    periods_per_year: float
    assumptions: Sequence[tuple[str, int | None]]
    notes: tuple[str, ...]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of ``mqd.statistics`` over the tested span."""
        return metrics_of([self])


def metrics_of(segments: Sequence[Segment]) -> dict[str, float]:
    """Return the metrics of segments that follow each other, as of one run."""
    equity = pd.concat([one.equity for one in segments])
    fills = pd.concat([one.fills for one in segments])
    closed = pd.concat([one.trades for one in segments])
    return statistics.metrics(
        equity["equity"].to_numpy(), starting_equity=segments[0].starting_equity,
        periods_per_year=segments[-1].periods_per_year, gross=equity["gross"].to_numpy(),
        fill_notional=(fills["qty"] * fills["px"]).to_numpy(dtype=np.float64),
        trade_pnl=closed["pnl_usd"].to_numpy(dtype=np.float64),
        fees_usd=sum(one.fees_usd for one in segments),
        **{name: int(sum(one.counted[name] for one in segments)) for name in COUNTED},
    )  # fmt: skip


def closed_at_the_end(result: Result, tested: Bars) -> Segment:
    """Return the part of a run over the ``tested`` bars, what it held sold at their last close.

    They are the last ones of the run's bars, and nothing may have been traded before them. A
    closing fills at the symbol's last close, worsened by slippage to the tick against us, and
    pays its own fee and the regulatory fees.
    """
    closings, slipped = _closings(result)
    fees = float(closings["fee_usd"].sum())
    fills = (
        pd.concat([result.fills, closings], ignore_index=True) if len(closings) else result.fills
    )
    closes = {symbol: result.bars[symbol].ts_close for symbol in result.bars.symbols}
    first = min(int(tested[symbol].ts_close[0]) for symbol in tested.symbols)
    equity = _since(result.equity, first)
    money = _carried(float(equity["equity"].iloc[-1]) - slipped - fees)
    equity.iloc[-1] = [float(money), float(money), 0.0, 0.0]
    metrics = result.metrics
    return Segment(
        equity=equity,
        fills=fills,
        trades=trades(fills, closes, result.source.splits),
        starting_equity=result.starting_equity,
        money=money,
        fees_usd=float(metrics["fees_usd"]) + fees,
        counted={name: float(metrics[name]) for name in COUNTED},
        n_closed=len(closings),
        closing_usd=slipped + fees,
        periods_per_year=result.periods_per_year,
        assumptions=assumptions(result.source, result.terms, tested),
        notes=result.notes,
    )


def idle(bars: Bars, money: Decimal) -> Segment:
    """Return a segment over tested bars in which nothing is traded."""
    closes = np.unique(np.concatenate([bars[symbol].ts_close for symbol in bars.symbols]))
    index = pd.DatetimeIndex(pd.to_datetime(closes, unit="ns", utc=True), name="ts_close")
    flat = {"equity": float(money), "cash": float(money), "gross": 0.0, "net": 0.0}
    none: dict[str, Any] = {name: np.zeros(0) for name in ("qty", "px", "pnl_usd")}
    return Segment(
        equity=pd.DataFrame(flat, index=index.as_unit("ns")),
        fills=pd.DataFrame({"qty": none["qty"], "px": none["px"]}),
        trades=pd.DataFrame({"pnl_usd": none["pnl_usd"]}),
        starting_equity=float(money),
        money=money,
        fees_usd=0.0,
        counted=dict.fromkeys(COUNTED, 0.0),
        n_closed=0,
        closing_usd=0.0,
        periods_per_year=bars.bars_per_session * bars.sessions_per_year,
        assumptions=(),
        notes=(),
    )


def _carried(equity: float) -> Decimal:
    return Decimal(str(equity)).quantize(CENT_PARTS, ROUND_HALF_EVEN)


def _since(equity: pd.DataFrame, since_ns: int) -> pd.DataFrame:
    closes = pd.DatetimeIndex(equity.index).as_unit("ns").asi8
    return equity.iloc[int(np.searchsorted(closes, since_ns)) :].copy()


def _closings(result: Result) -> tuple[pd.DataFrame, float]:
    """Return the closing fills in the columns of ``Result.fills``, and what slippage took."""
    held = result.positions.iloc[-1]
    end = result.positions.index[-1]
    rows, slipped = [], 0.0
    for symbol in (name for name in result.bars.symbols if held[name]):
        row, cost = _closing(result, symbol, float(held[symbol]))
        rows.append(row | {"ts_fill": end, "ts_known": end})
        slipped += cost
    columns = list(result.fills.columns)
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(result.fills.dtypes.to_dict()) if rows else frame, slipped


def _closing(result: Result, symbol: str, qty: float) -> tuple[dict[str, Any], float]:
    bars, costs = result.bars[symbol], result.terms.costs
    scale = Scale.of(bars.tick, bars.lot, Decimal(str(result.terms.unit)))
    lots, side = round(abs(qty) / float(bars.lot)), -1 if qty > 0 else 1
    close = int(bars.ticks("close")[-1])
    ticks = worsened(close, side, rate_units(costs.slippage_bps))
    notional = ticks * lots * scale.tick_lot_quanta
    per_lot = per_lot_parts(costs.fee_per_share, scale)
    fee = fill_fee(notional, lots, rate_units(costs.fee_bps), per_lot)
    if costs.regulatory:
        day = RegulatoryDay(scale.quantum)
        day.add(int(bars.session[-1]), side, lots, notional, scale)
        fee += day.charge()
    slipped = abs(ticks - close) * lots * scale.tick_lot_quanta
    ident = f"{WINDOW_END}-{symbol}-{int(bars.ts_close[-1])}"
    row = {
        "execution_id": ident, "order_id": ident, "strategy": result.strategies[0][0],
        "symbol": symbol, "side": "sell" if side < 0 else "buy", "qty": abs(qty),
        "px": float(scale.px(ticks)), "fee_usd": float(fee * scale.quantum),
        "reason": WINDOW_END,
    }  # fmt: skip
    return row, float(slipped * scale.quantum)
