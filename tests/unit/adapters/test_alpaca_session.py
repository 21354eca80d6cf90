"""One HTTP call: sent once, given up in time, read safely, counted."""

import gzip
import socket
import threading

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.adapters.alpaca import session as session_module
from mqd.adapters.alpaca.budget import Budget
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.errors import NotSent, VenueLies, VenueRefused, VenueUnreachable
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S, SimulatedClock
from mqd.core.execution_report import ReportKind
from mqd.errors import UsageError
from tests.unit.adapters.alpaca_bench import (
    KEY,
    QUANTUM,
    SCALES,
    SECRET,
    Script,
    answer,
    http_session,
    order,
    record,
    scripted,
    session_over,
)

FAST = (0.2, 0.25)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Let repeated questions follow each other at once, and give up early."""
    monkeypatch.setattr(session_module, "TIMEOUT_S", FAST)
    with stamina.set_testing(True, attempts=3):
        yield


def hang(_):
    threading.Event().wait(0.6)


def drop(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "v1"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def no_http(handler):
    handler.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    handler.close_connection = True


OUTCOMES = {
    "504": lambda h: answer(h, 504, {"code": 50410000, "message": "request timed out"}),
    "500": lambda h: answer(h, 500, b""),
    "502 html": lambda h: answer(h, 502, b"<html>Bad Gateway</html>"),
    "hang": hang,
    "drop": drop,
    "half an answer": half,
    "no http": no_http,
    "200 html": lambda h: answer(h, 200, b"<html>maintenance</html>"),
    "200 empty": lambda h: answer(h, 200, b""),
    "200 broken gzip": lambda h: answer(h, 200, b"\x1f\x8bnope", [("Content-Encoding", "gzip")]),
    "301": lambda h: answer(h, 301, b"", [("Location", "/elsewhere")]),
    "307": lambda h: answer(h, 307, b"", [("Location", "http://127.0.0.1:1/v2/orders")]),
}


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_a_post_is_sent_once_whatever_comes_back(name):
    with scripted(OUTCOMES[name]) as (url, asked):
        session = http_session(url)
        connector = AlpacaBrokerConnector(session, SCALES, SimulatedClock(), QUANTUM)
        connector.submit(order())
        connector.replace("mq1-a", order("mq1-n"))
        reports = connector.reports()
        session.close()
    assert reports[0].kind is ReportKind.OUTCOME_UNKNOWN
    assert [(method, path) for method, path, _, _ in asked] == [("POST", "/v2/orders")]


def test_a_429_is_not_answered_by_sending_again():
    with scripted(lambda h: answer(h, 429, b"", [("X-RateLimit-Reset", "9")])) as (url, asked):
        session = http_session(url)
        reply = session.send("POST", "/v2/orders", body={"a": "1"})
        session.close()
    assert reply.status == 429
    assert len(asked) == 1


def test_a_read_is_asked_three_times_and_a_cancel_too():
    with scripted(OUTCOMES["504"]) as (url, asked):
        session = http_session(url)
        with pytest.raises(VenueUnreachable, match="HTTP 504"):
            session.ask("/v2/account")
        with pytest.raises(VenueUnreachable):
            session.insist("DELETE", "/v2/orders/v1", urgent=True)
        session.close()
    assert [method for method, _, _, _ in asked] == ["GET"] * 3 + ["DELETE"] * 3


def test_a_refused_connection_is_a_sentence():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        session = http_session(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(VenueUnreachable, match=r"did not answer POST /v2/orders: Connection"):
            session.send("POST", "/v2/orders", body={})
        session.close()


def test_a_call_carries_the_keys_and_exact_json():
    with scripted(lambda h: answer(h, 200, {"ok": True})) as (url, asked):
        session = http_session(url)
        session.send("POST", "/v2/orders", body={"qty": "0.3"}, query={"a": True, "b": [1, 2]})
        session.close()
    method, path, headers, body = asked[0]
    assert (method, path, body) == ("POST", "/v2/orders?a=true&b=1%2C2", b'{"qty": "0.3"}')
    assert headers["APCA-API-KEY-ID"] == KEY
    assert headers["APCA-API-SECRET-KEY"] == SECRET
    assert headers["Content-Type"] == "application/json"


def test_answers_are_read_whole_compressed_or_in_chunks_on_one_connection():
    peers = set()

    def reply(handler):
        peers.add(handler.client_address)
        if "zip" in handler.path:
            answer(handler, 200, gzip.compress(b'{"n": 1.10}'), [("Content-Encoding", "gzip")])
            return
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (b'{"n"', b": 1.10", b"}", b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    with scripted(reply) as (url, asked):
        session = http_session(url)
        found = [session.ask(path) for path in ("/zip", "/chunks", "/zip")]
        session.close()
    assert [str(one["n"]) for one in found] == ["1.10"] * 3
    assert (len(asked), len(peers)) == (3, 1)


def test_an_answer_that_trickles_or_is_endless_is_given_up(monkeypatch):
    monkeypatch.setattr(session_module, "ANSWER_S_MAX", 0.3)
    monkeypatch.setattr(session_module, "BODY_BYTES_MAX", 50_000)

    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        part = b" " * (100_000 if "long" in handler.path else 1)
        for _ in range(40):
            handler.wfile.write(part)
            handler.wfile.flush()
            threading.Event().wait(0.02)

    with scripted(lambda h: _ignoring_cuts(trickle, h)) as (url, asked):
        session = http_session(url)
        for path in ("/slow", "/long"):
            with pytest.raises(VenueUnreachable, match=r": ReadTimeout\."):
                session.send("GET", path)
        session.close()
    assert len(asked) == 2


def _ignoring_cuts(handle, handler):
    try:
        handle(handler)
    except OSError:
        handler.close_connection = True


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with scripted(lambda h: answer(h, 200, [])) as (url, asked):
        session = http_session(url)
        assert session.ask("/v2/positions") == []
        session.close()
    assert len(asked) == 1


@pytest.mark.parametrize("url", ["", "127.0.0.1", "http://127.0.0.1/", "ftp://x"])
def test_endpoints_that_are_none_are_refused(url):
    with pytest.raises(UsageError, match="write http"):
        http_session(url)


def test_what_a_question_may_lead_to():
    session = session_over(
        Script((200, "<html>"), (200, ""), (404, {"message": "gone"}), (301, ""))
    )
    with pytest.raises(VenueLies, match="no JSON"):
        session.ask("/v2/clock")
    with pytest.raises(VenueLies, match="nothing"):
        session.ask("/v2/clock")
    with pytest.raises(VenueRefused, match="with 404: gone"):
        session.ask("/v2/clock")
    with pytest.raises(VenueRefused, match="with 301: no reason given"):
        session.ask("/v2/clock")


# --- the rate budget -----------------------------------------------------------------------------


class Passing:
    """A clock that a budget's waiting moves."""

    def __init__(self):
        self.ns = 5 * NS_PER_S

    def monotonic_ns(self):
        return self.ns

    now_ns = monotonic_ns

    def wait(self, seconds):
        self.ns += max(1, round(seconds * NS_PER_S))


CALLS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20 * NS_PER_S), st.sampled_from([0.0, 5.0, 90.0])),
    max_size=80,
)


@given(CALLS, st.integers(1, 12), st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_no_minute_has_more_calls_than_allowed_and_the_reserve_is_for_urgent_ones(
    calls, most, reserve
):
    clock = Passing()
    budget = Budget(clock, most, reserve, wait=clock.wait)
    taken = []
    for urgent, gap_ns, patience_s in calls:
        clock.ns += gap_ns
        before = clock.ns
        if budget.take(urgent=urgent, patience_s=patience_s):
            taken.append(clock.ns)
            assert urgent or budget.tokens >= reserve
        assert clock.ns - before <= patience_s * NS_PER_S + 1000
        assert 0 <= budget.tokens <= most
    for first in taken:
        assert sum(first <= one < first + NS_PER_MINUTE for one in taken) <= most


def test_a_burst_leaves_the_reserve_and_the_next_call_comes_a_minute_later():
    clock = Passing()
    budget = Budget(clock, wait=clock.wait)
    assert [budget.take(urgent=False, patience_s=0) for _ in range(141)] == [True] * 140 + [False]
    assert [budget.take(urgent=True, patience_s=0) for _ in range(41)] == [True] * 40 + [False]
    assert budget.take(urgent=False, patience_s=61)
    assert clock.ns == 65 * NS_PER_S


def test_a_hold_stops_what_is_not_urgent():
    clock = Passing()
    budget = Budget(clock, wait=clock.wait)
    budget.hold(30 * NS_PER_S)
    assert budget.take(urgent=True, patience_s=0)
    assert not budget.take(urgent=False, patience_s=29)
    assert budget.take(urgent=False, patience_s=31)
    assert clock.ns == 35 * NS_PER_S


def test_a_clock_that_stands_still_does_not_make_a_call_wait_for_ever():
    budget = Budget(SimulatedClock(), 1, 0, wait=lambda _seconds: None)
    assert budget.take(urgent=False)
    assert not budget.take(urgent=False, patience_s=120.0)


def test_a_used_up_budget_sends_nothing_and_is_not_asked_again():
    clock = Passing()
    script = Script((200, []))
    session = session_over(script, budget=Budget(clock, 2, 1, wait=clock.wait))
    assert session.ask("/v2/positions") == []
    with pytest.raises(NotSent, match="GET /v2/positions was not sent: the rate budget"):
        session.ask("/v2/positions")
    assert len(script.asked) == 1


@pytest.mark.parametrize(("reset", "held_s"), [("", 1), ("soon", 1), ("0", 1), ("99999999999", 60)])
def test_a_429_holds_other_calls_till_its_reset_a_minute_at_most(reset, held_s):
    clock = Passing()
    budget = Budget(clock, wait=clock.wait)

    def refuse(*_):
        return 429, "", {"X-RateLimit-Reset": reset}

    session = session_over(refuse, budget=budget)
    assert session.send("POST", "/v2/orders", body={}).status == 429
    assert not budget.take(urgent=False, patience_s=held_s - 0.01)
    assert budget.take(urgent=False, patience_s=held_s + 0.01)


def test_a_connector_over_http_submits_and_reads():
    shown = record(status="pending_new")
    with scripted(lambda h: answer(h, 200, shown)) as (url, asked):
        session = http_session(url)
        connector = AlpacaBrokerConnector(session, SCALES, SimulatedClock(), QUANTUM)
        connector.submit(order())
        (report,) = connector.reports()
        session.close()
    assert (report.kind, report.venue_order_id) == (ReportKind.ACK, "v1")
    assert b'"qty": "10"' in asked[0][3]
