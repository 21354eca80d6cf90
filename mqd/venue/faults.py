"""``FaultPlan``: how the venue misbehaves, by number, seed and occasion.

The venue asks the plan at fixed points; the plan counts what it is asked and answers from its
list. It reads no clock and throws no dice while it runs: the same plan over the same requests
does the same. `FaultPlan.fired` tells what happened, `FaultPlan.unfired` what had no occasion.

What the venue does with an `Action`: "answer": send ``answer``, do not carry the request out
(`rest_before`) or do not send the true answer (`rest_after`); "hang": keep the connection open
for ``seconds`` and send nothing; "drop": cut the connection; "hold": send ``answer`` after
``seconds``. A body that is text goes out as it is, with the answer's Content-Type.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from mqd.errors import UsageError
from mqd.venue import fault_effects as effects
from mqd.venue.answer import Answer
from mqd.venue.fault_catalogue import BY_NUMBER, Fault, Switch, fault_of
from mqd.venue.fault_effects import Action, Due, Frame, Later, Request
from mqd.venue.fault_halves import Halves
from mqd.venue.fault_veil import Veil

__all__ = ["Action", "Due", "Fault", "FaultPlan", "Request"]
OPEN: Final = frozenset({"new", "accepted", "partially_filled", "pending_new"})
SPREAD: Final = {"before": 7, "after": 2, "updates": 2, "data": 9, "connect": 1, "step": 11}
LAST_NS: Final = 1 << 63
NARROW: Final = frozenset({"POST", "DELETE", "PATCH"})  # a run has few of these


@dataclass
class _Held:
    passing: int
    frame: Frame


class FaultPlan:
    """A list of faults and their counts; every method may be called from any thread."""

    def __init__(self, faults: Iterable[Fault] = (), *, symbol: str = "") -> None:
        self.faults = tuple(faults)
        self.symbol = symbol
        self.fired: dict[str, int] = {}
        self._count = [0] * len(self.faults)
        self._shots = [0] * len(self.faults)
        self._lock = threading.RLock()
        self._step = 0
        self._orders: dict[str, dict[str, Any]] = {}
        self._stuck: dict[str, tuple[str, int]] = {}
        self._later: list[Later] = []
        self._held: list[_Held] = []
        self._quiet_updates = self._quiet_data = 0
        self._asleep = False
        self._veil, self._halves = Veil(), Halves()

    @staticmethod
    def from_dict(words: Mapping[str, Any] | None) -> FaultPlan:
        """Return a plan from ``{"all": seed}``, ``{"random": seed}`` or ``{"faults": [...]}``.

        A fault is ``{"name" or "number", "at", "seed", "parameters"}``; None means no fault.
        Raises ``UsageError`` for unknown words.
        """
        if not words:
            return FaultPlan()
        for word in words:
            if word not in {"all", "random", "faults"}:
                raise UsageError(f"A fault plan has no {word!r}: write all, random or faults.")
        if "all" in words:
            return FaultPlan.all(int(words["all"]))
        if "random" in words:
            return FaultPlan.random(int(words["random"]))
        return FaultPlan(fault_of(one) for one in words["faults"])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in the form that `from_dict` takes."""
        return {
            "faults": [
                {
                    "number": one.number, "name": one.name, "at": one.at, "seed": one.seed,
                    "parameters": dict(one.parameters),
                }
                for one in self.faults
            ]
        }  # fmt: skip

    @staticmethod
    def all(seed: int) -> FaultPlan:
        """Return a plan with every switch once, spread over the first 100 steps or so."""
        order = np.random.default_rng(seed).permutation(sorted(BY_NUMBER)).tolist()
        turn: dict[tuple[str, str, str], int] = {}
        faults = []
        for number in order:
            switch = BY_NUMBER[number]
            place = (switch.hook, switch.method, switch.stream)
            turn[place] = turn.get(place, 0) + 1
            first = 1 if switch.hook == "connect" else 0  # the run must be able to begin
            faults.append(Fault(number, at=first + turn[place] * _spread(switch), seed=seed))
        return FaultPlan(faults)

    @staticmethod
    def random(seed: int, n_faults: int = 6) -> FaultPlan:
        """Return ``n_faults`` switches drawn by ``seed``, repeats allowed, at drawn occasions."""
        dice = np.random.default_rng(seed)
        faults = []
        for _ in range(n_faults):
            switch = BY_NUMBER[int(dice.integers(1, len(BY_NUMBER) + 1))]
            last = 8 if switch.method in NARROW or switch.hook == "connect" else 60
            faults.append(Fault(switch.number, at=int(dice.integers(1, last)), seed=seed))
        return FaultPlan(faults)

    @property
    def unfired(self) -> list[str]:
        """The names of the faults that had no occasion, by number."""
        left = {
            one.number for one, shots in zip(self.faults, self._shots, strict=True) if not shots
        }
        return [BY_NUMBER[number].name for number in sorted(left)]

    def rest_before(
        self, method: str, path: str, body: Mapping[str, Any] | None, now_ns: int = 0
    ) -> Action | None:
        """Say what to do with a request before it is carried out; None: carry it out.

        ``now_ns`` is the venue's time, for the reset header of a 429.
        """
        with self._lock:
            fault = self._due("before", lambda one: one.switch.asked_by(method, path))
            if fault is None:
                return None
            return self._before(fault, Request(method, path, dict(body) if body else None), now_ns)

    def rest_after(self, method: str, path: str, answer: Answer) -> Answer | Action:
        """Return the answer that goes out, or what to do instead; the request was carried out."""
        with self._lock:
            self._remember(answer.body)
            if answer.status >= 300:
                return answer
            veiled = self._veil.answer(method, path, answer)
            if veiled is not answer:
                return veiled
            fault = self._due("after", lambda one: one.switch.asked_by(method, path))
            if fault is not None:
                return self._after(fault, answer)
            return self._halves.answer(path, self._overlaid(answer))

    def updates(self, frame: Frame) -> list[Frame]:
        """Return the trade updates that go out now in place of one."""
        with self._lock:
            data = frame.get("data", {})
            self._remember(data.get("order"))
            kept = self._kept_back(data)
            fault = self._due("updates", lambda one: effects.suits(one.name, frame))
            frames = [frame] if fault is None else self._update(fault, frame)
            frames = [one for one in frames if not self._veil.keeps(one)]
            return self._silenced(self._released([] if kept else frames))

    def data(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the market data messages that go out in place of a frame's."""
        with self._lock:
            fault = self._due("data", lambda _: True)
            if fault is not None:
                self._quiet_data = int(fault.value("frames"))
            if self._quiet_data:
                self._quiet_data -= 1
                return []
            return list(messages)

    def connect(self, stream: str) -> int | None:
        """Return the error code (402, 406, 409) that a socket gets, or None to let it in.

        ``stream`` is "trading" or "data". A trading socket that is let in ends its silence.
        """
        with self._lock:
            fault = self._due("connect", lambda one: one.switch.stream in {"", stream})
            if fault is not None:
                return int(fault.value("code"))
            if stream == "trading":
                self._asleep, self._quiet_updates = False, 0
            return None

    def step(self, step: int, stamp: str = "", now_ns: int = 0) -> Due:
        """Return what the beginning of a step brings; ``stamp`` dates the updates it makes,
        ``now_ns`` is the venue's time."""
        with self._lock:
            self._step = step
            frames = [held.frame for held in self._held]
            self._held = []
            frames += self._veil.lift(now_ns) + self._unstuck(stamp)
            requests = [one.request for one in self._later if one.is_due(step, now_ns)]
            self._later = [one for one in self._later if not one.is_due(step, now_ns)]
            fault = self._due("step", self._can)
            if fault is not None:
                requests += self._injected(fault)
            cut = fault is not None and fault.name == "socket_drop"
            return Due(requests, self._silenced(frames), cut)

    def over(self) -> list[Frame]:
        """Return the updates that were kept back when the replay ended: now everything shows."""
        with self._lock:
            return self._silenced(self._veil.lift(LAST_NS))

    def _due(self, hook: str, waits: Callable[[Fault], bool]) -> Fault | None:
        """Count an occasion for every fault that waits for it; return the first that is due."""
        chosen: int | None = None
        for index, fault in enumerate(self.faults):
            if fault.switch.hook != hook or not waits(fault):
                continue
            self._count[index] += 1
            ripe = self._count[index] >= fault.at and self._shots[index] < fault.times
            if ripe and chosen is None:
                chosen = index
        if chosen is None:
            return None
        self._shots[chosen] += 1
        fault = self.faults[chosen]
        self.fired[fault.name] = self.fired.get(fault.name, 0) + 1
        return fault

    def _before(self, fault: Fault, request: Request, now_ns: int) -> Action | None:
        match fault.name:
            case "late_accept":
                self._later.append(Later(self._step + 1, now_ns + fault.seconds_ns, request))
                return Action("drop")
            case "late_to_show":
                name = str((request.body or {}).get("client_order_id", ""))
                self._veil.hide(name, now_ns + fault.seconds_ns)
                return None
            case "hang":
                return Action("hang", None, float(fault.value("seconds")))
            case "drop_tcp":
                return Action("drop")
            case "cancel_fill_race" | "stuck_pending_cancel":
                self._put_off(request, int(fault.value("steps")))
                return Action("answer", Answer(204, None, {}))
            case "rate_limit" | "rate_limit_storm":
                return Action("answer", effects.too_many(now_ns, int(fault.value("reset_s"))))
            case _:
                return Action("answer", effects.REFUSALS[fault.name])

    def _after(self, fault: Fault, answer: Answer) -> Answer | Action:
        body = answer.body
        match fault.name:
            case "drop_tcp_after_accept":
                return Action("drop")
            case "event_before_response":
                return Action("hold", answer, float(fault.value("seconds")))
            case "stuck_pending_new":
                until = self._step + int(fault.value("steps"))
                for order in effects.orders_in(body):
                    self._stuck[str(order["id"])] = ("pending_new", until)
                return self._overlaid(answer)
            case "unknown_field":
                return answer._replace(body=effects.with_unknown_field(body))
            case "unknown_status":
                return answer._replace(body=effects.with_unknown_status(body))
            case "empty_positions":
                return answer._replace(body=[])
            case "account_blocked":
                blocked = {"account_blocked": True, "trading_blocked": True}
                return answer._replace(body={**_object(body), **blocked})
            case "clock_off":
                return answer._replace(
                    body=effects.clock_ahead(_object(body), int(fault.value("seconds")))
                )
            case _:
                return effects.REFUSALS[fault.name]

    def _update(self, fault: Fault, frame: Frame) -> list[Frame]:
        match fault.name:
            case "drop_event":
                return []
            case "duplicate_event":
                return [frame, frame]
            case "delay_event" | "reorder_event":
                self._held.append(_Held(int(fault.value("events") or 1) + 1, frame))
                return []
            case "mute_stream":
                self._quiet_updates = int(fault.value("events"))
            case "half_open":
                self._asleep = True
            case "large_frame":
                return [effects.large(frame, int(fault.value("n_bytes")))]
            case "partial_fill":
                return self._halves.told(frame)
            case "unknown_enum":
                return [effects.unknown_event(frame), frame]
            case "missing_field":
                return [effects.sparse(frame)]
            case "nanoseconds":
                return [effects.with_nanoseconds(frame)]
            case _:
                raise UsageError(f"Fault {fault.name} does not act on trade updates.")
        return [frame]

    def _released(self, frames: list[Frame]) -> list[Frame]:
        """Append the updates that have waited for enough later ones."""
        for held in self._held:
            held.passing -= 1
        ready = [held.frame for held in self._held if held.passing <= 0]
        self._held = [held for held in self._held if held.passing > 0]
        return [*frames, *ready]

    def _silenced(self, frames: list[Frame]) -> list[Frame]:
        if self._asleep:
            return []
        muted = min(self._quiet_updates, len(frames))
        self._quiet_updates -= muted
        return frames[muted:]

    def _kept_back(self, data: Mapping[str, Any]) -> bool:
        """Return True for the `new` of an order that is stuck in pending_new."""
        stuck = self._stuck.get(str(data.get("order", {}).get("id")), ("", 0))[0]
        return stuck == "pending_new" and data.get("event") in {"new", "accepted"}

    def _put_off(self, cancel: Request, steps: int) -> None:
        """Carry a cancel out some steps later; until then the order says pending_cancel."""
        order_id = cancel.path.rsplit("/", 1)[-1]
        self._later.append(Later(self._step + steps, 0, cancel))
        self._stuck[order_id] = ("pending_cancel", self._step + steps)
        order = self._orders.get(order_id, {})
        if order.get("status") in OPEN:
            stamp = str(order.get("updated_at"))
            frame = effects.told(order, "pending_cancel", "pending_cancel", stamp)
            self._held.append(_Held(1, frame))

    def _unstuck(self, stamp: str) -> list[Frame]:
        """Forget the orders that are stuck no longer; return the `new` that was kept back."""
        frames = []
        for one, (status, until) in list(self._stuck.items()):
            if self._step >= until:
                del self._stuck[one]
                order = self._orders.get(one, {})
                if status == "pending_new" and order.get("status") in OPEN:
                    frames.append(effects.told(order, "new", "new", stamp))
        return frames

    def _overlaid(self, answer: Answer) -> Answer:
        statuses = {one: status for one, (status, _) in self._stuck.items()}
        return answer._replace(body=effects.with_status(answer.body, statuses))

    def _remember(self, body: Any) -> None:
        for order in effects.orders_in(body):
            self._orders[str(order.get("id"))] = order

    def _resting(self) -> dict[str, Any] | None:
        """Return the newest order that rests with a limit price."""
        for order in reversed(self._orders.values()):
            if order.get("status") in OPEN and order.get("limit_price") and order.get("qty"):
                return order
        return None

    def _symbol(self) -> str:
        seen = (str(order["symbol"]) for order in self._orders.values() if order.get("symbol"))
        return self.symbol or next(seen, "")

    def _can(self, fault: Fault) -> bool:
        match fault.name:
            case "broker_replace":
                return self._resting() is not None
            case "foreign_order" | "hand_trade":
                return bool(self._symbol())
            case _:
                return True

    def _injected(self, fault: Fault) -> list[Request]:
        order = {"symbol": self._symbol(), "side": "buy", "qty": "1", "time_in_force": "day"}
        by_hand = f"{fault.name}-{fault.seed}-{self._step}"
        match fault.name:
            case "broker_replace":
                resting = self._resting() or {}
                px = Decimal(str(resting["limit_price"])) + Decimal("0.01")
                body = {"qty": str(resting["qty"]), "limit_price": f"{px:f}"}
                return [Request("PATCH", f"/v2/orders/{resting['id']}", body)]
            case "foreign_order":
                more = {"type": "limit", "limit_price": "0.01", "client_order_id": by_hand}
                return [Request("POST", "/v2/orders", {**order, **more})]
            case "hand_trade":
                more = {"type": "market", "client_order_id": by_hand}
                return [Request("POST", "/v2/orders", {**order, **more})]
            case _:
                return []


def _spread(switch: Switch) -> int:
    """Return how many occasions of a kind lie between two faults of `FaultPlan.all`."""
    return 1 if switch.method in NARROW else SPREAD[switch.hook]


def _object(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else {}
