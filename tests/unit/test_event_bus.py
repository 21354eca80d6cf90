"""The bus: one order, nothing lost, a failing handler alone, a failing stage the end."""

from __future__ import annotations

import random
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.bar import Quote
from mqd.core.event import PRIORITY, Topic
from mqd.errors import BusOverloaded, StageFailed, UsageError
from mqd.event_bus import OrderEventBus

TOPICS = list(Topic)
D = Decimal


def quote(symbol: str, ts_ns: int) -> Quote:
    return Quote(symbol, ts_ns, D(1), D(1), D(2), D(1))


def recorder(seen: list):
    return lambda event: seen.append((event.topic, event.ts_ns, event.payload))


def until(condition, timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


# ── one total order ─────────────────────────────────────────────────────────────


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 9)), max_size=12), max_size=5
    )
)
def test_each_drain_dispatches_in_the_total_order(batches):
    bus, seen = OrderEventBus(), []
    for topic in TOPICS:
        bus.subscribe(topic, recorder(seen), name="all")
    number = 0
    for batch in batches:
        published = []
        for topic, ts_ns in batch:
            bus.publish(topic, ts_ns, number)
            published.append((ts_ns, PRIORITY[topic], number, topic))
            number += 1
        seen.clear()
        assert bus.drain() == len(batch)
        assert seen == [(topic, ts, n) for ts, _, n, topic in sorted(published)]
    assert bus.stats().dispatched == number
    assert bus.stats().inbox == 0


def test_what_a_handler_publishes_is_dispatched_before_later_events():
    bus, seen = OrderEventBus(), []

    def on_bar(event):
        if event.ts_ns == 1:
            bus.publish(Topic.SIGNAL, 1, "from the bar")
            bus.publish(Topic.FILL, 1, "and first")
            assert bus.drain() == 0, "a nested drain leaves the work to the outer one"

    bus.subscribe(Topic.BAR, on_bar, name="strategy", stage=True)
    for topic in (Topic.BAR, Topic.SIGNAL, Topic.FILL):
        bus.subscribe(topic, recorder(seen), name="tape")
    for ts_ns in (1, 2, 3):
        bus.publish(Topic.BAR, ts_ns, None)
    assert bus.drain() == 5
    assert [(topic, ts) for topic, ts, _ in seen] == [
        (Topic.BAR, 1), (Topic.FILL, 1), (Topic.SIGNAL, 1), (Topic.BAR, 2), (Topic.BAR, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_subscription_changes_nothing(seed):
    calls = []
    wanted = [
        (topic, name, stage)
        for topic in (Topic.FILL, Topic.BAR, Topic.TIMER)
        for name, stage in (("zeta", True), ("alpha", False), ("mid", True), ("beta", False))
    ]
    random.Random(seed).shuffle(wanted)
    bus = OrderEventBus()
    for topic, name, stage in wanted:
        bus.subscribe(
            topic,
            lambda event, name=name: calls.append((event.ts_ns, event.topic, name)),
            name=name, stage=stage,
        )  # fmt: skip
    for ts_ns, topic in ((2, Topic.BAR), (1, Topic.TIMER), (1, Topic.BAR), (1, Topic.FILL)):
        bus.publish(topic, ts_ns, None)
    bus.drain()
    events = [(1, Topic.FILL), (1, Topic.BAR), (1, Topic.TIMER), (2, Topic.BAR)]
    names = ["mid", "zeta", "alpha", "beta"]
    assert calls == [(ts, topic, name) for ts, topic in events for name in names]


def test_producers_on_many_threads_lose_nothing_and_keep_their_own_order():
    bus, seen = OrderEventBus(inbox_max=64), []
    bus.subscribe(Topic.REPORT, lambda event: seen.append(event.payload), name="orders")

    def produce(who: int):
        for number in range(2_000):
            bus.publish(Topic.REPORT, number, (who, number))

    threads = [threading.Thread(target=produce, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        bus.wait(0.01)
        bus.drain()
    bus.drain()
    assert len(seen) == 8_000
    for who in range(4):
        assert [n for w, n in seen if w == who] == list(range(2_000))


def test_names_are_unique_and_nobody_listening_costs_nothing():
    bus = OrderEventBus()
    bus.publish(Topic.BAR, 1, None)
    assert bus.stats().inbox == 0
    bus.subscribe(Topic.BAR, print, name="a")
    with pytest.raises(UsageError, match="'a'"):
        bus.subscribe(Topic.BAR, print, name="a")
    bus.attach([Topic.FILL, Topic.ORDER], lambda event: None, "b")
    with pytest.raises(UsageError, match="'b'"):
        bus.attach(Topic.BAR, lambda event: None, "b")
    assert bus.close().clean


# ── failures ────────────────────────────────────────────────────────────────────


def test_a_failing_handler_is_isolated_counted_and_reported(capsys):
    bus, seen = OrderEventBus(), []
    bus.subscribe(Topic.FILL, lambda event: 1 / 0, name="broken")
    bus.subscribe(Topic.FILL, recorder(seen), name="sound")
    for ts_ns in range(12):
        bus.publish(Topic.FILL, ts_ns, quote("AAPL", 1))
    assert bus.drain() == 12
    assert len(seen) == 12
    assert bus.stats().failures == {"broken": 12}
    assert bus.failures[0][:3] == ("broken", Topic.FILL, 0)
    assert "ZeroDivisionError" in bus.failures[0].error
    lines = [line for line in capsys.readouterr().err.splitlines() if "handler_failed" in line]
    assert len(lines) == 2, "the 1st and the 10th"
    assert "broken" in lines[0]
    assert "AAPL" in lines[0]


def test_a_failing_stage_stops_the_run_for_good():
    bus, seen = OrderEventBus(), []

    def risk(event):
        raise ValueError("no price")

    bus.subscribe(Topic.ORDER, risk, name="risk", stage=True)
    bus.subscribe(Topic.ORDER, recorder(seen), name="after")
    bus.publish(Topic.ORDER, 7, None)
    bus.publish(Topic.ORDER, 8, None)
    with pytest.raises(StageFailed, match="Stage risk failed on order at 7: ValueError: no price"):
        bus.drain()
    assert seen == []
    with pytest.raises(StageFailed):
        bus.drain()
    report = bus.close()
    assert report.left == {"bus": 1}
    assert not report.clean
    assert bus.stats().failures == {"risk": 1}


def test_ctrl_c_in_a_handler_leaves_the_bus_usable():
    bus, seen = OrderEventBus(), []

    def interrupt(event):
        if event.ts_ns == 1:
            raise KeyboardInterrupt

    bus.subscribe(Topic.BAR, interrupt, name="a")
    bus.subscribe(Topic.BAR, recorder(seen), name="b")
    bus.publish(Topic.BAR, 1, None)
    bus.publish(Topic.BAR, 2, None)
    with pytest.raises(KeyboardInterrupt):
        bus.drain()
    bus.drain()
    assert [ts for _, ts, _ in seen] == [2]


# ── listeners ───────────────────────────────────────────────────────────────────


def test_a_listener_gets_every_event_in_order_on_its_own_thread():
    bus, seen, threads = OrderEventBus(), [], set()

    def listen(event):
        seen.append(event.payload)
        threads.add(threading.current_thread().name)

    bus.attach([Topic.FILL, Topic.BAR], listen, "console", maxsize=50)
    for number in range(500):
        bus.publish(Topic.FILL if number % 2 else Topic.BAR, number, number)
        if number % 7 == 0:
            bus.drain()
    assert bus.close().clean
    assert seen == list(range(500))
    assert threads == {"bus-console"}


def test_waiting_quotes_conflate_per_symbol_and_keep_the_order():
    bus, seen, gate = OrderEventBus(), [], threading.Event()

    def listen(event):
        gate.wait(5)
        seen.append((event.topic, event.ts_ns, getattr(event.payload, "symbol", None)))

    bus.attach([Topic.QUOTE, Topic.FILL], listen, "slow", maxsize=4)
    bus.publish(Topic.QUOTE, 0, quote("AAPL", 0))
    bus.drain()
    assert until(lambda: bus.stats().waiting["slow"] == 0)
    for ts_ns in range(1, 100):
        bus.publish(Topic.QUOTE, ts_ns, quote("AAPL" if ts_ns % 2 else "IBM", ts_ns))
        if ts_ns == 50:
            bus.publish(Topic.FILL, ts_ns, "fill")
    bus.drain()
    assert bus.stats().waiting["slow"] == 3
    gate.set()
    assert bus.close().clean
    assert seen == [
        (Topic.QUOTE, 0, "AAPL"), (Topic.FILL, 50, None),
        (Topic.QUOTE, 98, "IBM"), (Topic.QUOTE, 99, "AAPL"),
    ]  # fmt: skip
    assert bus.stats().conflated == 97


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic is not Topic.QUOTE])
def test_everything_but_quotes_is_delivered_however_slow_the_listener(topic):
    bus, seen = OrderEventBus(), []

    def listen(event):
        time.sleep(0.0005)
        seen.append(event.payload.ts_ns)

    bus.attach(topic, listen, "slow", maxsize=3)
    for number in range(40):
        bus.publish(topic, number, quote("AAPL", number))
    bus.drain()
    assert bus.close().clean
    assert seen == list(range(40))
    assert bus.stats().conflated == 0


def test_a_stuck_listener_is_given_up_and_the_run_goes_on():
    bus, seen, gate = OrderEventBus(back_pressure_s=0.05), [], threading.Event()
    bus.attach(Topic.FILL, lambda event: gate.wait(5), "stuck", maxsize=2)
    bus.subscribe(Topic.FILL, recorder(seen), name="orders", stage=True)
    for number in range(50):
        bus.publish(Topic.FILL, number, number)
    assert bus.drain() == 50
    assert len(seen) == 50
    assert bus.stats().failures == {"stuck": 1}
    assert "full" in bus.failures[0].error
    report = bus.close(timeout_s=0.05)
    assert report.stuck == ("stuck",)
    assert report.left == {"stuck": 2}
    gate.set()


def test_a_listener_that_raises_goes_on_with_the_next_event():
    bus, seen = OrderEventBus(), []

    def listen(event):
        if event.ts_ns % 2:
            raise RuntimeError("odd")
        seen.append(event.ts_ns)

    bus.attach(Topic.LOG, listen, "odd")
    for number in range(10):
        bus.publish(Topic.LOG, number, None)
    bus.drain()
    assert bus.close().clean
    assert seen == [0, 2, 4, 6, 8]
    assert bus.stats().failures == {"odd": 5}


# ── the inbox under threads that publish faster than the desk drains ────────────


def in_thread(work) -> list:
    caught: list = []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    return caught


def test_a_full_inbox_conflates_quotes_and_stops_a_publisher_of_fills():
    bus, seen = OrderEventBus(inbox_max=3, back_pressure_s=0.05), []
    for topic in (Topic.QUOTE, Topic.FILL):
        bus.subscribe(topic, recorder(seen), name="desk")
    assert in_thread(lambda: [bus.publish(Topic.FILL, n, n) for n in range(3)]) == []
    quotes = [quote("AAPL", 10), quote("IBM", 11), quote("AAPL", 12)]
    assert in_thread(lambda: [bus.publish(Topic.QUOTE, q.ts_ns, q) for q in quotes]) == []
    (error,) = in_thread(lambda: bus.publish(Topic.FILL, 20, "late"))
    assert isinstance(error, BusOverloaded)
    bus.publish(Topic.FILL, 5, "the desk itself never waits")
    assert bus.drain() == 6
    assert [ts for _, ts, _ in seen] == [0, 1, 2, 5, 11, 12]
    assert bus.stats().conflated == 1


def test_a_waiting_publisher_goes_on_as_soon_as_there_is_room():
    bus, seen = OrderEventBus(inbox_max=1, back_pressure_s=30), []
    bus.subscribe(Topic.FILL, recorder(seen), name="desk")
    thread = threading.Thread(
        target=lambda: [bus.publish(Topic.FILL, number, number) for number in range(20)]
    )
    thread.start()
    deadline = time.monotonic() + 10
    while len(seen) < 20 and time.monotonic() < deadline:
        bus.wait(0.01)
        bus.drain()
    thread.join(5)
    assert [payload for _, _, payload in seen] == list(range(20))


def test_wait_wakes_for_an_event_and_times_out_without():
    bus = OrderEventBus()
    bus.subscribe(Topic.TIMER, lambda event: None, name="desk")
    assert not bus.wait(0.01)
    timer = threading.Timer(0.05, lambda: bus.publish(Topic.TIMER, 1, None))
    timer.start()
    start = time.monotonic()
    assert bus.wait(10)
    assert time.monotonic() - start < 5
    timer.join()
    assert bus.drain() == 1


def test_close_delivers_what_waits_and_refuses_what_comes_after():
    bus, seen = OrderEventBus(), []
    bus.attach(Topic.FILL, recorder(seen), "slow")
    bus.subscribe(Topic.RUN, recorder(seen), name="tape")
    bus.attach(Topic.BAR, lambda event: bus.publish(Topic.RUN, 9, "from a listener"), "echo")
    bus.publish(Topic.FILL, 1, "fill")
    bus.publish(Topic.BAR, 2, None)
    assert bus.close().clean
    assert sorted(ts for _, ts, _ in seen) == [1, 9]
    with pytest.raises(UsageError, match="closed"):
        bus.publish(Topic.FILL, 2, "late")
    assert bus.close().clean, "idempotent"
