"""Sessions, breaks, half days and clock changes against the exchanges' published hours."""

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mqd.errors import UsageError
from mqd.market_data.calendar import (
    calendar_for,
    calendar_of_years,
    day_date,
    day_number,
    sessions_per_year,
)

TABLES = Path(__file__).parents[2] / "tables"
MINUTE = 60_000_000_000


def table(name):
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


INTRADAY = [case for case in table("buckets.csv") if case["timeframe"] != "1day"]


def ns(text):
    return pd.Timestamp(text).as_unit("ns").value


@pytest.mark.parametrize("case", table("session_minutes.csv"), ids=lambda case: case["name"])
def test_session_and_minutes_of_an_instant(case):
    at = ns(case["instant"])
    calendar = calendar_for(case["calendar"], at, at)
    session = calendar.session_of(at)
    if not case["session"]:
        assert session is None
        return
    assert day_date(session) == date.fromisoformat(case["session"])
    stamp = np.array([at])
    row = calendar.index_at(stamp)
    assert calendar.minutes_from_open(stamp, row)[0] == float(case["minutes_from_open"])
    assert calendar.minutes_to_close(stamp, row)[0] == float(case["minutes_to_close"])


@pytest.mark.parametrize("case", INTRADAY, ids=lambda case: case["name"])
def test_bucket_of_a_minute(case):
    minute = np.array([ns(case["minute"])])
    calendar = calendar_for(case["calendar"], int(minute[0]), int(minute[0]))
    width = int(case["timeframe"].removesuffix("min")) * MINUTE
    start, end = calendar.buckets(minute, calendar.index_at(minute), width)
    assert (start[0], end[0]) == (ns(case["bucket_open"]), ns(case["bucket_close"]))


@pytest.mark.parametrize(
    ("calendar", "minutes", "bars"),
    [("XNYS", 1, 390), ("XNYS", 60, 7), ("XLON", 1, 510), ("XHKG", 1, 330), ("XHKG", 60, 6),
     ("24/7", 60, 24)],
)  # fmt: skip
def test_bars_of_a_regular_session(calendar, minutes, bars):
    assert calendar_of_years(calendar, 2020, 2022).bars_per_session(minutes * MINUTE) == bars


def test_bucket_numbers_count_every_bucket_of_half_days_and_lunch_once():
    for name in ("XNYS", "XHKG"):
        calendar = calendar_of_years(name, 2020, 2021)
        counts = calendar.bucket_counts(60 * MINUTE)
        row = np.repeat(np.arange(len(counts)), [int(n) for n in counts])
        minutes = np.concatenate(
            [
                np.concatenate([np.arange(o, b, 60 * MINUTE), np.arange(e, c, 60 * MINUTE)])
                for o, b, e, c in zip(
                    calendar.opens, calendar.break_starts, calendar.break_ends, calendar.closes,
                    strict=True,
                )
            ]
        )  # fmt: skip
        numbers = calendar.bucket_numbers(minutes, row, 60 * MINUTE)
        assert numbers.tolist() == list(range(len(minutes)))


def test_settlement_counts_sessions_over_weekend_and_holiday():
    calendar = calendar_of_years("XNYS", 2022, 2022)
    friday = day_number(date(2022, 5, 27))  # Monday 30 May 2022 was Memorial Day
    assert day_date(calendar.settlement_day(friday, 1)) == date(2022, 5, 31)
    assert day_date(calendar.settlement_day(friday, 2)) == date(2022, 6, 1)
    with pytest.raises(UsageError, match="lies outside"):
        calendar.settlement_day(friday, 500)


def test_is_session():
    calendar = calendar_of_years("XNYS", 2022, 2022)
    assert calendar.is_session(date(2022, 5, 27))
    assert not calendar.is_session(date(2022, 5, 30))


def test_sessions_a_year():
    # New York traded on 2,517 days from 2013 to 2022 (250 to 253 a year).
    assert 251.4 <= sessions_per_year("XNYS", ns("2022-12-30T21:00Z")) <= 252.0
    assert sessions_per_year("24/7", ns("2022-12-30T21:00Z")) == pytest.approx(365.25, abs=0.1)


def test_daily_stamps_at_open_local_midnight_and_utc_midnight_name_one_session():
    calendar = calendar_of_years("XNYS", 2022, 2022)
    stamps = np.array(
        [ns("2022-03-14T13:30Z"), ns("2022-03-14T00:00-04:00"), ns("2022-03-14T00:00Z"),
         ns("2022-03-14T10:00Z"), ns("2022-03-13T00:00Z")]
    )  # fmt: skip
    row = calendar.daily_index(stamps)
    monday = int(calendar.index_at(stamps[:1])[0])
    assert row.tolist() == [monday, monday, monday, -1, -1]


def test_an_unknown_calendar_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"No calendar 'NYSEE'. Did you mean 'NYSE'"):
        calendar_for("NYSEE", 0, 1)


def test_a_calendar_before_its_own_records_is_refused():
    with pytest.raises(UsageError, match="XTKS knows no session"):
        calendar_of_years("XTKS", 1950, 1960)
