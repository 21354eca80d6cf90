"""A strategy that asks a model is promoted with the hash of a champion, and trades no other."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

import mqd
import mqd.promotion.promote as promotion
from mqd.core.signal import HOLD
from mqd.promotion.errors import NotPromoted, PromotionRefused
from mqd.promotion.record import read_record, verify_record
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.predictors import predicting, scores_of

REFERENCE, OTHER = "trees@" + "a" * 64, "trees@" + "b" * 64
LIMITS = mqd.Limits()
TESTED = pd.Timestamp("2010-09-01", tz="UTC")
BEFORE = pd.Timestamp("2010-08-31", tz="UTC").value
EVIDENCE = promotion._Evidence(
    SimpleNamespace(findings=()), SimpleNamespace(metrics={"n_trades": 20.0}),
    SimpleNamespace(metrics={"sharpe": 0.5}, windows=pd.DataFrame({"test_first": [TESTED]}),
                    scheme="s", efficiency=1.0),
    1, None, None,
)  # fmt: skip


class TwoModels(mqd.Strategy):
    """Asks models by parameters of other names."""

    classifier: str = mqd.param(REFERENCE)
    filter_by: str = mqd.param("")

    def decide(self, now, position):
        return HOLD


class NamedInCode(mqd.Strategy):
    """Asks a model that no parameter names."""

    def features(self, bars):
        return {"score": scores_of(REFERENCE, bars)}

    def decide(self, now, position):
        return HOLD


class Predicting:
    """A predictor of a stage; what it says is not asked here."""

    def __init__(self, stage, trained_to_ns):
        self.is_champion, self.trained_to_ns = stage == "champion", trained_to_ns


@pytest.fixture(scope="module")
def bars():
    file = "datasets/us_equity_daily_raw.parquet"
    return mqd.load_bars(file, symbols=["IBM"], start="2010-06-01", end="2010-12-31")


@pytest.fixture
def attempt(monkeypatch, bars, tmp_path):
    """Return a promoter whose check, backtest and walk-forward are good."""
    monkeypatch.setattr(promotion, "_gather", lambda *_: EVIDENCE)

    def run(stage, trained_to_ns=BEFORE, strategy=None):
        good = SimpleNamespace(
            orders=[], fills=[], breaks=(), duplicates=0, lost_fills=0, equal=True
        )
        with predicting(REFERENCE, Predicting(stage, trained_to_ns)):
            return promotion.promote(
                strategy or ModelSignal(model=REFERENCE), bars, rehearse=lambda *_, **__: good,
                out=tmp_path / "p.json", limits=LIMITS,
            )  # fmt: skip

    return run


def test_the_record_names_the_models_hash_and_holds_for_no_other(attempt, tmp_path):
    record = attempt("champion")
    again = read_record(tmp_path / "p.json")
    assert again.strategy["parameters"]["model"] == REFERENCE
    assert [gate.passed for gate in record.gates if gate.name == "model"] == [True]
    verify_record(again, ModelSignal(model=REFERENCE), LIMITS)
    with pytest.raises(NotPromoted, match="parameters"):
        verify_record(again, ModelSignal(model=OTHER), LIMITS)


@pytest.mark.parametrize("trained_to_ns", [TESTED.value, TESTED.value + 1, None])
def test_a_model_that_has_seen_what_it_is_judged_on_is_not_promoted(
    attempt, tmp_path, trained_to_ns
):
    with pytest.raises(PromotionRefused, match="has not seen the bars that it is judged on"):
        attempt("champion", trained_to_ns)
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("name", ["model", "model_unseen"])
def test_a_record_without_a_gate_of_its_model_does_not_pass(attempt, name):
    record = attempt("champion")
    gates = tuple(gate for gate in record.gates if gate.name != name)
    stripped = replace(record, gates=gates)
    with pytest.raises(NotPromoted, match=f"gate {name}"):
        verify_record(stripped, ModelSignal(model=REFERENCE), LIMITS)


def test_a_model_that_is_no_champion_fails_before_anything_runs(attempt, tmp_path):
    with pytest.raises(PromotionRefused, match="champion"):
        attempt("shadow")
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("strategy", [TwoModels(), NamedInCode()])
def test_a_model_is_judged_however_a_strategy_names_it(attempt, tmp_path, strategy):
    with pytest.raises(PromotionRefused, match="champion"):
        attempt("shadow", strategy=strategy)
    with pytest.raises(PromotionRefused, match="has not seen"):
        attempt("champion", TESTED.value, strategy=strategy)
    record = attempt("champion", strategy=strategy)
    assert record.strategy["models"] == [REFERENCE]
    assert {"model", "model_unseen"} <= {gate.name for gate in record.gates}
    with predicting(REFERENCE, Predicting("champion", BEFORE)):
        verify_record(record, strategy, LIMITS)
        with (
            predicting(OTHER, Predicting("champion", BEFORE)),
            pytest.raises(NotPromoted, match=r"b{64} was handed in"),
        ):
            verify_record(record, strategy, LIMITS)
    stripped = replace(record, gates=tuple(one for one in record.gates if one.name != "model"))
    with pytest.raises(NotPromoted, match="gate model"):
        verify_record(stripped, strategy, LIMITS)


def test_every_model_that_a_strategy_names_is_handed_in_and_judged(attempt, tmp_path):
    with pytest.raises(PromotionRefused, match=r"trees@b{64}: none, or not handed in"):
        attempt("champion", strategy=TwoModels(filter_by=OTHER))
