"""What is refused by its first bytes, and what a skops file may hold, before anything is built."""

import functools
import gzip
import io
import json
import os
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler
from sklearn.svm import SVC

from mqd.errors import ModelRefused
from mqd.ml.sandbox import skops_file
from mqd.ml.sandbox.model_file import model_file, read_once
from mqd.ml.sandbox.skops_file import load_skops, types_of
from mqd.ml.sandbox.trusted_types import LOADERS, TRUSTED

DICE = np.random.default_rng(5)
X = DICE.normal(size=(60, 3))
Y = (X[:, 0] + DICE.normal(size=60) > 0).astype(int)

GOOD = {
    "logistic": LogisticRegression(),
    "ridge": Ridge(),
    "elastic net": ElasticNet(),
    "trees": HistGradientBoostingClassifier(max_iter=3, random_state=0),
    "tree values": HistGradientBoostingRegressor(max_iter=3, loss="absolute_error"),
    "forest": RandomForestClassifier(3, random_state=0),
    "extra trees": ExtraTreesRegressor(3, random_state=0),
    "pipeline": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    "quantiles": make_pipeline(QuantileTransformer(n_quantiles=9), Ridge()),
    "sigmoid": CalibratedClassifierCV(LogisticRegression(), cv=2),
    "isotonic": CalibratedClassifierCV(
        HistGradientBoostingClassifier(max_iter=2), cv=2, method="isotonic"
    ),
}


def archive(members):
    """Return a zip of ``members`` (name to bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            made.writestr(name, data)
    return out.getvalue()


def dumped(thing):
    """Return a skops file of ``thing``."""
    return skops.io.dumps(thing)


class Reversed:
    """A class that no list knows."""


@pytest.mark.parametrize("name", GOOD)
def test_what_models_are_made_of_is_on_the_list_and_comes_back_the_same(name):
    model = GOOD[name].fit(X, Y)
    again, types = load_skops(dumped(model))
    assert set(types) <= TRUSTED
    assert again.predict(X).tobytes() == model.predict(X).tobytes()


UNTRUSTED = {
    "a function": ([json.dumps], "dumps"),
    "a transformer of functions": (FunctionTransformer(np.log1p), "FunctionTransformer"),
    "a selector with a function": (SelectKBest(k=2), "SelectKBest"),
    "a partial": (functools.partial(print, 1), "partial"),
    "a method": (LogisticRegression().fit, "LogisticRegression"),
    "a class of ours": (Reversed(), "Reversed"),
    "an estimator that is not on it": (SVC(), "sklearn.svm._classes.SVC"),
    "a masked array": (np.ma.array([1.0]), "MaskedArray"),
    "hidden in a list": ([1, {"a": (Reversed(),)}], "Reversed"),
}


@pytest.mark.parametrize("what", UNTRUSTED)
def test_a_type_that_is_on_no_list_is_refused_by_its_name(what):
    thing, told = UNTRUSTED[what]
    with pytest.raises(ModelRefused, match="not on the list") as refused:
        types_of(dumped(thing))
    assert told in str(refused.value)


def test_no_loader_on_the_list_calls_what_a_file_names():
    calling = {"FunctionNode", "MethodNode", "OperatorFuncNode", "PartialNode", "CachedNode"}
    assert not calling & LOADERS


@pytest.mark.parametrize("missing", ["__class__", "__module__", "__loader__"])
def test_a_node_that_hides_a_part_of_its_name_is_refused(missing):
    schema = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode"}
    del schema[missing]
    with pytest.raises(ModelRefused):
        types_of(archive([("schema.json", json.dumps({"content": [schema]}))]))


def test_a_zip_that_unfolds_to_too_much_is_refused(monkeypatch):
    data = archive([("schema.json", "{}"), *((f"{i}.npy", bytes(1 << 20)) for i in range(3))])
    assert len(data) < 10_000
    monkeypatch.setattr(skops_file, "UNPACKED_BYTES_MAX", 2 << 20)
    with pytest.raises(ModelRefused, match=r"3,145,730 bytes when unpacked; at most 2,097,152"):
        types_of(data)


def test_too_many_members_and_the_same_name_twice_are_refused(monkeypatch):
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive([("schema.json", "{}"), ("schema.json", "{}")])
    with pytest.raises(ModelRefused, match="the same name twice"):
        types_of(twice)
    monkeypatch.setattr(skops_file, "MEMBERS_MAX", 2)
    with pytest.raises(ModelRefused, match="3 members"):
        types_of(archive([("schema.json", "{}"), ("a", ""), ("b", "")]))


def test_a_schema_nested_beyond_reason_is_refused():
    deep = "[" * 200_000 + "]" * 200_000
    with pytest.raises(ModelRefused, match="damaged"):
        types_of(archive([("schema.json", deep)]))


@settings(max_examples=40)
@given(st.floats(0.0, 1.0, exclude_max=True))
def test_a_file_that_was_cut_anywhere_is_refused(part):
    whole = dumped(Ridge().fit(X, Y))
    with pytest.raises(ModelRefused, match="damaged or no skops file"):
        types_of(whole[: int(part * len(whole))])


NOT_MODELS = {
    "pickle": pickle.dumps(LogisticRegression(), protocol=5),
    "pickle, old protocol": pickle.dumps(Ridge(), protocol=0),
    "gzip": gzip.compress(pickle.dumps(1)),
    "text": b"import os",
}


@pytest.mark.parametrize("suffix", [".pkl", ".skops", ".joblib", ".onnx"])
def test_a_pickle_is_refused_under_any_name(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(NOT_MODELS["pickle"])
    with pytest.raises(ModelRefused, match="it looks like a pickle"):
        model_file(path)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_what_joblib_writes_is_refused(tmp_path, compress):
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression(), path, compress=compress)
    with pytest.raises(ModelRefused, match="run code when"):
        model_file(path)


@pytest.mark.parametrize("what", NOT_MODELS)
def test_what_is_no_model_is_refused_with_what_to_do(tmp_path, what):
    path = tmp_path / "model"
    path.write_bytes(NOT_MODELS[what])
    with pytest.raises(ModelRefused, match=r"Save it with ModelRegistry\.save\(estimator\)"):
        model_file(path)


def test_a_link_a_folder_a_pipe_and_nothing_are_no_models(tmp_path):
    (tmp_path / "real.skops").write_bytes(dumped(1))
    (tmp_path / "link.skops").symlink_to("real.skops")
    os.mkfifo(tmp_path / "pipe.skops")
    (tmp_path / "empty.skops").write_bytes(b"")
    for name, why in (
        ("link.skops", "symbolic link"),
        ("", "not a regular file"),
        ("pipe.skops", "not a regular file"),
        ("empty.skops", "empty"),
        ("none.skops", "No such file"),
    ):
        with pytest.raises(ModelRefused, match=why):
            model_file(tmp_path / name)


def test_a_file_that_is_too_large_is_read_no_further(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(b"PK\x03\x04" + bytes(96))
    assert len(read_once(path, 100)) == 100
    with pytest.raises(ModelRefused, match="larger than 99 bytes"):
        read_once(path, 99)


def test_isotonic_regression_alone_is_made_of_listed_types_too():
    model = IsotonicRegression().fit(X[:, 0], Y)
    assert set(types_of(dumped(model))) <= TRUSTED
