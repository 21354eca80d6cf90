"""One account at the venue: its simulated broker, its orders, what it tells, what it booked."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from mqd.core.bar import ActionKind, CorporateAction
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order, OrderClass, OrderType, TimeInForce
from mqd.execution.simulated_broker import SimulatedBroker
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.venue.activity import KINDS, cash_activity, fill_activity
from mqd.venue.answer import AccountSpec
from mqd.venue.errors import PhaseWrong
from mqd.venue.hours import phase_of
from mqd.venue.record import OrderRecord, order_json
from mqd.venue.scene import Scene
from mqd.venue.text import amount, stamp, stamp_or_none, ulid_of, uuid_of

Tell = Callable[[str, dict[str, Any], int], None]
_ENDS = {
    ReportKind.CANCELED: "canceled", ReportKind.EXPIRED: "expired", ReportKind.REPLACED: "replaced",
}  # fmt: skip


class AccountBook:
    """An account. ``tell`` gets every trade update: account id, frame, running number.

    Orders are known to the simulator by their venue id, so a client's id is spent by an order
    that exists, and by no other.
    """

    def __init__(
        self, spec: AccountSpec, broker: SimulatedBroker, scene: Scene, cash: Decimal, tell: Tell
    ) -> None:
        self.spec, self.broker, self.scene = spec, broker, scene
        self.orders: dict[str, OrderRecord] = {}
        self.by_client_id: dict[str, OrderRecord] = {}
        self.activities: list[dict[str, Any]] = []
        self.equity: list[tuple[int, Decimal]] = []
        self.last_equity = cash
        self.cash_start = cash
        self.configurations = dict(CONFIGURATIONS)
        self.n_updates = self.n_orders = 0
        self._working: dict[str, OrderRecord] = {}
        self._lots: dict[str, int] = {}
        self._tell = tell
        self._book_cash(("JNLC", ""), cash, description="deposit")

    # --- what rests --------------------------------------------------------------------------

    def working(self, symbol: str = "") -> list[OrderRecord]:
        """Return the open orders, of one symbol or of all, in order of arrival."""
        return [one for one in self._working.values() if symbol in ("", one.order.symbol)]

    def held_for_orders(self, symbol: str, but: OrderRecord | None = None) -> int:
        """Return the lots of a position that open orders will take; a group counts once."""
        position = self.broker.account_book.lots(symbol)
        lots, groups = 0, set()
        for record in self.working(symbol):
            order = record.order
            if order.side * position >= 0 or record is but or order.group in groups:
                continue
            if order.group:
                groups.add(order.group)
            lots += record.leaves
        return lots

    def new_id(self) -> str:
        """Return the id of the account's next order."""
        self.n_orders += 1
        return uuid_of(self.spec.id, "order", self.n_orders)

    def add(self, record: OrderRecord) -> None:
        """Keep an order that goes to the simulator."""
        self._time(record)
        record.number = len(self.orders)
        self.orders[record.id] = record
        self.by_client_id[record.client_order_id] = record
        self._working[record.id] = record

    def forget(self, record: OrderRecord) -> None:
        """Drop an order that the simulator has refused: it never was."""
        del self.orders[record.id], self.by_client_id[record.client_order_id]
        self.broker.ends_ns.pop(record.id, None)
        self._working.pop(record.id, None)

    def _time(self, record: OrderRecord) -> None:
        """Tell the simulator when an order ends that ends by the venue's clock."""
        if record.timed and record.id not in self.orders:
            self.broker.ends_ns[record.id] = record.expires_ns

    def end_due(self, until_ns: int) -> None:
        """End the orders whose hour has come: GTC ones by a cancel of the venue's own.

        The venue's clock stands at the last of those hours afterwards.
        """
        due = [one for one in self.working() if one.timed and one.expires_ns <= until_ns]
        for record in sorted(due, key=lambda one: (one.expires_ns, one.number)):
            if not record.is_open:  # it ended with its group
                continue
            self.scene.now_ns = record.expires_ns
            if record.order.time_in_force is TimeInForce.GTC:
                record.status, record.cancel_requested_ns = "pending_cancel", record.expires_ns
                record.updated_ns = record.expires_ns
                self.emit("pending_cancel", record)
            self.broker.cancel(record.id)
            self.hear()

    def tell(self, record: OrderRecord, event: str) -> None:
        """Say of an open order what no rule of the venue says: ``TOLD`` has the events.

        "rejected" ends it at the simulator too; the others change what is shown, not what trades.
        """
        now = self.scene.now_ns
        record.updated_ns = now
        if event == "rejected":
            record.failed_ns = now
            self.broker.cancel(record.id)
            self.hear()
            return
        status = TOLD[event]
        if event == "pending_cancel":
            record.cancel_requested_ns = now
        if status == "new":
            status = "partially_filled" if record.lots_filled else "new"
        record.status = status or record.status
        self.emit(event, record)

    def replace(self, old: OrderRecord, new: OrderRecord) -> str:
        """Put ``new`` in the place of ``old`` and return why that was refused, "" when done."""
        self._time(new)
        self.broker.replace(old.id, new.order)
        reports = self.broker.reports()
        for report in reports:
            if report.kind is ReportKind.REPLACE_REJECTED:
                self.broker.ends_ns.pop(new.id, None)
                return report.text
        new.status = "held" if old.status == "held" else "new"
        self.add(new)
        new.replaces, old.replaced_by = old.id, new.id
        if new.parent is not None:
            legs = new.parent.legs
            legs[legs.index(old)] = new
        for leg in new.legs:
            leg.parent = new
        for report in reports:
            self._apply(report)
        return ""

    def record_of(
        self, order: Order, client_order_id: str, *, expires_ns: int, intent: str
    ) -> OrderRecord:
        """Return a new order's record, not yet kept."""
        now = self.scene.now_ns
        return OrderRecord(
            order.client_order_id, client_order_id or uuid_of(order.client_order_id, "client"),
            order, self.scene.asset_id(order.symbol), self.scene.asset_class, now, now, now,
            expires_ns, order.lots, intent=intent,
        )  # fmt: skip

    # --- what the simulator says -------------------------------------------------------------

    def take_refusal(self) -> str:
        """Take the reports of a submit that was refused and return why, "" when it was not."""
        reports = self.broker.reports()
        refused = [one for one in reports if one.kind is ReportKind.REJECTED]
        if refused:
            return refused[0].text
        for report in reports:
            self._apply(report)
        return ""

    def hear(self) -> None:
        """Take what the simulator reports, and tell of it."""
        for report in self.broker.reports():
            self._apply(report)

    def _apply(self, report: ExecutionReport) -> None:
        record = self.orders.get(report.client_order_id)
        if record is None:
            return
        record.updated_ns = self.scene.now_ns
        match report.kind:
            case ReportKind.ACCEPTED:
                self._accepted(record)
            case ReportKind.FILL | ReportKind.PARTIAL_FILL:
                self._filled(record, report)
            case ReportKind.CANCELED | ReportKind.EXPIRED | ReportKind.REPLACED:
                self._ended(record, report)
            case _:
                raise PhaseWrong("hear", f"the simulator reported {report.kind}")

    def _accepted(self, record: OrderRecord) -> None:
        if record.replaces is not None:
            self.emit(record.status, record)
        elif record.parent is not None:
            record.status = "held"
        elif self.scene.is_open or (record.extended and self._trades_now()):
            self.emit("pending_new", record)
            record.status = "new"
            self.emit("new", record)
        else:
            record.status = "accepted"
            self.emit("accepted", record)

    def _trades_now(self) -> bool:
        """Return True in a session and in the extended hours around it."""
        return phase_of(self.scene, self.scene.now_ns)[0] != "closed"

    def wake(self) -> None:
        """Let the orders that came outside the session reach the market, now that it is open."""
        for record in self.working():
            if record.status == "accepted":
                record.status, record.updated_ns = "new", self.scene.now_ns
                self.emit("new", record)

    def _filled(self, record: OrderRecord, report: ExecutionReport) -> None:
        symbol, whole = report.symbol, report.kind is ReportKind.FILL
        record.lots_filled += report.last_lots
        record.ticks_filled += report.last_lots * report.last_ticks
        if whole:
            record.filled_ns = report.ts_fill
            self._over(record, "filled")
        else:
            record.status = "partially_filled"
        before = self._lots.get(symbol, 0)
        self._lots[symbol] = before + record.order.side * report.last_lots
        self.activities.append(fill_activity(self.spec.id, record, report, before))
        self._shrink(record, report.last_lots)
        self._emit_fill(record, report)
        if whole:
            self._release_legs(record)

    def _shrink(self, record: OrderRecord, lots: int) -> None:
        """Take what one exit of a group has filled from the other one."""
        order = record.order
        if not order.group or (record.legs and order.order_class is not OrderClass.OCO):
            return
        for other in self.working(order.symbol):
            exits = other.order.group == order.group and other is not record
            if exits and other.order.side is order.side:
                other.lots = max(other.lots - lots, other.lots_filled)

    def _ended(self, record: OrderRecord, report: ExecutionReport) -> None:
        now = self.scene.now_ns
        kind = report.kind
        if record.order.time_in_force is TimeInForce.DAY and record.timed:
            kind = ReportKind.EXPIRED if now >= record.expires_ns else kind
        status = "rejected" if record.failed_ns else _ENDS[kind]
        match kind:
            case _ if record.failed_ns:
                pass
            case ReportKind.EXPIRED:
                record.expired_ns = now
            case ReportKind.REPLACED:
                record.replaced_ns = now
            case _:
                record.canceled_ns = now
        self._over(record, status)
        self.emit(status, record, reason=report.text)
        if record.lots_filled and report.text:  # trimmed; by request the whole group ends
            self._release_legs(record)

    def _release_legs(self, record: OrderRecord) -> None:
        """Let the legs of an entry work: the target at once, the stop beside it is held."""
        waiting = [leg for leg in record.legs if leg.status == "held"]
        if record.order.order_class is OrderClass.OCO:
            return
        for place, leg in enumerate(waiting):
            leg.lots, leg.updated_ns = record.lots_filled, self.scene.now_ns
            if place == 0:
                leg.status = "new"
                self.emit("new", leg)

    def _over(self, record: OrderRecord, status: str) -> None:
        record.status = status
        self._working.pop(record.id, None)

    # --- what the account tells --------------------------------------------------------------

    def emit(self, event: str, record: OrderRecord, **more: Any) -> None:
        """Send a trade update about an order, as it is now."""
        now = self.scene.now_ns
        self.n_updates += 1
        number = self.n_updates
        data = {
            "at": stamp(now), "event_id": ulid_of(now, self.spec.id, number), "event": event,
            "timestamp": stamp(now), "order": order_json(record), "seq": number,
            "reason": "", **more,
        }  # fmt: skip
        data["order"]["cancel_requested_at"] = stamp_or_none(record.cancel_requested_ns)
        if event != "pending_new":
            data.setdefault("execution_id", uuid_of(self.spec.id, "event", number))
        self._tell(self.spec.id, {"stream": "trade_updates", "data": data}, number)

    def _emit_fill(self, record: OrderRecord, report: ExecutionReport) -> None:
        scale = record.order.scale
        self.emit(
            "fill" if report.kind is ReportKind.FILL else "partial_fill", record,
            reason=report.text, timestamp=stamp(report.ts_fill),
            execution_id=uuid_of(self.spec.id, "execution", report.execution_id),
            price=amount(scale.px(report.last_ticks)), qty=amount(scale.qty(report.last_lots)),
            position_qty=amount(scale.qty(self._lots[report.symbol])),
            settle_date=self.scene.settles(report.ts_fill),
            commission=amount(scale.money(report.fee_quanta)),
        )  # fmt: skip

    # --- steps -------------------------------------------------------------------------------

    def act(self, action: CorporateAction) -> None:
        """Apply a corporate action; a split cancels what rests on the symbol."""
        if action.kind is ActionKind.SPLIT:
            for record in self.working(action.symbol):
                if record.is_open:
                    self.broker.cancel(record.id)
                    self.hear()
        done = self.broker.act(action)
        if isinstance(done, CashActivity):
            self.book_cash(done)
        elif isinstance(done, SplitActivity):
            self._lots[action.symbol] = done.lots_after
            scale = self.broker.positions()[action.symbol].scale if done.lots_after else None
            qty = amount(scale.qty(done.lots_after - done.lots_before)) if scale else "0"
            net = done.cash * self.broker.account().quantum
            words = f"{action.numerator} for {action.denominator}"
            self._book_cash(
                ("SPLIT", "SFWD"), net, symbol=action.symbol, qty=qty, description=words
            )

    def close_session(self, days_to_next: int) -> None:
        """Charge what the session's close charges."""
        for activity in self.broker.account_book.close_session(days_to_next):
            self.book_cash(activity)
        self.last_equity = self.broker.account().equity

    def note_equity(self) -> None:
        """Keep the account's worth at a step's close."""
        self.equity.append((self.scene.now_ns, self.broker.account().equity))

    def book_cash(self, activity: CashActivity) -> None:
        """Tell of a charge or a dividend of the simulator."""
        if activity.amount:
            net = activity.amount * self.broker.account().quantum
            more = {"symbol": activity.symbol} if activity.symbol else {}
            self._book_cash(KINDS[activity.account], net, **more)

    def _book_cash(self, kind: tuple[str, str], net: Decimal, **more: str) -> None:
        number = len(self.activities) + 1
        self.activities.append(
            cash_activity(self.spec.id, self.scene.now_ns, number, kind, net, **more)
        )

    def follow(self, symbol: str, high: int, low: int) -> None:
        """Move the best price that a trailing stop shows after a bar has ended."""
        for record in self.working(symbol):
            if record.order.type is OrderType.TRAILING_STOP and record.hwm_ticks:
                best = max if record.order.side < 0 else min
                record.hwm_ticks = best(record.hwm_ticks, high if record.order.side < 0 else low)


TOLD = {
    "rejected": "rejected", "suspended": "suspended", "stopped": "stopped",
    "calculated": "calculated", "done_for_day": "done_for_day", "restated": "",
    "pending_cancel": "pending_cancel", "pending_replace": "pending_replace",
    "order_cancel_rejected": "new", "order_replace_rejected": "new", "new": "new",
}  # fmt: skip
"""What may be said of an order by hand, and the status it has then ("": the one it had)."""
CONFIGURATIONS = {
    "dtbp_check": None,
    "fractional_trading": True,
    "max_margin_multiplier": "4",
    "max_options_trading_level": None,
    "no_shorting": False,
    "pdt_check": None,
    "ptp_no_exception_entry": False,
    "suspend_trade": False,
    "trade_confirm_email": "all",
    "disable_overnight_trading": False,
}
