"""A request as the venue's core takes it, and what it answers: no web framework in either."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

SCOPES: Final = frozenset({"trading", "account:write", "data"})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """An HTTP answer: ``body`` is JSON-ready, None for no body, a ``str`` for HTML."""

    status: int
    body: object | None
    headers: Mapping[str, str] = NO_HEADERS


class Request(NamedTuple):
    """A request: ``argument`` is the variable last part of the path, "" without one."""

    argument: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None


class AccountSpec(NamedTuple):
    """One account of the venue: its id (a UUID), its number and its pairs of key and secret.

    ``scopes`` is what the keys may do beside reading the account, as of an OAuth application:
    "trading" (orders and positions), "account:write" (the configuration), "data".
    """

    id: str
    number: str
    keys: tuple[tuple[str, str], ...]
    scopes: frozenset[str] = SCOPES
