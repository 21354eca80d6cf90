"""Orders taken in: a well-formed wish becomes orders of the simulator, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mqd.core.instrument import AssetClass
from mqd.core.money import Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce
from mqd.execution.acceptance import PROTECTIVE, Acceptance
from mqd.execution.capabilities import crosses, refusal
from mqd.venue.book import CONFIGURATIONS, AccountBook
from mqd.venue.errors import BAD_ORDER, Refused, forbidden, unprocessable
from mqd.venue.hours import extended_end_ns, gtc_end_ns, window_refusal
from mqd.venue.intake import Wanted, lots_of, read_order, read_symbol
from mqd.venue.record import OrderRecord
from mqd.venue.scene import Scene
from mqd.venue.text import amount

_PROTECTIVE_TYPES = {
    OrderType.STOP: Reason.STOP_LOSS, OrderType.TRAILING_STOP: Reason.TRAILING_STOP,
}  # fmt: skip
_BASE_STEP = Decimal("0.01")


class OrderDesk:
    """Takes orders in for the accounts of one venue.

    ``refuses_unpayable``: an order beyond the buying power is refused, as at Alpaca; else it is
    taken and trimmed when it fills, as in a replay. ``keeps_hours``: OPG and CLS orders have
    their windows and GTC orders end at 16:15, as at Alpaca; else they are taken and end as in a
    replay, whose desk decides at closes.
    """

    def __init__(
        self, scene: Scene, doorman: Acceptance, *, refuses_unpayable: bool, keeps_hours: bool
    ) -> None:
        self._scene, self._doorman = scene, doorman
        self._refuses_unpayable, self._keeps_hours = refuses_unpayable, keeps_hours

    def submit(self, book: AccountBook, body: Mapping[str, Any]) -> OrderRecord:
        """Take an order with its legs; raise ``Refused``."""
        scene = self._scene
        asked = read_symbol(body)
        symbol = scene.symbol_of(asked)
        if symbol is None:
            raise unprocessable(f'asset "{asked}" not found', BAD_ORDER)
        wanted = read_order({**body, "symbol": symbol}, scene.scales[symbol])
        if wanted.client_order_id in book.by_client_id:
            raise unprocessable("client_order_id must be unique")
        self._refuse_hours(wanted)
        mark = mark_of(book, symbol)
        lots = lots_of(wanted, scene.scales[symbol], mark)
        if lots <= 0:
            raise forbidden("cost basis must be >= minimal amount of order 1")
        members = self._orders(book, wanted, lots)
        self._refuse_asset(book, wanted, members[0])
        self._refuse_bases(wanted, mark)
        self._refuse_unavailable(book, members[0])
        self._refuse_shape(members[0])
        if self._refuses_unpayable:
            refuse_unpayable(book, members[0], mark)
        return self._send(book, wanted, members)

    def _orders(self, book: AccountBook, wanted: Wanted, lots: int) -> list[Order]:
        """Return the simulator's orders: the entry (or the target of a pair), then its legs."""
        scene = self._scene
        name = book.new_id()
        held = book.broker.account_book.lots(wanted.symbol)
        reduces = held * wanted.side < 0 and lots <= abs(held)
        simple = wanted.order_class is OrderClass.SIMPLE
        reason = Reason.EVENT
        if simple and wanted.type is OrderType.MARKET:
            reason = Reason.TARGET
        elif simple and reduces and not scene.crypto:  # the venue takes no stops for coins
            reason = _PROTECTIVE_TYPES.get(wanted.type, Reason.EVENT)
        entry = Order(
            name, "venue", wanted.symbol, wanted.side, lots, wanted.type, wanted.time_in_force,
            scene.now_ns, scene.scales[wanted.symbol], reason, reduces, wanted.limit_ticks,
            wanted.stop_ticks, wanted.trail_ticks, wanted.trail_units, 0, wanted.order_class,
            "" if simple else name,
        )  # fmt: skip
        if reason is Reason.TRAILING_STOP:
            entry = entry._replace(extreme_ticks=entry_ticks(book, wanted.symbol))
        if simple:
            return [entry]
        if scene.crypto:
            raise unprocessable("crypto orders must be simple", BAD_ORDER)
        legs = _legs(entry, wanted, book)
        if wanted.order_class is OrderClass.OCO:
            target, stop = legs
            return [
                target._replace(client_order_id=name, parent="", reason=Reason.TAKE_PROFIT),
                stop._replace(parent="", reason=Reason.STOP_LOSS),
            ]
        return [entry, *legs]

    def _refuse_hours(self, wanted: Wanted) -> None:
        """Refuse an on-open or on-close order outside its window, and coins' extended hours."""
        if wanted.extended and self._scene.crypto:
            raise unprocessable("crypto orders take no extended_hours", BAD_ORDER)
        if self._keeps_hours and not self._scene.crypto:
            why = window_refusal(self._scene, wanted.time_in_force, self._scene.now_ns)
            if why:
                raise unprocessable(why, BAD_ORDER)

    def _refuse_asset(self, book: AccountBook, wanted: Wanted, order: Order) -> None:
        """Refuse what the asset, or the account's configuration, does not let trade."""
        shown, conf = self._scene.asset(order.symbol), book.configurations
        if not shown["tradable"]:
            raise unprocessable(f'asset "{order.symbol}" is not tradable', BAD_ORDER)
        whole = wanted.notional is None and wanted.qty == int(wanted.qty or 0)
        if not whole and not self._scene.crypto:
            if not shown["fractionable"]:
                raise forbidden(f'asset "{order.symbol}" is not fractionable')
            if not conf["fractional_trading"]:
                raise forbidden("account is not allowed to trade fractional shares")
        held = book.broker.account_book.lots(order.symbol)
        if order.side > 0 or held > 0 or order.order_class is OrderClass.OCO:
            return
        if conf["no_shorting"]:
            raise forbidden("account is not allowed to short")
        if not shown["shortable"] and self._scene.shortable:
            raise unprocessable(f'asset "{order.symbol}" cannot be sold short', BAD_ORDER)

    def _refuse_bases(self, wanted: Wanted, mark: int) -> None:
        """Refuse legs of a bracket or oto on the wrong side of where the entry trades."""
        if wanted.order_class not in (OrderClass.BRACKET, OrderClass.OTO) or not mark:
            return
        scale = self._scene.scales[wanted.symbol]
        base = scale.px(wanted.limit_ticks or wanted.stop_ticks or mark)
        away = wanted.side * _BASE_STEP
        shown = amount(base)
        target, loss = scale.px(wanted.target_ticks), scale.px(wanted.loss_ticks)
        if target and (target - base - away) * wanted.side < 0:
            sign = ">=" if wanted.side > 0 else "<="
            raise unprocessable(
                f"take_profit.limit_price must be {sign} base_price {amount(base + away)}",
                BAD_ORDER, base_price=shown,
            )  # fmt: skip
        if loss and (loss - base + away) * wanted.side > 0:
            sign = "<=" if wanted.side > 0 else ">="
            raise unprocessable(
                f"stop_loss.stop_price must be {sign} base_price {amount(base - away)}",
                BAD_ORDER, base_price=shown,
            )  # fmt: skip

    def _refuse_unavailable(self, book: AccountBook, order: Order) -> None:
        """Refuse what takes more of a position than open orders leave free."""
        if str(book.configurations["suspend_trade"]).lower() == "true":
            raise forbidden("new orders are rejected by user request")
        held = book.broker.account_book.lots(order.symbol)
        exits = order.order_class is OrderClass.OCO
        reduces = held * order.side < 0
        if not reduces and not exits:
            return
        available = abs(held) - book.held_for_orders(order.symbol) if reduces else 0
        if order.lots > available:
            raise unavailable(book, order, max(available, 0))

    def _refuse_shape(self, order: Order) -> None:
        """Refuse a type, class or time in force that Alpaca does not take.

        The simulator asks this of every order but those that protect a position.
        """
        if order.reason in PROTECTIVE:
            asset_class = AssetClass(self._scene.asset_class)
            whole = max(int(1 / order.scale.lot), 1)
            why = refusal(order, asset_class, whole, -order.side * order.lots)
            if why:
                raise unprocessable(why, BAD_ORDER)

    def _send(self, book: AccountBook, wanted: Wanted, members: list[Order]) -> OrderRecord:
        records: list[OrderRecord] = []
        for place, order in enumerate(members):
            client_id = wanted.client_order_id if place == 0 else ""
            record = self.record(book, order, client_id, extended=wanted.extended)
            if place:
                record.parent = records[0]
                records[0].legs.append(record)
            else:
                record.notional = wanted.notional
            records.append(record)
        for record in records:
            book.add(record)
        book.broker.submit(members[0], tuple(members[1:]))
        why = book.take_refusal()
        if why:
            for record in records:
                book.forget(record)
            raise self.refusal(book, members[0], why)
        return records[0]

    def record(
        self, book: AccountBook, order: Order, client_order_id: str, *, extended: bool
    ) -> OrderRecord:
        """Return the record of an order that is about to be sent."""
        held = book.broker.account_book.lots(order.symbol)
        closes = held * order.side < 0 or bool(order.parent)
        intent = f"{'buy' if order.side > 0 else 'sell'}_to_{'close' if closes else 'open'}"
        own_ns = self._own_end_ns(order, extended=extended)
        expires_ns = own_ns or self._doorman.expiry(order, self._scene.now_ns)
        record = book.record_of(order, client_order_id, expires_ns=expires_ns, intent=intent)
        record.extended, record.timed = extended, own_ns > 0
        if order.type is OrderType.TRAILING_STOP:
            record.hwm_ticks = order.extreme_ticks or mark_of(book, order.symbol)
        return record

    def _own_end_ns(self, order: Order, *, extended: bool) -> int:
        """Return when the venue's clock ends an order, 0 where the simulator's rule does."""
        if order.time_in_force is TimeInForce.GTC:
            return gtc_end_ns(self._scene.now_ns) if self._keeps_hours else 0
        return extended_end_ns(self._scene, self._scene.now_ns) if extended else 0

    def refusal(
        self, book: AccountBook, order: Order, why: str, but: OrderRecord | None = None
    ) -> Refused:
        """Return Alpaca's answer for a reason of the simulator's acceptance."""
        if why.startswith("insufficient qty"):
            held = book.broker.account_book.lots(order.symbol)
            free = abs(held) - book.held_for_orders(order.symbol, but)
            return unavailable(book, order, max(free, 0))
        if why.startswith("potential wash trade"):
            return wash_trade(book, order, but)
        if why.startswith("a cash account"):
            return forbidden("account is not allowed to short")
        if why.startswith("invalid "):
            why = f"{why} does not fulfill minimum pricing criteria"
        return unprocessable(why, BAD_ORDER)


def mark_of(book: AccountBook, symbol: str) -> int:
    """Return a symbol's last known price in ticks, 0 before its first."""
    return book.scene.mark(book.broker, symbol)


def entry_ticks(book: AccountBook, symbol: str) -> int:
    """Return the position's average entry price in ticks, 0 when flat."""
    ledger = book.broker.account_book.ledger
    lots = ledger.lots.get(symbol, 0)
    if not lots:
        return 0
    return round(ledger.cost[symbol] / (lots * book.scene.scales[symbol].tick_lot_quanta))


def _legs(entry: Order, wanted: Wanted, book: AccountBook) -> list[Order]:
    side = entry.side if wanted.order_class is OrderClass.OCO else Side(-entry.side)
    plain = entry._replace(
        side=side, reducing=True, parent=entry.client_order_id, limit_ticks=0, stop_ticks=0,
        trail_ticks=0, trail_units=0,
    )  # fmt: skip
    legs = []
    if wanted.target_ticks:
        legs.append(
            plain._replace(
                client_order_id=book.new_id(), type=OrderType.LIMIT,
                limit_ticks=wanted.target_ticks,
            )
        )  # fmt: skip
    if wanted.loss_ticks:
        limit = wanted.loss_limit_ticks
        kind = OrderType.STOP_LIMIT if limit else OrderType.STOP
        legs.append(
            plain._replace(
                client_order_id=book.new_id(), type=kind, stop_ticks=wanted.loss_ticks,
                limit_ticks=limit,
            )
        )  # fmt: skip
    return legs


def unavailable(book: AccountBook, order: Order, available: int) -> Refused:
    """Return the refusal of an order that asks for more of a position than is free."""
    scale = order.scale
    held = abs(book.broker.account_book.lots(order.symbol))
    requested, free = amount(order.qty), amount(scale.qty(available))
    return forbidden(
        f"insufficient qty available for order (requested: {requested}, available: {free})",
        available=free, existing_qty=amount(scale.qty(held)),
        held_for_orders=amount(scale.qty(book.held_for_orders(order.symbol))),
        symbol=order.symbol,
    )  # fmt: skip


def wash_trade(book: AccountBook, order: Order, but: OrderRecord | None) -> Refused:
    """Return the refusal of an order that would meet one of the account's own."""
    other = next(
        one for one in book.working(order.symbol) if one is not but and crosses(order, one.order)
    )
    priced = (OrderType.LIMIT, OrderType.STOP_LIMIT)
    limits = order.type in priced and other.order.type in priced
    kind = "limit" if limits else "market/stop"
    return forbidden(
        "potential wash trade detected. use complex orders",
        existing_order_id=other.id, reject_reason=f"opposite side {kind} order exists",
    )  # fmt: skip


def refuse_unpayable(
    book: AccountBook, order: Order, mark: int, but: OrderRecord | None = None
) -> None:
    """Refuse an order whose cost exceeds the buying power that open orders leave."""
    account_book = book.broker.account_book
    held = account_book.lots(order.symbol)
    if held * order.side < 0 and order.lots <= abs(held):
        return
    cost = order.lots * cost_ticks(order, mark) * order.scale.tick
    cost *= order.scale.lot
    free = buying_power(book) - reserved(book, but)
    if cost > free:
        raise forbidden(
            "insufficient buying power", buying_power=amount(max(free, Decimal(0))),
            cost_basis=amount(cost),
        )  # fmt: skip


def cost_ticks(order: Order, mark: int) -> int:
    """Return the price at which an order is counted: its limit, its stop, or the last price."""
    px = order.limit_ticks or order.stop_ticks or mark
    return max(px, mark * 103 // 100) if order.side < 0 else px


def buying_power(book: AccountBook) -> Decimal:
    """Return what the account may still spend, before what open orders reserve."""
    account, ledger = book.broker.account(), book.broker.account_book
    if ledger.kind == "cash":
        return account.settled_quanta * account.quantum
    room = account.equity_quanta * multiplier(book) - account.gross_quanta
    return max(room, 0) * account.quantum


def multiplier(book: AccountBook) -> int:
    """Return how often an account's equity may be held, as its owner lowered it."""
    lowered = str(book.configurations["max_margin_multiplier"])
    most = book.broker.account_book.multiplier
    return most if lowered == CONFIGURATIONS["max_margin_multiplier"] else min(most, int(lowered))


def reserved(book: AccountBook, but: OrderRecord | None = None) -> Decimal:
    """Return what open orders that increase a position will cost; a group counts once."""
    total = Decimal(0)
    for record in book.working():
        order = record.order
        held = book.broker.account_book.lots(order.symbol)
        if record is but or record.parent is not None or held * order.side < 0:
            continue
        scale: Scale = order.scale
        ticks = cost_ticks(order, mark_of(book, order.symbol))
        total += record.leaves * ticks * scale.tick * scale.lot
    return total
