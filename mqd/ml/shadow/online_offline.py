"""Online against offline: the same features and scores, computed twice, held against each other.

Columns are compared by their bits. A difference is told by its size and by how many floats lie
between the two (ULP): a few are another order of additions, many are another definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.core.clock import iso
from mqd.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Offline:
    """What a comparison found.

    ``frame``: a row a column, with rows compared (``n``), those that differ (``differ``), the
    largest difference (``largest``; infinite where only one side is a number) and the most floats
    between the two (``ulp``). ``only_online``, ``only_offline``: rows that the other side has not.
    ``first`` names the first difference, "" without one.
    """

    frame: pd.DataFrame
    only_online: int
    only_offline: int
    first: str

    @property
    def equal(self) -> bool:
        """True when every row is on both sides and every bit is the same."""
        return not (self.only_online or self.only_offline or self.frame["differ"].any())

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        n = int(self.frame["n"].max()) if len(self.frame) else 0
        if self.equal:
            return f"{n:,} rows of {len(self.frame)} columns are equal to the bit."
        apart = self.frame.index[self.frame["differ"] > 0]
        parts = [
            f"{len(apart)} of {len(self.frame)} columns differ in {n:,} rows" if len(apart) else "",
            f"{self.only_online:,} rows are online only" if self.only_online else "",
            f"{self.only_offline:,} rows are offline only" if self.only_offline else "",
        ]
        return f"Not equal: {', '.join(filter(None, parts))}. First: {self.first}."


def compare_offline(online: pd.DataFrame, offline: pd.DataFrame) -> Offline:
    """Compare two frames of float columns, joined on their index, such as (ts_close, symbol).

    A NaN equals every NaN, and 0.0 is not -0.0. Raises ``UsageError`` for columns that one side
    has not, an index with a row twice, and frames without a common row.
    """
    for name in online.columns.symmetric_difference(offline.columns):
        known = offline.columns if name in online.columns else online.columns
        hint = did_you_mean(str(name), map(str, known))
        raise UsageError(f"Only one of the two frames has the column {name!r}.{hint}")
    for side, told in ((online, "online"), (offline, "offline")):
        if side.index.has_duplicates:
            twice = side.index[side.index.duplicated()][0]
            raise UsageError(f"The {told} frame has the row {_row(twice, side.index)} twice.")
    index = online.index.intersection(offline.index, sort=None).sort_values()
    if not len(index):
        raise UsageError("The two frames have no row in common: is their index the same?")
    left, right = online.loc[index], offline.loc[index, list(online.columns)]
    rows, first, first_at = {}, "", len(index)
    for name in online.columns:
        a, b = (side[name].to_numpy(dtype=np.float64) for side in (left, right))
        apart = ulp_between(a, b)
        rows[name] = {
            "n": len(index), "differ": int((apart > 0).sum()), "largest": _largest(a, b, apart),
            "ulp": int(apart.max()),
        }  # fmt: skip
        at = int(np.argmax(apart > 0)) if apart.any() else len(index)
        if at < first_at:
            first_at = at
            where = _row(index[at], index)
            first = f"{name} at {where}: online {float(a[at])!r}, offline {float(b[at])!r}"
    only = len(online) - len(index), len(offline) - len(index)
    if not first and any(only):
        sides = (online.index, offline.index) if only[0] else (offline.index, online.index)
        lone = sides[0].difference(sides[1]).sort_values()[0]
        first = f"the row {_row(lone, index)} is {'online' if only[0] else 'offline'} only"
    import pandas as pd

    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")
    return Offline(found, *only, first)


def ulp_between(a: Floats, b: Floats) -> Ints:
    """Return how many steps between neighbouring floats lie between two arrays: 0 where the bits
    are the same or both are NaN, the largest integer where one alone is NaN, 1 from 0.0 to -0.0."""
    places = []
    for values in (a, b):
        bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
        places.append(np.where(bits < 0, np.iinfo(np.int64).min - bits - 1, bits))
    high, low = np.maximum(*places), np.minimum(*places)
    most = np.iinfo(np.int64).max
    with np.errstate(over="ignore"):
        steps = high - low
    steps = np.where(steps < 0, most, steps)  # further apart than an integer can say
    missing = np.isnan(a), np.isnan(b)
    steps = np.where(missing[0] != missing[1], most, steps)
    found: Ints = np.where(missing[0] & missing[1], 0, steps)
    return found


def _row(label: Any, index: pd.Index) -> str:
    """Return a row's label in plain words; a close in ns as an instant."""
    parts = label if isinstance(label, tuple) else (label,)
    told = zip(parts, index.names, strict=True)
    return " ".join(iso(int(one)) if name == "ts_close" else str(one) for one, name in told)


def _largest(a: Floats, b: Floats, apart: Ints) -> float:
    if not apart.any():
        return 0.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(a - b)[apart > 0]
    return float(np.nanmax(np.where(np.isnan(distance), math.inf, distance)))
