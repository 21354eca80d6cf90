"""Labels: the online twin has the bits of the columns, and more bars change no label that is."""

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.bar import SymbolBars, bar_row
from mqd.ml.features.labels import FixedHorizon, NextSession, TripleBarrier
from mqd.ml.features.weights import concurrency, embargo_ns, uniqueness

LABELS = st.one_of(
    st.builds(FixedHorizon, st.integers(1, 12), st.sampled_from([0.0, 0.001])),
    st.builds(NextSession),
    st.builds(
        TripleBarrier, st.integers(1, 12), st.floats(0.3, 3), st.floats(0.3, 3),
        st.sampled_from([0, 2, 5]),
    ),
)  # fmt: skip


@st.composite
def symbol_bars(draw):
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 120))
    close = np.round(30 * np.exp(np.cumsum(dice.normal(0, 0.01, n))), 2)
    open_ = np.round(close * np.exp(dice.normal(0, 0.005, n)), 2)
    high = np.maximum(open_, close) + np.round(dice.random(n) / 5, 2)
    low = np.minimum(open_, close) - np.round(dice.random(n) / 5, 2)
    minute = np.cumsum(dice.integers(1, 3, n))
    session = (minute // 20).astype(np.int64)
    stamps = minute.astype(np.int64) * 60
    left = 19.0 - minute % 20
    return SymbolBars("A", Decimal("0.01"), Decimal(1), stamps - 60, stamps, open_, high, low,
                      close, np.ones(n), session, left, left, left)  # fmt: skip


def watched(label, bars):
    watch = label.watch()
    return [one for row in range(len(bars)) for one in watch.put(bar_row(bars, row))]


def cut(bars, n):
    columns = [
        getattr(bars, name)[:n]
        for name in ("ts_open", "ts_close", "open", "high", "low", "close", "volume", "session",
                     "session_index", "minutes_from_open", "minutes_to_close")
    ]  # fmt: skip
    return SymbolBars("A", bars.tick, bars.lot, *columns)


@given(symbol_bars(), LABELS)
def test_the_online_twin_has_the_same_bits(bars, label):
    table, online = label.of(bars), sorted(watched(label, bars), key=lambda one: one.t0)
    if isinstance(label, TripleBarrier):  # columns leave out rows whose time is not over
        over = {int(ts) for ts in bars.ts_close[: max(len(bars) - label.bars, 0)]}
        online = [one for one in online if one.t0 in over]
    assert [one.t0 for one in online] == table.t0.tolist()
    assert [one.t1 for one in online] == table.t1.tolist()
    assert [one.label for one in online] == table.label.tolist()
    assert np.array([one.ret_frac for one in online]).tobytes() == table.ret_frac.tobytes()


@given(symbol_bars(), LABELS, st.data())
def test_more_bars_change_no_label_that_is_known(bars, label, data):
    n = data.draw(st.integers(1, len(bars)))
    whole, part = label.of(bars), label.of(cut(bars, n))
    known = np.isin(whole.rows, part.rows)
    assert whole.rows[known].tolist() == part.rows.tolist()
    assert whole.ret_frac[known].tobytes() == part.ret_frac.tobytes()
    assert (part.t1 > part.t0).all()
    assert (part.touch > part.rows).all()


@given(symbol_bars(), LABELS)
def test_uniqueness_is_a_share_and_concurrency_counts_spans(bars, label):
    table = label.of(bars)
    counted = np.zeros(len(bars), dtype=np.int64)
    for first, last in zip(table.rows, table.touch, strict=True):
        counted[first + 1 : last + 1] += 1
    assert concurrency(table, len(bars)).tolist() == counted.tolist()
    weights = uniqueness(table, len(bars))
    assert ((weights > 0) & (weights <= 1 + 1e-12)).all()
    spans = zip(table.rows, table.touch, strict=True)
    slow = [np.mean(1 / counted[first + 1 : last + 1]) for first, last in spans]
    np.testing.assert_allclose(weights, slow)
    assert embargo_ns(table) == int((table.t1 - table.t0).max(initial=0))
