"""Query parameters read: every malformed one is refused with status 422."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from mqd.core.clock import NS_PER_S
from mqd.market_data.calendar import day_number
from mqd.venue.errors import unprocessable

_FRACTION = re.compile(r"\.(\d+)")


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a truth value: true, True or 1."""
    return query.get(name, "").lower() in ("true", "1")


def words(query: Mapping[str, str], name: str) -> list[str]:
    """Return a comma-joined list, empty when absent."""
    return [word for word in query.get(name, "").split(",") if word]


def one_of(query: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    """Return one of the known words, the first by default."""
    given = query.get(name) or known[0]
    if given not in known:
        raise unprocessable(f"invalid {name}: {given}")
    return given


def whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a whole number from 1 to ``most``."""
    given = query.get(name)
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= most:
        raise unprocessable(f"{name} must be from 1 to {most}")
    return int(given)


def positive(query: Mapping[str, str], name: str) -> Decimal | None:
    """Return a positive amount, None when absent."""
    given = query.get(name)
    if not given:
        return None
    try:
        value = Decimal(given)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 < value < Decimal(10) ** 12:
        raise unprocessable(f"{name} must be a number above 0")
    return value


def instant(query: Mapping[str, str], name: str) -> int | None:
    """Return an instant in ns UTC, None when absent: RFC 3339, or a date (its midnight)."""
    given = query.get(name)
    if not given:
        return None
    try:
        return instant_ns(given)
    except (ValueError, OverflowError) as error:
        raise unprocessable(f"invalid {name}: {given}") from error


def instant_ns(text: str) -> int:
    """Return an RFC 3339 instant in ns UTC, up to nine digits; UTC where no zone is given."""
    found = _FRACTION.search(text)
    plain = _FRACTION.sub("", text).replace(" ", "+") if "T" in text else text
    moment = datetime.fromisoformat(plain)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    digits = found.group(1)[:9].ljust(9, "0") if found else "0"
    return int(moment.timestamp()) * NS_PER_S + int(digits)


def day(query: Mapping[str, str], name: str) -> int | None:
    """Return a date as days since 1970, None when absent."""
    given = query.get(name)
    if not given:
        return None
    try:
        return day_number(date.fromisoformat(given[:10]))
    except ValueError as error:
        raise unprocessable(f"invalid {name}: {given}") from error
