"""``walk_forward``: choose on the past, trade what follows, again and again.

Each window has a train span and the test span behind it. The combination with the best metric in
the train span (``mqd.sweep`` on those bars alone) is traded through the test span by
``mqd.backtest``. The tested spans, one after the other, are one account's equity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import new_class
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from mqd.backtesting import backtest
from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.errors import UsageError, did_you_mean
from mqd.market_data.bars import Bars
from mqd.splits import WalkForward
from mqd.splits.walk_forward import Unit
from mqd.strategy.strategy import Strategy
from mqd.sweeps.constraint import Where
from mqd.sweeps.metrics import check_metric, scores
from mqd.sweeps.result import Sweep
from mqd.sweeps.segments import Segment, closed_at_the_end, idle
from mqd.sweeps.sweep import sweep
from mqd.sweeps.walkforward_result import WalkForwardResult

__all__ = ["WalkForwardResult", "walk_forward"]

SWEEP_WORDS: Final = frozenset({"search", "n", "memory_mb", "workers", "study", "progress"})
BACKTEST_WORDS: Final = frozenset(
    {"sizer", "costs", "fills", "limits", "rules", "account", "multiplier"}
    | {"rebalance_band_frac", "seed", "engine"}
)
COLUMNS: Final = (
    "train_first", "train_last", "test_first", "test_last", "in_sample", "out_of_sample",
    "return_frac", "n_fills", "n_closed", "combinations",
)  # fmt: skip
IN_WINDOW: Final = "in_walk_forward_window"
NUMBERS: Final = re.compile(r"\d[\d,.]*")
"""What the runs of two windows say is said once when only its numbers differ."""


class _Steps(NamedTuple):
    """The steps of the bars: every instant at which a bar of some symbol closes, ascending."""

    ts_open: Ints
    ts_close: Ints
    session: Ints


class _Span(NamedTuple):
    """The instants of one window, ns UTC: first bar's open and last bar's close, twice."""

    train_first: int
    train_last: int
    test_first: int
    test_last: int


def walk_forward(
    strategy_cls: type[Strategy],
    bars: Bars,
    grid: Mapping[str, Any],
    *,
    train: int,
    test: int,
    unit: Unit = "bars",
    gap: int = 0,
    anchored: bool = False,
    short_last: bool = False,
    metric: str = "sharpe",
    where: Where = None,
    cash: float | Decimal = 100_000,
    **settings: Any,
) -> WalkForwardResult:
    """Choose parameters in each train span, trade them in the test span behind it.

    ``train``, ``test`` and ``gap`` (left out between them) are counted in ``unit``: "bars" (steps
    of the base timeframe), "sessions" or "days" (UTC). ``anchored``: every train span begins at
    the first bar. Windows move on by ``test``; a shorter rest is traded only with ``short_last``.
    ``grid``, ``where`` and the settings ``search, n, memory_mb, workers, study, progress`` are
    those of ``mqd.sweep``; ``cash`` and ``sizer, costs, fills, limits, rules, account,
    multiplier, rebalance_band_frac, seed, engine`` those of ``mqd.backtest``, for both.

    In each window:

    - ``mqd.sweep`` sees the bars of the train span and nothing else; all symbols share one
      account. The best ``metric`` wins, ties go to the first of the grid. Where no combination
      has a number nothing is traded.
    - Features are then computed on train span, gap and test span, so they are warm; ``decide``
      is first asked at the close of the first tested bar and starts flat, with ``state`` at its
      start. A strategy with event hooks sees the tested bars alone, cold.
    - What is held at the last tested close is sold (bought back) at that close, worsened by
      slippage, with fees; a short has paid its borrow for the night after, as at every close.
      The money left is the next window's cash.

    Ctrl-C ends it: a window is never chosen from a part of its grid. Raises ``UsageError`` for
    wrong words or when no window fits, and what ``mqd.sweep`` and ``mqd.backtest`` raise.
    Source: R. Pardo, "The Evaluation and Optimization of Trading Strategies" (2008), chapter 11.
    """
    _check(strategy_cls, bars, settings)
    check_metric(metric)
    steps = _steps(bars)
    cut = WalkForward(
        train, test, unit=unit, gap=gap, anchored=anchored, short_last=short_last,
        times=steps.ts_close, sessions=steps.session if unit == "sessions" else None,
    )  # fmt: skip
    walk = _Walk(strategy_cls, bars, grid, where, metric, settings)
    money = Decimal(str(cash)) if isinstance(cash, int | float) else cash
    for number, span in enumerate(_spans(cut, steps)):
        if number and money <= 0:
            walk.note(f"The account was lost before window {number}: nothing is traded from there.")
            break
        money = walk.window(number, span, money)
    walk.left_over(steps.ts_close)
    return walk.result(repr(cut))


class _Walk:
    """The windows walked so far."""

    def __init__(
        self,
        strategy_cls: type[Strategy],
        bars: Bars,
        grid: Mapping[str, Any],
        where: Where,
        metric: str,
        settings: Mapping[str, Any],
    ) -> None:
        self._strategy_cls, self._bars, self._metric = strategy_cls, bars, metric
        self._grid, self._where = grid, where
        self._both = {k: v for k, v in settings.items() if k in BACKTEST_WORDS}
        self._search = {k: v for k, v in settings.items() if k in SWEEP_WORDS}
        self._rows: list[dict[str, Any]] = []
        self._segments: list[Segment] = []
        self._notes: dict[str, str] = {}
        self._names: tuple[str, ...] = ()
        if strategy_cls.hooks():
            name = strategy_cls.__name__
            self.note(f"{name} has event hooks: it sees the tested bars alone and starts cold.")

    def note(self, text: str) -> None:
        """Keep a sentence, once."""
        self._notes[text] = text

    def window(self, number: int, span: _Span, money: Decimal) -> Decimal:
        """Choose, trade and keep one window; return the money that it leaves."""
        found = sweep(
            self._strategy_cls, self._bars.between(span.train_first, span.train_last),
            self._grid, where=self._where, symbols="pooled", metric=self._metric, cash=money,
            **self._search, **self._both,
        )  # fmt: skip
        if not found.is_whole:
            raise KeyboardInterrupt
        self._names = tuple(found.parameters)
        chosen = _best(found, self._metric)
        tested = self._bars.between(span.test_first, span.test_last)
        if chosen is None:
            segment = idle(tested, money)
            why = f"no combination has a {self._metric} in its train span"
            self.note(f"Window {number} is not traded: {why}.")
        else:
            segment = self._trade(found.strategy(chosen), tested, span, money)
        for text in (*found.notes, *segment.notes):
            self._notes.setdefault(NUMBERS.sub("#", text), text)
        self._segments.append(segment)
        self._rows.append(_row(span, found, chosen, segment, self._metric))
        return segment.money

    def _trade(self, strategy: Strategy, tested: Bars, span: _Span, money: Decimal) -> Segment:
        """Trade the tested bars of one window and close what is held at its end."""
        if type(strategy).hooks():
            return closed_at_the_end(backtest(strategy, tested, cash=money, **self._both), tested)
        since = min(int(tested[symbol].ts_close[0]) for symbol in tested.symbols)
        known = self._bars.between(span.train_first, span.test_last)
        result = backtest(silent_until(strategy, since), known, cash=money, **self._both)
        return closed_at_the_end(result, tested)

    def left_over(self, closes: Ints) -> None:
        """Say how many bars at the end were not traded."""
        last = self._rows[-1]["test_last"].as_unit("ns").value
        n_left = int((closes > last).sum())
        if n_left:
            self.note(f"The last {n_left} bars were not traded (short_last trades a short rest).")

    def result(self, scheme: str) -> WalkForwardResult:
        """Return what came of all windows."""
        frame = pd.DataFrame(self._rows)[[*COLUMNS[:4], *self._names, *COLUMNS[4:]]]
        return WalkForwardResult(
            self._strategy_cls.__name__, scheme, self._metric, self._names,
            frame.rename_axis("window"), tuple(self._segments), tuple(self._notes.values()),
        )  # fmt: skip


def _check(strategy_cls: object, bars: object, settings: Mapping[str, Any]) -> None:
    known = SWEEP_WORDS | BACKTEST_WORDS
    for word in settings:
        if word not in known:
            raise UsageError(f"walk_forward() takes no {word}=.{did_you_mean(word, known)}")
    if not (isinstance(strategy_cls, type) and issubclass(strategy_cls, Strategy)):
        raise UsageError(f"walk_forward takes a strategy class, not {strategy_cls!r}.")
    if not isinstance(bars, Bars):
        raise UsageError(f"bars is {type(bars).__name__}, not Bars: use mqd.load_bars(path).")
    for name in strategy_cls.declared():
        if name in COLUMNS:
            raise UsageError(f"The parameter {name!r} is named like a column of .windows.")


def _steps(bars: Bars) -> _Steps:
    """Return the steps over all symbols; a step opens with the first of its bars."""
    columns = [bars[symbol] for symbol in bars.symbols]
    begin = np.concatenate([one.ts_open for one in columns])
    close = np.concatenate([one.ts_close for one in columns])
    session = np.concatenate([one.session for one in columns])
    order = np.lexsort((begin, close))
    closes, first = np.unique(close[order], return_index=True)
    return _Steps(begin[order][first], closes, session[order][first])


def _spans(cut: WalkForward, steps: _Steps) -> Iterator[_Span]:
    for train, test in cut.split():
        yield _Span(
            int(steps.ts_open[train[0]]), int(steps.ts_close[train[-1]]),
            int(steps.ts_open[test[0]]), int(steps.ts_close[test[-1]]),
        )  # fmt: skip


def _best(found: Sweep, metric: str) -> pd.Series | None:
    """Return the best row by the metric, None when no row has a number."""
    values = scores(metric, found.table[metric].to_numpy())
    return found.best(metric) if np.isfinite(values).any() else None


def silent_until(strategy: Strategy, since_ns: int) -> Strategy:
    """Return the same strategy, whose features are not there (NaN) before ``since_ns``.

    A rule is not asked where a feature is missing, so nothing is decided before; the values from
    then on are those of the whole history. The rule itself is the class's own code.
    """
    cls = type(strategy)

    def features(self: Strategy, bars: SymbolBars) -> Any:
        found: object = cls.features(self, bars)
        if not isinstance(found, Mapping):
            return found
        known = bars.ts_close >= since_ns
        shown = np.where(known, 1.0, np.nan)
        return {name: _masked(value, known) for name, value in found.items()} or {IN_WINDOW: shown}

    own = {"features": features, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    made: Any = new_class(cls.__name__, (cls,), {}, lambda body: body.update(own))
    quiet: Strategy = made(**strategy.parameters)
    return quiet


def _masked(value: Any, known: Any) -> Any:
    """Return a column that is NaN where not known; what is no column is left to the checks."""
    column = np.asarray(value) if hasattr(value, "to_numpy") else value
    if not isinstance(column, np.ndarray) or column.shape != known.shape:
        return value
    if column.dtype.kind not in "fiub":
        return value
    masked: Floats = np.where(known, column.astype(np.float64), np.nan)
    return masked


def _row(
    span: _Span, found: Sweep, chosen: pd.Series | None, segment: Segment, metric: str
) -> dict[str, Any]:
    instants = (span.train_first, span.train_last, span.test_first, span.test_last)
    stamps = [pd.Timestamp(ns, unit="ns", tz="UTC") for ns in instants]
    names = found.parameters
    return {
        **dict(zip(COLUMNS, stamps, strict=False)),
        **{name: None if chosen is None else chosen[name] for name in names},
        "in_sample": np.nan if chosen is None else float(chosen[metric]),
        "out_of_sample": segment.metrics[metric] if chosen is not None else np.nan,
        "return_frac": float(segment.money) / segment.starting_equity - 1.0,
        "n_fills": len(segment.fills),
        "n_closed": segment.n_closed,
        "combinations": found.n_combinations,
    }
