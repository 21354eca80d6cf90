"""A made-up run with real shapes: seeded prices, fills two a bar, a ledger kept in cents."""

import numpy as np
import pandas as pd

from mqd import statistics
from mqd.report.data import ReportData
from mqd.report.trades import trades

HOUR_NS = 3_600_000_000_000
CASH = 100_000.0
NASTY = "<script>alert('x')</script> & \"quoted\""


def closes_of(n_bars: int) -> pd.DatetimeIndex:
    """Weekday closes at 21:00 UTC."""
    days = pd.bdate_range("2020-01-01", periods=n_bars, tz="UTC")
    return pd.DatetimeIndex(days + pd.Timedelta(hours=21)).as_unit("ns")


def prices_of(seed: int, index: pd.DatetimeIndex) -> pd.DataFrame:
    """A random walk on cents with high >= open, close >= low."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0.0003, 0.015, len(index)))), 2)
    opened = np.round(np.concatenate(([100.0], close[:-1])) * (1 + rng.normal(0, 0.003)), 2)
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.5
    volume = rng.integers(1_000, 9_000, len(index)).astype(float)
    return pd.DataFrame(
        {"open": opened, "high": high, "low": low, "close": close, "volume": volume}, index=index
    )


def fills_of(symbol: str, prices: pd.DataFrame, every: int) -> list[dict]:
    """Alternate long, flat, short, flat; each change takes two fills within one bar."""
    rows, held, targets = [], 0, [40, 0, -30, 0]
    for count, row in enumerate(range(3, len(prices), every)):
        target = targets[count % len(targets)]
        for part in ((target - held) // 2, (target - held) - (target - held) // 2):
            px = float(prices["open"].iloc[row])
            ts = prices.index[row]
            rows.append(
                {
                    "execution_id": f"{symbol}-{len(rows)}", "order_id": f"{symbol}-o{count}",
                    "strategy": NASTY, "symbol": symbol, "side": "buy" if part > 0 else "sell",
                    "qty": float(abs(part)), "px": px, "fee_usd": 0.35,
                    "ts_fill": ts - pd.Timedelta(HOUR_NS * 6, unit="ns"), "ts_known": ts,
                    "reason": "target",
                }
            )  # fmt: skip
        held = target
    return rows


def ledger_of(
    fills: pd.DataFrame, prices: dict[str, pd.DataFrame], index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Walk bar by bar: cash from fills, positions marked at the close."""
    sign = {"buy": 1.0, "sell": -1.0}
    cash, held = CASH, dict.fromkeys(prices, 0.0)
    money, quantities = [], []
    for ts in index:
        for fill in fills[fills["ts_known"] == ts].to_dict("records"):
            signed = sign[fill["side"]] * fill["qty"]
            held[fill["symbol"]] += signed
            cash -= signed * fill["px"] + fill["fee_usd"]
        values = [held[name] * prices[name]["close"].loc[ts] for name in prices]
        gross, net = sum(abs(value) for value in values), sum(values)
        money.append({"equity": cash + net, "cash": cash, "gross": gross, "net": net})
        quantities.append(dict(held))
    return pd.DataFrame(money, index=index), pd.DataFrame(quantities, index=index)


def report_data(n_bars: int = 300, symbols: tuple[str, ...] = ("AAA", "BBB")) -> ReportData:
    """Return a run of ``n_bars`` daily bars; the strategy's name is hostile HTML."""
    index = closes_of(n_bars)
    prices = {name: prices_of(seed, index) for seed, name in enumerate(symbols)}
    rows = [row for name in symbols for row in fills_of(name, prices[name], every=11)]
    fills = pd.DataFrame(rows).sort_values("ts_known", kind="stable").reset_index(drop=True)
    equity, positions = ledger_of(fills, prices, index)
    closed = trades(fills, {name: frame.index.asi8 for name, frame in prices.items()})
    metrics = statistics.metrics(
        equity["equity"], starting_equity=CASH, periods_per_year=252.0, gross=equity["gross"],
        fill_notional=fills["qty"] * fills["px"], trade_pnl=closed["pnl_usd"],
        fees_usd=float(fills["fee_usd"].sum()), n_orders=fills["order_id"].nunique(),
    )  # fmt: skip
    per_strategy = pd.DataFrame({"total_return_frac": [0.125], "n_trades": [7.0]}, index=[NASTY])
    return ReportData(
        title=f"Walk {NASTY}", subtitle="Made-up prices.", metrics=metrics, starting_equity=CASH,
        periods_per_year=252.0, equity=equity, orders=fills, fills=fills, trades=closed,
        positions=positions, prices=prices, per_strategy=per_strategy,
        assumptions=[("Market orders fill at the next open.", 1234), (NASTY, None)],
        costs={"fees": float(fills["fee_usd"].sum()), "slippage": 12.5},
        identity={"Data": NASTY, "Engine": "event"},
    )  # fmt: skip
