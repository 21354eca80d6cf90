"""Orders over REST: list, submit, look up, replace, cancel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mqd.core.money import INT64_MAX
from mqd.core.order import Order, OrderType, TimeInForce
from mqd.venue import query as read
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import BAD_ORDER, Refused, forbidden, not_found, unprocessable
from mqd.venue.intake import EXTENDED, read_amount, read_client_id, read_ticks, read_word
from mqd.venue.record import OrderRecord, order_json
from mqd.venue.submit import OrderDesk, mark_of, refuse_unpayable

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LIST_MAX = 500
NOT_AT_EXCHANGE = frozenset({"accepted", "pending_new", "pending_cancel", "pending_replace"})


class OrdersApi:
    """The order routes of all accounts."""

    def __init__(self, desk: OrderDesk, *, refuses_unpayable: bool) -> None:
        self._desk, self._refuses_unpayable = desk, refuses_unpayable

    def post(self, book: AccountBook, request: Request) -> Answer:
        """POST /v2/orders."""
        record = self._desk.submit(book, request.body or {})
        shown = order_json(record, nested=True)
        if record.status == "new":  # the answer was written before the exchange had taken it
            shown["status"] = "pending_new"
        return Answer(200, shown)

    def get_all(self, book: AccountBook, request: Request) -> Answer:
        """GET /v2/orders."""
        query = request.query
        nested = read.flag(query, "nested")
        keep = _filter(book, query)
        records = [one for one in book.orders.values() if keep(one)]
        if nested:
            records = [one for one in records if one.parent is None]
        if read.one_of(query, "direction", ("desc", "asc")) == "desc":
            records.reverse()
        limit = read.whole(query, "limit", 50, LIST_MAX)
        return Answer(200, [order_json(one, nested=nested) for one in records[:limit]])

    def get_one(self, book: AccountBook, request: Request) -> Answer:
        """GET /v2/orders/{id}."""
        record = order_of(book, request.argument)
        return Answer(200, order_json(record, nested=read.flag(request.query, "nested")))

    def get_by_client_id(self, book: AccountBook, request: Request) -> Answer:
        """GET /v2/orders:by_client_order_id."""
        name = request.query.get("client_order_id", "")
        record = book.by_client_id.get(name)
        if record is None:
            raise not_found(f"order not found for {name}")
        return Answer(200, order_json(record, nested=read.flag(request.query, "nested")))

    def delete_one(self, book: AccountBook, request: Request) -> Answer:
        """DELETE /v2/orders/{id}."""
        cancel(book, order_of(book, request.argument))
        return Answer(204, None)

    def delete_all(self, book: AccountBook, _: Request) -> Answer:
        """DELETE /v2/orders: one entry for each order that was open."""
        return Answer(207, cancel_all(book))

    def patch(self, book: AccountBook, request: Request) -> Answer:
        """PATCH /v2/orders/{id}: a new order with a new id takes the old one's place."""
        old = order_of(book, request.argument)
        body = request.body or {}
        _refuse_replacing(old, body)
        name = read_client_id(body)
        if name in book.by_client_id:
            raise unprocessable("client_order_id must be unique")
        terms = _replaced(old, body)
        if terms == old.order:
            raise forbidden("order parameters are not changed")
        order = terms._replace(
            client_order_id=book.new_id(), lots=terms.lots - old.lots_filled,
            decided_ns=book.scene.now_ns,
        )  # fmt: skip
        if self._refuses_unpayable:
            refuse_unpayable(book, order, mark_of(book, order.symbol), old)
        return Answer(200, order_json(self._swap(book, old, order, name)))

    def _swap(self, book: AccountBook, old: OrderRecord, order: Order, name: str) -> OrderRecord:
        new = self._desk.record(book, order, name, extended=old.extended)
        new.created_ns, new.parent, new.legs = old.created_ns, old.parent, old.legs
        why = book.replace(old, new)
        if why:
            raise self._desk.refusal(book, order, why, old)
        return new


def order_of(book: AccountBook, word: str) -> OrderRecord:
    """Return an order by its id; refuse what is none."""
    if not UUID.fullmatch(word):
        raise unprocessable("order_id is missing")
    record = book.orders.get(word.lower())
    if record is None:
        raise not_found(f"order not found for {word}")
    return record


def cancel(book: AccountBook, record: OrderRecord) -> None:
    """Cancel an open order with its group; refuse one that is over."""
    if not record.is_open:
        raise unprocessable(f'order is already in "{record.status}" state', BAD_ORDER)
    record.cancel_requested_ns = book.scene.now_ns
    book.broker.cancel(record.id)
    book.hear()


def cancel_all(book: AccountBook) -> list[dict[str, Any]]:
    """Cancel every open order and return what became of each."""
    done = []
    for record in book.working():
        entry: dict[str, Any] = {"id": record.id, "status": 200}
        if record.is_open:
            try:
                cancel(book, record)
            except Refused as refused:
                entry = {"id": record.id, "status": 500, "body": refused.body()}
        done.append(entry)
    return done


def _filter(book: AccountBook, query: Mapping[str, str]) -> Any:
    """Return the test that an order must pass to be listed."""
    status = read.one_of(query, "status", ("open", "closed", "all"))
    after, until = read.instant(query, "after"), read.instant(query, "until")
    first, last = -1 if after is None else after, INT64_MAX if until is None else until
    symbols = {book.scene.symbol_of(one) for one in read.words(query, "symbols")}
    side = read.one_of(query, "side", ("", "buy", "sell"))
    classes = read.words(query, "asset_class")
    low, high = _between(book, query)

    def keep(record: OrderRecord) -> bool:
        order = record.order
        return (
            (status == "all" or record.is_open is (status == "open"))
            and first < record.submitted_ns < last
            and (not symbols or order.symbol in symbols)
            and (not side or (order.side > 0) is (side == "buy"))
            and (not classes or record.asset_class in classes)
            and low < record.number < high
        )

    return keep


def _between(book: AccountBook, query: Mapping[str, str]) -> tuple[int, int]:
    """Return the numbers of the orders between which the list lies."""
    after, before = query.get("after_order_id"), query.get("before_order_id")
    if (after or before) and (query.get("after") or query.get("until")):
        raise unprocessable("after_order_id and before_order_id exclude after and until")
    low = order_of(book, after).number if after else -1
    high = order_of(book, before).number if before else INT64_MAX
    return low, high


def _refuse_replacing(old: OrderRecord, body: Mapping[str, Any]) -> None:
    if not old.is_open:
        raise unprocessable(f'order is already in "{old.status}" state', BAD_ORDER)
    if old.status in NOT_AT_EXCHANGE:
        raise unprocessable("unable to replace order, order isn't sent to exchange yet")
    if old.notional is not None or read_amount(body, "notional") is not None:
        raise unprocessable("notional orders cannot be replaced", BAD_ORDER)


def _replaced(old: OrderRecord, body: Mapping[str, Any]) -> Order:
    """Return the old terms with the changes of a body; ``lots`` is the new total."""
    order = old.order
    terms = order._replace(lots=old.lots)
    qty = read_amount(body, "qty")
    if qty is not None:
        if qty != int(qty) or old.order.qty != int(old.order.qty):
            if qty != order.scale.qty(old.lots):
                raise unprocessable("qty must be whole shares to be replaced", BAD_ORDER)
        elif order.scale.qty(old.lots_filled) >= qty:
            raise unprocessable("qty must exceed the filled quantity", BAD_ORDER)
        terms = terms._replace(lots=order.scale.qty_lots(qty))
    limit, stop = (
        read_ticks(body, "limit_price", order.scale),
        read_ticks(body, "stop_price", order.scale),
    )
    for name, ticks, before in (
        ("limit_price", limit, order.limit_ticks),
        ("stop_price", stop, order.stop_ticks),
    ):
        if ticks and not before:
            raise unprocessable(f"{order.type} orders take no {name}", BAD_ORDER)
    terms = terms._replace(
        limit_ticks=limit or order.limit_ticks, stop_ticks=stop or order.stop_ticks
    )
    tif = read_word(TimeInForce, body, "time_in_force", order.time_in_force)
    if old.extended and tif not in EXTENDED:
        raise unprocessable("extended hours order must be DAY limit orders", BAD_ORDER)
    return _retrailed(terms, body)._replace(time_in_force=tif)


def _retrailed(terms: Order, body: Mapping[str, Any]) -> Order:
    """Return terms with a new distance of a trailing stop: in price, or in hundredths."""
    trail = read_amount(body, "trail")
    if trail is None:
        return terms
    if terms.type is not OrderType.TRAILING_STOP:
        raise unprocessable(f"{terms.type} orders take no trail", BAD_ORDER)
    if terms.trail_units:
        return terms._replace(trail_units=int(trail.scaleb(6)))
    return terms._replace(trail_ticks=read_ticks(body, "trail", terms.scale))
