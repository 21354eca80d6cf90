"""``SimpleRuleModel``: predictions from rules that anybody can read, with a confidence.

The worked example of a model, the last one that answers before nobody does, and a baseline that a
trained model has to beat. A rule is ``(feature, "<" or ">", level, step)``: where it holds, the
step is added to the chance that the label is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from mqd.core.bar import Floats
from mqd.errors import UsageError, did_you_mean
from mqd.ml.errors import BadFeatureMatrix

SIGNS: Final = ("<", ">")
DEFAULT: Final = (
    ("rsi_14", "<", 30.0, 0.1),
    ("rsi_14", ">", 70.0, -0.1),
    ("sma_gap_20", ">", 0.0, 0.05),
    ("sma_gap_20", "<", 0.0, -0.05),
)
"""Buy what fell fast, sell what rose fast, lean with the average of 20 bars."""


class Rule(NamedTuple):
    """``step`` is added to the chance where ``feature`` is below ("<") or above (">") ``level``."""

    feature: str
    sign: str
    level: float
    step: float

    def __str__(self) -> str:
        return f"{self.feature} {self.sign} {self.level:g}: {self.step:+g}"


class SimpleRuleModel(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier made of rules; nothing is trained, ``fit`` only looks at the columns.

    ``base``: the chance of label 1 when no rule fires. The sum is kept within [0, 1].
    ``feature_names``: the columns of an array in their order; without them those that the rules
    name, in order of their first mention. A frame is taken by its names. A row in which a feature
    of a rule is NaN or infinite has no prediction: NaN. Raises ``UsageError`` for a rule that is
    none, when it is first used (scikit-learn's protocol).
    """

    classes_: Final = np.array([0, 1])

    def __init__(
        self,
        rules: Sequence[Sequence[Any]] = DEFAULT,
        base: float = 0.5,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.rules, self.base, self.feature_names = rules, base, feature_names

    @property
    def checked_rules(self) -> tuple[Rule, ...]:
        """The rules, each held against what a rule is."""
        given: object = self.rules
        if not isinstance(given, Sequence) or not given:
            raise UsageError(f"rules = {given!r}: give a list of one rule or more.")
        return tuple(_rule(number, rule) for number, rule in enumerate(self.rules, 1))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that an array must have, in their order."""
        if self.feature_names is not None:
            return tuple(self.feature_names)
        return tuple(dict.fromkeys(rule.feature for rule in self.checked_rules))

    @property
    def n_features_in_(self) -> int:
        """How many columns an array must have."""
        return len(self.names)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803
        """Check that ``X`` has what the rules read; learn nothing. Returns itself."""
        self._columns(X)
        return self

    def predict_proba(self, X: Any) -> Floats:  # noqa: N803
        """Return (n, 2) float64: the chances of 0 and of 1; NaN in rows that lack a feature.

        Raises ``BadFeatureMatrix`` for a column that is missing or an array of another width.
        """
        up = self._sum(self._columns(X))
        return np.column_stack([1.0 - up, up])

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return 1 where the chance is above a half, else 0; also 0 where there is none."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)

    def scores(self, X: Floats, names: Sequence[str]) -> Floats:  # noqa: N803
        """Return the chance of 1, (n,), for rows whose columns are ``names``."""
        return self._sum(_pick(np.asarray(X, dtype=np.float64), tuple(names), self._read))

    def confidence(self, X: Any) -> Floats:  # noqa: N803
        """Return how far each chance is from undecided, (n,): 0 at a half, 1 at 0 or 1."""
        return np.abs(2.0 * self.predict_proba(X)[:, 1] - 1.0)

    def explain(self, row: Mapping[str, float] | Sequence[float] | Floats) -> list[Rule]:
        """Return the rules that fire on one row, given by name or in the order of ``names``."""
        given = [row[name] for name in self.names] if isinstance(row, Mapping) else row
        columns = self._columns(np.asarray([given], dtype=np.float64))
        return [rule for rule in self.checked_rules if _fires(rule, columns)[0]]

    def spec(self) -> dict[str, Any]:
        """Return what makes an equal model again, JSON-ready."""
        return {
            "rules": [list(rule) for rule in self.checked_rules],
            "base": float(self.base),
            "feature_names": None if self.feature_names is None else list(self.feature_names),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return the model that `spec` described; raises ``UsageError`` for no such."""
        if set(spec) != {"rules", "base", "feature_names"}:
            raise UsageError(f"{sorted(spec)} is no specification of a rule model.")
        model = cls(**spec)
        model.spec()
        return model

    def __sklearn_is_fitted__(self) -> bool:
        """Rules are ready as they are."""
        return True

    @property
    def _read(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.feature for rule in self.checked_rules))

    def _columns(self, X: Any) -> dict[str, Floats]:  # noqa: N803
        """Return the columns that the rules read."""
        names = getattr(X, "columns", None)
        given = self.names if names is None else tuple(str(name) for name in names)
        return _pick(np.asarray(X, dtype=np.float64), given, self._read)

    def _sum(self, columns: Mapping[str, Floats]) -> Floats:
        if not 0.0 <= self.base <= 1.0:
            raise UsageError(f"base = {self.base!r} is no chance between 0 and 1.")
        n = len(next(iter(columns.values()), ()))
        chance = np.full(n, float(self.base))
        for rule in self.checked_rules:
            chance += np.where(_fires(rule, columns), rule.step, 0.0)
        known = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
        return np.where(known, np.clip(chance, 0.0, 1.0), np.nan)


def _rule(number: int, given: Sequence[Any]) -> Rule:
    """Return a rule; raise ``UsageError`` that names it for what is none."""
    try:
        feature, sign, level, step = given
        rule = Rule(str(feature), str(sign), float(level), float(step))
    except (TypeError, ValueError):
        raise UsageError(
            f"Rule {number} is {given!r}; write (feature, '<' or '>', level, step)."
        ) from None
    if rule.sign not in SIGNS or not math.isfinite(rule.level) or not -1.0 <= rule.step <= 1.0:
        raise UsageError(
            f"Rule {number} ({rule}): the sign is '<' or '>', the level finite, the step a part of"
            " a chance between -1 and 1."
        )
    return rule


def _fires(rule: Rule, columns: Mapping[str, Floats]) -> Any:
    column = columns[rule.feature]
    return column < rule.level if rule.sign == "<" else column > rule.level


def _pick(matrix: Floats, names: Sequence[str], wanted: Sequence[str]) -> dict[str, Floats]:
    """Return the ``wanted`` columns of (n, k) by name."""
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise BadFeatureMatrix(
            f"The features have the shape {matrix.shape}; wanted are rows of {len(names)}:"
            f" {', '.join(names)}."
        )
    for name in wanted:
        if name not in names:
            raise BadFeatureMatrix(f"The rules read {name!r}.{did_you_mean(name, names)}")
    return {name: matrix[:, list(names).index(name)] for name in wanted}
