"""The one way from an approval to a venue: send, cancel, replace, and take reports.

The engine is the same in replay, rehearsal, paper and live; what stands behind ``Broker`` is the
difference. It holds no order state: outcomes and news come back as reports, and the desk hands
them to the order state machine. It runs on the desk's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Final

from mqd.core.execution_report import ExecutionReport
from mqd.core.money import BPS_UNITS
from mqd.core.order import Order, OrderType, Side
from mqd.core.protocols import Broker, Clock
from mqd.core.verdict import Approved
from mqd.errors import NotDurable, UsageError
from mqd.execution.capabilities import PX_STEPS

ID_PREFIX: Final = "mq1-"
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_SPARE_BITS: Final = 256 - 130  # 26 characters of 5 bits are kept
_LOW_BITS: Final = (1 << 70) - 1


def _base32(bits: int) -> str:
    """Return 130 bits as 26 characters; written out, as a loop costs twice as much an order."""
    pair, high, low = _PAIRS, bits >> 70, bits & _LOW_BITS
    return (
        f"{pair[high >> 50]}{pair[high >> 40 & 1023]}{pair[high >> 30 & 1023]}"
        f"{pair[high >> 20 & 1023]}{pair[high >> 10 & 1023]}{pair[high & 1023]}"
        f"{pair[low >> 60]}{pair[low >> 50 & 1023]}{pair[low >> 40 & 1023]}"
        f"{pair[low >> 30 & 1023]}{pair[low >> 20 & 1023]}{pair[low >> 10 & 1023]}"
        f"{pair[low & 1023]}"
    )


def client_order_id(
    account_hash: str,
    strategy: str,
    version: str,
    symbol: str,
    side: Side,
    decided_ns: int,
    leg: str,
    number: int,
) -> str:
    """Return the id of a decision: the same decision gives the same id, in every process.

    ``ID_PREFIX``, the first 4 characters of ``account_hash``, ``-``, and 26 lower-case base32
    characters (RFC 4648 alphabet) of the SHA-256 of the other arguments: 35 characters. A
    repeated decision so meets the venue's own refusal of a duplicate. ``leg`` names the part of
    a group ("" for a simple order); ``number`` tells decisions of one instant apart. Raise
    ``UsageError`` when ``account_hash`` is shorter than 4 characters.
    """
    if len(account_hash) < 4:
        raise UsageError(f"The account hash {account_hash!r} is shorter than 4 characters.")
    sign = "1" if side > 0 else "-1"
    text = f"{strategy}\x1f{version}\x1f{symbol}\x1f{sign}\x1f{decided_ns}\x1f{leg}\x1f{number}"
    bits = int.from_bytes(sha256(text.encode()).digest(), "big") >> _SPARE_BITS
    return f"{ID_PREFIX}{account_hash[:4]}-{_base32(bits)}"


def collared(order: Order, ref_ticks: int, collar_units: int, *, equity: bool = False) -> Order:
    """Turn a market order into a limit order at the collar; leave every other type as it is.

    ``ref_ticks`` is the reference price, ``collar_units`` the collar as a fraction of it in units
    of 1e-8 (500_000 = 0.5 %). The limit is the collar's price rounded to the tick toward the
    reference, so it never lies outside the collar: a buy at most ref x (1 + collar), rounded
    down; a sell at least ref x (1 - collar), rounded up. ``equity`` rounds on to the step of an
    equity's limits (a cent from 1 USD on), which may take the limit past the reference. Raise
    ``UsageError`` without a positive reference, or for a collar that is negative or not below 1.
    """
    if order.type is not OrderType.MARKET:
        return order
    if ref_ticks <= 0:
        raise UsageError(
            f"{order.symbol}: a collar needs a reference price, not {ref_ticks} ticks."
        )
    if not 0 <= collar_units < BPS_UNITS:
        raise UsageError(f"{order.symbol}: a collar of {collar_units} x 1e-8 is not in [0, 1).")
    if order.side is Side.BUY:
        limit = ref_ticks * (BPS_UNITS + collar_units) // BPS_UNITS
    else:
        limit = -(-ref_ticks * (BPS_UNITS - collar_units) // BPS_UNITS)
    if equity:
        step = _step_ticks(limit, order.scale.tick)
        limit -= limit % step if order.side is Side.BUY else -(-limit % step)
    return order._replace(type=OrderType.LIMIT, limit_ticks=limit)


def _step_ticks(ticks: int, tick: Decimal) -> int:
    """Return the step of an equity's limits at a price, in ticks."""
    step = next(step for since, step in PX_STEPS if ticks * tick >= since)
    return max(1, int(step / tick))


class OrderExecutionEngine:
    """Sends what was approved, and nothing else.

    ``broker`` is where orders go, ``clock`` the run's. ``reports()`` returns and forgets what the
    venue has reported, in order of arrival. ``n_sent``, ``n_cancels`` and
    ``n_replaces`` count messages; ``last_sent_ns`` is the instant of the last one.
    """

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self.reports: Callable[[], list[ExecutionReport]] = broker.reports
        self.n_sent = 0
        self.n_cancels = 0
        self.n_replaces = 0
        self.last_sent_ns = 0

    def send(self, approved: Approved, *, intent_seq: int, durable_seq: int) -> None:
        """Send an approved order with its legs, once.

        ``intent_seq`` is the log's sequence number of the intent (of the last one, with legs),
        ``durable_seq`` the highest that the log has made durable. Raise ``NotDurable``, and send
        nothing, when the intent could still be lost. An approval is unwrapped here and in
        ``replace`` only.
        """
        if intent_seq > durable_seq:
            raise NotDurable(approved.order.client_order_id, intent_seq, durable_seq)
        self._broker.submit(approved.order, approved.legs)
        self.n_sent += 1
        self.last_sent_ns = self._clock.now_ns()

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel; it counts only when the venue reports CANCELED."""
        self._broker.cancel(client_order_id)
        self.n_cancels += 1
        self.last_sent_ns = self._clock.now_ns()

    def replace(
        self, client_order_id: str, approved: Approved, *, intent_seq: int, durable_seq: int
    ) -> None:
        """Ask to replace an order by an approved one; raise ``NotDurable`` as ``send`` does."""
        if intent_seq > durable_seq:
            raise NotDurable(approved.order.client_order_id, intent_seq, durable_seq)
        self._broker.replace(client_order_id, approved.order)
        self.n_replaces += 1
        self.last_sent_ns = self._clock.now_ns()
