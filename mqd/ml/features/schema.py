"""What a matrix of features must look like: names, order, type and a hash of their meaning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mqd.core.bar import Floats
from mqd.errors import did_you_mean
from mqd.ml.errors import BadFeatureMatrix

OPERATIONS: Final = 1
"""Raised when an operation of ``nodes`` changes its values: then no old schema matches."""


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """Columns of a feature matrix in their order; ``definitions`` say what each is made of."""

    names: tuple[str, ...]
    definitions: tuple[str, ...]
    dtype: str = "float64"

    @property
    def sha256(self) -> str:
        """The hash of names, order, definitions and type."""
        told = [OPERATIONS, list(self.names), list(self.definitions), self.dtype]
        return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()

    def check(self, features: Any) -> Floats:
        """Return ``features`` as (rows, columns) float64 after it was held against the schema.

        A frame must have these columns in this order; an array as many. Raises
        ``BadFeatureMatrix`` for another type, other columns, NaN and infinity.
        """
        columns = getattr(features, "columns", None)
        if columns is not None:
            self._check_columns([str(name) for name in columns])
            kinds = {str(kind) for kind in features.dtypes}
            if kinds - {self.dtype}:
                raise BadFeatureMatrix(
                    f"The features hold {', '.join(sorted(kinds))}; wanted is {self.dtype}."
                )
        matrix = np.asarray(features)
        if matrix.dtype != np.dtype(self.dtype):
            raise BadFeatureMatrix(
                f"The features are {matrix.dtype}; the model wants {self.dtype}."
            )
        if matrix.ndim != 2 or matrix.shape[1] != len(self.names):
            raise BadFeatureMatrix(
                f"The features have the shape {matrix.shape}; wanted are rows of"
                f" {len(self.names)}: {', '.join(self.names)}."
            )
        self._check_values(matrix)
        return matrix

    def _check_columns(self, given: Sequence[str]) -> None:
        if list(given) == list(self.names):
            return
        strange = [name for name in given if name not in self.names]
        missing = [name for name in self.names if name not in given]
        if strange:
            said = f"{strange[0]!r} is none of them.{did_you_mean(strange[0], self.names)}"
        elif missing:
            said = f"{missing[0]!r} is missing."
        else:
            place = next(i for i, name in enumerate(given) if name != self.names[i])
            said = f"column {place} is {given[place]!r}, it must be {self.names[place]!r}."
        raise BadFeatureMatrix(f"The columns are not those of the schema in their order: {said}")

    def _check_values(self, matrix: Floats) -> None:
        finite = np.isfinite(matrix)
        if finite.all():
            return
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise BadFeatureMatrix(
            f"{self.names[column]} is {matrix[row, column]} in row {row}"
            f" ({int((~finite).any(axis=1).sum())} such rows): leave out the rows in which a"
            " window is not full, and mend the rest."
        )
