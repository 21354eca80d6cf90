"""The gates of promotion: each with its bound, in one table, and the value that was found.

| gate | value | bound |
|---|---|---|
| costs | fees and slippage are charged (a free backtest proves nothing) | yes |
| limits | the limits are those of a desk, not the wide ones of research | yes |
| model | the model that the strategy asks, if any, is the champion that its hash names | yes |
| model_unseen | the model was trained before the first bar that the walk-forward tests | yes |
| check | findings of ``mqd.check``: lookahead, impurity, chance, engine differences | at most 0 |
| trades | closed round trips in the backtest | at least 20 |
| walk_forward | Sharpe ratio over all tested spans of the walk-forward | above 0 |
| deflated_sharpe | probability that Sharpe is more than luck, with over 1 trial | >= 0.95 |
| pbo | probability of overfitting of the sweep, with over 1 combination | at most 0.5 |
| rehearsal_equal | orders and fills of the rehearsal are those of the replay | yes |
| rehearsal_breaks | differences of our books from the venue's | at most 0 |
| rehearsal_duplicates | orders sent twice for one decision | at most 0 |
| rehearsal_lost_fills | executions at the venue that our log has not | at most 0 |

Sources of the two bounds on luck: D. Bailey and M. López de Prado, "The Deflated Sharpe Ratio"
(2014), confidence 0.95; D. Bailey et al., "The Probability of Backtest Overfitting" (2017), where
0.5 is a choice that is right as often as a coin.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple


class Bound(NamedTuple):
    """What a value must be: ``word`` and ``number`` (1 for "yes"), and what it is about."""

    word: Literal["yes", "<=", ">=", ">"]
    number: float
    about: str

    def holds(self, value: float) -> bool:
        """Return whether ``value`` passes; NaN never does."""
        match self.word:
            case "yes":
                return value == 1.0
            case "<=":
                return value <= self.number
            case ">=":
                return value >= self.number
            case ">":
                return value > self.number
            case _:
                raise AssertionError(self.word)

    def __str__(self) -> str:
        return self.word if self.word == "yes" else f"{self.word} {self.number:g}"


BOUNDS: Final[dict[str, Bound]] = {
    "costs": Bound("yes", 1, "fees or slippage are charged"),
    "limits": Bound("yes", 1, "the limits are those of a desk"),
    "model": Bound("yes", 1, "the model that it asks is a champion"),
    "model_unseen": Bound("yes", 1, "the model has not seen the bars that it is judged on"),
    "check": Bound("<=", 0, "findings of mqd check"),
    "trades": Bound(">=", 20, "closed round trips in the backtest"),
    "walk_forward": Bound(">", 0, "Sharpe ratio out of sample"),
    "deflated_sharpe": Bound(">=", 0.95, "probability that it is more than the best of luck"),
    "pbo": Bound("<=", 0.5, "probability of overfitting"),
    "rehearsal_equal": Bound("yes", 1, "the rehearsal's orders and fills are the replay's"),
    "rehearsal_breaks": Bound("<=", 0, "differences of our books from the venue's"),
    "rehearsal_duplicates": Bound("<=", 0, "orders sent twice for one decision"),
    "rehearsal_lost_fills": Bound("<=", 0, "fills at the venue that our log has not"),
}
LUCK: Final = frozenset({"deflated_sharpe", "pbo"})
MODEL: Final = frozenset({"model", "model_unseen"})
MANDATORY: Final = frozenset(BOUNDS) - LUCK - MODEL
"""Gates that every record holds; those of luck need more than one trial, that of a model one."""


class Gate(NamedTuple):
    """One gate as it was found: ``value`` is None where there is no number."""

    name: str
    value: float | None
    bound: str
    passed: bool
    sentence: str


def judge(name: str, value: float, more: str = "") -> Gate:
    """Return the gate ``name`` of the table with the ``value`` found; ``more`` says what to do.

    NaN (no number) fails. Raises ``KeyError`` for a gate that the table has not.
    """
    bound = BOUNDS[name]
    found = "no number" if math.isnan(value) else f"{value:g}"
    if bound.word == "yes":
        said = f"{bound.about}: {'yes' if value == 1 else 'no'}"
    else:
        said = f"{bound.about}: {found}, it must be {bound}"
    sentence = f"{said}. {more}".rstrip()
    kept = None if math.isnan(value) else float(value)
    return Gate(name, kept, str(bound), bound.holds(value), sentence)
