"""A person takes on what no execution of ours explains: the log says so, and the desk goes on."""

from decimal import Decimal

import pytest
import requests

from mqd.live.status import open_orders
from mqd.log_reader import read
from tests.simulation.zeros import store_differs
from tests.venue.paper_world import (
    ACCOUNT_ID,
    mqd,
    said,
    start_venue,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.slow
PACE = 150


def records(state, *kinds):
    begun = any((state / "log").glob("*.ndjson"))
    return [one.payload for one in read(state) if one.kind in kinds] if begun else []


class World:
    """A venue, a desk's configuration and the account's own hands."""

    def __init__(self, venue, folder):
        self.venue, self.state = venue, folder / "state"
        self.config = write_config(folder, venue)
        self.signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}

    def ask(self, path, body=None):
        how = "POST" if body else "GET"
        url = f"{self.venue.url}{path}"
        return requests.request(how, url, json=body, headers=self.signed, timeout=10).json()

    def trade_by_hand(self, side, qty):
        order = {"symbol": "MSFT", "qty": qty, "type": "market", "time_in_force": "day"}
        name = self.ask("/v2/orders", order | {"side": side})["id"]
        wait_for(lambda: self.ask(f"/v2/orders/{name}")["status"] == "filled")

    def desk(self, *words):
        return mqd("paper", self.config, "--rehearsal", f"{PACE}x", "--json", *words)

    def stop(self, desk, fills):
        """Stop a desk after as many fills, at a moment when no order of ours is open."""
        for _ in range(5):
            wait_for(
                lambda: len(records(self.state, "fill")) >= fills and not open_orders(self.state)
            )
            desk.terminate()
            told = said(desk)
            if not open_orders(self.state):
                return told
            desk = self.desk()
        raise AssertionError("an order was open at each stop")

    def reconcile(self, *words):
        return said(mqd("reconcile", self.config, "--rehearsal", "--json", *words))

    def adopt(self, reason="bought by hand", account=ACCOUNT_ID, *words):
        return self.reconcile("--adopt", reason, "--account", account, *words)


def test_what_was_traded_by_hand_is_adopted_and_the_desk_goes_on(tmp_path):
    with start_venue(tmp_path, PACE) as venue:
        world = World(venue, tmp_path)
        first = world.desk()
        wait_for(lambda: len(records(world.state, "fill")) >= 2)
        code, _, why = world.adopt()
        assert (code, "is in use" in why or "holds" in why) == (3, True), why
        assert world.stop(first, fills=2)[0] == 0
        code, _, why = world.adopt()
        assert (code, "our books and the venue's agree" in why) == (1, True), why
        world.trade_by_hand("buy", "7")
        code, told, _ = world.reconcile()
        assert (code, told["breaks"][0]["kind"]) == (1, "manual_trade")
        code, _, why = said(world.desk())
        assert (code, "books and venue differ" in why) == (1, True), why
        refusals = [(("  ",), "with a reason"), (("why", "another-account"), "the typed account")]
        for words, sentence in refusals:
            code, _, why = world.adopt(*words)
            assert (code in (1, 2), sentence in why) == (True, True), why
        assert not records(world.state, "action")
        code, told, why = world.adopt("seven bought by hand", ACCOUNT_ID, "--by", "A. Trader")
        assert (code, [one["kind"] for one in told["adopted"]]) == (0, ["manual_trade", "cash"]), (
            why
        )
        (record,) = records(world.state, "action")
        assert (record["reason"], record["by"]) == ("seven bought by hand", "A. Trader")
        assert Decimal(record["qty_after"]) - Decimal(record["qty_before"]) == 7
        assert Decimal(record["cash"]) + Decimal(record["cost_delta"]) == 0
        code, told, why = world.reconcile()
        assert (code, told["equal"]) == (0, True), str(told)
        assert store_differs(world.state) == []
        code, _, why = said(world.desk())
        assert (code, "a latch is set (HALT" in why) == (1, True), why
        rearmed = mqd("rearm", world.config, "--reason", "adopted", "--account", ACCOUNT_ID)
        assert said(rearmed)[0] == 0
        code, told, why = world.stop(world.desk(), fills=5)
        assert (code, told["breaks"], told["lost_fills"]) == (0, [], 0), why
        code, told, why = world.reconcile()
        assert (code, told["equal"]) == (0, True), str(told)
        assert store_differs(world.state) == []


def test_an_order_by_hand_that_still_works_is_not_adopted(tmp_path):
    with start_venue(tmp_path, PACE) as venue:
        world = World(venue, tmp_path)
        first = world.desk()
        wait_for(lambda: records(world.state, "decision"))
        assert world.stop(first, fills=0)[0] == 0
        order = {"symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit"}
        world.ask("/v2/orders", order | {"limit_price": "1.00", "time_in_force": "gtc"})
        before = len(list(read(world.state)))
        code, _, why = world.adopt()
        assert (code, "cancel it first" in why) == (1, True), why
        assert len(list(read(world.state))) == before
