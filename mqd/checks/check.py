"""``check``: the ways in which a backtest fools its author, tried one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from mqd.backtesting import backtest, name_strategies
from mqd.checks.decisions import decision_lookahead, price_level
from mqd.checks.lookahead import feature_lookahead
from mqd.checks.report import CheckReport, Finding, in_order
from mqd.errors import UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import Sizer
from mqd.result import Result
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

__all__ = ["CheckReport", "Finding", "check"]


def check(
    strategy: Strategy,
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
) -> CheckReport:
    """Look for lookahead, impurity, chance and differences between engines.

    ``seed`` chooses the cuts, of which ``n_cuts`` a symbol are at random beside the structured
    ones. The other words are those of ``mqd.backtest``. ``report.ok`` is False for lookahead,
    impurity, non-determinism and an engine difference; all else is a note.

    Raises ``UsageError`` for wrong words, and what ``mqd.backtest`` raises for a strategy that
    does not run at all.
    """
    if type(seed) is not int or type(n_cuts) is not int or n_cuts < 1:
        raise UsageError(f"seed = {seed!r}, n_cuts = {n_cuts!r}; whole numbers, n_cuts 1 or more.")
    if not isinstance(bars, Bars):
        raise UsageError(f"bars is {type(bars).__name__}, not Bars: use mqd.load_bars(path).")
    if not isinstance(strategy, Strategy):
        raise UsageError(f"{strategy!r} is no strategy: give an instance, such as SmaCross().")
    words = {
        "cash": cash, "sizer": sizer, "costs": costs, "fills": fills, "limits": limits,
        "rules": rules, "account": account, "multiplier": multiplier,
        "rebalance_band_frac": rebalance_band_frac,
    }  # fmt: skip
    task = Task(name_strategies(strategy)[0][1], bars, seed, n_cuts, words)
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

    def run(self, bars: Bars, **other: Any) -> Result:
        """Return a backtest of a fresh instance; ``other`` words go before the task's."""
        return backtest(self.strategy.fresh(), bars, seed=self.seed, **(self.words | other))


def _findings(task: Task) -> Iterator[Finding]:
    features: dict[str, Features] = {}
    found: list[Finding] = []
    if task.strategy.kind != "event":
        for symbol in task.bars.symbols:
            one = task.bars[symbol]
            features[symbol] = compute_features(task.strategy, one)
            found += feature_lookahead(task.strategy, one, features[symbol], task.n_cuts, task.seed)
    yield from found
    if any(one.severity == "finding" for one in found):
        return
    full = task.run(task.bars)
    yield from decision_lookahead(task.run, task.bars, full, task.seed)
    yield from price_level(task.strategy, task.bars, features)
