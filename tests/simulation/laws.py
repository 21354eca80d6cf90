"""Laws that hold at every call of a desk, not only at a run's end; see ``Laws``."""

from __future__ import annotations

from collections import Counter, defaultdict

from mqd.core.clock import NS_PER_S
from mqd.core.order import OrderClass, OrderStatus, Side
from mqd.live.paced_run import PacedRun
from tests.simulation.zeros import INJECTED

GRACE_NS = 60 * NS_PER_S  # reliability.md section 5, submit (8)
CHANGES = frozenset({"POST", "PATCH", "DELETE", "STEP"})
BY_CLIENT_ID = "/v2/orders:by_client_order_id"


def watched_run(laws):
    """Return a paced run whose desk these laws look at."""

    class WatchedRun(PacedRun):
        def _resume(self, desk, found):
            laws.restarted(desk, self._link.connector, found.open_orders)
            super()._resume(desk, found)

        def _step(self, desk, ts_close):
            laws.look_at(desk, self._link.connector)
            super()._step(desk, ts_close)
            laws.check("after a step")

    return WatchedRun


class Laws:
    """What must hold before each call that a desk makes, and after each step.

    1. No order that works at the venue is one that our machine calls over, or does not know.
    2. Position: for each symbol and side, what the venue filled of ours plus what works there is
       at most our position plus our exposure; likewise below.
    3. Exposure counts every order that is not over with all that is not booked, unknown ones too,
       and it is this figure that the risk rules read.
    4. An order is given up only after two answers "not found", both asked for at least the grace
       after it was sent.
    5. A desk that was restarted asks for every order that its log leaves open before it sends or
       changes anything, and before it lets the venue go on.

    An order that was given up by 4 and turns up is named by 1 and 2 no more: it is cancelled.
    """

    def __init__(self, memory):
        self.memory, self.broken, self.n_checks, self.n_unknown = memory, [], 0, 0
        self._desk = self._connector = None
        self._to_ask = {}
        self._sent_ns, self._missing_ns = {}, defaultdict(list)
        self.given_up = set()
        memory.before, memory.after = self._before, self._after

    def look_at(self, desk, connector):
        """Look at this desk from now on."""
        self._desk, self._connector = desk, connector

    def restarted(self, desk, connector, states):
        """A desk was rebuilt from a log that leaves these orders open."""
        self.look_at(desk, connector)
        self._to_ask = {one.order.client_order_id: one.order.group for one in states}

    # --- what is called ----------------------------------------------------------------------

    def _before(self, method, path, query):
        if self._desk is None:
            return
        self._asked(method, path, query)
        if method in CHANGES and self._to_ask:
            self._break(f"5: {method} {path} before it asked for {sorted(self._to_ask)}")
            self._to_ask = {}
        self.check(f"before {method} {path}")

    def _asked(self, method, path, query):
        if method != "GET" or not path.startswith("/v2/orders"):
            return
        name = query.get("client_order_id") if path == BY_CLIENT_ID else ""
        name = name or self._connector.name_of(path.rsplit("/", 1)[-1])
        self._to_ask = {
            one: group for one, group in self._to_ask.items() if name not in (one, group)
        }

    def _after(self, method, path, query, status):
        if method == "GET" and path == BY_CLIENT_ID and status == 404:
            self._missing_ns[query["client_order_id"]].append(self.now_ns)

    @property
    def now_ns(self):
        """The instant of the desk's step: the grace is counted in it."""
        return self._desk.parts.clock.monotonic_ns()

    # --- the laws ----------------------------------------------------------------------------

    def check(self, where):
        """Check the laws 1 to 4 now."""
        self.n_checks += 1
        machine = self._desk.parts.machine
        states = {one.order.client_order_id: one for one in machine.states()}
        self._note_sent(states, where)
        lots, works = Counter(), defaultdict(Counter)
        late = set()
        for record, name in self._ours(states):
            symbol, side = record.order.symbol, record.order.side
            lots[symbol] += side * record.lots_filled
            if name in self.given_up:
                late.add(symbol)
            elif record.is_open:
                group = record.order.group if record.order.order_class is OrderClass.OCO else ""
                pair = works[symbol, side]
                key = group or record.id
                pair[key] = max(pair[key], record.leaves)
                if name not in states or states[name].is_terminal:
                    what = states[name].status if name in states else "not known here"
                    self._break(f"1: {name} is {record.status} at the venue, {what} ({where})")
        for symbol in {one.order.symbol for one in states.values()} - late:
            self._bounded(symbol, lots[symbol], works, where)
            self._counted(symbol, states, where)

    def _note_sent(self, states, where):
        for name, state in states.items():
            self._sent_ns.setdefault(name, self.now_ns)
            if state.status is OrderStatus.UNKNOWN:
                self.n_unknown += 1
            if state.status is OrderStatus.ABANDONED and name not in self.given_up:
                self.given_up.add(name)
                parent = state.order.group or name
                over_ns = self._sent_ns[name] + GRACE_NS
                late = [at for at in self._missing_ns[parent] if at >= over_ns]
                if len(late) < 2:
                    self._break(f"4: {name} is given up after {len(late)} late answers ({where})")

    def _ours(self, states):
        """Yield the venue's records of orders that are not injected, with our names."""
        book = self.memory.venue.first
        for record in book.orders.values():
            root = _root(book, record)
            parent = root.parent
            if root.client_order_id.startswith(INJECTED):
                continue
            if root.client_order_id in states or parent is None:
                yield record, root.client_order_id
                continue
            above = _root(book, parent).client_order_id
            legs = [
                name for name, one in states.items() if one.order.group == above and name != above
            ]
            at = [_root(book, leg) is root for leg in parent.legs].index(True)
            yield record, legs[at] if at < len(legs) else root.client_order_id

    def _bounded(self, symbol, venue_lots, works, where):
        parts = self._desk.parts
        ours, blotter = parts.valuation.ledger.lots.get(symbol, 0), parts.blotter
        above = venue_lots + works[symbol, Side.BUY].total()
        below = venue_lots - works[symbol, Side.SELL].total()
        most, least = ours + blotter.open_buy_lots(symbol), ours - blotter.open_sell_lots(symbol)
        if above > most or below < least:
            self._break(
                f"2: {symbol} may be {below} to {above} lots at the venue, {least} to {most} here"
                f" ({where})"
            )

    def _counted(self, symbol, states, where):
        blotter = self._desk.parts.blotter
        found = {Side.BUY: 0, Side.SELL: 0}
        pairs = defaultdict(int)
        for state in states.values():
            order, lots = state.order, state.worst_case_lots
            if order.symbol != symbol or state.status is OrderStatus.INTENT:
                continue
            if order.order_class is OrderClass.OCO:
                pairs[order.group, order.side] = max(pairs[order.group, order.side], lots)
            else:
                found[order.side] += lots
        for (_, side), lots in pairs.items():
            found[side] += lots
        counted = blotter.open_buy_lots(symbol), blotter.open_sell_lots(symbol)
        if counted != (found[Side.BUY], found[Side.SELL]):
            self._break(f"3: {symbol} counts {counted}, it is {found} ({where})")

    def _break(self, sentence):
        if sentence not in self.broken:
            self.broken.append(sentence)


def _root(book, record):
    """Return the order of which the venue made this one by itself, or the record."""
    while record.replaces is not None and record.replaces in book.orders:
        record = book.orders[record.replaces]
    return record
