"""Features of one symbol: the user's columns, checked against its bars."""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, SymbolBars
from mqd.core.clock import iso
from mqd.errors import BadFeatures, StrategyError, StrategyRaised
from mqd.strategy.strategy import Strategy

BAR_FIELDS = (
    "open", "high", "low", "close", "volume",
    "session_index", "minutes_from_open", "minutes_to_close",
)  # fmt: skip
"""What ``now`` offers beside the features, in the order in which programs take them."""

RESERVED = frozenset(f.name for f in dataclasses.fields(SymbolBars)) | {"tradable"}


class Features(NamedTuple):
    """One symbol's features: read-only contiguous float64 columns of ``len(bars)``.

    ``ready`` is True where every feature is finite; elsewhere the strategy is skipped.
    """

    names: tuple[str, ...]
    columns: tuple[Floats, ...]
    ready: NDArray[np.bool_]


def compute_features(strategy: Strategy, bars: SymbolBars) -> Features:
    """Call ``strategy.features`` on read-only bars and check what it returns.

    Raises ``BadFeatures`` for a wrong name, length or type, ``StrategyError`` when the bars are
    written to, ``StrategyRaised`` when the user's code raises.
    """
    name = type(strategy).__name__
    returned = _call(strategy, read_only(bars))
    if not isinstance(returned, Mapping):
        what = f"returned {type(returned).__name__}, not a dict of arrays"
        raise BadFeatures(name, bars.symbol, what)
    columns = []
    for key, value in returned.items():
        check_feature_name(name, bars.symbol, key)
        columns.append(checked_column(name, bars, key, value))
    ready = np.ones(len(bars), dtype=np.bool_)
    for column in columns:
        ready &= np.isfinite(column)
    ready.setflags(write=False)
    return Features(tuple(returned), tuple(columns), ready)


def read_only(bars: SymbolBars) -> SymbolBars:
    """Return the same bars over views that cannot be written."""
    views: dict[str, Any] = {}
    for field in dataclasses.fields(bars):
        value = getattr(bars, field.name)
        if isinstance(value, np.ndarray) and value.flags.writeable:
            views[field.name] = value.view()
            views[field.name].setflags(write=False)
    return dataclasses.replace(bars, **views) if views else bars


def _call(strategy: Strategy, bars: SymbolBars) -> object:
    name = type(strategy).__name__
    try:
        return strategy.features(bars)
    except (ValueError, dataclasses.FrozenInstanceError) as error:
        if isinstance(error, ValueError) and "read-only" not in str(error):
            raise _raised(name, bars, error) from error
        raise StrategyError(
            f"{name}.features writes to the bars of {bars.symbol}: they are read-only, because"
            " every strategy sees the same ones. Copy the column first (bars.close.copy())."
        ) from error
    except Exception as error:
        raise _raised(name, bars, error) from error


def _raised(name: str, bars: SymbolBars, error: Exception) -> StrategyRaised:
    last = iso(int(bars.ts_close[-1])) if len(bars) else "never"
    return StrategyRaised(name, "features", bars.symbol, last, error)


def check_feature_name(strategy: str, symbol: str, key: object) -> None:
    """Raise ``BadFeatures`` for a name that ``now.<name>`` cannot read or that is a bar field."""
    if not isinstance(key, str) or not key.isidentifier() or keyword.iskeyword(key):
        raise BadFeatures(strategy, symbol, f"{key!r} is no name that now.<name> can read")
    if key.startswith("_"):
        raise BadFeatures(strategy, symbol, f"feature {key!r} must not start with an underscore")
    if key in RESERVED:
        raise BadFeatures(
            strategy, symbol, f"feature {key!r} is named like a bar field; call it my_{key}"
        )


def checked_column(strategy: str, bars: SymbolBars, key: str, value: object) -> Floats:
    """Return a read-only float64 copy of a feature, or raise ``BadFeatures``."""
    if not isinstance(value, np.ndarray):
        value = np.asarray(value) if hasattr(value, "to_numpy") else value
    if not isinstance(value, np.ndarray):
        what = f"feature {key!r} is {type(value).__name__}, not an array"
        raise BadFeatures(strategy, bars.symbol, what)
    if value.dtype.kind not in "fiub":
        what = f"feature {key!r} holds {value.dtype}, not numbers"
        raise BadFeatures(strategy, bars.symbol, what)
    if value.shape != (len(bars),):
        what = (
            f"feature {key!r} has shape {value.shape}, but there are {len(bars)} bars;"
            " pad the start with NaN"
        )
        raise BadFeatures(strategy, bars.symbol, what)
    column = np.array(value, dtype=np.float64, order="C", copy=True)
    column.setflags(write=False)
    return column
