"""The end of a session: what the venue filled, held against the log order by order."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

from mqd.live.closing import booked_quantities, told_quantities


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
