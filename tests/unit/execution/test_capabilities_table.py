"""What the venue takes, against tables written from its documentation."""

import csv
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

from mqd.core.instrument import AssetClass
from mqd.core.money import Scale
from mqd.core.order import OrderClass, OrderType, TimeInForce
from mqd.execution.capabilities import crosses, refusal, sub_penny
from tests.unit.execution.replayed import Replayed, parse_order

TABLES = Path(__file__).parents[2] / "tables"
FINE = Scale.of(Decimal("0.0001"), Decimal(1), Decimal("1e-8"))
FLAT_BARS = "100/101/99/100 100/101/99/100 100/101/99/100"


def rows(name):
    with (TABLES / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def shape(kind, order_type, tif, order_class):
    """Return what the venue says of 15 lots; a share has 10 lots when it can be broken."""
    order = parse_order(f"o buy 15 {order_type} {tif} class={order_class}")
    asset = AssetClass.CRYPTO if kind == "crypto" else AssetClass.EQUITY
    return refusal(order, asset, 10 if kind == "fractional" else 1, 0)


@pytest.mark.parametrize(
    "row", rows("capabilities.csv"), ids=lambda row: f"{row['type']} {row['kind']} {row['class']}"
)
def test_type_time_in_force_and_class(row):
    taken = [
        tif.value
        for tif in TimeInForce
        if not shape(row["kind"], row["type"], tif.value, row["class"])
    ]
    assert sorted(taken) == sorted(row["time_in_force"].split())


def test_the_table_is_the_whole_product():
    said = {(row["type"], row["kind"], row["class"]) for row in rows("capabilities.csv")}
    kinds = ("whole", "fractional", "crypto")
    assert said == set(product((t.value for t in OrderType), kinds, (c.value for c in OrderClass)))


@pytest.mark.parametrize("row", rows("wash_trades.csv"), ids=lambda row: row["case"])
def test_wash_trades(row):
    def order(name, text):
        side, kind, *rest = text.split()
        return parse_order(f"{name} {side} 10 {kind} {' '.join(rest)}")

    refused = crosses(order("n", row["new"]), order("r", row["resting"]))
    assert refused is (row["refused"] == "yes")


@pytest.mark.parametrize(
    ("side", "lots", "position", "working", "refused"),
    [
        ("sell", 10, 10, 0, False),
        ("sell", 11, 10, 0, True),  # long to short in one order
        ("sell", 11, 0, 0, False),  # a short
        ("sell", 11, -5, 0, False),  # more of it
        ("sell", 6, 10, 5, True),  # 5 are promised to an open order
        ("sell", 5, 10, 5, False),
        ("sell", 1, 10, 10, True),
        ("buy", 10, -10, 0, False),
        ("buy", 11, -10, 0, True),
        ("buy", 6, -10, 5, True),
        ("buy", 11, 10, 0, False),
    ],
)
def test_insufficient_quantity(side, lots, position, working, refused):
    order = parse_order(f"o {side} {lots} market")
    why = refusal(order, AssetClass.EQUITY, 1, position, working)
    assert why.startswith("insufficient qty") is refused
    if refused:
        assert f"(requested: {lots}, available: {abs(position) - working})" in why


@pytest.mark.parametrize(
    ("lots", "position", "refused"),
    [
        (15, 15, False),
        (15, 20, False),
        (15, 14, True),
        (15, 0, True),
        (15, -20, True),
        (20, 0, False),
    ],
)
def test_fractions_are_never_sold_short(lots, position, refused):
    order = parse_order(f"o sell {lots} market")
    why = refusal(order, AssetClass.EQUITY, 10, position)
    assert (why == "fractional orders cannot be sold short") is refused


@pytest.mark.parametrize(
    ("terms", "refused"),
    [
        ("limit limit=1000000", False),  # 100.00
        ("limit limit=1000100", False),  # 100.01
        ("limit limit=1000050", True),  # 100.005
        ("limit limit=10000", False),  # 1.00
        ("limit limit=10001", True),  # 1.0001
        ("limit limit=9999", False),  # 0.9999
        ("stop stop=1000001", True),
        ("stop stop=9999", False),
        ("stop_limit stop=1000000 limit=1000001", True),
        ("stop_limit stop=1000001 limit=1000000", True),
        ("market", False),
    ],
)
def test_prices_move_in_cents_from_a_dollar_on(terms, refused):
    kind, *rest = terms.split()
    order = parse_order(f"o buy 1 {kind} {' '.join(rest)}")._replace(scale=FINE)
    assert bool(sub_penny(order)) is refused


def rejections(commands, **given):
    held = given.pop("hold", 0)
    venue = Replayed(FLAT_BARS, **given)
    if held:
        venue.hold("A", held, 100)
    venue.run({"0.0": commands})
    return {r.client_order_id: r.text for _, r in venue.said if r.kind == "rejected"}


def test_the_venue_refuses_a_wash_trade_and_keeps_the_first_order():
    said = rejections(["l buy 10 limit limit=95", "m sell 5 limit limit=94"], hold=10)
    assert list(said) == ["m"]
    assert "wash trade" in said["m"]


def test_two_sales_of_one_holding_are_refused():
    said = rejections(["a sell 6 limit gtc limit=105", "b sell 5 limit gtc limit=106"], hold=10)
    assert list(said) == ["b"]
    assert "available: 4" in said["b"]


def test_a_pair_promises_its_quantity_once():
    pair = (
        "tp sell 6 limit gtc limit=105 class=oco group=g"
        " + sl sell 6 stop gtc stop=95 class=oco group=g"
    )
    assert rejections([pair, "b sell 4 limit gtc limit=106"], hold=10) == {}
    assert list(rejections([pair, "b sell 5 limit gtc limit=106"], hold=10)) == ["b"]


def test_what_a_replaced_order_promised_is_free_again():
    commands = ["a sell 10 limit gtc limit=105", "replace a b sell 10 limit gtc limit=104"]
    assert rejections(commands, hold=10) == {}


def test_a_refused_leg_refuses_the_group():
    entry = "e buy 10 market class=bracket group=g"
    group = f"{entry} + tp sell 10 limit ioc limit=105 class=bracket group=g parent=e"
    assert list(rejections([group])) == ["e", "tp"]


def test_a_cash_account_holds_no_shorts():
    said = rejections(["a sell 11 market"], hold=10, kind="cash")
    assert said == {"a": "a cash account holds no short positions"}
    assert rejections(["a sell 10 market"], hold=10, kind="cash") == {}


def test_the_desk_keeps_protective_orders_on_coins_itself():
    crypto = {"asset_class": AssetClass.CRYPTO}
    assert list(rejections(["s sell 10 stop gtc stop=95"], hold=10, **crypto)) == ["s"]
    kept = ["s sell 10 stop gtc stop=95 reason=stop_loss"]
    assert rejections(kept, hold=10, **crypto) == {}
