"""What an engine leaves of a run: the one seam between a ``Result`` and what ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

import pandas as pd

from mqd.core.bar import CorporateAction
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.records import Counts
from mqd.kernel.settings import Settings
from mqd.report.trades import SplitApplied


class Source(Protocol):
    """What a desk and a compiled run each leave in their own way; a ``Result`` is the rest.

    Frames are those of ``mqd.desk.frames``.
    """

    @property
    def orders(self) -> pd.DataFrame:
        """Every order, in the order of decision."""

    @property
    def fills(self) -> pd.DataFrame:
        """Every execution, in the order of the log."""

    @property
    def owned_fills(self) -> pd.DataFrame:
        """The fills by the strategy they belong to: netted orders split, crosses included."""

    @property
    def equity(self) -> pd.DataFrame:
        """``equity, cash, gross, net`` at every bar's close."""

    @property
    def positions(self) -> pd.DataFrame:
        """Signed quantities at every bar's close."""

    @property
    def splits(self) -> Sequence[SplitApplied]:
        """What splits did to positions, in their order."""

    @property
    def counts(self) -> Counts:
        """How often an assumption mattered, and what was charged."""

    @property
    def totals(self) -> Mapping[str, tuple[float, float]]:
        """Each strategy's profit and fees in USD."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Why a strategy did not run compiled, what was refused first, what looked wrong."""


class Terms(NamedTuple):
    """What of a run's settings its result speaks of; ``unit`` is USD a quantum."""

    starting_equity: float
    costs: Costs
    fills: FillModel
    research: bool
    unit: float

    @staticmethod
    def of(settings: Settings, quantum: Decimal) -> Terms:
        """Return the terms of a run."""
        cash, research = float(settings.cash), settings.limits.is_research
        return Terms(cash, settings.costs, settings.fills, research, float(quantum))


def split_applied(
    action: CorporateAction, lots_before: int, lots_after: int, cash_usd: float
) -> SplitApplied:
    """Return what a split did to the account's position in its symbol."""
    return SplitApplied(action.ts_ex, action.symbol, lots_after / lots_before, cash_usd)


def refused(n_denied: int, first: str) -> list[str]:
    """Return the note on refused orders, none when there were none."""
    return [f"{n_denied} orders were refused; the first: {first}."] if n_denied else []
