"""The ``Result`` of a compiled single backtest, from the integers that the kernel left.

Equal to the desk's in every column but run and order ids: orders are "c1", "c2", ... and
executions "x1", "x2", ..., by row. Nothing is computed before it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mqd.core.bar import Ints
from mqd.core.clock import iso
from mqd.core.money import Scale
from mqd.desk.frames import (
    Fills,
    Orders,
    Units,
    coded,
    curves,
    fill_frame,
    known_closes,
    order_frame,
    words,
)
from mqd.desk.source import Terms, refused, split_applied
from mqd.kernel.records import (
    FILL_FIELDS,
    ORDER_FIELDS,
    REASONS,
    SPLIT_FIELDS,
    STATUSES,
    TIMES_IN_FORCE,
    TYPES,
    Counts,
    Records,
)
from mqd.kernel.settings import Settings
from mqd.market_data.bars import Bars
from mqd.market_data.feed import ReplayFeed
from mqd.report.trades import SplitApplied
from mqd.result import Named, Result
from mqd.risk.declare import spec_of
from mqd.risk.rules import RULES

BUYING_POWER, LATCH, MALFORMED = "buying power", "latch", "malformed"


def compiled_result(
    named: Named, bars: Bars, settings: Settings, records: Records, scales: Mapping[str, Scale]
) -> Result:
    """Return the ``Result`` of one strategy's compiled run over ``bars``.

    ``settings`` are those of the run (``costs`` as charged), ``scales`` those of
    ``mqd.kernel.settings.scales_of``.
    """
    ((name, _, _),) = named
    scales = {symbol: scales[symbol] for symbol in bars.symbols}
    terms = Terms.of(settings, scales[bars.symbols[0]].quantum)
    own = () if settings.limits.is_research else RULES
    controls = (BUYING_POWER, *(spec_of(rule).name for rule in (*own, *settings.rules)), LATCH)
    source = CompiledSource(name, bars, scales, records, controls, terms)
    return Result(named, bars, "compiled", None, None, terms, source)


def _field(table: Ints, fields: Sequence[str], name: str) -> Ints:
    column: Ints = table[:, fields.index(name)]
    return column


def _numbered(letter: str, n: int) -> list[str]:
    return [f"{letter}{number}" for number in range(1, n + 1)]


@dataclass(frozen=True, eq=False, repr=False)
class CompiledSource:
    """What a compiled run left (see ``mqd.desk.source.Source``).

    ``controls`` names what can refuse an order, by the bits of ``Records.denied``: buying power,
    each rule, a latch. An order that no bit refused was not well formed.
    """

    name: str
    bars: Bars
    scales: Mapping[str, Scale]
    records: Records
    controls: tuple[str, ...]
    terms: Terms

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def counts(self) -> Counts:
        """How often an assumption mattered, and what was charged."""
        return self.records.counts

    @cached_property
    def _units(self) -> Units:
        return Units(self.scales)

    def _order(self, name: str) -> Ints:
        return _field(self.records.orders, ORDER_FIELDS, name)

    def _fill(self, name: str) -> Ints:
        return _field(self.records.fills, FILL_FIELDS, name)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """Every order, in the order of decision."""
        n, filled = len(self.records.orders), self._order("filled_lots")
        orders = Orders(
            id=words(_numbered("c", n)),
            strategy=coded((self.name,), np.zeros(n, dtype=np.int64)),
            place=self._order("place"),
            side=self._order("side"),
            lots=self._order("lots"),
            type=coded(TYPES, self._order("type")),
            limit_ticks=self._order("limit_ticks"),
            stop_ticks=self._order("stop_ticks"),
            time_in_force=coded(TIMES_IN_FORCE, self._order("time_in_force")),
            reason=coded(REASONS, self._order("reason")),
            decided_ns=self._order("decided_ns"),
            status=coded(STATUSES, self._order("status")),
            filled_lots=filled,
            booked_lots=filled,
            notional_ticks=self._order("notional_ticks"),
        )
        return order_frame(orders, self._units)

    @cached_property
    def fills(self) -> pd.DataFrame:
        """Every execution, in the order of the log."""
        n, order = len(self.records.fills), self._fill("order")
        fills = Fills(
            execution_id=words(_numbered("x", n)),
            order_id=words(_numbered("c", len(self.records.orders))).take(order),
            strategy=coded((self.name,), np.zeros(n, dtype=np.int64)),
            place=self._order("place")[order],
            side=self._order("side")[order],
            lots=self._fill("lots"),
            ticks=self._fill("ticks"),
            fee_quanta=self._fill("fee_quanta"),
            ts_fill=self._fill("ts_fill"),
            ts_known=self._fill("ts_known"),
            reason=coded(REASONS, self._order("reason")[order]),
        )
        return fill_frame(fills, self._units)

    @property
    def owned_fills(self) -> pd.DataFrame:
        """The fills: one strategy owns them all."""
        return self.fills

    @cached_property
    def _curves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        steps = ReplayFeed(self.bars).steps()
        last_rows = np.maximum.accumulate(steps.rows, axis=0)
        closes = [
            known_closes(self.bars[symbol].ticks("close"), last_rows[:, place])
            for place, symbol in enumerate(self.bars.symbols)
        ]
        return curves(steps.ts_close, self.records.cash, self.records.lots, closes, self._units)

    @property
    def equity(self) -> pd.DataFrame:
        """``equity, cash, gross, net`` at every bar's close."""
        return self._curves[0]

    @property
    def positions(self) -> pd.DataFrame:
        """Signed quantities at every bar's close."""
        return self._curves[1]

    @property
    def splits(self) -> list[SplitApplied]:
        """What splits did to positions, in their order."""
        unit, out = self.terms.unit, []
        for row in self.records.splits.tolist():
            split = dict(zip(SPLIT_FIELDS, row, strict=True))
            action = self.bars[self.bars.symbols[split["place"]]].actions[split["action"]]
            cash_usd = split["cash_quanta"] * unit
            out.append(split_applied(action, split["lots_before"], split["lots_after"], cash_usd))
        return out

    @property
    def totals(self) -> dict[str, tuple[float, float]]:
        """The strategy's profit and fees in USD."""
        equity = int(self.records.cash[-1])
        for place, (symbol, scale) in enumerate(self.scales.items()):
            held = int(self.records.lots[-1, place])
            equity += held * int(self.bars[symbol].ticks("close")[-1]) * scale.tick_lot_quanta
        pnl = equity * self.terms.unit - self.terms.starting_equity
        return {self.name: (pnl, self.counts.fees_quanta * self.terms.unit)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was refused first."""
        if not len(self.records.denied):
            return ()
        row, mask = self.records.denied[0].tolist()
        order = dict(zip(ORDER_FIELDS, self.records.orders[row].tolist(), strict=True))
        symbol = self.bars.symbols[order["place"]]
        side = "buy" if order["side"] > 0 else "sell"
        qty = self.scales[symbol].qty(order["lots"])
        by = "; ".join(name for bit, name in enumerate(self.controls) if mask >> bit & 1)
        first = f"{side} {qty} {symbol} at {iso(order['decided_ns'])} ({by or MALFORMED})"
        return tuple(refused(self.counts.denied, first))
