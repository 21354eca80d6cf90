"""A model as its process knows it: parsed, looked at, ready to score. Runs in the sandbox alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from mqd.core.bar import Floats
from mqd.errors import ModelRefused
from mqd.ml.sandbox.skops_file import import_what_files_need, load_skops

ScoreRows = Callable[[Floats], Floats]
SAMPLE_ROWS: Final = 64
SINGLE_PRECISION: Final = 1e-6
ROW_BY_ROW: Final = frozenset(
    {
        "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier",
        "ExtraTreeRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor",
        "HistGradientBoostingClassifier", "HistGradientBoostingRegressor",
        "RandomForestClassifier", "RandomForestRegressor", "SimpleRuleModel",
    }
)  # fmt: skip
"""Estimators that compare and add one row at a time. Of all others a sample proves nothing: the
product of a matrix may round a row otherwise in a batch of another height, once in hundreds."""


ELEMENT_BY_ELEMENT: Final = frozenset(
    {"MaxAbsScaler", "MinMaxScaler", "RobustScaler", "SimpleImputer", "StandardScaler"}
)
"""Steps of a pipeline in which a value's result has no other value in it."""


class Loaded(NamedTuple):
    """``score``: (n, k) float64 to (n,). ``facts``: what the file says of itself, JSON-ready.

    ``by_row`` scores so that a row's score has no other row in it.
    """

    score: ScoreRows
    facts: dict[str, Any]
    by_row: ScoreRows


def one_by_one(score: ScoreRows) -> ScoreRows:
    """Return a function that asks ``score`` one row at a time."""

    def by_row(rows: Floats) -> Floats:
        return np.array([float(score(rows[i : i + 1])[0]) for i in range(len(rows))])

    return by_row


def import_libraries(model_format: str) -> None:
    """Import what a format needs, before the sandbox closes. Raises ``ModelRefused``."""
    try:
        import_module("numpy.random")
        if model_format == "onnx":
            import_module("onnxruntime")
        else:
            import_what_files_need()
    except ImportError as error:
        extra = "onnx" if model_format == "onnx" else "ml"
        raise ModelRefused(
            f"a model file of format {model_format}",
            f"it needs the extra {extra}: pip install 'mqd[{extra}]' ({error})",
        ) from error


def load_model(job: Mapping[str, Any], data: bytes) -> Loaded:
    """Parse a model file and say what it is; ``job["sample"]`` also asks it for a sample.

    Raises ``ModelRefused`` for what is on no list, damaged, or predicts nothing.
    """
    loaded = _load_onnx(data) if job["format"] == "onnx" else _load_estimator(data)
    if job["sample"]:
        sample = _sample(loaded.facts["n_features"])
        _refuse_no_scores(loaded, sample)
        by_row = loaded.facts["estimator"].rpartition(".")[2] in ROW_BY_ROW
        loaded.facts["row_exact"] = by_row and row_exact(loaded.score, sample)
    return loaded


def _sample(n_features: int) -> Floats:
    """Return fixed rows over seven orders of magnitude, float64 (64, n_features)."""
    dice = np.random.default_rng(62)
    shape = (SAMPLE_ROWS, n_features)
    found: Floats = dice.normal(size=shape) * 10.0 ** dice.integers(-3, 4, size=shape)
    return found


def _refuse_no_scores(loaded: Loaded, sample: Floats) -> None:
    """Refuse a model that gives no score for any row: it could be crowned and never answer."""
    estimator, output = loaded.facts["estimator"], loaded.facts["output"]
    try:
        told = np.asarray(loaded.score(sample), dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:
        why = f"it gives no scores ({type(error).__name__}: {error})"
        raise ModelRefused(estimator, why) from error
    if told.shape != (len(sample),):
        raise ModelRefused(estimator, f"it gives {told.shape} numbers for {len(sample)} rows")
    good = np.isfinite(told)
    if output == "probability":
        good &= (told >= 0.0) & (told <= 1.0)
    if not good.any():
        raise ModelRefused(estimator, f"none of its scores is a {output}, such as {told[0]}")


def row_exact(score: ScoreRows, sample: Floats) -> bool:
    """Return whether a row's score is the same bits alone, in a batch, and elsewhere in one."""
    batch = np.asarray(score(sample), dtype=np.float64)
    alone = one_by_one(score)(sample)
    others = [
        np.asarray(score(sample[::-1].copy()), dtype=np.float64)[::-1],
        np.concatenate([score(sample[i : i + 7]) for i in range(0, SAMPLE_ROWS, 7)]),
    ]
    wanted = batch.tobytes()
    return wanted == alone.tobytes() and all(o.tobytes() == wanted for o in others)


def _load_estimator(data: bytes) -> Loaded:
    model, types = load_skops(data)
    score, output, classes = _scorer(model)
    n_features = getattr(model, "n_features_in_", None)
    if not isinstance(n_features, int):
        raise ModelRefused(type(model).__name__, "it is not fitted, or does not know its features")
    names = getattr(model, "feature_names_in_", None)
    facts = {
        "types": types,
        "estimator": f"{type(model).__module__}.{type(model).__name__}",
        "n_features": n_features,
        "feature_names": None if names is None else [str(name) for name in names],
        "output": output,
        "classes": classes,
    }
    return Loaded(score, facts, _by_row(model, score))


def _by_row(model: Any, score: ScoreRows) -> ScoreRows:
    """Return how ``model`` is asked row by row: scalers at its head may see all rows at once."""
    steps = [step for _, step in getattr(model, "steps", [])]
    heads = {type(step).__name__ for step in steps[:-1]}
    if not heads or heads - ELEMENT_BY_ELEMENT:
        return one_by_one(score)
    head, last = model[:-1], one_by_one(_scorer(steps[-1])[0])
    return lambda rows: last(np.ascontiguousarray(head.transform(rows)))


def _scorer(model: Any) -> tuple[ScoreRows, str, list[Any]]:
    """Return ``(score, output, classes)``: the chance of class 1, a decision, or a value."""
    if hasattr(model, "predict_proba"):
        classes = [_plain(label) for label in getattr(model, "classes_", [])]
        if not classes:
            raise ModelRefused(type(model).__name__, "it is not fitted")
        if classes.count(1) != 1:
            raise ModelRefused(
                type(model).__name__, f"its classes are {classes}; a score is the chance of class 1"
            )
        column = classes.index(1)
        return (lambda rows: model.predict_proba(rows)[:, column]), "probability", classes
    decide = getattr(model, "decision_function", None) or getattr(model, "predict", None)
    if decide is None:
        raise ModelRefused(type(model).__name__, "it predicts nothing")
    return (lambda rows: np.asarray(decide(rows))), "score", []


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _load_onnx(data: bytes) -> Loaded:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelRefused("ONNX file", f"damaged, or no ONNX file ({error})") from error
    inputs = session.get_inputs()
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64}.get(inputs[0].type)
    shape = inputs[0].shape
    if len(inputs) != 1 or dtype is None or len(shape) != 2 or not isinstance(shape[1], int):
        raise ModelRefused("ONNX file", "it must take one matrix of floats, (rows, features)")
    outputs = session.get_outputs()
    name, column, output = _onnx_output(outputs)
    if output == "probability":
        _refuse_other_classes(session, outputs, name, _sample(shape[1]).astype(dtype))

    def score(rows: Floats) -> Floats:
        told = np.asarray(session.run([name], {inputs[0].name: rows.astype(dtype)})[0])
        told = (told[:, column] if told.ndim == 2 else told).astype(np.float64)
        return _kept_within(told) if output == "probability" else told

    return Loaded(
        score,
        {
            "types": [], "estimator": "onnx", "n_features": shape[1], "feature_names": None,
            "output": output, "classes": [0, 1] if output == "probability" else [],
        },
        one_by_one(score),
    )  # fmt: skip


def _kept_within(chances: Floats) -> Floats:
    """Return chances of single precision, whose rounding may pass 0 or 1 by a little, within."""
    near = np.clip(chances, 0.0, 1.0)
    return np.where(np.abs(chances - near) <= SINGLE_PRECISION, near, chances)


def _refuse_other_classes(session: Any, outputs: list[Any], name: str, sample: Any) -> None:
    """Refuse a classifier whose second column is not the chance of label 1: its own labels say."""
    labels = next((one.name for one in outputs if one.type == "tensor(int64)"), None)
    if labels is None:
        raise ModelRefused(
            "ONNX file",
            "it gives chances and no labels 0 and 1, so that nobody knows which chance is whose:"
            " train on labels 0 and 1 and keep the output of labels",
        )
    told, chances = session.run([labels, name], {session.get_inputs()[0].name: sample})
    sure = chances[:, 0] != chances[:, 1]
    if (told[sure] != (chances[:, 1] > chances[:, 0])[sure]).any():
        found = sorted(set(np.asarray(told).ravel().tolist()))
        raise ModelRefused(
            "ONNX file", f"its labels are {found}; a score is the chance of class 1, beside 0"
        )


def _onnx_output(outputs: list[Any]) -> tuple[str, int, str]:
    """Return ``(name, column, kind)`` of the output that is read."""
    floats = [one for one in outputs if one.type in {"tensor(float)", "tensor(double)"}]
    for one in floats:
        if len(one.shape) == 2 and one.shape[1] == 2:
            return one.name, 1, "probability"
    for one in floats:
        if len(one.shape) == 1 or (len(one.shape) == 2 and one.shape[1] == 1):
            return one.name, 0, "score"
    raise ModelRefused(
        "ONNX file",
        "it gives no probabilities of two classes and no single value; export classifiers with"
        " zipmap=False",
    )
