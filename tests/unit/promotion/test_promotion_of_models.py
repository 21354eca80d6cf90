"""A strategy that asks a model is promoted with the hash of a champion, and trades no other."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import mqd
import mqd.promotion.promote as promotion
from mqd.promotion.errors import NotPromoted, PromotionRefused
from mqd.promotion.record import read_record, verify_record
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.predictors import predicting

REFERENCE, OTHER = "trees@" + "a" * 64, "trees@" + "b" * 64
LIMITS = mqd.Limits()
EVIDENCE = promotion._Evidence(
    SimpleNamespace(findings=()), SimpleNamespace(metrics={"n_trades": 20.0}),
    SimpleNamespace(metrics={"sharpe": 0.5}, windows=[1], scheme="s", efficiency=1.0),
    1, None, None,
)  # fmt: skip


class Predicting:
    """A predictor of a stage; what it says is not asked here."""

    def __init__(self, stage):
        self.is_champion = stage == "champion"


@pytest.fixture(scope="module")
def bars():
    file = "datasets/us_equity_daily_raw.parquet"
    return mqd.load_bars(file, symbols=["IBM"], start="2010-06-01", end="2010-12-31")


@pytest.fixture
def attempt(monkeypatch, bars, tmp_path):
    """Return a promoter whose check, backtest and walk-forward are good."""
    monkeypatch.setattr(promotion, "_gather", lambda *_: EVIDENCE)

    def run(stage):
        good = SimpleNamespace(
            orders=[], fills=[], breaks=(), duplicates=0, lost_fills=0, equal=True
        )
        with predicting(REFERENCE, Predicting(stage)):
            return promotion.promote(
                ModelSignal(model=REFERENCE), bars, rehearse=lambda *_, **__: good,
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


def test_a_record_without_the_gate_of_its_model_does_not_pass(attempt):
    record = attempt("champion")
    gates = tuple(gate for gate in record.gates if gate.name != "model")
    stripped = replace(record, gates=gates)
    with pytest.raises(NotPromoted, match="gate model"):
        verify_record(stripped, ModelSignal(model=REFERENCE), LIMITS)


def test_a_model_that_is_no_champion_fails_before_anything_runs(attempt, tmp_path):
    with pytest.raises(PromotionRefused, match="champion"):
        attempt("shadow")
    assert not (tmp_path / "p.json").exists()
