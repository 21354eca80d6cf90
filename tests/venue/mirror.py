"""A replay whose every command also goes to a venue, as HTTP would carry it."""

from __future__ import annotations

from decimal import Decimal

from mqd.backtesting import name_strategies
from mqd.core.execution_report import ReportKind
from mqd.core.order import OrderClass, OrderType, Side
from mqd.desk.ground import replay_ground
from mqd.desk.journal import Journal
from mqd.desk.wiring import Wiring
from mqd.event_bus import OrderEventBus
from mqd.kernel.settings import settings_of
from mqd.transaction_log import TransactionLog
from mqd.venue.answer import AccountSpec
from mqd.venue.venue import Venue
from tests.venue.venue_bench import ACCOUNT, HEADERS, KEY, SECRET

FILLS = (ReportKind.FILL, ReportKind.PARTIAL_FILL)


def text(value):
    return f"{Decimal(value):f}"


def body_of(order, legs=()):
    """Write an order as the body of a POST: decimal strings, groups by their legs."""
    scale = order.scale
    body = {
        "symbol": order.symbol, "qty": text(order.qty), "type": str(order.type),
        "side": "buy" if order.side is Side.BUY else "sell",
        "time_in_force": str(order.time_in_force), "client_order_id": order.client_order_id,
    }  # fmt: skip
    if order.trail_units:
        body["trail_percent"] = text(Decimal(order.trail_units).scaleb(-6))
    if order.trail_ticks:
        body["trail_price"] = text(scale.px(order.trail_ticks))
    members = legs
    if order.order_class is OrderClass.OCO:
        members = (order, *legs)
    else:
        for name, ticks in (("limit_price", order.limit_ticks), ("stop_price", order.stop_ticks)):
            if ticks:
                body[name] = text(scale.px(ticks))
    if order.order_class is not OrderClass.SIMPLE:
        body["order_class"] = str(order.order_class)
    for leg in members:
        if leg.type is OrderType.LIMIT:
            body["take_profit"] = {"limit_price": text(scale.px(leg.limit_ticks))}
        else:
            body["stop_loss"] = {"stop_price": text(scale.px(leg.stop_ticks))}
            if leg.limit_ticks:
                body["stop_loss"]["limit_price"] = text(scale.px(leg.limit_ticks))
    return body


class Mirror:
    """Stands for the replay's broker, and shows the venue all that it is told."""

    def __init__(self, inner, venue):
        self.inner, self.venue = inner, venue
        self.fills, self.refused, self.ids = [], [], {}
        self.account_book, self.counts = inner.account_book, inner.counts

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def ask(self, method, path, body=None):
        return self.venue.handle(method, path, {}, body, HEADERS)

    def submit(self, order, legs=()):
        self.inner.submit(order, legs)
        answer = self.ask("POST", "/v2/orders", body_of(order, legs))
        if answer.status != 200:
            self.refused.append((order.client_order_id, answer.body["message"]))
            return
        shown = [answer.body, *(answer.body["legs"] or [])]
        for mine, theirs in zip((order, *legs), shown, strict=True):
            self.ids[mine.client_order_id] = theirs["id"]

    def cancel(self, client_order_id):
        self.inner.cancel(client_order_id)
        self.ask("DELETE", f"/v2/orders/{self.ids[client_order_id]}")

    def replace(self, client_order_id, order):
        self.inner.replace(client_order_id, order)
        old = self.venue.books[ACCOUNT].orders[self.ids[client_order_id]]
        total = order.scale.qty(order.lots + old.lots_filled)
        body = {"qty": text(total), "client_order_id": order.client_order_id}
        for name, ticks in (("limit_price", order.limit_ticks), ("stop_price", order.stop_ticks)):
            if ticks:
                body[name] = text(order.scale.px(ticks))
        answer = self.ask("PATCH", f"/v2/orders/{self.ids[client_order_id]}", body)
        if answer.status == 200:
            self.ids[order.client_order_id] = answer.body["id"]
        else:
            self.refused.append((order.client_order_id, answer.body["message"]))

    def reports(self):
        reports = self.inner.reports()
        for one in reports:
            if one.kind in FILLS:
                self.fills.append(
                    (self.ids.get(one.client_order_id), one.last_lots, one.last_ticks, one.ts_fill)
                )
        return reports

    def begin(self, *words):
        self.inner.begin(*words)
        self.venue.begin()

    def match_open(self):
        self.inner.match_open()
        self.venue.open()

    def match_within(self):
        self.inner.match_within()
        self.venue.within()

    def match_close(self, closing):
        self.inner.match_close(closing)
        self.venue.close()

    def settle_marks(self):
        self.inner.settle_marks()
        self.venue.close()


def mirrored(strategy, bars, **words):
    """Replay ``strategy`` with a venue beside it; return the mirror."""
    settings = settings_of(bars, **words)
    venue = Venue(bars, settings, accounts=[AccountSpec(ACCOUNT, "PA1", ((KEY, SECRET),))])
    ground = replay_ground(bars, settings)
    mirror = ground.broker = Mirror(ground.broker, venue)
    journal = Journal(TransactionLog.create(None, {}, durable=False), None, OrderEventBus())
    desk = Wiring(name_strategies(strategy), bars, settings, journal, ground).build()
    desk.start()
    desk.run(every=True)
    desk.stop()
    journal.log.close("done")
    return mirror


def venue_fills(mirror):
    """Return the fills that the venue's activities tell: order, lots, ticks."""
    book = mirror.venue.books[ACCOUNT]
    found = []
    for one in book.activities:
        if one["activity_type"] == "FILL":
            scale = mirror.venue.scene.scales[one["symbol"]]
            lots, ticks = scale.qty_lots(Decimal(one["qty"])), scale.px_ticks(Decimal(one["price"]))
            found.append((one["order_id"], lots, ticks))
    return found
