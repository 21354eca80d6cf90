"""Faults as a client of the venue meets them: over HTTP, on the socket, and in process."""

import asyncio
import json
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mqd.venue.faults import FaultPlan
from mqd.venue.venue import Unanswered
from tests.venue.venue_bench import (
    ACCOUNT,
    KEY,
    SECRET,
    ask,
    http,
    limit,
    market,
    served,
    step,
    venue_by_hand,
)


def plan(*faults):
    return FaultPlan.from_dict({"faults": [dict(one) for one in faults]})


def fault(name, at=1, **parameters):
    return {"name": name, "at": at, "parameters": parameters}


def venue_with(*faults):
    venue = venue_by_hand(faults=plan(*faults))
    step(venue)
    return venue, venue.books[ACCOUNT]


def post(port, body):
    with http(port) as client:
        return client.post("/v2/orders", json=body)


def test_a_dropped_connection_is_a_transport_error_and_nothing_was_done():
    venue, book = venue_with(fault("drop_tcp"))
    with served(venue) as port:
        with pytest.raises(httpx.TransportError):
            post(port, limit("90"))
        assert book.orders == {}
        assert post(port, limit("90")).status_code == 200


def test_a_connection_dropped_after_the_order_was_taken_leaves_the_order():
    venue, book = venue_with(fault("drop_tcp_after_accept"))
    with served(venue) as port:
        with pytest.raises(httpx.TransportError):
            post(port, limit("90", client_order_id="mine"))
        with http(port) as client:
            found = client.get(
                "/v2/orders:by_client_order_id", params={"client_order_id": "mine"}
            ).json()
        again = post(port, limit("90", client_order_id="mine"))
    assert found["status"] == "new"
    assert (again.status_code, again.json()["code"]) == (422, 40010001)
    assert len(book.orders) == len(book.broker.open_orders()) == 1


def test_a_504_after_accept_leaves_the_order():
    venue, book = venue_with(fault("gateway_timeout_after_accept"))
    with served(venue) as port:
        assert post(port, limit("90")).status_code == 504
    assert len(book.broker.open_orders()) == 1


def test_a_hanging_request_does_not_hold_up_the_others():
    venue, book = venue_with(fault("hang", seconds=1.0))

    async def both(port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False,
            headers={"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET},
        ) as client:  # fmt: skip
            hanging = asyncio.create_task(client.post("/v2/orders", json=limit("90")))
            await asyncio.sleep(0.2)
            other = await client.get("/v2/account")
            assert not hanging.done()
            with pytest.raises(httpx.TransportError):
                await hanging
            return other.status_code

    with served(venue) as port:
        assert asyncio.run(both(port)) == 200
    assert book.orders == {}


def test_html_goes_out_as_html():
    venue, _ = venue_with(fault("bad_gateway"))
    with served(venue) as port, http(port) as client:
        answer = client.get("/v2/account")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


def test_in_process_an_unanswered_request_raises():
    venue, book = venue_with(fault("hang"), fault("drop_tcp_after_accept"))
    with pytest.raises(Unanswered, match="hang"):
        ask(venue, "POST", "/v2/orders", limit("90"))
    assert book.orders == {}
    with pytest.raises(Unanswered, match="drop"):
        ask(venue, "POST", "/v2/orders", limit("90"))
    assert len(book.orders) == 1


def heard_with(*faults):
    venue = venue_by_hand(faults=plan(*faults))
    frames = []
    venue.on_update(lambda _, frame, __: frames.append(frame["data"]))
    step(venue)
    return venue, frames


@pytest.mark.parametrize(
    ("name", "seqs"),
    [
        ("drop_event", [1, 3]),
        ("duplicate_event", [1, 2, 2, 3]),
        ("partial_fill", [1, 2, None, 3]),
    ],
)  # fmt: skip
def test_the_count_goes_on_whatever_becomes_of_an_update(name, seqs):
    at = 1 if name == "partial_fill" else 2
    venue, frames = heard_with(fault(name, at=at))
    ask(venue, "POST", "/v2/orders", market())
    step(venue)
    assert [one.get("seq") for one in frames] == seqs
    assert venue.state()["updates"] == 3


def test_a_delayed_update_comes_after_the_next_one():
    venue, frames = heard_with(fault("delay_event", at=2, events=1))
    ask(venue, "POST", "/v2/orders", limit("90"))
    ask(venue, "DELETE", "/v2/orders")
    assert [one["event"] for one in frames] == ["pending_new", "canceled", "new"]


def test_a_cancel_may_be_overtaken_by_a_fill():
    venue, frames = heard_with(fault("cancel_fill_race"))
    order = ask(venue, "POST", "/v2/orders", market()).body
    assert ask(venue, "DELETE", f"/v2/orders/{order['id']}").status == 204
    for _ in range(3):
        step(venue)
    assert ask(venue, "GET", f"/v2/orders/{order['id']}").body["status"] == "filled"
    assert frames[-1]["event"] == "fill"


def test_a_foreign_order_and_a_hand_trade_appear_in_the_account():
    venue, _ = heard_with(fault("foreign_order"), fault("hand_trade"))
    ask(venue, "POST", "/v2/orders", limit("90"))
    for _ in range(4):
        step(venue)
    book = venue.books[ACCOUNT]
    assert {record.client_order_id.split("-")[0] for record in book.orders.values()} >= {
        "foreign_order", "hand_trade",
    }  # fmt: skip
    assert book.broker.account_book.lots("AAA") == 1


def test_every_fault_at_once_never_breaks_the_venue():
    venue = venue_by_hand(faults=FaultPlan.all(7), refuses_unpayable=False)
    book = venue.books[ACCOUNT]
    answers = []
    for number in range(14):
        step(venue)
        for method, path, body in (
            ("POST", "/v2/orders", limit(str(95 + number))), ("GET", "/v2/orders", None),
            ("GET", "/v2/positions", None), ("DELETE", "/v2/orders", None),
        ):  # fmt: skip
            with suppress(Unanswered):
                answers.append(ask(venue, method, path, body).status)
    assert {200, 207, 429, 502} <= set(answers)
    assert 30 < len(answers) < 56
    assert [one.id for one in book.working()] == [
        one.client_order_id for one in book.broker.open_orders()
    ]


def test_a_cut_ends_both_sockets_and_wrong_keys_are_the_faults():
    venue = venue_by_hand(faults=plan(fault("auth_failed"), fault("socket_drop")))

    async def talk(port):
        keys = json.dumps({"action": "auth", "key": KEY, "secret": SECRET})
        async with connect(f"ws://127.0.0.1:{port}/stream", proxy=None) as socket:
            await socket.send(keys)
            first = json.loads(await socket.recv())
            await socket.send(keys)
            second = json.loads(await socket.recv())
            await asyncio.to_thread(step_over_http, port)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 5)
            return [one["data"]["status"] for one in (first, second)]

    with served(venue) as port:
        assert asyncio.run(talk(port)) == ["unauthorized", "authorized"]


def step_over_http(port):
    with http(port, {"X-Control-Token": "control"}) as client:
        assert client.post("/_control/begin").json()["step"] == 0
