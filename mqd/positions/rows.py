"""Rows of the store on their way to SQLite: kept flat, inserted many a statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

Row = tuple[Any, ...]
WIDTHS: Final = {"orders": 18, "fills": 12, "ledger": 4}
ROWS_A_STATEMENT: Final = 25  # one statement of many rows costs half of many of one row


def noted(orders: list[Any], events: dict[str, Row]) -> list[Row]:
    """Write the last events into the new orders; return those about orders of earlier commits."""
    width = WIDTHS["orders"]
    left = dict(events)
    for at in range(0, len(orders), width):
        event = left.pop(orders[at], None)
        if event is not None:
            end = at + width
            if event[0] is not None:
                orders[end - 3] = event[0]
            orders[end - 2 : end] = event[1:3]
    return list(left.values())


def insert(
    executemany: Callable[[str, Iterable[Any]], object], table: str, values: list[Any]
) -> None:
    """Insert the rows that ``values`` holds one after the other."""
    width = WIDTHS[table]
    step = width * ROWS_A_STATEMENT
    whole = len(values) - len(values) % step
    statement = _statement(table, ROWS_A_STATEMENT)
    executemany(statement, (values[at : at + step] for at in range(0, whole, step)))
    rest = (values[at : at + width] for at in range(whole, len(values), width))
    executemany(_statement(table, 1), rest)


@cache
def _statement(table: str, n_rows: int) -> str:
    row = f"({','.join('?' * WIDTHS[table])})"
    return f"INSERT INTO {table} VALUES {','.join([row] * n_rows)}"  # noqa: S608
