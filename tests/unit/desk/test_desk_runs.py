"""Whole runs of the desk: skipped steps, determinism, books, attribution, the run folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal

import pandas as pd
import pytest

import mqd
from mqd.core.event import Topic
from mqd.event_bus import OrderEventBus
from mqd.log_reader import log_sha256
from mqd.positions.store import FILE_NAME, PositionStore
from tests.parity.twin_cases import Coded, Shares, bars_of
from tests.unit.desk.desk_cases import (
    Crosses,
    CrossesWatched,
    Patient,
    built,
    reconciled,
    two_waves,
    wave,
)

STRATEGIES = [Crosses(), CrossesWatched(), Patient(), Coded(seed=3), Shares(seed=5, calm=3)]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_skipping_quiet_steps_changes_no_byte(strategy: mqd.Strategy) -> None:
    """What is passed over can not have mattered: the log is the same."""
    bars = two_waves()
    hashes, fills = [], []
    for every in (False, True):
        desk, log = built(strategy, bars)
        desk.run(every=every)
        hashes.append(log.sha256)
        fills.append(desk.parts.hearing.fills)
    assert hashes[0] == hashes[1]
    assert fills[0] == fills[1]
    assert fills[0]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_books_agree_with_the_venue_and_sum_to_zero(strategy: mqd.Strategy) -> None:
    """Reconciliation is clean after every step, and so is the double entry."""
    desk, _ = built(strategy, two_waves(30))
    ok: list[bool] = []

    def after(step: int) -> None:
        ok.append(reconciled(desk).ok and desk.parts.valuation.ledger.imbalance() == 0)

    desk.run(after, every=True)
    assert len(ok) == 30
    assert all(ok)


def test_splits_and_dividends_keep_both_books_equal() -> None:
    """With unadjusted prices both sides restate the position."""
    actions = [("AAA", 9, "split", 2.0, None), ("AAA", 15, "dividend", None, 0.5)]
    rows = wave(30)
    halved = rows[:9] + [(r[0], *(round(x / 2, 2) for x in r[1:5]), r[5]) for r in rows[9:]]
    desk, _ = built(Crosses(), bars_of({"AAA": halved}, actions, adjust="none"))
    desk.run(every=True)
    assert desk.split_log
    assert desk.parts.valuation.ledger.dividends != 0
    assert reconciled(desk).ok
    assert desk.parts.valuation.ledger.imbalance() == 0


def test_a_position_that_is_only_read_changes_no_fill() -> None:
    """The rule swept in one call and the rule called bar by bar are one rule."""
    bars = two_waves()
    pure, watched = mqd.backtest(Crosses(), bars), mqd.backtest(CrossesWatched(), bars)
    columns = ["symbol", "side", "qty", "px", "fee_usd", "ts_fill"]
    pd.testing.assert_frame_equal(pure.fills[columns], watched.fills[columns])
    pd.testing.assert_frame_equal(pure.equity, watched.equity)


RUN = """
import random, sys
import mqd
from mqd.core.event import Topic
from mqd.event_bus import OrderEventBus
from tests.unit.desk.desk_cases import Crosses, Patient, two_waves

bus = OrderEventBus()
topics = [Topic.ORDER, Topic.FILL, Topic.REPORT, Topic.SIGNAL, Topic.BAR, Topic.RISK]
random.Random(int(sys.argv[1])).shuffle(topics)
for place, topic in enumerate(topics):
    bus.subscribe(topic, lambda event: hash(str(event.payload)), name=f"listener-{place}")
strategies = [(Crosses(), 0.5), (Patient(), 0.4)]
print(mqd.backtest(strategies, two_waves(), bus=bus).log_sha256)
"""


def test_hash_seed_process_and_listeners_do_not_matter() -> None:
    """The same inputs give the same log, whatever else differs."""
    found = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RUN, seed],
            capture_output=True, text=True, env=environment, check=True,
        )  # fmt: skip
        found.add(done.stdout.strip())
    strategies = [(Crosses(), 0.5), (Patient(), 0.4)]
    found.add(mqd.backtest(strategies, two_waves()).log_sha256)
    assert len(found) == 1


@pytest.mark.parametrize(("other", "crossed"), [(-0.6, False), (-1.0, True)])
def test_attribution_sums_to_the_account(other: float, crossed: bool) -> None:
    """Two strategies in opposite directions: their fills add up to the account's."""
    bars = two_waves()
    both = [(Crosses(bias=1.0), 0.5), (Crosses(bias=other), 0.5)]
    desk, _ = built(both, bars)
    desk.run()
    attribution, ledger = desk.parts.portfolio.attribution, desk.parts.valuation.ledger
    for symbol in bars.symbols:
        owned = sum(attribution.lots(name, symbol) for name in desk.parts.portfolio.strategies)
        assert owned == ledger.lots.get(symbol, 0)
    result = mqd.backtest(both, bars)
    signed = result.fills.qty.where(result.fills.side == "buy", -result.fills.qty)
    assert bool(desk.crossed) == crossed
    assert result.trades.strategy.nunique() == 2
    assert result.fills.strategy.nunique() == (0 if crossed else 2)
    for symbol in bars.symbols:
        total = signed[result.fills.symbol == symbol].sum()
        assert total == pytest.approx(result.positions[symbol].iloc[-1])


def test_the_run_folder_replays_to_the_same_store(tmp_path) -> None:
    """The store is a projection of the log, and the result names the log's hash."""
    folder = tmp_path / "run"
    result = mqd.backtest(Patient(), two_waves(), out=folder)
    kept = PositionStore(folder / FILE_NAME)
    (tmp_path / "again").mkdir()
    rebuilt = PositionStore.rebuild(folder, into=tmp_path / "again")
    rebuilt.check_balance()
    assert rebuilt.compare(kept) == []
    assert rebuilt.applied_seq == kept.applied_seq
    held = {symbol: row.qty for symbol, row in rebuilt.positions().items() if row.qty}
    ends = {s: Decimal(str(q)) for s, q in result.positions.iloc[-1].items() if q}
    assert held == ends
    assert log_sha256(folder) == result.log_sha256
    kept.close()
    rebuilt.close()
    assert mqd.backtest(Patient(), two_waves()).log_sha256 == result.log_sha256


def test_orders_of_a_close_fill_at_the_next_open_only() -> None:
    """Nothing fills at or before the close that decided it."""
    result = mqd.backtest(Crosses(), two_waves())
    decided = result.orders.set_index("id").decided
    lag = result.fills.ts_fill - result.fills.order_id.map(decided)
    assert (lag >= pd.Timedelta(0)).all()
    targets = result.fills.reason == "target"
    assert (lag[targets] > pd.Timedelta(hours=12)).any()


def test_the_log_says_who_decided_what(tmp_path) -> None:
    """Every decision, intent and fill stands in the log, in simulation time."""
    folder = tmp_path / "run"
    result = mqd.backtest(Crosses(), two_waves(20), out=folder)
    lines = [
        json.loads(line)
        for file in sorted((folder / "log").glob("*.ndjson"))
        for line in file.read_text().splitlines()
    ]
    kinds = [line["kind"] for line in lines]
    assert kinds.count("fill") == len(result.fills)
    assert kinds.count("intent") + kinds.count("denied") >= len(result.orders)
    assert kinds.index("decision") < kinds.index("intent") < kinds.index("fill")


def test_a_listener_that_fails_does_not_change_the_run() -> None:
    """Listeners are isolated: the desk goes on and the log is the same."""
    bus = OrderEventBus()

    def fails(event: object) -> None:
        raise ValueError("listener")

    bus.subscribe(Topic.FILL, fails, name="fails")
    heard = mqd.backtest(Crosses(), two_waves(20), bus=bus)
    assert heard.log_sha256 == mqd.backtest(Crosses(), two_waves(20)).log_sha256
