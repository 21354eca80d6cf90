"""The three zeros: no order twice, no fill lost, no difference of positions and cash.

One side is what the venue's REST interface says, the other the records of the log, read back from
the disk; no object of the desk is asked.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

from mqd.log_reader import read
from mqd.positions.store import PositionStore

PAGE_ORDERS, PAGE_ACTIVITIES = 500, 100
INJECTED = ("foreign_order-", "hand_trade-")


class LogSide:
    """What a log says of orders, fills, positions and cash."""

    def __init__(self, records) -> None:
        self.intents, self.exec_ids = {}, []
        self.filled, self.positions = Counter(), {}
        self.cash = Decimal(0)
        for record in records:
            take = getattr(self, f"_{record.kind.replace('.', '_')}", None)
            if take is not None:
                take(record.payload)

    def _intent(self, said):
        assert said["id"] not in self.intents, f"the intent {said['id']} stands twice in the log"
        self.intents[said["id"]] = said

    def _fill(self, said):
        self.exec_ids.append(said["exec_id"])
        self.filled[said["exec_id"].rsplit("/", 1)[0]] += Decimal(said["qty"])
        self.positions[said["symbol"]] = Decimal(said["position"])
        self.cash += Decimal(said["cash"])

    def _cash(self, said):
        self.cash += Decimal(said["amount"])


class VenueSide:
    """What the venue says; ``ask(path, query)`` is a GET. Injected orders are told apart."""

    def __init__(self, ask) -> None:
        words = {"status": "all", "limit": PAGE_ORDERS, "nested": True, "direction": "asc"}
        self.orders = pages(ask, "/v2/orders", words, "after_order_id", PAGE_ORDERS)
        words = {"direction": "asc", "page_size": PAGE_ACTIVITIES}
        path = "/v2/account/activities"
        self.activities = pages(ask, path, words, "page_token", PAGE_ACTIVITIES)
        self.fills = [one for one in self.activities if one["activity_type"] == "FILL"]
        self.positions = {one["symbol"]: Decimal(one["qty"]) for one in ask("/v2/positions", {})}
        self.cash = Decimal(str(ask("/v2/account", {})["cash"]))

    def injected(self) -> set[str]:
        """Return the venue's ids of orders that a fault put there by hand."""
        return {
            order["id"] for order in self.orders if order["client_order_id"].startswith(INJECTED)
        }  # fmt: skip


def pages(ask, path, words, after, size):
    """Return all entries of a list, page by page."""
    found = []
    while True:
        page = ask(path, {**words, **({after: found[-1]["id"]} if found else {})})
        found += page
        if len(page) < size:
            return found


def orders_twice(log, venue):
    """Return a sentence for each order at the venue that no decision of ours stands for, or that
    stands for one that another does too."""
    by_hand, found = venue.injected(), []
    names = Counter(order["client_order_id"] for order in venue.orders)
    found += [f"the client id {name} stands {n} times" for name, n in names.items() if n > 1]
    ours = Counter(said["group"] for name, said in log.intents.items() if said["group"] != name)
    for order in venue.orders:
        name = order["client_order_id"]
        if order["id"] in by_hand or order["replaces"]:
            continue
        if name not in log.intents:
            found.append(f"the venue has {name}, the log has no such intent")
        elif len(order["legs"] or ()) > ours[name]:
            found.append(f"{name} has {len(order['legs'])} legs, the log {ours[name]}")
    return found


def fills_lost(log, venue, *, split=False):
    """Return a sentence for each execution that one side has and the other has not.

    ``split``: a fault told a fill in two parts, so that quantities of orders are compared.
    """
    by_hand, found = venue.injected(), []
    found += [f"{name} is booked {n} times" for name, n in Counter(log.exec_ids).items() if n > 1]
    told, names = Counter(), set()
    for fill in venue.fills:
        if fill["order_id"] not in by_hand:
            told[fill["order_id"]] += Decimal(fill["qty"])
            names.add(f"{fill['order_id']}/{Decimal(fill['cum_qty']):f}")
    for order in sorted(told.keys() | log.filled.keys()):
        if told[order] != log.filled[order]:
            found.append(f"{order}: the venue filled {told[order]}, we booked {log.filled[order]}")
    if not split:
        found += [f"the execution {name} is on one side" for name in names ^ set(log.exec_ids)]
    return found


def books_differ(log, venue):
    """Return a sentence for each difference of positions or cash."""
    if venue.injected() & {fill["order_id"] for fill in venue.fills}:
        return []  # somebody traded by hand: the reconciliation of a live session tells of it
    held = {symbol: qty for symbol, qty in log.positions.items() if qty}
    found = [] if held == venue.positions else [f"positions: {held} here, {venue.positions} there"]
    if log.cash != venue.cash:
        found.append(f"cash: {log.cash} here, {venue.cash} there")
    return found


def store_differs(folder: Path):
    """Return the differences of a folder's store from one that is built from its log."""
    store, rebuilt = PositionStore(folder / "store.sqlite"), PositionStore.rebuild(folder)
    try:
        store.check_balance()
        return store.compare(rebuilt)
    finally:
        store.close()
        rebuilt.close()


def all_zeros(ask, folder: Path, *, split=False):
    """Return every difference of the venue from the verified log of ``folder``."""
    log, venue = LogSide(read(folder)), VenueSide(ask)
    return [
        *orders_twice(log, venue), *fills_lost(log, venue, split=split), *books_differ(log, venue)
    ]  # fmt: skip
