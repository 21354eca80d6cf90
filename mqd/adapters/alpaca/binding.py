"""Mode, endpoint, keys and account belong together, or no order is sent (control 26).

Checked before the first order and every five minutes after. What cannot be checked is refused:
a missing flag counts as set, a clock that cannot be read as wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.errors import BindingRefused, VenueLies, VenueRefused, VenueUnreachable
from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import NS_PER_S
from mqd.core.protocols import Clock

Mode = Literal["rehearsal", "paper", "live"]

ENDPOINTS: Final[Mapping[str, str]] = {
    "paper": "https://paper-api.alpaca.markets",
    "live": "https://api.alpaca.markets",
}
LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
PREFIXES: Final[Mapping[str, str]] = {"rehearsal": "PK", "paper": "PK", "live": "AK"}
BLOCKS: Final = (
    "account_blocked", "trading_blocked", "transfers_blocked", "trade_suspended_by_user",
)  # fmt: skip
"""Flags of an account of which each must be there and False."""

SKEW_MAX_NS: Final = 2 * NS_PER_S
CLOCK_ATTEMPTS: Final = 3
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Terms(NamedTuple):
    """What an account is held against; the arguments of ``bind``."""

    mode: Mode
    key_id: Secret
    account_sha256: str
    equity_usd: tuple[Decimal, Decimal] | None


@dataclass(frozen=True, slots=True)
class Bound:
    """An account that passed every check: the hash of its id, its equity in USD, its status."""

    account_id_sha256: str
    equity: Decimal
    status: str
    _again: Callable[[], Bound] = field(repr=False, compare=False)

    def recheck(self) -> Bound:
        """Check everything again, now; raise ``BindingRefused`` when anything disagrees."""
        return self._again()


def bind(
    session: AlpacaSession,
    *,
    mode: Mode,
    key_id: Secret,
    account_sha256: str,
    equity_usd: tuple[Decimal, Decimal] | None,
    clock: Clock,
) -> Bound:
    """Return the account behind ``session`` when it is the one that was meant.

    ``account_sha256`` is the SHA-256 (hex) of the account's id, ``equity_usd`` the least and the
    most that its equity may be; None asks only for more than 0, and only in a rehearsal.
    ``clock`` is this computer's (a clock that follows the venue's would agree with it always).
    Raises ``BindingRefused``, also when the venue cannot be asked.
    """
    terms = Terms(mode, key_id, account_sha256.strip().lower(), equity_usd)
    _check_terms(terms, session)
    account = _account(session)
    found = hashlib.sha256(str(account["id"]).strip().encode()).hexdigest()
    if found != terms.account_sha256:
        raise BindingRefused(
            f"the keys open another account (hash {found[:12]}…) than the one that is pinned"
            f" ({terms.account_sha256[:12]}…); use the keys of the pinned account, or pin this one"
        )
    _check_flags(account)
    equity = _equity(account, equity_usd)
    if mode != "rehearsal":
        _check_clock(session, clock)
    return Bound(
        found, equity, str(account["status"]),
        lambda: bind(session, mode=mode, key_id=key_id, account_sha256=account_sha256,
                     equity_usd=equity_usd, clock=clock),
    )  # fmt: skip


def _check_terms(terms: Terms, session: AlpacaSession) -> None:
    """Check what needs no answer of the venue."""
    mode = terms.mode
    if mode not in PREFIXES:
        raise BindingRefused(f"the mode {mode!r} is unknown; it is rehearsal, paper or live")
    _check_endpoint(mode, session.url)
    prefix = PREFIXES[mode]
    if terms.key_id != session.key_id:
        raise BindingRefused("the key id to check is not the one that the session signs with")
    if not terms.key_id.reveal().startswith(prefix):
        raise BindingRefused(
            f"the key id does not begin with {prefix}, so it is no key for {mode} trading (paper"
            " keys begin with PK, live keys with AK); use the keys of the mode"
        )
    if not _HASH.fullmatch(terms.account_sha256):
        raise BindingRefused(
            "no account is pinned: account_sha256 must be 64 hex digits, the hash of its id"
        )
    if terms.equity_usd is None and mode != "rehearsal":
        raise BindingRefused(f"{mode} trading needs a band of equity (least, most) in USD")


def _check_endpoint(mode: Mode, url: str) -> None:
    if mode == "rehearsal":
        if not LOOPBACK.fullmatch(url):
            raise BindingRefused(
                f"the endpoint {url!r} is not this machine; a rehearsal talks to http://127.0.0.1"
                ":PORT and to nothing else"
            )
        return
    if url == ENDPOINTS[mode]:
        return
    if LOOPBACK.fullmatch(url):
        why = "is this machine: that is for a rehearsal"
    elif url in ENDPOINTS.values():
        why = f"is not that of {mode} trading"
    else:
        why = "is unknown (it must match to the letter, without a slash at the end)"
    raise BindingRefused(f"the endpoint {url!r} {why}; {mode} trading is at {ENDPOINTS[mode]}")


def _ask(session: AlpacaSession, path: str, needs: str) -> dict[str, Any]:
    """Return the object at ``path``; refuse to bind when there is none with the key ``needs``."""
    try:
        found = session.ask(path)
    except (VenueUnreachable, VenueLies) as error:
        raise BindingRefused(_clause(error)) from error
    except VenueRefused as error:
        why = f"the venue refuses GET {path} with {error.status} ({error.message or 'no reason'})"
        if error.status in (401, 403):
            why += "; the keys are wrong, revoked, or of another mode"
        elif error.status == 404:
            why += "; this is not version 2 of Alpaca's trading interface"
        raise BindingRefused(why) from None
    if not isinstance(found, dict) or not isinstance(found.get(needs), str) or not found[needs]:
        raise BindingRefused(
            f"GET {path} holds no {needs}, so this is not version 2 of Alpaca's trading interface;"
            " check the endpoint and what stands before it"
        )
    return found


def _clause(error: Exception) -> str:
    """Return an error's sentence as a clause."""
    text = str(error).rstrip(".")
    return text[0].lower() + text[1:]


def _account(session: AlpacaSession) -> dict[str, Any]:
    account = _ask(session, "/v2/account", "id")
    currency = account.get("currency")
    if currency != "USD":
        raise BindingRefused(f"the account's currency is {currency!r}; only USD is handled")
    return account


def _check_flags(account: Mapping[str, Any]) -> None:
    if account.get("status") != "ACTIVE":
        raise BindingRefused(
            f"the account's status is {account.get('status')!r}, not 'ACTIVE'; see the broker's"
            " page on the account"
        )
    for flag in BLOCKS:
        if flag not in account:
            raise BindingRefused(
                f"the account does not say {flag}, and a missing flag counts as set; this version"
                " does not know the venue's answer, upgrade before trading"
            )
        if account[flag] is not False:
            raise BindingRefused(
                f"the account says {flag} = {account[flag]!r}; ask the broker to lift it"
            )


def _equity(account: Mapping[str, Any], band: tuple[Decimal, Decimal] | None) -> Decimal:
    """Return the account's equity when it is a finite amount above 0 inside the band."""
    said = account.get("equity")
    try:
        equity = Decimal(said if isinstance(said, str | int | Decimal) else "nan")
    except InvalidOperation:
        equity = Decimal("nan")
    if isinstance(said, bool) or not equity.is_finite():
        raise BindingRefused(f"the account's equity is {said!r}, which is no amount")
    if equity <= 0:
        raise BindingRefused(f"the account's equity is {equity} USD; there is nothing to trade")
    if band is not None and not band[0] <= equity <= band[1]:
        raise BindingRefused(
            f"the account's equity is {wire.plain(equity)} USD, outside the band of {band[0]} to"
            f" {band[1]}; is it the right account? If it is, change the band in the configuration"
        )
    return equity


def _check_clock(session: AlpacaSession, clock: Clock) -> None:
    """Compare clocks: the venue's instant lies between our question and its answer, or close.

    An answer that took longer than the skew allowed tells nothing, so the question is repeated.
    """
    for _ in range(CLOCK_ATTEMPTS):
        before = clock.now_ns()
        said = _ask(session, "/v2/clock", "timestamp")["timestamp"]
        after = clock.now_ns()
        venue_ns = wire.stamp_ns(said)
        if not venue_ns:
            raise BindingRefused(f"the venue's clock says {said!r}, which is no instant")
        skew_ns = max(before - venue_ns, venue_ns - after, 0)
        if skew_ns > SKEW_MAX_NS:
            raise BindingRefused(
                f"this computer's clock and the venue's differ by {skew_ns / NS_PER_S:.1f} s (at"
                f" most {SKEW_MAX_NS // NS_PER_S} s): set this computer's time by NTP"
            )
        if after - before <= SKEW_MAX_NS:
            return
    raise BindingRefused(
        f"the venue's clock took more than {SKEW_MAX_NS // NS_PER_S} s to answer, {CLOCK_ATTEMPTS}"
        " times: the connection is too slow to trade on"
    )
