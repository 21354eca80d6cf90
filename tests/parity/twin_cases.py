"""Strategies and bars for the comparison of the desk with its twin."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

import mqd

CODES = np.array([1.0, 0.0, -1.0, 0.5, 0.3333333, -0.4, mqd.HOLD, mqd.HOLD, 0.8, np.nan])
LONG_CODES = np.array([1.0, 0.0, 1.0, 0.5, 0.3333333, 0.0, mqd.HOLD, mqd.HOLD, 0.8, np.nan])


def coded(n: int, seed: int, shorts: int, calm: int) -> Any:
    """Return ``n`` weights that look random; one weight lasts ``calm`` bars."""
    rows = np.arange(n) // calm
    noise = np.sin(rows * 12.9898 + seed * 78.233) * 43758.5453
    picks = ((noise - np.floor(noise)) * len(CODES)).astype(int) % len(CODES)
    return (CODES if shorts else LONG_CODES)[picks]


class Coded(mqd.Strategy):
    """Weights that look random, HOLD and NaN among them."""

    seed: int = mqd.param(0, low=0, high=10_000)
    shorts: int = mqd.param(1, low=0, high=1)
    calm: int = mqd.param(2, low=1, high=10)

    def features(self, bars: Any) -> Any:
        """Return the weights, shifted by symbol so that symbols differ."""
        return {"w": coded(len(bars), self.seed + ord(bars.symbol[0]), self.shorts, self.calm)}

    def decide(self, now: Any, position: Any) -> float:
        """Return the coded weight."""
        return now.w


class Watched(Coded):
    """The same, called at every bar because it reads its position."""

    def decide(self, now: Any, position: Any) -> float:
        """Return the coded weight."""
        return now.w + 0.0 * position.qty


class Feeling(mqd.Strategy):
    """Reads every field of its position."""

    entry: float = mqd.param(0.002, low=-0.1, high=0.1)
    patience: int = mqd.param(4, low=1, high=20)

    def features(self, bars: Any) -> Any:
        """Return the last simple return."""
        step = np.full(len(bars), np.nan)
        step[1:] = bars.close[1:] / bars.close[:-1] - 1.0
        return {"step": step}

    def decide(self, now: Any, position: Any) -> float:
        """Enter on a move, leave by time, gain, peak or weight."""
        if position.qty == 0.0:
            if now.step > self.entry:
                return 0.9
            return -0.7 if now.step < -self.entry else mqd.HOLD
        if position.bars_held >= self.patience or position.unrealized_frac > 0.06:
            return 0.0
        if position.qty > 0.0 and now.close < 0.97 * position.peak_px:
            return 0.0
        if position.qty < 0.0 and now.close > 1.03 * position.peak_px:
            return 0.0
        if position.weight > 0.93 or position.weight < -0.75:
            return 0.4 if now.close > position.avg_px else -0.2
        return mqd.HOLD


class Armed(mqd.Strategy):
    """Keeps two numbers from bar to bar."""

    state: ClassVar = {"armed": 0.0, "seen": 0.0}
    every: int = mqd.param(3, low=1, high=9)

    def decide(self, now: Any, position: Any, state: Any) -> float:
        """Change sides after ``every`` bars, HOLD in between."""
        state.seen = state.seen + 1.0
        if state.seen < self.every:
            return mqd.HOLD
        state.seen = 0.0
        state.armed = 1.0 - state.armed
        return 0.95 if state.armed > 0.0 else -0.5


class Shares(mqd.Strategy):
    """Coded weights for all symbols at once, their sum at most 1."""

    seed: int = mqd.param(0, low=0, high=10_000)
    calm: int = mqd.param(2, low=1, high=10)

    def features(self, bars: Any) -> Any:
        """Return the weights."""
        return {"w": coded(len(bars), self.seed + ord(bars.symbol[0]), 1, self.calm)}

    def allocate(self, now: Any, positions: Any) -> Any:
        """Return the coded weights over the number of symbols; 0 where nothing is known."""
        weights = np.zeros(len(now.w))
        for i in range(len(now.w)):
            if not now.tradable[i]:
                weights[i] = mqd.HOLD if positions.qty[i] > 0.0 else 0.0
            elif now.w[i] == mqd.HOLD:
                weights[i] = mqd.HOLD
            else:
                weights[i] = now.w[i] / len(now.w)
        return weights


SESSIONS = [
    day.date() for day in pd.bdate_range("2026-03-16", "2026-06-30")
    if str(day.date()) not in ("2026-04-03", "2026-05-25", "2026-06-19")
]  # fmt: skip


def stamps_of(frame: str) -> list[pd.Timestamp]:
    """Return starts of bars: "1day" or "30min" of XNYS, "60min" of a market that never closes."""
    if frame == "60min":
        return list(pd.date_range("2026-03-27", periods=24 * 12, freq="60min", tz="UTC"))
    opens = [pd.Timestamp(f"{day} 13:30", tz="UTC") for day in SESSIONS]
    if frame == "1day":
        return opens
    return [day + pd.Timedelta(minutes=30 * i) for day in opens for i in range(13)]


def bars_of(
    columns: dict[str, list[tuple[Any, ...]]],
    actions: list[Any],
    frame: str = "1day",
    **words: Any,
) -> Any:
    """Return bars from rows ``(place in stamps_of, open, high, low, close, volume)``."""
    stamps = stamps_of(frame)
    rows = [
        {"symbol": s, "timestamp": stamps[i], "open": o, "high": h, "low": lo, "close": c,
         "volume": v}
        for s, lines in columns.items() for i, o, h, lo, c, v in lines
    ]  # fmt: skip
    listed = pd.DataFrame(
        [{"symbol": s, "ex_date": str(stamps[i].date()), "kind": k, "ratio": r, "amount": a}
         for s, i, k, r, a in actions],
        columns=["symbol", "ex_date", "kind", "ratio", "amount"],
    )  # fmt: skip
    table = pd.DataFrame(rows)
    if frame == "1day":
        table = table.assign(session=[t.date() for t in table.timestamp]).drop(columns="timestamp")
    return mqd.Bars.from_pandas(
        table, actions=listed if actions else None, symbols=list(columns), timeframe=frame,
        calendar="24/7" if frame == "60min" else "XNYS", **words,
    )  # fmt: skip
