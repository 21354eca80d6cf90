"""The compiled loop against the desk: the same orders, fills, money and metrics, to the bit.

The desk calls the rules as plain Python here, so nothing that numba has touched is its own judge.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import mqd
from mqd.sweeps.compiled import CompiledEvaluator
from mqd.sweeps.evaluate import Job, blank, put
from mqd.sweeps.settings import sweep_settings
from tests.parity.interpreted import interpreted, plain_rules
from tests.parity.kernel_cases import Case, assert_equal, outcome, some_bars, some_case
from tests.parity.kernel_kinds import KINDS, kinds_of
from tests.parity.twin_cases import Armed

pytestmark = pytest.mark.filterwarnings("ignore")

COMPILED = 320
INTERPRETED = 320
SWEPT = 60
TIMES = 4
"""So many times the rows of a sweep, so that one call of the loop takes several."""


def in_the_desk(case: Case) -> mqd.Result | mqd.errors.MqdError:
    """Run a case in the desk, its rule as plain Python."""
    with plain_rules():
        return outcome(case, "event")


def compare(case: Case, desk: Any, loop: Any) -> set[str]:
    """Demand equality of two outcomes, errors too; return what was met."""
    if isinstance(desk, Exception) or isinstance(loop, Exception):
        assert repr(loop) == repr(desk)
        return {"bad weight"} if isinstance(desk, mqd.errors.BadWeight) else set()
    assert_equal(loop, desk)
    return kinds_of(case, desk)


def told(seed: int, case: Case) -> str:
    """Return what reproduces a case."""
    return f"seed {seed}: {case.name} {case.strategy!r} on {case.bars!r} with {case.words}"


def test_compiled_runs_equal_the_desk_and_every_kind_was_met() -> None:
    """A kind that no run met would be a rule that nothing here tests."""
    met: Counter[str] = Counter()
    for seed in range(COMPILED):
        case = some_case(seed, compiled=True)
        desk, loop = in_the_desk(case), outcome(case, "compiled")
        try:
            met.update(compare(case, desk, loop))
        except AssertionError as error:
            raise AssertionError(f"{told(seed, case)}: {error}") from error
    assert {kind for kind in KINDS if not met[kind]} == set()


@pytest.mark.parametrize("tenth", range(10))
def test_the_loop_in_plain_python_equals_the_desk(tenth: int) -> None:
    """The same functions without a compiler, so every run can have a rule of its own."""
    for seed in range(tenth * INTERPRETED // 10, (tenth + 1) * INTERPRETED // 10):
        case = some_case(10_000 + seed, compiled=False)
        desk = in_the_desk(case)
        with interpreted():
            loop = outcome(case, "compiled")
        try:
            compare(case, desk, loop)
        except AssertionError as error:
            raise AssertionError(f"{told(10_000 + seed, case)}: {error}") from error


def swept(case: Case, rows: list[dict[str, Any]]) -> Any:
    """Return the compiled evaluator's outcome of some parameter sets."""
    names = tuple(rows[0])
    settings = sweep_settings(**case.words, engine="compiled", workers=1)
    job = Job(type(case.strategy), case.bars, settings, "pooled", names)
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    return CompiledEvaluator(job)(columns)


def in_the_desk_swept(case: Case, rows: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    """Return the same rows from the desk, and why a row has none."""
    wanted, failed = blank(len(rows)), [""] * len(rows)
    for place, row in enumerate(rows):
        desk = in_the_desk(case._replace(strategy=type(case.strategy)(**row)))
        if isinstance(desk, mqd.errors.MqdError):
            failed[place] = str(desk)
        else:
            put(wanted, place, desk)
    return wanted, failed


def check_sweep(case: Case) -> None:
    """Sweep exits beside the case's own: sums of one pass equal the desk's frames."""
    rows = [dict(case.strategy.parameters) for _ in range(3)]
    rows[1] |= {"stop_loss_frac": 0.0, "take_profit_frac": 0.0, "trailing_stop_frac": 0.0}
    rows[2] |= {"stop_loss_frac": 0.01, "take_profit_frac": 0.01, "trailing_stop_frac": 0.0}
    for row in rows:
        for name in ("stop_loss_frac", "take_profit_frac", "trailing_stop_frac"):
            row.setdefault(name, getattr(case.strategy, name))
    compare_rows(case, rows)


def compare_rows(case: Case, rows: list[dict[str, Any]]) -> None:
    """Demand that rows of one sweep, several to a call of the loop, equal the desk's."""
    found = swept(case, rows * TIMES)
    wanted, failed = in_the_desk_swept(case, rows)
    assert list(found.failed) == failed * TIMES
    for name, column in wanted.columns.items():
        np.testing.assert_allclose(
            found.columns[name], np.tile(column, TIMES), rtol=1e-9, atol=1e-9, err_msg=name
        )
    moments = np.tile(wanted.moments, (TIMES, 1, 1))
    np.testing.assert_allclose(found.moments, moments, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sixth", range(6))
def test_rows_of_a_sweep_equal_the_desk(sixth: int) -> None:
    """Each combination starts from nothing that the one before has left."""
    for seed in range(20_000 + sixth * SWEPT // 6, 20_000 + (sixth + 1) * SWEPT // 6):
        case = some_case(seed, compiled=False)
        try:
            with interpreted():
                check_sweep(case)
        except AssertionError as error:
            raise AssertionError(f"{told(seed, case)}: {error}") from error


@pytest.mark.parametrize("n_symbols", [1, 2])
def test_state_begins_anew_with_each_combination(n_symbols: int) -> None:
    bars = some_bars(3, n_symbols)
    words = {"costs": mqd.Costs(), "fills": mqd.FillModel(close_only=bars.close_only)}
    with interpreted():
        compare_rows(Case("armed", Armed(), bars, words), [{"every": n} for n in range(2, 10)])
