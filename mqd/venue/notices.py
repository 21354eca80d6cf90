"""What a rehearsal makes the venue say: halts, bands, changed bars, trades taken back, imbalances;
assets that may no longer be traded, denied handshakes, and events of orders that no rule makes.

A symbol halted by hand fills nothing for any account until it is told to trade again. Orders for
it are taken and rest, cancels and replaces work; what can only trade at once (IOC, FOK, OPG) is
cancelled, and CLS expires, as in any bar without a trade. Its bars still go out: they are the
file's. (Alpaca's answer to an order for a halted symbol, 403 and 40310010, is not established;
the fault ``halted_symbol`` gives it.) A symbol's band told by hand ends the venue's own bands for
it. A changed bar is what the data API shows from then on; what has filled stays filled. A trade
taken back changes its bar, which is told too (Alpaca tells it half a minute later); of a corrected
one the data API shows the correction alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np

from mqd.venue.book import TOLD
from mqd.venue.errors import Refused
from mqd.venue.intake import read_amount
from mqd.venue.market_tape import EXCHANGE, TAPE, UPDATES, bar_of, trade_of
from mqd.venue.record import order_json
from mqd.venue.signs import HALTED, RESUMED, Message, band_of, status_of
from mqd.venue.venue import Venue

REASON: Final = re.compile(r"[A-Z0-9]{0,8}")
PAUSED: Final = {"sc": "P", "sm": "Volatility Trading Pause", "rm": "Volatility Trading Pause"}
VOLATILITY: Final = "LUDP"
BREAKER: Final = "MWC"
DENIALS: Final = frozenset({404, 429, 502})
DENIALS_MAX: Final = 100
FLAGS: Final = ("tradable", "shortable", "fractionable")
PRICES: Final = ("open", "high", "low", "close")


class Notices:
    """Reads the bodies of the control path; each method tells one message and returns it.

    Raises ``Refused`` with a sentence: 404 for a symbol that the venue does not have, 422 for
    anything else that is wrong.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def status(self, body: Mapping[str, Any]) -> Message:
        """Halt a symbol, or let it trade again: {"symbol", "halted", "reason"}.

        ``reason`` is a code of the tapes: T1 (news), LUDP (volatility), MWC1 to MWC3 (the whole
        market); a halt without one is T12.
        """
        _refuse_unknown(body, ("symbol", "halted", "reason"))
        symbol, halted = self._symbol(body), body.get("halted")
        if not isinstance(halted, bool):
            raise _wrong(f"halted is {halted!r}: write true or false")
        reason = body.get("reason", HALTED["rc"] if halted else "")
        if not isinstance(reason, str) or not REASON.fullmatch(reason):
            raise _wrong(f"reason is {reason!r}: write a code such as T1, LUDP or MWC1")
        for book in self._venue.books.values():
            if halted:
                book.broker.halted.add(symbol)
            else:
                book.broker.halted.discard(symbol)
        words = _words(reason) if halted else {**RESUMED, "rc": reason}
        return self._told(status_of(symbol, self._venue.now_ns, words))

    def luld(self, body: Mapping[str, Any]) -> Message:
        """Tell a symbol's price band: {"symbol", "up", "down"}, prices above 0."""
        _refuse_unknown(body, ("symbol", "up", "down"))
        symbol, up, down = self._symbol(body), _amount(body, "up"), _amount(body, "down")
        if down >= up:
            raise _wrong(f"down is {down} and up {up}: the lower band lies below the upper one")
        self._venue.banded.add(symbol)
        return self._told(band_of(symbol, self._venue.now_ns, float(up), float(down)))

    def updated_bar(self, body: Mapping[str, Any]) -> Message:
        """Change a symbol's newest bar: {"symbol"} and any of open, high, low, close, volume."""
        _refuse_unknown(body, ("symbol", *PRICES, "volume"))
        symbol, tape = self._symbol(body), self._venue.data.tape
        if tape.daily:
            raise _wrong("this venue has daily bars: only bars within a day are updated")
        row = tape.newest(symbol, self._venue.now_ns)
        if row < 0:
            raise _wrong(f"{symbol} has no bar yet: close a step first")
        changed = {
            name: float(_amount(body, name)) for name in (*PRICES, "volume") if name in body
        }  # fmt: skip
        if not changed:
            raise _wrong("nothing is changed: give any of open, high, low, close, volume")
        _refuse_shape({name: float(getattr(tape.base(symbol), name)[row]) for name in PRICES}
                      | changed)  # fmt: skip
        tape.revise(symbol, row, **changed)
        return self._told({"T": "u", "S": symbol, **bar_of(tape.base(symbol), row)})

    def correction(self, body: Mapping[str, Any]) -> Message:
        """Correct a trade: {"symbol", "id", "price", "size"}; its bar follows as "u"."""
        _refuse_unknown(body, ("symbol", "id", "price", "size"))
        symbol, place = self._trade(body)
        old = trade_of(self._venue.data.tape.prints(symbol), place)
        px, size = float(_amount(body, "price")), float(_amount(body, "size"))
        number = self._venue.data.tape.amend(symbol, place, px, size)
        new = trade_of(self._venue.data.tape.prints(symbol), place)
        return self._amended(symbol, place, {
            "T": "c", "S": symbol, "x": EXCHANGE, "oi": old["i"], "op": old["p"], "os": old["s"],
            "oc": old["c"], "ci": number, "cp": new["p"], "cs": new["s"], "cc": new["c"],
            "z": TAPE, "t": self._venue.now_ns,
        })  # fmt: skip

    def trade_cancel(self, body: Mapping[str, Any]) -> Message:
        """Cancel a trade: {"symbol", "id"}, "error": true for one that was never a trade."""
        _refuse_unknown(body, ("symbol", "id", "error"))
        symbol, place = self._trade(body)
        error = body.get("error", False)
        if not isinstance(error, bool):
            raise _wrong(f"error is {error!r}: write true or false")
        old = trade_of(self._venue.data.tape.prints(symbol), place)
        self._venue.data.tape.amend(symbol, place, 0.0, 0.0)
        return self._amended(symbol, place, {
            "T": "x", "S": symbol, "i": old["i"], "x": EXCHANGE, "p": old["p"], "s": old["s"],
            "a": "E" if error else "C", "z": TAPE, "t": self._venue.now_ns,
        })  # fmt: skip

    def imbalance(self, body: Mapping[str, Any]) -> Message:
        """Tell the price at which an auction of a symbol would be even: {"symbol", "price"}."""
        _refuse_unknown(body, ("symbol", "price"))
        symbol, px = self._symbol(body), float(_amount(body, "price"))
        message = {"T": "i", "S": symbol, "p": px, "z": TAPE, "t": self._venue.now_ns}
        return self._told(message)

    def asset(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change an asset: {"symbol"} and any of tradable, shortable, fractionable; return it."""
        _refuse_unknown(body, ("symbol", *FLAGS))
        symbol = self._symbol(body)
        flags = {name: body[name] for name in FLAGS if name in body}
        if not flags or not all(isinstance(value, bool) for value in flags.values()):
            raise _wrong(f"write true or false for any of {', '.join(FLAGS)}")
        self._venue.scene.flags.setdefault(symbol, {}).update(flags)
        return self._venue.scene.asset(symbol)

    def order(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Say of an open order of the first account: {"client_order_id", "event"}; return it."""
        _refuse_unknown(body, ("client_order_id", "event"))
        book, name, event = self._venue.first, body.get("client_order_id"), body.get("event")
        record = book.by_client_id.get(name) if isinstance(name, str) else None
        if record is None or not record.is_open:
            raise Refused(404, 0, f"client_order_id is {name!r}: no such order is open")
        if not isinstance(event, str) or event not in TOLD:
            raise _wrong(f"event is {event!r}: write one of {', '.join(TOLD)}")
        book.tell(record, event)
        return order_json(record)

    def handshake(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Deny the next handshakes of either socket: {"status": 404, 429 or 502, "times"}."""
        _refuse_unknown(body, ("status", "times"))
        status, times = body.get("status"), body.get("times", 1)
        if not isinstance(status, int) or status not in DENIALS:
            raise _wrong(f"status is {status!r}: write one of {sorted(DENIALS)}")
        if type(times) is not int or not 0 < times <= DENIALS_MAX:
            raise _wrong(f"times is {times!r}: write 1 to {DENIALS_MAX}")
        self._venue.denials.extend([status] * times)
        return {"waiting": list(self._venue.denials)}

    def _amended(self, symbol: str, place: int, message: Message) -> Message:
        """Tell what became of a trade, and its bar anew where bars are shorter than a day."""
        tape = self._venue.data.tape
        row = int(tape.prints(symbol).row[place])
        bar = [] if tape.daily else [{"T": "u", "S": symbol, **bar_of(tape.base(symbol), row)}]
        self._venue.publish([message, *bar])
        return message

    def _trade(self, body: Mapping[str, Any]) -> tuple[str, int]:
        """Return the symbol and the place of a trade that has been told and still stands."""
        symbol, number = self._symbol(body), body.get("id")
        prints = self._venue.data.tape.prints(symbol)
        newest = self._venue.data.tape.newest(symbol, self._venue.now_ns)
        places = np.flatnonzero(
            (prints.id == (number if type(number) is int else 0)) & (prints.row <= newest)
            & (prints.update < UPDATES.index("canceled"))
        )  # fmt: skip
        if not len(places):
            raise Refused(404, 0, f"id is {number!r}: {symbol} has no such trade yet, or no more")
        return symbol, int(places[0])

    def _symbol(self, body: Mapping[str, Any]) -> str:
        asked = body.get("symbol")
        if not isinstance(asked, str) or asked not in self._venue.scene.scales:
            known = ", ".join(self._venue.bars.symbols[:5])
            raise Refused(404, 0, f"symbol is {asked!r}: this venue has {known}")
        return asked

    def _told(self, message: Message) -> Message:
        self._venue.publish([message])
        return message


def _words(reason: str) -> dict[str, str]:
    """Return the codes of a halt for a reason."""
    if reason == VOLATILITY:
        return {**PAUSED, "rc": reason}
    if reason.startswith(BREAKER):
        return {**HALTED, "rc": reason, "rm": "Market Wide Circuit Breaker Halt"}
    return {**HALTED, "rc": reason}


def _amount(body: Mapping[str, Any], name: str) -> Decimal:
    value = read_amount(body, name)
    if value is None:
        raise _wrong(f"{name} is missing: write a number above 0")
    return value


def _refuse_shape(bar: Mapping[str, float]) -> None:
    edges = bar["open"], bar["close"]
    if bar["high"] < max(edges) or bar["low"] > min(edges):
        raise _wrong(
            f"the bar would open at {edges[0]} and close at {edges[1]} beyond its low {bar['low']}"
            f" or its high {bar['high']}: give those too"
        )


def _refuse_unknown(body: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise _wrong(f"{unknown[0]!r} is unknown: write {', '.join(known)}")


def _wrong(why: str) -> Refused:
    return Refused(422, 0, why)
