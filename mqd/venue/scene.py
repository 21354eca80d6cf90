"""What all accounts of the venue share: the market, the clock, the calendar, the assets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import Decimal
from typing import Any

from mqd.core.instrument import AssetClass
from mqd.core.money import Scale
from mqd.desk.market import Market
from mqd.execution.simulated_broker import SimulatedBroker
from mqd.execution.venue_account import SETTLEMENT_DAYS
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import TradingCalendar
from mqd.venue.text import amount, day_text, uuid_of


class Scene:
    """The venue's surroundings; ``now_ns`` is the venue's instant."""

    def __init__(self, bars: Bars, market: Market, scales: dict[str, Scale], account: str) -> None:
        self.bars, self.market, self.scales = bars, market, scales
        self.calendar: TradingCalendar = bars.trading_calendar
        self.crypto = bars.calendar == "24/7"
        self.asset_class = str(AssetClass.CRYPTO if self.crypto else AssetClass.EQUITY)
        self.shortable = account == "margin" and not self.crypto
        self.now_ns = market.starts_ns
        self._ids = {symbol: uuid_of("asset", symbol) for symbol in bars.symbols}
        self._symbols = {asset: symbol for symbol, asset in self._ids.items()}
        self._settle: dict[int, str] = {}
        self.seen: set[str] = set()
        self.flags: dict[str, dict[str, bool]] = {}  # of assets, by hand
        self._day = -1
        self._closes: dict[str, int] = {}
        self._before: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """True while the market trades."""
        row = bisect_right(self.market.session_opens, self.now_ns) - 1
        return row >= 0 and self.now_ns < self.market.session_closes[row]

    @property
    def next_open_ns(self) -> int:
        """The next open after now; the last one known at the calendar's end."""
        opens = self.market.session_opens
        return opens[min(bisect_right(opens, self.now_ns), len(opens) - 1)]

    @property
    def next_close_ns(self) -> int:
        """The next close after now; the last one known at the calendar's end."""
        closes = self.market.session_closes
        return closes[min(bisect_right(closes, self.now_ns), len(closes) - 1)]

    def asset_id(self, symbol: str) -> str:
        """Return a symbol's id."""
        return self._ids[symbol]

    def symbol_of(self, word: str) -> str | None:
        """Return the symbol that a symbol or an asset id names, None for an unknown one."""
        if word in self.scales:
            return word
        if word in self._symbols:
            return self._symbols[word]
        return self._joined(word) if self.crypto else None

    def _joined(self, word: str) -> str | None:
        """Find a pair of coins that is written without its slash."""
        for symbol in self.scales:
            if symbol.replace("/", "") == word:
                return symbol
        return None

    def mark(self, broker: SimulatedBroker, symbol: str) -> int:
        """Return a symbol's last known price in ticks, 0 before its first."""
        return broker.mark(symbol) if symbol in self.seen else 0

    def enter(self, step: int) -> None:
        """Know that the bars of a step are under way: their opens are prices."""
        self.seen.update(
            symbol
            for symbol, row in zip(self.market.symbols, self.market.present_rows, strict=True)
            if row >= 0
        )
        day = self.market.day[step]
        if day != self._day:
            self._day, self._before = day, dict(self._closes)

    def leave(self) -> None:
        """Keep the closes of the present step."""
        market = self.market
        for symbol, row in zip(market.symbols, market.present_rows, strict=True):
            if row >= 0:
                self._closes[symbol] = market.tapes[symbol].close[row]

    def last_day_px(self, symbol: str) -> Decimal | None:
        """Return a symbol's close of the session before, None before the first."""
        ticks = self._before.get(symbol)
        return None if ticks is None else self.scales[symbol].px(ticks)

    def settles(self, ts_ns: int) -> str:
        """Return the date on which a trade of an instant settles."""
        days = self.market.session_days
        row = max(bisect_right(self.market.session_opens, ts_ns) - 1, 0)
        day = days[row]
        if day not in self._settle:
            delay = 0 if self.crypto else [n for since, n in SETTLEMENT_DAYS if since <= day][-1]
            self._settle[day] = day_text(days[min(bisect_left(days, day) + delay, len(days) - 1)])
        return self._settle[day]

    def asset(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's asset as Alpaca shows it."""
        scale = self.scales[symbol]
        shown: dict[str, Any] = {
            "id": self._ids[symbol],
            "class": self.asset_class,
            "exchange": "CRYPTO" if self.crypto else "NASDAQ",
            "symbol": symbol,
            "name": symbol,
            "cusip": None,
            "status": "active",
            "tradable": True,
            "marginable": not self.crypto,
            "shortable": self.shortable,
            "borrow_status": "easy_to_borrow" if self.shortable else "not_available",
            "easy_to_borrow": self.shortable,
            "fractionable": scale.lot < 1,
            "maintenance_margin_requirement": 30,
            "margin_requirement_long": "30",
            "margin_requirement_short": "30",
            "attributes": ["fractional_eh_enabled"] if scale.lot < 1 and not self.crypto else [],
        }
        if self.crypto:
            step = amount(scale.lot)
            shown |= {"price_increment": amount(scale.tick), "min_order_size": step,
                      "min_trade_increment": step}  # fmt: skip
        shown |= self.flags.get(symbol, {})
        if not shown["shortable"]:
            shown |= {"borrow_status": "not_available", "easy_to_borrow": False}
        return shown
