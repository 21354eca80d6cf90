"""Real models end to end: saved, registered, scored in their processes, refused when changed."""

import io
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mqd.errors import ModelRefused
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.inference.engine import InferenceEngine
from mqd.ml.inference.rules import SimpleRuleModel
from mqd.ml.registry.manifest import check_versions
from mqd.ml.registry.registry import ModelRegistry
from mqd.ml.sandbox.child import Child, inspect_model
from mqd.ml.sandbox.loading import _kept_within, _onnx_output, load_model
from tests.unit.ml.model_probes import Probe

ENGINEER = FeatureEngineer(("rsi(14)", "log_return(1)", "log_return(5)", "sma_gap(20)"))
SCHEMA = ENGINEER.schema.sha256
DICE = np.random.default_rng(11)
X = DICE.normal(size=(400, 4))
Y = (X[:, 1] + DICE.normal(size=400) > 0).astype(int)
JOB = {"format": "skops", "sample": True}
MODELS = {
    "trees": HistGradientBoostingClassifier(max_iter=20, random_state=0),
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    made = ModelRegistry(tmp_path_factory.mktemp("models"))
    for name, model in MODELS.items():
        made.save(clone(model).fit(X, Y), name=name, features=ENGINEER, threshold=0.55)
    return made


@pytest.fixture(scope="module")
def engine(registry):
    with InferenceEngine(registry, deadline_s=5.0) as made:
        yield made


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_the_model_in_this_process_to_the_bit(engine, name):
    model = clone(MODELS[name]).fit(X, Y)
    answer = engine.predict(name, X, schema_sha256=SCHEMA)
    assert (answer.source, answer.error) == ("model", "")
    assert answer.scores.tobytes() == model.predict_proba(X)[:, 1].tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_an_exact_score_depends_on_no_other_row(engine, name):
    whole = engine.predict(name, X, schema_sha256=SCHEMA, exact=True).scores
    parts = [
        engine.predict(name, rows, schema_sha256=SCHEMA, exact=True).scores
        for rows in (X[:1], X[1:8], X[8:].copy())
    ]
    assert whole.tobytes() == np.concatenate(parts).tobytes()
    model = clone(MODELS[name]).fit(X, Y)
    alone = [model.predict_proba(X[i : i + 1])[0, 1] for i in range(100)]
    assert whole[:100].tolist() == alone


@pytest.mark.parametrize("head", [PCA(2), RobustScaler(), StandardScaler()])
def test_an_exact_question_to_a_pipeline_gives_what_each_row_gives_alone(head):
    model = make_pipeline(head, LogisticRegression()).fit(X, Y)
    by_row = load_model(JOB, skops.io.dumps(model)).by_row
    alone = [model.predict_proba(X[i : i + 1])[0, 1] for i in range(100)]
    assert by_row(X[:100]).tolist() == alone


def test_what_the_file_says_of_itself_is_in_the_manifest(registry):
    trees, linear = registry.get("trees").manifest, registry.get("linear").manifest
    assert (trees.row_exact, linear.row_exact) == (True, False)
    assert trees.estimator.endswith("HistGradientBoostingClassifier")
    assert linear.trusted_types[-3:] == (
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
    )
    assert (trees.output, trees.classes, trees.n_features) == ("probability", (0, 1), 4)
    assert trees.feature_names == ENGINEER.names


def test_a_byte_changed_on_the_disk_is_refused_before_it_runs(registry):
    path = registry.folder / "trees" / registry.get("trees").sha256 / "model.skops"
    before = path.read_bytes()
    path.chmod(0o600)
    try:
        for at in np.linspace(0, len(before) - 1, 5).astype(int):
            changed = bytearray(before)
            changed[at] ^= 0x10
            path.write_bytes(changed)
            with InferenceEngine(registry) as fresh:
                answer = fresh.predict("trees", X, schema_sha256=SCHEMA)
                told = fresh.stats()[registry.get("trees").reference]
            assert "not the file that was registered" in answer.error
            assert np.isnan(answer.scores).all()
            assert told["given_up"]
    finally:
        path.write_bytes(before)


def test_a_file_swapped_between_the_check_and_the_load_changes_nothing(registry, monkeypatch):
    path = registry.folder / "trees" / registry.get("trees").sha256 / "model.skops"
    before = path.read_bytes()
    path.chmod(0o600)
    checked = registry.read

    def swap(reference):
        data = checked(reference)
        path.write_bytes(b"something else")
        return data

    monkeypatch.setattr(registry, "read", swap)
    try:
        with InferenceEngine(registry, deadline_s=5.0) as fresh:
            answer = fresh.predict("trees", X, schema_sha256=SCHEMA)
    finally:
        path.write_bytes(before)
    wanted = clone(MODELS["trees"]).fit(X, Y).predict_proba(X)[:, 1]
    assert answer.scores.tobytes() == wanted.tobytes()


def test_another_version_of_a_library_refuses_the_file(registry):
    manifest = registry.get("trees").manifest
    check_versions(manifest)
    told = dict(manifest.versions)
    told["scikit-learn"] = "0.1.0"
    object.__setattr__(manifest, "versions", told)
    with pytest.raises(ModelRefused, match=r"registered with scikit-learn 0\.1\.0, here is"):
        check_versions(manifest)


def never_a_number():
    """Return a model whose coefficients somebody spoiled."""
    model = Ridge().fit(X, Y)
    model.coef_ = np.full(4, np.nan)
    return model


WRONG = {
    "other classes": (LogisticRegression().fit(X, np.where(Y, "up", "down")), "chance of class 1"),
    "no prediction": (StandardScaler().fit(X), "it predicts nothing"),
    "no features": (RidgeClassifier(), "it is not fitted"),
    "two values": (Ridge().fit(X, np.column_stack((Y, Y))), r"gives \(64, 2\) numbers for 64 rows"),
    "three classes": (RidgeClassifier().fit(X, np.arange(400) % 3), r"\(64, 3\) numbers"),
    "not fitted": (
        Pipeline([("s", StandardScaler().fit(X)), ("m", Ridge())]), "gives no scores"
    ),
    "never a number": (never_a_number(), "none of its scores is a score, such as nan"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_gives_no_score_is_refused(what):
    model, said = WRONG[what]
    with pytest.raises(ModelRefused, match=said):
        load_model(JOB, skops.io.dumps(model))


def test_a_file_with_a_function_in_it_is_refused_by_its_own_process(registry):
    model = make_pipeline(FunctionTransformer(np.abs), LogisticRegression()).fit(X, Y)
    with pytest.raises(ModelRefused, match=r"FunctionTransformer .* not on the list"):
        registry.save(model, name="refused", features=ENGINEER)
    assert registry.versions("refused") == []


def test_a_forest_that_asks_for_threads_gets_none_and_gives_its_values_all_the_same():
    forest = RandomForestRegressor(5, random_state=0, n_jobs=4).fit(X, 10.0 * X[:, 1])
    child = Child(skops.io.dumps(forest), "skops")
    try:
        assert child.facts()["output"] == "score"
        scores = child.ask(X, row_by_row=False, deadline_s=5.0)
    finally:
        child.kill()
    alone = forest.set_params(n_jobs=1)  # threads of this process add the trees in any order
    assert scores.tobytes() == alone.predict(X).tobytes()
    assert np.abs(scores).max() > 1.0


def spoiled(model):
    """Return a skops file in which each node of a tree reads a feature far outside of a row."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as old,
        zipfile.ZipFile(out, "w") as new,
    ):
        for member in old.infolist():
            data = old.read(member)
            if member.filename.endswith(".npy"):
                nodes = np.load(io.BytesIO(data))
                if "left_child" in (nodes.dtype.names or ()):
                    nodes["feature"] = np.where(nodes["feature"] >= 0, 1 << 50, nodes["feature"])
                    held = io.BytesIO()
                    np.save(held, nodes)
                    data = held.getvalue()
            new.writestr(member.filename, data)
    return out.getvalue()


def test_a_tree_that_reads_outside_its_memory_takes_its_own_process_down_and_is_refused():
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)
    with pytest.raises(ModelRefused, match=r"it breaks its process: .* SIGSEGV"):
        inspect_model(spoiled(tree), "skops")


def test_a_decision_is_a_score():
    model = RidgeClassifier().fit(X, Y)
    score, facts, _ = load_model(JOB, skops.io.dumps(model))
    assert facts["output"] == "score"
    assert score(X).tobytes() == model.decision_function(X).tobytes()


def test_the_rules_are_a_model_like_any_other():
    rules = SimpleRuleModel(
        [("rsi_14", "<", 0.0, 0.25), ("sma_gap_20", ">", 0.5, 0.125)], feature_names=ENGINEER.names
    )
    score, facts, _ = load_model(JOB, skops.io.dumps(rules))
    assert (facts["row_exact"], facts["n_features"], facts["output"]) == (True, 4, "probability")
    assert score(X).tobytes() == rules.predict_proba(X)[:, 1].tobytes()


def test_an_onnx_file_is_scored_and_its_single_precision_is_the_only_difference(registry, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    weights = np.array([[0.5], [-1.0], [2.0], [0.25]])
    path.write_bytes(linear_onnx(weights))
    version = registry.register(path, name="onnx", features=ENGINEER)
    assert (version.manifest.format, version.manifest.output) == ("onnx", "score")
    with InferenceEngine(registry, deadline_s=5.0) as engine:
        answer = engine.predict("onnx", X, schema_sha256=SCHEMA)
    assert answer.error == ""
    np.testing.assert_allclose(answer.scores, (X @ weights)[:, 0], atol=1e-5)


class Output(NamedTuple):
    """An output as the runtime tells of it."""

    name: str
    type: str
    shape: list


def linear_onnx(weights):
    """Return an ONNX file of one product of matrices, made by the reference library."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["Y"])],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("W", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, 1], None), ([1, 2], r"its labels are \[1, 2\]"), (["down", "up"], "no labels 0 and 1")],
)
def test_the_chances_of_an_onnx_classifier_are_read_by_its_own_labels(labels, said, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    model = LogisticRegression().fit(X, np.array(labels)[Y])
    data = skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString()
    job = {"format": "onnx", "sample": True}
    if said is not None:
        with pytest.raises(ModelRefused, match=said):
            load_model(job, data)
        return
    score, facts, _ = load_model(job, data)
    assert facts["classes"] == [0, 1]
    np.testing.assert_allclose(score(X), model.predict_proba(X)[:, 1], atol=1e-6)


def test_the_rounding_of_single_precision_is_no_chance_above_one():
    told = np.array([1.0 + 1.2e-7, -1e-8, 0.5, 1.1, -0.1])
    assert _kept_within(told).tolist() == [1.0, 0.0, 0.5, 1.1, -0.1]


@pytest.mark.parametrize(
    ("outputs", "read"),
    [
        ([("label", "int64", [None]), ("p", "float", [None, 2])], ("p", 1, "probability")),
        ([("value", "double", [None, 1])], ("value", 0, "score")),
        ([("value", "float", [None])], ("value", 0, "score")),
    ],
)
def test_the_output_that_is_read_is_the_chance_of_two_classes_or_one_value(outputs, read):
    assert (
        _onnx_output([Output(name, f"tensor({kind})", shape) for name, kind, shape in outputs])
        == read
    )


def test_an_output_of_three_classes_or_of_maps_is_refused():
    for one in (Output("p", "tensor(float)", [None, 3]), Output("p", "seq(map(int64))", [])):
        with pytest.raises(ModelRefused, match="zipmap=False"):
            _onnx_output([one])


def test_without_the_extra_a_sentence_says_what_to_install():
    class Without(Probe):
        entry = (
            "import sys; sys.modules['onnxruntime'] = None;"
            " from mqd.ml.sandbox.worker import main; main()"
        )

    with pytest.raises(ModelRefused, match=r"needs the extra onnx: pip install 'mqd\[onnx\]'"):
        inspect_model(b"anything", "onnx", child=Without)


def test_what_is_no_onnx_file_is_refused(registry, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07 no model at all")
    with pytest.raises(ModelRefused, match="no ONNX file"):
        registry.register(path, name="refused")
