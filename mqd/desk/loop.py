"""The one event loop. The only module that knows the order of the stages; it injects them.

All bars of one ``ts_close`` form one step:

    1  corporate actions
    2  opening: (a) working orders that fill at the open, reductions first, then symbol order;
       (b) follow-ups of the same decision (increases after reductions, the second half of a
       flip), which fill at that open too; (c) protective orders, which work from 3 on;
       (a) to (c) repeat until nothing is new
    3  within the bar: limits, stops and protective orders; then what ends with the bar or the
       session (on-close orders, remainders of targets, expiry, the day's fees, borrow)
    4  mark at the close
    5  features and decisions for every symbol, on one snapshot
    6  orders, reductions first; they can fill in the next step at the earliest
"""

from __future__ import annotations

from collections.abc import Callable

from mqd.core.bar import ActionKind, CorporateAction
from mqd.core.clock import iso
from mqd.core.event import Topic
from mqd.core.execution_report import ExecutionReport
from mqd.core.order import TimeInForce
from mqd.core.signal import Signal
from mqd.desk import records
from mqd.desk.curve import Curve
from mqd.desk.parts import Parts, Trader
from mqd.desk.splits import apply_split
from mqd.errors import MqdError, StrategyRaised
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.orders.state import OrderState
from mqd.portfolio.attribution import Share


class Desk:
    """One run. ``parts`` are the stages, already wired; ``traders`` the strategies' runners."""

    def __init__(self, parts: Parts, traders: list[Trader]) -> None:
        self.parts, self.traders = parts, traders
        self.curve = Curve(parts.market.symbols)
        self._alone = len(traders) == 1
        self._day = -1
        self._thorough = parts.risk.runs_rules
        self._hooked = [trader for trader in traders if trader.hooks]
        parts.hearing.tells = bool(self._hooked)
        self._tells_bars = parts.journal.bus.listens(Topic.BAR)
        self._watchful = bool(self._thorough or self._hooked or self._tells_bars)
        self._runners = [trader.runner for trader in traders if trader.runner is not None]
        self._marked = -1
        self.crossed: list[tuple[tuple[int, int], Share]] = []
        self.split_log: list[tuple[CorporateAction, SplitActivity]] = []

    # --- the run -----------------------------------------------------------------------------

    def start(self) -> None:
        """Call ``on_start`` at the first open."""
        first = self.parts.market.starts_ns
        self.parts.clock.advance(first)
        self.parts.journal.now_ns = first
        for trader in self._hooked:
            self._call(trader, "on_start", 0)

    def resume(self) -> None:
        """Take the history for marked: the next step begins where the log and the bars end."""
        parts = self.parts
        last = parts.market.n_steps - 1
        self._marked = last
        if last >= 0:
            parts.market.enter(last)
            self._day = parts.gate.session = parts.market.day[last]
            parts.risk.session(self._day, self._equity_before(last))
            self.curve.touch()
            self.curve.note(last, parts.valuation.ledger)

    def _equity_before(self, last: int) -> int:
        """Return what is held now at the closes before the session of step ``last``."""
        market = self.parts.market
        first = last
        while first > 0 and market.day[first - 1] == market.day[last]:
            first -= 1
        market.enter(max(first - 1, 0))
        equity = self.parts.valuation.equity()
        market.enter(last)
        return equity

    def run(self, after_step: Callable[[int], None] | None = None, *, every: bool = False) -> None:
        """Go through all steps; quiet ones, in which nothing can happen, are passed over.

        ``every=True`` takes each step one by one: the log is the same, to the byte.
        """
        step, n_steps = 0, self.parts.market.n_steps
        while step < n_steps:
            self.step(step)
            if after_step is not None:
                after_step(step)
            step = step + 1 if every else self._next(step)
        self._mark(n_steps - 1)
        self.parts.journal.now_ns = self.parts.market.ts_close[n_steps - 1]

    def stop(self) -> None:
        """Call ``on_stop`` after the last bar."""
        for trader in self._hooked:
            self._call(trader, "on_stop", self.parts.market.n_steps - 1)
        self.parts.hearing.listen()

    def _next(self, step: int) -> int:
        """Return the next step in which something can happen."""
        parts = self.parts
        if self._watchful or parts.broker.has_resting or parts.targets.busy:
            return step + 1
        if parts.protection.has_bare or parts.portfolio.resizing:
            return step + 1
        following = parts.market.next_action(step)
        for runner in self._runners:
            following = min(following, runner.next_step(step))
        if parts.broker.account_book.owes_at_close:
            following = min(following, parts.market.next_session_end(step))
        return following

    # --- one step ----------------------------------------------------------------------------

    def step(self, step: int) -> None:
        """Take one step, in the order of the module's docstring."""
        self.begin(step)
        self.parts.clock.advance(self.parts.broker.opens_ns)
        self.hear()
        self.end(step)

    def begin(self, step: int) -> None:
        """Begin a step: what expired before it, and 1 corporate actions."""
        parts = self.parts
        market, broker = parts.market, parts.broker
        now = market.ts_close[step]
        self._begin(step, now)
        broker.begin(step, now, market.present_rows, market.last_rows(step))
        parts.hearing.listen()
        for action in market.actions.get(step, ()):
            self._corporate_action(action)
        for activity in broker.activities():
            self.book(activity)

    def end(self, step: int) -> None:
        """Go through the rest of a step's bar: 3 within, 4 mark, 5 decisions, 6 orders."""
        self.close(step)
        self._hooks(step)
        self._decide(step)
        self.curve.note(step, self.parts.valuation.ledger)

    def close(self, step: int) -> None:
        """Go through a step's bar up to its mark: 3 within, 4 mark."""
        parts = self.parts
        market, broker, hearing = parts.market, parts.broker, parts.hearing
        parts.clock.advance(market.ts_close[step])
        if broker.has_resting:
            broker.match_within()
            hearing.listen()
            broker.match_close(market.closing(market.present_rows))
            hearing.listen()
            parts.targets.cancel_remainders(market.present_rows)
        else:
            broker.settle_marks()
        if market.ends_session[step]:
            for activity in broker.account_book.close_session(market.days_to_next[step]):
                self.book(activity)
        self._mark(step)

    def _begin(self, step: int, now: int) -> None:
        """Bring marks and the session up to the step's start."""
        parts = self.parts
        if self._marked < step - 1:
            self._mark(step - 1)
        parts.journal.now_ns = now
        parts.market.begin(step)
        day = parts.market.day[step]
        if day != self._day:
            self._day = parts.gate.session = day
            parts.broker.account_book.open_session(day)
            if step:
                parts.risk.session(day, parts.valuation.equity())

    def hear(self) -> None:
        """2 opening: take reports, send what they allow, and protect what they filled."""
        parts = self.parts
        while True:
            if parts.broker.has_resting:
                parts.broker.match_open()
            heard = parts.hearing.listen()
            sent = parts.targets.busy and parts.targets.follow_up()
            if not sent and not (heard and self._hooked):
                break
        if parts.targets.busy:
            self._book_crosses()
        if parts.protection.has_bare:
            now_ns, row_now = parts.clock.now_ns(), parts.market.row_now
            while parts.protection.place(now_ns, row_now, parts.targets.reduces):
                parts.hearing.listen()
            parts.hearing.listen()

    def _mark(self, step: int) -> None:
        """Make a step's closes the prices that the desk knows."""
        parts = self.parts
        parts.market.enter(step)
        self._marked = step
        if self._thorough:
            equity = parts.valuation.equity()
            if step == 0:
                parts.risk.session(self._day, equity)
            parts.risk.mark(parts.market.ts_close[step], equity)

    # --- 5 decisions -------------------------------------------------------------------------

    def _hooks(self, step: int) -> None:
        if self._tells_bars:
            for bar in self._bars():
                self.parts.journal.publish(Topic.BAR, bar)
            self.parts.journal.bus.drain()
        if not self._hooked:
            return
        for trader in self._hooked:
            for _, name in trader.desk.clock.due() if trader.desk is not None else ():
                self._call(trader, "on_timer", step, name)
            for bar in self._bars():
                self._call(trader, "on_bar", step, bar)
            self.parts.hearing.listen()

    def _bars(self) -> list[object]:
        market = self.parts.market
        pairs = zip(market.symbols, market.present_rows, strict=True)
        return [market.bars[symbol].bar(row) for symbol, row in pairs if row >= 0]

    def _call(self, trader: Trader, hook: str, step: int, *arguments: object) -> None:
        if hook not in trader.hooks:
            return
        try:
            getattr(trader.strategy, hook)(trader.desk, *arguments)
        except MqdError:
            raise
        except Exception as error:
            symbols = ", ".join(self.parts.market.symbols)
            bar = iso(self.parts.market.ts_close[step])
            raise StrategyRaised(
                type(trader.strategy).__name__, hook, symbols, bar, error
            ) from error

    def tell(self, strategy: str, report: ExecutionReport, state: OrderState) -> None:
        """Hand a report to the event strategies that own a part of its order."""
        parties = [name for name, _ in state.order.allocation] or [strategy]
        for trader in self._hooked:
            if trader.name in parties:
                self._call(trader, "on_report", self.parts.market.step, report)

    def _decide(self, step: int) -> None:
        parts = self.parts
        rows = parts.market.present_rows
        equity = parts.valuation.equity
        signals: list[Signal] = []
        for runner in self._runners:
            signals += runner.signals(step, rows, equity)
        parts.hearing.unfilled.clear()
        if signals:
            self._act(signals)

    def _act(self, signals: list[Signal]) -> None:
        """Turn signals into orders: free what works, plan, send."""
        parts = self.parts
        portfolio, valuation = parts.portfolio, parts.valuation
        equity = valuation.equity()
        standing = [portfolio.standing(s.strategy, s.symbol) for s in signals]
        parts.targets.clear(signals, standing)
        if len(signals) == 1 and self._alone:
            signal = signals[0]
            symbol = signal.symbol
            plan = portfolio.on_signal(
                signal, valuation.mark(symbol), equity, valuation.lots(symbol)
            )
        else:
            plan = portfolio.on_signals(
                signals, parts.market.marks(), equity, valuation.ledger.lots
            )
        for signal, before in zip(signals, standing, strict=True):
            after = portfolio.standing(signal.strategy, signal.symbol)
            if after != before:
                parts.journal.write("decision", records.decision(signal, after))
                parts.journal.publish(Topic.SIGNAL, signal)
        parts.targets.send(plan)

    # --- money and corporate actions ---------------------------------------------------------

    def _book_crosses(self) -> None:
        """Book opposite targets that cancelled out, at the open of the symbol's next bar."""
        parts = self.parts
        for symbol, allocation, row in parts.targets.take_crosses(parts.market.present_rows):
            tape = parts.market.tapes[symbol]
            lot_quanta = tape.open[row] * tape.scale.tick_lot_quanta
            shares = parts.portfolio.attribution.cross(
                tape.ts_open[row], symbol, allocation, lot_quanta
            )
            when = tape.ts_open[row], parts.journal.now_ns
            self.crossed += [(when, share) for share in shares]
            parts.hearing.moved(shares, row, tape.open[row] * float(tape.scale.tick))

    def book(self, activity: CashActivity) -> None:
        """Book a change of cash that is no fill."""
        parts = self.parts
        account, symbol, amount, _ = activity
        if not amount:
            return
        parts.journal.write("cash", records.cash(activity, parts.valuation.quantum))
        parts.valuation.ledger.book_cash(account, amount)
        if account == "deposits":
            parts.risk.flow(amount)
        if not self._alone:
            parts.portfolio.attribution.cash(parts.journal.now_ns, account, symbol, amount)
        self.curve.touch()

    def _corporate_action(self, action: CorporateAction) -> None:
        parts = self.parts
        if action.kind is ActionKind.DIVIDEND:
            paid = parts.broker.act(action)
            if isinstance(paid, CashActivity):
                self.book(paid)
            return
        done = apply_split(parts, action)
        if done is not None:
            self.split_log.append((action, done))
            self.curve.touch()


def default_time_in_force(calendar: str) -> TimeInForce:
    """Return DAY, or GTC in a market that never closes."""
    return TimeInForce.GTC if calendar == "24/7" else TimeInForce.DAY
