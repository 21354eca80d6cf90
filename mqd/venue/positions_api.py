"""Positions over REST: list, look up, close."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mqd.core.position import Position
from mqd.venue import query as read
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import BAD_ORDER, Refused, not_found, unprocessable
from mqd.venue.orders_api import cancel_all
from mqd.venue.record import order_json
from mqd.venue.submit import OrderDesk
from mqd.venue.text import amount, rounded
from mqd.venue.words import SHARE_RATE

PLACES_MAX = 9


class PositionsApi:
    """The position routes of all accounts."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk

    def get_all(self, book: AccountBook, _: Request) -> Answer:
        """GET /v2/positions."""
        return Answer(200, [position_json(book, one) for one in book.broker.positions().values()])

    def get_one(self, book: AccountBook, request: Request) -> Answer:
        """GET /v2/positions/{symbol or asset id}."""
        return Answer(200, position_json(book, held(book, request.argument)))

    def delete_one(self, book: AccountBook, request: Request) -> Answer:
        """DELETE /v2/positions/{symbol or asset id}: a market order of the other side."""
        position = held(book, request.argument)
        qty = read.positive(request.query, "qty")
        share = read.positive(request.query, SHARE_RATE)
        for name, value in (("qty", qty), (SHARE_RATE, share)):
            if value is not None and value != round(value, PLACES_MAX):
                raise unprocessable(f"{name} must have at most {PLACES_MAX} decimal places")
        if qty is not None and share is not None:
            raise unprocessable(f"only one of qty or {SHARE_RATE} is accepted")
        whole = abs(position.qty)
        if share is not None:
            if share > 100:
                raise unprocessable(f"{SHARE_RATE} must be at most 100", BAD_ORDER)
            qty = _cut(whole * share / 100, position)
        return Answer(200, self._close(book, position, whole if qty is None else qty))

    def delete_all(self, book: AccountBook, request: Request) -> Answer:
        """DELETE /v2/positions: one entry for each position."""
        if read.flag(request.query, "cancel_orders"):
            cancel_all(book)
        done = []
        for symbol, position in book.broker.positions().items():
            try:
                order = self._close(book, position, abs(position.qty))
                entry: dict[str, Any] = {"symbol": symbol, "status": 200, "body": order}
            except Refused as refused:
                entry = {"symbol": symbol, "status": refused.status, "body": refused.body()}
            done.append(entry)
        return Answer(207, done)

    def _close(self, book: AccountBook, position: Position, qty: Decimal) -> dict[str, Any]:
        body = {
            "symbol": position.symbol, "qty": amount(qty), "type": "market",
            "side": "sell" if position.lots > 0 else "buy",
            "time_in_force": "gtc" if book.scene.crypto else "day",
        }  # fmt: skip
        return order_json(self._desk.submit(book, body))


def held(book: AccountBook, word: str) -> Position:
    """Return the position that a symbol or an asset id names; refuse where there is none."""
    symbol = book.scene.symbol_of(word)
    if symbol is None:
        raise not_found(f"symbol not found: {word}")
    position = book.broker.positions().get(symbol)
    if position is None:
        raise not_found("position does not exist")
    return position


def _cut(qty: Decimal, position: Position) -> Decimal:
    """Return a quantity cut down to whole lots, at least one."""
    lots = max(int(qty / position.scale.lot), 1)
    return position.scale.qty(lots)


def position_json(book: AccountBook, position: Position) -> dict[str, Any]:
    """Return a position at the last known price; rates are fractions."""
    scene, symbol, scale = book.scene, position.symbol, position.scale
    px = scale.px(scene.mark(book.broker, symbol))
    value, cost = px * position.qty, position.cost_quanta * scale.quantum
    gain = value - cost
    before = scene.last_day_px(symbol) or position.avg_px
    today = (px - before) * position.qty
    free = abs(position.lots) - book.held_for_orders(symbol)
    sign = 1 if position.lots > 0 else -1
    base = abs(before * position.qty)
    return {
        "asset_id": scene.asset_id(symbol),
        "symbol": symbol,
        "exchange": "CRYPTO" if scene.crypto else "NASDAQ",
        "asset_class": scene.asset_class,
        "asset_marginable": not scene.crypto,
        "avg_entry_price": rounded(position.avg_px, 6),
        "qty": amount(position.qty),
        "qty_available": amount(sign * scale.qty(max(free, 0))),
        "side": "long" if position.lots > 0 else "short",
        "market_value": amount(value),
        "cost_basis": amount(cost),
        "unrealized_pl": amount(gain),
        "unrealized_plpc": rounded(gain / abs(cost), 10) if cost else "0",
        "unrealized_intraday_pl": rounded(today, 10),
        "unrealized_intraday_plpc": rounded(today / base, 10) if base else "0",
        "current_price": amount(px),
        "lastday_price": rounded(before, 6),
        "change_today": rounded((px - before) / before, 10) if before else "0",
    }
