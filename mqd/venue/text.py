"""How the venue writes instants, amounts and ids."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from zoneinfo import ZoneInfo

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.market_data.calendar import day_date

NEW_YORK = ZoneInfo("America/New_York")


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def stamp(ts_ns: int) -> str:
    """Return an instant as RFC 3339 in UTC: up to 9 fractional digits, trailing zeros dropped."""
    seconds, rest = divmod(ts_ns, NS_PER_S)
    return f"{_second(seconds)}.{rest:09d}".rstrip("0") + "Z" if rest else f"{_second(seconds)}Z"


def stamp_or_none(ts_ns: int) -> str | None:
    """Return ``stamp``, or None for 0: not yet."""
    return stamp(ts_ns) if ts_ns else None


def local(ts_ns: int) -> datetime:
    """Return an instant on New York's clock, to the microsecond."""
    seconds, rest = divmod(ts_ns, NS_PER_S)
    when = datetime.fromtimestamp(seconds, UTC).astimezone(NEW_YORK)
    return when.replace(microsecond=rest // 1000)


def local_stamp(ts_ns: int) -> str:
    """Return an instant as RFC 3339 with New York's offset, nanoseconds where there are any."""
    text = local(ts_ns).replace(microsecond=0).isoformat()
    rest = ts_ns % NS_PER_S
    return f"{text[:19]}.{rest:09d}{text[19:]}" if rest else text


def day_text(day: int) -> str:
    """Return a session (days since 1970) as YYYY-MM-DD."""
    return day_date(day).isoformat()


def day_of(ts_ns: int) -> str:
    """Return New York's date at an instant."""
    return local(ts_ns).date().isoformat()


def utc_day(ts_ns: int) -> int:
    """Return the UTC date of an instant as days since 1970."""
    return ts_ns // NS_PER_DAY


def amount(value: Decimal) -> str:
    """Return an exact amount without exponent and without trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def rounded(value: Decimal, places: int) -> str:
    """Return an amount rounded half-even to so many decimals at most."""
    return amount(value.quantize(Decimal(1).scaleb(-places)))


def uuid_of(*parts: object) -> str:
    """Return a text of UUID shape that these parts always give."""
    digest = sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid_of(ts_ns: int, *parts: object) -> str:
    """Return a text of ULID shape: 48 bits of milliseconds, 80 bits that the parts give."""
    digest = sha256("\x1f".join(map(str, parts)).encode()).digest()
    number = (ts_ns // 1_000_000) << 80 | int.from_bytes(digest[:10], "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
