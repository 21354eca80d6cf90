"""Questions about the account: orders, positions, money, activities, clock; all pages, exactly.

What is missing is not nothing: an answer without an amount that it owes is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.errors import VenueLies, VenueRefused
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import iso
from mqd.core.money import Scale
from mqd.core.position import Account, Position

PAGE_ACTIVITIES: Final = 100
PAGE_ORDERS: Final = 500
PAGES_MAX: Final = 10_000
MONEY: Final = (
    "cash", "equity", "long_market_value", "short_market_value", "non_marginable_buying_power",
)  # fmt: skip


class VenueClock(NamedTuple):
    """The venue's clock: its instant, whether a session runs, its next open and next close (ns)."""

    now_ns: int
    is_open: bool
    next_open_ns: int
    next_close_ns: int


class AssetFlags(NamedTuple):
    """What an asset allows: 1, 0, or -1 where the venue does not say."""

    tradable: int
    fractionable: int
    shortable: int
    easy_to_borrow: int


class AccountReader:
    """Asks, and raises ``VenueUnreachable``, ``VenueRefused`` or ``VenueLies`` without an answer.

    A symbol that is not among ``scales`` is counted in whole units at a tick of one quantum.
    """

    def __init__(
        self, session: AlpacaSession, scales: Mapping[str, Scale], quantum: Decimal
    ) -> None:
        self._session, self._scales, self._quantum = session, scales, quantum
        self._foreign_scale = Scale.of(quantum, Decimal(1), quantum)

    def scale_of(self, symbol: str) -> Scale:
        """Return the scale that a symbol's quantities are counted on."""
        return self._scales.get(symbol, self._foreign_scale)

    def open_orders(self) -> list[dict[str, Any]]:
        """Return all open orders, each leg by itself, oldest first.

        Not nested: a nested list leaves out the legs of an entry that has filled.
        """
        words = {"status": "open", "limit": PAGE_ORDERS, "direction": "asc"}
        return self._pages("/v2/orders", words, "after_order_id", PAGE_ORDERS)

    def activities(
        self, after_id: str = "", *, after_ns: int | None = None, category: str = ""
    ) -> list[dict[str, Any]]:
        """Return the account's activities after one, or after an instant, oldest first.

        ``category`` is "trade_activity", "non_trade_activity" or "" for both.
        """
        words: dict[str, Any] = {"direction": "asc", "page_size": PAGE_ACTIVITIES}
        if after_ns is not None:
            words["after"] = iso(after_ns)
        if category:
            words["category"] = category
        path = "/v2/account/activities"
        return self._pages(path, words, "page_token", PAGE_ACTIVITIES, after_id)

    def positions(self) -> dict[str, Position]:
        """Return the non-flat positions of all symbols, signed."""
        path, found = "/v2/positions", {}
        for record in self._listed(path, {}):
            symbol = record.get("symbol")
            qty = wire.number(record.get("qty"))
            if not isinstance(symbol, str) or qty is None:
                raise VenueLies(f"GET {path}", f"a position of {symbol!r} without a quantity")
            scale = self.scale_of(symbol)
            lots = abs(wire.held_lots(qty, scale))
            if qty < 0 or record.get("side") == "short":
                lots = -lots
            cost = abs(wire.money_quanta(record.get("cost_basis"), self._quantum))
            if lots:
                found[symbol] = Position(symbol, lots, cost if lots > 0 else -cost, scale)
        return found

    def account(self) -> Account:
        """Return the account's money."""
        record = self._object("/v2/account")
        money = {}
        for name in MONEY:
            value = wire.number(record.get(name))
            if value is None:
                raise VenueLies("GET /v2/account", f"an account without {name}")
            money[name] = int(value / self._quantum)
        long, short = money["long_market_value"], money["short_market_value"]
        return Account(
            money["cash"], money["equity"], long - short, long + short,
            money["non_marginable_buying_power"], self._quantum,
        )  # fmt: skip

    def clock(self) -> VenueClock:
        """Return the venue's clock and the session that it names."""
        record = self._object("/v2/clock")
        stamps = [wire.stamp_ns(record.get(n)) for n in ("timestamp", "next_open", "next_close")]
        is_open = record.get("is_open")
        if not all(stamps) or not isinstance(is_open, bool):
            raise VenueLies("GET /v2/clock", "a clock without its instants")
        return VenueClock(stamps[0], is_open, stamps[1], stamps[2])

    def client_id(self, venue_order_id: str) -> str:
        """Return the client id of an order of the venue's, "" where it has none."""
        record = self._session.asked(f"/v2/orders/{venue_order_id}").body
        return str(record.get("client_order_id") or "") if isinstance(record, dict) else ""

    def asset(self, symbol: str) -> AssetFlags:
        """Return an asset's flags; one that is not listed, or not active, is not tradable."""
        path = f"/v2/assets/{quote(symbol, safe='')}"
        reply = self._session.asked(path)
        if reply.status == 404:
            return AssetFlags(0, 0, 0, 0)
        if reply.status != 200:
            raise VenueRefused(f"GET {path}", reply.status, reply.message)
        if not isinstance(reply.body, dict):
            raise VenueLies(f"GET {path}", "no object")
        flags = AssetFlags._make(_flag(reply.body.get(name)) for name in AssetFlags._fields)
        return flags if reply.body.get("status") == "active" else flags._replace(tradable=0)

    def _pages(
        self, path: str, words: Mapping[str, Any], token: str, size: int, after: str = ""
    ) -> list[dict[str, Any]]:
        """Return a list's rows from all pages; ``token`` asks for those after an id."""
        found: dict[str, dict[str, Any]] = {}
        for _ in range(PAGES_MAX):
            page = self._listed(path, {**words, **({token: after} if after else {})})
            new = {wire.id_of(row): row for row in page}
            if "" in new:
                raise VenueLies(f"GET {path}", "a row without an id")
            found |= {name: row for name, row in new.items() if name not in found}
            if len(page) < size:
                return list(found.values())
            if wire.id_of(page[-1]) == after:
                break
            after = wire.id_of(page[-1])
        raise VenueLies(f"GET {path}", "pages without an end")

    def _listed(self, path: str, words: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self._session.ask(path, words)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise VenueLies(f"GET {path}", "no list of objects")
        return found

    def _object(self, path: str) -> dict[str, Any]:
        found = self._session.ask(path)
        if not isinstance(found, dict):
            raise VenueLies(f"GET {path}", "no object")
        return found


def _flag(value: object) -> int:
    return int(value) if isinstance(value, bool) else -1
