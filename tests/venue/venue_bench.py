"""A venue over bars worked out by hand, and a loopback server around it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from decimal import Decimal

import httpx
import pandas as pd

from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.settings import settings_of
from mqd.market_data.bars import Bars
from mqd.venue.answer import SCOPES, AccountSpec
from mqd.venue.app import app_of
from mqd.venue.process import server_of
from mqd.venue.venue import Venue

KEY, SECRET = "PKBENCH", "bench-secret"
OTHER_KEY, OTHER_SECRET = "PKOTHER", "other-secret"
ACCOUNT = "8b6f1a52-6f6d-4c1e-9e0a-2f4f0f6b7c11"
OTHER_ACCOUNT = "0d9ac2b7-1c55-4a0e-8a52-7a4f3f0c2b18"
TOKEN = "control"
OAUTH_TOKEN = "bench-token"
HEADERS = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
MINUTES = ("09:30", "09:31", "09:32", "15:58", "15:59")
AAA = ((100, 101, 99, 100), (100, 101, 99, 100), (100, 102, 98, 100), (100, 110, 90, 100),
       (100, 101, 99, 100))  # fmt: skip
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
ASSUMED = {
    "cash": Decimal(100_000), "costs": Costs(), "fills": FillModel(participation_frac=0.1),
    "multiplier": 4,
}  # fmt: skip


def bars_by_hand():
    """AAA opens and closes at 100 in every bar; BBB is worth 50 and traded in thousandths."""
    rows = []
    for day in DAYS:
        for minute, (opened, high, low, close) in zip(MINUTES, AAA, strict=True):
            at = pd.Timestamp(f"{day} {minute}", tz="America/New_York")
            rows.append(("AAA", at, opened, high, low, close, 10_000.0))
            rows.append(("BBB", at, 50, 50.5, 49.5, 50, 10_000.0))
    names = ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[2:], float))
    lots = {"AAA": Decimal(1), "BBB": Decimal("0.001")}
    return Bars.from_pandas(frame, lot=lots, timeframe="1min")


def venue_by_hand(*, bars=None, faults=None, refuses_unpayable=True, rate_max=None,
                  plan="paid", keeps_hours=False, scopes=SCOPES, **assumed):  # fmt: skip
    """Return a venue with two accounts of 100,000."""
    bars = bars if bars is not None else bars_by_hand()
    settings = settings_of(bars, **{**ASSUMED, **assumed})
    accounts = [
        AccountSpec(
            ACCOUNT,
            "PA0000001",
            ((KEY, SECRET), ("PKSECOND", "second-secret"), ("oauth", OAUTH_TOKEN)),
            scopes,
        ),
        AccountSpec(OTHER_ACCOUNT, "PA0000002", ((OTHER_KEY, OTHER_SECRET),)),
    ]
    return Venue(
        bars, settings, accounts=accounts, faults=faults, refuses_unpayable=refuses_unpayable,
        rate_max=rate_max, plan=plan, keeps_hours=keeps_hours,
    )  # fmt: skip


def step(venue):
    """Take one whole step."""
    told = venue.begin()
    return told if told["done"] else venue.close()


@contextmanager
def served(venue, **words):
    """Serve a venue on the loopback interface; yields its port."""
    with listening(app_of(venue, control_token=TOKEN, **words)) as port:
        yield port


class Switch:
    """An application that can be exchanged while its server runs."""

    app = None

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

    def put(self, venue):
        self.app = app_of(venue, control_token=TOKEN)
        return venue


@contextmanager
def listening(app):
    """Serve an application on the loopback interface; yields its port."""
    server = server_of(app)
    ready = threading.Event()
    port = []
    server.on_ready = lambda listening: (port.append(listening), ready.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(20)
        yield port[0]
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def http(port, headers=HEADERS):
    """Return an HTTP client of the venue."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)


def ask(venue, method, path, body=None, query=None, headers=HEADERS):
    """Ask the core in process."""
    return venue.handle(method, path, query or {}, body, headers)


def market(side="buy", qty="100", symbol="AAA", **more):
    """Return the body of a market order for the day."""
    return {
        "symbol": symbol, "side": side, "qty": qty, "type": "market", "time_in_force": "day",
        **more,
    }  # fmt: skip


def limit(price, side="buy", qty="10", symbol="AAA", **more):
    """Return the body of a limit order until cancelled."""
    return {
        "symbol": symbol, "side": side, "qty": qty, "type": "limit", "time_in_force": "gtc",
        "limit_price": price, **more,
    }  # fmt: skip
