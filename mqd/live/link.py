"""The line to a venue: REST session, connector and streams, opened together and closed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mqd.adapters.alpaca.budget import Budget
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.history import AlpacaHistory
from mqd.adapters.alpaca.keys import Keys
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.adapters.alpaca.stream_state import BACKOFF_S, StreamNotReady
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import NS_PER_DAY, NS_PER_S, WallClock
from mqd.core.money import Scale
from mqd.core.protocols import Clock
from mqd.desk.loop import Desk
from mqd.live.plan import LiveBar, MarketPlan, live_bar
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import calendar_for
from mqd.market_data.loading import timeframe_text
from mqd.market_data.pipeline import read_all, regular
from mqd.market_data.providers import WIDTHS, DataQuery, Kind, Provider

READY_S = 20.0
OPENINGS = 4
AGAIN_S = 0.5
REOPEN_S = 5.0
LOCAL_BACKOFF_S = (0.05, 0.2)
STREAM_URLS = {
    "paper": "wss://paper-api.alpaca.markets/stream", "live": "wss://api.alpaca.markets/stream",
}  # fmt: skip
DATA_STREAM_URL = "wss://stream.data.alpaca.markets/v2"
OnData = Callable[[Sequence[dict[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class VenueAddress:
    """Where a venue is: REST, data REST, both sockets, the feed, and the keys."""

    trading_url: str
    data_url: str
    trading_stream_url: str
    data_stream_url: str
    feed: str
    keys: Keys
    backoff_s: tuple[float, float] = BACKOFF_S

    @staticmethod
    def local(port: int, keys: Keys, feed: str = "iex") -> VenueAddress:
        """Return the address of a venue on this machine, which serves all on one port."""
        url, socket = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
        return VenueAddress(
            url, url, f"{socket}/stream", f"{socket}/v2/{feed}", feed, keys, LOCAL_BACKOFF_S
        )

    @staticmethod
    def alpaca(mode: str, trading_url: str, data_url: str, feed: str, keys: Keys) -> VenueAddress:
        """Return Alpaca's address for "paper" or "live"."""
        data_stream = f"{DATA_STREAM_URL}/{feed}"
        return VenueAddress(trading_url, data_url, STREAM_URLS[mode], data_stream, feed, keys)


class Link:
    """One open line. ``on_data`` gets the market data of a frame, ``on_update`` is told after each
    trade update, ``on_gap`` after each reconnect."""

    def __init__(
        self,
        address: VenueAddress,
        scales: Mapping[str, Scale],
        quantum: Decimal,
        clock: Clock,
        *,
        on_data: OnData,
        on_update: Callable[[], None] = lambda: None,
        on_gap: Callable[[str], None] = lambda _kind: None,
        price_steps: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.address = address
        wall = WallClock()
        self.session = AlpacaSession(address.trading_url, address.keys, wall, budget=budget)
        self.connector = AlpacaBrokerConnector(
            self.session, scales, clock, quantum, price_steps=price_steps
        )
        self._on_update = on_update
        self.streams = AlpacaStreams(
            trading_url=address.trading_stream_url, data_url=address.data_stream_url,
            feed=address.feed, key_id=address.keys.key_id, secret=address.keys.secret,
            on_update=self._take, on_data=on_data, on_gap=on_gap, clock=wall,
            backoff_s=address.backoff_s,
        )  # fmt: skip

    def _take(self, data: dict[str, Any]) -> None:
        self.connector.take_update(data)
        self._on_update()

    def open(self, symbols: Sequence[str], timeframe_ns: int, *, prints: bool = False) -> None:
        """Open both sockets and wait until they listen; raise ``StreamNotReady`` with why not.

        ``prints``: quotes, trades, trading statuses and price bands are heard too.
        A refusal is tried again: REST has taken the keys, so another connection that is just
        being closed, or a venue that is starting, is likelier than wrong keys.
        """
        if timeframe_ns >= NS_PER_DAY:
            self.streams.subscribe(daily_bars=list(symbols))
        else:
            self.streams.subscribe(bars=list(symbols))
        if prints:
            names = list(symbols)
            self.streams.subscribe(quotes=names, trades=names, statuses=names, lulds=names)
        for attempt in range(1, OPENINGS + 1):
            self.streams.start()
            try:
                self.streams.wait_ready(READY_S)
            except StreamNotReady:
                self.streams.stop()
                if attempt == OPENINGS:
                    raise
                threading.Event().wait(AGAIN_S * attempt)
            else:
                return

    def reopen(self, kind: str, why: str) -> None:
        """Open a mute socket anew, and wait for a while until it listens."""
        self.streams.reconnect(kind, why)
        clock, waiting = WallClock(), threading.Event()
        until = clock.monotonic_ns() + int(REOPEN_S * NS_PER_S)
        waiting.wait(AGAIN_S / 10)
        while not self.streams.state[kind].listening and clock.monotonic_ns() < until:
            waiting.wait(AGAIN_S / 10)

    def close(self) -> None:
        """Close sockets and connections."""
        self.streams.stop()
        self.session.close()

    def history(self) -> AlpacaHistory:
        """Return the provider of this venue's history."""
        keys, address = self.address.keys, self.address
        return AlpacaHistory(
            address.data_url, keys.key_id, keys.secret, WallClock(), feed=address.feed
        )

    def know(self, desk: Desk) -> None:
        """Tell the connector of the orders that a desk was rebuilt with."""
        states = desk.parts.machine.states()
        groups: dict[str, list[str]] = {}
        for state in states:
            order = state.order
            if order.group and order.client_order_id != order.group:
                groups.setdefault(order.group, []).append(order.client_order_id)
        orders = {state.order.client_order_id: state.order for state in states}
        for state in states:
            name = state.order.client_order_id
            legs = [orders[leg] for leg in groups.get(name, ())]
            self.connector.adopt(state.order, legs)
            if state.venue_order_id:
                self.connector.know(name, state.venue_order_id)


def history_of(provider: Provider, plan: MarketPlan, start_ns: int, end_ns: int) -> Bars | None:
    """Return the bars that start in ``[start_ns, end_ns)`` as the run reads them; None for none."""
    words = {width: name for name, width in WIDTHS.items()}
    timeframe = words[plan.timeframe_ns]
    query = DataQuery(Kind.BARS, plan.symbols, start_ns, end_ns, timeframe)
    calendar = calendar_for(plan.calendar, start_ns, end_ns)
    table = regular(read_all(provider, query), calendar, timeframe)
    if not table.num_rows:
        return None
    frame = table.to_pandas()
    unused = {"vwap", "trade_count"} - set(plan.extras)
    return Bars.from_pandas(
        frame.drop(columns=[name for name in frame if name in unused]),
        plan.calendar, tick=plan.ticks, lot=plan.lots, feed=plan.feed,
        timeframe=timeframe_text(plan.timeframe_ns), source="history",
    )  # fmt: skip


def bars_between(provider: Provider, plan: MarketPlan) -> Callable[[int, int], list[LiveBar]]:
    """Return how to ask by REST for the bars that close in ``(after_ns, until_ns]``, by close."""

    def ask(after_ns: int, until_ns: int) -> list[LiveBar]:
        first_ns = after_ns - max(plan.timeframe_ns, NS_PER_S)
        bars = history_of(provider, plan, first_ns, until_ns)
        if bars is None:
            return []
        found = [
            (int(ts_close), live_bar(bars[symbol], row))
            for symbol in bars.symbols
            for row, ts_close in enumerate(bars[symbol].ts_close)
            if after_ns < ts_close <= until_ns
        ]
        return [bar for _, bar in sorted(found)]

    return ask


def backfill_of(provider: Provider, plan: MarketPlan) -> Callable[[int], list[LiveBar]]:
    """Return how to ask for the bars of one step, when the stream did not bring them."""
    ask = bars_between(provider, plan)
    return lambda ts_close: ask(ts_close - 1, ts_close)
