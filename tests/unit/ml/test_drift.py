"""Drift against worked cases and scipy: PSI of counts, distances of samples, references kept."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mqd.errors import UsageError
from mqd.ml.evaluation.drift import Reference, drift, ks_p, ks_two_samples, psi
from mqd.ml.evaluation.log_drift import shadow_drift
from mqd.ml.shadow.log import ShadowLog
from tests.unit.ml.shadow_lines import said, watched

TABLE = pd.read_csv(Path(__file__).parents[2] / "tables" / "ml_psi.csv", comment="#")
RNG = np.random.default_rng(11)
OLD = RNG.normal(size=(5000, 3))
NAMES = ("rsi_14", "gap", "score")


@pytest.mark.parametrize("case", TABLE["case"].unique())
def test_psi_equals_the_worked_cases(case):
    rows = TABLE[TABLE["case"] == case]
    found = psi(rows["old"], rows["new"])
    assert found == pytest.approx(rows["psi"].iloc[0], abs=2e-4)


def test_psi_is_the_same_both_ways_and_nothing_without_rows():
    assert psi([40, 60], [70, 30]) == pytest.approx(psi([70, 30], [40, 60]), rel=1e-12)
    assert psi([10, 10], [10, 10]) == 0.0
    assert math.isnan(psi([0, 0], [1, 2]))


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.4])
def test_two_samples_are_as_far_apart_as_scipy_says(shift):
    a, b = OLD[:700, 0], OLD[1000:1900, 1] + shift
    theirs = stats.ks_2samp(a, b, method="asymp")
    distance, p = ks_two_samples(a, b)
    assert distance == pytest.approx(theirs.statistic, abs=1e-12)
    assert p == pytest.approx(theirs.pvalue, abs=0.03)


def test_ties_and_empty_samples():
    a, b = [1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0]
    assert ks_two_samples(a, b)[0] == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert all(math.isnan(one) for one in ks_two_samples([], b))


def test_the_chance_of_a_distance_is_that_of_kolmogorov():
    for distance in (0.01, 0.03, 0.05, 0.1):
        assert ks_p(distance, 1000.0) == pytest.approx(stats.kstwo.sf(distance, 1000), abs=0.02)


def test_what_did_not_move_is_stable_and_what_moved_is_named():
    new = RNG.normal(size=(4000, 3))
    new[:, 1] += 1.0
    new[:, 2] *= 1.45
    found = drift(Reference.of(OLD, NAMES), new)
    assert list(found["state"]) == ["stable", "changed", "moving"]
    assert list(found.index) == list(NAMES)
    assert found["ks"]["gap"] == pytest.approx(0.383, abs=0.03)  # 2 x normal cdf of a half, less 1
    assert found["ks_p"]["rsi_14"] > 0.01 > found["ks_p"]["gap"]


def test_the_distance_from_kept_quantiles_is_near_that_from_the_sample():
    new = OLD[:800, 0] * 1.2 + 0.1
    kept = drift(Reference.of(OLD[1000:, :1], ["x"]), new[:, None])["ks"]["x"]
    assert kept == pytest.approx(stats.ks_2samp(OLD[1000:, 0], new).statistic, abs=0.015)


def test_a_column_of_few_values_is_compared_by_its_steps():
    old = np.repeat([0.0, 1.0], [600, 400])[:, None]
    same = drift(Reference.of(old, ["flag"]), np.repeat([0.0, 1.0], [60, 40])[:, None])
    other = drift(Reference.of(old, ["flag"]), np.repeat([0.0, 1.0], [40, 60])[:, None])
    assert same["ks"]["flag"] < 0.02
    assert other["ks"]["flag"] == pytest.approx(0.2, abs=0.011)


def test_a_feature_that_goes_missing_has_drifted():
    new = OLD[:1000].copy()
    new[:400, 0] = np.nan
    found = drift(Reference.of(OLD, NAMES), new).loc["rsi_14"]
    assert found["missing_frac"] == pytest.approx(0.4)
    assert found["state"] == "changed"
    assert found["n"] == 600


def test_too_few_rows_are_nan_and_say_so():
    found = drift(Reference.of(OLD, NAMES), OLD[:19]).loc["gap"]
    assert found["state"] == "too few"
    assert math.isnan(found["psi"])
    assert math.isnan(found["ks"])


def test_a_reference_comes_back_from_json():
    reference = Reference.of(OLD, NAMES)
    again = Reference.from_spec(json.loads(json.dumps(reference.spec())))
    assert again == reference
    assert again.names == NAMES


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Reference.of(OLD, ["one"]), "1 columns"),
        (lambda: Reference.of(OLD[:5], NAMES), "5 numbers"),
        (lambda: drift(Reference.of(OLD, NAMES), OLD[:, :2]), "3 columns"),
        (lambda: Reference.from_spec({"x": {"edges": []}}), "no reference"),
        (lambda: Reference.from_spec([]), "no reference"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_columns_of_a_log_are_found_by_their_names(tmp_path):
    """A manifest is JSON with sorted keys: its reference comes back in another order."""
    dice = np.random.default_rng(4)
    trained = np.column_stack((dice.normal(50, 5, 900), dice.normal(0, 0.01, 900)))
    spec = json.loads(json.dumps(Reference.of(trained, ("y", "x")).spec(), sort_keys=True))
    assert list(spec) == ["x", "y"]
    model = watched("m", "a")
    with ShadowLog.open(tmp_path) as log:
        log.start((model,), ("S",))
        for ts, row in enumerate(trained[:300], start=1):
            log.predict(said(model, ts, 0.5), "5" * 64, row)
    manifest = SimpleNamespace(metrics={"reference": spec}, feature_names=("y", "x"))
    found = shadow_drift(tmp_path, model.sha256, manifest)
    assert (found["state"] == "stable").all()
    manifest.feature_names = ("y", "z")
    with pytest.raises(UsageError, match="The reference names 'x'"):
        shadow_drift(tmp_path, model.sha256, manifest)


@pytest.mark.parametrize("n", [20, 50, 100, 250])
def test_what_did_not_move_is_not_said_to_have_by_chance(n):
    dice = np.random.default_rng(8)
    reference = Reference.of(dice.normal(size=(5000, 1)), ("x",))
    states = [drift(reference, dice.normal(size=(n, 1)))["state"].iloc[0] for _ in range(100)]
    assert states.count("stable") >= 94
    assert drift(reference, dice.normal(2, 1, size=(n, 1)))["state"].iloc[0] == "changed"
