"""Models that hang, eat, end, lie: what is said, counted and tried again. Faults 62 to 64."""

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.errors import ModelRefused, UsageError
from mqd.ml.errors import BadFeatureMatrix
from mqd.ml.inference import versions
from mqd.ml.inference.engine import InferenceEngine
from mqd.ml.inference.rules import SimpleRuleModel
from mqd.ml.registry.manifest import Manifest
from mqd.ml.registry.registry import ModelVersion
from tests.unit.ml.model_probes import Probe

X = np.array([[0.25, 1.0], [0.5, 2.0], [0.75, 3.0]])
RULE = SimpleRuleModel([("first", "<", 0.5, 0.25)], base=0.25)
MANIFEST = Manifest(
    schema="1", name="", sha256="", size_bytes=0, format="skops", estimator="probe",
    output="probability", classes=(0, 1), n_features=2, feature_names=("first", "second"),
    features=None, schema_sha256="", label=None, threshold=None, training={}, metrics={},
    note="", author="", code_sha256="", versions={}, trusted_types=(), row_exact=False,
    registered_ns=0,
)  # fmt: skip


class Shelf:
    """A registry of probes: any name is one; ``before`` names the champion before."""

    def __init__(self):
        self.before, self.changes, self.refusing, self.crowned = {}, {}, set(), {}

    def get(self, reference):
        name = reference.partition("@")[0]
        if name == "unknown":
            raise UsageError("no such model")
        if name == "edited":
            raise ModelRefused(name, "its manifest was changed")
        manifest = replace(MANIFEST, **{"name": name, "sha256": name} | self.changes.get(name, {}))
        return ModelVersion(name, manifest.sha256, "champion", manifest)

    def champion(self, name):
        return self.get(self.crowned.get(name, name))

    def previous_champion(self, name):
        return self.get(self.before[name]) if name in self.before else None

    def read(self, reference):
        name = reference.partition("@")[0]
        if name in self.refusing:
            raise ModelRefused(name, "it is not the file that was registered")
        return name.encode()


class Clock:
    """Time that a test moves; it also passes by itself, for deadlines."""

    def __init__(self):
        self.ns = 0

    def monotonic_ns(self):
        return self.ns

    def now_ns(self):
        return self.ns


class ProbeEngine(InferenceEngine):
    """An engine whose children hold probes."""

    child = Probe


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setattr("mqd.ml.inference.engine.check_versions", lambda manifest: None)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(shelf, clock):
    with ProbeEngine(shelf, deadline_s=1.0, memory_mb=512, fallback=RULE, clock=clock) as made:
        yield made


def ready(engine, clock, name):
    """Wait for a version that is being started again; time on the clock stands still."""
    for _ in range(4000):
        answer = engine.predict(name, X)
        if "starting" not in answer.error:
            return answer
        threading.Event().wait(0.005)
    raise AssertionError(answer.error)


FAILS = {
    "sleeps": ("deadline", "no answer in time"),
    "eats memory": ("memory", "more memory than it was given"),
    "leaves": ("crashed", "ended with code 7"),
    "breaks": ("crashed", "ended by SIGSEGV"),
    "raises": ("raised", "SystemExit: enough"),
    "not a number": ("output", "nan is no probability"),
    "above one": ("output", "1.5 is no probability"),
    "too many": ("output", "4 scores for 3 rows"),
    "too few": ("output", "2 scores for 3 rows"),
    "writes to the pipe": ("protocol", "none to this request"),
    "forges no JSON": ("protocol", "its answer is no JSON"),
    "forges a list": ("protocol", "its answer is no JSON object"),
    "forges deep JSON": ("protocol", "its answer is no JSON"),
    "forges no reason": ("protocol", "its answer says no why"),
    "forges a cause": ("protocol", "none that a model gives"),
    "crashes while it loads": ("crashed", "ended with code 3"),
    "refused": ("refused", "it is wrong"),
}


@pytest.mark.parametrize("name", FAILS)
def test_what_a_model_does_wrong_is_said_and_counted_and_a_rule_answers(engine, name):
    cause, said = FAILS[name]
    answer = engine.predict(name, X)
    assert (answer.source, answer.model_sha256) == ("rule", name)
    assert answer.error.startswith(cause)
    assert said in answer.error
    assert answer.scores.tolist() == [0.5, 0.25, 0.25]
    counted = engine.stats()[f"{name}@{name}"]
    assert counted["errors"] == {cause: 1}
    assert (counted["rows"], counted["given_up"]) == (0, cause == "refused")


def test_a_late_model_takes_no_longer_than_its_deadline(shelf):
    with ProbeEngine(shelf, deadline_s=0.3) as engine:
        engine.load("sleeps")
        answer = engine.predict("sleeps", X)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert 0.3e9 <= answer.latency_ns < 1.5e9


def test_what_a_model_prints_goes_nowhere(engine, capfd):
    for _ in range(3):
        assert engine.predict("prints", X).scores.tolist() == [0.5, 0.5, 0.5]
    assert capfd.readouterr() == ("", "")


def test_the_order_is_the_model_the_champion_before_the_rule_and_nobody(engine, shelf):
    shelf.before = {"leaves": "another half", "raises": "breaks"}
    engine.load("leaves"), engine.load("raises")
    first = engine.predict("leaves", X)
    assert (first.source, first.model_sha256) == ("previous", "another half")
    assert first.scores.tolist() == [0.5, 0.5, 0.5]
    assert first.error.startswith("crashed")
    second = engine.predict("raises", X)
    assert (second.source, second.model_sha256) == ("rule", "raises")
    assert "raised: SystemExit: enough; the champion before: crashed" in second.error
    engine.fallback = None
    third = engine.predict("raises", X)
    assert (third.source, np.isnan(third.scores).all()) == ("none", True)
    stats = engine.stats()
    assert stats["leaves@leaves"]["answered_by"] == {"previous": 1}
    assert stats["raises@raises"]["answered_by"] == {"rule": 1, "none": 1}


def test_a_version_that_is_no_champion_is_stood_in_for_by_the_champion(engine, shelf):
    shelf.crowned, shelf.before = {"leaves": "half"}, {"leaves": "echo"}
    engine.load("leaves")
    answer = engine.predict("leaves", X)
    assert (answer.source, answer.model_sha256) == ("previous", "half")


def test_who_would_answer_in_its_place_is_not_waited_for(engine, shelf):
    shelf.before = {"leaves": "hangs while it loads"}
    answer = engine.predict("leaves", X)
    assert answer.source == "rule"
    assert "the champion before: starting" in answer.error


@pytest.mark.parametrize("change", [
    {"output": "score"}, {"classes": (1, 2)}, {"label": {"kind": "next_session"}},
])  # fmt: skip
def test_a_champion_before_whose_scores_mean_something_else_is_passed_over(engine, shelf, change):
    shelf.before, shelf.changes = {"leaves": "half"}, {"half": change}
    answer = engine.predict("leaves", X)
    assert answer.source == "rule"
    assert "the champion before" not in answer.error


def test_a_rule_does_not_stand_in_for_a_model_that_gives_no_chance(engine, shelf):
    shelf.changes = {"refused": {"output": "score"}}
    answer = engine.predict("refused", X)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert "the model gives a score, the rule a chance" in answer.error


@pytest.mark.parametrize("told", [np.full(3, np.inf), 7.0, np.full(3, 1.5), np.full(2, 0.5)])
def test_what_a_rule_says_is_held_against_what_a_chance_is(engine, told):
    class Wild:
        def scores(self, *_):
            return told

    engine.fallback = Wild()
    answer = engine.predict("raises", X)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert "the rule failed: output" in answer.error


def test_one_file_under_two_names_is_two_versions(engine, shelf):
    same = {"sha256": "half"}
    shelf.changes = {
        "half": same | {"schema_sha256": "ab" * 32}, "another half": same | {"schema_sha256": ""},
    }  # fmt: skip
    assert engine.predict("half", X, schema_sha256="ab" * 32).source == "model"
    assert engine.predict("another half", X).source == "model"
    assert engine.predict("another half", X, schema_sha256="ab" * 32).source != "model"
    assert set(engine.stats()) == {"half@half", "another half@half"}


def test_rows_without_numbers_ask_nobody(engine):
    answer = engine.predict("refused", np.full((2, 2), np.nan))
    assert (answer.source, answer.error, np.isnan(answer.scores).all()) == ("none", "", True)
    with pytest.raises(BadFeatureMatrix, match="DataFrame: wanted is a matrix of float64"):
        engine.predict("half", pd.DataFrame(X))


def test_a_process_that_closes_its_pipe_is_told_within_the_deadline(shelf):
    with ProbeEngine(shelf, deadline_s=1.0) as engine:
        engine.load("closes its pipes")
        answer = engine.predict("closes its pipes", X)
    assert "it closed its pipe" in answer.error
    assert answer.latency_ns < 1.3e9


def test_with_fall_back_off_nobody_else_is_asked(engine, shelf):
    shelf.before = {"leaves": "half"}
    answer = engine.predict("leaves", X, fall_back=False)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert "half@half" not in engine.stats()


def test_a_champion_before_on_other_features_is_passed_over(engine, shelf):
    shelf.before = {"leaves": "half"}
    shelf.changes = {"half": {"schema_sha256": "ab" * 32}}
    answer = engine.predict("leaves", X)
    assert answer.source == "rule"
    assert "the champion before: schema" in answer.error


def test_a_rule_that_reads_what_is_not_there_is_not_asked(engine, shelf):
    shelf.changes = {"leaves": {"feature_names": ("other", "second")}}
    answer = engine.predict("leaves", X)
    assert answer.source == "none"
    assert "The rules read 'first'" in answer.error


def test_a_rule_that_raises_leaves_nobody_to_answer_and_says_so(engine):
    class Broken:
        def scores(self, *_):
            raise ZeroDivisionError("by zero")

    engine.fallback = Broken()
    answer = engine.predict("raises", X)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert answer.error == "raised: SystemExit: enough; rule: the rule failed: by zero"


def test_when_no_process_can_be_started_it_is_tried_again_later(engine, monkeypatch, clock):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("subprocess.Popen", refuse)
        answer = engine.predict("half", X)
    assert answer.error.startswith("crashed: no process could be started")
    clock.ns += int(versions.WAIT_S[0] * 1e9)
    assert ready(engine, clock, "half").source == "model"


def test_a_registry_that_cannot_be_read_brings_no_score(engine, shelf, monkeypatch):
    def gone(reference):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shelf, "get", gone)
    answer = engine.predict("half", X)
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert "Permission denied" in answer.error


def test_after_a_failure_it_is_tried_again_later_and_meanwhile_nobody_waits(engine, clock):
    engine.predict("leaves", X)
    assert (
        engine.predict("leaves", X).error == "starting: it failed, and is started again in a moment"
    )
    assert engine.stats()["leaves@leaves"]["restarts"] == 0
    clock.ns += int(versions.WAIT_S[0] * 1e9)
    assert ready(engine, clock, "leaves").error.startswith("crashed")
    assert engine.stats()["leaves@leaves"]["restarts"] == 1


def test_a_model_that_comes_back_forgets_its_failures(engine, clock):
    bad = -X
    for wait_s in versions.WAIT_S[:3]:
        answer = engine.predict("sometimes", bad)
        assert answer.error.startswith("crashed")
        clock.ns += int(versions.WAIT_S[0] * 1e9)
        assert ready(engine, clock, "sometimes").source == "model", wait_s
    assert not engine.stats()["sometimes@sometimes"]["given_up"]


def test_after_failures_in_a_row_it_is_given_up_until_a_person_restarts_it(engine, clock):
    for _ in range(versions.FAILURES_MAX):
        assert ready(engine, clock, "leaves").error.startswith("crashed")
        clock.ns += int(60e9)
    counted = engine.stats()["leaves@leaves"]
    assert counted["given_up"]
    assert counted["errors"]["crashed"] == versions.FAILURES_MAX
    assert engine.predict("leaves", X).error == "given_up: it failed 5 times"
    with pytest.raises(ModelRefused, match="it failed 5 times"):
        engine.load("leaves")
    engine.restart("leaves")
    assert engine.predict("leaves", X).error.startswith("crashed")


def test_the_waits_grow():
    assert list(versions.WAIT_S) == sorted(set(versions.WAIT_S))


def test_a_changed_file_is_given_up_at_once_and_its_reason_stays(engine, shelf):
    shelf.refusing = {"half"}
    for _ in range(2):
        answer = engine.predict("half", X)
        assert "it is not the file that was registered" in answer.error
        assert answer.source == "rule"
    assert engine.stats()["half@half"]["errors"] == {"refused": 1, "given_up": 1}
    shelf.refusing = set()
    engine.restart("half")
    assert engine.predict("half", X).source == "model"


def test_a_changed_manifest_brings_no_score_and_an_unknown_name_is_a_wrong_call(engine):
    answer = engine.predict("edited", X)
    assert (answer.source, answer.error) == ("none", "edited: its manifest was changed")
    assert np.isnan(answer.scores).all()
    assert engine.stats() == {"edited": {"errors": {"registry": 1}}}
    with pytest.raises(UsageError, match="no such model"):
        engine.predict("unknown", X)


def test_a_file_that_reads_otherwise_than_when_it_was_registered_is_refused(engine, shelf):
    shelf.changes = {"half": {"trusted_types": ("builtins.dict",)}}
    assert "otherwise than when it was registered" in engine.predict("half", X).error


@pytest.mark.parametrize(
    ("schema", "features", "said"),
    [
        ("cd" * 32, X, "the features are cdcdcdcdcdcd, it was trained on abababababab"),
        ("", X, "the features are unnamed"),
        ("ab" * 32, X[:, :1].copy(), "1 features; it takes 2"),
    ],
)
def test_other_features_are_refused_and_counted(engine, shelf, schema, features, said):
    shelf.changes = {"half": {"schema_sha256": "ab" * 32}}
    answer = engine.predict("half", features, schema_sha256=schema)
    assert said in answer.error
    assert (answer.source, np.isnan(answer.scores).all()) == ("none", True)
    assert engine.stats()["half@half"]["errors"] == {"schema": 1}
    assert engine.predict("half", X, schema_sha256="ab" * 32).source == "model"


@pytest.mark.parametrize("bad", [X[0], X.astype(np.float32), X[None]])
def test_what_is_no_matrix_of_float64_is_a_wrong_call(engine, bad):
    with pytest.raises(BadFeatureMatrix, match="wanted is a matrix of float64"):
        engine.predict("half", bad)


@pytest.fixture(scope="module")
def echo():
    shelf = Shelf()
    shelf.changes = {"echo": {"output": "score"}}
    with ProbeEngine(shelf, fallback=None) as made:
        made.child = type("Echo", (Probe,), {"facts": as_score})
        yield made


def as_score(self, wait_s=60.0):
    """Return the facts of a probe, as those of a model of values."""
    facts = Probe.facts(self, wait_s)
    return facts if facts is None else facts | {"output": "score"}


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=60)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_a_row_with_a_nan_or_infinity_has_no_score_and_the_others_theirs(echo, rows):
    features = np.array(rows, dtype=np.float64).reshape(len(rows), 2)
    answer = echo.predict("echo", features, exact=True)
    finite = np.isfinite(features).all(axis=1)
    assert answer.error == ""
    assert answer.scores[finite].tobytes() == features[finite, 0].tobytes()
    assert np.isnan(answer.scores[~finite]).all()


def test_exact_asks_row_by_row_where_the_batch_would_show(engine, shelf):
    many = np.ones((200, 2))
    shelf.changes = {"sums": {"row_exact": False}}
    assert engine.predict("sums", many).scores[0] == 1 / 201
    assert engine.predict("sums", many, exact=True).scores.tolist() == [0.5] * 200


def test_more_rows_than_fit_a_hop_are_asked_in_several(echo):
    many = np.linspace(-1.0, 1.0, 2 * (versions.ROWS_MAX + 7)).reshape(-1, 2)
    assert echo.predict("echo", many).scores.tobytes() == many[:, 0].tobytes()


def test_versions_live_side_by_side_and_the_one_not_asked_longest_ends(shelf):
    with ProbeEngine(shelf, processes_max=2) as engine:
        answers = engine.predict_many(["half", "another half", "prints"], X)
        assert [answer.model_sha256 for answer in answers] == ["half", "another half", "prints"]
        assert sum(one.alive for one in engine._in_use.values()) == 2
        assert engine.predict("half", X).source == "model"
        assert all(told["errors"] == {} for told in engine.stats().values())
    assert not any(one.alive for one in engine._in_use.values())


@pytest.mark.parametrize(
    "words", [{"deadline_s": 0.0}, {"deadline_s": float("nan")}, {"memory_mb": 0},
              {"processes_max": 1}]
)  # fmt: skip
def test_bounds_that_bound_nothing_are_wrong(shelf, words):
    with pytest.raises(UsageError, match="a deadline and memory above 0"):
        InferenceEngine(shelf, **words)
