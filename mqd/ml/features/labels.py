"""Labels: what came after a bar, as a number, with the span of time that it knows.

A label belongs to the bar at whose close a prediction is made (``t0``) and is known at ``t1``: its
interval is what splitters purge by (``mqd.splits``). Each is defined twice: ``of`` over whole
columns, and ``watch`` bar by bar, for outcomes that mature beside a running desk. Both give the
same bits. Returns are fractions of the close at ``t0``, costs left out.

Sources: M. Lopez de Prado, "Advances in Financial Machine Learning" (2018), chapter 3 (fixed
horizon and triple barrier).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import numpy as np

from mqd.core.bar import BarRow, Floats, Ints, SymbolBars
from mqd.errors import UsageError, did_you_mean
from mqd.ml.features.batch import Batch, columns_of
from mqd.ml.features.nodes import Apply, Field, Lag, Node, Talib
from mqd.ml.features.online import Online

CLOSE: Final = Field("close")


class LabelTable(NamedTuple):
    """The labels of one symbol's bars that have matured, in order of ``t0``.

    ``rows``: their rows of the bars. ``t0``, ``t1``: int64 ns. ``ret_frac``: return over the span.
    ``label``: the class. ``touch``: the row at which it was known.
    """

    rows: Ints
    t0: Ints
    t1: Ints
    ret_frac: Floats
    label: Ints
    touch: Ints


class Outcome(NamedTuple):
    """One label that has matured: the bar that it belongs to, and what came after it."""

    symbol: str
    t0: int
    t1: int
    ret_frac: float
    label: int


class Watch(Protocol):
    """A label of one symbol, bar by bar."""

    def put(self, row: BarRow) -> list[Outcome]:
        """Take a closed bar; return the outcomes that it makes known, in order of ``t0``.

        Raises ``UsageError`` for a bar that is not later than the one before.
        """
        ...


class Label(Protocol):
    """What every label has."""

    kind: ClassVar[str]

    def of(self, bars: SymbolBars) -> LabelTable:
        """Return the labels of all bars whose outcome is known by the last one."""
        ...

    def watch(self) -> Watch:
        """Return the same label for one symbol, to be fed bar by bar."""
        ...


def label_spec(label: Label) -> dict[str, Any]:
    """Return what makes an equal label again, JSON-ready."""
    return {"kind": label.kind, **asdict(label)}  # type: ignore[call-overload]


def label_text(spec: Mapping[str, Any]) -> str:
    """Return a label's spec in a few words: ``fixed_horizon(bars=5, threshold_frac=0.0)``."""
    inner = ", ".join(f"{name}={value}" for name, value in spec.items() if name != "kind")
    return f"{spec['kind']}({inner})"


def label_hash(label: Label) -> str:
    """Return 12 hex digits that name the label: which outcomes belong to which predictions."""
    text = json.dumps(label_spec(label), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def label_from_spec(spec: Mapping[str, Any]) -> Label:
    """Return the label that ``spec`` describes; raise ``UsageError`` for no such."""
    words = dict(spec)
    kind = words.pop("kind", None)
    if kind not in KINDS:
        raise UsageError(f"No label {kind!r}.{did_you_mean(str(kind), KINDS)}")
    try:
        return KINDS[kind](**words)
    except TypeError as error:
        raise UsageError(f"The label {kind} cannot be made of {words}: {error}.") from error


@dataclass(frozen=True, slots=True)
class FixedHorizon:
    """1 when the close ``bars`` bars later is more than ``threshold_frac`` above, else 0."""

    kind: ClassVar[str] = "fixed_horizon"
    bars: int
    threshold_frac: float = 0.0

    def __post_init__(self) -> None:
        _whole(self.kind, "bars", self.bars)
        _finite(self.kind, "threshold_frac", self.threshold_frac)

    def of(self, bars: SymbolBars) -> LabelTable:
        """Return the labels; the last ``bars`` rows have none."""
        rows = np.arange(max(len(bars) - self.bars, 0))
        return _table(bars, rows, rows + self.bars, bars.close[rows + self.bars], self._classes)

    def watch(self) -> Watch:
        """Return the label bar by bar."""
        return _HorizonWatch(self)

    def _classes(self, ret_frac: Floats) -> Ints:
        return (ret_frac > self.threshold_frac).astype(np.int64)


@dataclass(frozen=True, slots=True)
class NextSession:
    """1 when the next session's last close is more than ``threshold_frac`` above, else 0.

    The next session is the next one in which the symbol has a bar. It is over at the bar with no
    minute left to its close, or when a bar of a later session comes.
    """

    kind: ClassVar[str] = "next_session"
    threshold_frac: float = 0.0

    def __post_init__(self) -> None:
        _finite(self.kind, "threshold_frac", self.threshold_frac)

    def of(self, bars: SymbolBars) -> LabelTable:
        """Return the labels; rows whose next session is not over have none."""
        starts = np.flatnonzero(np.diff(bars.session, prepend=bars.session[:1] - 1))
        last = np.append(starts[1:], len(bars))[: len(starts)] - 1
        if len(last) and bars.minutes_to_close[last[-1]] != 0:
            last = last[:-1]
        nth = np.searchsorted(starts, np.arange(len(bars)), side="right")
        rows = np.flatnonzero(nth < len(last))
        touch = last[nth[rows]]
        return _table(bars, rows, touch, bars.close[touch], self._classes)

    def watch(self) -> Watch:
        """Return the label bar by bar."""
        return _SessionWatch(self)

    def _classes(self, ret_frac: Floats) -> Ints:
        return (ret_frac > self.threshold_frac).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TripleBarrier:
    """1 when the upper barrier is touched first, -1 the lower, 0 neither within ``bars`` bars.

    The barriers lie ``up`` and ``down`` times the volatility above and below the close:
    population deviation of the log returns of ``vol_bars`` bars; with ``vol_bars=0`` they are
    plain fractions. A bar that reaches both counts as the lower. The return is that of the
    barrier, or of the open where the bar opens beyond it; at the end that of the close.

    ``of`` leaves out the last ``bars`` rows, also those whose barrier was touched: of these only
    the quick ones are known, and a model would learn that the newest rows are quick. ``watch``
    tells each outcome as soon as it is known, so that the newest outcomes of a shadow are quick
    ones for as long as the rest waits.
    """

    kind: ClassVar[str] = "triple_barrier"
    bars: int
    up: float
    down: float
    vol_bars: int = 20

    def __post_init__(self) -> None:
        _whole(self.kind, "bars", self.bars)
        for name in ("up", "down"):
            value: float = getattr(self, name)
            _finite(self.kind, name, value)
            if value <= 0:
                raise UsageError(f"{self.kind}: {name} is {value}, but it must be above 0.")
        if self.vol_bars:
            _whole(self.kind, "vol_bars", self.vol_bars, least=2)

    def of(self, bars: SymbolBars) -> LabelTable:
        """Return the labels; the last ``bars`` rows and those without volatility have none."""
        n = len(bars)
        width = self._width(bars)
        upper, lower = bars.close * (1.0 + self.up * width), bars.close * (1.0 - self.down * width)
        label, touch = np.zeros(n, dtype=np.int64), np.full(n, -1)
        exit_px = np.full(n, np.nan)
        for ahead in range(1, min(self.bars, n - 1) + 1):
            rows = np.flatnonzero(touch[: n - ahead] < 0)
            at = rows + ahead
            down, up = bars.low[at] <= lower[rows], bars.high[at] >= upper[rows]
            hit = down | up
            px = np.where(
                down, np.minimum(bars.open[at], lower[rows]), np.maximum(bars.open[at], upper[rows])
            )
            if ahead == self.bars:
                px, hit = np.where(hit, px, bars.close[at]), np.ones(len(rows), dtype=np.bool_)
            touch[rows[hit]], exit_px[rows[hit]] = at[hit], px[hit]
            label[rows[hit]] = np.where(down, -1, np.where(up, 1, 0))[hit]
        rows = np.flatnonzero((width > 0)[: max(n - self.bars, 0)])
        classes = label[rows]
        return _table(bars, rows, touch[rows], exit_px[rows], lambda _: classes)

    def watch(self) -> Watch:
        """Return the label bar by bar."""
        return _BarrierWatch(self)

    def volatility(self) -> Node:
        """Return the node that the barriers are multiples of."""
        return Talib("STDDEV", (Apply("log", (CLOSE / Lag(CLOSE, 1),)),), (self.vol_bars,))

    def _width(self, bars: SymbolBars) -> Floats:
        if not self.vol_bars:
            return np.ones(len(bars))
        return Batch(columns_of(bars))(self.volatility())


KINDS: Final[dict[str, type[FixedHorizon | NextSession | TripleBarrier]]] = {
    kind.kind: kind for kind in (FixedHorizon, NextSession, TripleBarrier)
}


class _InOrder:
    """Refuses bars that go back in time: an outcome before its prediction."""

    def __init__(self) -> None:
        self._last = -1

    def _take(self, row: BarRow) -> None:
        if row.ts_close <= self._last:
            raise UsageError(
                f"{row.symbol}: a bar closing at {row.ts_close} after one at {self._last}: an"
                " outcome would come before its prediction. Feed each bar once, in order."
            )
        self._last = row.ts_close


class _HorizonWatch(_InOrder):
    def __init__(self, label: FixedHorizon) -> None:
        super().__init__()
        self._label = label
        self._open: deque[tuple[int, float]] = deque()

    def put(self, row: BarRow) -> list[Outcome]:
        self._take(row)
        found = []
        if len(self._open) == self._label.bars:
            t0, close = self._open.popleft()
            ret_frac = row.close / close - 1.0
            known = ret_frac > self._label.threshold_frac
            found = [Outcome(row.symbol, t0, row.ts_close, ret_frac, int(known))]
        self._open.append((row.ts_close, row.close))
        return found


class _SessionWatch(_InOrder):
    def __init__(self, label: NextSession) -> None:
        super().__init__()
        self._label = label
        self._before: list[tuple[int, float]] = []
        self._today: list[tuple[int, float]] = []
        self._row: BarRow | None = None

    def put(self, row: BarRow) -> list[Outcome]:
        self._take(row)
        found: list[Outcome] = []
        if self._row is not None and row.session != self._row.session:
            found = self._close(self._row)
            self._before, self._today = self._today, []
        self._today.append((row.ts_close, row.close))
        self._row = row
        return found if row.minutes_to_close else [*found, *self._close(row)]

    def _close(self, last: BarRow) -> list[Outcome]:
        """Return the outcomes of the session before that of ``last``, once."""
        found = []
        for t0, close in self._before:
            ret_frac = last.close / close - 1.0
            known = ret_frac > self._label.threshold_frac
            found.append(Outcome(last.symbol, t0, last.ts_close, ret_frac, int(known)))
        self._before = []
        return found


@dataclass(slots=True)
class _Barriers:
    """An open pair of barriers and the bars that are left to it."""

    t0: int
    close: float
    upper: float
    lower: float
    left: int

    def outcome(self, row: BarRow) -> Outcome | None:
        """Return what the bar ``row`` makes of it, None while it goes on."""
        self.left -= 1
        if row.low <= self.lower:
            px, label = min(row.open, self.lower), -1
        elif row.high >= self.upper:
            px, label = max(row.open, self.upper), 1
        elif not self.left:
            px, label = row.close, 0
        else:
            return None
        return Outcome(row.symbol, self.t0, row.ts_close, px / self.close - 1.0, label)


class _BarrierWatch(_InOrder):
    def __init__(self, label: TripleBarrier) -> None:
        super().__init__()
        self._label = label
        self._online = Online([label.volatility()] if label.vol_bars else [])
        self._open: list[_Barriers] = []

    def put(self, row: BarRow) -> list[Outcome]:
        self._take(row)
        label, found, left = self._label, [], []
        for one in self._open:
            outcome = one.outcome(row)
            if outcome is None:
                left.append(one)
            else:
                found.append(outcome)
        width = self._online.update(row)[0] if label.vol_bars else 1.0
        if width > 0:
            upper, lower = (
                row.close * (1.0 + label.up * width),
                row.close * (1.0 - label.down * width),
            )
            left.append(_Barriers(row.ts_close, row.close, upper, lower, label.bars))
        self._open = left
        return found


def _table(bars: SymbolBars, rows: Ints, touch: Ints, exit_px: Floats, classes: Any) -> LabelTable:
    ret_frac = exit_px / bars.close[rows] - 1.0
    return LabelTable(
        rows, bars.ts_close[rows], bars.ts_close[touch], ret_frac, classes(ret_frac), touch
    )


def _whole(kind: str, name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(
            f"{kind}: {name} is {value!r}, but it must be a whole number of at least {least}."
        )


def _finite(kind: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{kind}: {name} is {value!r}, but it must be a finite number.")
