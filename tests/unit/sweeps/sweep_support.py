"""Bars, strategies and a stand-in evaluator that the tests of sweeps share."""

import numpy as np
import pandas as pd

import mqd
from mqd.sweeps.evaluate import blank

DAYS = pd.date_range("2020-01-06", periods=90, freq="B", tz="America/New_York")
DAYS = DAYS[~DAYS.strftime("%m-%d").isin(["01-20", "02-17", "04-10"])]


def walk(symbol, seed, n=60):
    """Return a frame of daily bars of a random walk."""
    chance = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(chance.normal(0, 0.02, n))), 2)
    open_ = np.round(close * np.exp(chance.normal(0, 0.005, n)), 2)
    return pd.DataFrame(
        {
            "symbol": symbol,
            "session": DAYS[:n].date,
            "open": open_,
            "high": np.maximum(open_, close) + 0.5,
            "low": np.minimum(open_, close) - 0.5,
            "close": close,
            "volume": 1_000_000.0,
        }
    )


def small_bars(symbols=("AAA", "BBB"), n=60, seed=1):
    """Return daily bars of random walks."""
    frames = [walk(symbol, seed + place, n) for place, symbol in enumerate(symbols)]
    return mqd.Bars.from_pandas(pd.concat(frames, ignore_index=True), symbols=list(symbols))


class Cross(mqd.Strategy):
    """Long above the mean, with a switch, a name and a width to sweep."""

    fast: int = mqd.param(3, low=1, high=40)
    slow: int = mqd.param(8, low=1, high=2_000)
    band: float = mqd.param(0.0, low=0.0, high=1.0)
    short: bool = False
    mode: str = mqd.param("mean", choices=["mean", "last"])

    def features(self, bars):
        """Return both means."""
        return {
            "fast": mqd.indicators.sma(bars.close, self.fast),
            "slow": mqd.indicators.sma(bars.close, self.slow),
        }

    def decide(self, now, position):
        """Return 1 above the band, -1 or 0 below."""
        if now.fast > now.slow * (1.0 + self.band):
            return 1.0
        return -1.0 if self.short else 0.0


class Broken(mqd.Strategy):
    """Returns no weight for some parameters."""

    level: float = 0.5

    def decide(self, now, position):
        """Return the level, a number in [-1, 1] or not."""
        return self.level


class Marked:
    """Computes numbers that tell which combination and unit they are of, at once.

    ``stop_at``: raise KeyboardInterrupt at that call.
    """

    engine = "compiled"
    notes = ()
    stop_at = None
    calls = 0
    lengths = ()

    def __init__(self, job):
        self._n_units = len(job.units)
        self._salt = len(job.bars.symbols) * 0.001

    def __call__(self, columns):
        cls = type(self)
        cls.calls += 1
        if cls.stop_at is not None and cls.calls >= cls.stop_at:
            raise KeyboardInterrupt
        n = len(next(iter(columns.values())))
        cls.lengths = (*cls.lengths, n)
        out = blank(n * self._n_units)
        numbers = sum(
            place * np.asarray(values, dtype=np.float64)
            for place, values in enumerate(columns.values(), start=1)
        )
        x = np.repeat(numbers, self._n_units) + np.tile(np.arange(self._n_units), n) / 8
        for place, column in enumerate(out.columns.values()):
            column[:] = np.sin(x + place) * 1000 + self._salt
        out.moments[:, :, 0] = 10.0
        out.moments[:, :, 1] = np.sin(x[:, None] * np.arange(1, 17))
        out.moments[:, :, 2] = 1.0 + out.moments[:, :, 1] ** 2
        out.moments[:, :, 3] = out.moments[:, :, 1]
        out.moments[:, :, 4] = 2.0 + out.moments[:, :, 1] ** 4
        return out


def marked(monkeypatch, stop_at=None):
    """Let sweeps compute with ``Marked``; returns the class, whose counters start anew."""
    fresh = type("Marked", (Marked,), {"stop_at": stop_at, "calls": 0, "lengths": ()})
    monkeypatch.setattr("mqd.sweeps.sweep.evaluator", fresh)
    return fresh


LARGE = {"fast": range(1, 41), "slow": range(1, 101)}


def less(p):
    """Keep fast below slow."""
    return p["fast"] < p["slow"]


def chunked(monkeypatch, n):
    """Let a chunk have ``n`` combinations."""
    monkeypatch.setattr("mqd.sweeps.sweep.Plan.chunk", property(lambda _: n))
