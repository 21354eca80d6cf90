"""Orders, records and servers for tests of the adapter: written from Alpaca's documentation."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import SimulatedClock, WallClock
from mqd.core.money import Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce

KEY, SECRET = "PKCANARY0KEY", "canary+secret/4711"
QUANTUM = Decimal("1e-8")
CENT = Scale.of(Decimal("0.01"), Decimal(1), QUANTUM)
FINE = Scale.of(Decimal("0.01"), Decimal("0.001"), QUANTUM)
SCALES = {"AAA": CENT, "BBB": FINE}
T0 = 1_700_000_000 * 10**9
GONE = (404, {"code": 40410000, "message": "order not found for mq1-a"})


def keys():
    return Keys(Secret(KEY), Secret(SECRET))


def order(name="mq1-a", lots=10, side=Side.BUY, kind=OrderType.MARKET, symbol="AAA", **more):
    """Return an order of the desk's."""
    words = {"time_in_force": TimeInForce.DAY, "reason": Reason.EVENT, **more}
    return Order(
        name, "s", symbol, side, lots, kind, words.pop("time_in_force"), T0, SCALES[symbol],
        words.pop("reason"),
    )._replace(**words)  # fmt: skip


def bracket(name="mq1-b", lots=10):
    """Return a bracket: the entry, then its target and its stop."""
    entry = order(name, lots, order_class=OrderClass.BRACKET, group=name)
    leg = entry._replace(side=Side.SELL, parent=name, reducing=True)
    target = leg._replace(client_order_id=f"{name}-tp", type=OrderType.LIMIT, limit_ticks=11_000)
    stop = leg._replace(client_order_id=f"{name}-sl", type=OrderType.STOP, stop_ticks=9_000)
    return entry, (target, stop)


def record(venue_id="v1", client_id="mq1-a", status="new", filled="0", **more):
    """Return an order as Alpaca shows it."""
    return {
        "id": venue_id, "client_order_id": client_id, "symbol": "AAA", "side": "buy", "qty": "10",
        "filled_qty": filled, "filled_avg_price": None, "status": status, "type": "market",
        "order_type": "market", "time_in_force": "day", "order_class": "", "legs": None,
        "replaced_by": None, "replaces": None, "submitted_at": "2026-03-02T14:30:00.123456789Z",
        **more,
    }  # fmt: skip


def update(event, shown, **more):
    """Return the ``data`` of a trade update."""
    return {"event": event, "timestamp": "2026-03-02T14:30:01.000000001Z", "order": shown, **more}


def fill(shown, qty, price="100.25", event="fill"):
    return update(event, shown, qty=qty, price=price, execution_id=f"x{shown['filled_qty']}")


def activity(venue_id, qty, cum, price="100.25", side="buy", **more):
    """Return a FILL activity."""
    return {
        "id": f"20260302::{venue_id}-{cum}", "activity_type": "FILL", "order_id": venue_id,
        "symbol": "AAA", "side": side, "qty": qty, "cum_qty": cum, "price": price,
        "transaction_time": "2026-03-02T14:30:01.000000001Z", "type": "fill", **more,
    }  # fmt: skip


class Script:
    """A transport that answers from a list: (status, body) each, and keeps what was asked.

    A body is JSON-ready, or text that goes out as it is; an exception is raised.
    """

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, method, path, query, body, headers):
        self.asked.append((method, path, dict(query), None if body is None else json.loads(body)))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        status, said = answer
        return status, said if isinstance(said, str) else json.dumps(said), {}

    @property
    def calls(self):
        return [(method, path) for method, path, _, _ in self.asked]


def session_over(script, **words):
    return AlpacaSession("http://127.0.0.1:1", keys(), WallClock(), transport=script, **words)


def connector_over(*answers, **words):
    """Return a connector over a scripted transport, and the script."""
    script = Script(*answers)
    clock = SimulatedClock(T0)
    return AlpacaBrokerConnector(session_over(script), SCALES, clock, QUANTUM, **words), script


def kinds(connector):
    return [(report.kind, report.client_order_id) for report in connector.reports()]


def leg_records():
    """Return the legs of ``bracket`` as Alpaca shows them, the stop first."""
    stop = record("v-sl", "made-1", "held", side="sell", type="stop", stop_price="90")
    target = record("v-tp", "made-2", "held", side="sell", type="limit", limit_price="110")
    return [stop, target]


def live(*answers):
    """Return a connector with the order mq1-a acknowledged as v1, and its script."""
    connector, script = connector_over((200, record(status="pending_new")), *answers)
    connector.submit(order())
    connector.reports()
    return connector, script


@contextmanager
def scripted(handle):
    """Serve ``handle(handler)`` for every request on loopback; yields (url, requests so far)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Say nothing."""

        def _any(self):
            n_bytes = int(self.headers.get("Content-Length") or 0)
            self.body = self.rfile.read(n_bytes)
            asked.append((self.command, self.path, dict(self.headers), self.body))
            handle(self)

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._any)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def answer(handler, status, body, headers=()):
    """Answer a request of ``scripted``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in (("Content-Length", str(len(data))), *headers):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def http_session(url, **words):
    """Return a session over HTTP; the caller closes it."""
    return AlpacaSession(url, keys(), WallClock(), **words)
