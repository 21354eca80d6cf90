"""Frames of the two sockets to plain values: JSON or msgpack in, dicts out.

Trading numbers are decimal strings or ``Decimal``; market data numbers are the server's floats
and ints. Instants of market data (``t``) become int nanoseconds UTC. Unknown fields and message
types pass through.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgpack

from mqd.core.clock import NS_PER_S
from mqd.errors import MqdError

INT_NS: Final = 2  # how msgpack is told to give Timestamps as int nanoseconds
CONTROL: Final = frozenset({"success", "error", "subscription"})


class BadFrame(MqdError):
    """A frame that is neither JSON nor msgpack of the promised shape."""


def decode_trading(frame: str | bytes) -> dict[str, Any]:
    """Return a frame of ``/stream`` (text or binary JSON); raise ``BadFrame``."""
    try:
        message = json.loads(frame, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:  # Decimal has its own overflow
        raise BadFrame(f"A frame of the trading stream is no JSON ({type(error).__name__}).") from (
            error
        )
    if not isinstance(message, dict):
        raise BadFrame(f"A frame of the trading stream is a {type(message).__name__}.")
    return message


def decode_data(frame: str | bytes) -> list[dict[str, Any]]:
    """Return the messages of a frame of ``/v2/{feed}``; raise ``BadFrame``.

    Binary frames are msgpack, text frames JSON; a single object counts as a list of one.
    """
    try:
        if isinstance(frame, bytes):
            messages = msgpack.unpackb(frame, timestamp=INT_NS, strict_map_key=False)
        else:
            messages = [_with_instants(one) for one in _listed(json.loads(frame))]
    except (
        ValueError, TypeError, AttributeError, RecursionError, msgpack.UnpackException,
    ) as error:  # fmt: skip
        raise BadFrame(f"A frame of market data is unreadable ({type(error).__name__}).") from error
    messages = _listed(messages)
    if not all(isinstance(one, dict) for one in messages):
        raise BadFrame("A frame of market data holds something that is no object.")
    return messages


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _listed(decoded: Any) -> list[Any]:
    return decoded if isinstance(decoded, list) else [decoded]


def _with_instants(message: dict[str, Any]) -> dict[str, Any]:
    if isinstance(message.get("t"), str):
        message["t"] = instant_ns(message["t"])
    return message


def instant_ns(text: str) -> int:
    """Return an RFC 3339 instant as int ns UTC, all nine digits kept; raise ``ValueError``."""
    head, dot, tail = text.partition(".")
    if not dot:
        return int(datetime.fromisoformat(text).timestamp()) * NS_PER_S
    digits = tail.rstrip("Z")
    for sign in "+-":
        digits = digits.partition(sign)[0]
    zone = tail[len(digits) :]
    if not digits.isdigit():
        raise ValueError(f"{text!r} is no instant")
    seconds = int(datetime.fromisoformat(head + zone).timestamp())
    return seconds * NS_PER_S + int(digits[:9].ljust(9, "0"))
