"""A shadow predicts each step once, joins outcomes also after a restart, and stops nothing."""

import json

import numpy as np
import pytest

from mqd.errors import ModelRefused, StateFolderTaken, UsageError
from mqd.ml.evaluation.scoring import score_log
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.labels import FixedHorizon, NextSession
from mqd.ml.shadow.asked import lost_bars, read_asked
from mqd.ml.shadow.records import FILE, Heard, Matured, Prediction, read_records
from mqd.ml.shadow.tracker import ShadowModeTracker
from tests.unit.ml.shadow_world import FakeEngine, FakeRegistry, some_rows


def track(folder, rows, *, past=0, engine=None, registry=None):
    """Let a tracker hear rows, the first ``past`` of them as history."""
    registry = registry or FakeRegistry("one", "two")
    names = list(registry.found)
    with ShadowModeTracker(folder, registry, names, engine=engine or FakeEngine()) as tracker:
        for place, row in enumerate(rows):
            tracker.on_bar(row, past=place < past)
    return tracker


def records(folder):
    return [one for one in read_records(folder) if isinstance(one, Prediction | Matured)]


def test_each_ready_bar_has_one_prediction_a_model_and_its_outcome(tmp_path):
    rows = some_rows(n=10)
    track(tmp_path, rows)
    said = [one for one in records(tmp_path) if isinstance(one, Prediction)]
    came = [one for one in records(tmp_path) if isinstance(one, Matured)]
    assert [(one.ts_ns, one.model[0]) for one in said] == [
        (row.ts_close, model) for row in rows[1:] for model in "ab"
    ]  # the first bar has no return yet
    assert [one.ts_ns for one in came] == [row.ts_close for row in rows[1:8]]
    assert came[0].ret_frac == rows[3].close / rows[1].close - 1.0
    assert came[0].t1 == rows[3].ts_close


def test_a_prediction_stands_in_the_log_before_its_outcome(tmp_path):
    track(tmp_path, some_rows(n=20))
    seen = set()
    for one in records(tmp_path):
        if isinstance(one, Prediction):
            seen.add((one.symbol, one.ts_ns))
        else:
            assert (one.symbol, one.ts_ns) in seen


def test_all_symbols_of_a_step_are_asked_in_one_question(tmp_path):
    a, b = some_rows("A", 6), some_rows("B", 6, seed=1)
    engine = FakeEngine()
    track(tmp_path, [row for pair in zip(a, b, strict=True) for row in pair], engine=engine,
          registry=FakeRegistry("one"))  # fmt: skip
    assert [X.shape for _, X, _ in engine.asked] == [(2, 2)] * 5
    assert all(exact for _, _, exact in engine.asked)
    assert engine.closed


def test_a_restart_joins_what_waited_and_repeats_nothing(tmp_path):
    rows = some_rows(n=30)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    track(whole, rows)
    track(parts, rows[:12])
    track(parts, rows, past=12)
    told = [sorted(map(str, records(place))) for place in (whole, parts)]
    assert told[0] == told[1]


def test_bars_that_were_missed_are_history_and_have_no_prediction(tmp_path):
    rows = some_rows(n=20)
    track(tmp_path, rows, past=15, registry=FakeRegistry("one"))
    said = [one.ts_ns for one in records(tmp_path) if isinstance(one, Prediction)]
    assert said == [row.ts_close for row in rows[15:]]


def test_bars_that_were_lost_leave_no_prediction_and_no_outcome_across_the_gap(tmp_path):
    rows = some_rows(n=40)
    registry = FakeRegistry("one", features=("ema_gap(3)", "log_return(1)"))
    with ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine()) as tracker:
        for row in rows[:20]:
            tracker.on_bar(row, past=False)
        tracker.gap(3)
        for row in rows[23:]:
            tracker.on_bar(row, past=False)
    assert tracker.stats()["gaps"] == 1
    heard = [one for one in read_records(tmp_path) if isinstance(one, Heard)]
    assert heard == [Heard(rows[0].ts_close, "A", 0), Heard(rows[23].ts_close, "A", 3)]
    said = {one.said.ts_ns: one for one in read_asked(tmp_path, "a" * 64)}
    assert list(said) == [row.ts_close for row in (*rows[2:20], *rows[25:])]  # ema_gap(3) warms up
    came = {one.ts_ns: one.t1 for one in records(tmp_path) if isinstance(one, Matured)}
    known = [*range(2, 18), *range(25, 38)]  # two bars ahead: 18 and 19 reach into the gap
    assert came == {rows[at].ts_close: rows[at + 2].ts_close for at in known}
    behind = FeatureEngineer(("ema_gap(3)", "log_return(1)")).online()
    fresh = [list(behind.update(row)) for row in rows[23:]]
    assert [said[row.ts_close].features for row in rows[25:]] == fresh[2:]

    track(tmp_path, rows, past=40, registry=registry)
    came = {one.ts_ns: one.t1 for one in records(tmp_path) if isinstance(one, Matured)}
    assert [came[rows[at].ts_close] for at in (18, 19)] == [rows[at].ts_close for at in (20, 21)]


def test_bars_that_were_lost_at_the_end_are_in_the_log_too(tmp_path):
    rows = some_rows(n=10)
    with ShadowModeTracker(tmp_path, FakeRegistry("one"), ["one"], engine=FakeEngine()) as tracker:
        for row in rows:
            tracker.on_bar(row, past=False)
        tracker.gap(4)
        tracker.gap(5)
    assert [one for one in read_records(tmp_path) if isinstance(one, Heard)] == [
        Heard(rows[0].ts_close, "A", 0), Heard(rows[-1].ts_close, "", 9)
    ]  # fmt: skip
    assert lost_bars(tmp_path) == 9


def test_behind_a_gap_a_broken_symbol_begins_anew_and_its_reason_stays(tmp_path):
    registry = FakeRegistry("one", features=("realised_vol(2)",))
    rows = some_rows(n=20)
    rows[5] = rows[5]._replace(close=-1.0)
    with ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine()) as tracker:
        for at, row in enumerate(rows):
            if at == 10:
                tracker.gap(1)
            tracker.on_bar(row, past=False)
    said = [one.ts_ns for one in records(tmp_path) if isinstance(one, Prediction)]
    assert [ts for ts in said if ts > rows[5].ts_close] == [row.ts_close for row in rows[12:]]
    assert set(tracker.stats()["broken"]) == {"A"}


def test_the_features_in_the_log_have_the_bits_that_were_asked_with(tmp_path):
    engine, registry = FakeEngine(), FakeRegistry("one")
    track(tmp_path, some_rows(n=9), engine=engine, registry=registry)
    asked = np.vstack([X for _, X, _ in engine.asked])
    logged = np.array([one.features for one in read_asked(tmp_path, "a" * 64)])
    assert asked.tobytes() == logged.tobytes()


def test_a_model_without_an_answer_is_counted_with_its_reason(tmp_path):
    track(tmp_path, some_rows(n=8), engine=FakeEngine(lambda x: np.full(len(x), np.nan)),
          registry=FakeRegistry("one"))  # fmt: skip
    (score,) = score_log(tmp_path).values()
    assert (score.n_said, score.n_none, score.n) == (7, 7, 0)
    assert score.errors == {"deadline": 7}
    assert '"score":null' in (tmp_path / FILE).read_text()


def test_a_feature_that_breaks_ends_its_symbol_alone(tmp_path):
    registry = FakeRegistry("one", features=("realised_vol(2)",))
    good, bad = some_rows("A", 8), some_rows("B", 8, seed=1)
    bad[4] = bad[4]._replace(close=-1.0)
    tracker = track(tmp_path, [r for pair in zip(good, bad, strict=True) for r in pair],
                    registry=registry)  # fmt: skip
    assert set(tracker.stats()["broken"]) == {"B"}
    symbols = [one.symbol for one in records(tmp_path) if isinstance(one, Prediction)]
    assert (symbols.count("A"), symbols.count("B")) == (6, 2)


def test_two_trackers_cannot_share_a_folder(tmp_path):
    registry = FakeRegistry("one")
    with (
        ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine()),
        pytest.raises(StateFolderTaken, match="Another process"),
    ):
        ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine())


def test_a_model_without_a_label_is_refused(tmp_path):
    registry = FakeRegistry("one")
    version = registry.found["one"]
    registry.found["one"] = version._replace(manifest=version.manifest._replace(label=None))
    with pytest.raises(ModelRefused, match="names no label"):
        ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine())


def test_a_shadow_without_models_is_refused(tmp_path):
    with pytest.raises(UsageError, match="at least one model"):
        ShadowModeTracker(tmp_path, FakeRegistry("one"), [], engine=FakeEngine())


def test_a_model_whose_features_mean_something_else_now_is_refused(tmp_path):
    registry = FakeRegistry("one")
    version = registry.found["one"]
    other = version.manifest._replace(schema_sha256="0" * 64)
    registry.found["one"] = version._replace(manifest=other)
    with pytest.raises(ModelRefused, match="train it again"):
        ShadowModeTracker(tmp_path, registry, ["one"], engine=FakeEngine())


def test_models_with_labels_of_their_own_get_their_own_outcomes(tmp_path):
    registry = FakeRegistry("one", "two", label=FixedHorizon(1))
    second = FakeRegistry("x", "two", label=NextSession()).found["two"]
    registry.found["two"] = second
    rows = some_rows(n=5)
    rows += [row._replace(session=19676, ts_close=row.ts_close + 86_400_000_000_000)
             for row in some_rows(n=2)]  # fmt: skip
    track(tmp_path, [*rows[:-1], rows[-1]._replace(minutes_to_close=0.0)], registry=registry)
    horizons = [one.horizon for one in records(tmp_path) if isinstance(one, Matured)]
    assert len(set(horizons)) == 2
    by_model = {score.model.name: score.n for score in score_log(tmp_path).values()}
    assert by_model == {"one": 5, "two": 4}


def test_the_log_says_which_models_were_watched(tmp_path):
    track(tmp_path, some_rows(n=3))
    first = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert [one["name"] for one in first["models"]] == ["one", "two"]
    assert first["models"][0]["features"] == ["log_return_1", "range_frac"]
