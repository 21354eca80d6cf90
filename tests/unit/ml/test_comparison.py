"""Two models on the same bars: the planted better one is found, and little is said of little."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from mqd.errors import UsageError
from mqd.ml.evaluation.always_valid import evidence
from mqd.ml.evaluation.comparison import PAIRS_MIN, compare
from mqd.ml.shadow.log import ShadowLog
from tests.unit.ml.shadow_lines import FEATURES, A, B, came, said, watched, write

CHANCE = np.random.default_rng(21).uniform(0.25, 0.75, 3000)
UP = np.random.default_rng(22).random(3000) < CHANCE


def planted(folder, n=900, *, span=1, models=(A, B), score_a=lambda at: 0.5, shift=0):
    """Write a log in which b knows the chance of up, and a says what ``score_a`` does."""
    records, waiting = [], {}
    for ts in range(n + span):
        records += waiting.pop(ts, [])
        if ts < n:
            records += [
                said(models[0], ts + 1, score_a(ts)), said(models[1], ts + 1, CHANCE[ts + shift])
            ]  # fmt: skip
            ret = 0.01 if UP[ts] else -0.01
            waiting.setdefault(ts + span, []).append(came(ts + 1, ret, span=span))
    return write(folder, records, models)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


def test_the_planted_better_model_is_found(log):
    found = compare(log, "simple", "better")
    assert found.better == "b"
    assert found.n_pairs == found.n_blocks == 900
    truth = ((0.5 - UP[:900]) ** 2 - (CHANCE[:900] - UP[:900]) ** 2).mean()
    assert found.loss.mean == pytest.approx(truth)
    assert 0 < found.loss.low < truth < found.loss.high
    assert found.evidence.e_above >= 40
    assert found.dm.statistic > 3
    assert found.mcnemar.p < 0.001
    assert found.pnl_frac.mean == pytest.approx(
        np.where(CHANCE[:900] < 0.5, -1, 0) @ np.where(UP[:900], 0.01, -0.01) / 900
    )
    assert found.verdict.startswith("better@bbbbbbbb is better. Brier of simple@aaaaaaaa minus")
    assert "95% interval [+" in found.verdict


def test_bars_that_the_training_of_one_has_seen_are_no_evidence(tmp_path):
    models = A._replace(trained_to_ns=100), B._replace(trained_to_ns=600)
    found = compare(planted(tmp_path, models=models), "simple", "better")
    assert found.n_pairs == 300
    assert found.pairs.t0.min() == 601


def test_when_each_was_better_for_a_time_neither_is(tmp_path):
    """b is sure and right for 200 bars, then sure and wrong for many more."""
    records = []
    for ts in range(1, 1200):
        ret = 0.01 if UP[ts] else -0.01
        right = 0.95 if UP[ts] else 0.05
        records += [
            said(A, ts, 0.5), said(B, ts, right if ts < 200 else 1 - right), came(ts, ret)
        ]  # fmt: skip
    found = compare(write(tmp_path, records), "simple", "better")
    assert min(found.evidence.e_above, found.evidence.e_below) > 40
    assert found.better == ""
    assert found.verdict.startswith("Each was better for a time: which one changed on the way.")


def test_the_other_way_round_is_the_mirror(log):
    found, mirror = compare(log, "simple", "better"), compare(log, "better", "simple")
    assert mirror.better == "a"
    assert mirror.loss.mean == pytest.approx(-found.loss.mean)
    assert mirror.evidence.e_below == pytest.approx(found.evidence.e_above)
    assert mirror.dm.p == pytest.approx(found.dm.p)
    assert mirror.verdict.startswith("better@bbbbbbbb is better.")


def test_of_two_that_know_nothing_neither_is_better(tmp_path):
    folder = planted(tmp_path, score_a=lambda at: CHANCE[at + 2000], shift=1000)
    found = compare(folder, "simple", "better")
    assert found.better == ""
    assert found.loss.low < 0 < found.loss.high
    assert found.verdict.startswith("Neither is shown to be better")


def test_labels_that_overlap_count_by_spans_that_share_no_time(tmp_path):
    found = compare(planted(tmp_path, 300, span=5), "simple", "better")
    assert (found.n_pairs, found.n_blocks, found.evidence.n) == (300, 60, 60)


@pytest.mark.parametrize(("n", "span"), [(PAIRS_MIN - 1, 1), (45, 5), (0, 1)])
def test_too_few_pairs_are_no_number_and_say_so(tmp_path, n, span):
    found = compare(planted(tmp_path, n, span=span), "simple", "better")
    assert found.better == ""
    assert found.verdict.startswith("Too few pairs of simple@aaaaaaaa and better@bbbbbbbb")
    assert f"{n} bars" in found.verdict
    for value in (*found.loss, *found.pnl_frac, *found.dm, *found.mcnemar):
        assert math.isnan(value)


def test_only_bars_that_both_scored_themselves_are_pairs(tmp_path):
    records = []
    for ts in range(1, 41):
        records += [said(A, ts, 0.5), said(A, ts, 0.5, symbol="T")]
        if ts > 2:
            records.append(said(B, ts, 0.9, source="rule" if ts == 5 else "model"))
        if ts > 4:
            score = math.nan if ts == 9 else 0.5
            records.append(said(B, ts, score, symbol="T", source="none" if ts == 9 else "model"))
        records += [came(ts, 0.1), came(ts, 0.1, symbol="T")]
    found = compare(write(tmp_path, records), "simple", "better")
    assert found.n_pairs == 37 + 35
    assert found.a.n == found.b.n == 72
    assert found.b.metrics()["brier"] == pytest.approx((37 * 0.01 + 35 * 0.25) / 72)


def test_scores_that_are_no_probabilities_are_compared_by_their_side(tmp_path):
    models = watched("simple", "a"), watched("margin", "b", output="score")
    folder = planted(tmp_path, 200, models=models, score_a=lambda at: 0.4)
    found = compare(folder, "simple", "margin")
    assert found.loss_name == "Share of wrong sides"
    assert found.loss.mean == pytest.approx(UP[:200].mean() - (~UP[:200]).mean())


def test_a_model_is_named_by_name_reference_or_hash(log):
    names = (
        ("simple", "better"), ("simple@aaaa", "b" * 64), ("aaa", "bb"),
    )  # fmt: skip
    found = {compare(log, a, b).verdict for a, b in names}
    assert len(found) == 1


def test_the_newest_of_a_name_is_meant(tmp_path):
    old, new = watched("m", "c"), watched("m", "d")
    write(tmp_path, [], (old, A))
    write(tmp_path, [], (new,))
    assert compare(tmp_path, "m", "simple").a.model == new
    assert compare(tmp_path, "m@cc", "simple").a.model == old


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("simpel", "better", r"No model 'simpel' .* Did you mean 'simple'\?"),
        ("simple", "fff", "No model 'fff' .* Known: better, simple"),
        ("simple", "", "No model ''"),
        ("simple@bb", "better", "No model 'simple@bb' .* Known: better@bbbbbbbbbbbb"),
        ("simple", "aaaa", "are the same model"),
    ],
)
def test_a_model_that_is_not_there_is_refused(log, a, b, words):
    with pytest.raises(UsageError, match=words):
        compare(log, a, b)


def test_the_beginning_of_two_hashes_is_refused(tmp_path):
    first = watched("one", "c")
    second = first._replace(name="two", sha256="c" * 63 + "d")
    write(tmp_path, [], (first, second))
    with pytest.raises(UsageError, match="begins the hash of several models"):
        compare(tmp_path, "ccc", "one")


def test_models_with_different_labels_are_refused(tmp_path):
    write(tmp_path, [], (A, watched("far", "c", horizon="f" * 12)))
    with pytest.raises(UsageError, match="their losses cannot be compared"):
        compare(tmp_path, "simple", "far")


def test_what_was_found_is_json_and_frames(log):
    found = compare(log, "simple", "better", seed=7)
    told = json.loads(json.dumps(found.summary()))
    assert told["better"] == "b"
    assert told["loss"] == "Brier"
    assert found.summary() == compare(log, "simple", "better", seed=7).summary()
    pairs = found.frame()
    assert (pairs["loss_a"] - pairs["loss_b"]).mean() == pytest.approx(found.loss.mean)
    figures = found.figures()
    assert figures.loc["brier", "simple@aaaaaaaa"] == pytest.approx(0.25)
    sides = found.calibration()
    assert sides["better@bbbbbbbb"]["n"].sum() == sides["simple@aaaaaaaa"]["n"].sum() == 900
    assert sides["score"]["from"].tolist() == [place / 10 for place in range(10)]


def early(folder, until):
    """Write what is known at ``until`` of a log whose labels end early, after 1 to 5 bars."""
    rng = np.random.default_rng(7)
    due = {}
    for ts in range(1, 200):
        for symbol in "STU":
            due[symbol, ts] = ts + int(rng.integers(1, 6)), rng.choice((-0.01, 0.01))
    with ShadowLog.open(folder) as log:
        log.start((A, B), ())
        for now in range(1, until + 1):
            for symbol in "STU":
                for ts in range(max(1, now - 5), now):
                    t1, ret = due[symbol, ts]
                    if t1 == now:
                        log.mature(came(ts, ret, symbol, span=t1 - ts))
            for symbol in "STU":
                for model, score in ((A, 0.4), (B, float(CHANCE[now]))):
                    log.predict(said(model, now, score, symbol), model.schema, FEATURES)
    return folder


def read(folder, monkeypatch):
    """Return the values that the evidence of a comparison is made of."""
    seen = []

    def spied(values, bounds, **words):
        seen.append(values.tolist())
        return evidence(values, bounds, **words)

    monkeypatch.setattr("mqd.ml.evaluation.comparison.evidence", spied)
    compare(folder, "simple", "better")
    return seen[0]


def test_what_was_read_of_the_evidence_stays_as_it_was(tmp_path, monkeypatch):
    days = [read(early(tmp_path / str(until), until), monkeypatch) for until in range(80, 95)]
    for before, after in pairwise(days):
        assert after[: len(before)] == before
    assert len(days[-1]) > len(days[0]) > 10
