"""Outcomes find their predictions: over chunks and restarts, once, and the last correction counts.

Expected rows are written out by hand; the property test has an oracle for the rest.
"""

import pytest

from mqd.errors import LogDamaged, UsageError
from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.outcomes import Joined, joined
from mqd.ml.shadow.records import FILE
from tests.unit.ml.shadow_lines import HORIZON, A, B, came, said, watched, write


def rows(folder, size=50_000):
    """Return what was joined: model, symbol, bar, score, and of those that matured the outcome."""
    found = []
    for part in joined(folder, size):
        if not isinstance(part, Joined):
            continue
        words = part.words.texts
        for place in range(len(part.score)):
            end = (int(part.t1[place]), float(part.ret_frac[place]), int(part.label[place]))
            found.append(
                (words[part.model[place]][0], words[part.symbol[place]], int(part.ts_ns[place]),
                 float(part.score[place]), end if part.matured[place] else None)
            )  # fmt: skip
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 50_000])
def test_an_outcome_belongs_to_its_symbol_and_bar(tmp_path, size):
    write(tmp_path, [
        said(A, 1, 0.1), said(B, 1, 0.2), said(A, 1, 0.3, symbol="T"), said(A, 2, 0.4),
        came(1, 0.5, symbol="T", span=3), came(1, -0.5, span=4),
    ])  # fmt: skip
    assert rows(tmp_path, size) == [
        ("a", "T", 1, 0.3, (4, 0.5, 1)), ("a", "S", 1, 0.1, (5, -0.5, 0)),
        ("b", "S", 1, 0.2, (5, -0.5, 0)), ("a", "S", 2, 0.4, None),
    ]  # fmt: skip


def test_models_with_other_labels_wait_for_their_own(tmp_path):
    far = watched("far", "c", horizon="f" * 12)
    write(tmp_path, [
        said(A, 1, 0.1), said(far, 1, 0.2), came(1, 0.5), came(1, -0.5, span=9, horizon="f" * 12),
    ], (A, far))  # fmt: skip
    assert rows(tmp_path) == [("a", "S", 1, 0.1, (2, 0.5, 1)), ("c", "S", 1, 0.2, (10, -0.5, 0))]


@pytest.mark.parametrize("size", [2, 50_000])
def test_an_outcome_after_a_restart_is_joined(tmp_path, size):
    write(tmp_path, [said(A, 1, 0.1), said(A, 2, 0.2), came(1, 0.5)])
    write(tmp_path, [said(A, 3, 0.3), came(2, 0.25)])
    assert rows(tmp_path, size) == [
        ("a", "S", 1, 0.1, (2, 0.5, 1)), ("a", "S", 2, 0.2, (3, 0.25, 1)), ("a", "S", 3, 0.3, None)
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 50_000])
def test_a_model_that_comes_later_has_outcomes_of_its_own(tmp_path, size):
    write(tmp_path, [said(A, 1, 0.1), came(1, 0.5)], (A,))
    write(tmp_path, [said(B, 1, 0.2), came(1, -0.25)], (B,))
    assert rows(tmp_path, size) == [
        ("a", "S", 1, 0.1, (2, 0.5, 1)),
        ("b", "S", 1, 0.2, (2, -0.25, 0)),
    ]


@pytest.mark.parametrize("size", [1, 50_000])
def test_the_last_correction_counts_from_the_beginning(tmp_path, size):
    write(tmp_path, [said(A, 1, 0.1), said(A, 2, 0.2), came(1, 0.5), came(2, 0.5)])
    with ShadowLog.open(tmp_path) as log:
        log.correct(came(1, 0.25))
        log.correct(came(1, -0.75, span=2))
    assert rows(tmp_path, size) == [
        ("a", "S", 1, 0.1, (3, -0.75, 0)), ("a", "S", 2, 0.2, (3, 0.5, 1))
    ]  # fmt: skip
    with ShadowLog.open(tmp_path) as log:
        assert not log.pending


@pytest.mark.parametrize("outcome", [came(2, 0.5), came(1, 0.5, symbol="T"), came(1, 0.5, span=0)])
def test_a_correction_of_nothing_is_refused(tmp_path, outcome):
    write(tmp_path, [said(A, 1, 0.1), said(A, 2, 0.1), came(1, 0.5)])
    with (
        ShadowLog.open(tmp_path) as log,
        pytest.raises(UsageError, match="could be corrected"),
    ):
        log.correct(outcome)


def outcome_line(ts, symbol="S"):
    return (
        f'{{"k":"o","ts":{ts},"symbol":"{symbol}","t1":{ts + 1},"ret_frac":0.5,"label":1,'
        f'"horizon":"{HORIZON}"}}\n'
    )


@pytest.mark.parametrize("size", [1, 50_000])
@pytest.mark.parametrize(("ts", "symbol"), [(1, "S"), (3, "S"), (2, "T")])
def test_an_outcome_that_nothing_waits_for_is_reported_with_its_line(tmp_path, size, ts, symbol):
    write(tmp_path, [said(A, 1, 0.1), came(1, 0.5), said(A, 2, 0.1)])
    with (tmp_path / FILE).open("a") as log:
        log.write(outcome_line(ts, symbol))
    with pytest.raises(LogDamaged, match=f"an outcome of {symbol} as of {ts}") as caught:
        rows(tmp_path, size)
    assert caught.value.line == 5


@pytest.mark.parametrize("size", [1, 50_000])
def test_an_outcome_that_stands_before_its_prediction_is_reported(tmp_path, size):
    write(tmp_path, [said(A, 1, 0.1), came(1, 0.5), said(A, 2, 0.1)])
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join((lines[0], lines[2], lines[1], lines[3])))
    with pytest.raises(LogDamaged, match="no prediction before it") as caught:
        rows(tmp_path, size)
    assert caught.value.line == 2


def test_memory_holds_what_is_open_and_no_more(tmp_path):
    """Each chunk is joined against the few predictions that wait, not against all before it."""
    records = []
    for ts in range(1, 301):
        records.append(said(A, ts, 0.5))
        if ts > 3:
            records.append(came(ts - 3, 0.1, span=3))
    write(tmp_path, records)
    parts = [one for one in joined(tmp_path, 20) if isinstance(one, Joined)]
    assert max(len(one.score) for one in parts) <= 13
    assert sum(len(one.score) for one in parts) == 300
    assert [int(one.ts_ns[-1]) for one in parts[-2:]] == [297, 300]


def test_a_log_without_predictions_joins_to_nothing(tmp_path):
    write(tmp_path, [])
    assert rows(tmp_path) == []
