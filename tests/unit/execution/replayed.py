"""Drives a simulated venue through bars and commands that a table writes down.

Times are labels: ``3.1`` is bar 1 of the session on day 3, ``3.1o`` its open, ``3.1c`` its close.
Bar j of a session opens at 10:00 + j hours and closes an hour later.
"""

from decimal import Decimal

import numpy as np

from mqd.core.instrument import AssetClass
from mqd.core.money import Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.execution.simulated_broker import SimulatedBroker
from mqd.execution.tape import Tape, capacity_lots
from mqd.execution.venue_account import VenueAccount

QUANTUM = Decimal("1e-8")
SCALE = Scale.of(Decimal("0.01"), Decimal(1), QUANTUM)
CENT = 10**6  # quanta
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS


class Step:
    """One step: its label, when it opens and closes, whether its session ends with it."""

    def __init__(self, day, place, ends):
        self.day, self.label, self.ends = day, f"{day}.{place}", ends
        self.ts_open = day * DAY_NS + (10 + place) * HOUR_NS
        self.ts_close = self.ts_open + HOUR_NS


def parse_bars(text):
    """Return ``(steps, columns of each symbol)`` of ``A: o/h/l/c[/v] ... | ... ; B: ...``.

    ``|`` separates sessions, ``@90`` sets the day, ``-`` is an absent bar.
    """
    tapes, steps = {}, []
    for part in text.split(";"):
        symbol, _, rest = part.rpartition(":")
        steps, rows, day = [], [], -1
        for session in rest.split("|"):
            bars = session.split()
            day += 1
            if bars[0].startswith("@"):
                day = int(bars.pop(0)[1:])
            for place, bar in enumerate(bars):
                steps.append(Step(day, place, place == len(bars) - 1))
                rows.append(None if bar == "-" else [int(x) for x in bar.split("/")])
        tapes[symbol.strip() or "A"] = rows
    return steps, tapes


def make_tape(symbol, place, steps, rows, frac, scale=SCALE):
    """Return a tape of the rows that exist."""
    there = [(step, row) for step, row in zip(steps, rows, strict=True) if row is not None]
    columns = np.array([(*row, 10**6)[:5] for _, row in there], dtype=np.int64).T
    volume = columns[4].astype(np.float64) * float(scale.lot)
    times = np.array([(s.ts_open, s.ts_close, s.day) for s, _ in there], dtype=np.int64).T

    def view(values):
        return np.ascontiguousarray(values).data

    return Tape(
        symbol, place, scale, *(view(c) for c in columns[:4]),
        view(capacity_lots(volume, frac, scale.lot)), *(view(t) for t in times),
    )  # fmt: skip


def row_numbers(rows):
    """Return each step's row in the tape, -1 where there is no bar."""
    there = np.array([row is not None for row in rows])
    return np.where(there, np.cumsum(there) - 1, -1)


def parse_order(words, symbol="A"):
    """Return the order of ``name side lots type [tif] [word=value ...]``; ticks and lots."""
    name, side, lots, kind, *rest = words.split()
    plain = [word for word in rest if "=" not in word]
    terms = dict(word.split("=") for word in rest if "=" in word)
    fraction = Decimal(terms.get("trailfrac", 0))
    return Order(
        name, "s", terms.get("symbol", symbol), Side[side.upper()], int(lots), OrderType(kind),
        TimeInForce(plain[0] if plain else "day"), 0, SCALE, Reason(terms.get("reason", "event")),
        limit_ticks=int(terms.get("limit", 0)), stop_ticks=int(terms.get("stop", 0)),
        trail_ticks=int(terms.get("trail", 0)), trail_units=int(fraction * 10**8),
        extreme_ticks=int(terms.get("extreme", 0)),
        order_class=OrderClass(terms.get("class", "simple")), group=terms.get("group", ""),
        parent=terms.get("parent", ""),
    )  # fmt: skip


class Replayed:
    """A venue over the bars of a table row, and what it reported."""

    def __init__(
        self, bars, *, frac=1.0, slippage_bps=0.0, kind="margin", cash="1000000", multiplier=1,
        asset_class=AssetClass.EQUITY, costs=None, **model,
    ):  # fmt: skip
        self.steps, rows = parse_bars(bars)
        self.tapes = {
            symbol: make_tape(symbol, place, self.steps, rows[symbol], frac)
            for place, symbol in enumerate(rows)
        }
        self._rows = {symbol: row_numbers(column) for symbol, column in rows.items()}
        halts = tuple((s, self.instant(a), self.instant(b)) for s, a, b in model.pop("halts", ()))
        self.broker = SimulatedBroker(
            self.tapes, FillModel(participation_frac=frac, halts=halts, **model),
            asset_class=asset_class,
            session_closes=[step.ts_close for step in self.steps if step.ends],
        )  # fmt: skip
        self.account = VenueAccount(
            self.tapes, costs or Costs(slippage_bps=slippage_bps), int(Decimal(cash) / QUANTUM),
            QUANTUM, self.broker.mark, kind=kind, multiplier=multiplier,
            session_days=tuple(sorted({step.day for step in self.steps})),
        )  # fmt: skip
        self.broker.connect(self.account)
        self.said = []

    def instant(self, label):
        """Return the ns of a label such as ``0.1o``."""
        step = next(step for step in self.steps if step.label == label[:-1])
        return step.ts_open if label[-1] == "o" else step.ts_close

    def hold(self, symbol, lots, ticks):
        """Start with a position."""
        entry = self.account.ledger.fill_entry(symbol, lots, ticks * SCALE.tick_lot_quanta, 0)
        self.account.ledger.book(entry)

    def run(self, commands):
        """Go through all steps; ``commands`` maps ``0.1`` (its close) or ``0.1o`` to texts."""
        broker = self.broker
        last = dict.fromkeys(self.tapes, -1)
        for number, step in enumerate(self.steps):
            rows = [int(column[number]) for column in self._rows.values()]
            last = {s: max(last[s], row) for s, row in zip(last, rows, strict=True)}
            self.account.open_session(step.day)
            broker.begin(number, step.ts_close, rows, list(last.values()))
            broker.match_open()
            if texts := commands.get(step.label + "o", ()):
                self._command(texts)
                broker.match_open()
            broker.match_within()
            broker.match_close(list(self.tapes) if step.ends else [])
            self._command(commands.get(step.label, ()))
            self.said += [(step, report) for report in broker.reports()]
        return self

    def _command(self, texts):
        for text in texts:
            word, _, rest = text.partition(" ")
            if word == "cancel":
                self.broker.cancel(rest)
            elif word == "replace":
                old, _, new = rest.partition(" ")
                self.broker.replace(old, parse_order(new))
            else:
                first, *legs = (parse_order(part) for part in text.split("+"))
                self.broker.submit(first, legs)

    def told(self):
        """Return what was reported, ACCEPTED left out, in the words of the tables."""
        out = []
        for step, report in self.said:
            assert report.ts_ns == step.ts_close
            kind, name = report.kind.value, report.client_order_id
            if report.last_lots:
                assert report.ts_fill in (step.ts_open, step.ts_close)
                when = step.label + ("o" if report.ts_fill == step.ts_open else "c")
                out.append(f"{kind} {name} {report.last_lots}@{report.last_ticks} {when}")
            elif kind != "accepted":
                out.append(f"{kind} {name} {step.label}")
        return out
