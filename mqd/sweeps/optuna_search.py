"""``search="optuna"``: Optuna's TPE sampler chooses, batch after batch, from what it has heard.

Each suggestion has a sampler of its own, seeded by the sweep's seed and the number of the
suggestion: what is asked depends on what was told alone. A resumed sweep therefore asks the same
again, is told what was kept, and goes on as if it had never stopped.

With ``journal`` the study is also written to Optuna's journal storage, for optuna-dashboard and
for ``optuna.load_study``; it is a copy, written anew when the sweep is resumed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UsageError
from mqd.sweeps.constraint import Constraint
from mqd.sweeps.errors import EmptyGrid
from mqd.sweeps.grid import Continuous, Grid, Listed, Stepped
from mqd.sweeps.search import Block, Columns, column_of

if TYPE_CHECKING:
    from optuna import Study, Trial

BATCH: Final = 16
MISSES_MAX: Final = 2_000


class OptunaSearch:
    """``n`` combinations that Optuna asks for, ``BATCH`` at a time."""

    adaptive = True

    def __init__(self, grid: Grid, constraint: Constraint, n: int, seed: int, metric: str) -> None:
        self._grid, self._constraint, self._n, self._seed = grid, constraint, n, seed
        self._metric = metric
        self._journal: Path | None = None
        self._asked: dict[int, list[Trial]] = {}
        self._study: Study | None = None
        _optuna()

    @property
    def total(self) -> int:
        """How many are asked for."""
        return self._n

    @property
    def text(self) -> str:
        """The search, its number, seed and objective."""
        return f"optuna, n={self._n}, seed={self._seed}, metric={self._metric}"

    def write_to(self, journal: Path) -> None:
        """Write the study to Optuna's journal storage at ``journal`` too."""
        self._journal = journal

    def blocks(self, size: int) -> Iterator[Block]:  # noqa: ARG002 - a batch is never cut
        """Yield the batches; each is asked for when the scores of the last one are told."""
        self._study = self._new_study()
        first = 0
        while first < self._n:
            wanted = min(BATCH, self._n - first)
            trials = [self._ask(first + place) for place in range(wanted)]
            columns = {
                name: column_of(name, self._grid, [trial.params[name] for trial in trials])
                for name in self._grid.axes
            }
            self._asked[first] = trials
            yield Block(first, columns, first + wanted)
            first += wanted

    def tell(self, block: Block, scores: NDArray[np.float64]) -> None:
        """Hear the scores of a batch; a combination without a number has failed."""
        from optuna.trial import TrialState

        assert self._study is not None
        for trial, score in zip(self._asked.pop(block.first), scores.tolist(), strict=True):
            if np.isfinite(score):
                self._study.tell(trial, score)
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def _new_study(self) -> Study:
        optuna = _optuna()
        storage = None
        if self._journal is not None:
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            self._journal.unlink(missing_ok=True)
            storage = JournalStorage(JournalFileBackend(str(self._journal)))
        study: Study = optuna.create_study(
            study_name="mqd sweep", direction="maximize", storage=storage
        )
        return study

    def _ask(self, number: int) -> Trial:
        """Return the suggestion of that number that the constraint lets through."""
        from optuna.trial import TrialState

        assert self._study is not None
        for attempt in range(MISSES_MAX):
            self._study.sampler = self._sampler(number, attempt)
            trial = self._study.ask()
            values = {name: self._suggested(trial, name) for name in self._grid.axes}
            one: Columns = {name: column_of(name, self._grid, [v]) for name, v in values.items()}
            if self._constraint.mask(one)[0]:
                return trial
            self._study.tell(trial, state=TrialState.FAIL)
        raise EmptyGrid(
            f"where {self._constraint.text} let none of {MISSES_MAX:,} suggestions through"
        )

    def _sampler(self, number: int, attempt: int) -> Any:
        seed = np.random.SeedSequence([self._seed % 2**64, number, attempt]).generate_state(1)[0]
        return _optuna().samplers.TPESampler(seed=int(seed))

    def _suggested(self, trial: Trial, name: str) -> Any:
        axis = self._grid.axes[name]
        match axis:
            case Listed():
                return trial.suggest_categorical(name, axis.values.tolist())
            case Stepped():
                last = axis.start + axis.step * (axis.n - 1)
                low, high = min(axis.start, last), max(axis.start, last)
                return trial.suggest_int(name, low, high, step=abs(axis.step))
            case Continuous():
                return trial.suggest_float(name, axis.low, axis.high)
            case _:
                assert_never(axis)


def _optuna() -> Any:
    """Return optuna, which speaks of errors alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError as error:
        raise UsageError(
            "search='optuna' needs Optuna: install mqd with its extra 'research'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
