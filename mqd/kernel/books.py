"""Positions, cash and charges of one combination, on the same functions as the desk's books."""

from __future__ import annotations

from typing import Any

from mqd.accounting import apply_fill
from mqd.core.money import MOST_QUANTA
from mqd.execution.costs import borrow_charge
from mqd.execution.venue_account import split_position
from mqd.kernel.layout import OVERFLOW, REJECTED, World

_SEC_UNIT = 10**10
_PARTS = 10**6


def is_beyond(lots: int, lot_quanta: int) -> bool:
    """Return True when so many lots are worth more than 64 bits may hold."""
    return abs(float(lots)) * float(lot_quanta) > MOST_QUANTA


def leave(a: Any) -> None:
    """Leave the run to the desk, whose integers have no end."""
    if not a.status:
        a.status = REJECTED


def value_at_marks(w: World) -> tuple[int, int]:
    """Return equity and gross in quanta at the last known closes; end what 64 bits cannot hold."""
    a = w.account
    net, gross = 0, 0
    fits = abs(a.cash) <= MOST_QUANTA
    for b in w.books:
        if b.lots:
            value = b.lots * b.mark * b.lot_quanta
            fits = fits and not is_beyond(b.lots, b.mark * b.lot_quanta)
            net += value
            gross += abs(value)
            fits = fits and gross <= MOST_QUANTA
    equity = a.cash + net
    if not fits or abs(equity) > MOST_QUANTA:
        a.status = OVERFLOW
    return equity, gross


def equity_at_marks(w: World) -> int:
    """Return cash plus signed market value at the last known closes, in quanta."""
    total = w.account.cash
    for b in w.books:
        if b.lots:
            total += b.lots * b.mark * b.lot_quanta
    return total


def gross_at_marks(w: World) -> int:
    """Return the sum of |market value| at the last known closes, in quanta."""
    total = 0
    for b in w.books:
        if b.lots:
            total += abs(b.lots) * b.mark * b.lot_quanta
    return total


def room_at_open(w: World) -> int:
    """Return the buying power that is left at the venue's marks: opens during the opening."""
    equity = w.account.cash
    gross = 0
    for b in w.books:
        if b.lots:
            value = b.lots * b.open_mark * b.lot_quanta
            equity += value
            gross += abs(value)
            if is_beyond(b.lots, b.open_mark * b.lot_quanta) or gross > MOST_QUANTA:
                leave(w.account)
                return 0
    if abs(equity) > MOST_QUANTA:
        leave(w.account)
        return 0
    return equity * w.account.multiplier - gross


def book(a: Any, b: Any, bar: Any, row: int, signed: int, ticks: int, fee: int) -> None:
    """Book an execution of ``signed`` lots at ``ticks``."""
    lot_quanta = ticks * b.lot_quanta
    value = signed * lot_quanta
    before = b.lots
    after, cost, _ = apply_fill(before, b.cost, signed, lot_quanta)
    b.lots = after
    b.cost = cost
    a.cash -= value + fee
    if abs(a.cash) > MOST_QUANTA:
        leave(a)
    a.fees += fee
    a.n_fills += 1
    a.traded += float(abs(value))
    b.used += abs(signed)
    if a.regulatory:
        regulate(a, bar, signed, abs(value))
    elif a.borrow_rate and after < 0:
        a.owes = 1
    if before == 0 or (before > 0) != (after > 0):
        b.entry_row = row
        b.peak_px = ticks * b.tick_px
    b.trip -= value + fee
    b.bare = 1
    if after == 0:
        close_trip(a, b)


def follow_peak(b: Any, high_px: float, low_px: float) -> None:
    """Move the best price since the entry."""
    b.peak_px = max(b.peak_px, high_px) if b.lots > 0 else min(b.peak_px, low_px)


def close_trip(a: Any, b: Any) -> None:
    """Count a round trip that is flat again."""
    a.n_trades += 1
    if b.trip > 0:
        a.n_wins += 1
        a.gained += b.trip
        if a.gained > MOST_QUANTA:
            leave(a)
    else:
        a.losses -= b.trip
        if a.losses > MOST_QUANTA:
            leave(a)
    b.trip = 0


def regulate(a: Any, bar: Any, signed: int, value: int) -> None:
    """Add a fill to the day's regulatory fees; what 64 bits cannot hold is left to the desk."""
    lots = abs(signed)
    a.owes = 1
    if is_beyond(lots, bar.cat) or max(a.cat_parts, a.taf_parts) > MOST_QUANTA:
        leave(a)
        return
    a.cat_parts += lots * bar.cat
    if signed < 0:
        rest = value % _SEC_UNIT * bar.sec + a.sec_parts
        a.sec_units += value // _SEC_UNIT * bar.sec + rest // _SEC_UNIT
        a.sec_parts = rest % _SEC_UNIT
        if bar.taf and lots > bar.taf_max // bar.taf:
            a.taf_parts += bar.taf_max
        else:
            a.taf_parts += lots * bar.taf


def close_session(a: Any, books: Any, days: int) -> None:
    """Charge the day's regulatory fees, and borrow until the next session."""
    a.owes = 0
    if a.regulatory:
        sec = a.sec_units + (a.sec_parts > 0)
        charge = -(-sec // a.cent) - (-a.taf_parts // (_PARTS * a.cent))
        charge = (charge - (-a.cat_parts // (_PARTS * a.cent))) * a.cent
        a.fees += charge
        a.cash -= charge
        a.sec_units = 0
        a.sec_parts = 0
        a.taf_parts = 0
        a.cat_parts = 0
    if a.borrow_rate:
        for b in books:
            if b.lots < 0 and not is_beyond(
                b.lots, b.open_mark * b.lot_quanta
            ):  # or the mark ends it
                value = -b.lots * b.open_mark * b.lot_quanta
                amount = borrow_charge(value, a.borrow_rate, days)
                a.borrow += amount
                a.cash -= amount
                a.owes = 1


def dividend(a: Any, b: Any, action: Any) -> None:
    """Pay a dividend on the position held; shorts pay it."""
    held = abs(b.lots)
    if is_beyond(held, action.per_lot):
        leave(a)
        return
    amount = held * action.per_lot + held * action.per_lot_parts // _PARTS
    if b.lots < 0:
        amount = -amount
    a.dividends -= amount
    a.cash += amount


def split(w: World, b: Any, action: Any) -> None:
    """Restate a position: whole lots stay, the fraction is paid out at the open."""
    a = w.account
    lots = b.lots
    lot_quanta = b.open_mark * b.lot_quanta
    after, cost, cash = split_position(
        lots, b.cost, action.numerator, action.denominator, lot_quanta
    )
    b.lots = after
    b.cost = cost
    b.bare = 1
    a.cash += cash
    b.trip += cash
    if w.account.recording:
        line = a.n_executions
        if line < len(w.fills):
            w.fills[line, 0] = -1
            w.fills[line, 1] = action.place
            w.fills[line, 2] = action.ordinal
            w.fills[line, 3] = lots
            w.fills[line, 4] = after
            w.fills[line, 5] = cash
        a.n_executions += 1
