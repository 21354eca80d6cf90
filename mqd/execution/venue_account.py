"""The account as the simulated venue keeps it: positions, buying power, settlement, charges."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from mqd.accounting import Ledger, mul_div
from mqd.core.bar import ActionKind, CorporateAction
from mqd.core.money import Scale, rate_units
from mqd.core.position import Account, Position
from mqd.execution.costs import (
    Costs,
    RegulatoryDay,
    affordable_lots,
    borrow_charge,
    fill_fee,
    per_lot_parts,
    worsened,
)
from mqd.execution.tape import Tape

_AMOUNT_PARTS = 10**6
SETTLEMENT_DAYS = ((-(10**6), 3), (17414, 2), (19871, 1))
"""Sessions until a US equity sale settles, by trade date (days since 1970): T+3, T+2 from
2017-09-05, T+1 from 2024-05-28. Source: SEC releases 34-80295 and 34-96930."""


class CashActivity(NamedTuple):
    """A change of cash that is no fill: dividends, fees, borrow. ``amount`` in quanta, signed.

    ``activity`` is the venue's id of it, "" where it has none.
    """

    account: str
    symbol: str
    amount: int
    activity: str = ""


class SplitActivity(NamedTuple):
    """A position changed by a split; ``cash`` (quanta) is paid in lieu of a fraction."""

    symbol: str
    lots_before: int
    lots_after: int
    cost_after: int
    cash: int


def split_position(
    lots: int, cost: int, numerator: int, denominator: int, lot_quanta: int
) -> tuple[int, int, int]:
    """Return ``(lots, cost kept, cash in lieu)`` of a position after a split.

    Whole lots are kept, the fraction is paid out at ``lot_quanta`` a lot (the ex-date's open),
    toward zero; cost is shared in proportion.
    """
    sign = 1 if lots > 0 else -1
    parts = lots * sign * numerator
    whole = parts // denominator
    rest = parts % denominator
    cost_kept = sign * mul_div(cost * sign, whole * denominator, parts)
    return sign * whole, cost_kept, sign * (rest * lot_quanta // denominator)


class VenueAccount:
    """Positions and money on the far side of the wire.

    ``mark`` gives a symbol's price in ticks as known now. ``multiplier`` scales equity to buying
    power in a margin account; a cash account spends settled cash only and holds no shorts.
    """

    def __init__(
        self,
        tapes: dict[str, Tape],
        costs: Costs,
        cash: int,
        quantum: Decimal,
        mark: Callable[[str], int],
        *,
        kind: str = "margin",
        multiplier: int = 1,
        session_days: tuple[int, ...] = (),
    ) -> None:
        self.ledger = Ledger()
        self.ledger.book_cash("deposits", cash)
        self.kind, self.multiplier = kind, multiplier
        self._tapes, self._mark, self._quantum = tapes, mark, quantum
        self._fee_rate = rate_units(costs.fee_bps)
        self._slippage_rate = rate_units(costs.slippage_bps)
        self._borrow_rate = rate_units(costs.borrow_bps_per_year)
        self._fee_per_lot = {
            s: per_lot_parts(costs.fee_per_share, t.scale) for s, t in tapes.items()
        }
        self._regulatory = RegulatoryDay(quantum) if costs.regulatory else None
        self._session_days = session_days
        self._settled = cash
        self._unsettled: deque[tuple[int, int]] = deque()

    def lots(self, symbol: str) -> int:
        """Return the signed position in lots."""
        return self.ledger.lots.get(symbol, 0)

    def worse_px(self, ticks: int, side: int) -> int:
        """Return a price after slippage."""
        return worsened(ticks, side, self._slippage_rate)

    def affordable(self, symbol: str, side: int, ticks: int) -> int:
        """Return the most lots of an increase that buying power still pays at ``ticks``.

        A cash account sells what it holds and no more.
        """
        if self.kind == "cash" and side < 0:
            return max(self.lots(symbol), 0)
        lot_quanta = ticks * self._tapes[symbol].scale.tick_lot_quanta
        return affordable_lots(self._room(), lot_quanta, self._fee_rate, self._fee_per_lot[symbol])

    def _room(self) -> int:
        if self.kind == "cash":
            return self._settled
        equity, gross, _ = self._values()
        return equity * self.multiplier - gross

    def _values(self) -> tuple[int, int, int]:
        gross = net = 0
        for symbol, lots in self.ledger.lots.items():
            value = lots * self._mark(symbol) * self._tapes[symbol].scale.tick_lot_quanta
            net += value
            gross += value if value > 0 else -value
        return self.ledger.cash + net, gross, net

    def fill(self, symbol: str, side: int, lots: int, ticks: int, day: int) -> int:
        """Book one execution and return its fee in quanta."""
        scale = self._tapes[symbol].scale
        lot_quanta = ticks * scale.tick_lot_quanta
        notional = lots * lot_quanta
        fee = fill_fee(notional, lots, self._fee_rate, self._fee_per_lot[symbol])
        entry = self.ledger.fill_entry(symbol, side * lots, lot_quanta, fee)
        self.ledger.book(entry)
        if self._regulatory is not None:
            self._regulatory.add(day, side, lots, notional, scale)
        if self.kind == "cash":
            self._settle(entry.cash, day)
        return fee

    def _settle(self, cash_change: int, day: int) -> None:
        if cash_change <= 0:
            self._settled += cash_change
            return
        delay = [n for since, n in SETTLEMENT_DAYS if since <= day][-1]
        days = self._session_days
        place = bisect_right(days, day) - 1 + delay
        due = days[place] if place < len(days) else day + delay
        self._unsettled.append((due, cash_change))

    def open_session(self, day: int) -> None:
        """Settle what is due at the start of session ``day``."""
        while self._unsettled and self._unsettled[0][0] <= day:
            self._settled += self._unsettled.popleft()[1]

    def close_session(self, days_to_next: int) -> list[CashActivity]:
        """Charge the session's regulatory fees, and borrow until the next session."""
        out = []
        if self._regulatory is not None and self._regulatory.pending:
            out.append(CashActivity("fees", "", -self._regulatory.charge()))
        if self._borrow_rate:
            for symbol, lots in sorted(self.ledger.lots.items()):
                if lots < 0:
                    value = -lots * self._mark(symbol) * self._tapes[symbol].scale.tick_lot_quanta
                    amount = borrow_charge(value, self._borrow_rate, days_to_next)
                    out.append(CashActivity("borrow", symbol, -amount))
        return self._booked(out)

    @property
    def owes_at_close(self) -> bool:
        """True when the session's close will charge something."""
        if self._regulatory is not None and self._regulatory.pending:
            return True
        return bool(self._borrow_rate) and any(n < 0 for n in self.ledger.lots.values())

    def act(self, action: CorporateAction) -> CashActivity | SplitActivity | None:
        """Apply a corporate action to the position held, if there is one."""
        lots = self.lots(action.symbol)
        if not lots:
            return None
        scale = self._tapes[action.symbol].scale
        if action.kind is ActionKind.DIVIDEND:
            per_lot = int(action.amount * scale.lot / scale.quantum * _AMOUNT_PARTS)
            amount = abs(lots) * per_lot // _AMOUNT_PARTS
            paid = CashActivity("dividends", action.symbol, amount if lots > 0 else -amount)
            return self._booked([paid])[0]
        lot_quanta = self._mark(action.symbol) * scale.tick_lot_quanta
        cost = self.ledger.cost[action.symbol]
        after, kept, cash = split_position(
            lots, cost, action.numerator, action.denominator, lot_quanta
        )
        self.ledger.book_split(action.symbol, after, kept, cash)
        self._settled += cash
        return SplitActivity(action.symbol, lots, after, kept, cash)

    def _booked(self, activities: list[CashActivity]) -> list[CashActivity]:
        for activity in activities:
            self.ledger.book_cash(activity.account, activity.amount)
            self._settled += activity.amount
        return activities

    def position(self, symbol: str) -> Position:
        """Return one position, flat when there is none."""
        scale: Scale = self._tapes[symbol].scale
        return Position(symbol, self.lots(symbol), self.ledger.cost.get(symbol, 0), scale)

    def account(self) -> Account:
        """Return the account at the prices known now."""
        equity, gross, net = self._values()
        return Account(self.ledger.cash, equity, gross, net, self.settled(), self._quantum)

    def settled(self) -> int:
        """Return the cash that may be spent: all of it in a margin account."""
        return self._settled if self.kind == "cash" else self.ledger.cash
