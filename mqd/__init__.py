"""mqd: one quant's desk. The public names are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mqd import errors, indicators, splits, statistics, testing
    from mqd.backtesting import Result, backtest
    from mqd.checks.check import check
    from mqd.core.order import OrderClass, OrderRequest, OrderType, Side, TimeInForce
    from mqd.core.signal import HOLD
    from mqd.execution.costs import Costs
    from mqd.execution.fill_model import FillModel
    from mqd.features import feature
    from mqd.market_data.bars import Bars, load_bars
    from mqd.portfolio.sizing import (
        FixedNotional,
        FixedQuantity,
        FractionOfEquity,
        Kelly,
        VolatilityTarget,
    )
    from mqd.risk.declare import rule
    from mqd.risk.limits import Limits
    from mqd.scenarios import stress
    from mqd.strategy.parameters import param
    from mqd.strategy.strategy import Strategy
    from mqd.sweeps.result import Sweep
    from mqd.sweeps.sweep import sweep
    from mqd.sweeps.walkforward import walk_forward

__version__: Final = "0.1.0"

_MODULES: Final = ("errors", "indicators", "ml", "splits", "statistics", "testing")
_NAMES: Final = {
    "Bars": "mqd.market_data.bars",
    "Costs": "mqd.execution.costs",
    "FillModel": "mqd.execution.fill_model",
    "FixedNotional": "mqd.portfolio.sizing",
    "FixedQuantity": "mqd.portfolio.sizing",
    "FractionOfEquity": "mqd.portfolio.sizing",
    "HOLD": "mqd.core.signal",
    "Kelly": "mqd.portfolio.sizing",
    "Limits": "mqd.risk.limits",
    "OrderClass": "mqd.core.order",
    "OrderRequest": "mqd.core.order",
    "OrderType": "mqd.core.order",
    "Result": "mqd.backtesting",
    "Side": "mqd.core.order",
    "Strategy": "mqd.strategy.strategy",
    "TimeInForce": "mqd.core.order",
    "VolatilityTarget": "mqd.portfolio.sizing",
    "Sweep": "mqd.sweeps.result",
    "backtest": "mqd.backtesting",
    "check": "mqd.checks.check",
    "feature": "mqd.features",
    "load_bars": "mqd.market_data.bars",
    "param": "mqd.strategy.parameters",
    "rule": "mqd.risk.declare",
    "stress": "mqd.scenarios",
    "sweep": "mqd.sweeps.sweep",
    "walk_forward": "mqd.sweeps.walkforward",
}

__all__ = [
    "HOLD",
    "Bars",
    "Costs",
    "FillModel",
    "FixedNotional",
    "FixedQuantity",
    "FractionOfEquity",
    "Kelly",
    "Limits",
    "OrderClass",
    "OrderRequest",
    "OrderType",
    "Result",
    "Side",
    "Strategy",
    "Sweep",
    "TimeInForce",
    "VolatilityTarget",
    "backtest",
    "check",
    "errors",
    "feature",
    "indicators",
    "load_bars",
    "param",
    "rule",
    "splits",
    "statistics",
    "stress",
    "sweep",
    "testing",
    "walk_forward",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; it is then an attribute like any other."""
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"mqd.{name}")
    else:
        from mqd.errors import did_you_mean

        hint = "" if name.startswith("_") else did_you_mean(name, __all__)
        raise AttributeError(f"mqd has no {name!r}.{hint}", name=name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
