"""What a venue says, taken in: order state, ledger, attribution, protection, in that order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mqd.accounting import FillEntry
from mqd.core.event import Event, Topic
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import TERMINAL, Order, OrderStatus, Reason, Side
from mqd.desk import records
from mqd.desk.journal import Journal
from mqd.desk.protection import Protection, is_exit
from mqd.desk.slots import Holding
from mqd.desk.valuation import Valuation
from mqd.errors import MqdError, StageFailed
from mqd.execution.engine import OrderExecutionEngine
from mqd.orders.blotter import Blotter
from mqd.orders.state import OrderState, Transition
from mqd.orders.state_machine import OrderStateMachine
from mqd.portfolio.attribution import Share
from mqd.portfolio.manager import PortfolioManager
from mqd.risk.manager import RiskManager

_FILLS = frozenset({ReportKind.FILL, ReportKind.PARTIAL_FILL})
_REACHED = "trimmed to buying power"
Listener = Callable[[str, ExecutionReport, OrderState], None]


class Hearing:
    """The stage that turns reports into state. ``tell`` hands them on to event
    strategies, when ``tells`` says that there are any.

    ``doubts`` are orders that the venue must be asked for, ``orphans`` those that live and
    should not; a live session works both off, a replay has none.
    """

    def __init__(
        self,
        journal: Journal,
        engine: OrderExecutionEngine,
        machine: OrderStateMachine,
        blotter: Blotter,
        valuation: Valuation,
        risk: RiskManager,
        portfolio: PortfolioManager,
        protection: Protection,
        holdings: Mapping[tuple[str, str], Holding],
        row_of: Callable[[str], int],
        tell: Listener,
        denials: list[ExecutionReport],
    ) -> None:
        self._journal, self._reports, self._machine = journal, engine.reports, machine
        self._blotter, self._valuation, self._risk = blotter, valuation, risk
        self._portfolio, self._protection = portfolio, protection
        self._holdings, self._row_of, self._tell = holdings, row_of, tell
        self._denials = denials
        self._shared = len(portfolio.strategies) > 1
        self.fills: list[tuple[ExecutionReport, Order]] = []
        self.anomalies: list[str] = []
        self.tells = False
        self.unfilled: set[str] = set()
        self.doubts: dict[str, None] = {}
        self.orphans: dict[str, None] = {}
        self.shares: list[tuple[ExecutionReport, Share]] = []
        journal.bus.subscribe(Topic.REPORT, self._on_report, name="desk", stage=True)

    def listen(self) -> int:
        """Take in all reports that have arrived, and those they lead to; return how many."""
        heard = 0
        while reports := self._reports():
            heard += len(reports)
            self.take(reports)
        if self._denials:
            denials = list(self._denials)
            self._denials.clear()
            for denial in denials if self.tells else ():
                state = self._machine.state(denial.client_order_id)
                self._tell(state.order.strategy, denial, state)
        return heard

    def take(self, reports: Sequence[ExecutionReport]) -> None:
        """Pass reports through the bus: this stage first, then whoever else listens."""
        bus, now = self._journal.bus, self._journal.now_ns
        for report in reports:
            bus.publish(Topic.REPORT, now, report)
        try:
            bus.drain()
        except StageFailed as failed:
            if isinstance(failed.__cause__, MqdError):
                raise failed.__cause__ from None
            raise

    def _on_report(self, event: Event) -> None:
        report = event.payload
        assert isinstance(report, ExecutionReport)
        if report.kind in _FILLS and self._is_new(report):
            transition = self._book(report)
        else:
            scale = self._valuation.scales[report.symbol]
            self._journal.write("report", records.report(report, scale))
            transition = self._machine.apply(report)
            self._revise(report, transition)
        self._blotter.apply(transition)
        if transition.query:
            self.doubts[report.client_order_id] = None
        if transition.cancel:
            self.orphans[report.client_order_id] = None
        if transition.anomaly:
            self.anomalies.append(transition.anomaly)
        after = transition.after
        if after is not None:
            if after.status in TERMINAL:
                self._over(after, report)
            if self.tells:
                self._tell(after.order.strategy, report, after)

    def _is_new(self, report: ExecutionReport) -> bool:
        try:
            state = self._machine.state(report.client_order_id)
        except KeyError:
            return False
        name = report.execution_id
        if not state.fills and not state.busted:
            return True
        return name not in state.busted and all(fill.execution_id != name for fill in state.fills)

    def _book(self, report: ExecutionReport) -> Transition:
        """Record an execution with what it changes, then change it."""
        order = self._machine.state(report.client_order_id).order
        entry = self._record(report, order)
        transition = self._machine.apply(report)
        self._post(report, order, entry)
        return transition

    def _revise(self, report: ExecutionReport, transition: Transition) -> None:
        """Book what a bust or a correction takes back and puts in its place, as new records."""
        if transition.voided is None and transition.fill is None:
            return
        assert transition.after is not None
        order = transition.after.order
        if transition.voided is not None:
            gone = transition.voided
            back = report._replace(
                kind=ReportKind.BUST, execution_id=f"{gone.execution_id}-void",
                last_lots=gone.lots, last_ticks=gone.ticks, fee_quanta=-gone.fee_quanta,
                cum_lots=transition.after.cum_lots, ts_fill=gone.ts_fill,
            )  # fmt: skip
            opposite = order._replace(side=Side(-order.side), allocation=())
            self._post(back, opposite, self._record(back, opposite))
        if transition.fill is not None:
            new = transition.fill
            made = report._replace(
                execution_id=new.execution_id, last_lots=new.lots, last_ticks=new.ticks,
                fee_quanta=new.fee_quanta, cum_lots=transition.after.cum_lots, ts_fill=new.ts_fill,
            )  # fmt: skip
            self._post(made, order, self._record(made, order))

    def _record(self, report: ExecutionReport, order: Order) -> FillEntry:
        """Log an execution with the journal entry that it leads to, and return the entry."""
        lot_quanta = report.last_ticks * order.scale.tick_lot_quanta
        entry = self._valuation.ledger.fill_entry(
            report.symbol, order.side * report.last_lots, lot_quanta, report.fee_quanta
        )
        self._journal.write("fill", records.fill(report, order, entry))
        return entry

    def _post(self, report: ExecutionReport, order: Order, entry: FillEntry) -> None:
        """Change the books and tell who keeps something of a position."""
        symbol, side, ledger = report.symbol, order.side, self._valuation.ledger
        before = ledger.lots.get(symbol, 0)
        ledger.book(entry)
        self.fills.append((report, order))
        lot_quanta = report.last_ticks * order.scale.tick_lot_quanta
        row, px = self._row_of(symbol), report.last_ticks * float(order.scale.tick)
        if self._shared:
            self._attribute(report, order.client_order_id, order.strategy, side, lot_quanta, row)
        else:
            self._holdings[order.strategy, symbol].moved(before, row, px)
            self._protection.moved(order.strategy, symbol)
        self._risk.filled(
            symbol, side, report.cum_lots, order.lots, report.last_lots * lot_quanta,
            report.ts_ns, strategy=order.strategy,
        )  # fmt: skip
        if is_exit(order):
            self._left(order.strategy, symbol)
        self._journal.publish(Topic.FILL, (report, order, entry))

    def _left(self, strategy: str, symbol: str) -> None:
        """After any part of an exit the target is 0; what is left of it is sized at the close."""
        self._portfolio.on_exit(strategy, symbol)
        if self._holdings[strategy, symbol].lots:
            self._portfolio.on_remainder(symbol, (strategy,))

    def _attribute(
        self,
        report: ExecutionReport,
        name: str,
        strategy: str,
        side: int,
        lot_quanta: int,
        row: int,
    ) -> None:
        """Split a fill among the strategies that share the order."""
        shares = self._portfolio.attribution.fill(
            report.ts_fill, name, strategy, report.symbol, side * report.last_lots, lot_quanta,
            report.fee_quanta,
        )  # fmt: skip
        self.shares += [(report, share) for share in shares]
        tick = float(self._valuation.scales[report.symbol].tick)
        self.moved(shares, row, report.last_ticks * tick)

    def moved(self, shares: Sequence[Share], row: int, px: float) -> None:
        """Note that strategies' own positions changed on the bar ``row`` at ``px``."""
        for share in shares:
            before = share.lots_after - share.lots
            self._holdings[share.strategy, share.symbol].moved(before, row, px)
            self._protection.moved(share.strategy, share.symbol)

    def _over(self, state: OrderState, report: ExecutionReport) -> None:
        """An order is over: an exit, a remainder to size anew, or simply done."""
        order = state.order
        if self._protection.ended(order.client_order_id) is not None:
            return
        if order.reason is not Reason.TARGET:
            return
        left: tuple[str, ...] = (order.strategy,)
        if self._shared:
            left = tuple(
                name for name, _ in self._portfolio.attribution.close(order.client_order_id)
            )
        reached = state.status is OrderStatus.FILLED or report.text == _REACHED
        if not reached:
            self.unfilled.add(order.client_order_id)
            if state.status is not OrderStatus.REJECTED or self._asks_again(order):
                self._portfolio.on_remainder(order.symbol, left)

    def _asks_again(self, order: Order) -> bool:
        """Whether a rejected order is sized anew: one that reduces, on a desk that trades. It may
        have been refused for the moment, or never have left."""
        return order.reducing and self._risk.live is not None
