"""What a strategy may ask of a model, and what it gets: one number a bar, or a sentence."""

import numpy as np
import pytest

import mqd
from mqd.errors import StrategyError, UsageError
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.predictors import handed_in, models_of, predicting, scores_of

REFERENCE, OTHER = "trees@" + "a" * 64, "rule_2@" + "b" * 64


class Answering:
    """A predictor that answers what it is given."""

    def __init__(self, answer):
        self.answer = answer

    def scores(self, bars):
        return self.answer(len(bars))


@pytest.fixture(scope="module")
def ibm():
    return mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"], end="2001-12-31")[
        "IBM"
    ]


def asked(answer, bars):
    with predicting(REFERENCE, Answering(answer)):
        return scores_of(REFERENCE, bars)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: np.zeros(n - 1), "scores for"),
        (lambda n: np.zeros((n, 1)), "scores for"),
        (lambda n: 0.5, r"gave \(\) scores"),
        (lambda n: None, r"gave \(\) scores"),
        (lambda n: ["up"] * n, "gave list, no numbers"),
        (lambda n: {"score": 1.0}, "gave dict, no numbers"),
        (lambda n: [[0.1], [0.2, 0.3]], "gave list, no numbers"),
    ],
)
def test_an_answer_that_is_no_number_a_bar_is_a_sentence(ibm, answer, words):
    with pytest.raises(StrategyError, match=words):
        asked(answer, ibm)


def test_a_list_of_numbers_is_scores_and_infinity_is_none(ibm):
    found = asked(lambda n: [0.5, np.inf, -np.inf, np.nan] + [1] * (n - 4), ibm)
    assert found.dtype == np.float64
    assert np.array_equal(found[:5], [0.5, np.nan, np.nan, np.nan, 1.0], equal_nan=True)


def test_a_model_is_named_by_any_parameter(ibm):
    words = {"fast": 3, "model": "", "classifier": OTHER, "note": "x@y", "filter": REFERENCE}
    assert models_of(words) == (OTHER, REFERENCE)
    assert models_of({"model": "trees", "again": REFERENCE}) == ("trees", REFERENCE)
    assert models_of({"a": OTHER, "b": OTHER}) == (OTHER,)
    assert handed_in() == ()
    with predicting(OTHER, Answering(np.zeros)):
        assert handed_in() == (OTHER,)


def test_a_name_without_its_whole_hash_is_refused():
    with pytest.raises(UsageError, match="all 64 digits"), predicting("trees@ab", None):
        pass


def test_thresholds_that_would_mean_both_are_refused(ibm):
    with pytest.raises(StrategyError, match=r"enter_at 0\.4 lies below exit_below 0\.5"):
        ModelSignal(model=REFERENCE, enter_at=0.4).features(ibm)
    with predicting(REFERENCE, Answering(np.zeros)):
        assert len(ModelSignal(model=REFERENCE, enter_at=0.5).features(ibm)["score"]) == len(ibm)
