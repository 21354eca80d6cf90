"""QuoteAggregator: best bid and offer by hand, and bars out of trades."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.bar import Quote, Trade
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.market_data.calendar import calendar_of_years
from mqd.market_data.quotes import QuoteAggregator, QuoteState

D = Decimal
OPEN = pd.Timestamp("2024-01-02 09:30", tz="America/New_York").value


def quote(bid, ask, ts=0, bid_qty="1", ask_qty="1"):
    return Quote("MSFT", ts, D(bid), D(bid_qty), D(ask), D(ask_qty))


def trade(ts, px, qty="1"):
    return Trade("MSFT", ts, D(px), D(qty))


STATES = [
    # bid, ask, state, spread, mid, spread in bps
    ("99.99", "100.01", QuoteState.NORMAL, "0.02", "100.00", "2"),
    ("100.00", "100.00", QuoteState.LOCKED, "0", "100.00", "0"),
    ("100.02", "100.00", QuoteState.CROSSED, "-0.02", None, None),
    ("0", "100.00", QuoteState.ONE_SIDED, None, None, None),
    ("100.00", "0", QuoteState.ONE_SIDED, None, None, None),
]


@pytest.mark.parametrize(("bid", "ask", "state", "spread", "mid", "bps"), STATES)
def test_state_spread_and_mid_of_one_quote(bid, ask, state, spread, mid, bps):
    best = QuoteAggregator().on_quote(quote(bid, ask))
    assert best.state == state
    assert best.spread == (None if spread is None else D(spread))
    assert best.mid == (None if mid is None else D(mid))
    assert best.spread_bps == (None if bps is None else D(bps))


def test_the_best_of_several_exchanges_counts_and_equal_prices_add_up():
    book = QuoteAggregator()
    book.on_quote(quote("99.98", "100.03", 1, "5", "2"), "A")
    book.on_quote(quote("99.99", "100.02", 2, "7", "3"), "B")
    best = book.on_quote(quote("99.99", "100.04", 3, "4", "9"), "C")
    assert best[1:] == (3, D("99.99"), D(11), D("100.02"), D(3), QuoteState.NORMAL)
    best = book.on_quote(quote("99.90", "100.05", 4), "B")
    assert (best.bid_px, best.bid_qty, best.ask_px) == (D("99.99"), D(4), D("100.03"))
    crossed = book.on_quote(quote("100.10", "100.20", 5), "B")
    assert (crossed.state, book.n_crossed) == (QuoteState.CROSSED, 1)


def test_an_older_quote_changes_nothing_and_a_quote_grows_stale():
    book = QuoteAggregator(stale_ns=5 * NS_PER_S)
    assert book.is_stale("MSFT", 0)
    book.on_quote(quote("10", "11", 100))
    assert book.on_quote(quote("12", "13", 99)).bid_px == 10
    assert book.n_late == 1
    assert not book.is_stale("MSFT", 100 + 5 * NS_PER_S)
    assert book.is_stale("MSFT", 101 + 5 * NS_PER_S)
    assert book.nbbo("SPY") is None


def test_a_bar_of_trades_by_hand():
    book = QuoteAggregator(calendar=calendar_of_years("XNYS", 2024, 2024))
    for ts, px, qty in ((0, "10", "5"), (10, "12", "1"), (20, "9", "2"), (59, "11", "4")):
        assert book.on_trade(trade(OPEN + ts * NS_PER_S, px, qty)) is None
    bar = book.on_trade(trade(OPEN + 60 * NS_PER_S, "11.5"))
    minute = ("MSFT", OPEN, OPEN + NS_PER_MINUTE, 10.0, 12.0, 9.0, 11.0, 12.0)
    assert tuple(bar) == minute
    assert book.on_trade(trade(OPEN + 30 * NS_PER_S, "99")) is None
    assert book.on_trade(trade(OPEN - 1, "99")) is None
    assert (book.n_late, book.n_outside) == (1, 1)
    assert book.close_until(OPEN + 2 * NS_PER_MINUTE - 1) == []
    [last] = book.close_until(OPEN + 2 * NS_PER_MINUTE)
    assert (last.open, last.close, last.volume) == (11.5, 11.5, 1.0)
    assert book.on_trade(trade(OPEN + 90 * NS_PER_S, "99")) is None
    assert book.close_until(2**62) == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 299), st.integers(1, 500), st.integers(1, 100)),
        min_size=1, max_size=60, unique_by=lambda one: one[0],
    )
)  # fmt: skip
def test_bars_of_trades_equal_those_of_pandas(trades):
    trades = sorted(trades)
    book = QuoteAggregator()
    bars = [book.on_trade(trade(s * NS_PER_S, f"{p}.25", str(q))) for s, p, q in trades]
    bars = [bar for bar in bars if bar is not None] + book.close_until(2**62)
    frame = pd.DataFrame(trades, columns=["s", "p", "q"])
    groups = frame.groupby(frame["s"] // 60)
    px = groups["p"].agg(["first", "max", "min", "last"]).to_numpy() + 0.25
    np.testing.assert_array_equal([bar[3:7] for bar in bars], px)
    assert [bar.volume for bar in bars] == groups["q"].sum().tolist()
    assert [bar.ts_open // NS_PER_MINUTE for bar in bars] == list(groups.groups)


@settings(deadline=None, max_examples=40)
@given(st.permutations([(5, "10"), (17, "12"), (30, "9"), (44, "11")]))
def test_trades_of_one_minute_give_one_bar_in_any_order(trades):
    book = QuoteAggregator()
    for second, px in trades:
        book.on_trade(trade(second * NS_PER_S, px, "2"))
    [bar] = book.close_until(NS_PER_MINUTE)
    assert bar[3:] == (10.0, 12.0, 9.0, 11.0, 8.0)
