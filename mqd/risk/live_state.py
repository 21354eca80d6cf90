"""What a running desk knows of venue, market and itself, as the live controls read it.

Every number is an int; -1 (or None) means "not known", which refuses. Ages and silences are ns
by the monotonic clock, instants ns UTC, flags 1 or 0. A field that nobody filled in is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S

UNKNOWN: Final = -1


class LiveLimits(NamedTuple):
    """The numbers of the live controls; the defaults are the catalogue's."""

    quote_age_ns_max: int = 5 * NS_PER_S  # 2, 18
    crossed_ns_max: int = NS_PER_S  # 2
    clock_age_ns_max: int = 60 * NS_PER_S  # 16
    skew_ns_max: int = 2 * NS_PER_S  # 16
    after_open_ns_min: int = NS_PER_MINUTE  # 16
    before_close_ns_min: int = 5 * NS_PER_MINUTE  # 16
    opg_before_open_ns_min: int = 2 * NS_PER_MINUTE  # 16, 9:28
    cls_before_close_ns_min: int = 10 * NS_PER_MINUTE  # 16, 15:50
    queue_after_close_ns_max: int = 15 * NS_PER_MINUTE  # 16, decided at the close
    status_age_ns_max: int = 60 * NS_PER_S  # 17
    resumed_ns_min: int = 60 * NS_PER_S  # 17
    asset_age_ns_max: int = NS_PER_DAY  # 1, 21
    shorts: int = 0  # 21
    silence_ns_max: int = 30 * NS_PER_S  # 24
    heartbeat_ns_max: int = 60 * NS_PER_S  # 24
    watchdog: int = 1  # 24, a watchdog process is wanted
    day_only: int = 1  # 24, opening orders end with the day
    bound_age_ns_max: int = 6 * NS_PER_MINUTE  # 26, checked every 5 minutes
    reconciled_age_ns_max: int = 3 * NS_PER_MINUTE  # 29, compared every minute


class SymbolLive(NamedTuple):
    """One symbol, now.

    ``bid_ticks`` and ``ask_ticks`` are the best quote, ``crossed_ns`` for how long it has been
    crossed or locked (0: it is not); ``trade_ticks`` the last trade. ``halted``: no trading, or
    paused; ``limit_state``: the quote stands at a limit-up-limit-down band; ``resumed_ns``: how
    long ago the last halt of today ended (0: there was none); ``two_sided``: 1 when bid and ask
    were seen since then. ``restricted``: 1 when the short-sale price test binds (today's low or
    yesterday's at most 90 % of the close before it). ``asset_age_ns`` is the age of the flags
    ``tradable``, ``fractionable``, ``shortable`` and ``easy_to_borrow``. ``open_break``: 1 while a
    difference between our books and the venue's is not explained.
    """

    bid_ticks: int | None = UNKNOWN
    ask_ticks: int | None = UNKNOWN
    quote_age_ns: int | None = UNKNOWN
    crossed_ns: int | None = UNKNOWN
    trade_ticks: int | None = UNKNOWN
    trade_age_ns: int | None = UNKNOWN
    halted: int | None = UNKNOWN
    limit_state: int | None = UNKNOWN
    resumed_ns: int | None = UNKNOWN
    two_sided: int | None = UNKNOWN
    restricted: int | None = UNKNOWN
    tradable: int | None = UNKNOWN
    fractionable: int | None = UNKNOWN
    shortable: int | None = UNKNOWN
    easy_to_borrow: int | None = UNKNOWN
    asset_age_ns: int | None = UNKNOWN
    open_break: int | None = UNKNOWN


NOT_KNOWN: Final = SymbolLive()
_NO_SYMBOLS: Final[Mapping[str, SymbolLive]] = MappingProxyType({})


class LiveState(NamedTuple):
    """The account, the venue and the desk, now.

    ``now_ns`` is our clock. ``clock_age_ns`` is the age of the venue's last word on its clock,
    ``skew_ns`` how far ours was from it (absolute), ``sources_agree`` 1 when calendar and venue
    name the same session. ``open_ns`` and ``close_ns`` span the session that runs now, or the
    next one; ``last_close_ns`` ended the one before (half days have their own instants).
    ``status_age_ns``: since the feed of trading statuses last showed life; ``market_halted``: a
    market-wide breaker. ``stream_silent_ns``, ``api_silent_ns``: since the order stream and the
    REST interface last answered; ``heartbeat_ns``: since the watchdog last did.
    ``bound``: 1 when mode, endpoint, keys and account id agreed ``bound_age_ns`` ago; equity must
    lie between ``equity_low_quanta`` and ``equity_high_quanta``. ``started``: 1 when start-up is
    finished; ``reconciled_age_ns``: since books and venue were last compared; ``n_unknown``
    orders whose fate is not known.
    """

    now_ns: int | None = UNKNOWN
    clock_age_ns: int | None = UNKNOWN
    skew_ns: int | None = UNKNOWN
    sources_agree: int | None = UNKNOWN
    open_ns: int | None = UNKNOWN
    close_ns: int | None = UNKNOWN
    last_close_ns: int | None = UNKNOWN
    status_age_ns: int | None = UNKNOWN
    market_halted: int | None = UNKNOWN
    stream_silent_ns: int | None = UNKNOWN
    api_silent_ns: int | None = UNKNOWN
    heartbeat_ns: int | None = UNKNOWN
    bound: int | None = UNKNOWN
    bound_age_ns: int | None = UNKNOWN
    equity_quanta: int | None = UNKNOWN
    equity_low_quanta: int | None = UNKNOWN
    equity_high_quanta: int | None = UNKNOWN
    started: int | None = UNKNOWN
    reconciled_age_ns: int | None = UNKNOWN
    n_unknown: int | None = UNKNOWN
    symbols: Mapping[str, SymbolLive] = _NO_SYMBOLS

    def symbol(self, name: str) -> SymbolLive:
        """Return what is known of a symbol; of one that nobody filled in, nothing is."""
        return self.symbols.get(name, NOT_KNOWN)


def sources_agree(
    venue_is_open: bool, venue_open_ns: int, venue_close_ns: int, open_ns: int, close_ns: int
) -> int:
    """Return 1 when the venue's clock names the session that our calendar names, else 0.

    ``venue_open_ns`` and ``venue_close_ns`` are its next open and next close. Our ``open_ns`` and
    ``close_ns`` span the session at hand as of the venue's answer; while it runs, the venue names
    the open after it, so only the close can be compared.
    """
    if venue_close_ns != close_ns:
        return 0
    if venue_is_open:
        return int(venue_open_ns > close_ns)
    return int(venue_open_ns == open_ns)
