"""Evaluation: leakage refused, figures held against scikit-learn, value through the desk."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mqd
from mqd.core.clock import iso
from mqd.errors import UsageError
from mqd.ml import FeatureEngineer, FixedHorizon, TripleBarrier
from mqd.ml.evaluation.dataset import Dataset, make_dataset
from mqd.ml.evaluation.evaluate import OutOfSample, evaluate
from mqd.splits import CombinatorialPurged, PurgedKFold, WalkForward

DAY = 86_400_000_000_000


def planted(n=600, *, horizon=3, seed=0):
    """Return rows whose first feature says something of the label."""
    dice = np.random.default_rng(seed)
    X = dice.normal(size=(n, 2))
    y = (X[:, 0] + dice.normal(size=n) > 0).astype(np.int64)
    t0 = np.arange(n) * DAY
    return Dataset(
        ("a", "b"), X, y, t0, t0 + horizon * DAY, np.where(y == 1, 0.01, -0.01), np.ones(n),
        np.full(n, "A", dtype=object), np.arange(n),
    )  # fmt: skip


MODEL = LogisticRegression()


def purged(data, n=5):
    return PurgedKFold(n, data.t0, data.t1)


@pytest.mark.parametrize("cv", [
    lambda d: KFold(5), lambda d: KFold(5, shuffle=True, random_state=0),
    lambda d: WalkForward(200, 50), lambda d: WalkForward(200, 50, gap=2),
], ids=["folds", "shuffled", "walk without labels", "too short a gap"])  # fmt: skip
def test_a_split_that_leaks_is_refused(cv):
    data = planted()
    with pytest.raises(UsageError, match=r"that is leakage\. Bind the splitter"):
        evaluate(MODEL, data, cv(data))


@pytest.mark.parametrize("cv", [
    purged, lambda d: CombinatorialPurged(5, 2, d.t0, d.t1),
    lambda d: WalkForward(200, 50, label_start=d.t0, label_end=d.t1),
    lambda d: WalkForward(200, 50, gap=3),
], ids=["purged", "combinatorial", "walk", "a gap as long as the label"])  # fmt: skip
def test_a_split_that_does_not_leak_passes(cv):
    data = planted()
    found = evaluate(MODEL, data, cv(data))
    assert found.n_splits >= 5
    assert found.metrics()["auc"] > 0.7


def test_figures_are_those_of_scikit_learn():
    data = planted()
    found = evaluate(MODEL, data, purged(data))
    told, p, y = found.metrics(0.6), found.score, data.y
    assert told["brier"] == pytest.approx(sk.brier_score_loss(y, p))
    assert told["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert told["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert told["precision_frac"] == pytest.approx(sk.precision_score(y, p >= 0.6))
    assert told["hit_rate_frac"] == pytest.approx(sk.accuracy_score(y, p > 0.5))
    assert told["brier_low"] < told["brier"] < told["brier_high"]
    assert told["information_coefficient"] == pytest.approx(np.corrcoef(p, data.ret_frac)[0, 1])
    table = found.calibration()
    assert table["n"].sum() == len(data)
    assert found.calibration_error() < 0.1


def test_noise_has_no_skill_and_the_interval_says_so():
    data = planted(seed=3)
    noise = data.take(np.arange(len(data)))
    object.__setattr__(noise, "y", np.random.default_rng(1).permutation(data.y))
    told = evaluate(MODEL, noise, purged(noise)).metrics()
    assert abs(told["auc"] - 0.5) < 0.1
    assert told["skill"] < 0.05
    assert told["brier_low"] < 0.25 < told["brier_high"]


def test_combinatorial_paths_are_whole_and_their_mean_is_the_score():
    data = planted(240)
    found = evaluate(MODEL, data, CombinatorialPurged(6, 2, data.t0, data.t1))
    assert found.paths.shape == (5, 240)
    assert np.isfinite(found.paths).all()
    np.testing.assert_allclose(found.paths.mean(axis=0), found.score)


def test_weights_reach_the_fit():
    seen = []

    class Watching(LogisticRegression):
        def fit(self, X, y, sample_weight=None):  # noqa: N803
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    data = planted(200)
    evaluate(Watching(), data, purged(data, 2))
    assert all(len(one) for one in seen)
    seen.clear()
    evaluate(Watching(), data, purged(data, 2), weighted=False)
    assert seen == [None, None]
    seen.clear()
    evaluate(make_pipeline(StandardScaler(), Watching()), data, purged(data, 2))
    assert [one is not None for one in seen] == [True, True]
    evaluate(make_pipeline(StandardScaler(), KNeighborsClassifier()), data, purged(data, 2))


def test_trials_are_counted_once_each(tmp_path):
    data = planted(200)
    for c, wanted in ((1.0, 1), (0.1, 2), (1.0, 2)):
        model = LogisticRegression(C=c)
        assert evaluate(model, data, purged(data), study=tmp_path).n_trials == wanted


def test_a_parameter_that_a_repr_leaves_out_makes_another_trial(tmp_path):
    data = planted(200)

    def long(last):
        weight = dict.fromkeys(range(400), 1.0) | {399: last}
        return make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight))

    assert repr(long(1.0)) == repr(long(0.1))
    first = evaluate(long(1.0), data, purged(data), study=tmp_path)
    assert (first.n_trials, first.n_counted) == (1, 1)
    assert evaluate(long(0.1), data, purged(data), study=tmp_path).n_trials == 2
    assert (first.n_trials, first.n_counted) == (2, 1)
    assert evaluate(long(1.0), data, purged(data), study=tmp_path).n_trials == 2


def test_weights_rows_and_code_make_another_trial(tmp_path):
    data = planted(200)

    def kind(shift):
        class Own(LogisticRegression):
            def fit(self, X, y, sample_weight=None):  # noqa: N803
                return super().fit(X + shift, y, sample_weight)

        if shift:  # a class that was edited in place: its name is the same
            Own.fit.__code__ = Own.fit.__code__.replace(co_name="fit2", co_consts=(None, 7))
        return Own()

    def tried(model, cv, **words):
        return evaluate(model, data, cv, study=tmp_path, **words).n_trials

    assert tried(kind(0), purged(data)) == 1
    assert tried(kind(0), purged(data)) == 1
    assert tried(kind(1), purged(data)) == 2
    assert tried(kind(0), purged(data), weighted=False) == 3
    walk = {"label_start": data.t0, "label_end": data.t1}
    assert tried(kind(0), WalkForward(100, 30, **walk)) == 4
    assert tried(kind(0), WalkForward(100, 30, gap=9, **walk)) == 5


def test_each_path_of_a_combinatorial_split_has_its_figures():
    data = planted(300)
    found = evaluate(MODEL, data, CombinatorialPurged(5, 2, data.t0, data.t1))
    told = found.by_path(0.6)
    assert list(told.index) == [0, 1, 2, 3]  # 5 groups, 2 tested: 4 paths
    for path, scores in enumerate(found.paths):
        one = found.on_path(path)
        assert np.array_equal(one.score, scores, equal_nan=True)
        known = np.isfinite(scores)
        brier = sk.brier_score_loss(data.y[known], scores[known])
        assert told.loc[path, "brier"] == pytest.approx(brier)
        assert one.predictor().scores is not None
    mean = float(told["brier"].mean())
    assert found.metrics(0.6)["brier"] <= mean  # a committee: squares are convex
    for path in (-1, 4):
        with pytest.raises(UsageError, match=f"no path {path}: this split has 4"):
            found.on_path(path)


def test_a_notebook_shows_figures_with_their_intervals():
    data = planted(300)
    found = evaluate(MODEL, data, purged(data))
    shown = found._repr_html_()
    told = found.metrics()
    assert f"<td>{told['brier']:.4f}</td>" in shown
    assert f"{told['brier_low']:.4f} to {told['brier_high']:.4f}" in shown
    assert "it is better than the base rate" in shown
    coin = OutOfSample(data, np.full(300, 0.5), np.full((1, 300), 0.5), 1)
    assert "it is not shown to be better than the base rate" in coin._repr_html_()
    nothing = OutOfSample(data, np.full(300, np.nan), np.full((1, 300), np.nan), 1)
    assert "No row was tested" in nothing._repr_html_()


def test_intervals_hold_what_they_promise_when_labels_overlap():
    """The score and the label of ten bars are both slow: rows are far from independent."""
    right, precise, n, dice = 0, 0, 200, np.random.default_rng(7)
    for _ in range(n):
        steps, slow = dice.normal(size=(2, 640))
        ahead = np.convolve(steps, np.ones(10), "valid")[1:601]
        score = 0.5 + 0.1 * np.convolve(slow, np.ones(10), "valid")[:600]
        data = planted(600, horizon=10)
        object.__setattr__(data, "y", (ahead > 0).astype(np.int64))
        object.__setattr__(data, "weight", np.full(600, 0.1))
        told = OutOfSample(data, np.clip(score, 0, 1), score[None], 1).metrics(0.6)
        right += told["hit_rate_low_frac"] <= 0.5 <= told["hit_rate_high_frac"]
        precise += told["precision_low_frac"] <= 0.5 <= told["precision_high_frac"]
    assert 0.88 * n <= right < n
    assert 0.93 * n <= precise


def test_the_first_and_the_last_instant_that_were_tested():
    data = planted(200)
    found = evaluate(MODEL, data, WalkForward(120, 40, label_start=data.t0, label_end=data.t1))
    at = np.flatnonzero(found.tested)
    assert at[0] >= 120
    assert found.span == (iso(int(data.t0[at[0]])), iso(int(data.t0[at[-1]])))
    nothing = OutOfSample(data, np.full(200, np.nan), found.paths, 1)
    assert nothing.metrics() == {"rows": 0.0}
    with pytest.raises(UsageError, match="No row was tested"):
        assert nothing.span


def test_one_class_and_too_few_rows_are_sentences():
    data = planted(100)
    object.__setattr__(data, "y", np.ones(100, dtype=np.int64))
    with pytest.raises(UsageError, match="all up: there is nothing to learn"):
        evaluate(MODEL, data, purged(data))
    with pytest.raises(UsageError, match="No window fits"):
        evaluate(MODEL, planted(20), WalkForward(200, 50, gap=3))


def test_no_number_is_told_by_row_and_column():
    data = planted(100)
    data.X[7, 1] = math.nan
    with pytest.raises(UsageError, match="holds nan in row 7, column 'b'; 1 places"):
        evaluate(MODEL, data, purged(data))


def test_rows_out_of_order_and_outcomes_before_predictions_are_refused():
    data = planted(100)
    cv = WalkForward(40, 10, gap=3)
    with pytest.raises(UsageError, match="label_start"):
        evaluate(MODEL, data.take(np.arange(100)[::-1]), cv)
    object.__setattr__(data, "t1", data.t0 - 1)
    with pytest.raises(UsageError, match="label_end lies before label_start in 100 rows"):
        evaluate(MODEL, data, cv)


def test_a_split_without_training_rows_is_a_sentence():
    class Everything:
        def split(self, X=None):  # noqa: N803
            yield np.arange(0), np.arange(100)

    with pytest.raises(UsageError, match="Split 0 trains on no row"):
        evaluate(MODEL, planted(100), Everything())


@pytest.fixture(scope="module")
def bars():
    file = "datasets/us_equity_daily_raw.parquet"
    return mqd.load_bars(file, symbols=["AAPL", "IBM"], start="2008-01-02", end="2010-12-31")


def test_a_dataset_is_in_order_finite_and_hashed(bars):
    engineer = FeatureEngineer(["rsi(14)", "log_return(1)"])
    data = make_dataset(bars, engineer, FixedHorizon(5))
    assert (np.diff(data.t0) >= 0).all()
    assert np.isfinite(data.X).all()
    assert len(data) == 2 * (len(bars["IBM"]) - 14 - 5)
    ibm = data.take(data.symbol == "IBM")
    assert (bars["IBM"].ts_close[ibm.row] == ibm.t0).all()
    assert data.training.data_sha256 == make_dataset(bars, engineer, FixedHorizon(5)).training[0]
    assert data.training.data_sha256 != make_dataset(bars, engineer, FixedHorizon(4)).training[0]
    cut = int(data.t0[700])
    assert (data.before(cut).t1 < cut).all()
    assert set(np.unique(make_dataset(bars, engineer, TripleBarrier(5, 1.0, 1.0)).y)) == {0, 1}
    with pytest.raises(UsageError, match="No row is left"):
        make_dataset(bars, engineer, FixedHorizon(5000))
