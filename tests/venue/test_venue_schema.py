"""Requests made from the venue's own OpenAPI specification: each is answered, none with a 5xx."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqd.venue.app import app_of
from mqd.venue.errors import Refused
from mqd.venue.openapi import operations
from tests.venue.venue_bench import HEADERS, ask, limit, market, step, venue_by_hand

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis

CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def surroundings():
    """A venue with a position, a resting order and a group, and its specification."""
    venue = venue_by_hand()
    step(venue)
    assert ask(venue, "POST", "/v2/orders", market()).status == 200
    step(venue)
    assert ask(venue, "POST", "/v2/orders", limit("90")).status == 200
    schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(venue))
    found = {one.ok().label: one.ok() for one in schema.get_all_operations()}
    return venue, found


def test_the_specification_names_every_route(surroundings):
    _, found = surroundings
    assert set(found) == {f"{one.method} {one.path}" for one in operations()}
    assert len(found) == 31


@pytest.mark.parametrize("label", [f"{one.method} {one.path}" for one in operations()])
@settings(max_examples=25, deadline=None, suppress_health_check=CALM)
@given(data=st.data())
def test_no_request_of_the_specification_breaks_the_venue(label, surroundings, data):
    venue, found = surroundings
    case = data.draw(found[label].as_strategy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        response = case.call(headers=HEADERS)
    documented = {int(code) for code in found[label].definition.raw["responses"]}
    assert response.status_code in documented | {404, 405}, response.text
    ids = {one.client_order_id for one in venue.first.broker.open_orders()}
    assert ids == {record.id for record in venue.first.working()}


AMOUNTS = st.one_of(
    st.integers(-(10**30), 10**30), st.text(max_size=12), st.booleans(), st.none(),
    st.decimals(allow_nan=True, allow_infinity=True).map(str), st.sampled_from(["1", "10", "95.5"]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip
WORDS = {
    "symbol": st.sampled_from(["AAA", "BBB", "ZZZ", "", None]) | st.integers(),
    "side": st.sampled_from(["buy", "sell", "hold", None]),
    "type": st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop", "x", None]),
    "time_in_force": st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "cls", "x", None]),
    "order_class": st.sampled_from(["", "simple", "bracket", "oco", "oto", "x", None]),
}
PRICES = ("qty", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
LEG = st.none() | st.text(max_size=3) | st.fixed_dictionaries(
    {}, optional={"limit_price": AMOUNTS, "stop_price": AMOUNTS}
)  # fmt: skip
BODIES = st.fixed_dictionaries(
    WORDS,
    optional={**dict.fromkeys(PRICES, AMOUNTS), "client_order_id": AMOUNTS, "take_profit": LEG,
              "stop_loss": LEG, "extended_hours": AMOUNTS},
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=4))
def test_a_body_is_an_order_or_a_sentence_and_the_books_stay_whole(surroundings, bodies):
    venue, _ = surroundings
    book = venue.first
    for body in bodies:
        before = len(book.orders)
        answer = ask(venue, "POST", "/v2/orders", body)
        assert answer.status in (200, 403, 422)
        if answer.status == 200:
            assert len(book.orders) > before
            assert book.by_client_id[answer.body["client_order_id"]].id == answer.body["id"]
        else:
            assert len(book.orders) == before
            assert set(answer.body) >= {"code", "message"}
    assert [one.id for one in book.working()] == [
        one.client_order_id for one in book.broker.open_orders()
    ]


def test_a_refusal_says_status_and_code_in_its_text():
    assert str(Refused(422, 42210000, "no")) == "HTTP 422, code 42210000: no"
