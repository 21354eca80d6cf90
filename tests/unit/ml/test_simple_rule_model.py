"""Rules that anybody can read: sums worked by hand, scikit-learn's protocol, wrong rules."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mqd.errors import UsageError
from mqd.ml.errors import BadFeatureMatrix
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.inference.rules import DEFAULT, Rule, SimpleRuleModel

RULES = [("rsi_14", "<", 30.0, 0.25), ("rsi_14", ">", 70.0, -0.25), ("gap", ">", 0.0, 0.125)]
MODEL = SimpleRuleModel(RULES)

BY_HAND = [
    # rsi, gap, chance
    (20.0, 0.5, 0.875),  # 0.5 + 0.25 + 0.125
    (20.0, -0.5, 0.75),
    (30.0, 0.0, 0.5),  # a rule holds strictly below and above its level
    (50.0, 0.1, 0.625),
    (80.0, -1.0, 0.25),
    (80.0, 1.0, 0.375),
]


@pytest.mark.parametrize(("rsi", "gap", "chance"), BY_HAND)
def test_the_chance_is_the_base_and_the_steps_of_the_rules_that_hold(rsi, gap, chance):
    assert MODEL.predict_proba(np.array([[rsi, gap]])).tolist() == [[1.0 - chance, chance]]
    assert MODEL.confidence(np.array([[rsi, gap]])).tolist() == [abs(2.0 * chance - 1.0)]
    assert MODEL.predict(np.array([[rsi, gap]])).tolist() == [int(chance > 0.5)]


def test_it_says_which_rules_held():
    assert MODEL.explain({"gap": 0.5, "rsi_14": 20.0}) == [Rule(*RULES[0]), Rule(*RULES[2])]
    assert MODEL.explain([80.0, -1.0]) == [Rule(*RULES[1])]
    assert [str(rule) for rule in MODEL.explain([80.0, 1.0])] == [
        "rsi_14 > 70: -0.25",
        "gap > 0: +0.125",
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("<>"), st.floats(-9, 9), st.floats(-1, 1)),
        min_size=1,
        max_size=6,
    ),
    st.floats(0, 1),
    st.lists(st.floats(-10, 10), min_size=2, max_size=2),
)
def test_the_chance_is_what_explain_adds_up_to_and_never_leaves_zero_to_one(rules, base, row):
    model = SimpleRuleModel(rules, base, feature_names=["a", "b"])
    fired = model.explain(row)
    chance = model.predict_proba(np.array([row]))[0, 1]
    assert chance == pytest.approx(min(1.0, max(0.0, base + sum(rule.step for rule in fired))))
    assert 0.0 <= chance <= 1.0


def test_a_frame_is_read_by_its_names_and_an_array_by_the_order_it_was_told():
    rows = np.array([[0.5, 9.0, 20.0], [-0.5, 9.0, 80.0]])
    frame = pd.DataFrame(rows, columns=["gap", "other", "rsi_14"])
    told = SimpleRuleModel(RULES, feature_names=["gap", "other", "rsi_14"])
    assert MODEL.predict_proba(frame).tolist() == told.predict_proba(rows).tolist()
    assert told.scores(rows, ["gap", "other", "rsi_14"]).tolist() == [0.875, 0.25]
    assert (MODEL.names, MODEL.n_features_in_, told.n_features_in_) == (("rsi_14", "gap"), 2, 3)


def test_a_row_that_lacks_a_feature_has_no_chance():
    rows = np.array([[np.nan, 1.0], [20.0, np.inf], [20.0, 1.0]])
    chances = MODEL.predict_proba(rows)[:, 1]
    assert np.isnan(chances).tolist() == [True, True, False]
    assert MODEL.predict(rows).tolist() == [0, 0, 1]


def test_a_column_that_is_missing_is_named():
    with pytest.raises(BadFeatureMatrix, match=r"The rules read 'rsi_14'.*Did you mean 'rsi_15'"):
        MODEL.fit(pd.DataFrame({"rsi_15": [1.0], "gap": [1.0]}))
    with pytest.raises(BadFeatureMatrix, match="wanted are rows of 2: rsi_14, gap"):
        MODEL.predict_proba(np.ones((2, 3)))


WRONG = {
    "too short": [("rsi_14", "<", 30.0)],
    "no sign": [("rsi_14", "=", 30.0, 0.1)],
    "no level": [("rsi_14", "<", "low", 0.1)],
    "level without end": [("rsi_14", "<", float("inf"), 0.1)],
    "step beyond one": [("rsi_14", "<", 30.0, 1.5)],
    "step that is none": [("rsi_14", "<", 30.0, float("nan"))],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_rule_is_shown(what):
    with pytest.raises(UsageError, match="Rule 1"):
        SimpleRuleModel(WRONG[what]).predict_proba(np.ones((1, 1)))


@pytest.mark.parametrize("base", [-0.1, 1.1, float("nan")])
def test_a_base_is_a_chance(base):
    with pytest.raises(UsageError, match="no chance between 0 and 1"):
        SimpleRuleModel(RULES, base).predict_proba(np.ones((1, 2)))


def test_it_keeps_scikit_learns_protocol():
    again = clone(MODEL)
    assert again.get_params() == {"rules": RULES, "base": 0.5, "feature_names": None}
    piped = make_pipeline(FunctionTransformer(), again.set_params(base=0.25))
    rows = np.array([[20.0, 0.5], [50.0, -0.5]])
    assert piped.fit(rows, [0, 1]).predict_proba(rows)[:, 1].tolist() == [0.625, 0.25]
    assert piped.score(rows, [1, 0]) == 1.0


def test_its_spec_is_plain_json_and_makes_an_equal_model_again():
    told = json.loads(json.dumps(MODEL.spec()))
    again = SimpleRuleModel.from_spec(told)
    rows = np.array([[rsi, gap] for rsi, gap, _ in BY_HAND])
    assert again.predict_proba(rows).tobytes() == MODEL.predict_proba(rows).tobytes()
    with pytest.raises(UsageError, match="no specification of a rule model"):
        SimpleRuleModel.from_spec({"rules": []})
    with pytest.raises(UsageError, match="Rule 1"):
        SimpleRuleModel.from_spec(told | {"rules": [["rsi_14"]]})


def test_the_default_rules_read_what_the_default_features_have():
    assert {name for name, *_ in DEFAULT} <= set(FeatureEngineer().names)
    assert SimpleRuleModel().fit(pd.DataFrame(np.ones((1, 2)), columns=["rsi_14", "sma_gap_20"]))


@pytest.mark.parametrize("rules", [(), [], iter(()), None])
def test_no_rules_are_no_model(rules):
    with pytest.raises(UsageError, match="give a list of one rule or more"):
        SimpleRuleModel(rules).predict_proba(np.zeros((3, 1)))
