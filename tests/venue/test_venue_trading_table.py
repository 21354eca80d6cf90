"""Every trading endpoint, status and body of the table, over HTTP, and the broker afterwards."""

import csv
import json
from base64 import b64encode
from pathlib import Path

import pandas as pd
import pytest

from mqd.venue.answer import SCOPES
from mqd.venue.notices import Notices
from tests.venue.venue_bench import (
    ACCOUNT,
    HEADERS,
    KEY,
    OAUTH_TOKEN,
    SECRET,
    TOKEN,
    Switch,
    http,
    limit,
    listening,
    market,
    step,
    venue_by_hand,
)

TABLE = Path(__file__).parents[1] / "tables" / "venue_trading.csv"
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
LEGS = {"take_profit": {"limit_price": "110"}, "stop_loss": {"stop_price": "85"}}
SETUPS = {
    "resting": limit("90", client_order_id="resting"),
    "target": limit("120", side="sell", qty="60"),
    "stop": {
        "symbol": "AAA",
        "side": "sell",
        "qty": "60",
        "type": "stop",
        "time_in_force": "gtc",
        "stop_price": "80",
    },
    "bracket": limit("95", order_class="bracket", **LEGS),
    "notional": {**market(symbol="BBB", notional="75"), "qty": None},
}
TOKENS = {"Bearer": OAUTH_TOKEN, "Basic": b64encode(f"{KEY}:{SECRET}".encode()).decode()}
CONFIGURED = {
    "suspend": {"suspend_trade": True}, "noshort": {"no_shorting": True},
    "whole": {"fractional_trading": False}, "once": {"max_margin_multiplier": "1"},
}  # fmt: skip
FILLED = {"long": market(), "short": market("sell", "50"), "longbbb": market(qty="2", symbol="BBB")}


@pytest.fixture(scope="module")
def server():
    switch = Switch()
    with listening(switch) as port:
        yield switch, port


class Scene:
    """One row's venue with what its setup has made."""

    def __init__(self, switch, port, row):
        words = row["setup"].split()
        scopes = SCOPES - {word.removeprefix("no:") for word in words}
        self.venue = switch.put(venue_by_hand(
            keeps_hours="hours" in words, scopes=scopes, plan="free" if "free" in words else "paid",
        ))  # fmt: skip
        self.book = self.venue.books[ACCOUNT]
        self.row = row
        self.names = {"asset": self.venue.scene.asset_id("AAA"), "order": "", "leg": ""}
        headers = dict(HEADERS)
        if "badkey" in row["setup"]:
            headers["APCA-API-SECRET-KEY"] = "wrong"
        for word in ("Bearer", "Basic"):
            if word in words:
                headers = {"Authorization": f"{word} {TOKENS[word]}"}
        if row["path"].startswith("/_control"):
            headers["X-Control-Token"] = TOKEN
        self.client = http(port, headers)

    def set_up(self):
        step(self.venue)
        for word in self.row["setup"].split():
            self._set_up(word)

    def _set_up(self, word):
        if word in SETUPS:
            self._post(SETUPS[word])
        elif word in FILLED:
            self._post(FILLED[word])
            step(self.venue)
        elif word == "cancel":
            assert self.client.delete(f"/v2/orders/{self.names['order']}").status_code == 204
        elif word == "night":
            while not step(self.venue)["ends_session"]:
                continue
        elif word.startswith(("at", "next")):
            midnight = pd.Timestamp(self.venue.now_ns, tz="America/New_York").normalize()
            days = pd.Timedelta(days=int(word.startswith("next")))
            at = (
                midnight + days + pd.Timedelta(word.removeprefix("at").removeprefix("next") + ":00")
            )
            self.venue.pass_time(at.value)
        elif word == "corrected":
            body = {"symbol": "AAA", "id": 3, "price": "100.25", "size": 100}
            assert Notices(self.venue).correction(body)["T"] == "c"
        elif word == "voided":
            assert Notices(self.venue).trade_cancel({"symbol": "AAA", "id": 2})["T"] == "x"
        elif word in CONFIGURED:
            path = "/v2/account/configurations"
            assert self.client.patch(path, json=CONFIGURED[word]).status_code == 200
        elif word.startswith("told:"):
            body = {"client_order_id": "resting", "event": word.removeprefix("told:")}
            assert Notices(self.venue).order(body)["client_order_id"] == "resting"
        elif word.startswith("un"):
            body = {"symbol": "BBB", word.removeprefix("un"): False}
            assert Notices(self.venue).asset(body)["symbol"] == "BBB"

    def _post(self, body):
        answer = self.client.post("/v2/orders", json=body)
        assert answer.status_code == 200, answer.text
        order = answer.json()
        self.names["order"] = order["id"]
        self.names["leg"] = order["legs"][0]["id"] if order["legs"] else ""

    def ask(self):
        row = self.row
        path, query = (self.fill(row[part]) for part in ("path", "query"))
        url = f"{path}?{query}" if query else path
        return self.client.request(row["method"], url, content=row["body"] or None)

    def fill(self, text):
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text


def shown(body, name):
    """Return what a body shows under a name: n, legs, 0.key, or a key."""
    if name == "n":
        return str(len(body))
    if name == "legs":
        return ",".join(leg["status"] for leg in body["legs"])
    place, _, key = name.rpartition(".")
    for part in place.split(".") if place else ():
        body = body[int(part) if part.isdigit() else part]
    return str(body[int(key)] if isinstance(body, list) else body[key])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_an_endpoint_answers_as_the_table_says(row, server):
    scene = Scene(*server, row)
    with scene.client:
        scene.set_up()
        answer = scene.ask()
    assert answer.status_code == int(row["status"]), answer.text
    body = json.loads(answer.text) if answer.text else None
    if row["code"]:
        assert body["code"] == int(row["code"])
    assert (
        row["message"] in (body or {"message": ""}).get("message", "") if row["message"] else True
    )
    for word in row["shows"].split():
        name, _, expected = scene.fill(word).partition("=")
        assert shown(body, name).replace(" ", "_") == expected, name
    assert_state(scene.book, row["after"])


def assert_state(book, after):
    """The simulated broker holds what the row says: open orders, and lots of AAA."""
    broker = book.broker
    found = {
        "open": len(broker.open_orders()), "lots": broker.account_book.lots("AAA"),
    }  # fmt: skip
    for word in after.split():
        name, _, expected = word.partition("=")
        assert found[name] == int(expected), name
    assert {one.client_order_id for one in broker.open_orders()} == {
        record.id for record in book.working()
    }
