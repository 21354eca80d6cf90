"""Features: hand-worked values, names, schema, scikit-learn's protocol, and what is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mqd
from mqd.core.bar import bar_row
from mqd.errors import UsageError
from mqd.ml import FeatureEngineer
from mqd.ml.errors import BadFeature, BadFeatureMatrix
from mqd.ml.features.catalogue import KINDS, feature_of, named
from mqd.ml.features.nodes import Field, Lag, Talib
from mqd.ml.features.online import Online
from mqd.splits import CombinatorialPurged

TABLE = Path("tests/tables/ml_features.csv")


@pytest.fixture(scope="module")
def ibm():
    return mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"])["IBM"]


def rows_of(case):
    """Return a table's rows of one feature: five bars and the value at each."""
    with TABLE.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["feature"] == case]


@pytest.mark.parametrize("feature", [
    "log_return(1)", "gap_frac", "range_frac", "body_frac", "close_place", "sma_gap(2)",
    "channel_place(2)", "volume_ratio(2)", "drawdown_frac(2)", "lag_return(1)", "vwap_gap",
    "session_frac", "zscore(2)", "dollar_volume_log(2)",
])  # fmt: skip
def test_values_worked_by_hand(feature):
    rows = rows_of(feature)
    names = ("open", "high", "low", "close", "volume", "minutes_from_open", "minutes_to_close",
             "session")  # fmt: skip
    columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    found = FeatureEngineer([feature]).of_columns(columns)[:, 0]
    wanted = np.array([float(row["value"] or "nan") for row in rows])
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert len(rows) == 5


def test_features_of_the_library_are_its_indicators(ibm):
    close, indicators = ibm.close, mqd.indicators
    found = FeatureEngineer(["rsi(14)", "sma_gap(20)", "atr_frac(14)", "realised_vol(20)"])
    rsi, gap, atr, vol = found.matrix(ibm).T
    np.testing.assert_allclose(rsi, indicators.rsi(close, 14) / 100)
    np.testing.assert_allclose(gap, close / indicators.sma(close, 20) - 1, atol=1e-12)
    np.testing.assert_allclose(atr, indicators.atr(ibm.high, ibm.low, close, 14) / close)
    np.testing.assert_allclose(
        vol, indicators.realised_vol(close, 20) * np.sqrt(19 / 20), rtol=1e-6, atol=1e-12
    )


def test_there_are_features_of_all_four_families():
    assert {kind.family for kind in KINDS.values()} == {"technical", "price", "volume", "time"}
    assert len(KINDS) >= 30


@pytest.mark.parametrize("name", sorted(KINDS))
def test_names_are_identifiers_and_texts_come_back(name):
    feature = feature_of(name)
    assert feature.name.isidentifier()
    assert feature_of(feature.text) == feature


@pytest.mark.parametrize(("text", "said"), [
    ("rsj(14)", "Did you mean 'rsi'"), ("rsi(1)", "whole number in"), ("rsi(x)", "whole number"),
    ("rsi(3, 4)", "takes 1 number"), ("rsi[3]", "no feature"), ("gap_frac(2)", "takes 0"),
    ("macd_hist(26, 12, 9)", "below slow"), (7, "no feature"),
])  # fmt: skip
def test_a_feature_that_is_none_is_a_sentence(text, said):
    with pytest.raises(BadFeature, match=said.replace("(", r"\(")):
        _ = FeatureEngineer([text]).schema


@pytest.mark.parametrize("features", [["rsi(14)", "rsi"], [], "rsi(14)"])
def test_twice_or_no_features_are_refused(features):
    with pytest.raises(BadFeature):
        _ = FeatureEngineer(features).names


def test_the_schema_hash_changes_with_names_order_parameters_and_meaning(monkeypatch):
    base = FeatureEngineer(["rsi(14)", "gap_frac"]).schema
    others = [["rsi(15)", "gap_frac"], ["gap_frac", "rsi(14)"], ["rsi(14)"]]
    hashes = {FeatureEngineer(one).schema.sha256 for one in others} | {base.sha256}
    assert len(hashes) == 4
    assert FeatureEngineer(["rsi(14)", "gap_frac"]).schema.sha256 == base.sha256
    monkeypatch.setitem(KINDS, "gap_frac", replace(KINDS["range_frac"], name="gap_frac"))
    assert FeatureEngineer(["rsi(14)", "gap_frac"]).schema.sha256 != base.sha256


def test_a_feature_of_ones_own_is_like_any_other(ibm, monkeypatch):
    monkeypatch.setattr("mqd.ml.features.catalogue.KINDS", dict(KINDS))
    monkeypatch.setitem(KINDS, "twice", None)
    monkeypatch.delitem(KINDS, "twice")
    named("twice", "price", "close over that before it, twice")(
        lambda: (Field("close") / Lag(Field("close"), 1)) * 2.0
    )
    with pytest.raises(BadFeature, match="of its own"):
        named("rsi", "price", "taken")
    engineer = FeatureEngineer(["twice"])
    online = engineer.online()
    fed = np.array([online.update(bar_row(ibm, row)) for row in range(50)])
    assert fed.tobytes() == engineer.matrix(ibm)[:50].tobytes()


def test_outputs_of_one_function_are_fed_once_a_bar(ibm):
    nodes = [Talib("MACD", (Field("close"),), (12, 26, 9), output) for output in (2, 0, 1)]
    online, close = Online(nodes), np.ascontiguousarray(ibm.close[:200])
    fed = np.array([online.update(bar_row(ibm, row)) for row in range(200)])
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    assert fed.tobytes() == np.column_stack([histogram, line, signal]).tobytes()


def test_scikit_learn_clones_fits_pipes_and_names(ibm):
    engineer = FeatureEngineer(("log_return(1)", "range_frac"))
    assert clone(engineer).features == engineer.features
    assert list(engineer.get_feature_names_out()) == ["log_return_1", "range_frac"]
    frame = pd.DataFrame({name: getattr(ibm, name)[:300] for name in
                          ("open", "high", "low", "close", "volume")})  # fmt: skip
    made = engineer.fit(frame).transform(frame)
    assert made.to_numpy().tobytes() == engineer.matrix(ibm)[:300].tobytes()
    up = (ibm.close[1:301] > ibm.close[:300]).astype(int)
    filled = make_pipeline(engineer, StandardScaler()).fit(frame)
    assert filled.transform(frame).shape == (300, 2)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(made[1:], up[1:])
    assert list(model.feature_names_in_) == ["log_return_1", "range_frac"]
    assert FeatureEngineer.from_spec(engineer.spec()).schema == engineer.schema


def test_many_symbols_are_one_frame_in_order_of_time():
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["AAPL", "IBM"],
                         start="2012-01-03")  # fmt: skip
    frame = FeatureEngineer(["rsi(14)"]).transform(bars)
    assert frame.index.names == ["ts_close", "symbol"]
    assert frame.index.get_level_values("ts_close").is_monotonic_increasing
    only = frame.xs("IBM", level="symbol")["rsi_14"].to_numpy()
    assert only.tobytes() == FeatureEngineer(["rsi(14)"]).matrix(bars["IBM"])[:, 0].tobytes()


def test_a_frame_of_several_symbols_is_refused():
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["AAPL", "IBM"],
                         start="2012-01-03")  # fmt: skip
    frame = bars.to_pandas()
    for given in (frame, frame.reset_index()):
        with pytest.raises(BadFeatureMatrix, match="holds 2 symbols and is taken as one"):
            FeatureEngineer(["log_return(1)"]).transform(given)


def test_a_constant_feature_is_refused_when_fitted(ibm):
    with pytest.raises(BadFeatureMatrix, match=r"session_frac is 1\.0 in every row"):
        FeatureEngineer(["rsi(14)", "session_frac"]).fit(ibm)
    few = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"], start="2013-01-02")
    with pytest.raises(BadFeatureMatrix, match=r"sma_gap_200 has no value in \d+ rows"):
        FeatureEngineer(["rsi(14)", "sma_gap(200)"]).fit(few)


@pytest.mark.parametrize(("change", "said"), [
    (lambda f: f.assign(gap_frac=np.nan), "gap_frac is nan in row 0"),
    (lambda f: f.assign(rsi_14=np.where(np.arange(len(f)) == 3, np.inf, 0.5)), "rsi_14 is inf in"),
    (lambda f: f[["gap_frac", "rsi_14"]], "column 0 is 'gap_frac'"),
    (lambda f: f.rename(columns={"rsi_14": "rsi_15"}), "Did you mean 'rsi_14'"),
    (lambda f: f[["rsi_14"]], "'gap_frac' is missing"),
    (lambda f: f.astype("float32"), "hold float32"),
    (lambda f: f.to_numpy().astype("float32"), "are float32"),
    (lambda f: f.to_numpy()[:, :1], "have the shape"),
])  # fmt: skip
def test_a_matrix_of_another_shape_is_refused(ibm, change, said):
    engineer = FeatureEngineer(["rsi(14)", "gap_frac"])
    frame = engineer.transform(ibm)[20:60]
    assert engineer.schema.check(frame).shape == (40, 2)
    with pytest.raises(BadFeatureMatrix, match=said):
        engineer.schema.check(change(frame))


def test_a_frame_without_a_column_and_another_object_are_refused():
    with pytest.raises(BadFeatureMatrix, match="no column 'high'"):
        FeatureEngineer(["range_frac"]).transform(pd.DataFrame({"open": [1.0], "close": [1.0]}))
    with pytest.raises(BadFeatureMatrix, match="made of bars"):
        FeatureEngineer(["range_frac"]).transform([1, 2])


def test_a_frame_needs_the_session_where_a_feature_reads_it(ibm):
    names = ("open", "high", "low", "close", "volume", "minutes_from_open", "minutes_to_close",
             "session")  # fmt: skip
    frame = pd.DataFrame({name: getattr(ibm, name)[:9] for name in names})
    frame["session"] = np.arange(9) // 3
    engineer = FeatureEngineer(["vwap_gap", "session_frac"])
    typical = (frame.high + frame.low + frame.close) / 3
    sums = pd.DataFrame({"paid": typical * frame.volume, "volume": frame.volume})
    running = sums.groupby(frame.session).cumsum()
    wanted = frame.close / (running.paid / running.volume) - 1
    np.testing.assert_allclose(engineer.transform(frame)["vwap_gap"], wanted, atol=1e-12)
    for name in ("session", "minutes_to_close"):
        with pytest.raises(BadFeatureMatrix, match=f"reads '{name}'"):
            engineer.transform(frame.drop(columns=name))


class Leaking:
    """A set of features with one that looks ahead."""

    def __init__(self, function):
        self._function = function

    def columns(self, bars):
        return {"honest": mqd.indicators.sma(bars.close, 5), "leak": self._function(bars.close)}


@pytest.mark.parametrize("leak", [
    lambda c: np.append(c[1:], c[-1]),
    lambda c: np.convolve(c, np.ones(5) / 5, "same"),
    lambda c: (c - c.mean()) / c.std(),
    lambda c: np.argsort(np.argsort(c)).astype(float),
], ids=["tomorrow", "centred mean", "whole sample", "rank"])  # fmt: skip
def test_a_leak_planted_in_a_set_of_features_is_found(leak):
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"],
                         start="2011-01-03")  # fmt: skip
    report = mqd.check(Leaking(leak), bars, n_cuts=4)
    assert not report.ok
    assert "'leak'" in report.findings[0].sentence


def test_the_whole_catalogue_passes_the_same_check():
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"],
                         start="2011-01-03")  # fmt: skip
    assert mqd.check(FeatureEngineer(tuple(KINDS)), bars, n_cuts=4, engine="event").ok


def test_something_that_is_neither_strategy_nor_features_is_refused():
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"])
    with pytest.raises(mqd.errors.UsageError, match="no strategy"):
        mqd.check(3, bars)


def test_online_features_take_the_bars_of_one_symbol_in_order(ibm):
    online = FeatureEngineer(["log_return(1)"]).online()
    first, second, third = (bar_row(ibm, at) for at in range(3))
    online.update(first)
    for wrong in (first, second._replace(symbol="MSFT"), second._replace(ts_close=first.ts_close)):
        with pytest.raises(UsageError, match="cannot follow one of IBM at"):
            online.update(wrong)
    assert online.update(second)[0] == np.log(second.close / first.close)  # nothing was taken
    online.update(third)
    with pytest.raises(UsageError, match="in order of time"):
        online.update(second)


def test_windows_that_contradict_each_other_and_lone_values_are_refused(ibm):
    for text in ("vol_ratio(60,5)", "vol_ratio(5,5)", "macd_hist(26,12,9)"):
        with pytest.raises(BadFeature, match="must be below"):
            FeatureEngineer([text]).matrix(ibm)
    part = ibm.rows(slice(0, 22))
    for n, said in ((21, "one value in 22 rows"), (22, "no value in 22 rows")):
        with pytest.raises(BadFeatureMatrix, match=said):
            FeatureEngineer([f"log_return({n})"]).fit(part)


@pytest.mark.parametrize("symbols", [["IBM"], ["AAPL", "IBM"]])
def test_a_pipeline_under_cross_validation_has_the_features_of_the_whole_history(symbols):
    """Six folds, each with stretches cut out: no seam, no window that fills anew."""
    bars = mqd.load_bars(
        "datasets/us_equity_daily_raw.parquet",
        symbols=symbols,
        start="2010-01-04",
        end="2011-12-30",
    )
    features = ["rsi(14)", "ema_gap(20)", "log_return(5)", "atr_frac(14)"]
    engineer = FeatureEngineer(features, history=bars)
    whole = FeatureEngineer(features).transform(bars).dropna()
    seen = []

    class Seeing(LogisticRegression):
        def fit(self, X, y, sample_weight=None):  # noqa: N803
            seen.append(X)
            return super().fit(X, y, sample_weight)

        def predict_proba(self, X):  # noqa: N803
            seen.append(X)
            return super().predict_proba(X)

    rows = pd.DataFrame(index=whole.index)
    up = (whole["log_return_5"] > 0).to_numpy().astype(int)
    splitter = CombinatorialPurged(4, 2, *(whole.index.get_level_values("ts_close").asi8,) * 2)
    folds = list(splitter.split(rows))
    pipeline = make_pipeline(engineer, Seeing()).set_output(transform="pandas")
    cross_val_score(pipeline, rows, up, cv=folds, scoring="neg_brier_score")
    assert len(seen) == 2 * len(folds) == 12
    for (train, test), fitted, scored in zip(folds, seen[::2], seen[1::2], strict=True):
        assert fitted.to_numpy().tobytes() == whole.iloc[train].to_numpy().tobytes()
        assert scored.to_numpy().tobytes() == whole.iloc[test].to_numpy().tobytes()


def test_a_history_is_shared_by_clones_and_holds_all_rows(ibm):
    engineer = FeatureEngineer(["rsi(14)"], history=ibm)
    again = clone(engineer)
    assert again.history is ibm
    assert again.get_params() == engineer.get_params()
    whole = FeatureEngineer(["rsi(14)"]).transform(ibm)
    assert engineer.transform(whole.iloc[40:50]).equals(whole.iloc[40:50])
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"])
    of_bars = FeatureEngineer(["rsi(14)"], history=bars).transform(whole.iloc[40:50])
    assert of_bars.equals(whole.iloc[40:50])  # of one symbol the index need not name it
    later = whole.iloc[:2].shift(freq="1h")
    with pytest.raises(BadFeatureMatrix, match="2 rows are not in the history, the first is 2000"):
        engineer.transform(later)
    with pytest.raises(BadFeatureMatrix, match="rows are a frame with its index"):
        engineer.transform(ibm)
    with pytest.raises(BadFeatureMatrix, match="that of the history"):
        engineer.transform(whole.set_index([whole.index, np.full(len(whole), "IBM")]))
