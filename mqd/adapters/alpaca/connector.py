"""``AlpacaBrokerConnector``: the ``Broker`` of rehearsal, paper and live.

Every call blocks until it is answered or given up; what came of it is a report. Reports of calls
and of the stream meet in one queue. An order is known to the venue by its own id; groups'
legs get client ids that the venue makes, so the desk's legs are found by the venue's ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.errors import (
    NotSent,
    OrderNotExpressible,
    VenueLies,
    VenueRefused,
    VenueUnreachable,
)
from mqd.adapters.alpaca.mapping import refusal_word, submit_outcome
from mqd.adapters.alpaca.news import OrderNews
from mqd.adapters.alpaca.reader import AccountReader, AssetFlags, VenueClock
from mqd.adapters.alpaca.session import AlpacaSession, Reply
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Reason, TimeInForce
from mqd.core.position import Account, Position
from mqd.core.protocols import Clock
from mqd.execution.breaks import FillActivity

HEIRS_MAX: Final = 8
NOT_KNOWN_YET: Final = "the venue does not know the order yet"
BEGUN: Final = "the order has begun to fill"
_TYPES: Final = {str(kind): kind for kind in OrderType}


class AlpacaBrokerConnector:
    """One account. ``scales`` are of the run's symbols, ``quantum`` its money unit.

    ``price_steps``: protective prices are rounded to Alpaca's steps (paper, live).
    ``take_update`` may be called from any thread, commands and questions from several,
    ``reports`` from the desk's. Questions raise ``VenueUnreachable``, ``VenueRefused`` or
    ``VenueLies``; commands and ``query`` raise nothing of the venue's.
    ``may_send(order, waited_ns)`` is asked for a last time when an order's turn has come; what it
    says keeps the order here.
    """

    def __init__(
        self,
        session: AlpacaSession,
        scales: Mapping[str, Scale],
        clock: Clock,
        quantum: Decimal,
        *,
        price_steps: bool = False,
    ) -> None:
        self._session, self._clock, self._price_steps = session, clock, price_steps
        self._reader = AccountReader(session, dict(scales), quantum)
        self._news = OrderNews(clock, quantum)
        self._numbered = False
        self.n_updates = 0
        self.may_send: Callable[[Order, int], str] = lambda _order, _waited_ns: ""

    def _why_not(self, orders: Sequence[Order]) -> Callable[[], str]:
        """Return what says why orders must not leave, after they waited from now on."""
        begun_ns = self._clock.monotonic_ns()

        def why_not() -> str:
            waited_ns = self._clock.monotonic_ns() - begun_ns
            refused = (self.may_send(order, waited_ns) for order in orders)
            return next(filter(None, refused), "")

        return why_not

    @property
    def foreign(self) -> dict[str, dict[str, Any]]:
        """The open orders, and the fills, that are not ours, by the venue's order id."""
        with self._news.lock:
            return dict(self._news.orders.foreign)

    def name_of(self, venue_order_id: str) -> str:
        """Return our id of an order of the venue's, "" when it is not ours."""
        with self._news.lock:
            return self._news.orders.name_of_id(venue_order_id) or ""

    def client_id(self, venue_order_id: str) -> str:
        """Return the client id that the venue has of an order, ours or not; asked for."""
        return self._reader.client_id(venue_order_id)

    # --- commands ----------------------------------------------------------------------------

    def adopt(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Know an order as ours: one about to be sent, or one that a log tells of."""
        with self._news.lock:
            self._news.orders.adopt(order, legs)

    def know(self, client_order_id: str, venue_order_id: str) -> None:
        """Learn the venue's id of an order of ours from a log."""
        self._news.know(client_order_id, venue_order_id)

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Send an order with its legs, once; ACK, a refusal or OUTCOME_UNKNOWN follows."""
        self.adopt(order, legs)
        names = [member.client_order_id for member in (order, *legs)]
        try:
            body = wire.order_body(order, legs, price_steps=self._price_steps)
            why_not = self._why_not((order, *legs))
            reply = self._session.send("POST", "/v2/orders", body=body, why_not=why_not)
        except (OrderNotExpressible, NotSent) as error:
            self._news.say(ReportKind.DEFINITE_REJECT, names, str(error))
        except VenueUnreachable as error:
            self._news.say(ReportKind.OUTCOME_UNKNOWN, names, str(error))
        else:
            self._answered(names, reply)

    def _answered(self, names: Sequence[str], reply: Reply, *, replaces: str | None = None) -> None:
        """Report what the answer to a POST or PATCH of an order (with legs) means."""
        kind, text = _outcome(names[0], reply, replaces)
        if kind is ReportKind.ACK:
            self._news.saw(kind, names[0], reply.body)
        else:
            self._news.say(kind, names, text)

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel, with the reserve of the rate budget; the stream tells what came of it.

        A refusal is CANCEL_REJECTED: the desk then asks for the order. A cancel may be asked for
        twice, so one that was not answered is.
        """
        venue_id = self._venue_id(client_order_id)
        if venue_id is None:
            self.query(client_order_id)
            venue_id = self._venue_id(client_order_id)
        text = NOT_KNOWN_YET
        if venue_id is not None:
            try:
                reply = self._session.insist("DELETE", f"/v2/orders/{venue_id}", urgent=True)
            except VenueUnreachable as error:
                text = str(error)
            else:
                if 200 <= reply.status < 300:
                    return
                text = _words(reply)
        self._news.say(ReportKind.CANCEL_REJECTED, [client_order_id], text)

    def replace(self, client_order_id: str, order: Order) -> None:
        """Ask to replace an order by ``order``; Alpaca makes it a new one with a new id.

        An order that has begun to fill is not replaced: what "quantity" then means to the venue
        is not established, and the desk's figure may be old.
        """
        old, new = client_order_id, order.client_order_id
        with self._news.lock:
            orders = self._news.orders
            orders.adopt(order, ())
            orders.replaces(old, new)
            venue_id, begun = orders.venue_id(old), orders[old].cum_lots > 0
        if venue_id is None or begun:
            self._not_replaced(old, new, BEGUN if begun else NOT_KNOWN_YET)
            return
        body = wire.replace_body(order, price_steps=self._price_steps)
        try:
            path, why_not = f"/v2/orders/{venue_id}", self._why_not((order,))
            reply = self._session.send("PATCH", path, body=body, why_not=why_not)
        except NotSent as error:
            self._not_replaced(old, new, str(error))
        except VenueUnreachable as error:
            self._news.say(ReportKind.OUTCOME_UNKNOWN, [new], str(error))
        else:
            self._replaced(old, new, reply)

    def _replaced(self, old: str, new: str, reply: Reply) -> None:
        """Report what the answer to a replace means; a refusal may be untrue, so it is checked."""
        kind, text = _outcome(new, reply)
        if kind is not ReportKind.DEFINITE_REJECT:
            self._answered([new], reply, replaces=self._venue_id(old))
            return
        try:
            record = self._find(new)
        except (VenueUnreachable, VenueRefused, VenueLies):
            self._news.say(ReportKind.OUTCOME_UNKNOWN, [new], text)
            return
        if record is None:
            self._not_replaced(old, new, text)
        else:
            self._news.saw(ReportKind.ACK, new, record)

    def _not_replaced(self, old: str, new: str, text: str) -> None:
        with self._news.lock:
            self._news.orders[old].heir = ""
            self._news.say(ReportKind.REPLACE_REJECTED, [old], text)
            self._news.say(ReportKind.DEFINITE_REJECT, [new], text)

    def cancel_everything(self) -> None:
        """Ask to cancel every open order of the account, others' too (the kill switch).

        Raises ``VenueUnreachable`` or ``VenueRefused`` when the venue did not take it.
        """
        reply = self._session.insist("DELETE", "/v2/orders", urgent=True)
        if not 200 <= reply.status < 300:
            raise VenueRefused("DELETE /v2/orders", reply.status, reply.message)

    # --- what the venue says by itself -------------------------------------------------------

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived."""
        return self._news.take_all()

    def take_update(self, data: dict[str, Any]) -> None:
        """Take the ``data`` of a trade update; one about an order not known yet waits for it.

        Where the venue numbers its updates, those without a number do not count.
        """
        with self._news.lock:
            self._news.update(data)
            seq = data.get("seq")
            if isinstance(seq, int) and not isinstance(seq, bool):
                self._numbered = True
                self.n_updates = max(self.n_updates, seq)
            elif not self._numbered:
                self.n_updates += 1

    def take_activities(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Report the fills among account activities: those that the stream told count once."""
        for entry in entries:
            if entry.get("activity_type") == "FILL":
                self._news.fill(entry)

    def fill_activity(self, entry: Mapping[str, Any]) -> FillActivity | None:
        """Return a FILL activity as a reconciliation reads it, None when it names no symbol."""
        symbol = wire.id_of(entry, "symbol")
        if not symbol:
            return None
        scale = self._reader.scale_of(symbol)
        venue_id, cum = wire.id_of(entry, "order_id"), wire.cum_lots(entry.get("cum_qty"), scale)
        signed = int(wire.side_of(entry)) * wire.lots_of(entry.get("qty"), scale)
        with self._news.lock:
            orders = self._news.orders
            name, total = orders.name_of_id(venue_id) or "", cum + orders.carried(venue_id)
        return FillActivity(wire.id_of(entry), symbol, signed, name, total if cum > 0 else -1)

    # --- questions ---------------------------------------------------------------------------

    def query(self, client_order_id: str) -> None:
        """Ask for an order; FOUND or NOT_FOUND follows, nothing when the venue does not answer.

        An order that is not ours, or over so long that it is forgotten, is not asked for.
        """
        if client_order_id not in self._news.orders:
            return
        try:
            record = self._find(client_order_id)
        except (VenueUnreachable, VenueRefused, VenueLies):
            return
        with self._news.lock:
            orders = self._news.orders
            if record is not None:
                self._news.saw(ReportKind.FOUND, orders.asked_for(client_order_id), record)
                return
            old = orders[client_order_id].heir_of
            self._news.say(ReportKind.NOT_FOUND, [client_order_id], "the venue has no such order")
            if old:
                self._news.say(ReportKind.REPLACE_REJECTED, [old], "it was not replaced")

    def _find(self, client_order_id: str) -> dict[str, Any] | None:
        """Return the venue's record of an order (its parent's, for a leg without an id), followed
        to the order that took its place; None when the venue says that there is none."""
        with self._news.lock:
            orders = self._news.orders
            name = orders.asked_for(client_order_id)
            venue_id, in_part = orders.venue_id(name), orders.lacks_legs(name)
            ours_replaced = bool(orders[name].heir)
        if venue_id is None:
            words = {"client_order_id": name, "nested": True}
            record = self._record("/v2/orders:by_client_order_id", words)
            if record is not None and in_part and not record.get("legs"):
                record = self._by_id(wire.id_of(record))
        else:
            record = self._by_id(venue_id)
        for _ in range(0 if ours_replaced else HEIRS_MAX):
            heir_id = wire.id_of(record, "replaced_by") if record is not None else ""
            heir = self._by_id(heir_id) if heir_id else None
            if record is None or heir is None or not self._news.follow(name, record, heir):
                break
            record = heir
        return record

    def _by_id(self, venue_id: str) -> dict[str, Any] | None:
        return self._record(f"/v2/orders/{venue_id}", {"nested": True})

    def _record(self, path: str, words: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return an order as the venue shows it. Only Alpaca's own "not found" is None: a 404 of
        whatever stands before it says nothing of the order."""
        reply = self._session.asked(path, words, urgent=True)
        if refusal_word(reply.status, reply.code, reply.message) == "not_found":
            return None
        if reply.status != 200:
            raise VenueRefused(f"GET {path}", reply.status, reply.message)
        if not isinstance(reply.body, dict) or not wire.id_of(reply.body):
            raise VenueLies(f"GET {path}", "no order")
        return reply.body

    def open_orders(self) -> list[Order]:
        """Return all orders that the venue holds as working, ours and others', oldest first."""
        with self._news.lock:
            in_part = self._news.orders.groups_in_part()
        for name in in_part:
            self.query(name)
        records = self._reader.open_orders()
        with self._news.lock:
            self._news.orders.drop_foreign(wire.id_of(record) for record in records)
            return [self._order(record) for record in records]

    def positions(self) -> dict[str, Position]:
        """Return the venue's non-flat positions, also of symbols that are not the run's."""
        return self._reader.positions()

    def account(self) -> Account:
        """Return the venue's view of the account."""
        return self._reader.account()

    def activities(
        self, after_id: str = "", *, after_ns: int | None = None, category: str = ""
    ) -> list[dict[str, Any]]:
        """Return the account's activities after one, or after an instant (ns UTC), oldest first,
        all pages; ``category`` is "trade_activity", "non_trade_activity" or "" for both."""
        return self._reader.activities(after_id, after_ns=after_ns, category=category)

    def clock_ns(self) -> int:
        """Return the venue's instant."""
        return self.clock().now_ns

    def clock(self) -> VenueClock:
        """Return the venue's clock and the session that it names."""
        return self._reader.clock()

    def asset(self, symbol: str) -> AssetFlags:
        """Return what an asset allows."""
        return self._reader.asset(symbol)

    # --- inside ------------------------------------------------------------------------------

    def _order(self, record: dict[str, Any]) -> Order:
        """Return a working order of the venue: ours as we know it, another's as it looks."""
        orders = self._news.orders
        name = orders.name_of(record)
        if name is not None:
            return orders[name].order
        orders.note_foreign(wire.id_of(record), record)
        symbol = str(record.get("symbol"))
        scale = self._reader.scale_of(symbol)
        return Order(
            str(record.get("client_order_id")), "", symbol, wire.side_of(record),
            wire.held_lots(wire.amount(record.get("qty")), scale),
            _TYPES.get(str(record.get("type")), OrderType.MARKET), TimeInForce.DAY,
            self._clock.now_ns(), scale, Reason.EVENT,
        )  # fmt: skip

    def _venue_id(self, name: str) -> str | None:
        with self._news.lock:
            return self._news.orders.venue_id(name)


def _words(reply: Reply) -> str:
    return f"{refusal_word(reply.status, reply.code, reply.message)}: {reply.message}"


def _outcome(name: str, reply: Reply, replaces: str | None = None) -> tuple[ReportKind, str]:
    """Return what an answer to a POST or PATCH says of the order ``name``, and in which words.

    It is known by its client id, or as the one that ``replaces`` the venue's order.
    """
    body = reply.body
    shown = isinstance(body, dict) and bool(wire.id_of(body))
    mine = shown and body.get("client_order_id") in (None, name)
    mine = mine or (shown and replaces is not None and body.get("replaces") == replaces)
    kind = submit_outcome(reply.status, reply.code, reply.message, readable=mine)
    if kind is ReportKind.OUTCOME_UNKNOWN and 200 <= reply.status < 300:
        return kind, f"the venue answered {reply.status} with something else than the order"
    return kind, _words(reply)
