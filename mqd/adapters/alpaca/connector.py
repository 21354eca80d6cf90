"""``AlpacaBrokerConnector``: the ``Broker`` of rehearsal, paper and live.

Every call blocks until it is answered or given up; what came of it is a report. Reports of calls
and of the stream meet in one queue. An order is known to the venue by its own id; groups'
legs get client ids that the venue makes, so the desk's legs are found by the venue's ids.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.errors import VenueRefused, VenueUnreachable
from mqd.adapters.alpaca.mapping import event_kind, refusal_word, submit_outcome
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.money import Scale
from mqd.core.order import Order, OrderType, Reason, TimeInForce
from mqd.core.position import Account, Position
from mqd.core.protocols import Clock
from mqd.execution.breaks import FillActivity

PAGE_ACTIVITIES: Final = 100
PAGE_ORDERS: Final = 500
WAITING_MAX: Final = 1000
_FILLS: Final = frozenset({ReportKind.FILL, ReportKind.PARTIAL_FILL})


class AlpacaBrokerConnector:
    """One account. ``scales`` are of the run's symbols, ``quantum`` its money unit.

    ``price_steps``: protective prices are rounded to Alpaca's steps (paper, live). Orders that
    are not ours are kept in ``foreign`` by the venue's id. ``take_update`` may be called from
    any thread, commands and questions from several, ``reports`` from the desk's.
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
        self._session, self._scales, self._clock = session, dict(scales), clock
        self._quantum, self._price_steps = quantum, price_steps
        self._lock = threading.Lock()
        self._out: list[ExecutionReport] = []
        self._ours: dict[str, Order] = {}
        self._venue_id: dict[str, str] = {}
        self._by_venue_id: dict[str, str] = {}
        self._legs: dict[str, tuple[str, ...]] = {}
        self._waiting: list[dict[str, Any]] = []
        self.foreign: dict[str, dict[str, Any]] = {}
        self.n_updates = 0

    # --- commands ----------------------------------------------------------------------------

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Send an order with its legs, once; ACK, a refusal or OUTCOME_UNKNOWN follows."""
        body = wire.order_body(order, legs, price_steps=self._price_steps)
        self.adopt(order, legs)
        self._post("POST", "/v2/orders", body, order, legs)

    def adopt(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Know an order as ours: one about to be sent, or one that a log tells of."""
        with self._lock:
            for member in (order, *legs):
                self._ours[member.client_order_id] = member
            if legs:
                self._legs[order.client_order_id] = tuple(leg.client_order_id for leg in legs)

    def know(self, client_order_id: str, venue_order_id: str) -> None:
        """Learn the venue's id of an order of ours from a log."""
        with self._lock:
            self._link(client_order_id, venue_order_id)

    def _post(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        order: Order,
        legs: Sequence[Order],
    ) -> None:
        names = [member.client_order_id for member in (order, *legs)]
        try:
            reply = self._session.send(method, path, body=body)
        except VenueUnreachable as error:
            self._all(ReportKind.OUTCOME_UNKNOWN, names, order.symbol, str(error))
            return
        readable = reply.readable and isinstance(reply.body, dict)
        kind = submit_outcome(reply.status, reply.code, reply.message, readable=readable)
        if kind is not ReportKind.ACK:
            word = refusal_word(reply.status, reply.code, reply.message)
            self._all(kind, names, order.symbol, f"{word}: {reply.message}")
            return
        with self._lock:
            self._acknowledge(reply.body, names)
            self._drain_waiting()

    def _acknowledge(self, record: dict[str, Any], names: Sequence[str]) -> None:
        """Link the ids of an answer and report it: the order, then its legs."""
        records = [record, *self._leg_records(record)]
        for name, one in zip(names, records, strict=False):
            self._link(name, str(one.get("id")))
            self._put(self._snapshot(ReportKind.ACK, name, one))

    def _leg_records(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return [leg for leg in record.get("legs") or [] if isinstance(leg, dict)]

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel, with the reserve of the rate budget; the stream tells what came of it.

        A refusal is CANCEL_REJECTED: the desk then asks for the order.
        """
        venue_id = self._venue_id.get(client_order_id)
        symbol = self._ours[client_order_id].symbol
        if venue_id is None:
            self.query(client_order_id)
            venue_id = self._venue_id.get(client_order_id)
        if venue_id is None:
            text = "the venue does not know the order yet"
            self._all(ReportKind.CANCEL_REJECTED, [client_order_id], symbol, text)
            return
        try:
            reply = self._session.send("DELETE", f"/v2/orders/{venue_id}", urgent=True)
        except VenueUnreachable as error:
            self._all(ReportKind.CANCEL_REJECTED, [client_order_id], symbol, str(error))
            return
        if not 200 <= reply.status < 300:
            text = f"{refusal_word(reply.status, reply.code, reply.message)}: {reply.message}"
            self._all(ReportKind.CANCEL_REJECTED, [client_order_id], symbol, text)

    def replace(self, client_order_id: str, order: Order) -> None:
        """Ask to replace an order by ``order``; Alpaca makes it a new one with a new id."""
        venue_id = self._venue_id.get(client_order_id)
        self.adopt(order)
        if venue_id is None:
            text = "the venue does not know the order yet"
            self._all(ReportKind.REPLACE_REJECTED, [client_order_id], order.symbol, text)
            return
        full = wire.order_body(order, (), price_steps=self._price_steps)
        names = ("qty", "time_in_force", "limit_price", "stop_price", "client_order_id")
        body = {name: full[name] for name in names if name in full}
        if "trail_price" in full or "trail_percent" in full:
            body["trail"] = full.get("trail_price") or full["trail_percent"]
        self._post("PATCH", f"/v2/orders/{venue_id}", body, order, ())

    # --- what the venue says by itself -------------------------------------------------------

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived."""
        with self._lock:
            out, self._out = self._out, []
        return out

    def take_update(self, data: dict[str, Any]) -> None:
        """Take the ``data`` of a trade update; one about an order not known yet waits for it."""
        with self._lock:
            self._take(data, wait=True)
            seq = data.get("seq")
            counted = int(seq) if isinstance(seq, int) else self.n_updates + 1
            self.n_updates = max(self.n_updates, counted)

    def _take(self, data: dict[str, Any], *, wait: bool) -> None:
        record = data.get("order")
        if not isinstance(record, dict) or record.get("symbol") not in self._scales:
            return
        name = self._name_of(record)
        if name is None:
            if wait and len(self._waiting) < WAITING_MAX:
                self._waiting.append(data)
            return
        self._link(name, str(record.get("id")))
        self._put(self._event(name, data, record))

    def _drain_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._take(data, wait=True)

    def _event(self, name: str, data: dict[str, Any], record: dict[str, Any]) -> ExecutionReport:
        """Return the report of a trade update."""
        event = str(data.get("event"))
        kind = event_kind(event)
        report = self._snapshot(kind, name, record)
        text = str(data.get("reason") or "")
        if kind in _FILLS:
            return self._fill(report, record, data.get("qty"), data.get("price"), data, text)
        status = event if kind is ReportKind.STATUS else ""
        return report._replace(text=text, status=status)

    def _fill(
        self,
        report: ExecutionReport,
        record: Mapping[str, Any],
        qty: Any,
        px: Any,
        data: Mapping[str, Any],
        text: str,
    ) -> ExecutionReport:
        """Return an execution. Its id is the order's and the quantity filled with it: so the
        stream's word and the activity of one fill have one id, and count once."""
        scale = self._scales[report.symbol]
        ticks, note = wire.fill_ticks(px, wire.side_of(record), scale)
        whole = report.cum_lots >= self._ours[report.client_order_id].lots
        return report._replace(
            kind=ReportKind.FILL if whole else ReportKind.PARTIAL_FILL,
            execution_id=f"{report.venue_order_id}/{report.cum_lots}",
            last_lots=wire.lots_of(qty, scale), last_ticks=ticks, status="",
            fee_quanta=wire.money_quanta(data.get("commission"), self._quantum),
            ts_fill=wire.stamp_ns(data.get("timestamp") or data.get("transaction_time")),
            text="; ".join(part for part in (text, note) if part),
        )  # fmt: skip

    def take_activities(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Report the fills among account activities: those that the stream told count once."""
        for entry in entries:
            if entry.get("activity_type") != "FILL":
                continue
            with self._lock:
                name = self._by_venue_id.get(str(entry.get("order_id")))
                if name is None:
                    self.foreign.setdefault(str(entry.get("order_id")), dict(entry))
                    continue
                scale = self._scales[self._ours[name].symbol]
                report = ExecutionReport(
                    ReportKind.FILL, name, self._ours[name].symbol, self._clock.now_ns(),
                    venue_order_id=str(entry["order_id"]),
                    cum_lots=wire.lots_of(entry.get("cum_qty"), scale),
                )  # fmt: skip
                self._put(
                    self._fill(report, entry, entry.get("qty"), entry.get("price"), entry, "")
                )

    def fill_activity(self, entry: Mapping[str, Any]) -> FillActivity | None:
        """Return a FILL activity of a symbol of the run as a reconciliation reads it."""
        scale = self._scales.get(str(entry.get("symbol")))
        if scale is None:
            return None
        signed = int(wire.side_of(entry)) * wire.lots_of(entry.get("qty"), scale)
        return FillActivity(
            str(entry.get("id")), str(entry["symbol"]), signed,
            self._by_venue_id.get(str(entry.get("order_id")), ""),
            wire.lots_of(entry["cum_qty"], scale) if entry.get("cum_qty") else -1,
        )  # fmt: skip

    # --- questions ---------------------------------------------------------------------------

    def query(self, client_order_id: str) -> None:
        """Ask for an order; FOUND or NOT_FOUND follows, nothing when the venue does not answer."""
        order = self._ours[client_order_id]
        venue_id = self._venue_id.get(client_order_id)
        if venue_id is not None:
            path, words = f"/v2/orders/{venue_id}", {"nested": True}
        else:
            path = "/v2/orders:by_client_order_id"
            words = {"client_order_id": client_order_id}  # type: ignore[dict-item]
        try:
            reply = self._session.asked(path, words, urgent=True)
        except VenueUnreachable:
            return
        if reply.status == 404:
            self._all(ReportKind.NOT_FOUND, [client_order_id], order.symbol, reply.message)
        elif reply.status == 200 and isinstance(reply.body, dict):
            with self._lock:
                self._found(client_order_id, reply.body)

    def _found(self, name: str, record: dict[str, Any]) -> None:
        self._link(name, str(record.get("id")))
        self._put(self._snapshot(ReportKind.FOUND, name, record))
        for leg, one in zip(self._legs.get(name, ()), self._leg_records(record), strict=False):
            self._link(leg, str(one.get("id")))
            self._put(self._snapshot(ReportKind.FOUND, leg, one))
        self._drain_waiting()

    def open_orders(self) -> list[Order]:
        """Return all orders that the venue holds as working, ours and others', oldest first."""
        found: list[Order] = []
        after = ""
        while True:
            words = {"status": "open", "limit": PAGE_ORDERS, "direction": "asc", "nested": True}
            page = self._listed("/v2/orders", words | ({"after_order_id": after} if after else {}))
            for record in page:
                found += [self._order(one) for one in (record, *self._leg_records(record))
                          if one.get("symbol") in self._scales]  # fmt: skip
            if len(page) < PAGE_ORDERS:
                return found
            after = str(page[-1]["id"])

    def positions(self) -> dict[str, Position]:
        """Return the venue's non-flat positions of the run's symbols."""
        found = {}
        for record in self._listed("/v2/positions", {}):
            symbol = str(record.get("symbol"))
            scale = self._scales.get(symbol)
            if scale is not None:
                cost = wire.money_quanta(record.get("cost_basis"), self._quantum)
                lots = wire.lots_of(record.get("qty"), scale)
                found[symbol] = Position(symbol, lots, abs(cost) if lots > 0 else -abs(cost), scale)
        return found

    def account(self) -> Account:
        """Return the venue's view of the account."""
        record = self._session.ask("/v2/account")
        money = {
            name: wire.money_quanta(record.get(name), self._quantum)
            for name in ("cash", "equity", "long_market_value", "short_market_value",
                         "non_marginable_buying_power")
        }  # fmt: skip
        long, short = money["long_market_value"], money["short_market_value"]
        return Account(
            money["cash"], money["equity"], long - short, long + short,
            money["non_marginable_buying_power"], self._quantum,
        )  # fmt: skip

    def activities(self, after_id: str = "") -> list[dict[str, Any]]:
        """Return the account's activities after one, oldest first, all pages."""
        found: list[dict[str, Any]] = []
        token = after_id
        while True:
            words = {"direction": "asc", "page_size": PAGE_ACTIVITIES}
            page = self._listed(
                "/v2/account/activities", words | ({"page_token": token} if token else {})
            )
            found += page
            if len(page) < PAGE_ACTIVITIES:
                return found
            token = str(page[-1]["id"])

    def clock_ns(self) -> int:
        """Return the venue's clock."""
        return wire.stamp_ns(self._session.ask("/v2/clock").get("timestamp"))

    def cancel_everything(self) -> None:
        """Ask to cancel every open order of the account, others' too (the kill switch)."""
        self._session.send("DELETE", "/v2/orders", urgent=True)

    # --- inside ------------------------------------------------------------------------------

    def _listed(self, path: str, words: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self._session.ask(path, words)
        if not isinstance(found, list):
            raise VenueRefused(f"GET {path}", 200, "no list came back")
        return found

    def _order(self, record: dict[str, Any]) -> Order:
        """Return a working order of the venue: ours as we know it, another's as it looks."""
        with self._lock:
            name = self._name_of(record)
            if name is not None:
                return self._ours[name]
            self.foreign[str(record.get("id"))] = record
        scale = self._scales[record["symbol"]]
        kinds = {str(kind): kind for kind in OrderType}
        return Order(
            str(record.get("client_order_id")), "", str(record["symbol"]), wire.side_of(record),
            wire.lots_of(record.get("qty"), scale),
            kinds.get(str(record.get("type")), OrderType.MARKET), TimeInForce.DAY,
            self._clock.now_ns(), scale, Reason.EVENT,
        )  # fmt: skip

    def _name_of(self, record: Mapping[str, Any]) -> str | None:
        """Return our id of an order of the venue's, None when it is not known as ours."""
        known = self._by_venue_id.get(str(record.get("id")))
        if known is not None:
            return known
        name = str(record.get("client_order_id"))
        return name if name in self._ours else None

    def _link(self, name: str, venue_id: str) -> None:
        self._venue_id[name] = venue_id
        self._by_venue_id[venue_id] = name

    def _snapshot(self, kind: ReportKind, name: str, record: Mapping[str, Any]) -> ExecutionReport:
        order = self._ours[name]
        return ExecutionReport(
            kind, name, order.symbol, self._clock.now_ns(), venue_order_id=str(record.get("id")),
            cum_lots=wire.lots_of(record.get("filled_qty"), self._scales[order.symbol]),
            status=str(record.get("status") or ""),
            replaced_by=str(record.get("replaced_by") or ""),
        )  # fmt: skip

    def _put(self, report: ExecutionReport) -> None:
        self._out.append(report)

    def _all(self, kind: ReportKind, names: Sequence[str], symbol: str, text: str) -> None:
        now = self._clock.now_ns()
        with self._lock:
            self._out += [ExecutionReport(kind, name, symbol, now, text=text) for name in names]
