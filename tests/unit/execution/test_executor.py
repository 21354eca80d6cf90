"""The executor: order kept a symbol, nothing lost, results only on the desk's thread."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import OrderType
from mqd.errors import UsageError
from mqd.execution.executor import EventDrivenExecutor, fresh
from tests.unit.execution.broker_double import ScriptedBroker, order

WAIT_S = 20.0


class StoppedClock:
    """Stands still until a test moves it."""

    def __init__(self):
        self.at_ns = 0

    def now_ns(self):
        return self.at_ns

    def monotonic_ns(self):
        return self.at_ns


class SlowBroker(ScriptedBroker):
    """Waits in every call until ``go`` is set; raises what ``breaks`` holds for an id."""

    def __init__(self, breaks=None, **answers):
        super().__init__(**answers)
        self.go, self.entered = threading.Event(), threading.Semaphore(0)
        self.breaks = breaks or {}
        self.threads = []

    def _call(self, word, name, symbol=""):
        self.entered.release()
        assert self.go.wait(WAIT_S)
        self.threads.append((symbol, threading.current_thread().name))
        if name in self.breaks:
            raise self.breaks[name]
        self.sent.append((word, name))

    def submit(self, order, legs=()):
        self._call("submit", order.client_order_id, order.symbol)

    def cancel(self, client_order_id):
        self._call("cancel", client_order_id)

    def replace(self, client_order_id, order):
        self._call("replace", f"{client_order_id}>{order.client_order_id}", order.symbol)


@pytest.fixture
def start():
    """Return a function that starts an executor over a broker; all are closed at the end."""
    running = []

    def make(broker, **options):
        executor = EventDrivenExecutor(broker, options.pop("clock", WallClock()), **options)
        running.append((broker, executor))
        return executor

    yield make
    for broker, executor in running:
        getattr(broker, "go", threading.Event()).set()
        executor.close(WAIT_S)


def told(reports):
    return [(report.kind.value, report.client_order_id) for report in reports]


def test_a_command_returns_at_once_and_is_sent_by_a_worker(start):
    broker = SlowBroker()
    executor = start(broker)
    executor.submit(order("a"))
    executor.cancel("a")
    assert broker.entered.acquire(timeout=WAIT_S)
    assert broker.sent == []
    assert executor.stats()[:3] == (1, 1, 0)
    assert not executor.drain(0.01)
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert broker.sent == [("submit", "a"), ("cancel", "a")]
    assert executor.stats()[:5] == (0, 0, 2, 0, 0)
    assert executor.reports() == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("scr")), max_size=40))
def test_a_symbol_keeps_its_order_and_its_worker(commands):
    broker = SlowBroker()
    broker.go.set()
    executor = EventDrivenExecutor(broker, WallClock(), workers=3)
    wanted, first_used = {}, []
    for number, (place, act) in enumerate(commands):
        symbol, name = f"S{place}", f"{place}-{number}"
        known = wanted.setdefault(symbol, [])
        if symbol not in first_used:
            first_used.append(symbol)
            executor.submit(order(name, symbol=symbol))
            known.append(("submit", name))
        elif act == "s":
            executor.submit(order(name, symbol=symbol))
            known.append(("submit", name))
        elif act == "c":
            old = known[0][1]
            executor.cancel(old)
            known.append(("cancel", old))
        else:
            old = known[0][1]
            executor.replace(old, order(name, symbol=symbol))
            known.append(("replace", f"{old}>{name}"))
    assert executor.close(WAIT_S)
    for symbol, sequence in wanted.items():
        mine = f"{symbol[1]}-"
        assert [sent for sent in broker.sent if sent[1].startswith(mine)] == sequence
    for symbol, thread in broker.threads:
        if symbol:
            assert thread == f"mqd-executor-{first_used.index(symbol) % 3}"


def test_a_call_that_raises_is_an_unknown_outcome_and_the_next_one_is_sent(start):
    broker = SlowBroker({"a": RuntimeError("half a page of HTML")})
    broker.go.set()
    executor = start(broker)
    executor.submit(order("a"), (order("leg1"), order("leg2")))
    executor.submit(order("b"))
    assert executor.drain(WAIT_S)
    reports = executor.reports()
    assert told(reports) == [("outcome_unknown", name) for name in ("a", "leg1", "leg2")]
    assert reports[0].text == "submit raised RuntimeError: half a page of HTML"
    assert executor.failure == reports[0].text
    assert broker.sent == [("submit", "b")]
    assert executor.reports() == []


def test_a_replace_that_raises_leaves_only_the_new_order_unknown(start):
    broker = SlowBroker({"a>b": OSError("reset"), "a": OSError("reset")})
    broker.go.set()
    executor = start(broker)
    executor.replace("a", order("b"))
    executor.cancel("a")
    assert executor.drain(WAIT_S)
    assert told(executor.reports()) == [("outcome_unknown", "b")]


def test_a_worker_that_dies_loses_nothing(start):
    broker = SlowBroker({"a": SystemExit(3)})
    executor = start(broker, workers=2)
    for name in ("a", "b"):
        executor.submit(order(name))
    executor.cancel("old")
    executor.submit(order("other", symbol="IBM"))
    executor.cancel("b")
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert told(executor.reports()) == [("outcome_unknown", "a"), ("outcome_unknown", "b")]
    assert sorted(broker.sent) == [("cancel", "b"), ("cancel", "old"), ("submit", "other")]
    assert "mqd-executor-0 died of SystemExit" in executor.failure
    executor.submit(order("late"))
    (refused,) = executor.reports()
    assert refused.kind is ReportKind.DEFINITE_REJECT
    assert "died" in refused.text


def test_with_all_workers_dead_cancels_still_go_out(start):
    broker = SlowBroker({"a": SystemExit(3)})
    executor = start(broker, workers=1)
    executor.submit(order("a"))
    executor.cancel("old")
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert told(executor.reports()) == [("outcome_unknown", "a")]
    executor.cancel("older")
    assert broker.sent == [("cancel", "old"), ("cancel", "older")]


def test_a_full_queue_refuses_orders_with_a_sentence_and_takes_cancels(start):
    broker = SlowBroker()
    executor = start(broker, workers=1, queue_max=2)
    executor.submit(order("flying"))
    assert broker.entered.acquire(timeout=WAIT_S)
    for name in ("q1", "q2", "q3"):
        executor.submit(order(name), (order(f"{name}-leg"),))
    executor.replace("q1", order("q4"))
    executor.cancel("q1")
    reports = executor.reports()
    assert told(reports) == [
        ("definite_reject", "q3"),
        ("definite_reject", "q3-leg"),
        ("replace_rejected", "q1"),
        ("definite_reject", "q4"),
    ]
    assert "2 commands wait already" in reports[0].text
    assert executor.stats()[:5] == (3, 1, 0, 2, 0)
    broker.go.set()
    assert executor.drain(WAIT_S)
    sent = [("submit", "flying"), ("submit", "q1"), ("submit", "q2"), ("cancel", "q1")]
    assert broker.sent == sent
    assert executor.failure == ""


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "raise", "die"])), max_size=25),
    st.integers(1, 4),
)
def test_every_order_was_sent_or_is_told_of(plan, queue_max):
    errors = {"raise": OSError("x"), "die": SystemExit(1)}
    breaks = {f"o{n}": errors[fate] for n, (_, fate) in enumerate(plan) if fate != "ok"}
    broker = SlowBroker(breaks)
    executor = EventDrivenExecutor(broker, WallClock(), workers=2, queue_max=queue_max)
    for number, (place, _) in enumerate(plan):
        executor.submit(order(f"o{number}", symbol=f"S{place}"))
    broker.go.set()
    executor.close(WAIT_S)
    reported = [report.client_order_id for report in executor.reports()]
    sent = [name for _, name in broker.sent]
    assert sorted(sent + reported) == sorted(f"o{n}" for n in range(len(plan)))


@pytest.mark.parametrize(
    ("kind", "waited_s", "passes"),
    [
        (OrderType.MARKET, 2, True),
        (OrderType.MARKET, 2.1, False),
        (OrderType.LIMIT, 30, True),
        (OrderType.LIMIT, 30.1, False),
        (OrderType.STOP, 30, True),
    ],
)
def test_a_decision_grows_old_in_the_queue(kind, waited_s, passes):
    why = fresh(order(type=kind), int(waited_s * NS_PER_S))
    assert (why == "") is passes
    assert passes or "allowed" in why


def test_an_order_that_waited_too_long_is_not_sent(start):
    clock, broker = StoppedClock(), SlowBroker()
    executor = start(broker, workers=1, clock=clock)
    executor.submit(order("flying"))
    assert broker.entered.acquire(timeout=WAIT_S)
    executor.submit(order("old"))
    executor.cancel("flying")
    clock.at_ns += 3 * NS_PER_S
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert broker.sent == [("submit", "flying"), ("cancel", "flying")]
    (report,) = executor.reports()
    assert report[:2] == (ReportKind.DEFINITE_REJECT, "old")
    assert report.text == "it waited 3000 ms to be sent, 2 s are allowed"


def test_nothing_is_sent_after_the_latch_and_doubt_counts_as_no(start):
    latch, broker = threading.Event(), SlowBroker()

    def may_send(order, waited_ns):
        if order.client_order_id == "odd":
            raise ValueError("no snapshot")
        return "the kill latch is set" if latch.is_set() else ""

    executor = start(broker, workers=1, may_send=may_send)
    executor.submit(order("flying"))
    assert broker.entered.acquire(timeout=WAIT_S)
    for name in ("odd", "queued"):
        executor.submit(order(name))
    executor.cancel("flying")
    latch.set()
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert broker.sent == [("submit", "flying"), ("cancel", "flying")]
    odd, queued = executor.reports()
    assert "no snapshot" in odd.text
    assert queued.text == "the kill latch is set"


def test_halted_no_order_leaves_and_what_flies_is_waited_for(start):
    broker = SlowBroker()
    executor = start(broker, workers=1)
    executor.submit(order("flying"))
    assert broker.entered.acquire(timeout=WAIT_S)
    executor.submit(order("queued"))
    executor.cancel("flying")
    assert not executor.halt("the kill latch is set", 0.01)
    broker.go.set()
    assert executor.halt("the kill latch is set", WAIT_S)
    executor.submit(order("late"))
    executor.replace("flying", order("child"))
    assert executor.drain(WAIT_S)
    assert broker.sent == [("submit", "flying"), ("cancel", "flying")]
    reports = executor.reports()
    assert {report.text for report in reports} == {"the kill latch is set"}
    refused = [name for kind, name in told(reports) if kind == "definite_reject"]
    assert sorted(refused) == ["child", "late", "queued"]
    executor.resume()
    executor.submit(order("after"))
    assert executor.drain(WAIT_S)
    assert broker.sent[2:] == [("submit", "after")]


def test_listeners_hear_on_the_desks_thread_and_cannot_lose_a_report(start):
    heard = []

    def listen(report):
        heard.append((report.client_order_id, threading.current_thread()))
        if report.client_order_id == "a":
            raise KeyError("my own mistake")

    script = [
        ExecutionReport(kind, name, "AAPL", 1)
        for kind, name in (
            (ReportKind.FILL, "a"),
            (ReportKind.PARTIAL_FILL, "b"),
            (ReportKind.REJECTED, "c"),
            (ReportKind.ACCEPTED, "d"),
        )
    ]
    executor = start(ScriptedBroker(reports=script), on_fill=listen, on_reject=listen)
    assert executor.reports() == script
    assert heard == [(name, threading.current_thread()) for name in "abc"]
    assert "my own mistake" in executor.failure


def test_closed_it_sends_no_order_but_a_cancel(start):
    broker = SlowBroker()
    broker.go.set()
    executor = start(broker)
    executor.submit(order("a"))
    assert executor.close(WAIT_S)
    executor.submit(order("b"))
    executor.cancel("a")
    assert told(executor.reports()) == [("definite_reject", "b")]
    assert broker.sent == [("submit", "a"), ("cancel", "a")]


def test_closing_in_a_hurry_tells_what_was_sent_and_what_was_not(start):
    broker = SlowBroker()
    executor = start(broker, workers=1)
    executor.submit(order("flying"))
    assert broker.entered.acquire(timeout=WAIT_S)
    executor.submit(order("queued"))
    assert not executor.close(0.01)
    assert told(executor.reports()) == [
        ("definite_reject", "queued"),
        ("outcome_unknown", "flying"),
    ]


def test_orders_found_at_the_venue_are_cancelled_by_their_symbols_worker(start):
    broker = SlowBroker(orders=[order("adopted", symbol="IBM")])
    broker.go.set()
    executor = start(broker, workers=2)
    executor.submit(order("a"))
    executor.submit(order("b", symbol="IBM"))
    assert [one.client_order_id for one in executor.open_orders()] == ["adopted"]
    assert executor.drain(WAIT_S)
    broker.threads.clear()
    executor.cancel("adopted")
    assert executor.drain(WAIT_S)
    assert broker.threads == [("", "mqd-executor-1")]
    assert executor.positions() == broker.positions()
    assert executor.account() == broker.account()


def test_latency_is_from_the_call_to_the_brokers_return(start):
    clock, broker = StoppedClock(), SlowBroker()
    executor = start(broker, workers=1, clock=clock)
    assert executor.stats()[5:] == (0, -1, -1)
    executor.submit(order("a"))
    assert broker.entered.acquire(timeout=WAIT_S)
    clock.at_ns += 7_000_000
    broker.go.set()
    assert executor.drain(WAIT_S)
    assert executor.stats()[5:] == (1, 7_000_000, 7_000_000)


@pytest.mark.parametrize("options", [{"workers": 0}, {"queue_max": 0}])
def test_without_a_worker_or_a_queue_there_is_no_executor(options):
    with pytest.raises(UsageError, match=">= 1"):
        EventDrivenExecutor(ScriptedBroker(), WallClock(), **options)
