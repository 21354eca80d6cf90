"""Two runs of one strategy side by side, order by order and fill by fill."""

from __future__ import annotations

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
