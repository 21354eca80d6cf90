"""RealtimeDataHandler on a clock of ours: each bar once, gaps filled, silence and lies seen."""

import threading
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.bar import Bar
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S, SimulatedClock
from mqd.market_data.bar_gate import BarGate, Gap
from mqd.market_data.errors import ProviderFailed
from mqd.market_data.health import HealthState
from mqd.market_data.providers import Kind, Page, table_of
from mqd.market_data.realtime import RealtimeDataHandler

OPEN = pd.Timestamp("2024-01-02 09:30", tz="America/New_York").value
CLOSE = pd.Timestamp("2024-01-02 16:00", tz="America/New_York").value
MIDNIGHT = pd.Timestamp("2024-01-02", tz="America/New_York").value


def message(minute, close=10.0, symbol="MSFT", kind="b", **changed):
    at = OPEN + minute * NS_PER_MINUTE
    return {"T": kind, "S": symbol, "o": 10.0, "h": 20.0, "l": 5.0, "c": close, "v": 100,
            "n": 4, "vw": 10.0, "t": at, **changed}  # fmt: skip


class FakeStream:
    def __init__(self):
        self.socket = SimpleNamespace(listening=True, last_message_mono_ns=0, last_error="")
        self.state, self.dropped, self.running = {"data": self.socket}, [], False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False
        return True

    def reconnect(self, kind, why):
        self.dropped.append((kind, why))


class FakeHistory:
    """Gives the minutes it was told to have, two a page; fails ``failures`` times first."""

    name, feed = "fake", "iex"

    def __init__(self, minutes, failures=0):
        self.minutes, self.failures, self.asked = list(minutes), failures, 0

    def page(self, query, token):
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise ProviderFailed(self.name, "it is down")
        rows = [
            {"symbol": "MSFT", "timestamp": OPEN + m * NS_PER_MINUTE, "open": 10.0, "high": 20.0,
             "low": 5.0, "close": 11.0, "volume": 7.0}
            for m in self.minutes
        ]  # fmt: skip
        first = int(token or 0)
        rest = str(first + 2) if first + 2 < len(rows) else ""
        return Page(table_of(Kind.BARS, rows[first : first + 2]), rest)


def handler(minute=0, history=None, symbols=("MSFT",), **words):
    clock = SimulatedClock(OPEN + int(minute * NS_PER_MINUTE))
    bars, gaps, states = [], [], []
    one = RealtimeDataHandler(
        symbols, clock, bars.append, history=history, on_gap=gaps.append,
        on_health=lambda health: states.append(health.state), **words,
    )  # fmt: skip
    stream = FakeStream()
    one.attach(stream)
    return SimpleNamespace(one=one, clock=clock, bars=bars, gaps=gaps, states=states, stream=stream)


def at(set_up, minute):
    set_up.clock.advance(OPEN + int(minute * NS_PER_MINUTE))
    set_up.one.pump()


def minutes(bars):
    return [(bar.ts_open - OPEN) // NS_PER_MINUTE for bar in bars]


def test_a_bar_goes_through_once_when_it_is_complete():
    t = handler(1)
    t.one.take([message(0, 10.5)])
    t.one.pump()
    assert t.bars == [
        Bar("MSFT", OPEN, OPEN + NS_PER_MINUTE, 10.0, 20.0, 5.0, 10.5, 100.0)
    ]  # fmt: skip
    t.one.take([message(0, 10.5), message(0, 12.0, kind="u")])
    t.one.pump()
    assert len(t.bars) == 1
    assert (t.one.gate.n_duplicate, t.one.gate.n_revised) == (1, 1)


def test_the_last_revision_before_the_close_wins():
    t = handler(0.5)
    t.one.take([message(0, 10.0), message(0, 11.0)])
    t.one.take([message(0, 12.0)])
    t.one.pump()
    at(t, 0.99)
    assert t.bars == []
    at(t, 1 + 1.9 / 60)
    assert t.bars == []
    at(t, 1 + 2 / 60)
    assert [bar.close for bar in t.bars] == [12.0]


def test_a_final_revision_after_the_close_goes_at_once():
    t = handler(0.5)
    t.one.take([message(0, 10.0)])
    t.one.pump()
    t.clock.advance(OPEN + NS_PER_MINUTE)
    t.one.take([message(0, 13.0)])
    t.one.pump()
    assert [bar.close for bar in t.bars] == [13.0]


def test_an_older_bar_than_the_last_is_kept_from_the_desk():
    t = handler(3)
    t.one.take([message(2)])
    t.one.pump()
    t.one.take([message(1)])
    t.one.pump()
    assert minutes(t.bars) == [2]
    assert t.one.gate.n_late == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(6, 15)), min_size=1, max_size=25))
def test_no_bar_twice_and_none_out_of_order_whatever_comes(arrivals):
    t = handler(10)
    for minute, close in arrivals:
        t.one.take([message(minute, float(close))])
        t.one.pump()
    assert minutes(t.bars) == sorted(set(minutes(t.bars)))
    gate = t.one.gate
    told = gate.n_duplicate + gate.n_revised + gate.n_late + gate.n_released
    assert told == len(arrivals)


def test_a_daily_bar_waits_for_its_session_to_end():
    t = handler(60, timeframe="1Day")
    day = {"t": MIDNIGHT, "kind": "d"}
    for minute, close in ((60, 11.0), (389, 12.0)):
        t.one.take([message(0, close, **day)])
        at(t, minute)
    assert t.bars == []
    t.clock.advance(CLOSE)
    t.one.take([message(0, 13.0, **day)])
    t.one.pump()
    assert [(bar.ts_open, bar.ts_close, bar.close) for bar in t.bars] == [(OPEN, CLOSE, 13.0)]


def test_a_gap_is_filled_in_order_before_anything_newer():
    t = handler(1, FakeHistory(range(6)))
    t.one.take([message(0)])
    t.one.pump()
    t.clock.advance(OPEN + 6 * NS_PER_MINUTE)
    t.one.take([message(5, 11.0)])
    t.one.gap("data")
    t.one.pump()
    assert minutes(t.bars) == [0, 1, 2, 3, 4, 5]
    assert t.gaps == []
    assert t.one.health.counts["backfilled"] == 5


def test_bars_wait_while_history_is_down_and_a_lost_gap_is_told():
    history = FakeHistory(range(6), failures=99)
    t = handler(1, history)
    t.one.take([message(0)])
    t.one.pump()
    t.one.gap()
    t.clock.advance(OPEN + 3 * NS_PER_MINUTE)
    t.one.take([message(2)])
    t.one.pump()
    assert minutes(t.bars) == [0]
    assert t.one.health.state == HealthState.GAP
    for _ in range(20):
        t.clock.advance(t.clock.now_ns() + NS_PER_S)
        t.one.pump()
    assert minutes(t.bars) == [0, 2]
    assert [(gap.symbol, gap.after_ns) for gap in t.gaps] == [("MSFT", OPEN + NS_PER_MINUTE)]
    assert history.asked == 4


def test_history_that_comes_back_fills_the_gap():
    t = handler(1, FakeHistory(range(3), failures=2))
    t.one.take([message(0)])
    t.one.pump()
    t.one.gap()
    for second in range(120, 132):
        at(t, second / 60)
    assert minutes(t.bars) == [0, 1]
    assert t.gaps == []


def test_a_gap_without_history_is_told_at_once():
    t = handler(1)
    t.one.take([message(0)])
    t.one.pump()
    t.clock.advance(OPEN + 4 * NS_PER_MINUTE)
    t.one.gap()
    t.one.take([message(3)])
    t.one.pump()
    assert t.gaps == [Gap("MSFT", OPEN + NS_PER_MINUTE, OPEN + 4 * NS_PER_MINUTE)]
    assert minutes(t.bars) == [0, 3]


BAD = [
    {"o": 0, "h": 0, "l": 0, "c": 0}, {"c": 0}, {"c": -1.0}, {"c": float("nan")},
    {"c": float("inf")}, {"c": "10.0"}, {"c": None}, {"h": 9.0}, {"l": 10.5}, {"v": -1},
    {"S": ""}, {"t": "2024"}, {"t": 0}, {"o": True},
]  # fmt: skip


@pytest.mark.parametrize("changed", BAD, ids=str)
def test_a_bad_value_is_dropped_and_counted_and_the_rest_is_heard(changed):
    t = handler(2)
    t.one.take([{**message(0), **changed}, message(1)])
    t.one.pump()
    assert minutes(t.bars) == [1]
    assert t.one.bad.total == 1


def test_a_bar_of_the_future_is_dropped():
    t = handler(0)
    t.one.take([message(1)])
    t.one.pump()
    assert (t.one.bad.total, t.one.bad.last) == (1, "an instant in the future")


def test_more_than_ten_bad_values_a_minute_are_unhealthy_until_a_minute_later():
    t = handler(1)
    t.one.take([message(0), *[message(0, -1.0)] * 10])
    t.one.pump()
    assert t.one.health.state == HealthState.HEALTHY
    t.one.take([message(0, -1.0)])
    at(t, 1.5)
    assert t.one.health.state == HealthState.BAD_VALUES
    assert "c is -1.0" in t.one.health.why
    at(t, 2.6)
    assert t.one.health.state == HealthState.HEALTHY


def test_a_mute_socket_is_dropped_once_and_not_outside_the_session():
    t = handler(1, symbols=())
    at(t, 2.5)
    assert t.stream.dropped == []
    at(t, 2.52)
    assert t.one.health.state == HealthState.MUTE
    assert [kind for kind, _ in t.stream.dropped] == ["data"]
    assert t.stream.dropped[0][1] == "nothing was heard for 91 s of an open session"
    at(t, 3)
    assert len(t.stream.dropped) == 1
    at(t, 4.1)
    assert len(t.stream.dropped) == 2
    night = handler(391)
    at(night, 600)
    assert (night.stream.dropped, night.one.health.state) == ([], HealthState.HEALTHY)


def test_a_symbol_without_a_heartbeat_is_named():
    t = handler(0, symbols=("MSFT", "SPY"))
    for minute in range(1, 6):
        t.one.take([message(minute - 1)])
        at(t, minute)
    assert t.one.health.state == HealthState.SILENT_SYMBOLS
    assert t.one.health.silent == ("SPY",)
    t.one.take([message(4, symbol="SPY")])
    at(t, 5.1)
    assert t.one.health.state == HealthState.HEALTHY


def test_a_lost_socket_is_told_with_its_reason():
    t = handler(1)
    t.stream.socket.listening, t.stream.socket.last_error = False, "the server refused our keys"
    at(t, 1.1)
    assert t.one.health.state == HealthState.DISCONNECTED
    assert t.one.health.why == "the server refused our keys"
    assert not t.one.health.ok


def test_quotes_and_trades_arrive_as_exact_decimals():
    quotes, trades = [], []
    t = handler(1, on_quote=quotes.append, on_trade=trades.append)
    now = t.clock.now_ns()
    quote = {"T": "q", "S": "MSFT", "bp": 10.1, "bs": 3, "ap": 10.3, "as": 4, "t": now}
    trade = {"T": "t", "S": "MSFT", "p": 10.2, "s": 5, "i": 1, "t": now}
    t.one.take([quote, trade, {"T": "s", "S": "MSFT"}])
    t.one.pump()
    assert (str(quotes[0].bid_px), str(quotes[0].mid)) == ("10.1", "10.2")
    assert (str(trades[0].px), str(trades[0].qty)) == ("10.2", "5")
    assert t.one.counts["other s"] == 1


def test_a_listener_that_raises_does_not_end_the_data():
    t = handler(2)
    seen = []

    def picky(bar):
        seen.append(bar)
        raise ValueError("a fault of the desk")

    t.one._on_bar = picky
    t.one.take([message(0), message(1)])
    t.one.pump()
    assert minutes(seen) == [0, 1]
    assert t.one.counts["callback errors"] == 2


def test_the_worker_thread_hands_bars_on_and_ends():
    done = threading.Event()
    clock = SimulatedClock(OPEN + NS_PER_MINUTE)
    one = RealtimeDataHandler(["MSFT"], clock, lambda _: done.set())
    stream = FakeStream()
    one.attach(stream)
    one.start()
    assert stream.running
    one.take([message(0)])
    assert done.wait(5)
    assert one.stop()
    assert (one.health.state, stream.running) == (HealthState.STOPPED, False)
    assert not [t for t in threading.enumerate() if t.name == "market-data"]


def test_a_burst_of_twenty_thousand_messages_is_read_whole():
    t = handler(2, on_quote=lambda _: None)
    now = t.clock.now_ns()
    quotes = [
        {"T": "q", "S": f"S{n % 50}", "bp": 10.1, "bs": 3, "ap": 10.3, "as": 4, "t": now}
        for n in range(20_000)
    ]
    t.one.take(quotes)
    assert t.one.pump() == 20_000
    assert t.one.counts["q"] == 20_000
    assert t.one.bad.total == 0


def test_a_gate_releases_older_bars_with_a_newer_one():
    gate = BarGate(grace_ns=10)
    early = Bar("A", 0, 60, 1, 1, 1, 1, 1)
    gate.take(early, 59)
    gate.take(early._replace(ts_open=60, ts_close=62), 65)
    assert [bar.ts_open for bar in gate.ready(65)] == [0, 60]
