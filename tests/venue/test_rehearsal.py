"""``rehearse`` over the venue's process: equal to the replay, whole under faults, killable."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

import mqd
from mqd.core.clock import WallClock
from mqd.errors import UsageError
from mqd.live.rehearsal import DataSpec, Pace, rehearse
from mqd.log_reader import read
from mqd.positions.store import PositionStore
from mqd.risk.kill_switch import KillSwitch
from mqd.strategy.loading import resolve
from tests.parity.test_stepwise_desk import DATASETS, Exits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*websockets.*:DeprecationWarning"),
]
MINUTES = DATASETS / "equity_minute.parquet"
DAILY = DATASETS / "us_equity_daily_raw.parquet"


def minutes(end="2022-05-19"):
    return DataSpec(MINUTES, {"symbols": ["MSFT"], "start": "2022-05-19", "end": end})


def assert_nothing_lost(done):
    assert done.breaks == ()
    assert (done.duplicates, done.lost_fills) == (0, 0)
    assert done.clean


@pytest.mark.parametrize(
    ("strategy", "data", "words", "least"),
    [
        (resolve("sma_cross")(fast=3, slow=8), minutes(), {}, 40),
        (Exits(), minutes(), {"costs": mqd.Costs(fee_bps=1, slippage_bps=2)}, 100),
        (
            resolve("sma_cross")(fast=5, slow=15),
            DataSpec(
                DAILY, {"symbols": ["AAPL", "IBM"], "start": "2000-01-01", "end": "2002-12-31"}
            ),
            {},
            20,
        ),
    ],
    ids=["sma", "exits and fees", "daily with dividends"],
)
def test_orders_and_fills_equal_the_replays(strategy, data, words, least, tmp_path):
    done = rehearse(strategy, data, out=tmp_path / "run", **words)
    assert done.differences == ()
    assert done.equal is True
    assert len(done.fills) >= least
    assert_nothing_lost(done)
    assert done.causes == {"equal": len(done.orders)}


def test_the_run_folder_holds_a_log_that_rebuilds_its_store(tmp_path):
    run = tmp_path / "run"
    done = rehearse(resolve("sma_cross")(fast=3, slow=8), minutes(), out=run, replay=False)
    kinds = [record.kind for record in read(run)]
    assert kinds.count("fill") == len(done.fills)
    assert kinds.count("intent") == len(done.orders)
    kept, rebuilt = PositionStore(run / "store.sqlite"), PositionStore.rebuild(run)
    with closing(kept), closing(rebuilt):
        assert rebuilt.compare(kept) == []
    assert done.equal is None


def test_every_fault_leaves_nothing_lost_and_nothing_twice(tmp_path):
    strategy = resolve("sma_cross")(fast=3, slow=8)
    done = rehearse(
        strategy, minutes("2022-05-20"), out=tmp_path / "run", faults="all", seed=7, replay=False
    )
    assert len(done.fills) > 20
    assert_nothing_lost(done)


def test_a_venue_that_runs_by_itself(tmp_path):
    done = rehearse(
        resolve("sma_cross")(fast=3, slow=8), minutes(), out=tmp_path / "run", pace=Pace(1200.0)
    )
    assert_nothing_lost(done)
    assert len(done.fills) > 10
    assert sum(done.causes.values()) >= len(done.orders)


def test_the_kill_switch_ends_it_and_leaves_nothing_open(tmp_path):
    run, found = tmp_path / "run", []
    strategy = resolve("sma_cross")(fast=3, slow=8)

    def work():
        found.append(rehearse(strategy, minutes(), out=run, pace=Pace(300.0), replay=False))

    thread = threading.Thread(target=work)
    thread.start()
    switch_at = run / "latches"
    waiting = threading.Event()
    for _ in range(600):
        if switch_at.exists() and any(record.kind == "fill" for record in _records(run)):
            break
        waiting.wait(0.05)
    KillSwitch(switch_at).trip("the test says so", WallClock().now_ns())
    thread.join(60)
    assert found, "the rehearsal did not end"
    assert found[0].killed
    assert_nothing_lost(found[0])
    kinds = [record.kind for record in read(run)]
    assert "kill" in kinds
    assert "intent" not in kinds[kinds.index("kill") :]
    assert not set(found[0].orders["status"]) & {"accepted", "partially_filled", "submitted"}


def _records(run: Path):
    return list(read(run)) if any((run / "log").glob("*.ndjson")) else []


@pytest.mark.parametrize(
    ("strategy", "data", "words", "says"),
    [
        (Exits(trailing_stop_frac=0.01), minutes(), {}, "trailing stop"),
        (Exits(), minutes(), {"account": "cash"}, "margin account"),
        (
            Exits(),
            DataSpec(DAILY, {"symbols": ["AAPL"], "adjust": "none"}),
            {},
            "adjust='split'",
        ),
    ],
)
def test_what_the_venue_cannot_hold_is_refused_before_it_starts(
    strategy, data, words, says, tmp_path
):
    with pytest.raises(UsageError, match=says):
        rehearse(strategy, data, out=tmp_path / "run", **words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["fast", "0x", "-1x", "1e9x", "60", ""])
def test_a_speed_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--speed"):
        Pace.of(text)


def test_speeds():
    assert Pace.of("max") == Pace()
    assert Pace.of("60x") == Pace(60.0)
