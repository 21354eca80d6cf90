"""The end of a session: what the venue filled, held against the log order by order."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from mqd.live.closing import booked_quantities, told_quantities, worst_counts


def fill(order, qty):
    return {"activity_type": "FILL", "order_id": order, "qty": qty}


def test_fills_are_told_by_our_names_and_others_apart():
    ours = {"v1": "a", "v2": "b", "v2-heir": "b"}
    told = told_quantities(
        [fill("v1", "1.5"), fill("v1", "2"), fill("v2", "1"), fill("v2-heir", "4"),
         fill("hand", "7"), {"activity_type": "FEE", "net_amount": "-1"}],
        lambda name: ours.get(name, ""),
    )  # fmt: skip
    assert told == {
        "a": {"v1": Decimal("3.5")}, "b": {"v2": Decimal(1), "v2-heir": Decimal(4)},
        "": {"hand": Decimal(7)},
    }  # fmt: skip


def test_what_is_booked_has_our_name_also_when_the_venues_was_never_learnt():
    order = SimpleNamespace(client_order_id="a", scale=SimpleNamespace(lot=Decimal("0.5")))
    state = SimpleNamespace(order=order, booked_lots=7, venue_order_id="")
    machine = SimpleNamespace(states=lambda: [state])
    desk = SimpleNamespace(parts=SimpleNamespace(machine=machine))
    assert booked_quantities(desk) == {"a": Decimal("3.5")}


ONE = "mq1-1e56-6hcol5a2gmfxcx3btet2qumm3k"
OTHER = "mq1-1e56-aaaaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("client_ids", "told", "counts"),
    [
        ({"v9": "by-hand-1"}, {ONE: {"v1": 5}, "": {"v9": 7}}, (0, 0)),
        ({"v9": ""}, {ONE: {"v1": 5}, "": {"v9": 7}}, (0, 0)),
        ({"v9": OTHER}, {ONE: {"v1": 5}, "": {"v9": 7}}, (1, 0)),
        ({"v1": ONE}, {"": {"v1": 5}}, (0, 0)),
        ({"v9": ONE}, {ONE: {"v1": 5}, "": {"v9": 1}}, (0, 1)),
        ({}, {ONE: {"v1": 6}}, (0, 1)),
        ({}, {ONE: {"v1": 3, "v1-heir": 2}}, (0, 0)),
    ],
    ids=["by hand", "no id", "ours twice", "forgotten", "more than booked", "lost", "replaced"],
)
def test_only_orders_with_an_id_of_ours_count_as_duplicates(client_ids, told, counts):
    told = {name: {k: Decimal(v) for k, v in parts.items()} for name, parts in told.items()}
    assert worst_counts(told, {ONE: Decimal(5)}, client_ids.__getitem__) == counts
