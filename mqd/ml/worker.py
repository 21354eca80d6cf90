"""The process in which a model lives: shut off, it loads one model and answers with its scores.

Frames go over two pipes: ``HEAD`` and as many bytes as it says. What the model prints goes
nowhere. It begins with the bytes of one model; then each request is a matrix of float64 features,
each answer a column of float64 scores, or a sentence.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import numpy as np

HEAD: Final = struct.Struct("<cIIQ")
"""What it is, rows, columns, bytes that follow."""
LOAD, PREDICT, PREDICT_EXACT, SCORES, SAID, FAILED = b"L", b"P", b"E", b"S", b"I", b"F"
SAMPLE_ROWS: Final = 64
Scorer = Callable[[Any], Any]


def write_frame(out: BinaryIO, what: bytes, body: bytes, rows: int = 0, columns: int = 0) -> None:
    """Write one frame."""
    out.write(HEAD.pack(what, rows, columns, len(body)) + body)
    out.flush()


def main() -> None:
    """Take the pipes, shut this process off, serve until the other end closes."""
    requests = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    score: Scorer | None = None
    words: dict[str, Any] = json.loads(sys.argv[1])
    try:
        _prepare(words)
        while head := requests.read(HEAD.size):
            what, rows, columns, size = HEAD.unpack(head)
            body = requests.read(size)
            if what == LOAD:
                score, said = _load(body, words)
                write_frame(answers, SAID, json.dumps(said).encode())
                continue
            assert score is not None, "a model is loaded first"
            matrix = np.frombuffer(body).reshape(rows, columns)
            found = _exact(score, matrix) if what == PREDICT_EXACT else score(matrix)
            scores = np.ascontiguousarray(found, dtype=np.float64)
            write_frame(answers, SCORES, scores.tobytes(), rows=len(scores))
    except BaseException as error:  # noqa: BLE001 - whatever a model does, it is told and ends
        write_frame(answers, FAILED, f"{type(error).__name__}: {error}".encode()[:2000])
    answers.close()
    os._exit(0)


def _prepare(words: dict[str, Any]) -> None:
    """Import what models need, then shut the process off."""
    from mqd.ml import sandbox

    if words["kind"] == "onnx":
        import onnxruntime  # noqa: F401
    else:
        import sklearn.calibration
        import sklearn.ensemble
        import sklearn.linear_model
        import sklearn.pipeline
        import sklearn.preprocessing  # noqa: F401
    os.chdir("/")
    sandbox.limit(words["memory_mb"], words["cpu_s"])
    sandbox.shut_off()


def _load(content: bytes, words: dict[str, Any]) -> tuple[Scorer, dict[str, Any]]:
    """Parse the model; return its scorer and what it says of itself."""
    said: dict[str, Any]
    score, said = _load_onnx(content) if words["kind"] == "onnx" else _load_skops(content)
    n_features = said["n_features"]
    if n_features != words["n_features"]:
        raise ValueError(f"it takes {n_features} features, the schema has {words['n_features']}")
    names, wanted = said.pop("feature_names"), words["feature_names"]
    if names is not None and names != wanted:
        raise ValueError(f"it was trained on {names[:5]}, the schema has {wanted[:5]}")
    sample = np.random.default_rng(0).normal(size=(SAMPLE_ROWS, n_features))
    said["row_exact"] = bool(_exact(score, sample).tobytes() == _column(score(sample)).tobytes())
    return score, said


def _load_skops(content: bytes) -> tuple[Scorer, dict[str, Any]]:
    from skops import io

    from mqd.ml.model_file import TRUSTED_TYPES

    types = sorted(io.get_untrusted_types(data=content))
    strange = [name for name in types if name not in TRUSTED_TYPES]
    if strange:
        raise TypeError(f"it holds {strange[0]}, a type that is not trusted")
    model = io.loads(content, trusted=types)
    names = getattr(model, "feature_names_in_", None)
    said = {
        "trusted_types": types, "estimator": type(model).__name__,
        "n_features": int(model.n_features_in_),
        "feature_names": None if names is None else [str(name) for name in names],
    }  # fmt: skip
    if not hasattr(model, "predict_proba"):
        return model.predict, said | {"output": "score"}
    up = [int(one) for one in model.classes_].index(1)
    return lambda matrix: model.predict_proba(matrix)[:, up], said | {"output": "probability"}


def _load_onnx(content: bytes) -> tuple[Scorer, dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (takes,), gives = session.get_inputs(), session.get_outputs()[-1]
    kind = np.float64 if "double" in takes.type else np.float32

    def score(matrix: Any) -> Any:
        found = session.run([gives.name], {takes.name: matrix.astype(kind)})[0]
        if isinstance(found, list):
            return np.array([row[1] for row in found], dtype=np.float64)
        return _column(found)

    said = {
        "trusted_types": [], "estimator": "ONNX", "n_features": int(takes.shape[1]),
        "feature_names": None, "output": "score",
    }  # fmt: skip
    return score, said


def _exact(score: Scorer, matrix: Any) -> Any:
    """Return scores that no other row has a part in: one call a row."""
    return np.array([float(_column(score(matrix[row : row + 1]))[0]) for row in range(len(matrix))])


def _column(found: Any) -> Any:
    """Return scores as one float64 column; of two, the last is class 1's."""
    scores = np.asarray(found, dtype=np.float64)
    return np.ascontiguousarray(scores[:, -1] if scores.ndim == 2 else scores)


if __name__ == "__main__":
    main()
