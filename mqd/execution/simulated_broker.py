"""The venue of a replay: keeps resting orders, asks ``matching``, emits execution reports.

It is the far side of the wire. One step is driven by the desk: ``begin`` (expiry, new bar),
``match_open``, ``match_within``, ``match_close``. Nothing here reads a later bar than the one
that ``begin`` named.
"""

from __future__ import annotations

from collections.abc import Sequence

from mqd.core.bar import CorporateAction
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.instrument import AssetClass
from mqd.core.order import Order, OrderClass, OrderType, Reason, TimeInForce
from mqd.core.position import Account, Position
from mqd.execution.acceptance import Acceptance
from mqd.execution.fill_model import FillCounts, FillModel
from mqd.execution.matching import NO_FILL, limit_at_open
from mqd.execution.resting import Resting, trail_distance
from mqd.execution.tape import Tape
from mqd.execution.venue_account import CashActivity, SplitActivity, VenueAccount

_AT_OPEN_ONLY = frozenset({TimeInForce.IOC, TimeInForce.FOK, TimeInForce.OPG})
SLIPPED = frozenset({OrderType.MARKET, OrderType.STOP, OrderType.TRAILING_STOP})


class SimulatedBroker:
    """A ``Broker`` over bars. ``account`` must mark with ``self.mark``.

    ``session_closes`` and ``session_opens`` (ns, sorted) are the calendar's: for DAY and OPG.
    """

    def __init__(
        self,
        tapes: dict[str, Tape],
        model: FillModel,
        *,
        asset_class: AssetClass = AssetClass.EQUITY,
        session_closes: Sequence[int] = (),
        session_opens: Sequence[int] = (),
    ) -> None:
        self.counts = FillCounts()
        self.account_book: VenueAccount
        self._tapes, self._model = tapes, model
        self._doorman = Acceptance(tapes, asset_class, session_closes, session_opens)
        self._resting: dict[str, Resting] = {}
        self._groups: dict[str, list[str]] = {}
        self._known: dict[str, str] = {}
        self._out: list[ExecutionReport] = []
        self._row: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._now = self._sent_ns = self._opens_ns = 0
        self._step = self._executions = self._sequence = 0
        self.halted: set[str] = set()  # by hand; the model's halts come besides
        self.ends_ns: dict[str, int] = {}  # orders to come whose end another rule has set
        self._opening = False

    def connect(self, account: VenueAccount) -> None:
        """Attach the account that this venue keeps."""
        self.account_book = account

    # --- Broker protocol ---------------------------------------------------------------------

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Accept or reject an order; a bracket's legs are held until the entry has filled."""
        if order.client_order_id in self._known:
            self._say(ReportKind.DUPLICATE_ID, order, text="client_order_id must be unique")
            return
        self._known[order.client_order_id] = order.symbol
        group = (order, *legs)
        why = self._doorman.too_late(order, self._sent_ns)
        for member in group:
            why = why or self._doorman.refusal(member, self.account_book, self._resting)
        if why:
            for rejected in group:
                self._say(ReportKind.REJECTED, rejected, text=why)
            return
        rank = self._sequence + 1
        for member in group:
            self._known[member.client_order_id] = member.symbol
            self._rest(member, held=bool(member.parent), rank=rank)

    def cancel(self, client_order_id: str) -> None:
        """Cancel a working order and the rest of its group."""
        resting = self._resting.get(client_order_id)
        if resting is None:
            symbol = self._known.get(client_order_id, next(iter(self._tapes)))
            head = (ReportKind.CANCEL_REJECTED, client_order_id, symbol, self._now)
            self._out.append(ExecutionReport(*head, text="order is not cancelable"))
            return
        self._drop(resting, ReportKind.CANCELED, "")
        self._cancel_group(resting)

    def replace(self, client_order_id: str, order: Order) -> None:
        """Replace a working order by ``order``, which joins the end of the queue."""
        resting = self._resting.get(client_order_id)
        why = (
            "order is not open"
            if resting is None
            else self._doorman.refusal(order, self.account_book, self._resting, resting)
        )
        if resting is None or why:
            head = (ReportKind.REPLACE_REJECTED, client_order_id, order.symbol, self._now)
            self._out.append(ExecutionReport(*head, text=why))
            return
        self._known[order.client_order_id] = order.symbol
        self._drop(resting, ReportKind.REPLACED, "", replaced_by=order.client_order_id)
        self._rest(order, held=resting.held, rank=self._sequence + 1)

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived."""
        out = self._out
        if out:
            self._out = []
        return out

    def open_orders(self) -> list[Order]:
        """Return the working orders in order of arrival."""
        return [resting.order for resting in self._resting.values()]

    def positions(self) -> dict[str, Position]:
        """Return the non-flat positions."""
        book = self.account_book
        return {symbol: book.position(symbol) for symbol in sorted(book.ledger.lots)}

    def account(self) -> Account:
        """Return the account at the prices known now."""
        return self.account_book.account()

    # --- what the replay drives --------------------------------------------------------------

    @property
    def has_resting(self) -> bool:
        """True when any order rests."""
        return bool(self._resting)

    @property
    def opens_ns(self) -> int:
        """The instant of this step's first open."""
        return self._opens_ns

    def mark(self, symbol: str) -> int:
        """Return the symbol's last known price in ticks (its open during the opening)."""
        return self._marks[symbol]

    def begin(self, step: int, now_ns: int, rows: Sequence[int], last_rows: Sequence[int]) -> None:
        """Start a step that closes at ``now_ns``; ``rows`` is -1 where a symbol has no bar."""
        self._step, self._now = step, now_ns
        self._used.clear()
        opens_ns = now_ns
        for (symbol, tape), row, last in zip(self._tapes.items(), rows, last_rows, strict=True):
            self._row[symbol] = row
            if row >= 0:
                self._marks[symbol] = tape.open[row]
                opens_ns = min(opens_ns, tape.ts_open[row])
            elif last >= 0:
                self._marks[symbol] = tape.close[last]
        self._sent_ns = self._opens_ns = opens_ns
        self._opening = True
        for resting in list(self._resting.values()):
            if resting.expires_ns <= opens_ns:
                self._drop(resting, ReportKind.EXPIRED, "")

    def wait(self, now_ns: int) -> None:
        """Let time pass outside the sessions: orders sent from here on come then."""
        self._sent_ns = max(self._sent_ns, now_ns)

    def match_open(self) -> None:
        """Fill what fills at this step's open: reductions first, then symbol order."""
        for resting in self._eligible(reductions_first=True):
            order = resting.order
            if order.client_order_id not in self._resting or not self._meets_open(resting):
                continue
            if self._trades(order.symbol):
                self._fill_at_open(resting)
            if order.time_in_force in _AT_OPEN_ONLY and order.client_order_id in self._resting:
                self._drop(resting, ReportKind.CANCELED, f"{order.time_in_force} remainder")

    def match_within(self) -> None:
        """Fill limits and stops inside the bar; the stop of a protective pair first."""
        self._opening = False
        self._sent_ns = self._now
        for resting in self._eligible():
            order = resting.order
            if order.client_order_id not in self._resting or not self._is_live(resting):
                continue
            if order.time_in_force is TimeInForce.CLS or not self._trades(order.symbol):
                continue
            tape = self._tapes[order.symbol]
            row = self._row[order.symbol]
            ticks = resting.price_within(tape, row, self._model.touch_fills)
            if ticks != NO_FILL:
                self._count_ambiguous(resting, tape, row)
                self.counts.gap_fills += resting.gapped(ticks)
                self._execute(resting, ticks, tape.ts_close[row])

    def match_close(self, closing: Sequence[str]) -> None:
        """Fill on-close orders of the symbols whose session ends; move trails; expire."""
        self.settle_marks()
        for resting in list(self._resting.values()):
            order = resting.order
            if self._is_live(resting):
                tape, row = self._tapes[order.symbol], self._row[order.symbol]
                if order.time_in_force is TimeInForce.CLS and order.symbol in closing:
                    self._on_close(resting, tape, row)
                resting.follow(tape.high[row], tape.low[row])
            if resting.expires_ns <= self._now and order.client_order_id in self._resting:
                self._drop(resting, ReportKind.EXPIRED, "")

    def settle_marks(self) -> None:
        """Make the step's closes the prices known; orders sent from here on come after it."""
        self._opening = False
        self._sent_ns = self._now
        for symbol, row in self._row.items():
            if row >= 0:
                self._marks[symbol] = self._tapes[symbol].close[row]

    def act(self, action: CorporateAction) -> CashActivity | SplitActivity | None:
        """Apply a corporate action to the venue's books."""
        return self.account_book.act(action)

    def activities(self) -> list[CashActivity]:
        """Return nothing: the replay asks for each charge where it falls due."""
        return []

    # --- matching one order ------------------------------------------------------------------

    def _eligible(self, *, reductions_first: bool = False) -> list[Resting]:
        """Return the resting orders in the order they are asked; a stop before its target."""
        resting = list(self._resting.values())
        if len(resting) > 1:
            resting.sort(key=lambda r: (r.index, r.rank, r.order.type is OrderType.LIMIT))
            if reductions_first:
                lots = self.account_book.lots
                resting.sort(key=lambda r: not r.reduces(lots(r.order.symbol)))
        return resting

    def _is_live(self, resting: Resting) -> bool:
        """Return True when the order had arrived before its symbol's bar opened."""
        symbol = resting.order.symbol
        row = self._row[symbol]
        if row < 0 or resting.held:
            return False
        return resting.arrives_ns <= self._tapes[symbol].ts_open[row]

    def _trades(self, symbol: str) -> bool:
        """Return True when the symbol's bar has volume and no halt."""
        tape, row = self._tapes[symbol], self._row[symbol]
        opened, halts = tape.ts_open[row], self._model.halts
        if tape.capacity[row] < 0 or symbol in self.halted:
            return False
        return not any(one == symbol and start <= opened < end for one, start, end in halts)

    def _meets_open(self, resting: Resting) -> bool:
        order = resting.order
        fresh = resting.placed_step == self._step
        if not self._is_live(resting) or (fresh and order.reason is not Reason.TARGET):
            return False
        if order.time_in_force is not TimeInForce.OPG:
            return order.time_in_force is not TimeInForce.CLS
        row, day = self._row[order.symbol], self._tapes[order.symbol].day
        return row == 0 or day[row] != day[row - 1]

    def _fill_at_open(self, resting: Resting) -> None:
        tape, row = self._tapes[resting.order.symbol], self._row[resting.order.symbol]
        was_triggered = resting.triggered
        ticks = resting.price_at_open(tape, row, self._model.touch_fills)
        if ticks != NO_FILL:
            self.counts.follow_ups += resting.placed_step == self._step
            self.counts.gap_fills += not was_triggered and resting.gapped(ticks)
            self._execute(resting, ticks, tape.ts_open[row])

    def _on_close(self, resting: Resting, tape: Tape, row: int) -> None:
        order, close, touch = resting.order, tape.close[row], self._model.touch_fills
        good = order.type is not OrderType.LIMIT or limit_at_open(
            order.side, close, order.limit_ticks, touch
        )
        if good and self._trades(order.symbol):
            self._execute(resting, close, tape.ts_close[row])
        if order.client_order_id in self._resting:
            self._drop(resting, ReportKind.EXPIRED, "")

    def _count_ambiguous(self, resting: Resting, tape: Tape, row: int) -> None:
        group = resting.order.group
        if not group or resting.order.type is OrderType.LIMIT:
            return
        for other_id in self._groups[group]:
            other = self._resting.get(other_id)
            if other is None or other.held or other.order.type is not OrderType.LIMIT:
                continue
            if other.price_within(tape, row, self._model.touch_fills) != NO_FILL:
                self.counts.ambiguous_bars += 1

    def _execute(self, resting: Resting, ticks: int, ts_fill: int) -> None:
        order = resting.order
        symbol, side = order.symbol, order.side
        row = self._row[symbol]
        room = self._tapes[symbol].capacity[row] - self._used.get(symbol, 0)
        lots = min(resting.leaves, room)
        book = self.account_book
        self.counts.capped_fills += lots < resting.leaves
        slipped = order.type in SLIPPED
        px = book.worse_px(ticks, side) if slipped else ticks
        trimmed = False
        if (slipped or book.kind == "cash") and not resting.reduces(book.lots(symbol)):
            payable = book.affordable(symbol, side, px)
            trimmed = payable < lots
            self.counts.trimmed_fills += trimmed
            lots = min(lots, payable)
        if order.time_in_force is TimeInForce.FOK and lots < resting.leaves:
            return
        if lots > 0:
            self._book(resting, lots, px, ts_fill)
        if trimmed and order.client_order_id in self._resting:
            self._drop(resting, ReportKind.CANCELED, "trimmed to buying power")
            if order.group:
                self._fill_group(resting, 0, done=True)

    def _book(self, resting: Resting, lots: int, px: int, ts_fill: int) -> None:
        order = resting.order
        symbol, day = order.symbol, self._tapes[order.symbol].day[self._row[order.symbol]]
        fee = self.account_book.fill(symbol, order.side, lots, px, day)
        self._used[symbol] = self._used.get(symbol, 0) + lots
        resting.leaves, resting.filled = resting.leaves - lots, resting.filled + lots
        whole = resting.filled == order.lots
        self._executions += 1
        self._out.append(
            ExecutionReport(
                ReportKind.FILL if whole else ReportKind.PARTIAL_FILL, order.client_order_id,
                symbol, self._now, resting.venue_id, f"x{self._executions}", lots, px,
                resting.filled, fee, ts_fill,
            )
        )  # fmt: skip
        if whole:
            del self._resting[order.client_order_id]
        elif not resting.leaves:
            self._drop(resting, ReportKind.CANCELED, "rest filled by the other leg")
        if order.group:
            self._fill_group(resting, lots, done=not resting.leaves)

    # --- groups, lifetime, reports -----------------------------------------------------------

    def _fill_group(self, filled: Resting, lots: int, *, done: bool) -> None:
        """Release the legs of an entry that is over for what it filled; shrink the other leg."""
        is_entry = not filled.order.parent and filled.order.order_class is not OrderClass.OCO
        for other_id in self._groups[filled.order.group]:
            other = self._resting.get(other_id)
            if other is None or other is filled:
                continue
            if is_entry and not filled.filled:
                self._drop(other, ReportKind.CANCELED, "entry not filled")
            elif is_entry:
                other.leaves, other.held = filled.filled, not done
                other.arrives_ns, other.placed_step = self._sent_ns, self._step
            elif done or other.leaves <= lots:
                self._drop(other, ReportKind.CANCELED, "other leg filled")
            else:
                other.leaves -= lots

    def _cancel_group(self, resting: Resting) -> None:
        for other_id in self._groups.get(resting.order.group, ()):
            other = self._resting.get(other_id)
            if other is not None:
                self._drop(other, ReportKind.CANCELED, "group canceled")

    def _rest(self, order: Order, *, held: bool, rank: int) -> None:
        extreme = order.extreme_ticks or self._marks.get(order.symbol, 0)
        self._sequence += 1
        ends_ns = self.ends_ns.pop(order.client_order_id, 0)
        ends_ns = ends_ns or self._doorman.expiry(order, self._sent_ns)
        resting = Resting(
            order, self._tapes[order.symbol].place, self._sequence, f"v{self._sequence}",
            self._sent_ns + self._model.latency_ns, ends_ns, self._step, held, extreme,
            trail_distance(order, extreme), rank,
        )  # fmt: skip
        self._resting[order.client_order_id] = resting
        if order.group:
            self._groups.setdefault(order.group, []).append(order.client_order_id)
        self._say(ReportKind.ACCEPTED, order, venue_id=resting.venue_id)

    def _drop(
        self, resting: Resting, kind: ReportKind, text: str, *, replaced_by: str = ""
    ) -> None:
        order = resting.order
        self._resting.pop(order.client_order_id, None)
        self._out.append(
            ExecutionReport(
                kind, order.client_order_id, order.symbol, self._now, resting.venue_id,
                cum_lots=resting.filled, text=text, replaced_by=replaced_by,
            )
        )  # fmt: skip

    def _say(self, kind: ReportKind, order: Order, *, text: str = "", venue_id: str = "") -> None:
        head = (kind, order.client_order_id, order.symbol, self._now, venue_id)
        self._out.append(ExecutionReport(*head, text=text))
