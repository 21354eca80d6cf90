"""A compiled run's ``Result`` equals the desk's in all but ids, from records of the same run."""

from __future__ import annotations

import pickle
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mqd
from mqd.compiled_run import compiled_result
from mqd.core.money import Scale
from mqd.desk.frames import Orders, Units, order_frame, words
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.library.vwap_reversion import VwapReversion
from tests.parity.desk_records import DeskRun, desk_run
from tests.parity.twin_cases import Armed, Coded, Shares, bars_of
from tests.unit.desk.desk_cases import Patient, two_waves, wave

DAILY = "datasets/us_equity_daily_raw.parquet"
MINUTES = "datasets/equity_minute.parquet"
CRYPTO = "datasets/crypto_minute.parquet"
IDS = {"orders": ["id"], "fills": ["execution_id", "order_id"]}
FRAMES = ("orders", "fills", "trades", "equity", "positions", "per_strategy")
KINDS = frozenset(
    {
        "stop_loss", "take_profit", "trailing_stop", "short", "split", "dividend", "borrow",
        "partial exit", "remainder", "denial", "several symbols", "trim", "limit", "gtc", "nothing",
        "fraction", "fees", "slippage", "cash in lieu",
    }
)  # fmt: skip
"""What the cases must have met between them."""


class Patiently(Patient):
    """The same with a trailing stop."""

    trailing_stop_frac: float = mqd.param(0.02, low=0.0, high=0.5)


@mqd.rule()
def few_shares(order: Any, portfolio: Any, limits: Any) -> bool:
    """Refuse orders above 600 shares."""
    return order.qty <= 600.0


@mqd.rule()
def no_sunday(order: Any, portfolio: Any, limits: Any) -> bool:
    """Refuse nothing."""
    return order.qty > 0.0


def daily(*symbols: str, **words: Any) -> mqd.Bars:
    """Return daily bars of the dataset."""
    return mqd.load_bars(DAILY, symbols=list(symbols), **words)


def one_crypto_day() -> mqd.Bars:
    """Return 1,440 minutes of a coin, which has fractions of a lot and no shorts."""
    return mqd.load_bars(CRYPTO, symbols=["BTC-USD"], calendar="24/7", end="2026-08-17")


def splitting() -> mqd.Bars:
    """Return bars with three splits that leave half a share of an odd number."""
    splits = [("AAA", place, "split", 1.5, None) for place in (20, 33, 46)]
    return bars_of({"AAA": wave(60)}, splits, adjust="none")


def uneven() -> mqd.Bars:
    """Return bars whose volume is thin at most closes: exits fill by parts."""
    rows = [(*row[:5], 1e6 if i % 5 == 0 else 3000.0) for i, row in enumerate(wave(60))]
    return bars_of({"AAA": rows}, [], "30min")


RICH = mqd.Costs(fee_bps=3, fee_per_share=0.005, slippage_bps=7, borrow_bps_per_year=700)
CASES: dict[str, Any] = {
    "dividends and splits": lambda: (
        BuyAndHold(), daily("AAPL", "IBM", adjust="none"), {},
    ),
    "short through a split": lambda: (
        BuyAndHold(weight=-0.5), daily("AAPL", end="2006-01-01", adjust="none"), {"costs": RICH},
    ),
    "sma": lambda: (SmaCross(), daily("AAPL", adjust="split"), {"costs": RICH}),
    "thin": lambda: (
        RsiReversion(), daily("MSFT"),
        {"fills": mqd.FillModel(participation_frac=1e-5), "cash": 1_000_000},
    ),
    "bands": lambda: (BollingerReversion(), daily("AAPL", "MSFT", "IBM", start="2009-01-01"), {}),
    "trailing": lambda: (
        DonchianBreakout(trailing_stop_frac=0.05), daily("GOOG", "MSFT", start="2008-01-01"), {},
    ),
    "rotation": lambda: (
        MomentumRotation(lookback=60, top=2, every=5), daily("AAPL", "FB", "GOOG", "IBM", "MSFT"),
        {"account": "cash"},
    ),
    "minutes": lambda: (
        VwapReversion(), mqd.load_bars(MINUTES, symbols=["MSFT"], end="2022-05-20"), {},
    ),
    "crypto": lambda: (Coded(calm=9), one_crypto_day(), {"costs": RICH}),
    "exits": lambda: (Patient(), two_waves(), {"costs": RICH}),
    "exits by parts": lambda: (Patiently(), uneven(), {}),
    "trailing exits": lambda: (Patiently(), two_waves(), {}),
    "remainders": lambda: (Coded(seed=3), two_waves(), {"multiplier": 2}),
    "shares": lambda: (Shares(seed=5), two_waves(), {"rebalance_band_frac": 0.05}),
    "cash for a fraction": lambda: (
        Armed(every=7), splitting(), {"sizer": mqd.FixedQuantity(335)},
    ),
    "rules": lambda: (Coded(seed=4), two_waves(), {"rules": [no_sunday, few_shares]}),
    "no power": lambda: (
        Coded(seed=4), two_waves(), {"sizer": mqd.FixedQuantity(2_000), "cash": 50_000},
    ),
    "nothing": lambda: (VwapReversion(), daily("IBM", end="2001-01-01"), {}),
}  # fmt: skip


def compiled(run: DeskRun) -> mqd.Result:
    """Return the compiled ``Result`` of a desk's records."""
    ((name, strategy, share),) = run.result.strategies
    named = [(name, strategy.fresh(), share)]
    return compiled_result(named, run.result.bars, run.settings, run.records, run.scales)


def equal(one: mqd.Result, other: mqd.Result) -> None:
    """Compare two results in everything but ids, and how they were made."""
    for name in FRAMES:
        left, right = (getattr(each, name).drop(columns=IDS.get(name, [])) for each in (one, other))
        pd.testing.assert_frame_equal(left, right, check_exact=True, check_freq=True)
    pd.testing.assert_series_equal(one.metrics, other.metrics, check_exact=True)
    assert one.costs == other.costs
    assert one.assumptions == other.assumptions
    assert one.starting_equity == other.starting_equity
    assert one.periods_per_year == other.periods_per_year


@cache
def run_of(case: str) -> DeskRun:
    """Return a case's run in the desk."""
    strategy, bars, words = CASES[case]()
    return desk_run(strategy, bars, **words)


def kinds_of(run: DeskRun) -> set[str]:
    """Return what a case met."""
    result, counts = run.result, run.records.counts
    orders = result.orders
    cut = (orders["filled_qty"] > 0) & (orders["filled_qty"] < orders["qty"])
    met = {
        **dict.fromkeys(orders["reason"], True),
        "short": (result.positions < 0).any(axis=None), "split": len(run.records.splits) > 0,
        "cash in lieu": run.records.splits[:, 4].any(),
        "dividend": counts.dividends_quanta, "borrow": counts.borrow_quanta,
        "partial exit": (cut & (orders["reason"] != "target")).any(),
        "remainder": (cut & (orders["reason"] == "target")).any(), "denial": counts.denied,
        "several symbols": orders["symbol"].nunique() > 1, "trim": counts.trimmed_fills,
        "limit": (orders["type"] == "limit").any(),
        "gtc": (orders["time_in_force"] == "gtc").any(), "nothing": not len(orders),
        "fraction": (orders["qty"] % 1 > 0).any(), "fees": counts.fees_quanta,
        "slippage": result.costs["slippage"] > 0,
    }  # fmt: skip
    return {kind for kind, there in met.items() if there}


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_result_equals_the_desks(case):
    run = run_of(case)
    result = compiled(run)
    equal(result, run.result)
    assert (result.engine, result.log_sha256, result.run) == ("compiled", None, None)
    assert result.orders["id"].tolist() == [f"c{i + 1}" for i in range(len(result.orders))]
    executions = [f"x{i + 1}" for i in range(len(result.fills))]
    assert result.fills["execution_id"].tolist() == executions
    names = dict(zip(result.orders["id"], run.result.orders["id"], strict=True))
    assert [names[i] for i in result.fills["order_id"]] == run.result.fills["order_id"].tolist()
    assert len(result.notes) == len([n for n in run.result.notes if "refused" in n])


def test_the_cases_met_every_kind():
    met = set().union(*(kinds_of(run_of(case)) for case in CASES))
    assert met >= KINDS, KINDS - met


def test_what_was_refused_first_is_told():
    run = run_of("rules")
    (note,), (told,) = compiled(run).notes, run.result.notes
    assert note.split(" (")[0] == told.split(" (")[0]
    assert note.endswith(" (few_shares).")
    assert note.startswith(f"{run.records.counts.denied} orders were refused; the first: ")
    poor = run_of("no power")
    assert compiled(poor).notes[0].endswith(" (buying power).")
    row, _ = poor.records.denied[0]
    both = poor.records._replace(denied=np.array([[row, 1 | 1 << 2]]))
    assert (
        compiled(poor._replace(records=both, settings=run.settings))
        .notes[0]
        .endswith(" (buying power; few_shares).")
    )
    coin = run_of("crypto")
    assert "(malformed: " in coin.result.notes[0]
    assert compiled(coin).notes[0].endswith(" (malformed).")
    halted = coin.records._replace(denied=np.array([[0, 1 << 1]]))
    assert compiled(coin._replace(records=halted)).notes[0].endswith(" (latch).")


def test_nothing_is_made_before_it_is_read():
    run = run_of("exits")
    result = compiled(run)
    assert not set(vars(result)) & {*FRAMES, "metrics", "costs", "assumptions", "_trips"}
    made = {"orders", "fills", "_curves", "_units"}
    assert not made & set(vars(result.source))
    assert len(result.fills) == len(run.records.fills)
    assert made & set(vars(result.source)) == {"fills", "_units"}


@pytest.mark.parametrize("convert", [compiled, lambda run: run.result])
def test_a_result_survives_pickling_before_and_after_reading(convert):
    run = run_of("sma")
    result = convert(run)
    unread = pickle.dumps(result)
    equal(pickle.loads(unread), run.result)
    equal(result, run.result)
    read = pickle.dumps(result)
    equal(pickle.loads(read), run.result)
    assert len(read) < 1.05 * len(unread)


@pytest.mark.parametrize("convert", [compiled, lambda run: run.result])
def test_changing_a_frame_changes_nothing_else(convert):
    run = desk_run(Patient(), two_waves())
    result, other = convert(run), compiled(run)
    for name in ("orders", "fills", "trades", "equity", "positions"):
        frame = getattr(result, name)
        assert getattr(result, name) is frame
        for column in list(frame):
            del frame[column]
    pd.testing.assert_series_equal(result.metrics, other.metrics, check_exact=True)
    pd.testing.assert_frame_equal(result.per_strategy, other.per_strategy, check_exact=True)
    assert (result.costs, result.assumptions) == (other.costs, other.assumptions)


SCALE = Scale.of(Decimal("0.01"), Decimal("1e-9"), Decimal("1e-11"))


@example([(792_204_531_875, 748_780, 389)])  # two roundings give another float
@given(st.lists(st.tuples(st.integers(1, 2**40), st.integers(0, 2**20), st.integers(0, 999))))
def test_an_average_price_is_the_exact_ratio_rounded_as_python_does(rows):
    n = len(rows)
    lots, ticks, rest = np.array(rows, dtype=np.int64).reshape(n, 3).T
    notional = lots * ticks + rest
    text, zero = words(["t"] * n), np.zeros(n, dtype=np.int64)
    orders = Orders(
        text, text, zero, zero + 1, lots, text, ticks, zero, text, text, zero, text, lots,
        np.where(rest == 0, 0, lots), notional,
    )  # fmt: skip
    frame = order_frame(orders, Units({"A": SCALE}))
    for row, (one, level, odd) in enumerate(rows):
        assert frame["qty"][row] == one / 1e9
        assert np.isnan(frame["stop_px"][row])
        price = frame["limit_px"][row]
        assert price == level / 100.0 if level else np.isnan(price)
        average = frame["avg_px"][row]
        assert average == (one * level + odd) / one / 100.0 if odd else np.isnan(average)


def test_a_run_without_orders_has_the_columns_of_one_with_orders():
    none, some = run_of("nothing").result, run_of("sma").result
    for name in ("orders", "fills"):
        assert getattr(none, name).dtypes.equals(getattr(some, name).dtypes)
        assert not len(getattr(none, name))
