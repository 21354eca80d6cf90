"""A live session over a scripted feed: the clock moves when the session waits."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import numpy as np

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.live.builder import plan_scales
from mqd.live.market import GrowingMarket
from mqd.live.plan import MarketPlan
from mqd.live.realtime import RealtimeBroker
from mqd.live.session import LiveSession
from mqd.live.steps import Arrivals

MINUTE = 60 * NS_PER_S
DAY0 = int(np.datetime64("2022-05-19", "ns").astype(np.int64))
OPEN = DAY0 + 13 * 3600 * NS_PER_S + 30 * MINUTE
SYMBOLS = ("AAA", "BBB")


def plan(symbols=SYMBOLS, width_ns=MINUTE, days=5):
    """Return a plan of an XNYS market from 2022-05-19 on."""
    return MarketPlan(
        symbols=symbols, calendar="XNYS", timeframe_ns=width_ns,
        ticks=dict.fromkeys(symbols, Decimal("0.01")), lots=dict.fromkeys(symbols, Decimal(1)),
        first_ns=DAY0, last_ns=DAY0 + days * NS_PER_DAY, sessions_per_year=252.0,
    )  # fmt: skip


def growing(**words):
    """Return an empty market on a plan."""
    made = plan(**words)
    return GrowingMarket(made, plan_scales(made))


def message(symbol, minute, px=10.0, **changes):
    """Return the stream's message of the bar that starts ``minute`` minutes after the open."""
    return {
        "T": "b", "S": symbol, "t": OPEN + minute * MINUTE, "v": 100,
        "o": px, "h": px, "l": px, "c": px,
    } | changes  # fmt: skip


class ScriptedClock:
    """The venue's time, moved by hand."""

    factor = 1.0

    def __init__(self, now_ns):
        self.now = now_ns

    def now_ns(self):
        return self.now


class ScriptedWake:
    """What a session waits on: each wait moves the clock to what happens next, and lets it be."""

    def __init__(self, clock, events):
        self._clock, self._events = clock, sorted(events, key=lambda event: event[0])

    def wait(self, _seconds):
        self._clock.now += NS_PER_S
        while self._events and self._events[0][0] <= self._clock.now:
            self._events.pop(0)[1]()

    def clear(self):
        return None

    def set(self):
        return None


class NotedDesk:
    """A desk that notes which steps it begins, decides on, or closes only."""

    def __init__(self, market, broker):
        self.market, self.broker = market, broker
        self.parts = SimpleNamespace(
            journal=SimpleNamespace(now_ns=0, write=self._write), risk=SimpleNamespace(bases=None),
            portfolio=SimpleNamespace(resizing=set()), targets=SimpleNamespace(waiting=set()),
        )  # fmt: skip
        self.decided, self.passed, self.told = [], [], {}
        self.n_started = self.n_stopped = 0
        self.written, self.heard_after = [], []

    def start(self):
        self.n_started += 1

    def stop(self):
        self.n_stopped += 1

    def _write(self, kind, payload):
        self.written.append((kind, payload))

    def begin(self, step):
        self._listen()
        self.market.begin(step)

    def hear(self):
        self._listen()

    def _listen(self):
        """Note which bars are in, and what the log says of it."""
        self.heard_after.append((self.market.taken_ns, self.written[-1]))

    def book(self, _activity):
        raise AssertionError("no cash moves here")

    def close(self, step):
        self.passed.append(self.market.ts_close[step])
        self._take(step)

    def end(self, step):
        self.decided.append(self.market.ts_close[step])
        self._take(step)

    def _take(self, step):
        self.told[self.market.ts_close[step]] = [bar.symbol for bar in self.broker.arrived]
        self.broker.match_close(())
        self.market.enter(step)


class World:
    """A session over ``events`` (instant, call), from ``start_ns`` to ``until_ns``."""

    def __init__(self, until_ns, *, start_ns=OPEN, catching_up=None, market=None):
        self.market = market or growing()
        self.clock = ScriptedClock(start_ns)
        self.events, self._until_ns = [], until_ns
        self.wake = ScriptedWake(self.clock, ())
        self.arrivals = Arrivals(self.market, self.wake)
        venue = SimpleNamespace(submit=None, cancel=None, replace=None, reports=list)
        self.broker = RealtimeBroker(venue, self.market, self.clock)
        self.desk = NotedDesk(self.market, self.broker)
        self.catching_up = catching_up and catching_up(self)

    def tell(self, symbol, minute, delay_s=0, **changes):
        """Let the bar of a minute come ``delay_s`` after its close."""
        at_ns = OPEN + (minute + 1) * MINUTE + int(delay_s * NS_PER_S)
        told = message(symbol, minute, **changes)
        self.events.append((at_ns, lambda: self.arrivals.put([told])))

    def at(self, seconds, call):
        """Let something happen, in seconds after the open."""
        self.events.append((OPEN + int(seconds * NS_PER_S), call))

    def run(self, chores=()):
        """Go through the script and return this world."""
        self.wake = ScriptedWake(self.clock, self.events)
        self.session = LiveSession(
            self.desk, self.market, self.broker, self.clock, self.arrivals, self.wake, chores,
            catching_up=self.catching_up,
        )  # fmt: skip
        self.session.run(lambda: self.clock.now >= self._until_ns)
        return self

    def minutes(self, symbol):
        """Return the minutes whose bars the market holds."""
        opened = self.market.known(symbol).ts_open
        return [int((ts - OPEN) // MINUTE) for ts in opened]

    def decided(self):
        """Return the minutes whose closes were decided on."""
        return [int((ts - OPEN) // MINUTE) - 1 for ts in self.desk.decided]
