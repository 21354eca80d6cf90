"""What a trading desk asks the venue now and then: its clock, the binding, the assets' flags.

The watcher's thread asks, the desk's thread reads. An answer that does not come leaves the age of
the last one growing; a binding that is refused counts as no binding at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mqd import logs
from mqd.adapters.alpaca.binding import Bound
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.errors import BindingRefused
from mqd.core.clock import NS_PER_S
from mqd.core.protocols import Clock
from mqd.live.watcher import Errand
from mqd.market_data.calendar import TradingCalendar
from mqd.risk.live_state import UNKNOWN, sources_agree

CLOCK_S: Final = 15.0
BINDING_S: Final = 300.0
ASSETS_S: Final = 6 * 3600.0
SLOW_NS: Final = 2 * NS_PER_S


class Hours(NamedTuple):
    """The session at an instant: the one that runs or the next one, and the close before it."""

    open_ns: int
    close_ns: int
    last_close_ns: int


def hours_at(calendar: TradingCalendar, now_ns: int) -> Hours:
    """Return the session that runs at ``now_ns``, or the next one; unknown beyond the calendar."""
    row = int(calendar.closes.searchsorted(now_ns, side="right"))
    if row >= len(calendar.closes):
        return Hours(UNKNOWN, UNKNOWN, UNKNOWN)
    last = int(calendar.closes[row - 1]) if row else UNKNOWN
    return Hours(int(calendar.opens[row]), int(calendar.closes[row]), last)


class Asset(NamedTuple):
    """An asset's flags (1, 0, -1 unknown) and when they were asked for (monotonic)."""

    tradable: int
    fractionable: int
    shortable: int
    easy_to_borrow: int
    asked_mono_ns: int


class Rounds:
    """Answers of the venue and when they came, on the monotonic clock; None before the first.

    ``ours`` is the clock that the venue's is held against: this computer's, in a rehearsal the
    one that was told the venue's, and ``factor`` how fast that runs: skew is real time.
    """

    def __init__(
        self,
        connector: AlpacaBrokerConnector,
        bound: Bound,
        symbols: Sequence[str],
        calendar: TradingCalendar,
        ours: Clock,
        factor: float = 1.0,
    ) -> None:
        self._connector, self._bound_account = connector, bound
        self._symbols, self._calendar, self._ours = tuple(symbols), calendar, ours
        self._factor = factor
        self.clock_mono_ns: int | None = None
        self.skew_ns = self.agree = UNKNOWN
        self.bound = 1
        self.bound_mono_ns = ours.monotonic_ns()
        self.assets: Mapping[str, Asset] = {}

    def errands(self) -> tuple[Errand, ...]:
        """Return what the watcher is to ask, and how often."""
        return (
            Errand(CLOCK_S, self.ask_clock), Errand(BINDING_S, self.ask_binding),
            Errand(ASSETS_S, self.ask_assets),
        )  # fmt: skip

    def ask_clock(self) -> None:
        """Ask for the venue's clock: its skew, and whether it names our session.

        Of an answer that took longer than the skew allowed nobody knows when the venue said it:
        where it cannot show a skew it shows nothing, and the last answer grows old.
        """
        before_ns = self._ours.now_ns()
        said = self._connector.clock()
        after_ns = self._ours.now_ns()
        hours = hours_at(self._calendar, said.now_ns)
        skew_ns = max(before_ns - said.now_ns, said.now_ns - after_ns, 0)
        if not skew_ns and after_ns - before_ns > SLOW_NS * self._factor:
            logs.get_logger("rounds").warning("clock_too_slow", took_ns=after_ns - before_ns)
            return
        self.skew_ns = int(skew_ns / self._factor)
        self.agree = sources_agree(
            said.is_open, said.next_open_ns, said.next_close_ns, hours.open_ns, hours.close_ns
        )
        self.clock_mono_ns = self._ours.monotonic_ns()

    def ask_binding(self) -> None:
        """Check mode, endpoint, keys and account again; raise ``BindingRefused``."""
        try:
            self._bound_account.recheck()
        except BindingRefused as error:
            self.bound = 0
            logs.get_logger("binding").error("binding_refused", why=str(error))
            raise
        self.bound, self.bound_mono_ns = 1, self._ours.monotonic_ns()

    def ask_assets(self) -> None:
        """Ask for the flags that are missing or old; what has been answered stays."""
        for symbol in self._symbols:
            known, now_ns = self.assets.get(symbol), self._ours.monotonic_ns()
            if known is None or now_ns - known.asked_mono_ns >= ASSETS_S * NS_PER_S:
                asked = Asset(*self._connector.asset(symbol), self._ours.monotonic_ns())
                self.assets = {**self.assets, symbol: asked}
