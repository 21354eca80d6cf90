"""``Sweep.verify``: rows of a sweep run again in the desk, compared frame by frame to the digit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.errors import AmountTooLarge, BadWeight, StrategyRaised, UsageError
from mqd.result import Result
from mqd.sweeps.evaluate import COUNTS, METRICS
from mqd.sweeps.settings import Engine

if TYPE_CHECKING:
    from mqd.sweeps.result import Sweep

FRAMES: Final = ("orders", "fills", "trades", "equity", "positions")
IDS: Final = ("id", "execution_id", "order_id")
EXACT: Final = COUNTS | {"final_equity"}
TOLERANCE: Final = 1e-9
"""Relative; for metrics that are sums of floats, which the engines may add in another order."""


class Difference(NamedTuple):
    """The first value that is not equal: where it is, and what each side has."""

    row: int
    frame: str
    column: str
    place: int
    found: object
    desk: object

    def __str__(self) -> str:
        where = f"{self.frame}, row {self.place}" if self.frame != "table" else "the table"
        return (
            f"row {self.row} of the sweep differs from the desk in {where}, column"
            f" {self.column!r}: {self.found!r} here, {self.desk!r} in the desk"
        )


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found. ``ok`` is True when every row equals the desk's.

    ``rows``: labels of the compared rows; ``n_orders``, ``n_fills`` over all of them; ``compared``
    says what was compared; ``difference`` is the first one, or None.
    """

    rows: tuple[int, ...]
    n_orders: int
    n_fills: int
    compared: str
    difference: Difference | None

    @property
    def ok(self) -> bool:
        """True when nothing differs."""
        return self.difference is None

    def __repr__(self) -> str:
        if self.difference is not None:
            return f"different: {self.difference}."
        return (
            f"equal: {len(self.rows)} combinations, {self.n_orders:,} orders and"
            f" {self.n_fills:,} fills; {self.compared}."
        )


def verify(sweep: Sweep, n: int, seed: int) -> Verification:
    """Return the comparison of the best and ``n`` random rows with the desk; see ``Sweep``."""
    rows = _chosen(sweep, n, seed)
    compiled = sweep.engine == "compiled"
    what = "compiled loop and desk, all frames" if compiled else "metrics of a second run"
    n_orders = n_fills = 0
    for row in rows:
        desk = _run(sweep, row, "event")
        difference = _table_difference(sweep, row, desk)
        if difference is None and compiled:
            difference = _frames_difference(row, _run(sweep, row, "compiled"), desk)
        if difference is not None:
            return Verification(rows, n_orders, n_fills, what, difference)
        if isinstance(desk, Result):
            n_orders, n_fills = n_orders + len(desk.orders), n_fills + len(desk.fills)
    return Verification(rows, n_orders, n_fills, what, None)


def _chosen(sweep: Sweep, n: int, seed: int) -> tuple[int, ...]:
    if type(n) is not int or n < 0:
        raise UsageError(f"verify: n = {n!r}; it must be a number of rows.")
    finite = np.isfinite(sweep.table["sharpe"].to_numpy(dtype=np.float64)).any()
    best = [int(sweep.best().name)] if finite else []
    others = [row for row in range(len(sweep.table)) if row not in best]
    drawn = np.random.default_rng(seed).choice(others, size=min(n, len(others)), replace=False)
    return (*best, *sorted(drawn.tolist()))


def _run(sweep: Sweep, row: int, engine: Engine) -> Result | str:
    try:
        return sweep.result(row, engine=engine)
    except (AmountTooLarge, BadWeight, StrategyRaised) as error:
        return str(error)


def _table_difference(sweep: Sweep, row: int, desk: Result | str) -> Difference | None:
    """Compare a row's columns with the metrics of the desk's run."""
    mine = sweep.table.iloc[row]
    if bool(mine["failed"]) != isinstance(desk, str):
        told = desk if isinstance(desk, str) else ""
        return Difference(row, "table", "failed", row, mine["failed"], told)
    if isinstance(desk, str):
        return None
    for name in METRICS:
        found, wanted = float(mine[name]), float(desk.metrics[name])
        both_nan = math.isnan(found) and math.isnan(wanted)
        tolerance = 0.0 if name in EXACT else TOLERANCE
        near = math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)
        if not (both_nan or near):
            return Difference(row, "table", name, row, found, wanted)
    return None


def _frames_difference(row: int, mine: Result | str, desk: Result | str) -> Difference | None:
    if isinstance(mine, str) or isinstance(desk, str):
        both = isinstance(mine, str) and isinstance(desk, str)
        return None if both else Difference(row, "run", "failed", 0, mine, desk)
    for name in FRAMES:
        for column, place, found, wanted in _differences(_frame(mine, name), _frame(desk, name)):
            return Difference(row, name, column, place, found, wanted)
    return None


def _frame(result: Result, name: str) -> pd.DataFrame:
    """Return a frame without ids; a fill's order is named by its place among the orders."""
    frame: pd.DataFrame = getattr(result, name)
    plain = frame.drop(columns=[one for one in IDS if one in frame])
    if name == "fills":
        places = {order: place for place, order in enumerate(result.orders["id"])}
        plain = plain.assign(order=[places[order] for order in frame["order_id"]])
    return plain.reset_index() if name in ("equity", "positions") else plain.reset_index(drop=True)


def _differences(
    mine: pd.DataFrame, desk: pd.DataFrame
) -> Iterator[tuple[str, int, object, object]]:
    if list(mine.columns) != list(desk.columns):
        yield "columns", 0, list(mine.columns), list(desk.columns)
        return
    n = min(len(mine), len(desk))
    for name in mine.columns:
        found, wanted = mine[name].to_numpy()[:n], desk[name].to_numpy()[:n]
        for place in np.flatnonzero(~_equal(found, wanted)).tolist():
            yield name, place, found[place], wanted[place]
    if len(mine) != len(desk):
        yield "rows", n, len(mine), len(desk)


def _equal(found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    absent = pd.isna(found) & pd.isna(wanted)
    same: NDArray[np.bool_] = np.asarray(found == wanted, dtype=np.bool_) | absent
    return same
