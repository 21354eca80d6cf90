"""The fault switches by number: where each one acts, how often, and with what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from mqd.core.clock import NS_PER_S
from mqd.errors import UsageError, did_you_mean

ORDERS: Final = r"/v2/orders"
ONE_ORDER: Final = r"/v2/orders/[^/]+"
ANY: Final = r"/v\d/.*"


@dataclass(frozen=True)
class Switch:
    """One way to misbehave.

    ``hook`` is where it acts: before (a request is carried out), after (it was), updates (a
    trade update goes out), data (market data go out), connect (a socket asks to be let in),
    step (a step of the replay begins). ``method`` and ``path`` narrow requests, ``stream`` a
    socket. ``parameters`` are the defaults; ``times`` is how often it fires in a row.
    """

    number: int
    name: str
    hook: str
    summary: str
    method: str = ".*"
    path: str = ANY
    stream: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1

    def asked_by(self, method: str, path: str) -> bool:
        """Return True when a request is one that this switch waits for."""
        return bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))


def _switches() -> list[Switch]:
    before, after, updates = "before", "after", "updates"
    return [
        Switch(1, "hang", before, "No answer; nothing is done.", parameters={"seconds": 8.0}),
        Switch(2, "rate_limit", before, "429 with the reset header.", parameters={"reset_s": 1}),
        Switch(3, "rate_limit_storm", before, "Five times 429 in a row.", times=5,
               parameters={"reset_s": 1}),
        Switch(4, "gateway_timeout_after_accept", after, "504, and the order lives.",
               "POST", ORDERS),
        Switch(5, "server_error", before, "500 with code 50010000."),
        Switch(6, "bad_gateway", before, "502 with a page of HTML."),
        Switch(7, "html_with_ok", before, "200 with a page of HTML to a read.", "GET"),
        Switch(8, "html_after_accept", after, "200 with HTML, and the order lives.",
               "POST", ORDERS),
        Switch(9, "drop_tcp", before, "The connection is cut; nothing is done."),
        Switch(10, "drop_tcp_after_accept", after, "The connection is cut, and the order lives.",
               "POST", ORDERS),
        Switch(11, "delay_event", updates, "An update comes after the next ones.",
               parameters={"events": 2}),
        Switch(12, "drop_event", updates, "An update never comes."),
        Switch(13, "duplicate_event", updates, "An update comes twice."),
        Switch(14, "reorder_event", updates, "Two updates change places."),
        Switch(15, "event_before_response", after, "The update overtakes the answer.",
               "POST", ORDERS, parameters={"seconds": 0.2}),
        Switch(16, "mute_stream", updates, "Updates are silent for a while, the socket is open.",
               parameters={"events": 3}),
        Switch(17, "half_open", updates, "Pings are answered, updates never come again until the"
               " client connects anew."),
        Switch(18, "mute_data", "data", "Market data are silent for a while.",
               parameters={"frames": 3}),
        Switch(19, "connection_limit", "connect", "406: one connection too many.", stream="data",
               parameters={"code": 406}),
        Switch(20, "auth_failed", "connect", "402 (unauthorized on /stream) for right keys.",
               parameters={"code": 402}),
        Switch(21, "insufficient_subscription", "connect", "409 on the data socket.",
               stream="data", parameters={"code": 409}),
        Switch(22, "large_frame", updates, "A frame of more than 1 MiB.",
               parameters={"n_bytes": 2**20}),
        Switch(23, "partial_fill", updates, "A fill is told as two executions."),
        Switch(24, "cancel_fill_race", before, "204, yet the order works for one step more.",
               "DELETE", ONE_ORDER, parameters={"steps": 2}),
        Switch(25, "replace_reject", before, "422: the order is not at the exchange yet.",
               "PATCH", ONE_ORDER),
        Switch(26, "replace_lies", after, "422, and the order was replaced.",
               "PATCH", ONE_ORDER),
        Switch(27, "stuck_pending_cancel", before, "204, then pending_cancel for some steps.",
               "DELETE", ONE_ORDER, parameters={"steps": 4}),
        Switch(28, "stuck_pending_new", after, "The order says pending_new for some steps.",
               "POST", ORDERS, parameters={"steps": 4}),
        Switch(29, "unknown_enum", updates, "An event and a status nobody has heard of."),
        Switch(30, "unknown_field", after, "Fields nobody has heard of.", "GET"),
        Switch(31, "missing_field", updates, "Optional fields are absent."),
        Switch(32, "nanoseconds", updates, "Stamps of the order carry nine digits."),
        Switch(33, "broker_replace", "step", "The broker replaces a resting order by itself."),
        Switch(34, "foreign_order", "step", "An order of somebody else rests in the account."),
        Switch(35, "hand_trade", "step", "Somebody buys one share by hand."),
        Switch(36, "empty_positions", after, "The list of positions is empty, once.",
               "GET", r"/v2/positions"),
        Switch(37, "account_blocked", after, "The account says that it is blocked.",
               "GET", r"/v2/account"),
        Switch(38, "clock_off", after, "The clock is 10 s off.", "GET", r"/v2/clock",
               parameters={"seconds": 10}),
        Switch(39, "halted_symbol", before, "403 40310010: trading is halted.", "POST", ORDERS,
               times=2),
        Switch(40, "unknown_status", after, "An order's status nobody has heard of.",
               "GET", rf"{ORDERS}(/[^/]+|:by_client_order_id)?"),
        Switch(41, "socket_drop", "step", "Both sockets are cut."),
    ]  # fmt: skip


def _late_switches() -> list[Switch]:
    """Return those that show an order late: "not found" meanwhile. They count the venue's time,
    and act when a step begins."""
    return [
        Switch(42, "late_accept", "before", "The connection is cut, questions get 404, and some"
               " time later the order arrives and is taken.", "POST", ORDERS,
               parameters={"seconds": 60}),
        Switch(43, "late_to_show", "before", "The connection is cut, the order lives; for some"
               " time questions by its client id get 404 and nothing is told of it.",
               "POST", ORDERS, parameters={"seconds": 60}),
    ]  # fmt: skip


CATALOGUE: Final[Mapping[str, Switch]] = {
    switch.name: switch for switch in (*_switches(), *_late_switches())
}
BY_NUMBER: Final[Mapping[int, Switch]] = {one.number: one for one in CATALOGUE.values()}


def switch_of(word: object) -> Switch:
    """Return a switch by name or number; raise ``UsageError`` for an unknown one."""
    if isinstance(word, int) and word in BY_NUMBER:
        return BY_NUMBER[word]
    if isinstance(word, str) and word in CATALOGUE:
        return CATALOGUE[word]
    near = did_you_mean(word, CATALOGUE) if isinstance(word, str) else ""
    raise UsageError(f"There is no fault {word!r} (1 to {len(CATALOGUE)}).{near}")


@dataclass(frozen=True)
class Fault:
    """A switch that fires at its ``at``-th occasion (1 = the first one).

    An occasion is a request, update, frame, connection or step that the switch waits for.
    Raises ``UsageError`` for an unknown switch or parameter, or ``at`` below 1.
    """

    number: int
    name: str = ""
    at: int = 1
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        switch = switch_of(self.number)
        if self.name not in {"", switch.name}:
            raise UsageError(f"Fault {self.number} is {switch.name!r}, not {self.name!r}.")
        object.__setattr__(self, "name", switch.name)
        if type(self.at) is not int or self.at < 1:
            raise UsageError(f"Fault {switch.name}: at = {self.at!r}; occasions count from 1.")
        for word in self.parameters:
            if word not in {*switch.parameters, "times"}:
                known = did_you_mean(word, [*switch.parameters, "times"])
                raise UsageError(f"Fault {switch.name} has no parameter {word!r}.{known}")

    @property
    def switch(self) -> Switch:
        """The switch of this fault."""
        return BY_NUMBER[self.number]

    @property
    def times(self) -> int:
        """How often it fires in a row."""
        return int(self.parameters.get("times", self.switch.times))

    @property
    def seconds_ns(self) -> int:
        """Its parameter ``seconds`` in ns."""
        return int(Decimal(str(self.value("seconds"))) * NS_PER_S)

    def value(self, name: str) -> Any:
        """Return a parameter, its default where the plan says nothing."""
        return self.parameters.get(name, self.switch.parameters.get(name))


def fault_of(words: Mapping[str, Any]) -> Fault:
    """Return the fault that ``{"name" or "number", "at", "seed", "parameters"}`` says."""
    for word in words:
        if word not in {"number", "name", "at", "seed", "parameters"}:
            raise UsageError(f"A fault has no {word!r}: number or name, at, seed, parameters.")
    switch = switch_of(words.get("name", words.get("number")))
    number = words.get("number", switch.number)
    return Fault(
        number, switch.name, words.get("at", 1), words.get("seed", 0), words.get("parameters", {})
    )
