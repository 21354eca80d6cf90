"""Who may do what: keys and tokens of a request, the account behind them, its scopes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence

from mqd.venue.answer import AccountSpec
from mqd.venue.errors import Refused, VenueConfigWrong

UNAUTHORIZED = Refused(401, 40110000, "access key verification failed").body()


FORBIDDEN = Refused(403, 0, "forbidden.").body()


def scope_of(method: str, path: str) -> str:
    """Return the scope that a change needs, "" for what every key may do."""
    if method == "GET":
        return ""
    return "account:write" if path.startswith("/v2/account") else "trading"


def credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return key and secret of a request, "" where they are absent.

    A bearer token of OAuth stands for the pair ("oauth", token), as on Alpaca's data sockets.
    """
    way, _, rest = (headers.get("authorization") or headers.get("Authorization") or "").partition(
        " "
    )
    if way == "Bearer":
        return "oauth", rest
    if way == "Basic":
        return _basic(rest)
    key_id = headers.get("apca-api-key-id") or headers.get("APCA-API-KEY-ID") or ""
    return key_id, headers.get("apca-api-secret-key") or headers.get("APCA-API-SECRET-KEY") or ""


def _basic(text: str) -> tuple[str, str]:
    try:
        key_id, _, secret = b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return key_id, secret


def accounts_of(accounts: Sequence[AccountSpec]) -> dict[tuple[str, str], str]:
    """Return the account of every pair of keys; refuse a pair that two accounts share."""
    if not accounts:
        raise VenueConfigWrong("accounts", "names none")
    found: dict[tuple[str, str], str] = {}
    for spec in accounts:
        for key_id, secret in spec.keys:
            if not key_id or not secret or (key_id, secret) in found:
                raise VenueConfigWrong("accounts", f"has an empty or a doubled key in {spec.id}")
            found[key_id, secret] = spec.id
    return found
