"""``check``: the ways in which a backtest fools its author, tried one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from mqd.backtesting import backtest, name_strategies
from mqd.checks.costs import bar_time_ambiguity, breakeven_cost
from mqd.checks.decisions import decision_lookahead, price_level
from mqd.checks.determinism import feature_determinism, hash_determinism
from mqd.checks.engines import plain_python, second_run
from mqd.checks.feature_set import FeatureSource, watcher_of
from mqd.checks.lookahead import feature_lookahead
from mqd.checks.purity import hash_dependent, purity
from mqd.checks.report import CheckReport, Finding, in_order
from mqd.checks.warm_up import warm_up
from mqd.errors import StrategyError, UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import Sizer
from mqd.result import Result
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits
from mqd.strategy.compiled import program
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

__all__ = ["CheckReport", "Finding", "check"]


def check(
    strategy: Strategy | FeatureSource,
    bars: Bars,
    *,
    seed: int = 0,
    n_cuts: int = 8,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    account: Literal["margin", "cash"] = "margin",
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
    engine: Literal["compiled", "event"] = "compiled",
) -> CheckReport:
    """Look for lookahead, impurity, chance and differences between engines.

    ``seed`` chooses the cuts, of which ``n_cuts`` a symbol are at random beside the structured
    ones. ``engine="event"`` compares with the event engine taking each step instead of the compiled
    loop, and spares the seconds that compiling a new strategy takes. The other words are those of
    ``mqd.backtest``. ``report.ok`` is False for lookahead,
    impurity, non-determinism and an engine difference; all else is a note.

    In place of a strategy a set of features may be checked: anything with ``columns(bars)``, such
    as a ``FeatureEngineer``. It then trades nothing.

    Raises ``UsageError`` for wrong words, and what ``mqd.backtest`` raises for a strategy that
    does not run at all.
    """
    if type(seed) is not int or type(n_cuts) is not int or n_cuts < 1:
        raise UsageError(f"seed = {seed!r}, n_cuts = {n_cuts!r}; whole numbers, n_cuts 1 or more.")
    if not isinstance(bars, Bars):
        raise UsageError(f"bars is {type(bars).__name__}, not Bars: use mqd.load_bars(path).")
    if not isinstance(strategy, Strategy) and not isinstance(strategy, type):
        strategy = watcher_of(strategy)
    if not isinstance(strategy, Strategy):
        raise UsageError(f"{strategy!r} is no strategy: give an instance, such as SmaCross().")
    words = {
        "cash": cash, "sizer": sizer, "costs": costs, "fills": fills, "limits": limits,
        "rules": rules, "account": account, "multiplier": multiplier,
        "rebalance_band_frac": rebalance_band_frac,
    }  # fmt: skip
    task = Task(name_strategies(strategy)[0][1], bars, seed, n_cuts, words, engine)
    found = list(_findings(task))
    subtitle = f"{', '.join(bars.symbols)} ({bars.n_bars:,} bars of {bars.timeframe})"
    return CheckReport(repr(strategy), subtitle, in_order(found))


@dataclass(frozen=True, slots=True)
class Task:
    """One check: what is run over what, with which words of ``backtest``."""

    strategy: Strategy
    bars: Bars
    seed: int
    n_cuts: int
    words: dict[str, Any]
    engine: str = "compiled"

    def run(self, bars: Bars, **other: Any) -> Result:
        """Return a backtest of a fresh instance; ``other`` words go before the task's."""
        return backtest(self.strategy.fresh(), bars, seed=self.seed, **(self.words | other))


def _findings(task: Task) -> Iterator[Finding]:
    """Yield everything found; what stands on features that cannot be trusted is left out."""
    found = list(purity(task.strategy))
    yield from found
    features: dict[str, Features] = {}
    if task.strategy.kind != "event":
        about, features = _about_features(task, impure=bool(found))
        yield from about
        found += about
    if any(one.severity == "finding" for one in found):
        yield Finding(
            "not checked",
            "Decisions, engines and costs were not looked at: the findings above come first.",
        )
        return
    yield from _about_runs(task, features)


def _about_features(task: Task, *, impure: bool) -> tuple[list[Finding], dict[str, Features]]:
    """Return what the features of all symbols show, and the features on all bars."""
    strategy, bars = task.strategy, task.bars
    features: dict[str, Features] = {}
    found: list[Finding] = []
    try:
        for symbol in bars.symbols:
            features[symbol] = compute_features(strategy, bars[symbol])
        for symbol in bars.symbols:
            one = bars[symbol], features[symbol]
            found += feature_lookahead(strategy, *one, task.n_cuts, task.seed)
        found += feature_determinism(strategy, bars, features)
    except StrategyError as error:
        if not impure:
            raise
        return [Finding("impurity", f"features cannot be computed: {error}")], {}
    if not any(one.severity == "finding" for one in found):
        longest = max(bars.symbols, key=lambda symbol: len(bars[symbol]))
        found += warm_up(strategy, bars[longest], features[longest], task.seed)
    return found, features


def _about_runs(task: Task, features: dict[str, Features]) -> Iterator[Finding]:
    """Yield what whole runs show: decisions, chance, engines, costs."""

    def again(**words: Any) -> Result:
        return task.run(task.bars, **words)

    full = again(engine="event")
    second = list(second_run(again, full, task.engine))
    yield from second
    if any(one.kind == "non-determinism" for one in second):
        return
    yield from decision_lookahead(
        lambda bars: task.run(bars, engine="event"), task.bars, full, task.seed,
        thorough=not _is_compiled(task.strategy, features),
    )  # fmt: skip
    if hash_dependent(task.strategy):
        yield from hash_determinism(task.strategy, task.bars)
    if features:
        yield from price_level(task.strategy, task.bars, features)
        longest = max(task.bars.symbols, key=lambda symbol: len(task.bars[symbol]))
        yield from plain_python(task.strategy, task.bars[longest], features[longest], task.seed)
    yield from bar_time_ambiguity(full)
    yield from breakeven_cost(again, full)


def _is_compiled(strategy: Strategy, features: dict[str, Features]) -> bool:
    return bool(features) and program(strategy, next(iter(features.values())).names).compiled
