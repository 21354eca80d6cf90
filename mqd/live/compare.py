"""Two runs of one strategy side by side, order by order and fill by fill."""

from __future__ import annotations

from collections import Counter
from math import isnan
from typing import NamedTuple

import pandas as pd

_ORDER = ("id",)
_FILL = ("execution_id", "order_id")
SHOWN = 5


class Comparison(NamedTuple):
    """``equal``: every order and fill agrees but for its ids. ``differences``: the first few."""

    equal: bool
    differences: tuple[str, ...]


def compare(
    orders: tuple[pd.DataFrame, pd.DataFrame], fills: tuple[pd.DataFrame, pd.DataFrame]
) -> Comparison:
    """Compare the orders and the fills of two runs, each as (here, replay), row by row."""
    found = [*_differences("order", *orders, _ORDER), *_differences("fill", *fills, _FILL)]
    return Comparison(not found, tuple(found))


def _differences(
    what: str, here: pd.DataFrame, replay: pd.DataFrame, names: tuple[str, ...]
) -> list[str]:
    found = []
    if len(here) != len(replay):
        found.append(f"{len(here)} {what}s here, {len(replay)} in the replay")
    n = min(len(here), len(replay))
    mine, theirs = (
        frame.iloc[:n].drop(columns=list(names)).reset_index(drop=True) for frame in (here, replay)
    )
    differ = ~((mine == theirs) | (mine.isna() & theirs.isna()))
    for row in differ.index[differ.any(axis=1)][:SHOWN]:
        columns = [column for column in differ.columns if differ.at[row, column]]
        cells = [(c, str(mine.at[row, c]), str(theirs.at[row, c])) for c in columns]
        pairs = ", ".join(f"{name}: {here} / {there}" for name, here, there in cells)
        found.append(f"{what} {row} ({mine.at[row, 'symbol']!s}): {pairs}")
    return found


def causes(here: pd.DataFrame, replay: pd.DataFrame, width_ns: int) -> dict[str, int]:
    """Return how many orders differ from a replay's, by cause; ``width_ns`` is a bar's.

    Orders of a symbol pair up when they are on one side and were decided within a bar and a half.
    A pair is ``equal``, or differs first by ``reject`` (one side refused it), ``latency`` (a later
    bar filled it, at another price) or ``size`` (the equity it was sized by differed already).
    ``missed`` are orders of the replay without a partner here, ``extra`` those here without one.
    """
    found: Counter[str] = Counter()
    for symbol in sorted({*here["symbol"], *replay["symbol"]}):
        mine = _orders(here[here["symbol"] == symbol])
        theirs = _orders(replay[replay["symbol"] == symbol])
        while mine and theirs:
            one, other = mine[0], theirs[0]
            gap_ns = one.decided_ns - other.decided_ns
            if one.side == other.side and abs(gap_ns) * 2 <= 3 * width_ns:
                found[_cause(mine.pop(0), theirs.pop(0))] += 1
            elif gap_ns < 0:
                mine.pop(0)
                found["extra"] += 1
            else:
                theirs.pop(0)
                found["missed"] += 1
        found["extra"] += len(mine)
        found["missed"] += len(theirs)
    return {name: count for name, count in sorted(found.items()) if count}


class _Order(NamedTuple):
    side: str
    decided_ns: int
    status: str
    qty: float
    avg_px: float


def _orders(frame: pd.DataFrame) -> list[_Order]:
    columns = (
        frame["side"].astype(str), frame["decided"].astype("int64"), frame["status"].astype(str),
        frame["qty"].astype(float), frame["avg_px"].astype(float),
    )  # fmt: skip
    found = [_Order(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return sorted(found, key=lambda order: order.decided_ns)


def _cause(here: _Order, replay: _Order) -> str:
    if (here.status == "rejected") is not (replay.status == "rejected"):
        return "reject"
    unfilled = isnan(here.avg_px) and isnan(replay.avg_px)
    if here.avg_px != replay.avg_px and not unfilled:
        return "latency"
    return "equal" if here.qty == replay.qty else "size"
