"""Labels by hand: fixed horizon, next session, triple barrier; over columns and bar by bar."""

from decimal import Decimal

import numpy as np
import pytest

from mqd.core.bar import SymbolBars, bar_row
from mqd.errors import UsageError
from mqd.ml.features.labels import (
    FixedHorizon,
    NextSession,
    TripleBarrier,
    label_from_spec,
    label_hash,
    label_spec,
)


def bars_of(rows, *, to_close=None, session=None):
    """Return bars of (open, high, low, close) rows, a minute each."""
    n = len(rows)
    columns = [np.array(column, dtype=float) for column in zip(*rows, strict=True)]
    stamps = np.arange(1, n + 1, dtype=np.int64) * 60
    floats = np.zeros(n)
    return SymbolBars(
        "A", Decimal("0.01"), Decimal(1), stamps - 60, stamps, *columns, np.ones(n),
        np.array(session if session is not None else [1] * n, dtype=np.int64), floats, floats,
        np.array(to_close if to_close is not None else [1.0] * n),
    )  # fmt: skip


def flat(*closes):
    return [(close, close, close, close) for close in closes]


def told(label, bars):
    """Return (row, touch, class, return) a label, after the online twin gave the same bits."""
    table, watch = label.of(bars), label.watch()
    online = sorted(
        (one for row in range(len(bars)) for one in watch.put(bar_row(bars, row))),
        key=lambda one: one.t0,
    )
    if isinstance(label, TripleBarrier):  # columns leave out rows whose time is not over
        online = [one for one in online if one.t0 in bars.ts_close[: len(bars) - label.bars]]
    assert [one.t0 for one in online] == table.t0.tolist()
    assert [one.t1 for one in online] == table.t1.tolist()
    assert np.array([one.ret_frac for one in online]).tobytes() == table.ret_frac.tobytes()
    assert [one.label for one in online] == table.label.tolist()
    return list(
        zip(table.rows.tolist(), table.touch.tolist(), table.label.tolist(),
            table.ret_frac.round(10).tolist(), strict=True)
    )  # fmt: skip


def test_fixed_horizon():
    bars = bars_of(flat(100, 110, 99, 121))
    assert told(FixedHorizon(2), bars) == [(0, 2, 0, -0.01), (1, 3, 1, 0.1)]
    assert told(FixedHorizon(1, threshold_frac=0.1), bars) == [
        (0, 1, 1, 0.1),
        (1, 2, 0, -0.1),
        (2, 3, 1, round(121 / 99 - 1, 10)),
    ]  # 110 / 100 - 1 is a little above 0.1 in binary
    assert told(FixedHorizon(4), bars) == []


def test_next_session_ends_with_no_minute_left_or_when_a_later_one_begins():
    closes = flat(100, 102, 101, 104, 106, 90)
    bars = bars_of(closes, session=[1, 1, 2, 2, 3, 4], to_close=[9, 0, 9, 4, 9, 9])
    # session 2 has no bar at its close: it is over when session 3 begins; 4 is still open
    assert told(NextSession(), bars) == [
        (0, 3, 1, 0.04), (1, 3, 1, round(104 / 102 - 1, 10)),
        (2, 4, 1, round(106 / 101 - 1, 10)), (3, 4, 1, round(106 / 104 - 1, 10)),
    ]  # fmt: skip
    closed = bars_of(closes[:4], session=[1, 1, 2, 2], to_close=[9, 0, 9, 0])
    assert [one[0] for one in told(NextSession(), closed)] == [0, 1]


@pytest.mark.parametrize(("then", "wanted"), [
    ([(100, 105, 96, 104), (104, 111, 103, 108)], (2, 1, 0.10)),     # the upper barrier
    ([(100, 105, 94, 104), (104, 111, 103, 108)], (1, -1, -0.05)),   # the lower one first
    ([(100, 111, 94, 104), (104, 105, 103, 104)], (1, -1, -0.05)),   # both in one bar: the lower
    ([(113, 114, 112, 113), (113, 114, 112, 113)], (1, 1, 0.13)),    # opens beyond: at the open
    ([(90, 91, 89, 90), (90, 91, 89, 90)], (1, -1, -0.10)),
    ([(100, 105, 96, 104), (104, 105, 96, 103)], (2, 0, 0.03)),      # neither: at the last close
])  # fmt: skip
def test_triple_barrier_of_plain_fractions(then, wanted):
    bars = bars_of([(100, 100, 100, 100), *then])
    found = told(TripleBarrier(2, up=0.10, down=0.05, vol_bars=0), bars)
    assert (found[0][1], found[0][2], found[0][3]) == wanted


def test_rows_whose_time_is_not_over_have_no_label_though_a_barrier_was_touched():
    """Closes 100, 100, 120, 100: the upper barrier at +10 % is touched from rows 0 and 1 at row 2.
    Row 1 has not had its three bars, and rows that touch nothing would be missing beside it."""
    label = TripleBarrier(3, up=0.10, down=0.50, vol_bars=0)
    bars = bars_of(flat(100, 100, 120, 100))
    assert told(label, bars) == [(0, 2, 1, 0.20)]  # at the open, which lies beyond
    watch = label.watch()
    assert [one.t0 for at in range(4) for one in watch.put(bar_row(bars, at))] == [
        int(bars.ts_close[0]), int(bars.ts_close[1])
    ]  # fmt: skip


def test_a_touch_of_a_barrier_counts():
    bars = bars_of([(100, 100, 100, 100), (100, 125, 96, 104)])
    assert told(TripleBarrier(1, up=0.25, down=0.25, vol_bars=0), bars) == [(0, 1, 1, 0.25)]


def test_triple_barrier_by_volatility():
    bars = bars_of(flat(100, 110, 100, 110, 110, 110, 110))
    vol = np.log(1.1)  # of (+, -): the population deviation of two returns of that size
    found = told(TripleBarrier(1, up=0.5, down=0.5, vol_bars=2), bars)
    assert found[0][0] == 2
    assert found[0][2] == 1
    assert found[0][3] == round(max(110 / 100, 1 + 0.5 * vol) - 1, 10)
    assert [one[0] for one in found] == [2, 3, 4]  # from there on volatility is 0: no barriers


def test_a_label_comes_back_from_its_specification():
    for label in (FixedHorizon(5, 0.01), NextSession(), TripleBarrier(10, 2.0, 1.0)):
        assert label_from_spec(label_spec(label)) == label
    hashes = {label_hash(FixedHorizon(n)) for n in (1, 2, 3)} | {label_hash(NextSession())}
    assert len(hashes) == 4


@pytest.mark.parametrize(("make", "said"), [
    (lambda: FixedHorizon(0), "at least 1"), (lambda: FixedHorizon(1.5), "whole number"),
    (lambda: FixedHorizon(True), "whole number"), (lambda: FixedHorizon(1, float("nan")), "finite"),
    (lambda: TripleBarrier(5, 0.0, 1.0), "above 0"), (lambda: TripleBarrier(5, 1.0, 1.0, 1), "2"),
    (lambda: label_from_spec({"kind": "fixed_horizn"}), "Did you mean 'fixed_horizon'"),
    (lambda: label_from_spec({"kind": "fixed_horizon", "days": 3}), "cannot be made"),
])  # fmt: skip
def test_a_label_that_is_none_is_a_sentence(make, said):
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize("label", [FixedHorizon(1), NextSession(), TripleBarrier(1, 1.0, 1.0)])
def test_an_outcome_before_its_prediction_is_refused(label):
    bars, watch = bars_of(flat(1, 2, 3)), label.watch()
    watch.put(bar_row(bars, 1))
    with pytest.raises(UsageError, match="before its prediction"):
        watch.put(bar_row(bars, 0))
