"""A market that runs share is written by none of them."""

import pytest

import mqd
from mqd.kernel.market import market_of
from mqd.kernel.settings import settings_of
from tests.unit.sweeps.sweep_support import Cross, small_bars

SHARED = ("ts_close", "tape", "closes", "steps", "rows", "actions", "books", "account")


def market(bars):
    return market_of(bars, settings_of(bars), "Cross")


def test_a_kept_market_cannot_be_written():
    bars = small_bars()
    one = market(bars)
    assert market(bars) is one
    for name in SHARED:
        shared = getattr(one, name)
        assert not shared.flags.writeable, name
        if len(shared):
            with pytest.raises(ValueError, match="read-only"):
                shared[0] = shared[0]
        assert shared.copy().flags.writeable


@pytest.mark.parametrize("symbols", [("AAA",), ("AAA", "BBB")])
def test_runs_over_one_market_leave_it_as_it_was(symbols):
    bars = small_bars(symbols)
    before = market(bars)
    kept = {name: getattr(before, name).tobytes() for name in SHARED}
    first, again = (mqd.backtest(Cross(), bars, engine="compiled") for _ in range(2))
    assert market(bars) is before
    assert len(first.fills)
    assert first.equity.equals(again.equity)
    assert {name: getattr(before, name).tobytes() for name in SHARED} == kept
