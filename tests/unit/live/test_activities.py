"""What an account did since a desk began: each entry once, whenever it is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.adapters.alpaca.wire import stamp_ns
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, iso
from mqd.errors import MqdError
from mqd.live.activities import (
    AGAIN_NS,
    OTHERS,
    TRADES,
    ActivityReader,
    Booked,
    account_of,
    fills_of,
    instant_of,
    is_since,
)  # fmt: skip

NOON = stamp_ns("2022-05-19T16:00:00Z")
QUANTUM = Decimal("1e-8")


def fill(name, at_ns, order="v1"):
    return {
        "id": name, "activity_type": "FILL", "transaction_time": iso(at_ns), "order_id": order,
    }  # fmt: skip


def charge(name, day, amount="-1.5", kind="FEE", **more):
    return {"id": name, "activity_type": kind, "date": day, "net_amount": amount, **more}


class Account:
    """Tells its entries as Alpaca does: strictly after an instant, one category at a time."""

    def __init__(self):
        self.entries, self.asked, self.down = [], [], ""

    def activities(self, after_id="", *, after_ns=None, category=""):
        self.asked.append((after_ns, category))
        if category == self.down:
            raise MqdError("no answer")
        trades = category == TRADES
        return [
            one
            for one in self.entries
            if (one["activity_type"] == "FILL") is trades
            and (after_ns is None or instant_of(one) > after_ns)
        ]


@pytest.fixture
def account():
    return Account()


def names(entries):
    return [one["id"] for one in entries]


def test_each_entry_is_told_once(account):
    reader = ActivityReader(account, NOON)
    account.entries = [fill("f1", NOON + 1), charge("c1", "2022-05-19")]
    assert names(reader.new()) == ["f1", "c1"]
    assert reader.new() == []
    account.entries.append(fill("f2", NOON + 2))
    assert names(reader.new()) == ["f2"]


def test_a_dividend_of_midnight_that_is_told_at_noon_is_found(account):
    """Its stamp lies before fills that were read hours ago."""
    reader = ActivityReader(account, NOON - 60 * NS_PER_MINUTE)
    account.entries = [fill("f1", NOON)]
    assert names(reader.new()) == ["f1"]
    account.entries.append(charge("d1", "2022-05-19", "3.2", "DIV"))
    assert names(reader.new()) == ["d1"]
    account.entries.append(charge("d2", "2022-05-19", "3.3", "DIV"))
    assert names(reader.new()) == ["d2"]


def test_a_fill_that_is_posted_after_a_later_one_is_found(account):
    reader = ActivityReader(account, NOON)
    account.entries = [fill("late", NOON + 5 * NS_PER_MINUTE)]
    reader.new()
    account.entries.insert(0, fill("early", NOON + 2 * NS_PER_MINUTE))
    assert names(reader.new()) == ["early"]


def test_what_was_before_the_desk_is_none_of_it(account):
    reader = ActivityReader(account, NOON)
    account.entries = [
        fill("old", NOON), fill("new", NOON + 1), charge("yesterday", "2022-05-18"),
        charge("today", "2022-05-19"),
        charge("this morning", "2022-05-19", created_at=iso(NOON - 1)),
        charge("this evening", "2022-05-19", created_at=iso(NOON + 1)),
    ]  # fmt: skip
    wanted = ["new", "today", "this evening"]
    assert names(reader.all()) == wanted
    assert names(reader.new()) == wanted


def test_without_a_beginning_everything_counts(account):
    account.entries = [fill("old", NOON - 999 * NS_PER_DAY), charge("c", "2019-01-02")]
    reader = ActivityReader(account)
    assert names(reader.new()) == ["old", "c"]
    assert account.asked[0] == (None, TRADES)


def test_a_day_is_new_yorks(account):
    """01:00 UTC on the 20th is 21:00 on the 19th in New York."""
    since = stamp_ns("2022-05-20T01:00:00Z")
    assert is_since(charge("c", "2022-05-19"), since)
    assert not is_since(charge("c", "2022-05-18"), since)
    assert instant_of(charge("c", "2022-05-19")) == stamp_ns("2022-05-19T04:00:00Z")
    assert instant_of({"id": "x"}) == 0


@pytest.mark.parametrize("category", [TRADES, OTHERS])
def test_a_question_that_fails_loses_nothing(account, category):
    reader = ActivityReader(account, NOON)
    account.entries = [fill("f1", NOON + 1), charge("c1", "2022-05-19")]
    account.down = category
    with pytest.raises(MqdError):
        reader.new()
    account.down = "none"
    assert names(reader.new()) == ["f1", "c1"]


def test_memory_is_bounded(account):
    reader = ActivityReader(account, NOON)
    for minute in range(0, 600, 3):
        account.entries = [fill(f"f{minute}", NOON + 1 + minute * NS_PER_MINUTE)]
        assert names(reader.new()) == [f"f{minute}"]
    assert len(reader._seen[TRADES]) <= 2 * AGAIN_NS[TRADES] // (3 * NS_PER_MINUTE) + 1


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), max_size=40),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_whatever_comes_within_the_overlap_is_told_exactly_once(told, every):
    """Fills up to nine minutes late, in any order, asked for every few entries."""
    account, heard = Account(), []
    reader = ActivityReader(account, NOON)
    posted = sorted(enumerate(told), key=lambda pair: pair[1][0] + pair[1][1])
    for count, (number, (minute, _)) in enumerate(posted):
        account.entries.append(fill(f"f{number}", NOON + 1 + minute * NS_PER_MINUTE))
        if count % every == 0:
            heard += names(reader.new())
    heard += names(reader.new())
    assert sorted(heard) == sorted(f"f{number}" for number in range(len(told)))


def test_charges_that_a_log_holds_are_not_booked_again():
    entries = [
        charge("c1", "2022-05-19"), charge("d1", "2022-05-19", "3.2", "DIV", symbol="MSFT"),
        charge("i1", "2022-05-20", "-0.25", "INT"), charge("zero", "2022-05-20", "0"),
    ]  # fmt: skip
    booked = Booked(["c1"])
    found = booked.new_charges(entries, QUANTUM)
    assert [(one.account, one.symbol, one.amount, one.activity) for one in found] == [
        ("dividends", "MSFT", 320_000_000, "d1"), ("borrow", "", -25_000_000, "i1"),
    ]  # fmt: skip
    assert booked.new_charges(entries, QUANTUM) == []


def test_charges_of_a_log_without_ids_are_passed_over_by_number():
    entries = [charge(f"c{number}", "2022-05-19") for number in range(4)]
    booked = Booked(["c2"], 2)
    assert [one.activity for one in booked.new_charges(entries, QUANTUM)] == ["c3"]


def test_fills_are_those_that_can_be_read():
    entries = [fill("f1", NOON), charge("c1", "2022-05-19"), fill("f2", NOON)]
    assert fills_of(entries, lambda one: None if one["id"] == "f1" else one["id"]) == ["f2"]


def test_a_desk_that_goes_on_asks_from_a_day_before_what_it_heard(account):
    """Not from its beginning: a year of fills would be read at each restart."""
    heard = NOON + 300 * NS_PER_DAY
    account.entries = [
        fill("old", heard - 2 * NS_PER_DAY), fill("down", heard + 1),
        fill("yesterday", heard - NS_PER_DAY + NS_PER_MINUTE),
    ]  # fmt: skip
    reader = ActivityReader(account, NOON, heard)
    assert sorted(names(reader.all())) == ["down", "yesterday"]
    assert sorted(names(reader.new())) == ["down", "yesterday"]
    assert ActivityReader(account, heard, heard).new() == [account.entries[1]]


@pytest.mark.parametrize(
    ("kind", "account"),
    [
        ("FEE", "fees"), ("CFEE", "fees"), ("PTC", "fees"), ("DIV", "dividends"),
        ("DIVNRA", "dividends"), ("DIVCGL", "dividends"), ("DIVROC", "dividends"),
        ("INT", "borrow"), ("INTNRA", "borrow"), ("CSD", "deposits"), ("CSW", "deposits"),
        ("JNLC", "deposits"), ("MISC", ""), ("SPLIT", ""), ("None", ""),
    ],
)  # fmt: skip
def test_each_kind_has_its_account(kind, account):
    assert account_of(kind) == account


def test_a_dividend_with_its_tax_and_a_deposit_are_booked():
    entries = [
        charge("d", "2022-05-19", "10", "DIV"), charge("t", "2022-05-19", "-1.5", "DIVNRA"),
        charge("w", "2022-05-19", "2500", "CSD"),
    ]  # fmt: skip
    found = Booked().new_charges(entries, Decimal("0.01"))
    assert [(one.account, one.amount) for one in found] == [
        ("dividends", 1000), ("dividends", -150), ("deposits", 250_000),
    ]  # fmt: skip
    unsure = Booked(flows=False).new_charges(entries, Decimal("0.01"))
    assert [one.activity for one in unsure] == ["d", "t"]


@pytest.mark.parametrize("amount", ["NaN", "1,000.00", "Infinity", "many", {}, [1]])
def test_an_amount_that_nobody_can_read_is_no_charge_and_no_crash(amount):
    assert Booked().new_charges([charge("c", "2022-05-19", amount)], QUANTUM) == []
