"""Strategies that look ahead, each in a way seen in the wild. Every one must be caught."""

import numpy as np
import pandas as pd
from scipy import signal as filters

import mqd
from tests.zoo.base import Signal, animals, by_time, series


class MinMaxOverAll(Signal):
    def signal(self, bars):
        low, high = bars.close.min(), bars.close.max()
        return 0.5 - (bars.close - low) / (high - low)


class CentredMean(Signal):
    def signal(self, bars):
        return series(bars.close).rolling(21, center=True).mean() - bars.close


class CentredTriangle(Signal):
    def signal(self, bars):
        return np.convolve(bars.close, np.ones(5) / 5, mode="same") - bars.close


class NextClose(Signal):
    def signal(self, bars):
        return series(bars.close).shift(-1) - bars.close


class NextCloseFilled(Signal):
    def signal(self, bars):
        return series(bars.close).shift(-1).ffill() - bars.close


class NextReturn(Signal):
    def signal(self, bars):
        return -series(bars.close).pct_change(-1)


class RolledBack(Signal):
    def signal(self, bars):
        return np.roll(bars.close, -1) - bars.close


class Gradient(Signal):
    def signal(self, bars):
        return np.gradient(bars.close)


class WeekLabelledAtItsStart(Signal):
    def signal(self, bars):
        close = by_time(bars)
        weekly = close.resample("W", label="left").last()
        return weekly.reindex(close.index, method="ffill") - close


class MonthLastJoined(Signal):
    def signal(self, bars):
        close = by_time(bars)
        return close.groupby([close.index.year, close.index.month]).transform("last") - close


class FutureSplits(Signal):
    """Adjusts raw prices by every split in the data, at every bar."""

    data = "raw"

    def signal(self, bars):
        factor = np.ones(len(bars))
        for action in bars.actions:
            if action.kind == "split":
                ratio = action.numerator / action.denominator
                factor[bars.ts_open < action.ts_ex] *= ratio
        return 15.0 - bars.close / factor


class CheapShares(Signal):
    """Buys what costs less than 30, in prices that know of every later split."""

    data = "split"

    def signal(self, bars):
        return 30.0 - bars.close


class ZScoreOverAll(Signal):
    def signal(self, bars):
        return (bars.close.mean() - bars.close) / bars.close.std()


class FilledBackwards(Signal):
    def signal(self, bars):
        return series(bars.close).rolling(100).mean().bfill() - bars.close


class SortedCloses(Signal):
    def signal(self, bars):
        return np.sort(bars.close) - bars.close


class NextVolume(Signal):
    def signal(self, bars):
        return series(bars.volume).shift(-1) / bars.volume - 1.5


class VolumeAhead(Signal):
    def signal(self, bars):
        return series(bars.volume).rolling(20).sum().shift(-19).ffill() - 20 * bars.volume


class ComponentsOfAll(Signal):
    def signal(self, bars):
        table = np.column_stack([bars.open, bars.high, bars.low, bars.close, bars.volume / 1e6])
        centred = table - table.mean(axis=0)
        return centred @ np.linalg.svd(centred, full_matrices=False)[2][0]


class RegressionOverAll(Signal):
    def signal(self, bars):
        x = np.column_stack([np.ones(len(bars) - 1), np.diff(bars.volume) / bars.volume[1:]])
        y = np.diff(bars.close) / bars.close[:-1]
        return np.append(np.nan, x @ np.linalg.lstsq(x, y, rcond=None)[0])


class ClustersOfAll(Signal):
    def signal(self, bars):
        moves = np.append(0.0, np.diff(np.log(bars.close)))
        centres = np.array([-0.02, 0.0, 0.02])
        for _ in range(8):
            nearest = np.abs(moves[:, None] - centres).argmin(axis=1)
            centres = np.array([moves[nearest == k].mean() for k in range(3)])
        return centres[nearest] - moves


class JoinedForward(Signal):
    """A table of quarter ends, joined with the next row instead of the last."""

    def signal(self, bars):
        close = by_time(bars).rename("close").rename_axis("ts").reset_index()
        quarter = close.iloc[::63].rename(columns={"close": "quarter"})
        joined = pd.merge_asof(close, quarter, on="ts", direction="forward")
        return joined["quarter"].ffill() - joined["close"]


class JoinedOneRowOff(Signal):
    def signal(self, bars):
        returns = np.diff(bars.close)
        return np.append(returns, 0.0)


class ArgmaxOfAll(Signal):
    def signal(self, bars):
        return np.argmax(bars.close) - np.arange(len(bars), dtype=float)


class SumFromTheEnd(Signal):
    def signal(self, bars):
        moves = np.diff(bars.close, prepend=bars.close[:1])
        return np.cumsum(moves[::-1])[::-1]


class Interpolated(Signal):
    def signal(self, bars):
        monthly = series(bars.close).where(np.arange(len(bars)) % 21 == 0)
        return monthly.interpolate() - bars.close


class RankOverAll(Signal):
    def signal(self, bars):
        return 0.5 - series(bars.close).rank(pct=True)


class FourierLowPass(Signal):
    def signal(self, bars):
        waves = np.fft.rfft(bars.close)
        waves[30:] = 0
        return np.fft.irfft(waves, len(bars)) - bars.close


class SavitzkyGolay(Signal):
    def signal(self, bars):
        return filters.savgol_filter(bars.close, 31, 3) - bars.close


class BothWaysFiltered(Signal):
    def signal(self, bars):
        return filters.filtfilt(*filters.butter(2, 0.05), bars.close) - bars.close


class Detrended(Signal):
    def signal(self, bars):
        return -filters.detrend(bars.close)


class HodrickPrescott(Signal):
    def signal(self, bars):
        n = 60
        second = np.diff(np.eye(n), 2, axis=0)
        inverse = np.linalg.inv(np.eye(n) + 100.0 * second.T @ second)
        trend = np.full(len(bars), np.nan)
        for first in range(0, len(bars) - n + 1, n):
            trend[first : first + n] = inverse @ bars.close[first : first + n]
        return trend - bars.close


class QuantileOfAll(Signal):
    def signal(self, bars):
        return np.quantile(bars.close, 0.3) - bars.close


class LastValueAsUnit(Signal):
    def signal(self, bars):
        return 1.0 - bars.close / bars.close[-1]


class DayHighInItsMinutes(Signal):
    data = "minute"

    def signal(self, bars):
        return (
            series(bars.high).groupby(np.array(bars.session)).transform("max") * 0.999 - bars.close
        )


class SessionCloseEarlier(Signal):
    data = "minute"

    def signal(self, bars):
        last = series(bars.close).groupby(np.array(bars.session)).transform("last")
        return last - bars.close


class ShareOfDayVolume(Signal):
    data = "minute"

    def signal(self, bars):
        whole = series(bars.volume).groupby(np.array(bars.session)).transform("sum")
        return bars.volume / whole - 0.003


class HourLabelledAtItsStart(Signal):
    data = "minute"

    def signal(self, bars):
        hour = pd.to_datetime(bars.ts_open, unit="ns", utc=True).floor("30min")
        return series(bars.close).groupby(hour).transform("last") - bars.close


class NextSessionOpen(Signal):
    data = "minute"

    def signal(self, bars):
        first = series(bars.open).groupby(np.array(bars.session)).first()
        return first.shift(-1).ffill().reindex(np.array(bars.session)).to_numpy() - bars.close


class NumberOfBars(Signal):
    def signal(self, bars):
        return len(bars) - 300.0 - np.arange(len(bars))


class TimeOfTheLastBar(Signal):
    def signal(self, bars):
        return (bars.ts_close[-1] - bars.ts_close) / 8.64e13 - 200.0


class SessionsLeft(Signal):
    def signal(self, bars):
        return bars.session_index[-1] - bars.session_index - 100.0


class Contaminated(Signal):
    """A billionth of tomorrow in a price of today: far below any tolerance of a test."""

    def signal(self, bars):
        ahead = np.append(np.sign(np.diff(bars.close)), 0.0)
        return bars.close * (1.0 + 1e-9 * ahead) - bars.close


class RareEvent(Signal):
    """True on the eve of a fall of a twelfth, and nearly always False."""

    def signal(self, bars):
        return np.append(np.diff(bars.close) / bars.close[:-1], 0.0) < -0.08


class Dormant(Signal):
    """Would see a halving ahead; the sample has none, so no cut of it changes anything."""

    def signal(self, bars):
        return np.append(np.diff(bars.close) / bars.close[:-1], 0.0) < -0.5


class PeaksWhenTheyHappen(Signal):
    def signal(self, bars):
        peaks = np.zeros(len(bars))
        peaks[filters.argrelmax(np.array(bars.close), order=10)[0]] = 1.0
        return peaks


class TripleBarrier(Signal):
    """The label of a study, left among the features."""

    def signal(self, bars):
        label = np.zeros(len(bars))
        for row in range(len(bars) - 1):
            path = bars.close[row + 1 : row + 11] / bars.close[row] - 1.0
            hit = np.flatnonzero(np.abs(path) > 0.03)
            label[row] = np.sign(path[hit[0]]) if len(hit) else 0.0
        return label


class SmoothedBackwards(Signal):
    def signal(self, bars):
        return series(bars.close[::-1]).ewm(span=10).mean().to_numpy()[::-1] - bars.close


class Repainted(Signal):
    """The last bar is drawn anew once the next is there."""

    def signal(self, bars):
        level = np.array(bars.close)
        level[1:-1] = np.minimum(level[1:-1], level[2:])
        return bars.close - level


class MissingOnlyAtTheEnd(Signal):
    """Asks whether there is a next bar, so nothing is missing where bars are cut."""

    def signal(self, bars):
        rows = range(len(bars))
        return [bars.close[min(row + 1, len(bars) - 1)] - bars.close[row] for row in rows]


class ReturnOfAll(mqd.Strategy):
    """A rotation that ranks by the return over the whole sample."""

    data = "several"

    def features(self, bars):
        return {"gain": np.full(len(bars), bars.close[-1] / bars.close[0])}

    def allocate(self, now, positions):
        weights = np.zeros(len(now.gain))
        weights[np.argmax(now.gain)] = 1.0
        return weights


LEAKS = animals(globals())
