"""Sizers as texts: what a command line and a live configuration write."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from mqd.errors import UsageError, did_you_mean
from mqd.portfolio.sizing import (
    FixedNotional,
    FixedQuantity,
    FractionOfEquity,
    Kelly,
    Sizer,
    VolatilityTarget,
)

_MAKERS: Final[dict[str, Callable[..., Sizer]]] = {
    "fraction": FractionOfEquity,
    "quantity": FixedQuantity,
    "notional": FixedNotional,
    "volatility": VolatilityTarget,
    "kelly": Kelly,
}


def sizer_of(text: str) -> Sizer:
    """Return the sizer of ``name`` or ``name=size``; raise ``UsageError`` for any other text."""
    name, equals, size = text.partition("=")
    if name not in _MAKERS:
        raise UsageError(f"There is no sizer {name!r}.{did_you_mean(name, _MAKERS)}")
    if not equals:
        return _MAKERS[name]()
    try:
        return _MAKERS[name](float(size) if name in {"volatility", "kelly"} else Decimal(size))
    except (ValueError, ArithmeticError, TypeError) as error:
        raise UsageError(f"--sizer {text!r}: {size!r} is no size for {name}.") from error
