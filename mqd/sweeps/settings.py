"""The settings of a sweep: those of one backtest, and how much machine it may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from types import FunctionType
from typing import Any, Literal

from mqd.errors import UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.portfolio.sizing import FractionOfEquity, Sizer
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits
from mqd.strategy.fingerprints import run_fingerprint

Engine = Literal["auto", "compiled", "event"]
Symbols = Literal["apart", "pooled"]
MEMORY_MB_MIN = 32
_MACHINE = frozenset({"engine", "workers", "memory_mb"})


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What every combination of a sweep shares; picklable.

    The first ten are those of ``mqd.backtest``, defaults filled in. ``workers``: threads, None
    lets the evaluator choose. ``memory_mb``: what features and chunks may take together, MiB.
    """

    cash: float | Decimal
    sizer: Sizer
    costs: Costs
    fills: FillModel
    limits: Limits
    rules: tuple[Rule, ...]
    account: Literal["margin", "cash"]
    multiplier: int
    rebalance_band_frac: float | None
    seed: int
    engine: Engine
    workers: int | None
    memory_mb: int

    def backtest_words(self) -> dict[str, Any]:
        """Return the keyword arguments of ``mqd.backtest``, without the engine."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _MACHINE}

    def identity(self) -> dict[str, str]:
        """Return, by name, what of the settings decides the numbers of a sweep, as text."""
        words = self.backtest_words()
        words["cash"] = f"{Decimal(str(self.cash)).normalize():f}"
        words["rules"] = [_rule_text(rule) for rule in self.rules]
        return {name: str(value) for name, value in words.items()}


def _rule_text(rule: Rule) -> str:
    name = getattr(rule, "__qualname__", type(rule).__name__)
    return f"{name}:{run_fingerprint(rule)}" if isinstance(rule, FunctionType) else name


def sweep_settings(
    *,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    account: Literal["margin", "cash"] = "margin",
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    workers: int | None = None,
    memory_mb: int = 400,
) -> SweepSettings:
    """Return the settings with defaults filled in; raise ``UsageError`` for wrong words.

    What ``mqd.backtest`` checks it checks itself, at the first combination.
    """
    if engine not in ("auto", "event", "compiled"):
        raise UsageError(f"engine = {engine!r}; it must be 'auto', 'event' or 'compiled'.")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise UsageError(f"workers = {workers!r}; it must be a number of threads, or None.")
    if type(memory_mb) is not int or memory_mb < MEMORY_MB_MIN:
        raise UsageError(
            f"memory_mb = {memory_mb!r}; it must be a whole number of at least {MEMORY_MB_MIN}."
        )
    if not isinstance(rules, list | tuple):
        raise UsageError(f"rules = {rules!r}; it must be a list of rules (mqd.rule).")
    return SweepSettings(
        cash=cash, sizer=sizer or FractionOfEquity(), costs=costs or Costs.alpaca(),
        fills=fills or FillModel(), limits=limits or Limits.research(multiplier),
        rules=tuple(rules), account=account, multiplier=multiplier,
        rebalance_band_frac=rebalance_band_frac, seed=seed, engine=engine, workers=workers,
        memory_mb=memory_mb,
    )  # fmt: skip
