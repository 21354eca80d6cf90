"""Scores of a shadow's log against worked figures, scikit-learn and published intervals."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as theirs

from mqd.cli.main import main
from mqd.ml.evaluation.scoring import auc_of, score_log, wilson
from tests.unit.ml.shadow_lines import A, came, said, watched, write

TABLE = pd.read_csv(Path(__file__).parents[2] / "tables" / "ml_scores.csv", comment="#")
MODEL = watched("m", "a", threshold=0.6)


def scored(folder, rows, model=MODEL):
    """Write score, label and return of one bar after another; return the model's figures."""
    records = []
    for ts, (score, label, ret) in enumerate(rows, start=1):
        records += [said(model, ts, score), came(ts, ret, label=label)]
    write(folder, records, (model,))
    return score_log(folder)[model.sha256]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Two thousand predictions that know a little, and what scored them."""
    rng = np.random.default_rng(5)
    score = rng.uniform(0, 1, 2000).round(3)
    ret = 0.01 * (score - 0.5) + rng.normal(0, 0.01, 2000)
    up = (ret > 0).astype(int)
    folder = tmp_path_factory.mktemp("many")
    return (
        score,
        up,
        ret,
        scored(folder, zip(score.tolist(), up.tolist(), ret.tolist(), strict=True)),
    )


def test_the_worked_case(tmp_path):
    told = scored(tmp_path, TABLE.itertuples(index=False)).metrics()
    assert told["predictions"] == told["matured"] == 6
    assert told["brier"] == pytest.approx(0.138333, abs=1e-6)
    assert told["log_loss"] == pytest.approx(0.437187, abs=1e-6)
    assert told["hit_rate_frac"] == pytest.approx(5 / 6)
    assert told["base_rate_frac"] == pytest.approx(2 / 6)
    assert told["auc"] == 1.0
    assert told["signals"] == 3
    assert told["precision_frac"] == pytest.approx(2 / 3)
    assert told["signal_return_frac"] == pytest.approx(0.02 / 3)
    assert told["mean_return_frac"] == pytest.approx(0.0)
    assert told["coverage_frac"] == 1.0


@pytest.mark.parametrize(
    ("scores", "constant"),
    [
        ([0.5] * 30, 0.5),
        ([0.5] * 29, None),
        ([0.5] * 40 + [0.51], None),
        ([0.4] + [0.5] * 250, 0.5),
    ],
)
def test_a_model_that_says_the_same_of_every_bar_is_named(scores, constant, tmp_path, capsys):
    found = scored(tmp_path, [(score, 1, 0.01) for score in scores])
    assert found.constant == constant
    assert main(["shadow", "status", str(tmp_path), "--json"]) == int(constant is not None)
    assert json.loads(capsys.readouterr().out)["models"][0]["constant"] == constant
    main(["shadow", "status", str(tmp_path)])
    assert ("! constant" in capsys.readouterr().out) == (constant is not None)


def test_figures_equal_those_of_scikit_learn_and_scipy(many):
    score, up, ret, found = many
    told = found.metrics()
    assert told["brier"] == pytest.approx(theirs.brier_score_loss(up, score))
    assert told["log_loss"] == pytest.approx(theirs.log_loss(up, score.clip(1e-12, 1 - 1e-12)))
    assert told["auc"] == pytest.approx(theirs.roc_auc_score(up, score), abs=1e-3)
    assert told["information_coefficient"] == pytest.approx(stats.pearsonr(score, ret).statistic)
    assert told["hit_rate_frac"] == pytest.approx(theirs.accuracy_score(up, score > 0.5))
    assert told["precision_frac"] == pytest.approx(theirs.precision_score(up, score >= 0.6))
    assert told["recent_brier"] == pytest.approx(theirs.brier_score_loss(up[-250:], score[-250:]))
    assert told["recent_hit_rate_frac"] == pytest.approx(((score > 0.5) == up)[-250:].mean())


def test_calibration_is_that_of_tenths_of_the_score(many):
    score, up, _, found = many
    rows = found.calibration()
    assert sum(row["n"] for row in rows) == 2000
    inside = (score >= 0.3) & (score < 0.4)
    assert rows[3]["n"] == inside.sum()
    assert rows[3]["mean_score"] == pytest.approx(score[inside].mean())
    assert rows[3]["up_frac"] == pytest.approx(up[inside].mean())


# E. B. Wilson's interval as R. Newcombe, "Two-sided confidence intervals for the single
# proportion" (1998), table I, method 3, gives it.
@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_intervals(n_right, n, low, high):
    assert wilson(n_right, n) == pytest.approx((low, high), abs=5e-5)


def test_without_predictions_all_is_nan(tmp_path):
    write(tmp_path, [], (MODEL,))
    told = score_log(tmp_path)[MODEL.sha256].metrics()
    counts = {"predictions", "matured", "waiting", "without_score", "from_others", "signals",
              "on_training_rows"}  # fmt: skip
    assert {name for name, value in told.items() if value == 0} == counts
    assert all(math.isnan(value) for name, value in told.items() if name not in counts)


def test_bars_that_the_training_has_seen_are_counted_and_not_scored(tmp_path):
    rows = [(0.9, 1, 0.01)] * 4 + [(0.1, 1, 0.01)] * 3
    found = scored(tmp_path, rows, MODEL._replace(trained_to_ns=4))
    told = found.metrics()
    assert (told["predictions"], told["on_training_rows"], told["matured"]) == (7, 4, 3)
    assert (told["hit_rate_frac"], told["coverage_frac"]) == (0.0, 1.0)
    assert told["from_others"] == 0


def test_an_area_needs_both_classes():
    assert math.isnan(auc_of(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert auc_of(np.array([2.0]), np.array([1.0])) == 0.5


def test_only_what_a_model_said_itself_counts_for_it(tmp_path):
    records = [
        said(MODEL, 1, 0.9), came(1, 0.1), said(MODEL, 2, 0.9, source="previous"), came(2, -0.1),
        said(MODEL, 3, 0.9, source="rule"), came(3, -0.1),
        said(MODEL, 4, math.nan, source="none", error="deadline: no answer within 0.5 s"),
        came(4, -0.1), said(MODEL, 5, 0.9),
    ]  # fmt: skip
    write(tmp_path, records, (MODEL,))
    found = score_log(tmp_path)[MODEL.sha256]
    told = found.metrics()
    assert (told["matured"], told["waiting"], told["without_score"], told["from_others"]) == (
        1, 1, 1, 2,
    )  # fmt: skip
    assert told["hit_rate_frac"] == told["precision_frac"] == 1.0
    assert told["coverage_frac"] == pytest.approx(2 / 5)
    assert found.sources == {"model": 2, "previous": 1, "rule": 1, "none": 1}
    assert found.errors == {"deadline": 1}


def test_a_score_that_is_no_probability_has_no_brier(tmp_path):
    model = watched("margin", "a", output="score")
    found = scored(tmp_path, [(-3.0, 0, -0.1), (2.0, 1, 0.1), (0.2, 1, 0.2)], model)
    told = found.metrics()
    assert math.isnan(told["brier"])
    assert math.isnan(told["log_loss"])
    assert math.isnan(told["recent_brier"])
    assert told["hit_rate_frac"] == told["recent_hit_rate_frac"] == 1.0  # the middle is 0
    assert found.threshold == 0.0


def test_scores_outside_of_probability_stay_in_the_outer_bins(tmp_path):
    found = scored(tmp_path, [(-0.25, 0, -0.1), (1.0, 1, 0.1), (1.5, 1, 0.1)])
    assert [row["n"] for row in found.calibration()] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_certainty_that_is_wrong_costs_much_and_not_all(tmp_path):
    told = scored(tmp_path, [(1.0, 0, -0.1)]).metrics()
    assert told["log_loss"] == pytest.approx(-math.log(1e-12), rel=1e-4)


def test_latencies_are_counted_to_a_twentieth_of_a_decade(tmp_path):
    ms = 1_000_000
    records = [said(A, ts, 0.5, latency=2 * ms) for ts in range(1, 99)]
    records += [said(A, 99, 0.5, latency=400 * ms), said(A, 100, 0.5, latency=500 * ms)]
    write(tmp_path, records)
    told = score_log(tmp_path)[A.sha256].metrics()
    assert 2.0 <= told["latency_ms_p50"] <= 2.0 * 10 ** (1 / 20)
    assert 400.0 <= told["latency_ms_p99"] <= 400.0 * 10 ** (1 / 20)


def test_the_figures_do_not_depend_on_chunks(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    rows = [
        (p, int(r > 0), r) for p, r in zip(rng.uniform(size=60), rng.normal(size=60), strict=True)
    ]
    whole = scored(tmp_path, rows).metrics()
    from mqd.ml.evaluation import scoring
    from mqd.ml.shadow.outcomes import joined

    monkeypatch.setattr(scoring, "joined", lambda folder: joined(folder, 7))
    assert score_log(tmp_path)[MODEL.sha256].metrics() == pytest.approx(whole, rel=1e-12)
