"""What else the sweep is asked for, mqd alone; one fresh process, one JSON line.

``sweep_parts.py library|exits|rules|single|stream|desk SCALE``: every strategy's rate on one
thread; a stop and a target beside none; ten rules beside none; one backtest of 100,000 bars; a
million combinations within ``memory_mb``; rows run again in the desk. ``SCALE`` divides the number
of combinations (``--quick``).
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sweep_data as data
import sweep_mqd
import sweep_rules

import mqd
from mqd.errors import MqdError
from mqd.strategy.library import NAMES
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.loading import resolve

CALLS = 5
COSTS = mqd.Costs(fee_bps=data.FEE_BPS)
STREAM_MB = 400
SINGLE_BARS = 100_000


def bars(n_bars: int, n_symbols: int = 1, freq: str = "D") -> mqd.Bars:
    """Return bars of the same walk as everywhere, in mqd's own object."""
    return sweep_mqd.bars_of(data.columns(data.Case((2, 3), n_bars, n_symbols)), freq)


def rate(
    strategy: type[mqd.Strategy], on: mqd.Bars, grid: Mapping[str, Any], **words: Any
) -> float:
    """Return bar-evaluations a second of one sweep on one thread, its table included."""
    start = time.perf_counter()
    found = mqd.sweep(
        strategy, on, grid, cash=data.CASH, costs=COSTS, workers=1, engine="compiled",
        progress=False, **words,
    )  # fmt: skip
    rows = len(found.table)
    n_bars = on.n_bars / (1 if words.get("symbols") == "pooled" else len(on.symbols))
    return rows * n_bars / (time.perf_counter() - start)


def grids(scale: int) -> dict[str, tuple[mqd.Bars, dict[str, Any], dict[str, Any]]]:
    """Return bars, grid and further words of each library strategy."""
    day, minute, many = bars(2_500), bars(14_400, freq="min"), bars(2_500, n_symbols=20)
    apart: dict[str, Any] = {}
    n = 100 // scale
    return {
        "buy_and_hold": (day, {"weight": np.linspace(0.05, 1.0, 80 * n)}, apart),
        "sma_cross": (
            day, {"fast": range(2, 50), "slow": range(50, 50 + 2 * n)}, {"where": "fast < slow"},
        ),
        "rsi_reversion": (
            day,
            {
                "period": range(2, 42), "buy_below": np.linspace(5.0, 50.0, n // 5),
                "sell_above": np.linspace(50.0, 90.0, 10),
            },
            apart,
        ),
        "bollinger_reversion": (
            day, {"period": range(5, 85), "width": np.linspace(0.5, 4.0, n)}, apart,
        ),
        "vwap_reversion": (
            minute,
            {"entry_frac": np.linspace(0.0005, 0.02, n), "flat_minutes": range(1, 61, 6)},
            apart,
        ),
        "donchian_breakout": (day, {"entry": range(5, 5 + 2 * n, 2), "exit": range(2, 82)}, apart),
        "momentum_rotation": (
            many,
            {"lookback": range(20, 20 + 2 * n, 2), "top": [1, 3, 5], "every": [5, 21]},
            {"symbols": "pooled"},
        ),
    }  # fmt: skip


def library(scale: int) -> dict[str, Any]:
    """Sweep every strategy of the library; rates are medians without the first call."""
    found: dict[str, Any] = {}
    planned = grids(scale)
    if set(planned) != set(NAMES):
        sys.exit(f"Strategies without a grid here: {sorted(set(NAMES) ^ set(planned))}")
    for name, (on, grid, words) in planned.items():
        strategy = resolve(name)
        try:
            rates = [rate(strategy, on, grid, **words) for _ in range(CALLS + 1)]
        except MqdError as error:
            found[name] = str(error)
        else:
            found[name] = statistics.median(rates[1:])
    return found


def beside(first: Callable[[], float], second: Callable[[], float]) -> dict[str, float]:
    """Return the median rates of two ways, and of their ratios, in turn; first calls left out."""
    first(), second()
    pairs = [(first(), second()) for _ in range(CALLS)]
    return {
        "without": statistics.median(a for a, _ in pairs),
        "with": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def pairs_grid(scale: int) -> dict[str, Any]:
    """Return the grid of the SMA pairs: 46 windows, fewer in a quick run."""
    windows = data.WINDOWS["142"] if scale == 1 else data.WINDOWS["46"]
    return {"fast": windows, "slow": windows}


def exits(scale: int) -> dict[str, float]:
    """Return the rates of the SMA pairs without exits, and with a stop and a target."""
    on, grid = bars(2_500), pairs_grid(scale)
    return beside(
        lambda: rate(sweep_rules.SmaPair, on, grid, where="fast < slow"),
        lambda: rate(sweep_rules.SmaPairExits, on, grid, where="fast < slow"),
    )


def rules(scale: int) -> dict[str, float]:
    """Return the rates of the SMA pairs without rules of the user's, and with ten."""
    on, grid = bars(2_500), pairs_grid(scale)
    return beside(
        lambda: rate(sweep_rules.SmaPair, on, grid, where="fast < slow"),
        lambda: rate(sweep_rules.SmaPair, on, grid, where="fast < slow", rules=sweep_rules.TEN),
    )


def single(_scale: int) -> dict[str, float]:
    """Return bars a second of one backtest, compiled and in the event engine, and their size.

    ``records`` reads orders and fills too, which a compiled result makes when asked.
    """
    on, strategy = bars(SINGLE_BARS, freq="min"), sweep_rules.SmaPair(fast=10, slow=50)

    def run(engine: Any, what: Callable[[mqd.Result], object]) -> float:
        start = time.perf_counter()
        what(mqd.backtest(strategy, on, cash=data.CASH, costs=COSTS, engine=engine))
        return SINGLE_BARS / (time.perf_counter() - start)

    def metrics(result: mqd.Result) -> object:
        return result.metrics

    def records(result: mqd.Result) -> object:
        return result.metrics, result.orders, result.fills, result.trades, result.equity

    run("compiled", records)
    return {
        "compiled": statistics.median(run("compiled", lambda _: None) for _ in range(CALLS)),
        "compiled, metrics": statistics.median(run("compiled", metrics) for _ in range(CALLS)),
        "compiled, frames": statistics.median(run("compiled", records) for _ in range(CALLS)),
        "event": run("event", metrics),
    }


def stream(scale: int) -> dict[str, float]:
    """Sweep a million combinations of 250 bars within ``STREAM_MB``, one thread."""
    on = bars(250)
    widths = 10_000 // scale
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    found = mqd.sweep(
        BollingerReversion, on,
        {"period": range(5, 105), "width": np.linspace(0.5, 4.5, widths)},
        cash=data.CASH, costs=COSTS, workers=1, engine="compiled", memory_mb=STREAM_MB,
        progress=False,
    )  # fmt: skip
    best = found.best("sharpe", 1)
    return {
        "combinations": len(found.table),
        "best": len(best),
        "seconds": time.perf_counter() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": base,
    }


def desk(scale: int) -> dict[str, Any]:
    """Run the best and some random rows of the 1,035 pairs again in the desk; say what it found."""
    case = data.CASES["1,035 pairs"]
    found = sweep_mqd.sweep(sweep_mqd.bars_of(data.columns(case)), case.windows, workers=1)
    proof = found.verify(20 if scale == 1 else 5)
    return {"ok": proof.ok, "told": str(proof)}


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "library": library,
    "exits": exits,
    "rules": rules,
    "single": single,
    "stream": stream,
    "desk": desk,
}


def main() -> None:
    """Measure one part and print it, or why mqd refused."""
    sweep_mqd.import_all()
    try:
        found = PARTS[sys.argv[1]](int(sys.argv[2]))
    except MqdError as error:
        found = {"refused": str(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
