"""What a rule needs to know of the past, kept as numbers: rates, fills, marks, duplicates.

Time is handed in. A time that lies before one already seen counts as that one: nothing
refills, no window empties, because a clock went back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Side
from mqd.risk.limits import LimitValues
from mqd.risk.views import Counters


def refilled(tokens: float, burst: float, rate_s: float, gap_ns: int) -> float:
    """Return the tokens of a bucket ``gap_ns`` later; the compiled loop calls this too."""
    return min(burst, tokens + float(gap_ns) / NS_PER_S * rate_s)


class TokenBucket:
    """Lets ``burst`` orders through at once and ``rate_s`` a second after that."""

    __slots__ = ("_last_ns", "_tokens", "burst", "rate_s")

    def __init__(self, rate_s: float, burst: float) -> None:
        self.rate_s, self.burst = rate_s, burst
        self._tokens = burst
        self._last_ns: int | None = None

    def tokens(self, now_ns: int) -> float:
        """Return the tokens that an order at ``now_ns`` would find; takes none."""
        if self._last_ns is None or now_ns <= self._last_ns:
            return self._tokens
        return refilled(self._tokens, self.burst, self.rate_s, now_ns - self._last_ns)

    def take(self, now_ns: int) -> None:
        """Take one token at ``now_ns``."""
        self._tokens = self.tokens(now_ns) - 1.0
        self._last_ns = now_ns if self._last_ns is None else max(self._last_ns, now_ns)

    def memory(self) -> tuple[float, int | None]:
        """Return the tokens left, and when they were counted."""
        return self._tokens, self._last_ns

    def remember(self, tokens: float, last_ns: int | None) -> None:
        """Take back what `memory` returned."""
        self._tokens, self._last_ns = min(tokens, self.burst), last_ns

    def tighten(self, rate_s: float, burst: float) -> None:
        """Lower rate and burst; tokens above the new burst are gone."""
        self.rate_s, self.burst = rate_s, burst
        self._tokens = min(self._tokens, burst)


class Window:
    """Counts events of the last ``width_ns`` for each key; memory is bounded by the window."""

    __slots__ = ("_counts", "_events", "_width_ns")

    def __init__(self, width_ns: int) -> None:
        self._width_ns = width_ns
        self._events: deque[tuple[int, Hashable]] = deque()
        self._counts: dict[Hashable, int] = {}

    def add(self, now_ns: int, key: Hashable) -> None:
        """Count one event of ``key`` and forget what has left the window."""
        events, counts = self._events, self._counts
        while events and now_ns - events[0][0] >= self._width_ns:
            _, old = events.popleft()
            counts[old] -= 1
            if not counts[old]:
                del counts[old]
        events.append((now_ns, key))
        counts[key] = counts.get(key, 0) + 1

    def memory(self) -> list[tuple[int, Hashable]]:
        """Return the events that are still inside, oldest first."""
        return list(self._events)

    def remember(self, events: Iterable[Sequence[Any]]) -> None:
        """Take back what `memory` returned; lists in it become the tuples that keys are."""
        for at_ns, key in events:
            self.add(at_ns, tuple(key) if isinstance(key, list) else key)

    def count(self, now_ns: int, key: Hashable) -> int:
        """Return the events of ``key`` younger than the window's width; changes nothing."""
        events = self._events
        if not events or now_ns - events[-1][0] >= self._width_ns:
            return 0
        inside = self._counts.get(key, 0)
        for at_ns, old in events:
            if now_ns - at_ns < self._width_ns:
                break
            inside -= old == key
        return inside


ACCOUNT = "account"


class Bases(NamedTuple):
    """What daily loss and drawdown are measured from: equities in quanta; ``day`` is the session's.

    ``high_water_quanta`` is None before the first mark.
    """

    day: int
    day_start_quanta: int
    high_water_quanta: int | None


class History:
    """The counters of one account; everything is told by the desk, nothing is guessed."""

    def __init__(self, limits: LimitValues) -> None:
        self._now_ns = -(2**63)
        self._limits = limits
        self._bucket = TokenBucket(limits.orders_s_max, limits.orders_burst_max)
        self._orders_s = Window(NS_PER_S)
        self._orders_min = Window(NS_PER_MINUTE)
        self._fills_min = Window(NS_PER_MINUTE)
        self._messages_min = Window(NS_PER_MINUTE)
        self._ids: set[str] = set()
        self._same: dict[_SameKey, int] = {}
        self._tripped: set[str] = set()
        self._messages_today = self._orders_today = self._fills_today = 0
        self._day_notional_quanta = 0
        self.session: int | None = None
        self.day_start_quanta: int | None = None
        self.high_water_quanta: int | None = None

    def tighten(self, limits: LimitValues) -> None:
        """Take over tighter limits; counts stay."""
        self._limits = limits
        self._bucket.tighten(limits.orders_s_max, limits.orders_burst_max)

    def sent(self, order: Order, now_ns: int) -> None:
        """Count an order that goes out, and its message."""
        now_ns = self._at(now_ns)
        self._bucket.take(now_ns)
        self._orders_s.add(now_ns, ACCOUNT)
        self._orders_min.add(now_ns, ACCOUNT)
        self._orders_min.add(now_ns, (order.strategy,))
        self._orders_today += 1
        self._ids.add(order.client_order_id)
        self._same[_same_key(order)] = now_ns
        self.message(now_ns)

    def message(self, now_ns: int) -> None:
        """Count one call to the venue."""
        self._messages_min.add(self._at(now_ns), ACCOUNT)
        self._messages_today += 1

    def filled(
        self, symbol: str, side: Side, cum_lots: int, parent_lots: int, notional_quanta: int,
        now_ns: int, strategy: str,
    ) -> None:  # fmt: skip
        """Count one execution; more filled than ordered, or too many fills, trips the strategy."""
        now_ns = self._at(now_ns)
        self._fills_min.add(now_ns, (symbol, side))
        self._fills_today += 1
        self._day_notional_quanta += abs(notional_quanta)
        fills = self._fills_min.count(now_ns, (symbol, side))
        if cum_lots > parent_lots or fills > self._limits.fills_min_max:
            self._tripped.add(strategy)

    def rearm(self, strategy: str) -> None:
        """Let a tripped strategy open again; a human decides this."""
        self._tripped.discard(strategy)

    def start_session(self, day: int, equity_quanta: int) -> None:
        """Begin a session: its start-of-day record and the day's counts."""
        if day == self.session:
            return
        self.session, self.day_start_quanta = day, equity_quanta
        self._messages_today = self._orders_today = self._fills_today = 0
        self._day_notional_quanta = 0
        self._forget_old()

    def memory(self) -> dict[str, object]:
        """Return what a checkpoint keeps; the ids of orders come back with the orders."""
        return {
            "now_ns": self._now_ns, "session": self.session,
            "day_start_quanta": self.day_start_quanta, "high_water_quanta": self.high_water_quanta,
            "bucket": self._bucket.memory(),
            "windows": [window.memory() for window in self._windows],
            "same": [(*key, at_ns) for key, at_ns in self._same.items()],
            "tripped": sorted(self._tripped),
            "today": [
                self._messages_today, self._orders_today, self._fills_today,
                self._day_notional_quanta,
            ],
        }  # fmt: skip

    def remember(self, memory: Mapping[str, Any], ids: Iterable[str]) -> None:
        """Take back what `memory` returned; ``ids`` are those of all orders sent."""
        self._now_ns, self.session = memory["now_ns"], memory["session"]
        self.day_start_quanta = memory["day_start_quanta"]
        self.high_water_quanta = memory["high_water_quanta"]
        self._bucket.remember(*memory["bucket"])
        for window, events in zip(self._windows, memory["windows"], strict=True):
            window.remember(events)
        self._same = {_key_of(row[:-1]): row[-1] for row in memory["same"]}
        self._tripped = set(memory["tripped"])
        (
            self._messages_today, self._orders_today, self._fills_today,
            self._day_notional_quanta,
        ) = memory["today"]  # fmt: skip
        self._ids.update(ids)

    @property
    def _windows(self) -> tuple[Window, ...]:
        return self._orders_s, self._orders_min, self._fills_min, self._messages_min

    @property
    def bases(self) -> Bases | None:
        """What loss and drawdown are measured from, None before the first session."""
        if self.session is None or self.day_start_quanta is None:
            return None
        return Bases(self.session, self.day_start_quanta, self.high_water_quanta)

    def restore(self, bases: Bases) -> None:
        """Take over what a log tells of a session; one that is new here begins with it."""
        self.start_session(bases.day, bases.day_start_quanta)
        self.day_start_quanta = bases.day_start_quanta
        self.high_water_quanta = bases.high_water_quanta

    def mark(self, equity_quanta: int) -> None:
        """Raise the high-water mark."""
        top = self.high_water_quanta
        self.high_water_quanta = equity_quanta if top is None else max(top, equity_quanta)

    def flow(self, quanta: int) -> None:
        """Take a deposit (+) or withdrawal (-) out of loss and drawdown."""
        if self.day_start_quanta is not None:
            self.day_start_quanta += quanta
        if self.high_water_quanta is not None:
            self.high_water_quanta += quanta

    def counters(self, order: Order, now_ns: int, scale: Scale, limits: Lists) -> Counters:
        """Return the counts as an order of this strategy, symbol and side meets them."""
        now_ns = max(self._now_ns, now_ns)
        usd = 1.0 / float(scale.quantum)
        last = self._same.get(_same_key(order))
        return Counters(
            float(self._orders_s.count(now_ns, ACCOUNT)),
            float(self._orders_min.count(now_ns, (order.strategy,))),
            float(self._orders_min.count(now_ns, ACCOUNT)),
            self._bucket.tokens(now_ns),
            float(self._fills_min.count(now_ns, (order.symbol, order.side))),
            float(self._messages_min.count(now_ns, ACCOUNT)),
            float(self._messages_today),
            float(self._orders_today),
            float(self._fills_today),
            self._day_notional_quanta / usd,
            float("nan") if self.day_start_quanta is None else self.day_start_quanta / usd,
            float("nan") if self.high_water_quanta is None else self.high_water_quanta / usd,
            float("inf") if last is None else float(now_ns - last),
            1.0 if order.client_order_id in self._ids else 0.0,
            1.0 if order.strategy in self._tripped else 0.0,
            *limits,
        )

    def _at(self, now_ns: int) -> int:
        self._now_ns = max(self._now_ns, now_ns)
        return self._now_ns

    def _forget_old(self) -> None:
        oldest = self._now_ns - NS_PER_DAY
        self._same = {key: at for key, at in self._same.items() if at > oldest}


Lists = tuple[float, float, float]
"""``(allowed, denied, sector_known)`` of one symbol."""


_SameKey = tuple[str, str, Side, int, int, int, OrderType]


def _same_key(order: Order) -> _SameKey:
    return (order.strategy, order.symbol, order.side, order.lots, order.limit_ticks,
            order.stop_ticks, order.type)  # fmt: skip


def _key_of(row: Sequence[Any]) -> _SameKey:
    strategy, symbol, side, lots, limit_ticks, stop_ticks, kind = row
    return strategy, symbol, Side(side), lots, limit_ticks, stop_ticks, OrderType(kind)
