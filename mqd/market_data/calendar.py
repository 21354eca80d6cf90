"""Trading calendars as sorted integer arrays: a thin adapter over exchange_calendars.

Everything is int64: sessions as days since 1970, instants as nanoseconds UTC. The library is
imported at the first use and is always asked for an explicit range, so that no answer depends
on the day of the call.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.errors import UsageError, did_you_mean

EPOCH = date(1970, 1, 1)
YEARS_FOR_MEAN = 10


def day_number(day: date) -> int:
    """Return a date as days since 1970."""
    return (day - EPOCH).days


def day_date(day: int) -> date:
    """Return days since 1970 as a date."""
    return EPOCH + timedelta(days=int(day))


@dataclass(frozen=True, eq=False)
class TradingCalendar:
    """The sessions of one exchange over a range of years.

    ``sessions`` are days since 1970; ``opens``, ``closes``, ``break_starts`` and ``break_ends``
    are ns UTC, one a session, ascending. A session without a lunch break has both break stamps
    at its close. A session covers ``[open, close)`` less ``[break start, break end)``.
    """

    name: str
    zone: str
    sessions: Ints
    opens: Ints
    closes: Ints
    break_starts: Ints
    break_ends: Ints

    def is_session(self, day: int | date) -> bool:
        """Return whether the exchange trades on a day."""
        number = day_number(day) if isinstance(day, date) else day
        return bool(find_exact(self.sessions, np.array([number], np.int64))[0] >= 0)

    def index_at(self, ts: Ints) -> Ints:
        """Return the index of the session that trades at each instant, -1 where none does."""
        row = np.searchsorted(self.opens, ts, side="right") - 1
        safe = np.maximum(row, 0)
        inside = (row >= 0) & (ts < self.closes[safe])
        inside &= (ts < self.break_starts[safe]) | (ts >= self.break_ends[safe])
        return np.where(inside, row, -1)

    def session_of(self, ts_ns: int) -> int | None:
        """Return the session (days since 1970) that trades at an instant, None outside."""
        row = int(self.index_at(np.array([ts_ns], np.int64))[0])
        return None if row < 0 else int(self.sessions[row])

    def daily_index(self, ts: Ints) -> Ints:
        """Return the session that each daily stamp names, -1 where it names none.

        A daily bar may be stamped at its session's open, at the midnight of its session date
        on the exchange's clock, or at the UTC midnight of that date.
        """
        row = find_exact(self.opens, ts)
        for stamps in (self.local_midnights, self.sessions * NS_PER_DAY):
            row = np.where(row >= 0, row, find_exact(stamps, ts))
        return row

    @cached_property
    def local_midnights(self) -> Ints:
        """The midnight that begins each session's date on the exchange's clock, ns UTC."""
        import pandas as pd

        days = pd.DatetimeIndex(self.sessions.astype("datetime64[D]").astype("datetime64[ns]"))
        first = np.zeros(len(days), dtype=bool)
        local = days.tz_localize(self.zone, ambiguous=first, nonexistent="shift_forward")
        return np.asarray(local.as_unit("ns").asi8, dtype=np.int64)

    def minutes_from_open(self, ts: Ints, row: Ints) -> Floats:
        """Return the trading minutes from the session's open to each instant, breaks left out."""
        in_break = np.clip(ts - self.break_starts[row], 0, self.break_lengths[row])
        passed = np.minimum(ts, self.closes[row]) - self.opens[row] - in_break
        return np.asarray(passed / NS_PER_MINUTE)

    def minutes_to_close(self, ts: Ints, row: Ints) -> Floats:
        """Return the trading minutes from each instant to the session's close."""
        whole = (self.closes - self.opens - self.break_lengths)[row] / NS_PER_MINUTE
        return whole - self.minutes_from_open(ts, row)

    @cached_property
    def break_lengths(self) -> Ints:
        """The length of each session's break in ns, 0 where there is none."""
        return self.break_ends - self.break_starts

    def buckets(self, ts: Ints, row: Ints, width_ns: int) -> tuple[Ints, Ints]:
        """Return start and end of the bucket that holds each instant of a session.

        Buckets start at the open and again after the break; the last one of each part ends at
        the break or the close and may be short.
        """
        late = ts >= self.break_ends[row]
        part_start = np.where(late, self.break_ends[row], self.opens[row])
        part_end = np.where(late, self.closes[row], self.break_starts[row])
        start = part_start + (ts - part_start) // width_ns * width_ns
        return start, np.minimum(start + width_ns, part_end)

    def bucket_counts(self, width_ns: int) -> Ints:
        """Return how many buckets of a width each session holds."""
        early = -((self.opens - self.break_starts) // width_ns)
        return early - (self.break_ends - self.closes) // width_ns

    def bucket_numbers(self, ts: Ints, row: Ints, width_ns: int) -> Ints:
        """Return the running number of the bucket that holds each instant of a session."""
        counts = self.bucket_counts(width_ns)
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        early = -((self.opens - self.break_starts) // width_ns)
        late = ts >= self.break_ends[row]
        part_start = np.where(late, self.break_ends[row], self.opens[row])
        inside = (ts - part_start) // width_ns
        return before[row] + inside + np.where(late, early[row], 0)

    def missing_bars(self, ts_open: Ints, session: Ints, width_ns: int) -> int:
        """Return how many buckets between the first and the last bar hold no bar."""
        row = np.searchsorted(self.sessions, session)
        numbers = self.bucket_numbers(ts_open, row, width_ns)
        return int(numbers[-1] - numbers[0]) - int(np.count_nonzero(np.diff(numbers)))

    def bars_per_session(self, width_ns: int) -> float:
        """Return the bars of a regular session: the commonest count over all sessions."""
        if width_ns >= NS_PER_DAY:
            return 1.0
        values, times = np.unique(self.bucket_counts(width_ns), return_counts=True)
        return float(values[int(np.argmax(times))])

    def settlement_day(self, session: int, sessions_later: int) -> int:
        """Return the session (days since 1970) that is so many sessions after another."""
        row = int(np.searchsorted(self.sessions, session, side="right")) - 1 + sessions_later
        if not 0 <= row < len(self.sessions):
            raise UsageError(
                f"The calendar {self.name} was opened up to {day_date(self.sessions[-1])};"
                f" {sessions_later} sessions after {day_date(session)} lies outside."
            )
        return int(self.sessions[row])


def find_exact(ascending: Ints, values: Ints) -> Ints:
    """Return the index of each value in an ascending array, -1 where it is absent."""
    if not len(ascending):
        return np.full(len(values), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.where(ascending[at] == values, at, -1)


def calendar_for(name: str, first_ns: int, last_ns: int) -> TradingCalendar:
    """Return a calendar that covers two instants with a margin of a year after the last."""
    year_first, year_last = (
        datetime.fromtimestamp(ns // NS_PER_S, UTC).year for ns in (first_ns, last_ns)
    )
    return calendar_of_years(name, year_first - 1, year_last + 1)


def sessions_per_year(name: str, last_ns: int) -> float:
    """Return the mean sessions a year over the ten years that end at an instant.

    Ten years of 365.2425 days each; fewer where the calendar itself begins later. It does not
    depend on where the data begin, so two runs that end together annualise alike.
    """
    last_day = last_ns // NS_PER_DAY
    year = datetime.fromtimestamp(last_ns // NS_PER_S, UTC).year
    sessions = calendar_of_years(name, year - YEARS_FOR_MEAN - 1, year + 1).sessions
    first_day = max(last_day - YEARS_FOR_MEAN * 365.2425, float(sessions[0]) - 1.0)
    count = int(((sessions > first_day) & (sessions <= last_day)).sum())
    return float(count / ((last_day - first_day) / 365.2425))


@lru_cache(maxsize=64)
def calendar_of_years(name: str, year_first: int, year_last: int) -> TradingCalendar:
    """Return the sessions of whole years, clipped to what the calendar knows."""
    import exchange_calendars
    import pandas as pd

    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name not in known:
        raise UsageError(f"No calendar {name!r}.{did_you_mean(name, _well_known(known))}")
    dispatcher = exchange_calendars.calendar_utils.global_calendar_dispatcher
    kind = dispatcher._calendar_factories[dispatcher.resolve_alias(name)]
    start, end = pd.Timestamp(year_first, 1, 1), pd.Timestamp(year_last, 12, 31)
    start, end = max(start, kind.bound_min() or start), min(end, kind.bound_max() or end)
    if start >= end:
        raise UsageError(f"The calendar {name} knows no session from {year_first} to {year_last}.")
    with warnings.catch_warnings():  # the library calls what newer pandas deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        return _as_arrays(name, exchange_calendars.get_calendar(name, start=start, end=end))


def _well_known(names: list[str]) -> list[str]:
    """Calendar codes without the aliases that carry a slash or a dot, 24/7 kept."""
    return [name for name in names if name in ("24/7", "24/5") or name.isalnum()]


def _as_arrays(name: str, calendar: Any) -> TradingCalendar:
    closes = _ns(calendar.closes)
    has_break = calendar.break_starts.notna().to_numpy()
    return TradingCalendar(
        name=name,
        zone=str(calendar.tz),
        sessions=calendar.sessions.to_numpy().astype("datetime64[D]").astype(np.int64),
        opens=_ns(calendar.opens),
        closes=closes,
        break_starts=np.where(has_break, _ns(calendar.break_starts), closes),
        break_ends=np.where(has_break, _ns(calendar.break_ends), closes),
    )


def _ns(column: Any) -> Ints:
    values = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return np.asarray(values.astype("datetime64[ns]").astype(np.int64))
