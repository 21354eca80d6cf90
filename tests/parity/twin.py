"""The desk's step written a second time: slow, obvious, in Decimal, from the design alone.

One loop over the closes, dicts by symbol, exact Decimal money. It imports from mqd nothing but the
values that define a run, and the named float functions (``target_lots`` through the sizer,
``protective_ticks``, ``position_view``). Rules are cited by their number in design section 5.
"""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, Decimal, localcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

import mqd
from mqd.execution.protective import protective_ticks
from mqd.portfolio.sizing import SlotView
from mqd.strategy.position import position_view
from tests.parity.twin_books import (
    ZERO,
    Book,
    TwinBooks,
    TwinOrder,
    sign_of,
)


class Twin(TwinBooks):
    """One strategy over bars; ``run()`` fills ``fills``, ``curve``, ``books`` and ``kinds``."""

    def run(self) -> Twin:
        with localcontext() as context:
            context.prec = 60
            for ts in sorted({ts for rows in self.rows.values() for ts in rows}):
                self.ts = ts
                self.present = {
                    s: rows[self.ts] for s, rows in self.rows.items() if self.ts in rows
                }
                self._step()
        return self

    def _step(self) -> None:
        self._count_absent()
        self._volumes()
        self._expire(self._opened())
        self._corporate_actions()
        self._opening()
        self._within()
        self._mark()
        self._expire(self.ts)
        self._cancel_remainders()
        self._end_of_session()
        self._decide_and_send()
        equity = self._equity()
        self.curve.append((self.ts, equity, self.cash))

    def _expire(self, now: int) -> None:
        """5.4: a DAY order ends with its session."""
        for book in self.books.values():
            if book.working is not None and book.working.expires <= now:
                self._end_unfilled(book)

    def _end_unfilled(self, book: Book) -> None:
        """An order is over before it has filled; increases that wait for it are given up too."""
        reducing = book.working is not None and book.working.reducing
        book.working, book.remainder = None, True
        for other in self.books.values() if reducing else ():
            if other.parked is not None:
                other.parked, other.remainder = None, True

    def _cancel_remainders(self) -> None:
        """5.4: what a bar's volume left of a target order is cancelled at its close."""
        for s, book in self.books.items():
            if s in self.present and book.working is not None and self._px(s, "volume"):
                self._end_unfilled(book)

    def _opening(self) -> None:
        resting = [s for s, book in self.books.items() if book.guarded]
        while True:
            filled = self._fill_at_open(resting)
            resting = []
            sent = self._follow_up()
            self._guard()
            if not (filled or sent):
                return

    def _fill_at_open(self, resting: list[str]) -> bool:
        """2a: reductions first, then the order of the symbols; gaps fill resting exits here."""
        first: list[Any] = []
        later: list[Any] = []
        for s, book in self.books.items():
            if s not in self.present or not book.volume_left:
                continue
            if s in resting and book.qty:
                first.append((s, None))
            if book.working is not None:
                (first if book.working.reducing else later).append((s, book.working))
        before = len(self.fills)
        for s, order in first + later:
            if order is None:
                self._exit(s, at_open=True)
            else:
                self._market(s, order)
        return len(self.fills) > before

    def _market(self, s: str, order: TwinOrder) -> None:
        book = self.books[s]
        side = sign_of(order.signed)
        px = self._slipped(self._px(s, "open"), side, book.tick)
        wanted = abs(order.signed)
        qty = min(wanted, book.volume_left)
        if qty < wanted:
            self.kinds["partial"] += 1
        if not order.reducing:
            paid = self._affordable(s, px, qty)
            if paid < qty:
                self.kinds["trim"] += 1
                book.working, qty = None, paid
        if qty:
            left = wanted - qty
            self._fill(s, side * qty, px, "target", int(self.bars[s].ts_open[self.present[s]]))
            if book.working is not None:
                order.signed = side * left
                book.working = order if left else None

    def _follow_up(self) -> bool:
        """2b: a decision's increases are sent when its reductions have filled (5.6)."""
        if any(b.working is not None and b.working.reducing for b in self.books.values()):
            return False
        sent = False
        for s, book in self.books.items():
            if book.parked is not None:
                order, book.parked = book.parked, None
                self.kinds["follow-up"] += 1
                sent = self._send(s, order) or sent
        return sent

    def _guard(self) -> None:
        exits = self._exits()
        for book in self.books.values():
            leaving = book.working is not None and book.working.reducing
            book.guarded = bool(book.qty) and exits and not leaving

    def _exits(self) -> bool:
        one = self.strategy
        return bool(one.stop_loss_frac or one.take_profit_frac or one.trailing_stop_frac)

    def _within(self) -> None:
        for s, book in self.books.items():
            if s in self.present and book.guarded and book.qty and self._px(s, "volume"):
                self._exit(s, at_open=False)

    def _levels(self, s: str) -> tuple[Decimal | None, str, Decimal | None]:
        """5.4: the tighter of fixed and trailing stop with its name, and the target."""
        book, one = self.books[s], self.strategy
        side = sign_of(book.qty)
        average = float(book.cost / book.qty / book.tick)
        stops = []
        if one.stop_loss_frac:
            ticks = protective_ticks(average, one.stop_loss_frac, -side, -side)
            stops.append((side * ticks, "stop_loss"))
        if one.trailing_stop_frac:
            entry = Decimal(round(average))
            best = float((max if side > 0 else min)(book.peak / book.tick, entry))
            ticks = protective_ticks(best, one.trailing_stop_frac, -side, -side)
            stops.append((side * ticks, "trailing_stop"))
        if stops and self._fractional(book):
            self.kinds["fractional stop"] += 1
        stop = max((level for level, _ in stops), default=None)
        name = stops[-1][1] if stops else ""
        target = None
        if one.take_profit_frac and not (stops and self._fractional(book)):
            target = protective_ticks(average, one.take_profit_frac, side, side) * book.tick
        return (None if stop is None else abs(stop) * book.tick), name, target

    def _exit(self, s: str, *, at_open: bool) -> None:
        book = self.books[s]
        side = sign_of(book.qty)
        stop, name, target = self._levels(s)
        opened = self._px(s, "open")
        worst = opened if at_open else self._px(s, "low" if side > 0 else "high")
        best = opened if at_open else self._px(s, "high" if side > 0 else "low")
        stopped = stop is not None and side * worst <= side * stop
        touched = self.model.touch_fills and not at_open
        reached = target is not None and (
            side * best > side * target or (touched and best == target)
        )
        if stopped and reached and not at_open:
            self.kinds["ambiguous"] += 1
        if at_open and book.triggered:
            self._leave(s, self._slipped(opened, -side, book.tick), name, at_open)
        elif stopped:
            book.triggered = True
            px = opened if side * opened < side * stop else stop
            self._leave(s, self._slipped(px, -side, book.tick), name, at_open)
        elif reached:
            px = opened if side * opened > side * target else target
            self._leave(s, px, "take_profit", at_open)

    def _leave(self, s: str, px: Decimal, reason: str, at_open: bool) -> None:
        """5.4: after an exit the target is 0 and re-entry waits for another weight."""
        book = self.books[s]
        qty = min(abs(book.qty), book.volume_left)
        if not qty:
            self.kinds["triggered without room"] += 1
            return
        if qty < abs(book.qty):
            self.kinds["partial exit"] += 1
            book.remainder = True
        self.kinds[reason] += 1
        row = self.present[s]
        stamp = self.bars[s].ts_open[row] if at_open else self.bars[s].ts_close[row]
        self._fill(s, -sign_of(book.qty) * qty, px, reason, int(stamp))
        book.target, book.goal, book.blocked = 0.0, ZERO, True

    def _decide_and_send(self) -> None:
        equity = float(int(self._equity() / self.quantum))
        weights = self._decide(equity) if self.by_decide else self._allocate(equity)
        wanted = {s: self._target(s, weight, equity) for s, weight in weights.items()}
        self._plan({s: size for s, size in wanted.items() if size is not None})

    def _decide(self, equity: float) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for s, row in self.present.items():
            now = self._now(s, row)
            found[s] = None
            if now is None:
                continue
            arguments: list[Any] = [SimpleNamespace(**now), self._view(s, equity)]
            if self.strategy.state:
                record = SimpleNamespace(**self.books[s].state)
                found[s] = self.strategy.decide(*arguments, record)
                if vars(record) != self.books[s].state:
                    self.kinds["state"] += 1
                self.books[s].state = dict(vars(record))
            else:
                found[s] = self.strategy.decide(*arguments)
        return found

    def _now(self, s: str, row: int) -> dict[str, float] | None:
        """The features and the bar, or None while one is not finite (5.2)."""
        values = {name: float(column[row]) for name, column in self.features[s].items()}
        if not all(math.isfinite(v) for v in values.values()):
            return None
        names = ("open", "high", "low", "close", "volume", "session_index", "minutes_from_open",
                 "minutes_to_close")  # fmt: skip
        return values | {name: float(getattr(self.bars[s], name)[row]) for name in names}

    def _view(self, s: str, equity: float) -> Any:
        book = self.books[s]
        names = ("weight", "qty", "avg_px", "bars_held", "peak_px", "unrealized_frac")
        units = (float(1 / book.lot), float(1 / self.quantum))
        values = position_view(
            int(book.qty / book.lot), int(book.cost / self.quantum),
            int(book.qty * book.mark / self.quantum), self.share * equity, units, book.bars_held,
            float(book.peak),
        )  # fmt: skip
        return SimpleNamespace(**dict(zip(names, values, strict=True)))

    def _allocate(self, equity: float) -> dict[str, float | None]:
        nows = {s: self._now(s, row) for s, row in self.present.items()}
        ready = {s: now for s, now in nows.items() if now is not None}
        if not ready:
            return dict.fromkeys(self.books)
        fields = list(next(iter(ready.values())))
        empty = dict.fromkeys(fields, math.nan)
        columns = {
            name: np.array([ready.get(s, empty)[name] for s in self.books]) for name in fields
        }
        tradable = np.array([s in ready for s in self.books])
        views = [vars(self._view(s, equity)) for s in self.books]
        positions = {name: np.array([view[name] for view in views]) for name in views[0]}
        answer = self.strategy.allocate(
            SimpleNamespace(tradable=tradable, **columns), SimpleNamespace(**positions)
        )
        return {s: float(weight) for s, weight in zip(self.books, answer, strict=True)}

    def _target(self, s: str, weight: float | None, equity: float) -> Decimal | None:
        """5.3: the signed quantity to go for, or None when nothing is to be sent."""
        book = self.books[s]
        if weight is None or weight == mqd.HOLD:
            return self._held(book, skipped=weight is None)
        weight = float(round(Decimal(weight), 6))
        again = book.blocked and weight == book.returned
        book.returned, book.blocked = weight, again
        if again:
            self.kinds["re-entry blocked"] += 1
            return self._held(book, skipped=False)
        changed = weight != (book.target or 0.0)
        drifted = self.band is not None and self._drift(s, weight, equity) > self.band
        book.target = weight
        if not (changed or book.remainder or drifted):
            return None
        self.kinds["remainder"] += book.remainder and not changed
        self.kinds["band"] += drifted and not changed and not book.remainder
        book.goal = self._sized(s, weight, equity)
        if changed or book.remainder or book.goal != book.qty:
            self._drop(book)
        return book.goal

    def _held(self, book: Book, *, skipped: bool) -> Decimal | None:
        """HOLD works a remainder on to the size it had; so does a bar that is skipped."""
        self.kinds["skip" if skipped else "HOLD"] += 1
        if not book.remainder:
            return None
        self.kinds["HOLD on a remainder"] += 1
        self._drop(book)
        return book.goal

    def _drop(self, book: Book) -> None:
        book.remainder = False
        book.working = book.parked = None

    def _slot(self, s: str, equity: float) -> SlotView:
        scale = self.scales[s]
        px = float(int(self.books[s].mark * scale.lot / self.quantum))
        return SlotView(equity, self.share, px, self.sizer.size(scale))

    def _sized(self, s: str, weight: float, equity: float) -> Decimal:
        size = self.sizer.lots(weight, self._slot(s, equity)) * self.books[s].lot
        return size if size > 0 else size.to_integral_value(ROUND_DOWN)

    def _drift(self, s: str, weight: float, equity: float) -> float:
        allocation, whole, px = self.sizer.base(weight, self._slot(s, equity))
        lots = float(int(self.books[s].qty / self.books[s].lot))
        return abs(lots * px / (allocation * whole) - weight)

    def _plan(self, wanted: dict[str, Decimal]) -> None:
        """Step 6: reductions first; increases of a decision with reductions wait for them."""
        reductions, increases = [], []
        for s, size in wanted.items():
            book = self.books[s]
            now = book.qty
            if now and sign_of(size) != sign_of(now):
                reductions.append((s, -now))
                if size:
                    self.kinds["flip"] += 1
                    increases.append((s, size))
            elif abs(size) < abs(now):
                reductions.append((s, size - now))
            elif size != now:
                increases.append((s, size - now))
            if size != now:
                book.guarded = book.triggered = False
        for s, signed in reductions:
            self.books[s].working = self._order(s, signed, reducing=True)
        for s, signed in increases:
            order = self._order(s, signed, reducing=False)
            if reductions:
                self.books[s].parked = order
            else:
                self._send(s, order)

    def _order(self, s: str, signed: Decimal, *, reducing: bool) -> TwinOrder:
        return TwinOrder(s, signed, reducing, self._equity(), self._session_after())

    def _send(self, s: str, order: TwinOrder) -> bool:
        """5.3: buying power at the decision's close refuses an increase, fees left out."""
        gross = sum(abs(b.qty) * b.mark for b in self.books.values())
        working = sum(
            abs(b.working.signed) * b.mark
            for b in self.books.values()
            if b.working is not None and not b.working.reducing
        )
        if (
            gross + working + abs(order.signed) * self.books[s].mark
            > order.equity * self.multiplier
        ):
            self.kinds["denial"] += 1
            return False
        self.books[s].working = order
        return True
