"""What a fault makes of an answer or a frame: pure functions that return changed copies."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from mqd.venue.answer import Answer

Frame = dict[str, Any]
PAGE: Final = "<html><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"
HTML: Final = {"Content-Type": "text/html"}
OPTIONAL_DATA: Final = ("position_qty", "settle_date", "commission", "reason", "at", "event_id")
OPTIONAL_ORDER: Final = ("hwm", "legs", "subtag", "source", "notional", "expires_at")
STICKS: Final = {
    "pending_new": ("new", "accepted"),
    "pending_cancel": ("new", "accepted", "pending_new", "partially_filled"),
}
STAMPS: Final = ("created_at", "updated_at", "submitted_at")


class Action(NamedTuple):
    """What the venue does instead of answering: "answer", "hang", "drop" or "hold"."""

    kind: str
    answer: Answer | None = None
    seconds: float = 0.0


class Request(NamedTuple):
    """A request that the venue carries out by itself for the first account."""

    method: str
    path: str
    body: dict[str, Any] | None


class Later(NamedTuple):
    """A request to carry out when a step begins: not before ``step``, nor before ``at_ns``."""

    step: int
    at_ns: int
    request: Request

    def is_due(self, step: int, now_ns: int) -> bool:
        """Return True when a step that begins at the venue's ``now_ns`` carries it out."""
        return self.step <= step and self.at_ns <= now_ns


class Due(NamedTuple):
    """What a step brings: requests to carry out, updates to send, and whether sockets are cut."""

    requests: list[Request]
    frames: list[Frame]
    cut: bool


def page(status: int) -> Answer:
    """Return a page of HTML with a status: the body is text that goes out as it is."""
    return Answer(status, PAGE, dict(HTML))


def refusal(status: int, code: int, message: str) -> Answer:
    """Return an error body of Alpaca."""
    return Answer(status, {"code": code, "message": message}, {})


def too_many(now_ns: int, reset_s: int) -> Answer:
    """Return 429 with the documented headers; the reset is unix seconds."""
    headers = {
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(now_ns // 10**9 + reset_s),
    }
    return Answer(429, {"code": 42910000, "message": "rate limit exceeded"}, headers)


def orders_in(body: Any) -> Iterator[dict[str, Any]]:
    """Yield every order of an answer's body, legs too."""
    for one in body if isinstance(body, list) else [body]:
        if isinstance(one, dict):
            if "client_order_id" in one:
                yield one
            yield from orders_in(one.get("legs") or [])


def with_status(body: Any, statuses: Mapping[str, str]) -> Any:
    """Return a body whose live orders say the status that is stuck, by order id."""
    if not statuses:
        return body
    changed = copy.deepcopy(body)
    for order in orders_in(changed):
        stuck = statuses.get(str(order.get("id")))
        if stuck is not None and order.get("status") in STICKS[stuck]:
            order["status"] = stuck
    return changed


def with_unknown_status(body: Any) -> Any:
    """Return a body whose first order has a status that no list knows."""
    changed = copy.deepcopy(body)
    for order in orders_in(changed):
        order["status"] = "under_review"
        break
    return changed


def with_unknown_field(body: Any) -> Any:
    """Return a body with a field, in each object, that no specification names."""
    changed = copy.deepcopy(body)
    for one in changed if isinstance(changed, list) else [changed]:
        if isinstance(one, dict):
            one["settlement_ledger_v9"] = {"nested": [1, None, "x"]}
    return changed


def clock_ahead(body: Any, seconds: int) -> Any:
    """Return the body of /v2/clock with its timestamp moved."""
    changed = dict(body)
    head, dot, tail = str(changed["timestamp"]).partition(".")
    digits = "".join(c for c in tail.split("-")[0].split("+")[0] if c.isdigit()) if dot else ""
    zone = tail[len(digits) :] if dot else ""
    moved = datetime.fromisoformat(head + zone) + timedelta(seconds=seconds)
    text = moved.isoformat()
    if dot:
        text = f"{text[:19]}.{digits}{text[19:]}"
    changed["timestamp"] = text.replace("+00:00", "Z") if zone in {"", "Z"} else text
    return changed


def large(frame: Frame, n_bytes: int) -> Frame:
    """Return an update with a field so long that the frame exceeds ``n_bytes``."""
    return _with_data(frame, {"padding": "x" * n_bytes})


def sparse(frame: Frame) -> Frame:
    """Return an update without its optional fields."""
    changed = copy.deepcopy(frame)
    for name in OPTIONAL_DATA:
        changed["data"].pop(name, None)
    for name in OPTIONAL_ORDER:
        changed["data"].get("order", {}).pop(name, None)
    return changed


def with_nanoseconds(frame: Frame) -> Frame:
    """Return an update whose order's stamps carry nine digits of which the last are not 0."""
    changed = copy.deepcopy(frame)
    order = changed["data"].get("order", {})
    for name in STAMPS:
        if isinstance(order.get(name), str):
            order[name] = f"{order[name][:19]}.123456789Z"
    return changed


def unknown_event(frame: Frame) -> Frame:
    """Return a copy of an update that says what no list of events knows."""
    changed = copy.deepcopy(frame)
    data = changed["data"]
    for name in ("execution_id", "price", "qty", "position_qty", "seq", "commission"):
        data.pop(name, None)
    data["event"] = "quarantined"
    data.get("order", {})["status"] = "quarantined"
    return changed


def in_two(frame: Frame) -> list[Frame]:
    """Return a fill as two executions that add up to it: a partial fill, then the rest.

    The first part has an execution id and no ``seq`` of its own, and no commission; the second
    keeps those of the fill. A fill of one share, or of less than two, stays whole.
    """
    data = frame["data"]
    if data.get("event") not in {"fill", "partial_fill"} or "qty" not in data:
        return [frame]
    qty = Decimal(str(data["qty"]))
    first = (qty / 2).to_integral_value()
    if first <= 0 or first >= qty:
        return [frame]
    part, rest = copy.deepcopy(frame), copy.deepcopy(frame)
    for name in ("seq", "commission"):
        part["data"].pop(name, None)
    order = part["data"]["order"]
    part["data"]["event"], order["status"] = "partial_fill", "partially_filled"
    order["filled_qty"] = f"{Decimal(str(order['filled_qty'])) - (qty - first):f}"
    order["filled_at"] = None
    part["data"]["qty"] = f"{first:f}"
    part["data"]["execution_id"] = f"{data['execution_id']}-1"
    if "position_qty" in data:
        sign = 1 if order.get("side") == "buy" else -1
        after = Decimal(str(data["position_qty"])) - sign * (qty - first)
        part["data"]["position_qty"] = f"{after:f}"
    rest["data"]["qty"] = f"{qty - first:f}"
    return [part, rest]


def told(order: Mapping[str, Any], event: str, status: str, stamp: str) -> Frame:
    """Return an update about an order that nothing in the simulator has caused."""
    data = {"event": event, "timestamp": stamp, "at": stamp}
    return {"stream": "trade_updates", "data": {**data, "order": {**order, "status": status}}}


def _with_data(frame: Frame, more: Mapping[str, Any]) -> Frame:
    return {**frame, "data": {**frame["data"], **more}}


def suits(name: str, frame: Frame) -> bool:
    """Return True when the fault ``name`` can do something with an update."""
    if name == "partial_fill":
        return len(in_two(frame)) > 1
    return True


REFUSALS: Final[Mapping[str, Answer]] = {
    "server_error": refusal(500, 50010000, "internal server error occurred"),
    "bad_gateway": page(502),
    "html_with_ok": page(200),
    "html_after_accept": page(200),
    "gateway_timeout_after_accept": refusal(504, 50410000, "request timed out"),
    "replace_reject": refusal(
        422, 40010001, "unable to replace order, order isn't sent to exchange yet"
    ),
    "replace_lies": refusal(422, 42210000, "unable to replace order"),
    "halted_symbol": refusal(403, 40310010, "trading is halted on the symbol"),
}
