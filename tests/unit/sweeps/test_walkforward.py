"""Walk-forward: chosen on the past, traded on what follows, and nothing else."""

import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.cli import output
from mqd.errors import UsageError
from mqd.sweeps import walkforward
from mqd.sweeps.walkforward import silent_until

FREE = mqd.Costs()
GRID = {"fast": [2, 5], "slow": [8, 13]}


class Cross(mqd.Strategy):
    """Two means, long or short."""

    fast: int = mqd.param(3, low=1, high=50)
    slow: int = mqd.param(8, low=2, high=99)

    def features(self, bars):
        return {
            "quick": mqd.indicators.sma(bars.close, self.fast),
            "tardy": mqd.indicators.sma(bars.close, self.slow),
        }

    def decide(self, now, position):
        return 1.0 if now.quick > now.tardy else -0.5


class Gated(Cross):
    """The same rule told to stay out until an instant, in its own words."""

    since: int = mqd.param(0, low=0)

    def features(self, bars):
        told = (bars.ts_close >= self.since).astype(float)
        return {**super().features(bars), "told": told}

    def decide(self, now, position):
        if now.told < 0.5:
            return 0.0
        return 1.0 if now.quick > now.tardy else -0.5


class Hold(mqd.Strategy):
    """Buy once."""

    weight: float = mqd.param(1.0, low=0.0, high=1.0)

    def decide(self, now, position):
        return self.weight


def frame_of(closes, symbol="A", opens=None, first="2024-01-01"):
    closes = np.round(np.asarray(closes, dtype=float), 2)
    opens = closes if opens is None else np.round(np.asarray(opens, dtype=float), 2)
    return pd.DataFrame(
        {
            "symbol": symbol, "open": opens, "high": np.maximum(opens, closes),
            "low": np.minimum(opens, closes), "close": closes, "volume": 1e9,
            "timestamp": pd.date_range(first, periods=len(closes), freq="D", tz="UTC"),
        }
    )  # fmt: skip


def bars_of(*frames):
    return mqd.Bars.from_pandas(pd.concat(frames), calendar="24/7", tick="0.01", lot="1")


def walk(n, seed):
    steps = np.random.default_rng(seed).normal(0.0005, 0.02, n)
    return 100 * np.exp(np.cumsum(steps))


CLOSES = walk(160, 5)
BARS = bars_of(frame_of(CLOSES))
BARS_FIRST = pd.Timestamp("2024-01-01", tz="UTC")


@pytest.fixture(scope="module")
def walked():
    return mqd.walk_forward(Cross, BARS, GRID, train=60, test=20)


def part(bars, first, last):
    return bars.between(first, last)


def test_each_window_chooses_what_a_sweep_of_its_train_bars_alone_finds_best(walked):
    assert len(walked.windows) == 5
    money = 100_000.0
    for number, row in walked.windows.iterrows():
        train = part(BARS, row.train_first, row.train_last)
        assert train.n_bars == 60
        sharpes = {
            (fast, slow): mqd.backtest(
                Cross(fast=fast, slow=slow), train, cash=money
            ).metrics.sharpe
            for fast in GRID["fast"]
            for slow in GRID["slow"]
        }
        best = max(sharpes, key=sharpes.get)
        assert (row.fast, row.slow) == best
        assert row.in_sample == pytest.approx(sharpes[best], rel=1e-12)
        money = float(walked.segments[number].money)


def test_a_window_trades_like_the_same_rule_told_to_wait(walked):
    for number, row in walked.windows.iterrows():
        segment = walked.segments[number]
        known = part(BARS, row.train_first, row.test_last)
        since = int(part(BARS, row.test_first, row.test_last)["A"].ts_close[0])
        gated = Gated(fast=int(row.fast), slow=int(row.slow), since=since)
        told = mqd.backtest(gated, known, cash=segment.starting_equity)
        ours = segment.fills[segment.fills["reason"] != "window_end"]
        for name in ("symbol", "side", "qty", "px", "fee_usd", "ts_fill"):
            assert ours[name].tolist() == told.fills[name].tolist()
        tested = told.equity.iloc[-20:]
        assert tested.index.equals(segment.equity.index)
        assert tested["equity"].tolist()[:-1] == segment.equity["equity"].tolist()[:-1]


def test_tested_spans_follow_each_other_and_hold_all_fills(walked):
    windows = walked.windows
    closes = pd.to_datetime(BARS["A"].ts_close, unit="ns", utc=True)
    assert walked.equity.index.equals(pd.DatetimeIndex(closes[60:160]))
    assert (windows.train_last <= windows.test_first).all()
    assert (windows.test_last[:-1].to_numpy() <= windows.test_first[1:].to_numpy()).all()
    for fill in walked.fills.itertuples():
        row = windows.loc[fill.window]
        assert row.test_first < fill.ts_fill <= row.test_last


def test_the_stitched_equity_is_the_product_of_the_windows_returns(walked):
    assert walked.starting_equity == 100_000
    product = 100_000 * (1 + walked.windows["return_frac"]).prod()
    assert walked.equity["equity"].iloc[-1] == pytest.approx(product, rel=1e-12)
    assert walked.metrics.final_equity == walked.equity["equity"].iloc[-1]
    starts = [one.starting_equity for one in walked.segments]
    ends = [float(one.money) for one in walked.segments]
    assert starts[1:] == ends[:-1]
    returns = mqd.statistics.returns_from_equity(walked.equity["equity"], 100_000)
    assert walked.metrics.sharpe == mqd.statistics.sharpe(returns, BARS.sessions_per_year)
    assert walked.metrics.fees_usd == pytest.approx(walked.fills["fee_usd"].sum())
    assert walked.metrics.n_fills == len(walked.fills) == walked.windows["n_fills"].sum()
    pnl = walked.trades["pnl_usd"].sum()
    short = walked.equity["equity"].iloc[-1] - 100_000 - pnl
    assert short == pytest.approx(-borrowed(walked), abs=1e-4)


def borrowed(found):
    """What shorts paid: 50 bp a year of the short value at each close, the closing one too."""
    short = -found.equity["net"].clip(upper=0.0)
    bought = found.fills[(found.fills["reason"] == "window_end") & (found.fills["side"] == "buy")]
    row = (bought["ts_known"] - BARS_FIRST).dt.days - 1
    at_the_end = bought["qty"] * np.round(CLOSES[row], 2)
    return math.fsum([*short, *at_the_end]) * 0.005 / 360


@pytest.mark.parametrize("window", [0, 2])
def test_no_window_knows_what_comes_after_it(walked, window):
    """The future is replaced; every window up to ``window`` stays the same to the last digit."""
    rows = 60 + 20 * (window + 1)
    other = np.concatenate(
        [CLOSES[:rows], CLOSES[rows - 1] * np.exp(-np.linspace(0, 2, 160 - rows))]
    )
    again = mqd.walk_forward(Cross, bars_of(frame_of(other)), GRID, train=60, test=20)
    kept = window + 1
    pd.testing.assert_frame_equal(
        again.windows.iloc[:kept], walked.windows.iloc[:kept], check_exact=True
    )
    pd.testing.assert_frame_equal(
        again.equity.iloc[: 20 * kept], walked.equity.iloc[: 20 * kept], check_exact=True
    )
    assert again.equity["equity"].iloc[-1] != walked.equity["equity"].iloc[-1]


def test_the_choice_does_not_know_the_tested_bars(walked):
    other = np.concatenate([CLOSES[:60], CLOSES[59] * np.exp(-np.linspace(0, 2, 100))])
    again = mqd.walk_forward(Cross, bars_of(frame_of(other)), GRID, train=60, test=20)
    same = ["fast", "slow", "in_sample"]
    assert again.windows.loc[0, same].tolist() == walked.windows.loc[0, same].tolist()
    assert again.windows.loc[0, "out_of_sample"] != walked.windows.loc[0, "out_of_sample"]


def test_features_are_warm_when_the_window_begins():
    """A mean of 50 bars decides on the first tested close, although a window has 10 bars."""
    rising = bars_of(frame_of(100 + np.arange(90.0)))
    found = mqd.walk_forward(
        Cross, rising, {"fast": 2, "slow": [50]}, train=70, test=10, costs=FREE
    )
    for segment in found.segments:
        assert segment.fills["ts_fill"].iloc[0] == segment.equity.index[1] - pd.Timedelta("1D")


def test_what_is_held_at_the_end_is_closed_there_by_hand():
    """1,000 USD at 10, 100 shares of which slippage and fees leave 99: worked in the comments."""
    closes = [10, 10, 10, 10, 10, 12, 12, 12]
    found = mqd.walk_forward(
        Hold, bars_of(frame_of(closes)), {"weight": [1.0]}, train=3, test=4, cash=1_000,
        metric="total_return_frac", costs=mqd.Costs(slippage_bps=100, fee_bps=10),
    )  # fmt: skip
    bought, sold = found.fills.iloc[0], found.fills.iloc[1]
    # bought at the second tested open, 10 worsened by 1 % to 10.10: 98 x 10.10 = 989.80 and
    # 0.99 of fee is 990.79; 99 would be 999.90 and 1.00: 1,000.90, more than there is
    assert (bought.qty, bought.px, bought.fee_usd) == (98, 10.10, pytest.approx(0.9898))
    # sold at the last tested close, 12 worsened to 11.88: 1,164.24, fee 1.16424
    assert (sold.side, sold.qty, sold.px) == ("sell", 98, 11.88)
    assert sold.fee_usd == pytest.approx(1.16424)
    assert sold.reason == "window_end"
    # 1,000 - 989.80 - 0.9898 + 1,164.24 - 1.16424
    assert found.segments[0].money == Decimal("1172.285960")
    assert found.equity.iloc[-1].tolist() == [1172.28596, 1172.28596, 0.0, 0.0]
    assert found.windows.loc[0, "return_frac"] == pytest.approx(0.17228596)
    assert found.windows.loc[0, "n_closed"] == 1
    assert found.trades["pnl_usd"].tolist() == [pytest.approx(172.28596)]
    assert found.trades["exit_reason"].tolist() == ["window_end"]
    said = {text: count for text, count in found.assumptions if "last close" in text}
    # slippage 98 x 0.12 = 11.76, fee 1.16
    assert said == {
        "Positions held at a window's end are closed at its last close, for 12.92 USD of slippage"
        " and fees.": 1
    }


def test_a_short_is_bought_back_at_the_end():
    class Short(mqd.Strategy):
        level: float = mqd.param(-0.5, low=-1.0, high=0.0)

        def decide(self, now, position):
            return self.level

    found = mqd.walk_forward(
        Short, bars_of(frame_of([10.0] * 5 + [8.0] * 2)), {"level": [-0.5]}, train=3, test=4,
        cash=1_000, metric="total_return_frac", costs=mqd.Costs(slippage_bps=100),
    )  # fmt: skip
    sold, bought = found.fills.iloc[0], found.fills.iloc[1]
    assert (sold.side, sold.qty, sold.px) == ("sell", 50, 9.90)
    assert (bought.side, bought.qty, bought.px) == ("buy", 50, 8.08)
    assert found.segments[0].money == Decimal(1_000) + 50 * (Decimal("9.90") - Decimal("8.08"))


def test_regulatory_fees_are_charged_on_closing_a_us_stock():
    days = pd.bdate_range("2024-01-02", periods=8, tz="America/New_York") + pd.Timedelta("9h30min")
    frame = frame_of([50.0] * 8).assign(timestamp=days)
    bars = mqd.Bars.from_pandas(frame, tick="0.01", timeframe="1day")
    found = mqd.walk_forward(
        Hold, bars, {"weight": [1.0]}, train=3, test=5, metric="final_equity",
        costs=mqd.Costs(regulatory=True),
    )  # fmt: skip
    sold = found.fills.iloc[-1]
    assert sold.qty == 2_000
    # SEC 0.0000278 x 100,000 = 2.78; TAF 0.000166 x 2,000 = 0.332 -> 0.34; CAT 0.006 -> 0.01
    assert sold.fee_usd == pytest.approx(2.78 + 0.34 + 0.01)


def test_a_window_without_a_best_is_not_traded():
    class Never(mqd.Strategy):
        level: int = mqd.param(1, low=0, high=9)

        def decide(self, now, position):
            return 0.0

    found = mqd.walk_forward(Never, BARS, {"level": [1, 2]}, train=60, test=50)
    assert found.windows["in_sample"].isna().all()
    assert (found.equity["equity"] == 100_000).all()
    assert len(found.equity) == 100
    assert "Window 1 is not traded: no combination has a sharpe in its train span." in found.notes
    assert math.isnan(found.efficiency)
    assert "no number" in repr(found)
    found.plot()
    json.dumps(output.plain(found.summary()), allow_nan=False)


def test_schemes_cut_the_bars_as_they_say():
    words = {"metric": "total_return_frac", "costs": FREE}

    def days(found, name):
        return [stamp.day_of_year for stamp in found.windows[name]]

    anchored = mqd.walk_forward(
        Hold, BARS, {"weight": [1.0]}, train=60, test=40, gap=5, anchored=True, **words
    )
    assert days(anchored, "train_first") == [1, 1]
    assert days(anchored, "test_first") == [66, 106]
    assert any("last 15 bars were not traded" in note for note in anchored.notes)
    short = mqd.walk_forward(
        Hold, BARS, {"weight": [1.0]}, train=60, test=40, unit="sessions", short_last=True, **words
    )
    assert days(short, "test_first") == [61, 101, 141]
    assert days(short, "train_first") == [1, 41, 81]
    assert len(short.equity) == 100
    assert not any("not traded" in note for note in short.notes)


def test_several_symbols_share_one_account_and_one_may_begin_late():
    late = frame_of(walk(70, 9), "B", first="2024-03-31")
    bars = bars_of(frame_of(CLOSES), late)
    found = mqd.walk_forward(Cross, bars, GRID, train=60, test=50, costs=FREE)
    assert set(found.fills["symbol"]) == {"A", "B"}
    assert found.fills.loc[found.fills["symbol"] == "B", "ts_fill"].min() >= late["timestamp"].min()
    product = 100_000 * (1 + found.windows["return_frac"]).prod()
    assert found.equity["equity"].iloc[-1] == pytest.approx(product, rel=1e-12)


def test_a_strategy_with_hooks_sees_the_tested_bars_alone():
    seen = []

    class Hooked(mqd.Strategy):
        n: int = mqd.param(1, low=1, high=5)

        def on_bar(self, desk, bar):
            seen.append(bar.ts_close)

        def decide(self, now, position):
            return 1.0

    found = mqd.walk_forward(
        Hooked, BARS, {"n": [1]}, train=100, test=60, metric="total_return_frac", engine="event"
    )
    assert seen[:100] == BARS["A"].ts_close[:100].tolist()
    assert seen[100:] == BARS["A"].ts_close[100:].tolist()
    assert any("Hooked has event hooks" in note for note in found.notes)


def test_a_lost_account_ends_the_walk():
    crash = np.concatenate([np.full(30, 100.0), np.full(3, 100.0), np.full(27, 1_000.0)])

    class Bet(mqd.Strategy):
        level: float = mqd.param(-1.0, low=-1.0, high=1.0)

        def decide(self, now, position):
            return self.level

    found = mqd.walk_forward(
        Bet, bars_of(frame_of(crash)), {"level": [-1.0]}, train=20, test=20, costs=FREE,
        metric="total_return_frac",
    )  # fmt: skip
    assert len(found.windows) == 1
    assert found.equity["equity"].iloc[-1] < 0
    assert "The account was lost before window 1: nothing is traded from there." in found.notes


def test_efficiency_is_the_mean_out_over_the_mean_in(walked):
    out, inside = walked.windows["out_of_sample"], walked.windows["in_sample"]
    assert walked.efficiency == pytest.approx(out.sum() / inside.sum())
    assert walked.trials == 4 * 5


def test_it_shows_itself(walked):
    text = repr(walked)
    assert sum("event engine" in note for note in walked.notes) <= 1
    assert text.startswith("Cross, 5 windows, WalkForward(train=60, test=20")
    assert f"in sample): {walked.efficiency:.2f}" in text
    assert "<table" in walked._repr_html_()
    figure = walked.plot()
    assert [trace.name for trace in figure.data] == [
        "Equity, tested bars", "In sample", "Out of sample"
    ]  # fmt: skip
    assert list(figure.data[2].y) == walked.windows["out_of_sample"].tolist()
    document = json.loads(json.dumps(output.plain(walked.summary()), allow_nan=False))
    assert len(document["windows"]) == 5
    assert document["windows"][0]["test_first"].startswith("2024-03-01")


def test_a_silenced_strategy_keeps_its_name_its_rule_and_its_parameters():
    one = silent_until(Cross(fast=4), 10)
    assert (repr(one), one.parameters) == ("Cross(fast=4, slow=8)", Cross(fast=4).parameters)
    assert type(one).decide is Cross.decide


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"train": 0}, "train = 0"),
        ({"train": 150}, "No window fits"),
        ({"unit": "weeks"}, "unit = 'weeks'"),
        ({"metric": "sharp"}, "Did you mean 'sharpe'"),
        ({"cots": FREE}, "Did you mean 'costs'"),
        ({"out": "x"}, "takes no out="),
        ({"cash": -1}, "cash"),
        ({"where": "fast > 50"}, ""),
    ],
)
def test_wrong_words_are_a_sentence(words, expected):
    with pytest.raises(mqd.errors.MqdError) as caught:
        mqd.walk_forward(Cross, BARS, GRID, **{"train": 60, "test": 20, **words})
    assert expected in str(caught.value)


def test_a_sweep_that_was_stopped_chooses_nothing(monkeypatch):
    def stopped(*args, **words):
        found = mqd.sweep(*args, **words)
        found.is_whole = False
        return found

    monkeypatch.setattr(walkforward, "sweep", stopped)
    with pytest.raises(KeyboardInterrupt):
        mqd.walk_forward(Cross, BARS, GRID, train=60, test=20)


def test_wrong_objects_are_a_sentence():
    with pytest.raises(UsageError, match="strategy class"):
        mqd.walk_forward(Cross(), BARS, GRID, train=60, test=20)
    with pytest.raises(UsageError, match="not Bars"):
        mqd.walk_forward(Cross, frame_of(CLOSES), GRID, train=60, test=20)

    class Named(Cross):
        in_sample: int = 3

    with pytest.raises(UsageError, match="in_sample"):
        mqd.walk_forward(Named, BARS, GRID, train=60, test=20)
