"""``promote``: run the evidence for one strategy and write its record, or say what failed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from mqd import trials
from mqd.backtesting import backtest
from mqd.checks.check import CheckReport, check
from mqd.core.clock import WallClock, iso
from mqd.errors import UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.settings import Settings, settings_of
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import Sizer
from mqd.promotion.code_version import code_version
from mqd.promotion.errors import PromotionRefused
from mqd.promotion.gates import Gate, judge
from mqd.promotion.record import Record, refuse_existing, write_record
from mqd.report.tables import is_count
from mqd.result import Result
from mqd.risk.limits import Limits
from mqd.splits.walk_forward import Unit
from mqd.strategy.compiled import fingerprint
from mqd.strategy.predictors import handed_in, is_champion, models_of, trained_to_ns
from mqd.strategy.strategy import Strategy
from mqd.sweeps.constraint import Where
from mqd.sweeps.result import Sweep
from mqd.sweeps.sweep import sweep
from mqd.sweeps.walkforward import WalkForwardResult, walk_forward

WINDOWS: Final = 4
"""Test spans of a walk-forward whose lengths nobody said."""


class Rehearsed(Protocol):
    """What a rehearsal tells."""

    @property
    def orders(self) -> Any:
        """The orders sent, one a row."""
        ...

    @property
    def fills(self) -> Any:
        """The fills heard, one a row."""
        ...

    @property
    def breaks(self) -> Sequence[str]:
        """Differences of our books from the venue's, as sentences."""
        ...

    @property
    def duplicates(self) -> int:
        """Orders sent twice for one decision."""
        ...

    @property
    def lost_fills(self) -> int:
        """Executions at the venue that our log has not."""
        ...

    @property
    def equal(self) -> bool | None:
        """Whether orders and fills are the replay's; None when it was not asked."""
        ...


Rehearse = Callable[..., Rehearsed]
"""``rehearse(strategy, **words)`` over the same bars; words: cash, sizer, costs, fills, limits,
multiplier, rebalance_band_frac."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The walk-forward: lengths of train and test span in ``unit``, both None for four windows."""

    train: int | None = None
    test: int | None = None
    unit: Unit = "bars"
    gap: int = 0
    anchored: bool = False

    def words(self, bars: Bars) -> dict[str, Any]:
        """Return the words of ``walk_forward``; half the bars train where nothing is said."""
        train, test, unit = self.train, self.test, self.unit
        if (train is None) != (test is None):
            raise UsageError("Say the length of both spans, train and test, or of neither.")
        if train is None:
            closes = np.unique(np.concatenate([bars[one].ts_close for one in bars.symbols]))
            unit, train, test = "bars", len(closes) // 2, len(closes) // (2 * WINDOWS)
        return {
            "train": train, "test": test, "unit": unit, "gap": self.gap, "anchored": self.anchored
        }  # fmt: skip


def promote(
    strategy: Strategy,
    bars: Bars,
    *,
    rehearse: Rehearse,
    out: str | Path,
    grid: Mapping[str, Any] | None = None,
    where: Where = None,
    windows: Windows | None = None,
    study: str | Path | None = None,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
) -> Record:
    """Run check, backtest, walk-forward and rehearsal; write the record to ``out``, return it.

    ``grid`` (with ``where``) are the combinations that the parameters were chosen from: they are
    swept, and the walk-forward chooses among them; without it there is one trial, unless
    ``study`` (a folder of ``mqd.trials``) has counted more. ``mqd.promotion.gates`` has the
    bounds. The other words are those of ``mqd.backtest``.

    Raises ``PromotionRefused`` with every gate that failed (nothing is written), ``UsageError``
    when ``out`` exists, and what the four runs raise.
    """
    refuse_existing(Path(out))
    words: dict[str, Any] = {
        "cash": cash, "sizer": sizer, "costs": costs, "fills": fills, "limits": limits,
        "multiplier": multiplier, "rebalance_band_frac": rebalance_band_frac,
    }  # fmt: skip
    settings = settings_of(bars, **words)
    beforehand = [
        _costs_gate(settings.costs), _limits_gate(settings.limits), *_model_gate(strategy)
    ]  # fmt: skip
    if not all(gate.passed for gate in beforehand):
        raise PromotionRefused(repr(strategy), beforehand)
    evidence = _gather(strategy, bars, words, grid, where, windows or Windows(), study)
    rehearsed = rehearse(strategy.fresh(), **words)
    unseen = _unseen_gate(strategy, evidence.walk)
    gates = (*beforehand, *unseen, *_gates(evidence), *_rehearsal_gates(rehearsed))
    if not all(gate.passed for gate in gates):
        raise PromotionRefused(repr(strategy), gates)
    record = _record(strategy, bars, settings, evidence, rehearsed, gates)
    write_record(record, out)
    return record


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the runs before the rehearsal said."""

    report: CheckReport
    result: Result
    walk: WalkForwardResult
    n_trials: int
    deflated: float | None
    pbo: float | None


def _gather(
    strategy: Strategy,
    bars: Bars,
    words: dict[str, Any],
    grid: Mapping[str, Any] | None,
    where: Where,
    windows: Windows,
    study: str | Path | None,
) -> _Evidence:
    """Check, backtest, sweep and walk; the sweep and the study count the trials."""
    fixed = {name: [value] for name, value in strategy.parameters.items()}
    axes = fixed | dict(grid or {})
    cut = windows.words(bars)
    report = check(strategy, bars, **words)
    result = backtest(strategy.fresh(), bars, study=study, **words)
    found = None
    if grid:
        found = sweep(
            type(strategy), bars, axes, where=where, symbols="pooled", study=study, **words
        )
    walk = walk_forward(type(strategy), bars, axes, where=where, **cut, **words)
    n_trials = max(
        1 if found is None else found.n_combinations, 0 if study is None else trials.count(study)
    )
    deflated, pbo = _luck(strategy, found, n_trials)
    return _Evidence(report, result, walk, n_trials, deflated, pbo)


def _luck(
    strategy: Strategy, found: Sweep | None, n_trials: int
) -> tuple[float | None, float | None]:
    """Return deflated Sharpe of the promoted parameters and PBO; None where luck had no choice."""
    if found is None:
        return (None, None) if n_trials == 1 else (math.nan, math.nan)
    if n_trials == 1:
        return None, None
    row = _row_of(strategy, found)
    return found.deflated_sharpe(row, n_trials), found.pbo_by_unit()["all"]


def _row_of(strategy: Strategy, found: Sweep) -> int:
    """Return the place of the promoted parameters among the combinations."""
    same = np.ones(len(found.table), dtype=np.bool_)
    for name, value in strategy.parameters.items():
        if name in found.table:
            same &= (found.table[name] == value).to_numpy()
    if not same.any():
        raise UsageError(
            f"{strategy!r} is not in the grid: name the grid that its parameters were chosen from."
        )
    return int(np.flatnonzero(same)[0])


def _costs_gate(costs: Costs) -> Gate:
    charged = bool(costs.fee_bps or costs.fee_per_share or costs.slippage_bps)
    return judge("costs", float(charged), "" if charged else "Leave the costs out for Alpaca's.")


def _limits_gate(limits: Limits) -> Gate:
    more = "Name those of the desk: --limits FILE." if limits.is_research else ""
    return judge("limits", float(not limits.is_research), more)


def _models(strategy: Strategy) -> list[str]:
    """Return the models that a strategy can ask: those that it names, and all that are handed in,
    for its code could name one."""
    return sorted({*models_of(strategy.parameters), *handed_in()})


def _model_gate(strategy: Strategy) -> list[Gate]:
    """Return the gate of a strategy that asks models: each has to be a champion."""
    models = _models(strategy)
    if not models:
        return []
    others = [one for one in models if not is_champion(one)]
    more = f"{', '.join(others)}: none, or not handed in." if others else ", ".join(models)
    return [judge("model", float(not others), more)]


def _unseen_gate(strategy: Strategy, walk: WalkForwardResult) -> list[Gate]:
    """Return the gate of what a model has learnt from: nothing of what it is judged on."""
    trained = {one: trained_to_ns(one) for one in _models(strategy)}
    if not trained:
        return []
    known = {one: until_ns for one, until_ns in trained.items() if until_ns is not None}
    for reference in trained.keys() - known.keys():
        more = f"The manifest of {reference} does not say what it was trained on."
        return [judge("model_unseen", 0.0, more)]
    latest_ns, first = max(known.values()), walk.windows["test_first"].min()
    more = f"It was trained up to {iso(latest_ns)}, the walk-forward tests from {iso(first.value)}"
    return [judge("model_unseen", float(latest_ns < first.value), f"{more} on.")]


def _gates(evidence: _Evidence) -> list[Gate]:
    findings = [one for one in evidence.report.findings if one.severity == "finding"]
    told = " ".join(one.sentence for one in findings)
    gates = [
        judge("check", float(len(findings)), told),
        judge("trades", float(evidence.result.metrics["n_trades"])),
        judge("walk_forward", float(evidence.walk.metrics["sharpe"])),
    ]
    if evidence.n_trials > 1 and evidence.deflated is not None and evidence.pbo is not None:
        without = math.isnan(evidence.deflated) and math.isnan(evidence.pbo)
        more = "Name the grid that they were chosen from." if without else ""
        trials_said = f"{evidence.n_trials} trials. {more}".rstrip()
        gates.append(judge("deflated_sharpe", evidence.deflated, trials_said))
        gates.append(judge("pbo", evidence.pbo, more))
    return gates


def _rehearsal_gates(rehearsed: Rehearsed) -> list[Gate]:
    named = " ".join(list(rehearsed.breaks)[:3])
    return [
        judge("rehearsal_equal", float(rehearsed.equal is True)),
        judge("rehearsal_breaks", float(len(rehearsed.breaks)), named),
        judge("rehearsal_duplicates", float(rehearsed.duplicates)),
        judge("rehearsal_lost_fills", float(rehearsed.lost_fills)),
    ]


def _record(
    strategy: Strategy,
    bars: Bars,
    settings: Settings,
    evidence: _Evidence,
    rehearsed: Rehearsed,
    gates: tuple[Gate, ...],
) -> Record:

    kind = type(strategy)
    run = {
        "cash": str(settings.cash), "sizer": repr(settings.sizer), "costs": asdict(settings.costs),
        "fills": repr(settings.fills), "multiplier": settings.multiplier,
        "rebalance_band_frac": settings.rebalance_band_frac, "account": settings.account,
    }  # fmt: skip
    named = {
        "name": f"{kind.__module__}:{kind.__qualname__}", "class": kind.__name__,
        "code": fingerprint(strategy), "parameters": dict(strategy.parameters),
        "models": _models(strategy),
    }  # fmt: skip
    data = _data_words(bars)
    walk = evidence.walk
    decided = [named, data, run, settings.limits.sha256]
    return _plain(Record(
        version=code_version(), made_ns=WallClock().now_ns(), strategy=named, data=data,
        settings=run, limits=settings.limits.sha256,
        config=hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest(),
        metrics={
            "backtest": _figures(evidence.result.metrics),
            "walk_forward": _figures(walk.metrics) | {
                "windows": len(walk.windows), "scheme": walk.scheme,
                "efficiency": None if math.isnan(walk.efficiency) else walk.efficiency,
            },
        },
        trials=evidence.n_trials, check=[one.sentence for one in evidence.report.findings],
        rehearsal={
            "orders": len(rehearsed.orders), "fills": len(rehearsed.fills),
            "breaks": len(rehearsed.breaks), "duplicates": rehearsed.duplicates,
            "lost_fills": rehearsed.lost_fills, "equal": rehearsed.equal,
            "log_sha256": getattr(rehearsed, "log_sha256", None),
        },
        gates=gates,
    ))  # fmt: skip


def _figures(metrics: Any) -> dict[str, float | int | None]:
    """Return metrics as JSON holds them: counts as ints, what is no number as None."""
    return {
        str(name): None if not math.isfinite(value) else int(value) if is_count(name) else value
        for name, value in ((str(n), float(v)) for n, v in metrics.items())
    }


def _plain(record: Record) -> Record:
    """Return a record as it is read back: a number that JSON changes would change its hash."""
    told = json.loads(json.dumps(asdict(record), allow_nan=False))
    return Record(**(told | {"gates": record.gates}))


def _data_words(bars: Bars) -> dict[str, Any]:
    return {
        "sha256": bars.sha256, "feed": bars.feed, "timeframe": bars.timeframe,
        "adjust": bars.adjust, "calendar": bars.calendar, "symbols": sorted(bars.symbols),
        "rows": {symbol: len(bars[symbol]) for symbol in sorted(bars.symbols)},
        "first": iso(bars.first), "last": iso(bars.last),
    }  # fmt: skip
