"""Evidence that is read daily: whatever comes late, what was read once stays as it was."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY
from mqd.ml.evaluation.settled import log_clock, patience_ns, settled

WAIT_NS = patience_ns({"kind": "fixed_horizon", "bars": 2})
ITEMS = st.lists(
    st.tuples(
        st.integers(0, 60),  # the day of the prediction
        st.integers(0, 2),  # its symbol
        st.integers(1, 30),  # days that its label spans
        st.sampled_from([0, 0, 0, 0, 3, 50, 90, 10_000]),  # days that its line comes late: a gap
    ),
    max_size=40, unique_by=lambda one: one[:2],
)  # fmt: skip


def read(items, day):
    """Return the days and symbols that count as of a day, in order; items in order of lines."""
    known = [one for one in items if one[0] + one[2] + one[3] <= day]
    waiting = [one for one in items if one[0] <= day < one[0] + one[2] + one[3]]
    ends = np.array([one[0] + one[2] for one in known], dtype=np.int64) * NS_PER_DAY
    clock = log_clock(ends)
    t0, awaited = (
        np.array([one[0] for one in part], dtype=np.int64) * NS_PER_DAY for part in (known, waiting)
    )
    now_ns = int(clock[-1]) if len(clock) else -1
    counts = settled(t0, clock, awaited, now_ns, WAIT_NS)
    return sorted(one[:2] for one, kept in zip(known, counts.tolist(), strict=True) if kept)


@given(ITEMS)
def test_what_was_read_stays_and_only_grows(items):
    lines = sorted(items, key=lambda one: one[0] + one[2] + one[3])
    before = []
    for day in range(0, 260, 7):
        now = read(lines, day)
        assert now[: len(before)] == before
        before = now


@given(ITEMS)
def test_all_counts_when_all_has_come_in_time(items):
    lines = sorted(
        ((day, symbol, span, 0) for day, symbol, span, _ in items), key=lambda one: one[0] + one[2]
    )
    assert read(lines, 10_000) == sorted(one[:2] for one in lines)


def test_one_that_never_comes_is_given_up_and_holds_nothing_up():
    """Predictions of days 0 to 99, a day each; that of day 10 never matures. Its label has two
    bars: 30 + 2 x 4 = 38 days are waited, so that at a clock of 48 days it still is."""
    items = [(day, 0, 1, 10_000 if day == 10 else 0) for day in range(100)]
    lines = sorted(items, key=lambda one: one[0] + one[2] + one[3])
    assert read(lines, 48) == [(day, 0) for day in range(10)]
    assert read(lines, 49) == [(day, 0) for day in range(49) if day != 10]
