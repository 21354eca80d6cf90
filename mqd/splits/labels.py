"""Times, spans and label intervals as int64 ns, and which rows they keep apart."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UsageError

Ints = NDArray[np.int64]
Split = tuple[Ints, Ints]
Span = str | timedelta | np.timedelta64

INT64_MAX: Final = int(np.iinfo(np.int64).max)


class Labels(NamedTuple):
    """The first and the last instant that each row's label knows, int64 ns, shape (rows,)."""

    label_start: Ints
    label_end: Ints


def fixed_horizon(times: Any, *, bars: int | None = None, span: Span | None = None) -> Labels:
    """Return the intervals of labels that look a fixed way ahead.

    ``times`` are the stamps of one symbol's rows, ascending. Give ``bars`` (the label of row i
    ends at the stamp of row i + bars; the last ``bars`` rows have no label and are left out: cut
    them from X too) or ``span`` (it ends that much later, and every row has one).
    """
    stamps = instants("times", times)[0]
    ascending("times", stamps)
    if bars is not None and span is None:
        whole("bars", bars, 1)
        if bars >= len(stamps):
            raise UsageError(f"A horizon of {bars} bars leaves no label: {len(stamps)} rows.")
        return Labels(stamps[:-bars], stamps[bars:])
    if bars is not None or span is None:
        raise UsageError("fixed_horizon() takes bars= or span=, one of them.")
    length = span_ns("span", span)
    if int(stamps[-1]) + length > INT64_MAX:
        raise UsageError(f"span = {span!r} ends after the year 2262, the last that ns can hold.")
    return Labels(stamps, stamps + length)


def read_labels(starts: Any, ends: Any) -> Labels:
    """Return checked label intervals: one length, ascending starts, ends not before starts."""
    if starts is None or ends is None:
        raise UsageError("label_start and label_end go together: one instant of each a row.")
    begin, begin_zone = instants("label_start", starts)
    end, end_zone = instants("label_end", ends)
    one_length({"label_start": begin, "label_end": end})
    if None not in (begin_zone, end_zone) and begin_zone != end_zone:
        raise UsageError("One of label_start and label_end has a time zone, the other has none.")
    ascending("label_start", begin)
    wrong = np.flatnonzero(end < begin)
    if len(wrong):
        raise UsageError(
            f"label_end lies before label_start in {len(wrong)} rows, first in row {wrong[0]}."
        )
    return Labels(begin, end)


def apart(labels: Labels, train: Ints, first: int, last: int, embargo: int) -> NDArray[np.bool]:
    """Return which training rows share no instant with the labels of test rows [first, last).

    Starts ascend, so a row before the block meets one of its labels exactly when it ends at or
    after the block's first start, and a row behind it when it starts at or before the latest end
    (plus the ``embargo``, ns). The block is contiguous and holds no training row.
    """
    begin = int(labels.label_start[first])
    end = min(int(labels.label_end[first:last].max()) + embargo, INT64_MAX)
    before = (train < first) & (labels.label_end[train] < begin)
    behind = (train >= last) & (labels.label_start[train] > end)
    kept: NDArray[np.bool] = before | behind
    return kept


def instants(name: str, values: Any) -> tuple[Ints, bool | None]:
    """Return times as int64 ns and whether they have a zone; None: plain integers, ns UTC."""
    import pandas as pd

    try:
        index = pd.Index(values)
        if index.dtype.kind in "iu" and len(index):
            return index.to_numpy(dtype=np.int64), None
        if not len(index) or index.dtype.kind not in "MO":
            raise UsageError(
                f"{name} must hold one instant a row (int ns or datetimes), not"
                f" {len(index)} values of {index.dtype}."
            )
        stamps = pd.DatetimeIndex(index).as_unit("ns")
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} does not hold instants ({error}).") from error
    missing = np.flatnonzero(stamps.isna())
    if len(missing):
        raise UsageError(f"{name} is NaT in {len(missing)} rows, first in row {missing[0]}.")
    return stamps.asi8, stamps.tz is not None


def ascending(name: str, stamps: Ints) -> None:
    """Refuse times that go back; equal ones (several symbols) may follow each other."""
    back = np.flatnonzero(stamps[1:] < stamps[:-1])
    if len(back):
        raise UsageError(
            f"{name} goes back in time at row {back[0] + 1}. Sort the rows by it, X and y as well."
        )


def one_length(columns: dict[str, Ints]) -> int | None:
    """Return the common length of the columns, None without any."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise UsageError(f"One value a row is wanted, but {told}.")
    return next(iter(lengths.values()), None)


def row_count(X: Any, bound: int | None) -> int:  # noqa: N803
    """Return the number of rows of X, which must be that of the bound times."""
    if X is None:
        if bound is None:
            raise UsageError("The number of rows is not known: pass X, or bind times=.")
        return bound
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if bound is not None and n_rows != bound:
        raise UsageError(f"X has {n_rows} rows, but the splitter was given times of {bound} rows.")
    return int(n_rows)


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number of at least ``least``."""
    number = int(value) if isinstance(value, int | np.integer) else least - 1
    if number < least or isinstance(value, bool):
        raise UsageError(f"{name} = {value!r}; it must be a whole number of at least {least}.")
    return number


def embargo_span_ns(labels: Labels, span: Span | None, frac: float | None) -> int:
    """Return the embargo in ns: a span, or a fraction of the time between first and last start."""
    if frac is None:
        return 0 if span is None else span_ns("embargo", span)
    if span is not None:
        raise UsageError("Give embargo (a span of time) or embargo_frac, not both.")
    value: object = frac
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UsageError(f"embargo_frac = {frac!r}; it must be in [0, 1).")
    return math.ceil(frac * int(labels.label_start[-1] - labels.label_start[0]))


def span_ns(name: str, span: object) -> int:
    """Return a span of time in ns; a bare number is refused, because it could count rows."""
    import pandas as pd

    wanted = "it must be a span of time, such as '5D', '90min' or a timedelta"
    counts = isinstance(span, str) and not any(c.isalpha() or c == ":" for c in span)
    if counts or not isinstance(span, str | timedelta | np.timedelta64):
        raise UsageError(f"{name} = {span!r}; {wanted}, never a number of rows.")
    try:
        length = pd.Timedelta(span).as_unit("ns")
    except (ValueError, OverflowError, AttributeError) as error:
        raise UsageError(f"{name} = {span!r}; {wanted}.") from error
    if not length >= pd.Timedelta(0):
        raise UsageError(f"{name} = {span!r}; {wanted}, and not negative.")
    return int(length.value)


def not_empty(train: Ints, number: int) -> Ints:
    """Return the training rows of a split; refuse none."""
    if not len(train):
        raise UsageError(
            f"Split {number} has no row left to train on: purge and embargo drop them all. Shorten"
            " the labels or the embargo, or use fewer and longer blocks."
        )
    return train
