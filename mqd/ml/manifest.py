"""What is known of a model version, written once beside its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

from mqd.errors import ModelRefused

SCHEMA: Final = "1"
PACKAGES: Final = ("mqd", "numpy", "scikit-learn", "skops", "onnxruntime", "ta-lib")


class Training(NamedTuple):
    """The data a model was trained on: hash, first and last instant (ns UTC), rows."""

    data_sha256: str
    first_ns: int
    last_ns: int
    n_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A version's facts.

    ``sha256``: hash of the file. ``features``: specification of its ``FeatureEngineer``;
    ``schema_sha256`` its columns' hash. ``label``: specification of what it predicts.
    ``threshold``: the score at which it would trade. ``output``: "probability" in [0, 1], or
    "score". ``row_exact``: a row's score has the same bits in every batch. ``trusted_types``:
    what the file holds beside what skops trusts. ``code_sha256``: hash of mqd's definitions.
    """

    name: str
    sha256: str
    kind: str
    estimator: str
    output: str
    row_exact: bool
    trusted_types: list[str]
    features: dict[str, Any]
    schema_sha256: str
    label: dict[str, Any] | None
    threshold: float | None
    training: dict[str, Any] | None
    metrics: dict[str, Any] = field(default_factory=dict)
    code_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    note: str = ""
    author: str = ""

    def text(self) -> str:
        """Return the manifest as its file holds it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, allow_nan=False) + "\n"


def manifest_of(text: str, where: str) -> Manifest:
    """Return the manifest that a file holds; raise ``ModelRefused`` for another."""
    try:
        told: Any = json.loads(text)
        found = told.pop("schema")
        if found != SCHEMA:
            raise ModelRefused(where, f"its schema is {found!r}, this version reads {SCHEMA!r}.")
        return Manifest(**told)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelRefused(where, f"it is no manifest of a model ({error}).") from error


def code_sha256() -> str:
    """Return the hash of the modules that define features, labels and models."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of what computed features and scores, of those installed."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return JSON-ready copies of ``values``; raise ``ModelRefused`` for NaN and other objects."""
    try:
        told: dict[str, Any] = json.loads(json.dumps(dict(values), default=float, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelRefused(what, f"it cannot be written as JSON ({error}).") from error
    return told
