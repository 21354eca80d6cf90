"""What 64 bits cannot hold ends a run with the bar, in the desk and in the compiled loop alike."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mqd
from mqd.errors import AmountTooLarge, NotCompilable
from tests.parity.interpreted import interpreted

START = "2024-02-20"
MOST_USD = 2**60 * 1e-8


class Held(mqd.Strategy):
    """Asks for one weight at all times."""

    weight: float = 1.0

    def features(self, bars):
        """Return the closes."""
        return {"px": bars.close}

    def decide(self, now, position):
        """Return the weight."""
        return self.weight


class Turned(mqd.Strategy):
    """Asks for the weights of a column of volumes: 1 above 1,500, else -1 or 0."""

    low: float = 0.0

    def features(self, bars):
        """Return the volumes."""
        return {"ask": bars.volume}

    def decide(self, now, position):
        """Return what the volume says."""
        return 1.0 if now.ask > 1.5e12 else self.low


def bars_of(closes, opens=None, symbols=("A",), volumes=None):
    """Return daily bars of one close after the other, the same for each symbol."""
    stamps = pd.bdate_range(START, periods=len(closes), tz="America/New_York")
    opened = np.array(closes if opens is None else opens, dtype=float)
    closes = np.array(closes, dtype=float)
    frame = pd.concat(
        pd.DataFrame(
            {
                "symbol": symbol, "timestamp": stamps, "open": opened,
                "high": np.maximum(opened, closes), "low": np.minimum(opened, closes),
                "close": closes,
                "volume": 1e12 if volumes is None else np.array(volumes, dtype=float),
            }
        )
        for symbol in symbols
    )  # fmt: skip
    return mqd.Bars.from_pandas(frame, timeframe="1day", tick="0.01", lot="1")


def outcome(strategy, bars, **words):
    """Return the equity curve, or the sentence that ended the run."""
    try:
        result = mqd.backtest(strategy, bars, **words)
    except AmountTooLarge as error:
        return str(error)
    return result.equity["equity"].to_numpy()


def both(strategy, bars, **words):
    """Return what desk and loop say; they must say the same."""
    desk = outcome(strategy, bars, engine="event", **words)
    with interpreted():
        loop = outcome(strategy, bars, engine="compiled", **words)
    assert type(desk) is type(loop)
    assert np.array_equal(desk, loop) if isinstance(desk, np.ndarray) else desk == loop
    return desk


RISING = [10.0, 10.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]
FREE = mqd.Costs()


@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
def test_a_position_that_outgrows_64_bits_ends_the_run_with_the_bar(symbols):
    # 9e8 at 10 is worth 9e9 at 100, and 9e10 at 1,000: above 11,529,215,046
    said = both(Held(), bars_of(RISING, symbols=symbols), cash=9 * 10**8, costs=FREE)
    assert "2024-02-26T21:00" in said
    assert "11,529,215,046" in said


@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
def test_a_short_that_outgrows_64_bits_ends_the_run_before_its_borrow_is_charged(symbols):
    costs = mqd.Costs(borrow_bps_per_year=50.0)
    said = both(Held(weight=-1.0), bars_of(RISING, symbols=symbols), cash=9 * 10**8, costs=costs)
    assert "2024-02-26T21:00" in said


def test_equity_counts_beside_the_position():
    # half of 9e8 at 10 is 4.5e7 shares, at 250 worth 1.125e10: with the cash of 4.5e8 too much
    closes = [10.0, 10.0, 10.0, 245.0, 250.0, 250.0]
    said = both(Held(weight=0.5), bars_of(closes), cash=9 * 10**8, costs=FREE)
    assert "2024-02-26T21:00" in said


def test_just_below_the_bound_both_engines_go_on():
    # 9e7 shares at 128 are worth 1.152e10: 9,215,046 below the bound
    curve = both(Held(), bars_of([10.0, 10.0, 10.0, 128.0, 128.0]), cash=9 * 10**8, costs=FREE)
    assert curve[-1] == 9e7 * 128 < MOST_USD


def test_one_lot_above_the_bound_is_refused_at_load():
    bars = bars_of([10.0, 10.0, 2e10, 10.0])
    said = both(Held(), bars)
    assert "one lot of A" in said
    assert "2024-02-22" in said


@pytest.mark.parametrize("sizer", [mqd.FixedQuantity(10**16), mqd.FixedNotional(10**14)])
def test_a_target_above_the_bound_ends_the_run_at_its_decision(sizer):
    said = both(Held(), bars_of([10.0] * 5), sizer=sizer)
    assert "the target of Held in A" in said
    assert "2024-02-20T21:00" in said


def test_a_fill_at_an_open_above_the_bound_is_left_to_the_desk():
    # the short of 9e7 is bought back at 1,000 each: 9e10
    volumes = [1e12, 1e12, 1e12, 2e12, 2e12, 2e12]
    bars = bars_of([10.0] * 6, [10.0, 10.0, 10.0, 10.0, 1_000.0, 10.0], volumes=volumes)
    strategy = Turned(low=-1.0)
    words = {"cash": 9 * 10**8, "costs": FREE}
    desk = outcome(strategy, bars, engine="event", **words)
    assert "2024-02-26T21:00" in desk  # the cash is gone by 9e10
    with interpreted(), pytest.raises(NotCompilable, match="only the desk knows"):
        mqd.backtest(strategy, bars, engine="compiled", **words)
    assert outcome(strategy, bars, engine="auto", **words) == desk


@pytest.mark.parametrize("weight", [5.0, 0.5, -1.0])
def test_what_grew_too_large_comes_before_what_happens_later(weight):
    """At the last bar the rule returns a wrong weight, or wants a target that is too large."""
    closes = [10.0, 10.0, 10.0, 100.0, 1_000.0, 1_000.0, 1_000.0, 10.0]
    volumes = [2e12] * 7 + [1e12]
    bars = bars_of(closes, volumes=volumes)
    said = both(Turned(low=weight), bars, cash=9 * 10**8, costs=FREE)
    assert "2024-02-26T21:00" in said
    assert "the account" in said


PRICES = st.lists(
    st.integers(0, 18).map(lambda tenths: round(10.0 ** (tenths / 2.0) / 10.0 + 0.5, 2)),
    min_size=4, max_size=12,
)  # fmt: skip


@given(
    closes=PRICES, jump=st.sampled_from([1.0, 0.01, 100.0]),
    weight=st.sampled_from([1.0, -1.0, 0.4]),
    cash=st.sampled_from([10**5, 9 * 10**8]), n_symbols=st.integers(1, 3),
    multiplier=st.sampled_from([1, 4]), costs=st.sampled_from([FREE, mqd.Costs.alpaca()]),
)  # fmt: skip
def test_wild_prices_end_both_engines_alike(
    closes, jump, weight, cash, n_symbols, multiplier, costs
):
    bars = jumping(closes, jump, n_symbols)
    with suppress(NotCompilable):  # left to the desk, which both then are
        both(Held(weight=weight), bars, cash=cash, multiplier=multiplier, costs=costs)


def jumping(closes, jump, n_symbols):
    """Return bars of which each third opens ``jump`` times its close."""
    opens = [max(0.01, round(px * jump, 2)) if i % 3 == 2 else px for i, px in enumerate(closes)]
    return bars_of(closes, opens, symbols=tuple("ABC"[:n_symbols]))


def test_wild_prices_meet_runs_that_end_and_runs_that_are_equal():
    """Were all of them left to the desk, the comparison above would compare nothing."""
    met = Counter()
    for seed in range(40):
        draw = random.Random(seed)
        closes = [round(10.0 ** (draw.randint(0, 18) / 2.0) / 10.0 + 0.5, 2) for _ in range(8)]
        bars = jumping(closes, draw.choice([1.0, 0.01, 100.0]), draw.randint(1, 3))
        cash = draw.choice([10**5, 9 * 10**8])
        try:
            said = both(Held(weight=draw.choice([1.0, -1.0, 0.4])), bars, cash=cash)
        except NotCompilable:
            met["left"] += 1
        else:
            met["ended" if isinstance(said, str) else "equal"] += 1
    assert min(met["ended"], met["equal"], met["left"]) > 0, met


def test_a_row_of_a_sweep_that_is_too_large_fails_alone():
    bars, words = bars_of(RISING), {"cash": 9 * 10**8, "costs": FREE, "progress": False}
    desk = mqd.sweep(Held, bars, {"weight": [0.0, 1.0]}, engine="event", **words)
    with interpreted():
        loop = mqd.sweep(Held, bars, {"weight": [0.0, 1.0]}, engine="compiled", workers=1, **words)
    for found in (desk, loop):
        assert found.table["sharpe"].isna().tolist() == [True, True]
        assert found.table["final_equity"].isna().tolist() == [False, True]


@pytest.mark.parametrize("lot", ["1", "0.01"])
def test_regulatory_fees_of_very_many_shares_are_left_to_the_desk(lot):
    """A share's audit-trail fee is 3e8 parts: 9e10 shares a day are more than 64 bits hold."""
    bars = mqd.Bars.from_pandas(bars_frame_of_cents(), timeframe="1day", tick="0.01", lot=lot)
    with interpreted(), pytest.raises(NotCompilable, match="only the desk knows"):
        mqd.backtest(Held(weight=-1.0), bars, cash=9 * 10**8, engine="compiled")
    assert both(Held(weight=-1.0), bars, cash=10**6)[-1] > 0.0


def test_a_fee_a_share_on_fine_lots_is_exact_in_both_engines():
    bars = mqd.Bars.from_pandas(
        bars_frame_of_cents(), timeframe="1day", tick="0.01", lot="0.000001"
    )
    costs = mqd.Costs(fee_per_share=0.0035)
    curve = both(Held(weight=-1.0), bars, cash=10**6, costs=costs)
    assert curve[-1] < 10**6 - 74_074_074 * 0.0035  # 1e6 pays 74,074,074 at 0.01 + 0.0035


def bars_frame_of_cents():
    """Return six days at one cent."""
    stamps = pd.bdate_range(START, periods=6, tz="America/New_York")
    frame = pd.DataFrame({"symbol": "A", "timestamp": stamps, "volume": 1e13})
    return frame.assign(**dict.fromkeys(("open", "high", "low", "close"), 0.01))


def test_splits_that_outgrow_64_bits_end_the_run_in_the_desk():
    stamps = pd.bdate_range(START, periods=12, tz="America/New_York")
    rows = [
        {"symbol": "A", "ex_date": day.date().isoformat(), "kind": "split", "ratio": 1000.0}
        for day in stamps[4:10]
    ]
    frame = bars_frame_of_cents().drop(columns=["timestamp", "volume"]).head(1)
    frame = frame.loc[frame.index.repeat(12)].assign(timestamp=stamps, volume=1e13)
    bars = mqd.Bars.from_pandas(
        frame, timeframe="1day", tick="0.01", lot="1", actions=pd.DataFrame(rows), adjust="none"
    )
    with pytest.raises(AmountTooLarge, match="the account"):
        mqd.backtest(Held(), bars, cash=10**6, costs=FREE, engine="event")
    with interpreted(), pytest.raises((AmountTooLarge, NotCompilable)):
        mqd.backtest(Held(), bars, cash=10**6, costs=FREE, engine="compiled")
