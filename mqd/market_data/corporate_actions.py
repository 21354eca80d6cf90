"""Splits and dividends: read them, adjust prices by them, restate them on the bars' basis.

A price before a split is divided by the split's ratio, its volume multiplied. For total-return
prices each dividend divides the earlier prices by one step more; two conventions exist:

- ``yahoo`` (and CRSP): step = 1 / (1 - amount / close of the day before);
- ``wiki`` (Quandl WIKI): step = 1 + amount / close of the ex-date.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mqd.core.bar import ActionKind, CorporateAction, Floats, Ints
from mqd.errors import BadRows, MissingColumn
from mqd.market_data.calendar import TradingCalendar, day_date, day_number

Adjust = Literal["none", "split", "split+dividend"]
Convention = Literal["yahoo", "wiki"]
ACTIONS_FILE = "corporate_actions.parquet"
RATIO_DENOMINATOR_MAX = 10_000
AMOUNT_STEP = Decimal("1e-10")


class RawAction(NamedTuple):
    """A split or dividend as its source states it, on the basis of the day it happened.

    ``ex_day`` is days since 1970; ``ratio`` new shares for one old (1 for a dividend);
    ``amount`` the dividend a share; ``in_prices`` marks a split that the prices already show.
    """

    symbol: str
    ex_day: int
    kind: ActionKind
    ratio: Fraction
    amount: Decimal
    in_prices: bool


def beside(path: Path) -> list[RawAction]:
    """Return the actions that the file ``corporate_actions.parquet`` beside a file has for it."""
    import pyarrow.parquet as pq

    actions = path.with_name(ACTIONS_FILE)
    if path.name == ACTIONS_FILE or not actions.exists():
        return []
    table = pq.read_table(actions, filters=[("applies_to", "==", path.stem)])
    return from_records(table.to_pylist(), ACTIONS_FILE)


def from_records(records: Iterable[dict[str, Any]], source: str) -> list[RawAction]:
    """Return actions from records with symbol, ex_date, kind and ratio or amount.

    ``already_in_prices`` may be left out (False). Raises ``MissingColumn`` and ``BadRows``.
    """
    actions = []
    for row, record in enumerate(records):
        for name in ("symbol", "ex_date", "kind"):
            if name not in record:
                raise MissingColumn(source, name, record)
        try:
            actions.append(_one(record))
        except (ValueError, ArithmeticError, TypeError) as error:
            fix = "kind is split (ratio > 0) or dividend (amount > 0)."
            shown = [f"row {row}: {record['symbol']} {record['ex_date']}: {error}"]
            raise BadRows(source, "a corporate action", shown, 1, fix) from error
    return sorted(actions, key=lambda a: (a.symbol, a.ex_day, a.kind != ActionKind.SPLIT))


def _one(record: dict[str, Any]) -> RawAction:
    kind = ActionKind(record["kind"])
    ratio, amount = Fraction(1), Decimal(0)
    if kind is ActionKind.SPLIT:
        ratio = Fraction(str(record["ratio"])).limit_denominator(RATIO_DENOMINATOR_MAX)
    else:
        amount = Decimal(str(record["amount"]))
    if not amount.is_finite() or (ratio if kind is ActionKind.SPLIT else amount) <= 0:
        raise ValueError(f"ratio {record.get('ratio')}, amount {record.get('amount')}")
    in_prices = bool(record.get("already_in_prices", False))
    day = np.datetime64(record["ex_date"], "D").astype(object)
    return RawAction(str(record["symbol"]), day_number(day), kind, ratio, amount, in_prices)


def known(actions: Sequence[RawAction], symbol: str, last_day: int) -> list[RawAction]:
    """Return a symbol's actions up to a session, by ex-date, a day's split before its dividend."""
    return [a for a in actions if a.symbol == symbol and a.ex_day <= last_day]


def split_divisors(session: Ints, actions: Sequence[RawAction]) -> Floats:
    """Return, for each row, the product of the ratios of the splits after it.

    ``session`` are ascending days since 1970. Divide prices and multiply volumes by it.
    """
    divisors = np.ones(len(session))
    for action in actions:
        if action.kind is ActionKind.SPLIT and not action.in_prices:
            divisors[: np.searchsorted(session, action.ex_day)] *= float(action.ratio)
    return divisors


def dividend_divisors(
    session: Ints, close: Floats, actions: Sequence[RawAction], convention: Convention
) -> Floats:
    """Return, for each row, the product of the steps of the dividends after it.

    ``close`` are the closes as the source states them (not split-adjusted by us). The last bar
    of a session carries that session's close.
    """
    divisors = np.ones(len(session))
    ratios = {a.ex_day: a.ratio for a in actions if a.kind is ActionKind.SPLIT and not a.in_prices}
    for action in actions:
        first = int(np.searchsorted(session, action.ex_day))
        if action.kind is not ActionKind.DIVIDEND or not 0 < first < len(session):
            continue
        amount = float(action.amount)
        if convention == "wiki":
            last_of_day = int(np.searchsorted(session, session[first], side="right")) - 1
            divisors[:first] *= 1.0 + amount / close[last_of_day]
        else:
            day_before = close[first - 1] / float(ratios.get(action.ex_day, 1))
            divisors[:first] *= 1.0 / (1.0 - amount / day_before)
    return divisors


def restated(
    actions: Sequence[RawAction], adjust: Adjust, calendar: TradingCalendar, first_day: int
) -> tuple[CorporateAction, ...]:
    """Return the actions that an engine applies to bars of a basis, from a session on.

    ``none``: splits and dividends as they happened. ``split``: dividends divided by the splits
    after them. ``split+dividend``: nothing is left to apply.
    """
    if adjust == "split+dividend":
        return ()
    splits = [a for a in actions if a.kind is ActionKind.SPLIT and not a.in_prices]
    result = []
    for action in actions:
        if action.ex_day < first_day or action.in_prices:
            continue
        if adjust == "none":
            result.append(_action(action, action.amount, calendar))
        elif action.kind is ActionKind.DIVIDEND:
            later = Fraction(1)
            for split in splits:
                later *= split.ratio if split.ex_day > action.ex_day else 1
            amount = action.amount * later.denominator / later.numerator
            amount = amount.quantize(AMOUNT_STEP, ROUND_HALF_EVEN).normalize()
            result.append(_action(action, amount, calendar))
    return tuple(result)


def shown_splits(
    actions: Sequence[RawAction], adjust: Adjust, calendar: TradingCalendar, first_day: int
) -> tuple[tuple[int, float], ...]:
    """Return ``(ts_ex, ratio)`` of the splits after the first session that prices already show."""
    return tuple(
        (_action(action, action.amount, calendar).ts_ex, float(action.ratio))
        for action in actions
        if action.kind is ActionKind.SPLIT
        and action.ex_day > first_day
        and (adjust != "none" or action.in_prices)
    )


def _action(action: RawAction, amount: Decimal, calendar: TradingCalendar) -> CorporateAction:
    row = int(np.searchsorted(calendar.sessions, action.ex_day))
    if row == len(calendar.sessions):
        row -= 1
    ratio = action.ratio
    return CorporateAction(
        action.symbol, int(calendar.opens[row]), action.kind,
        ratio.numerator, ratio.denominator, amount,
    )  # fmt: skip


def describe(action: RawAction) -> str:
    """Return an action in a few words."""
    what = f"split {action.ratio}" if action.kind is ActionKind.SPLIT else f"{action.amount}"
    return f"{action.symbol} {day_date(action.ex_day)} {what}"
