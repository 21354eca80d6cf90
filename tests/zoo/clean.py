"""Strategies that look at the past alone, close to those that do not. None may raise an alarm."""

import math
from decimal import Decimal
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import signal as filters

import mqd
from mqd.strategy.library import NAMES
from mqd.strategy.loading import resolve
from tests.zoo.base import Signal, animals, by_time, series

TAPS = tuple(0.1 * k for k in range(10))
HOLIDAYS_AHEAD = frozenset({"2006-11-23", "2007-11-22", "2008-11-27", "2009-11-26"})
LEVELS = {"low": 0.2, "high": 0.8}


@lru_cache(maxsize=8)
def weights_of(n):
    return tuple(math.exp(-k / n) for k in range(n))


class ExpandingZScore(Signal):
    def signal(self, bars):
        past = series(bars.close).expanding(60)
        return (past.mean() - bars.close) / past.std()


class YesterdaysClose(Signal):
    def signal(self, bars):
        return bars.close - series(bars.close).shift(1)


class RolledForward(Signal):
    def signal(self, bars):
        before = np.roll(bars.close, 1)
        before[0] = np.nan
        return bars.close - before


class RollingQuantile(Signal):
    def signal(self, bars):
        return series(bars.close).rolling(60).quantile(0.4) - bars.close


class RollingRank(Signal):
    def signal(self, bars):
        return 0.5 - series(bars.close).rolling(60).rank(pct=True)


class Exponential(Signal):
    def signal(self, bars):
        close = series(bars.close)
        return close.ewm(span=10).mean() - close.ewm(span=40).mean()


class Kalman(Signal):
    """A local level filtered forward, one state after the other."""

    def signal(self, bars):
        level, variance = float(bars.close[0]), 1.0
        out = np.empty(len(bars))
        for row, seen in enumerate(bars.close.tolist()):
            variance += 0.05
            gain = variance / (variance + 1.0)
            level += gain * (seen - level)
            variance *= 1.0 - gain
            out[row] = seen - level
        return out


class SessionVwap(Signal):
    data = "minute"

    def signal(self, bars):
        return mqd.indicators.session_vwap(bars) - bars.close


class OpeningRange(Signal):
    """The high of the first half hour, known from its end on."""

    data = "minute"

    def signal(self, bars):
        early = bars.minutes_from_open <= 30
        high = series(np.where(early, bars.high, np.nan)).groupby(np.array(bars.session)).cummax()
        known = high.groupby(np.array(bars.session)).ffill()
        return np.where(early, 0.0, bars.close - known)


class YesterdaysHigh(Signal):
    data = "minute"

    def signal(self, bars):
        daily = series(bars.high).groupby(np.array(bars.session)).max()
        return bars.close - daily.shift(1).reindex(np.array(bars.session)).to_numpy()


class HighSoFar(Signal):
    data = "minute"

    def signal(self, bars):
        return bars.close - 0.999 * series(bars.high).groupby(np.array(bars.session)).cummax()


class HeikinAshi(Signal):
    def signal(self, bars):
        close = (bars.open + bars.high + bars.low + bars.close) / 4.0
        opened = close.copy()
        for row in range(1, len(bars)):
            opened[row] = (opened[row - 1] + close[row - 1]) / 2.0
        return close - opened


class SumFromTheAnchor(Signal):
    def signal(self, bars):
        moves = np.diff(bars.close, prepend=bars.close[:1])
        return np.cumsum(np.sign(moves) * bars.volume)


class CompletedWeeks(Signal):
    """Weekly closes, joined to the days after the week's end."""

    def signal(self, bars):
        close = by_time(bars)
        weekly = close.resample("W-SAT", label="right").last()
        ended = weekly[weekly.index <= close.index[-1]]
        return close - ended.reindex(close.index, method="ffill")


class HolidaysAhead(Signal):
    """The calendar is known in advance: that a holiday comes is no leak."""

    def signal(self, bars):
        days = pd.to_datetime(bars.session + 1, unit="D").strftime("%Y-%m-%d")
        return np.array([day in HOLIDAYS_AHEAD for day in days]) - 0.5


class MinutesLeft(Signal):
    data = "minute"

    def signal(self, bars):
        return 60.0 - bars.minutes_to_close


class CausalFilter(Signal):
    def signal(self, bars):
        return filters.lfilter(*filters.butter(2, 0.05), bars.close) - bars.close


class FewTaps(Signal):
    """A module's constants, and a cache of what depends on its argument alone."""

    def signal(self, bars):
        taps = np.array(TAPS) + np.array(weights_of(10))
        return np.convolve(bars.close, taps / taps.sum())[: len(bars)] - bars.close


class RollingSlope(Signal):
    def signal(self, bars):
        x = np.arange(30) - 14.5
        windows = np.lib.stride_tricks.sliding_window_view(bars.close, 30)
        slope = (windows * x).sum(axis=1) / (x * x).sum()
        return np.concatenate([np.full(29, np.nan), slope])


class RefittedEachMonth(Signal):
    """A regression on the past, fitted anew every 21 bars."""

    def signal(self, bars):
        moves = np.append(0.0, np.diff(bars.close) / bars.close[:-1])
        out = np.full(len(bars), np.nan)
        for row in range(63, len(bars), 21):
            past = moves[row - 63 : row]
            slope = float((past[1:] * past[:-1]).sum() / (past * past).sum())
            out[row : row + 21] = slope * moves[row : row + 21]
        return out


class SeededNoise(Signal):
    def signal(self, bars):
        return np.random.default_rng(7).standard_normal(len(bars))


class DividendsPaid(Signal):
    """Dividends whose ex-date has come."""

    data = "raw"

    def signal(self, bars):
        paid = np.zeros(len(bars))
        for action in bars.actions:
            if action.kind == "split":
                paid[bars.ts_open >= action.ts_ex] += 1.0
        return 0.5 - paid


class OwnCopies(Signal):
    """Writes to copies, to locals of the names of methods, and to a nested function's cells."""

    def signal(self, bars):
        close = bars.close
        close = close.copy()
        close[:20] = np.nan
        kept = []
        kept.append(close)
        total = 0.0

        def add(value):
            nonlocal total
            total += value
            return total

        sums = [add(value) for value in np.nan_to_num(close).tolist()]
        out = {"a": np.array(sums)}
        out["a"] = bars.close - out["a"] / np.arange(1, len(bars) + 1)
        return out["a"]


class StateMachine(mqd.Strategy):
    """Armed by a fall, fired by a rise: state kept in the declared record."""

    state = {"armed": 0.0}  # noqa: RUF012 - how states are declared

    def features(self, bars):
        return {"move": mqd.indicators.returns(bars.close)}

    def decide(self, now, position, state):
        if now.move < -0.02:
            state.armed = 1.0
        if state.armed > 0.0 and now.move > 0.0:
            state.armed = 0.0
            return 1.0
        return mqd.HOLD if position.bars_held < 5.0 else 0.0


class Exits(mqd.Strategy):
    """Stops and targets of the engine, and an exit by time of its own."""

    stop_loss_frac: float = mqd.param(0.03)
    take_profit_frac: float = mqd.param(0.04)

    def features(self, bars):
        return {"rsi": mqd.indicators.rsi(bars.close, 5)}

    def decide(self, now, position):
        if position.bars_held > 10.0 or position.unrealized_frac < -0.02:
            return 0.0
        return 1.0 if now.rsi < 30.0 else mqd.HOLD


class LongAndShort(mqd.Strategy):
    def features(self, bars):
        return {"z": mqd.indicators.zscore(bars.close, 40)}

    def decide(self, now, position):
        return max(-1.0, min(1.0, -now.z / 3.0))


class RanksPerBar(mqd.Strategy):
    data = "several"

    def features(self, bars):
        return {"strength": mqd.indicators.roc(bars.close, 20)}

    def allocate(self, now, positions):
        n = len(now.strength)
        weights = np.zeros(n)
        for one in range(n):
            above = 0
            for other in range(n):
                if now.tradable[other] and now.strength[other] > now.strength[one]:
                    above += 1
            if now.tradable[one] and above < 2:
                weights[one] = 0.4
        return weights


class PlainPython(mqd.Strategy):
    """A rule that numba cannot compile: it reads a dict of constants by text."""

    def features(self, bars):
        return {"place": series(bars.close).rolling(30).rank(pct=True).to_numpy()}

    def decide(self, now, position):
        name = "high" if now.place > 0.5 else "low"
        return 1.0 if now.place < LEVELS[f"{name}"] else 0.0


class CountsOnBar(mqd.Strategy):
    """An event strategy that keeps what it needs on itself."""

    def on_start(self, desk):
        self.closes = []

    def on_bar(self, desk, bar):
        self.closes.append(bar.close)
        if len(self.closes) % 40 == 0:
            rises = self.closes[-1] > self.closes[-20]
            held = desk.broker.position(bar.symbol).qty > 0
            if rises != held:
                side = mqd.Side.BUY if rises else mqd.Side.SELL
                desk.broker.submit(mqd.OrderRequest(symbol=bar.symbol, side=side, qty=Decimal(10)))


def library():
    found = []
    own = (one for one in NAMES if one != "model_signal")  # that one asks a model
    for name in own:
        kind = resolve(name)
        data = {"vwap_reversion": "minute", "momentum_rotation": "several"}.get(name, "daily")
        found.append(type(kind.__name__, (kind,), {"data": data, "__module__": kind.__module__}))
    return found


CLEAN = [*library(), *animals(globals())]
