"""``AlpacaHistory``: bars, quotes, trades and corporate actions over alpaca-py's data clients.

The clients are used raw: their typed models fail a whole page over one unknown value. Every call
has a time-out, none is repeated blindly: a 429 waits until the server's reset, a lost
connection, a 5xx or a page of HTML is tried again with growing waits, anything else is told at
once.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from mqd.adapters.alpaca.sdk import quietly
from mqd.adapters.alpaca.socket_link import Revealed
from mqd.adapters.alpaca.stream_wire import instant_ns
from mqd.core.clock import NS_PER_S, iso
from mqd.core.protocols import Clock
from mqd.errors import UsageError
from mqd.market_data.errors import ProviderFailed, ProviderRefused
from mqd.market_data.providers import DataQuery, Kind, Page, table_of

ADDRESS: Final = re.compile(
    r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?"
)
"""Where keys may be sent: encrypted, or to this machine."""
TIMEOUT_S: Final = (3.05, 15.0)
TRIES: Final = 4
TRIES_BUSY: Final = 10  # answers of 429: the server lives, and says when to come back
WAIT_MAX_S: Final = 60.0
LIMIT: Final = 10_000
ACTIONS_LIMIT: Final = 1_000
FEEDS: Final = ("iex", "sip", "boats", "otc")
REFUSALS: Final = {400, 401, 403, 404, 422}
AGAIN: Final = {429, 500, 502, 503, 504}
PATHS: Final = {
    Kind.BARS: "/stocks/bars", Kind.QUOTES: "/stocks/quotes", Kind.TRADES: "/stocks/trades",
    Kind.ACTIONS: "/corporate-actions",
}  # fmt: skip
Row = dict[str, Any]


class _Again(Exception):
    def __init__(self, why: str, wait_s: float, *, busy: bool = False) -> None:
        self.why, self.wait_s, self.busy = why, min(wait_s, WAIT_MAX_S), busy
        super().__init__(why)


class AlpacaHistory:
    """A `Provider` over Alpaca's data API.

    ``base_url`` is Alpaca's data host, or a venue's on this machine, without a slash at the end.
    ``feed`` is "iex", "sip", "boats" or "otc" and belongs to the identity of the data.
    ``wait(seconds)`` is how it waits. Raises ``UsageError`` for a wrong URL or feed.
    """

    def __init__(
        self,
        base_url: str,
        key_id: Revealed,
        secret: Revealed,
        clock: Clock,
        *,
        feed: str = "iex",
        timeout_s: tuple[float, float] = TIMEOUT_S,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        if not ADDRESS.fullmatch(base_url):
            raise UsageError(
                "The address of the data is no https://host, nor http://127.0.0.1:port of a venue"
                " on this machine, without a slash at the end and without a name before an @."
            )  # it is not shown: whoever mistakes it may have put a key there
        if feed not in FEEDS:
            raise UsageError(f"feed = {feed!r}: write one of {', '.join(FEEDS)}.")
        self.name, self.feed = f"alpaca ({feed})", feed
        self._clock = clock
        self._wait = wait or threading.Event().wait
        with quietly():
            from alpaca.data.historical import StockHistoricalDataClient
            from alpaca.data.historical.corporate_actions import CorporateActionsClient
        words: Row = {
            "api_key": key_id.reveal(), "secret_key": secret.reveal(), "raw_data": True,
            "url_override": base_url,
        }  # fmt: skip
        self._stocks = _tamed(StockHistoricalDataClient(**words), timeout_s)
        self._actions = _tamed(CorporateActionsClient(**words), timeout_s)

    def page(self, query: DataQuery, token: str) -> Page:
        """Return one page; prices are raw, as they were traded.

        Raises ``ProviderFailed`` when the server cannot be reached or understood, and
        ``ProviderRefused`` for wrong keys, a missing right or a wrong word.
        """
        words: Row = {"symbols": ",".join(query.symbols), "sort": "asc"}
        if query.kind is Kind.ACTIONS:
            client, words["limit"] = self._actions, ACTIONS_LIMIT
            words |= {"start": _day(query.start_ns), "end": _day(query.end_ns - 1)}
        else:
            client, words["limit"] = self._stocks, LIMIT
            words |= {"start": iso(query.start_ns), "end": iso(query.end_ns - 1)}
            words["feed"] = self.feed
        if query.kind is Kind.BARS:
            words |= {"timeframe": query.timeframe, "adjustment": "raw"}
        if token:
            words["page_token"] = token
        body = self._get(client, PATHS[query.kind], words)
        try:
            rows = _READ[query.kind](body)
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            why = f"its answer cannot be read ({type(error).__name__}: {error})"
            raise ProviderFailed(self.name, why) from error
        return Page(table_of(query.kind, rows), body.get("next_page_token") or "")

    def _get(self, client: Any, path: str, words: Row) -> Mapping[str, Any]:
        """Ask once, and again where it makes sense: more often of a server that is busy."""
        n_failed = n_busy = 0
        while True:
            try:
                return self._once(client, path, words, n_failed + n_busy)
            except _Again as again:
                n_failed, n_busy = n_failed + (not again.busy), n_busy + again.busy
                if n_failed >= TRIES or n_busy >= TRIES_BUSY:
                    why = f"{again.why} (tried {n_failed + n_busy} times)"
                    raise ProviderFailed(self.name, why) from again
                self._wait(again.wait_s)

    def _once(self, client: Any, path: str, words: Row, attempt: int) -> Mapping[str, Any]:
        from alpaca.common.exceptions import APIError
        from requests.exceptions import RequestException

        try:
            body = client.get(path, dict(words))
        except APIError as error:
            status = error.status_code or 0
            why = f"HTTP {status}: {_message(error)}"
            if status in AGAIN:
                if status == 429:
                    raise _Again(why, self._reset_s(error, attempt), busy=True) from error
                raise _Again(why, 2.0**attempt) from error
            kind = ProviderRefused if status in REFUSALS else ProviderFailed
            raise kind(self.name, why) from error
        except ValueError as error:
            raise _Again("its answer is no JSON", 2.0**attempt) from error
        except RequestException as error:
            why = f"it cannot be reached ({type(error).__name__})"
            raise _Again(why, 2.0**attempt) from error
        if not isinstance(body, dict):
            raise ProviderFailed(self.name, f"its answer is a {type(body).__name__}, no object")
        return body

    def _reset_s(self, error: Any, attempt: int) -> float:
        """Return how long to wait after a 429: until the server's reset, else 2, 4, 8, 8 … s."""
        headers = getattr(error.response, "headers", None) or {}
        text = str(headers.get("X-RateLimit-Reset", ""))
        if text.isdecimal():
            left_s = int(text) - self._clock.now_ns() / NS_PER_S
            return min(max(left_s, 1.0), WAIT_MAX_S)
        return min(2.0 ** (attempt + 1), 8.0)


def _tamed(client: Any, timeout_s: tuple[float, float]) -> Any:
    """Take from a client what is dangerous: its retries, endless waits, proxies, redirects."""
    client._retry = 0
    client._session.trust_env = False
    client._session.request = functools.partial(client._session.request, timeout=timeout_s)
    return client


def _message(error: Any) -> str:
    """Return an error's message in one short line; bodies may be HTML."""
    try:
        return str(error.message)[:200]
    except (KeyError, ValueError, TypeError):
        return "no message"


def _day(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).date().isoformat()


def _series(body: Mapping[str, Any], key: str) -> list[tuple[str, Row]]:
    """Return every (symbol, row); a null where a map belongs counts as empty."""
    return [(s, row) for s, rows in (body.get(key) or {}).items() for row in rows or ()]


def _bars(body: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "symbol": symbol, "timestamp": instant_ns(row["t"]), "open": float(row["o"]),
            "high": float(row["h"]), "low": float(row["l"]), "close": float(row["c"]),
            "volume": float(row["v"]), "trade_count": _float(row.get("n")),
            "vwap": _float(row.get("vw")),
        }
        for symbol, row in _series(body, "bars")
    ]  # fmt: skip


def _quotes(body: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "symbol": symbol, "timestamp": instant_ns(row["t"]), "bid_px": float(row["bp"]),
            "bid_qty": float(row["bs"]), "ask_px": float(row["ap"]), "ask_qty": float(row["as"]),
            "bid_exchange": str(row.get("bx", "")), "ask_exchange": str(row.get("ax", "")),
        }
        for symbol, row in _series(body, "quotes")
    ]  # fmt: skip


def _trades(body: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "symbol": symbol, "timestamp": instant_ns(row["t"]), "px": float(row["p"]),
            "qty": float(row["s"]), "trade_id": str(row.get("i", "")),
            "exchange": str(row.get("x", "")), "conditions": ",".join(row.get("c") or ()),
        }
        for symbol, row in _series(body, "trades")
    ]  # fmt: skip


def _splits_and_dividends(body: Mapping[str, Any]) -> list[Row]:
    """Return splits and cash dividends; other kinds of actions are not adjusted for."""
    actions = body.get("corporate_actions") or {}
    rows = []
    for kind in ("forward_splits", "reverse_splits"):
        for row in actions.get(kind) or ():
            ratio = Fraction(str(row["new_rate"])) / Fraction(str(row["old_rate"]))
            rows.append(_action(row, "split", str(ratio), "0"))
    dividends = actions.get("cash_dividends") or ()
    return rows + [_action(row, "dividend", "1", str(row["rate"])) for row in dividends]


def _action(row: Row, kind: str, ratio: str, amount: str) -> Row:
    day = datetime.fromisoformat(row["ex_date"]).date()
    return {
        "symbol": row["symbol"], "ex_date": day, "kind": kind, "ratio": ratio, "amount": amount,
    }  # fmt: skip


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


_READ: Final[dict[Kind, Callable[[Mapping[str, Any]], list[Row]]]] = {
    Kind.BARS: _bars, Kind.QUOTES: _quotes, Kind.TRADES: _trades,
    Kind.ACTIONS: _splits_and_dividends,
}  # fmt: skip
