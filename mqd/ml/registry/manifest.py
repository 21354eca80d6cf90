"""What is known of a registered model: its manifest, written once and never changed."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import mqd
from mqd.errors import ModelRefused

SCHEMA: Final = "1"
LIBRARIES: Final = {
    "skops": ("numpy", "scikit-learn", "scipy", "skops"),
    "onnx": ("numpy", "onnxruntime"),
}
"""The libraries by which a file of each format is read and scored."""

READERS: Final = {"skops": ("scikit-learn", "skops"), "onnx": ("onnxruntime",)}
"""Those whose minor version must be the one that the file was registered with."""

_TYPES: Final = {
    "str": str, "int": int, "bool": bool, "float | None": (int, float, type(None)),
    "dict[str, Any]": dict, "dict[str, Any] | None": (dict, type(None)),
    "dict[str, str]": dict, "tuple[str, ...]": list, "tuple[Any, ...]": list,
}  # fmt: skip


class Training(NamedTuple):
    """The data a model was trained on: hash, first and last instant (ns UTC), rows.

    ``last_ns`` is the end of the last label. ``schema_sha256`` and ``label`` (hash) are those of
    the rows, "" where they were made by hand.
    """

    data_sha256: str
    first_ns: int
    last_ns: int
    n_rows: int
    schema_sha256: str = ""
    label: str = ""


@dataclass(frozen=True)
class Manifest:
    """Facts of a version. What the file said of itself was found in the sandbox.

    ``schema_sha256`` is empty for a model without features of mqd. ``row_exact``: a row's score
    does not depend on the batch it comes in, to the bit. ``registered_ns`` is UTC.
    """

    schema: str
    name: str
    sha256: str
    size_bytes: int
    format: str
    estimator: str
    output: str
    classes: tuple[Any, ...]
    n_features: int
    feature_names: tuple[str, ...]
    features: dict[str, Any] | None
    schema_sha256: str
    label: dict[str, Any] | None
    threshold: float | None
    training: dict[str, Any]
    metrics: dict[str, Any]
    note: str
    author: str
    code_sha256: str
    versions: dict[str, str]
    trusted_types: tuple[str, ...]
    row_exact: bool
    registered_ns: int

    @property
    def trained_to_ns(self) -> int | None:
        """The last instant (ns UTC) that the training has seen, None when it is not told."""
        told = self.training.get("last_ns")
        return told if isinstance(told, int) else None

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON; raises ``ModelRefused`` for what JSON cannot hold."""
        try:
            text = json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ModelRefused(
                f"The manifest of {self.name}",
                f"training, metrics, label and features must be plain JSON ({error})",
            ) from error
        return text.encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a manifest; raises ``ModelRefused`` unless every field is there with its type."""
        try:
            told = json.loads(data)
        except ValueError as error:
            raise ModelRefused("The manifest", f"it is no JSON ({error})") from error
        known = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(told, dict) or set(told) != set(known):
            raise ModelRefused("The manifest", "its fields are not those of a manifest")
        if told["schema"] != SCHEMA:
            raise ModelRefused("The manifest", f"it is of schema {told['schema']!r}, not {SCHEMA}")
        for name, kind in known.items():
            if not isinstance(told[name], _TYPES[kind]):  # type: ignore[arg-type]
                raise ModelRefused("The manifest", f"{name} = {told[name]!r} is no {kind}")
            if kind.startswith("tuple"):
                told[name] = tuple(told[name])
        return cls(**told)


def versions_of(model_format: str) -> dict[str, str]:
    """Return the installed versions of what reads and scores a format, and of mqd."""
    found = {"mqd": mqd.__version__}
    for name in LIBRARIES[model_format]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def check_versions(manifest: Manifest) -> None:
    """Raise ``ModelRefused`` when another version of a library would read the file."""
    installed = versions_of(manifest.format)
    for name in READERS[manifest.format]:
        then, now = manifest.versions.get(name, "none"), installed[name]
        if then.split(".")[:2] != now.split(".")[:2]:
            raise ModelRefused(
                f"{manifest.name}@{manifest.sha256[:12]}",
                f"it was registered with {name} {then}, here is {now}, which may read it otherwise:"
                " train and register it again",
            )


@cache
def code_sha256() -> str:
    """Return a hash over the code that makes features, labels and scores."""
    root = Path(mqd.__file__).parent
    sha = hashlib.sha256()
    for path in [root / "features.py", root / "indicators.py", *sorted((root / "ml").glob("*.py"))]:
        data = path.read_bytes()
        sha.update(f"{path.relative_to(root).as_posix()}:{len(data)}\n".encode() + data)
    return sha.hexdigest()


def checked_threshold(threshold: float | None, output: str) -> float | None:
    """Return the score above which a model's user would act; raises ``ModelRefused``."""
    if threshold is None:
        return None
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or (output == "probability" and not 0.0 <= value <= 1.0):
        raise ModelRefused("The threshold", f"{threshold!r} is no value of a {output}")
    return value
