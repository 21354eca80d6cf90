"""The features that have a name: what each is made of, its parameters and their ranges.

A feature is written as text, ``"rsi(14)"`` or ``"sma_gap(20)"``; parameters left out have their
defaults. Its column is named ``rsi_14``. Windows are in bars; gaps, ranges and returns are
fractions of a price, so that features of different shares can be compared. Each value uses its
own bar and earlier ones alone, and is NaN while its window fills or where it divides by 0.
Those of TA-Lib give 0.0 there: in a window in which nothing moves rsi, mfi, cci, adx, di_gap and
the two correlations are 0.0, which for rsi and mfi is no sign of having fallen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from mqd.errors import did_you_mean
from mqd.ml.errors import BadFeature
from mqd.ml.features.nodes import Apply, Field, First, Lag, Node, SessionSum, Talib

Family = Literal["technical", "price", "volume", "time"]

OPEN, HIGH, LOW, CLOSE, VOLUME = (Field(n) for n in ("open", "high", "low", "close", "volume"))
FROM_OPEN, TO_CLOSE, SESSION = (
    Field(n) for n in ("minutes_from_open", "minutes_to_close", "session")
)
TEXT: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(?:\(([^()]*)\))?\s*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A whole number that a feature takes, with inclusive bounds."""

    name: str
    default: int
    low: int
    high: int = 10_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry: its family, what it says in a line, its parameters, and what it is made of."""

    name: str
    family: Family
    about: str
    parameters: tuple[Parameter, ...]
    node: Callable[..., Node]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its kind and the values of its parameters."""

    kind: Kind
    values: tuple[int, ...]

    @property
    def name(self) -> str:
        """The column's name, an identifier: ``rsi_14``."""
        return "_".join((self.kind.name, *map(str, self.values)))

    @property
    def text(self) -> str:
        """The feature as it is written, with all its parameters: ``rsi(14)``."""
        inner = ", ".join(map(str, self.values))
        return f"{self.kind.name}({inner})" if inner else self.kind.name

    @property
    def node(self) -> Node:
        """What it is made of."""
        return self.kind.node(*self.values)


KINDS: Final[dict[str, Kind]] = {}


def named(
    name: str, family: Family, about: str, *parameters: Parameter
) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Return the decorator that enters a feature of your own: a function of the parameters'
    values that returns what it is made of, as those below. Raises ``BadFeature`` for a name that
    is taken or no lower-case identifier.
    """
    if name in KINDS or not name.isidentifier() or not name.islower():
        raise BadFeature(f"A feature's name is a lower-case identifier of its own, not {name!r}.")

    def enter(node: Callable[..., Node]) -> Callable[..., Node]:
        KINDS[name] = Kind(name, family, about, parameters, node)
        return node

    return enter


def _window(default: int, low: int = 2) -> Parameter:
    return Parameter("n", default, low)


def feature_of(text: str) -> Feature:
    """Return the feature that ``text`` writes.

    Raises ``BadFeature`` for a text of another form, a kind that is not there and a parameter
    out of its range.
    """
    written: object = text
    found = TEXT.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        raise BadFeature(f"{text!r} is no feature: write a kind and whole numbers, 'rsi(14)'.")
    kind = KINDS.get(found[1])
    if kind is None:
        raise BadFeature(f"No feature {found[1]!r}.{did_you_mean(found[1], KINDS)}")
    given = [part.strip() for part in found[2].split(",")] if (found[2] or "").strip() else []
    if len(given) > len(kind.parameters):
        raise BadFeature(
            f"{text}: {kind.name} takes {len(kind.parameters)} number(s), not {len(given)}."
        )
    values = [_number(text, one, value) for one, value in zip(kind.parameters, given, strict=False)]
    values += [one.default for one in kind.parameters[len(given) :]]
    return Feature(kind, tuple(values))


def _number(text: str, parameter: Parameter, given: str) -> int:
    try:
        value = int(given)
    except ValueError:
        value = parameter.low - 1
    if not parameter.low <= value <= parameter.high:
        raise BadFeature(
            f"{text}: {parameter.name} is {given}, but it must be a whole number in"
            f" [{parameter.low}, {parameter.high}]."
        )
    return value


# --- technical -----------------------------------------------------------------------------------


def _mean(of: Node, n: int) -> Node:
    return Talib("SMA", (of,), (n,))


def _deviation(of: Node, n: int) -> Node:
    return Talib("STDDEV", (of - First(of),), (n,))


def _log_returns(n: int) -> Node:
    return Apply("log", (CLOSE / Lag(CLOSE, n),))


BARS: Final = (HIGH, LOW, CLOSE)


@named("rsi", "technical", "Wilder's relative strength index, in [0, 1]", _window(14))
def _rsi(n: int) -> Node:
    return Talib("RSI", (CLOSE,), (n,)) / 100.0


@named("sma_gap", "technical", "close above its mean of n, as a fraction", _window(20))
def _sma_gap(n: int) -> Node:
    return CLOSE / _mean(CLOSE, n) - 1.0


@named("ema_gap", "technical", "close above its exponential mean, as a fraction", _window(20))
def _ema_gap(n: int) -> Node:
    return CLOSE / Talib("EMA", (CLOSE,), (n,)) - 1.0


@named("kama_gap", "technical", "close above Kaufman's adaptive mean, as a fraction", _window(10))
def _kama_gap(n: int) -> Node:
    return CLOSE / Talib("KAMA", (CLOSE,), (n,)) - 1.0


@named(
    "macd_hist", "technical", "MACD less its signal line, over the close",
    Parameter("fast", 12, 2), Parameter("slow", 26, 3), Parameter("signal", 9, 2),
)  # fmt: skip
def _macd_hist(fast: int, slow: int, signal: int) -> Node:
    if fast >= slow:
        raise BadFeature(f"macd_hist: fast is {fast}, but it must be below slow = {slow}.")
    return Talib("MACD", (CLOSE,), (fast, slow, signal), 2) / CLOSE


@named("bollinger", "technical", "close above its mean in two deviations of n bars", _window(20))
def _bollinger(n: int) -> Node:
    return (CLOSE - _mean(CLOSE, n)) / (_deviation(CLOSE, n) * 2.0)


@named("atr_frac", "technical", "Wilder's average true range over the close", _window(14))
def _atr_frac(n: int) -> Node:
    return Talib("ATR", BARS, (n,)) / CLOSE


@named("adx", "technical", "Wilder's average directional index, in [0, 1]", _window(14))
def _adx(n: int) -> Node:
    return Talib("ADX", BARS, (n,)) / 100.0


@named("di_gap", "technical", "Wilder's plus less minus direction, in [-1, 1]", _window(14))
def _di_gap(n: int) -> Node:
    return (Talib("PLUS_DI", BARS, (n,)) - Talib("MINUS_DI", BARS, (n,))) / 100.0


@named("cci", "technical", "Lambert's commodity channel index over 100", _window(20))
def _cci(n: int) -> Node:
    return Talib("CCI", BARS, (n,)) / 100.0


@named("aroon", "technical", "Chande's Aroon oscillator, in [-1, 1]", _window(14))
def _aroon(n: int) -> Node:
    return Talib("AROONOSC", (HIGH, LOW), (n,)) / 100.0


@named("channel_place", "technical", "close within the range of n bars, 0 low, 1 high", _window(20))
def _channel_place(n: int) -> Node:
    low = Talib("MIN", (LOW,), (n,))
    return (CLOSE - low) / (Talib("MAX", (HIGH,), (n,)) - low)


@named(
    "slope", "technical", "slope of the regression of n closes, a bar, over the close", _window(20)
)
def _slope(n: int) -> Node:
    return Talib("LINEARREG_SLOPE", (CLOSE,), (n,)) / CLOSE


@named("trix", "technical", "rate of change of the triple exponential mean", _window(15))
def _trix(n: int) -> Node:
    return Talib("TRIX", (CLOSE,), (n,)) / 100.0


# --- price transforms ----------------------------------------------------------------------------


@named("log_return", "price", "logarithm of the close over that n bars ago", _window(1, 1))
def _log_return(n: int) -> Node:
    return _log_returns(n)


@named("lag_return", "price", "log return of the bar n bars ago", _window(1, 1))
def _lag_return(n: int) -> Node:
    return Lag(_log_returns(1), n)


@named("gap_frac", "price", "open over the close before it, as a fraction")
def _gap_frac() -> Node:
    return OPEN / Lag(CLOSE, 1) - 1.0


@named("range_frac", "price", "the bar's range over its close")
def _range_frac() -> Node:
    return (HIGH - LOW) / CLOSE


@named("body_frac", "price", "close less open, over the close")
def _body_frac() -> Node:
    return (CLOSE - OPEN) / CLOSE


@named("close_place", "price", "close within the bar's range, 0 low, 1 high")
def _close_place() -> Node:
    return (CLOSE - LOW) / (HIGH - LOW)


@named(
    "drawdown_frac", "price", "close below the highest high of n bars, as a fraction", _window(60)
)
def _drawdown_frac(n: int) -> Node:
    return CLOSE / Talib("MAX", (HIGH,), (n,)) - 1.0


@named("realised_vol", "price", "population deviation of the log returns of n bars", _window(20))
def _realised_vol(n: int) -> Node:
    return Talib("STDDEV", (_log_returns(1),), (n,))


@named("range_vol", "price", "Parkinson's volatility a bar, from the ranges of n bars", _window(20))
def _range_vol(n: int) -> Node:
    spread = Apply("log", (HIGH / LOW,))
    return Apply("sqrt", (_mean(spread * spread, n) / (4.0 * math.log(2.0)),))


@named(
    "vol_ratio", "price", "realised volatility of a short window over that of a long one",
    Parameter("short", 5, 2), Parameter("long", 60, 3),
)  # fmt: skip
def _vol_ratio(short: int, long: int) -> Node:
    if short >= long:
        raise BadFeature(f"vol_ratio: short is {short}, but it must be below long = {long}.")
    return _realised_vol(short) / _realised_vol(long)


@named("zscore", "price", "close above its mean in deviations of n bars", _window(20))
def _zscore(n: int) -> Node:
    return (CLOSE - _mean(CLOSE, n)) / _deviation(CLOSE, n)


# --- volume --------------------------------------------------------------------------------------


@named("volume_ratio", "volume", "volume over its mean of n", _window(20))
def _volume_ratio(n: int) -> Node:
    return VOLUME / _mean(VOLUME, n)


@named("dollar_volume_log", "volume", "logarithm of the mean value traded a bar", _window(20))
def _dollar_volume_log(n: int) -> Node:
    return Apply("log", (_mean(CLOSE * VOLUME, n),))


@named("mfi", "volume", "money flow index, in [0, 1]", _window(14))
def _mfi(n: int) -> Node:
    return Talib("MFI", (HIGH, LOW, CLOSE, VOLUME), (n,)) / 100.0


@named("volume_correlation", "volume", "correlation of close and volume over n bars", _window(20))
def _volume_correlation(n: int) -> Node:
    return Talib("CORREL", (CLOSE, VOLUME), (n,))


@named("vwap_gap", "volume", "close above the session's volume-weighted price, as a fraction")
def _vwap_gap() -> Node:
    typical = (HIGH + LOW + CLOSE) / 3.0
    return CLOSE / (SessionSum(typical * VOLUME) / SessionSum(VOLUME)) - 1.0


# --- time series and time ------------------------------------------------------------------------


@named(
    "autocorrelation", "time", "correlation of returns with those a bar before, n bars", _window(20)
)
def _autocorrelation(n: int) -> Node:
    return Talib("CORREL", (_log_returns(1), Lag(_log_returns(1), 1)), (n,))


def _over() -> Node:
    return FROM_OPEN / (FROM_OPEN + TO_CLOSE)


@named("session_frac", "time", "how much of the session is over at the close, in [0, 1]")
def _session_frac() -> Node:
    return _over()


@named("session_sin", "time", "place in the session on a circle, sine")
def _session_sin() -> Node:
    return Apply("sin", (_over() * (2.0 * math.pi),))


@named("session_cos", "time", "place in the session on a circle, cosine")
def _session_cos() -> Node:
    return Apply("cos", (_over() * (2.0 * math.pi),))


def _weekday() -> Node:
    days = SESSION + 3.0  # 1970-01-01 was a Thursday: 0 is Monday
    return days - Apply("floor", (days / 7.0,)) * 7.0


@named("weekday_sin", "time", "day of the week on a circle, sine")
def _weekday_sin() -> Node:
    return Apply("sin", (_weekday() * (2.0 * math.pi / 7.0),))


@named("weekday_cos", "time", "day of the week on a circle, cosine")
def _weekday_cos() -> Node:
    return Apply("cos", (_weekday() * (2.0 * math.pi / 7.0),))


DEFAULT: Final = (
    "rsi(14)", "sma_gap(20)", "ema_gap(50)", "atr_frac(14)", "adx(14)", "channel_place(20)",
    "log_return(1)", "log_return(5)", "gap_frac", "range_frac", "realised_vol(20)",
    "volume_ratio(20)",
)  # fmt: skip
"""What a ``FeatureEngineer`` computes that is not told otherwise."""
