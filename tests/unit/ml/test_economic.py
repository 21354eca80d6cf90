"""What predictions are worth at the desk: costs on, where they reach, each way to trade counted."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import mqd
from mqd import trials
from mqd.errors import UsageError
from mqd.ml import FeatureEngineer, FixedHorizon, economic_value, evaluate, make_dataset
from mqd.ml.evaluation.evaluate import OutOfSample
from mqd.splits import PurgedKFold
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.predictors import predicting

REFERENCE = "scores@" + "0" * 64
MODEL = LogisticRegression()


@pytest.fixture(scope="module")
def bars():
    file = "datasets/us_equity_daily_raw.parquet"
    return mqd.load_bars(file, symbols=["AAPL", "IBM"], start="2008-01-02", end="2010-12-31")


@pytest.fixture(scope="module")
def data(bars):
    return make_dataset(bars, FeatureEngineer(["rsi(14)", "log_return(1)"]), FixedHorizon(5))


@pytest.fixture(scope="module")
def found(data):
    return evaluate(MODEL, data, PurgedKFold(5, data.t0, data.t1))


def trading(bars, *, exit_below=0.5, **words):
    """Return what backtests a strategy on the scores it is handed."""

    def run(predictor):
        with predicting(REFERENCE, predictor):
            strategy = ModelSignal(model=REFERENCE, enter_at=0.57, exit_below=exit_below)
            return mqd.backtest(strategy, bars, **words)

    return run


def test_scores_that_know_the_future_earn_at_the_desk_and_a_coin_does_not(bars, data, found):
    run = trading(bars.between(*found.span))
    oracle = OutOfSample(data, data.y.astype(float), data.y[None] * 1.0, 1, 1)
    rich, poor = economic_value(oracle, run), economic_value(found, run)
    assert rich["sharpe"] > 3 > poor["sharpe"]
    assert rich["deflated_sharpe"] > 0.99
    assert rich["fees_usd"] > 0
    many = OutOfSample(data, found.score, found.paths, 1, 50)
    assert math.isnan(economic_value(many, run)["deflated_sharpe"])
    sharpes = np.random.default_rng(0).normal(0, 0.05, 50)
    deflated = economic_value(many, run, sharpe_trials=sharpes)["deflated_sharpe"]
    assert deflated < poor["deflated_sharpe"]
    equity = run(found.predictor()).equity["equity"].pct_change().dropna()
    assert poor["sharpe_bar"] == pytest.approx(equity.mean() / equity.std())


@pytest.mark.parametrize(
    ("sharpes", "words"),
    [
        ([0.1], "two trials or more"), (0.1, "two trials or more"),
        ([0.1, math.nan], "as numbers"), ([[0.1, 0.2]], "two trials or more"),
        ([0.1, 0.2], "2 ratios, and the study has counted 50 trials"),
    ],
)  # fmt: skip
def test_ratios_that_are_not_those_of_all_trials_are_refused(bars, data, found, sharpes, words):
    many = OutOfSample(data, found.score, found.paths, 1, 50)
    with pytest.raises(UsageError, match=words):
        economic_value(many, trading(bars.between(*found.span)), sharpe_trials=sharpes)


def test_a_run_on_bars_without_predictions_is_refused(bars, data, found):
    first, last = found.span
    for beyond in (bars, bars.between(None, last), bars.between(first, None)):
        with pytest.raises(UsageError, match=r"give it bars\.between\(\*found\.span\)"):
            economic_value(found, trading(beyond))
    half = OutOfSample(
        data, np.where(data.t0 < np.median(data.t0), found.score, np.nan), found.paths, 1
    )
    with pytest.raises(UsageError, match="the predictions reach from"):
        economic_value(half, trading(bars.between(first, last)))


def test_a_run_without_costs_has_no_value(bars, found):
    free = mqd.Costs(fee_bps=0, fee_per_share=0, slippage_bps=0)
    with pytest.raises(UsageError, match="free of costs"):
        economic_value(found, trading(bars.between(*found.span), costs=free))


def test_each_way_to_trade_the_scores_is_a_trial(bars, data, tmp_path):
    cv = PurgedKFold(5, data.t0, data.t1)
    first = evaluate(MODEL, data, cv, study=tmp_path)
    part = bars.between(*first.span)
    tried = [
        economic_value(first, trading(part, exit_below=at))["trials"] for at in (0.55, 0.56, 0.55)
    ]
    assert tried == [1, 2, 2]  # the model and its first threshold are one
    second = evaluate(LogisticRegression(C=0.1), data, cv, study=tmp_path)
    assert (second.n_trials, first.n_trials) == (2, 2)
    assert economic_value(second, trading(part, exit_below=0.565))["trials"] == 3
    trials.record(tmp_path, "sweep", 10, "a sweep of the same study")
    assert first.n_trials == 13
