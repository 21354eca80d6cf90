"""``Dataset``: the rows a model learns from, of several symbols, in order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import UsageError
from mqd.ml.evaluation.drift import Reference
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.labels import Label, label_hash
from mqd.ml.features.weights import uniqueness
from mqd.ml.registry.manifest import Training

TOLD: Final = ("names", "schema_sha256", "label")
"""What a dataset says of itself, beside its columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Features, labels and their intervals, a row a bar of a symbol, sorted by ``t0``.

    ``X``: float64 (rows, features), all finite. ``y``: the label as 1 or 0 (a triple barrier's -1
    and 0 are 0). ``t0``, ``t1``: int64 ns. ``ret_frac``: return over the label's span.
    ``weight``: average uniqueness within the symbol. ``symbol``: texts. ``row``: of its bars.
    ``schema_sha256`` and ``label``: what the columns mean and which label it is (its hash).
    """

    names: tuple[str, ...]
    X: Floats
    y: Ints
    t0: Ints
    t1: Ints
    ret_frac: Floats
    weight: Floats
    symbol: NDArray[Any]
    row: Ints
    schema_sha256: str = ""
    label: str = ""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def training(self) -> Training:
        """What a manifest says of the rows: hash, span, number."""
        if not len(self):
            raise UsageError("There are no rows to train on.")
        digest = hashlib.sha256(repr(self.names).encode())
        for column in (self.X, self.y, self.t0, self.t1):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update("\n".join(self.symbol).encode())
        return Training(
            digest.hexdigest(), int(self.t0[0]), int(self.t1.max()), len(self),
            self.schema_sha256, self.label,
        )  # fmt: skip

    def reference(self, scores: Floats | None = None) -> dict[str, Any]:
        """Return what drift is measured against, for a manifest: ``metrics={"reference": ...}``.

        ``scores``: those of the rows, best out of sample; NaN rows count as no number.
        """
        if scores is None:
            return Reference.of(self.X, self.names).spec()
        columns = np.column_stack((self.X, scores))
        return Reference.of(columns, (*self.names, "score")).spec()

    def take(self, rows: Any) -> Self:
        """Return the rows that a mask or row numbers choose."""
        columns = [one.name for one in fields(self) if one.name not in TOLD]
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def before(self, ns: int) -> Self:
        """Return the rows whose label is known before ``ns``."""
        return self.take(self.t1 < ns)

    def __repr__(self) -> str:
        symbols = ", ".join(dict.fromkeys(self.symbol.tolist()))
        up = f", {self.y.mean():.1%} up" if len(self) else ""
        return f"Dataset({len(self):,} rows of {len(self.names)} features, {symbols}{up})"


def make_dataset(
    bars: Any, engineer: FeatureEngineer, label: Label, symbols: Sequence[str] = ()
) -> Dataset:
    """Return the rows of ``bars`` whose features are numbers and whose label is known.

    ``symbols``: those of ``bars`` when left out. Raises ``UsageError`` when no row is left, and for
    what is no label.
    """
    if isinstance(label, type) or not hasattr(label, "of"):
        raise UsageError(f"label = {label!r}: give a label, such as FixedHorizon(5).")
    parts = [_of_symbol(bars[one], engineer, label) for one in symbols or bars.symbols]
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})
    }
    if not columns or not len(columns["y"]):
        raise UsageError("No row is left: windows and horizon are longer than the bars.")
    order = np.lexsort((columns["symbol"], columns["t0"]))
    made: dict[str, Any] = {name: values[order] for name, values in columns.items()}
    return Dataset(
        engineer.names, **made, schema_sha256=engineer.schema.sha256, label=label_hash(label)
    )


def _of_symbol(bars: Any, engineer: FeatureEngineer, label: Label) -> dict[str, Any]:
    table = label.of(bars)
    matrix = engineer.matrix(bars)[table.rows]
    kept = np.isfinite(matrix).all(axis=1)
    return {
        "X": matrix[kept], "y": (table.label[kept] == 1).astype(np.int64), "t0": table.t0[kept],
        "t1": table.t1[kept], "ret_frac": table.ret_frac[kept],
        "weight": uniqueness(table, len(bars))[kept],
        "symbol": np.full(int(kept.sum()), bars.symbol, dtype=object), "row": table.rows[kept],
    }  # fmt: skip
