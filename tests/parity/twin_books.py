"""The books of the desk's twin: bars, cash, positions, costs and corporate actions in Decimal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

import numpy as np

import mqd
from mqd.core.bar import ActionKind
from mqd.core.money import Scale
from mqd.portfolio.sizing import FractionOfEquity

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


def sign_of(value: Decimal) -> int:
    return (value > 0) - (value < 0)


def rounded_to(value: Decimal, unit: Decimal, rounding: str) -> Decimal:
    return (value / unit).to_integral_value(rounding) * unit


class TwinBooks:
    """What a run knows and holds; the steps that change it are in ``Twin``."""

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

    def _count_absent(self) -> None:
        if len(self.present) < len(self.books):
            self.kinds["absent bar"] += 1

    def _volumes(self) -> None:
        """5.4: participation caps a symbol's fills by the bar's volume, in whole lots."""
        frac = Decimal(str(self.model.participation_frac))
        for s, book in self.books.items():
            volume = self._px(s, "volume") if s in self.present else ZERO
            book.volume_left = rounded_to(volume * frac, book.lot, ROUND_FLOOR)
            if s in self.present and not volume:
                self.kinds["zero volume"] += 1

    def _px(self, s: str, column: str) -> Decimal:
        return Decimal(repr(float(getattr(self.bars[s], column)[self.present[s]])))

    def _opened(self) -> int:
        return min(int(self.bars[s].ts_open[row]) for s, row in self.present.items())

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
        self.cash += rounded_to(book.qty * amount, self.quantum, ROUND_DOWN)

    def _split(self, s: str, up: int, down: int) -> None:
        book = self.books[s]
        ratio = Decimal(up) / Decimal(down)
        book.peak = book.peak / ratio
        book.mark = rounded_to(book.mark / ratio, book.tick, ROUND_FLOOR)
        book.goal = rounded_to(book.goal * up / down, book.lot, ROUND_DOWN)
        book.guarded = book.triggered = False
        if book.qty:
            self.kinds["split"] += 1
            exact = book.qty * up / down
            whole = rounded_to(exact, book.lot, ROUND_DOWN)
            opened = self._px(s, "open")
            self.cash += rounded_to((exact - whole) * opened, self.quantum, ROUND_DOWN)
            book.cost = rounded_to(book.cost * whole / exact, self.quantum, ROUND_DOWN)
            book.qty = whole
        for order in (book.working, book.parked):
            if order is not None:
                self.kinds["split of an order"] += 1
                order.signed = rounded_to(order.signed * up / down, book.lot, ROUND_DOWN)

    def _slipped(self, px: Decimal, side: int, tick: Decimal) -> Decimal:
        """5.5: slippage to the tick, against us."""
        exact = px * (1 + side * Decimal(str(self.costs.slippage_bps)) / 10_000)
        return max(rounded_to(exact, tick, ROUND_CEILING if side > 0 else ROUND_FLOOR), tick)

    def _fee(self, qty: Decimal, px: Decimal) -> Decimal:
        """5.5: fees up to the quantum a fill."""
        fee = qty * px * Decimal(str(self.costs.fee_bps)) / 10_000
        fee += qty * Decimal(str(self.costs.fee_per_share))
        return rounded_to(fee, self.quantum, ROUND_CEILING)

    def _affordable(self, s: str, px: Decimal, qty: Decimal) -> Decimal:
        """5.3: the lots that equity x multiplier - gross, at fill prices, still pays."""
        book = self.books[s]
        prices = {o: self._open_or_mark(o) for o in self.books}
        equity = self.cash + sum(b.qty * prices[o] for o, b in self.books.items())
        gross = sum(abs(b.qty) * prices[o] for o, b in self.books.items())
        room = equity * self.multiplier - gross
        if room <= 0:
            return ZERO
        lots = min(qty, rounded_to(room / px, book.lot, ROUND_FLOOR))
        while lots > 0 and lots * px + self._fee(lots, px) > room:
            lots -= book.lot
        return lots

    def _open_or_mark(self, s: str) -> Decimal:
        return self._px(s, "open") if s in self.present else self.books[s].mark

    def _fractional(self, book: Book) -> bool:
        """5.4: a fraction of a share takes no pair: its stop alone, each session anew."""
        return self.bars.calendar != "24/7" and book.qty % 1 != 0

    def _fill(self, s: str, signed: Decimal, px: Decimal, reason: str, ts_fill: int) -> None:
        book = self.books[s]
        qty = abs(signed)
        fee = self._fee(qty, px)
        if book.qty and sign_of(book.qty) != sign_of(signed):
            book.cost -= rounded_to(book.cost * qty / abs(book.qty), self.quantum, ROUND_DOWN)
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
                self.cash -= rounded_to(charge, self.quantum, ROUND_CEILING)
        for kind in list(self.regulatory):
            self.cash -= rounded_to(self.regulatory.pop(kind), CENT, ROUND_CEILING)

    def _equity(self) -> Decimal:
        return self.cash + sum((b.qty * b.mark for b in self.books.values()), ZERO)

    def _session_after(self) -> int:
        """The close of the session that a DAY order of this close belongs to (5.4)."""
        if self.bars.calendar == "24/7":
            return self.ts + 90 * DAY_NS
        closes = self.bars.trading_calendar.closes
        return int(closes[int(np.searchsorted(closes, self.ts, side="right"))])
