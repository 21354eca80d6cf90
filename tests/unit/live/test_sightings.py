"""What the market data socket showed: prices, halts and bands, unknown until seen."""

from decimal import Decimal

import pytest

from mqd.core.money import Scale, run_quantum
from mqd.live.rounds import Hours, hours_at
from mqd.live.sightings import Sightings
from mqd.market_data.calendar import calendar_for
from mqd.risk.live_state import UNKNOWN

STEPS = Decimal("0.01"), Decimal(1)
SCALES = {
    "MSFT": Scale.of(*STEPS, run_quantum([STEPS])),
    "IBM": Scale.of(*STEPS, run_quantum([STEPS])),
}
NOW = 1_700_000_000 * 10**9
SECOND = 10**9


class Clock:
    factor = 1.0

    def __init__(self):
        self.passed = 0

    def now_ns(self):
        return NOW + self.passed

    def monotonic_ns(self):
        return 1000 * SECOND + self.passed


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen(clock):
    return Sightings(SCALES, clock)


def quote(bid, ask, t=NOW, symbol="MSFT"):
    return {"T": "q", "S": symbol, "t": t, "bp": bid, "bs": 1, "ap": ask, "as": 1}


def status(code, reason="", symbol="MSFT"):
    return {"T": "s", "S": symbol, "t": NOW, "sc": code, "rc": reason}


def trade(px, symbol="MSFT"):
    return {"T": "t", "S": symbol, "t": NOW, "p": px, "s": 100}


def look(seen, symbol="MSFT", *, watched=True):
    return seen.look([symbol], watched=watched)[symbol]


def test_nothing_seen_is_nothing_known(seen):
    found = look(seen)
    assert (found.bid_ticks, found.quote_age_ns, found.trade_age_ns) == (UNKNOWN,) * 3
    assert (found.halted, found.two_sided) == (UNKNOWN, 0)


def test_prices_age_by_real_time_and_by_how_late_they_came(seen, clock):
    seen.put([quote(99.5, 100.25, t=NOW - 2 * SECOND), trade(100.0)])
    clock.passed = 3 * SECOND
    found = look(seen)
    assert (found.bid_ticks, found.ask_ticks, found.trade_ticks) == (9950, 10025, 10000)
    assert found.quote_age_ns == 5 * SECOND
    assert found.trade_age_ns == 3 * SECOND
    assert found.two_sided == 1


def test_a_crossed_quote_is_counted_from_its_beginning(seen, clock):
    seen.put([quote(101, 100)])
    clock.passed = SECOND
    seen.put([quote(102, 100)])
    clock.passed = 3 * SECOND
    assert look(seen).crossed_ns == 3 * SECOND
    seen.put([quote(99, 100)])
    assert look(seen).crossed_ns == 0


def test_a_halt_holds_until_trading_resumes(seen, clock):
    seen.put([trade(100)])
    assert look(seen).halted == 0
    assert look(seen, watched=False).halted == UNKNOWN
    seen.put([status("H", "T1")])
    assert (look(seen).halted, seen.market_halted) == (1, 0)
    seen.put([status("Q")])
    assert look(seen).halted == 1
    clock.passed = 5 * SECOND
    seen.put([status("T")])
    clock.passed = 7 * SECOND
    found = look(seen)
    assert (found.halted, found.resumed_ns, found.two_sided) == (0, 2 * SECOND, 0)
    seen.put([quote(99, 100, t=clock.now_ns())])
    assert look(seen).two_sided == 1


def test_a_market_wide_breaker_halts_all_until_one_trades(seen):
    seen.put([status("2", "MWC1", symbol="IBM")])
    assert seen.market_halted == 1
    seen.put([status("3", symbol="IBM")])
    assert seen.market_halted == 0


def test_a_quote_at_its_band_is_a_limit_state(seen):
    seen.put([quote(99, 100), {"T": "l", "S": "MSFT", "t": NOW, "u": 110.0, "d": 90.0}])
    assert look(seen).limit_state == 0
    seen.put([quote(110, 111)])
    assert look(seen).limit_state == 1
    seen.put([quote(89, 90)])
    assert look(seen).limit_state == 1


def test_what_cannot_be_read_is_counted_and_other_symbols_are_passed_over(seen):
    seen.put([{"T": "q", "S": "MSFT", "t": NOW, "bp": -1}, {"T": "t"}, trade(1, "AMZN")])
    assert seen.n_bad == 2
    assert look(seen).quote_age_ns == UNKNOWN


def test_the_hours_of_a_half_day_and_of_a_night():
    day = 1_764_288_000 * SECOND  # 2025-11-28, which closes at 13:00 New York
    calendar = calendar_for("XNYS", day, day)
    hour = 3600 * SECOND
    opens, closes = day + 14 * hour + hour // 2, day + 18 * hour
    thanksgiving_eve = day - 2 * 24 * hour + 21 * hour
    assert hours_at(calendar, day + 15 * hour) == Hours(opens, closes, thanksgiving_eve)
    night = hours_at(calendar, closes)
    assert night.last_close_ns == closes
    assert night.open_ns == day + 3 * 24 * hour + 14 * hour + hour // 2
    assert hours_at(calendar, 2**62) == Hours(UNKNOWN, UNKNOWN, UNKNOWN)


def test_after_a_gap_nobody_knows_whether_a_symbol_trades(seen):
    """A halt told while the socket was away was missed: a trade of before proves nothing."""
    seen.put([trade(100.0), quote(99.99, 100.01)])
    assert look(seen).halted == 0
    seen.forget()
    assert look(seen).halted == UNKNOWN
    seen.put([trade(100.0)])
    assert look(seen).halted == 0
