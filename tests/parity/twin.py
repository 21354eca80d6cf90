"""The desk's step written a second time: slow, obvious, in Decimal, from the design alone.

One loop over the closes, dicts by symbol, exact Decimal money. It imports from mqd nothing but the
values that define a run, and the named float functions (``target_lots`` through the sizer,
``protective_ticks``, ``position_view``). Rules are cited by their number in design section 5.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal, localcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import mqd
from mqd.core.bar import ActionKind
from mqd.core.money import Scale
from mqd.execution.protective import protective_ticks
from mqd.portfolio.sizing import FractionOfEquity, SlotView
from mqd.strategy.position import position_view

ZERO, ONE = Decimal(0), Decimal(1)
CENT = Decimal("0.01")
DAY_NS = 86_400 * 10**9

SEC_PER_USD = ((20181, "0.0000278"), (20222, "0"), (20547, "0.0000206"))
TAF_PER_SHARE = ((20089, "0.000166", "8.30"), (20454, "0.000195", "9.79"))
CAT_PER_SHARE = Decimal("0.000003")
"""Section 31, TAF and CAT as of a day since 1970: the rows of 2025 and 2026 (alpaca.md, 6)."""


class TwinFill(NamedTuple):
    """One fill as the frames show it; ``ts_known`` is the bar's close."""

    symbol: str
    side: str
    qty: Decimal
    px: Decimal
    fee: Decimal
    ts_fill: int
    ts_known: int
    reason: str


@dataclass
class TwinOrder:
    """A target order at work; ``equity`` is that of the decision's close."""

    symbol: str
    signed: Decimal
    reducing: bool
    equity: Decimal
    expires: int


@dataclass
class Book:
    """All that the twin remembers of one symbol."""

    tick: Decimal
    lot: Decimal
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    mark: Decimal = ZERO
    target: float | None = None
    returned: float | None = None
    blocked: bool = False
    goal: Decimal = ZERO
    remainder: bool = False
    working: TwinOrder | None = None
    parked: TwinOrder | None = None
    guarded: bool = False
    triggered: bool = False
    bars_held: int = 0
    peak: Decimal = ZERO
    volume_left: Decimal = ZERO
    state: dict[str, float] = field(default_factory=dict)


def _sign(value: Decimal) -> int:
    return (value > 0) - (value < 0)


def _to(value: Decimal, unit: Decimal, rounding: str) -> Decimal:
    return (value / unit).to_integral_value(rounding) * unit


class Twin:
    """One strategy over bars; ``run()`` fills ``fills``, ``curve``, ``books`` and ``kinds``."""

    def __init__(
        self, strategy: mqd.Strategy, bars: mqd.Bars, *, cash: Any = 100_000, sizer: Any = None,
        costs: mqd.Costs | None = None, fills: mqd.FillModel | None = None, multiplier: int = 1,
        rebalance_band_frac: float | None = None,
    ) -> None:  # fmt: skip
        self.strategy, self.bars = strategy, bars
        self.cash = Decimal(str(cash))
        self.sizer = sizer or FractionOfEquity()
        self.costs = costs or mqd.Costs.alpaca()
        self.model = fills or mqd.FillModel()
        self.multiplier, self.band = multiplier, rebalance_band_frac
        self.by_decide = strategy.kind == "decide"
        self.share = 1.0 / len(bars.symbols) if self.by_decide else 1.0
        self.quantum = Decimal("1e-8")
        for one in bars.values():
            while (one.tick * one.lot) % self.quantum:
                self.quantum /= 10
        self.books = {
            s: Book(one.tick, one.lot, state=dict(strategy.state)) for s, one in bars.items()
        }
        self.scales = {s: Scale.of(one.tick, one.lot, self.quantum) for s, one in bars.items()}
        self.features = {s: strategy.features(one) for s, one in bars.items()}
        self.rows = {
            s: {int(ts): row for row, ts in enumerate(one.ts_close)} for s, one in bars.items()
        }
        self.actions = {s: list(one.actions) for s, one in bars.items()}
        self.session_ends = self._session_ends()
        self.fills: list[TwinFill] = []
        self.curve: list[tuple[int, Decimal, Decimal]] = []
        self.regulatory: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.present: dict[str, int] = {}
        self.ts = 0

    def _session_ends(self) -> set[int]:
        """The last close of each session that the data have; the run may stop inside one."""
        days: dict[int, int] = {}
        for one in self.bars.values():
            for ts, day in zip(one.ts_close.tolist(), one.session.tolist(), strict=True):
                days[day] = max(days.get(day, 0), ts)
        calendar = self.bars.trading_calendar
        row = int(np.searchsorted(calendar.sessions, max(days)))
        if days[max(days)] != int(calendar.closes[row]):
            days.pop(max(days))
        return set(days.values())

    # ------------------------------------------------------------------ one run

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

    def _count_absent(self) -> None:
        if len(self.present) < len(self.books):
            self.kinds["absent bar"] += 1

    def _volumes(self) -> None:
        """5.4: participation caps a symbol's fills by the bar's volume, in whole lots."""
        frac = Decimal(str(self.model.participation_frac))
        for s, book in self.books.items():
            volume = self._px(s, "volume") if s in self.present else ZERO
            book.volume_left = _to(volume * frac, book.lot, ROUND_FLOOR)
            if s in self.present and not volume:
                self.kinds["zero volume"] += 1

    def _px(self, s: str, column: str) -> Decimal:
        return Decimal(repr(float(getattr(self.bars[s], column)[self.present[s]])))

    def _opened(self) -> int:
        return min(int(self.bars[s].ts_open[row]) for s, row in self.present.items())

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

    # ------------------------------------------------------------------ 1 corporate actions

    def _corporate_actions(self) -> None:
        """5.1: splits restate positions and orders; dividends are paid at the ex-date."""
        for s, row in self.present.items():
            queue = self.actions[s]
            while queue and queue[0].ts_ex <= self.bars[s].ts_open[row]:
                action = queue.pop(0)
                if action.kind is ActionKind.DIVIDEND:
                    self._dividend(s, action.amount)
                else:
                    self._split(s, action.numerator, action.denominator)

    def _dividend(self, s: str, amount: Decimal) -> None:
        book = self.books[s]
        if book.qty:
            self.kinds["dividend" if book.qty > 0 else "dividend short"] += 1
        self.cash += _to(book.qty * amount, self.quantum, ROUND_DOWN)

    def _split(self, s: str, up: int, down: int) -> None:
        book = self.books[s]
        ratio = Decimal(up) / Decimal(down)
        book.peak = book.peak / ratio
        book.mark = _to(book.mark / ratio, book.tick, ROUND_FLOOR)
        book.goal = _to(book.goal * up / down, book.lot, ROUND_DOWN)
        book.guarded = book.triggered = False
        if book.qty:
            self.kinds["split"] += 1
            exact = book.qty * up / down
            whole = _to(exact, book.lot, ROUND_DOWN)
            opened = self._px(s, "open")
            self.cash += _to((exact - whole) * opened, self.quantum, ROUND_DOWN)
            book.cost = _to(book.cost * whole / exact, self.quantum, ROUND_DOWN)
            book.qty = whole
        for order in (book.working, book.parked):
            if order is not None:
                self.kinds["split of an order"] += 1
                order.signed = _to(order.signed * up / down, book.lot, ROUND_DOWN)

    # ------------------------------------------------------------------ 2 opening

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
        side = _sign(order.signed)
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

    def _slipped(self, px: Decimal, side: int, tick: Decimal) -> Decimal:
        """5.5: slippage to the tick, against us."""
        exact = px * (1 + side * Decimal(str(self.costs.slippage_bps)) / 10_000)
        return max(_to(exact, tick, ROUND_CEILING if side > 0 else ROUND_FLOOR), tick)

    def _fee(self, qty: Decimal, px: Decimal) -> Decimal:
        """5.5: fees up to the quantum a fill."""
        fee = qty * px * Decimal(str(self.costs.fee_bps)) / 10_000
        fee += qty * Decimal(str(self.costs.fee_per_share))
        return _to(fee, self.quantum, ROUND_CEILING)

    def _affordable(self, s: str, px: Decimal, qty: Decimal) -> Decimal:
        """5.3: the lots that equity x multiplier - gross, at fill prices, still pays."""
        book = self.books[s]
        prices = {o: self._open_or_mark(o) for o in self.books}
        equity = self.cash + sum(b.qty * prices[o] for o, b in self.books.items())
        gross = sum(abs(b.qty) * prices[o] for o, b in self.books.items())
        room = equity * self.multiplier - gross
        if room <= 0:
            return ZERO
        lots = min(qty, _to(room / px, book.lot, ROUND_FLOOR))
        while lots > 0 and lots * px + self._fee(lots, px) > room:
            lots -= book.lot
        return lots

    def _open_or_mark(self, s: str) -> Decimal:
        return self._px(s, "open") if s in self.present else self.books[s].mark

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

    # ------------------------------------------------------------------ 2c and 3 protection

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
        side = _sign(book.qty)
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

    def _fractional(self, book: Book) -> bool:
        """5.4: a fraction of a share takes no pair: its stop alone, each session anew."""
        return self.bars.calendar != "24/7" and book.qty % 1 != 0

    def _exit(self, s: str, *, at_open: bool) -> None:
        book = self.books[s]
        side = _sign(book.qty)
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
        self._fill(s, -_sign(book.qty) * qty, px, reason, int(stamp))
        book.target, book.goal, book.blocked = 0.0, ZERO, True

    # ------------------------------------------------------------------ the ledger

    def _fill(self, s: str, signed: Decimal, px: Decimal, reason: str, ts_fill: int) -> None:
        book = self.books[s]
        qty = abs(signed)
        fee = self._fee(qty, px)
        if book.qty and _sign(book.qty) != _sign(signed):
            book.cost -= _to(book.cost * qty / abs(book.qty), self.quantum, ROUND_DOWN)
        else:
            if not book.qty:
                book.bars_held, book.peak = 0, px
            book.cost += signed * px
        book.qty += signed
        book.triggered = False
        self.cash -= signed * px + fee
        book.volume_left -= qty
        self._regulate(signed, px)
        side = "buy" if signed > 0 else "sell"
        self.fills.append(TwinFill(s, side, qty, px, fee, ts_fill, self.ts, reason))

    def _regulate(self, signed: Decimal, px: Decimal) -> None:
        if not self.costs.regulatory or self.bars.calendar == "24/7":
            return
        day = self._session()
        qty = abs(signed)
        self.regulatory["cat"] += qty * CAT_PER_SHARE
        if signed < 0:
            sec = [Decimal(rate) for since, rate in SEC_PER_USD if since <= day][-1]
            taf = [(Decimal(r), Decimal(m)) for since, r, m in TAF_PER_SHARE if since <= day][-1]
            self.regulatory["sec"] += qty * px * sec
            self.regulatory["taf"] += min(qty * taf[0], taf[1])

    def _session(self) -> int:
        s, row = next(iter(self.present.items()))
        return int(self.bars[s].session[row])

    # ------------------------------------------------------------------ 4 mark, end of session

    def _mark(self) -> None:
        for s, book in self.books.items():
            if s not in self.present:
                continue
            book.mark = self._px(s, "close")
            if book.qty:
                book.bars_held += 1
                better = max if book.qty > 0 else min
                book.peak = better(book.peak, self._px(s, "high" if book.qty > 0 else "low"))

    def _end_of_session(self) -> None:
        """5.5: borrow and the regulatory table at the session's close; 5.4: DAY orders end."""
        calendar = self.bars.trading_calendar
        row = int(np.searchsorted(calendar.sessions, self._session()))
        if self.ts not in self.session_ends:
            return
        for book in self.books.values():
            if self._fractional(book):
                book.guarded = book.triggered = False
        days = int(calendar.sessions[row + 1] - calendar.sessions[row])
        rate = Decimal(str(self.costs.borrow_bps_per_year)) * days
        for book in self.books.values():
            if book.qty < 0:
                self.kinds["borrow"] += 1
                charge = -book.qty * book.mark * rate / 3_600_000
                self.cash -= _to(charge, self.quantum, ROUND_CEILING)
        for kind in list(self.regulatory):
            self.cash -= _to(self.regulatory.pop(kind), CENT, ROUND_CEILING)

    def _equity(self) -> Decimal:
        return self.cash + sum((b.qty * b.mark for b in self.books.values()), ZERO)

    # ------------------------------------------------------------------ 5 decide

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

    # ------------------------------------------------------------------ 6 orders

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
            if now and _sign(size) != _sign(now):
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

    def _session_after(self) -> int:
        """The close of the session that a DAY order of this close belongs to (5.4)."""
        if self.bars.calendar == "24/7":
            return self.ts + 90 * DAY_NS
        closes = self.bars.trading_calendar.closes
        return int(closes[int(np.searchsorted(closes, self.ts, side="right"))])

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
