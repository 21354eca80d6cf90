"""What a fill may cost: trimming at the open, settlement, and what a cash account cannot do."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from mqd.core.bar import ActionKind, CorporateAction
from mqd.core.money import Scale
from mqd.core.order import Side
from mqd.execution.costs import Costs
from mqd.execution.tape import Tape, capacity_lots
from mqd.execution.venue_account import CashActivity, VenueAccount, split_position
from tests.unit.execution.replayed import CENT, QUANTUM, SCALE, Replayed

BARS = "100/101/99/100 100/101/99/100"
USD = 10**8


def filled(venue):
    return {
        r.client_order_id: (r.last_lots, r.last_ticks) for _, r in venue.said if r.last_lots > 0
    }


@pytest.mark.parametrize(
    ("given", "costs", "want", "got"),
    [
        ({"cash": "10"}, {}, 10, 10),
        ({"cash": "10"}, {}, 11, 10),
        ({"cash": "9.99"}, {}, 10, 9),
        # 9 lots: 9.00 + 0.09; 10 lots: 10.00 + 0.10
        ({"cash": "10"}, {"fee_bps": 100}, 10, 9),
        ({"cash": "10.10"}, {"fee_bps": 100}, 10, 10),
        ({"cash": "10.09999999"}, {"fee_bps": 100}, 10, 9),
        # 8 lots: 8 x 1.25
        ({"cash": "10"}, {"fee_per_share": 0.25}, 10, 8),
        # at 1.01: 9.09; 10 lots: 10.10
        ({"cash": "10"}, {"slippage_bps": 100}, 10, 9),
        # at 1.01 and a tenth of a dollar a share: 1.11 x 9 = 9.99
        ({"cash": "9.99"}, {"slippage_bps": 100, "fee_per_share": 0.1}, 10, 9),
        ({"cash": "9.98"}, {"slippage_bps": 100, "fee_per_share": 0.1}, 10, 8),
        ({"cash": "10", "multiplier": 2}, {}, 30, 20),
        # 20 of 1.01 are 20.20
        ({"cash": "10", "multiplier": 2}, {"slippage_bps": 100}, 30, 19),
        ({"cash": "10", "kind": "cash"}, {"fee_bps": 100}, 10, 9),
        ({"cash": "0.5"}, {}, 10, 0),
    ],
)
def test_a_market_buy_is_cut_to_what_is_paid(given, costs, want, got):
    venue = Replayed(BARS, costs=Costs(**costs), **given)
    venue.run({"0.0": [f"m buy {want} market"]})
    assert sum(lots for lots, _ in filled(venue).values()) == got
    assert venue.broker.counts.trimmed_fills == (got < want)
    last = venue.said[-1][1]
    assert (last.text == "trimmed to buying power") is (got < want)
    assert venue.account.ledger.cash >= 0 or given.get("multiplier", 1) > 1


def test_a_short_is_cut_the_same():
    venue = Replayed(BARS, cash="10").run({"0.0": ["m sell 11 market"]})
    assert filled(venue) == {"m": (10, 100)}


def test_opens_of_two_symbols_share_one_purse():
    bars = "A: 100/101/99/100 100/101/99/100; B: 50/51/49/50 50/51/49/50"
    venue = Replayed(bars, cash="10", costs=Costs())
    venue.run({"0.0": ["a buy 6 market", "b buy 20 market symbol=B"]})
    assert filled(venue) == {"a": (6, 100), "b": (8, 50)}


def test_slippage_already_paid_lowers_what_is_left():
    # a: 6 at 1.01, worth 6.00: equity 9.94, gross 6.00, left 3.94; b at 0.51: 7 x 0.51 = 3.57
    bars = "A: 100/101/99/100 100/101/99/100; B: 50/51/49/50 50/51/49/50"
    venue = Replayed(bars, cash="10", costs=Costs(slippage_bps=100))
    venue.run({"0.0": ["a buy 6 market", "b buy 20 market symbol=B"]})
    assert filled(venue) == {"a": (6, 101), "b": (7, 51)}


def test_the_gap_of_a_holding_counts():
    # 8 held, 2.00 in cash; at 0.50: equity 6.00, gross 4.00, left 2.00: 4 lots
    venue = Replayed("100/101/99/100 50/51/49/50", cash="10")
    venue.hold("A", 8, 100)
    venue.run({"0.0": ["m buy 10 market"]})
    assert filled(venue) == {"m": (4, 50)}


def test_an_order_that_reduces_is_never_cut():
    # short 10 from 1.00 with 1.00 of equity; at 3.00 equity is 11 - 30 < 0
    venue = Replayed("100/101/99/100 300/301/299/300", cash="1")
    venue.hold("A", -10, 100)
    venue.run({"0.0": ["m buy 10 market"]})
    assert filled(venue) == {"m": (10, 300)}
    assert venue.broker.counts.trimmed_fills == 0


def test_a_limit_of_a_cash_account_pays_with_settled_cash():
    venue = Replayed("100/101/99/100 100/101/94/100", cash="5", kind="cash")
    venue.run({"0.0": ["l buy 10 limit limit=95"]})
    assert filled(venue) == {"l": (5, 95)}


def test_a_cash_account_sells_what_it_holds_and_no_more():
    venue = Replayed("100/101/99/100 90/106/89/100", cash="5", kind="cash")
    venue.hold("A", 10, 100)
    commands = ["t sell 10 limit limit=105", "s sell 10 stop stop=95 reason=stop_loss"]
    venue.run({"0.0": commands})
    assert filled(venue) == {"s": (10, 90)}
    assert venue.account.lots("A") == 0


# --- settlement -------------------------------------------------------------------------------


def day_number(text):
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


CLOSED = [
    "2012-10-29", "2012-10-30", "2012-11-22", "2012-12-25", "2017-09-04", "2017-11-23",
    "2017-12-25", "2024-05-27", "2024-06-19", "2024-07-04", "2024-09-02", "2024-11-28",
    "2024-12-25",
]  # fmt: skip
"""Weekdays on which New York did not trade, in the months of these tests (NYSE's calendar)."""


def cash_account(first, last, usd=0):
    span = np.arange(first, last, dtype="datetime64[D]")
    days = tuple(span[np.is_busday(span, holidays=CLOSED)].astype(int).tolist())
    one = np.array([1000], dtype=np.int64).data
    tape = Tape("A", 0, SCALE, *(one,) * 8)
    account = VenueAccount(
        {"A": tape}, Costs(), usd * USD, QUANTUM, lambda _: 1000, kind="cash", session_days=days
    )
    entry = account.ledger.fill_entry("A", 100, 1000 * CENT, 0)
    account.ledger.book(entry)
    return account, days


@pytest.mark.parametrize(
    ("sold", "settled"),
    [
        ("2012-10-26", "2012-11-02"),  # T+3 over the two days that Sandy closed
        ("2017-08-31", "2017-09-06"),  # T+3 over Labor Day
        ("2017-09-01", "2017-09-07"),  # the last day of T+3
        ("2017-09-05", "2017-09-07"),  # the first day of T+2
        ("2024-05-23", "2024-05-28"),  # T+2 over Memorial Day
        ("2024-05-24", "2024-05-29"),  # the last day of T+2
        ("2024-05-28", "2024-05-29"),  # the first day of T+1
        ("2024-07-03", "2024-07-05"),
        ("2024-11-27", "2024-11-29"),  # over Thanksgiving
    ],
)
def test_a_sale_settles_sessions_later(sold, settled):
    first, last = f"{sold[:7]}-01", f"{settled[:4]}-12-31"
    account, days = cash_account(first, last)
    account.fill("A", Side.SELL, 10, 1000, day_number(sold))
    for day in [day for day in days if day_number(sold) <= day < day_number(settled)]:
        account.open_session(day)
        assert account.affordable("A", Side.BUY, 1000) == 0
    account.open_session(day_number(settled))
    assert account.affordable("A", Side.BUY, 1000) == 10
    assert account.account().settled_quanta == 100 * USD


def test_a_purchase_is_paid_at_once_and_sales_settle_in_turn():
    account, _ = cash_account("2024-06-03", "2024-06-30", usd=50)
    monday = day_number("2024-06-03")
    account.fill("A", Side.BUY, 3, 1000, monday)
    assert account.account().settled_quanta == 20 * USD
    account.fill("A", Side.SELL, 1, 1000, monday)
    account.fill("A", Side.SELL, 2, 1000, monday + 1)
    account.open_session(monday + 1)
    assert account.account().settled_quanta == 30 * USD
    account.open_session(monday + 2)
    assert account.account().settled_quanta == 50 * USD


# --- charges and corporate actions ------------------------------------------------------------


def margin_account(lots, ticks=1000, costs=Costs(), cash=1000):  # noqa: B008
    one = np.array([ticks], dtype=np.int64).data
    account = VenueAccount(
        {"A": Tape("A", 0, SCALE, *(one,) * 8)}, costs, cash * USD, QUANTUM, lambda _: ticks
    )
    account.ledger.book(account.ledger.fill_entry("A", lots, ticks * CENT, 0))
    return account


def test_a_short_pays_borrow_until_the_next_session():
    account = margin_account(-100, costs=Costs(borrow_bps_per_year=50))
    assert account.owes_at_close
    # 1000.00 x 0.005 x 3 / 360 = 0.0416666(6)
    assert account.close_session(3) == [CashActivity("borrow", "A", -4_166_667)]
    assert account.ledger.borrow == 4_166_667
    assert account.ledger.imbalance() == 0


def test_a_long_pays_none():
    account = margin_account(100, costs=Costs(borrow_bps_per_year=50))
    assert not account.owes_at_close
    assert account.close_session(3) == []


def test_regulatory_fees_are_charged_once_at_the_close():
    account = margin_account(1000, ticks=10_000, costs=Costs(regulatory=True))
    account.fill("A", Side.SELL, 1000, 10_000, day_number("2026-04-06"))
    assert account.ledger.fees == 0
    assert account.owes_at_close
    assert account.close_session(1) == [CashActivity("fees", "", -227 * CENT)]
    assert not account.owes_at_close
    assert account.close_session(1) == []
    assert account.ledger.imbalance() == 0


@pytest.mark.parametrize(("lots", "usd"), [(100, "24.00"), (-100, "-24.00")])
def test_a_dividend_is_paid_and_a_short_pays_it(lots, usd):
    account = margin_account(lots)
    before = account.ledger.cash
    action = CorporateAction("A", 0, ActionKind.DIVIDEND, 1, 1, Decimal("0.24"))
    account.act(action)
    assert (account.ledger.cash - before) * QUANTUM == Decimal(usd)
    assert account.ledger.imbalance() == 0


@pytest.mark.parametrize(
    ("lots", "cost", "ratio", "lot_quanta", "expected"),
    [
        (10, 1000, (2, 1), 50, (20, 1000, 0)),
        (10, 1000, (1, 2), 200, (5, 1000, 0)),
        # 15 x 1/10 = 1.5: one is kept with 2/3 of the cost, half of one is paid out
        (15, 1500, (1, 10), 1000, (1, 1000, 500)),
        # 7 x 3/2 = 10.5: cost 700 x 10/10.5 = 666.6
        (7, 700, (3, 2), 67, (10, 666, 33)),
        (5, 500, (1, 10), 1000, (0, 0, 500)),
        (-15, -1500, (1, 10), 1000, (-1, -1000, -500)),
        (-7, -700, (3, 2), 67, (-10, -666, -33)),
    ],
)
def test_splits_by_hand(lots, cost, ratio, lot_quanta, expected):
    assert split_position(lots, cost, *ratio, lot_quanta) == expected


@pytest.mark.parametrize("lots", [15, -15])
def test_cash_in_lieu_is_settled_and_realised(lots):
    account = margin_account(lots, ticks=1000)
    before, settled = account.ledger.cash, account._settled
    account.act(CorporateAction("A", 0, ActionKind.SPLIT, 1, 10, Decimal(0)))
    # the mark is the ex-date's open: half a lot of 10.00
    sign = 1 if lots > 0 else -1
    assert account.lots("A") == sign
    assert account.ledger.cash - before == sign * 5 * USD
    assert account._settled - settled == sign * 5 * USD
    # cost 150.00: 100.00 kept, 50.00 left with half a share worth 5.00
    assert account.ledger.realized == sign * 45 * USD
    assert account.ledger.imbalance() == 0


def test_an_action_without_a_position_does_nothing():
    account = margin_account(5)
    account.fill("A", Side.SELL, 5, 1000, 0)
    assert account.act(CorporateAction("A", 0, ActionKind.SPLIT, 2, 1, Decimal(0))) is None


# --- capacity ---------------------------------------------------------------------------------


def test_capacity_is_floored_and_none_without_volume():
    volume = np.array([100.0, 99.0, 9.0, 0.0])
    assert capacity_lots(volume, 0.1, Decimal(1)).tolist() == [10, 9, 0, -1]


def test_capacity_of_a_coin_of_tiny_lots_stays_inside_64_bits():
    (lots,) = capacity_lots(np.array([1e13]), 1.0, Decimal("1e-9")).tolist()
    assert lots > 10**18


def test_scales_of_fractions():
    fine = Scale.of(Decimal("0.01"), Decimal("0.001"), QUANTUM)
    assert fine.tick_lot_quanta * 1000 == SCALE.tick_lot_quanta
