"""Comparisons of a busy desk: what is older than its last order proves nothing, and is asked for
again, but not at once."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from mqd.core.clock import NS_PER_S
from mqd.live.chores import Reconciler
from mqd.live.watcher import VenueSnapshot


class World:
    """A reconciler whose comparisons a test decides, on a clock that it moves."""

    def __init__(self, monkeypatch):
        self.now, self.asked, self.snapshots = 100 * NS_PER_S, [], []
        self.compared, self.halted, self.written = [], [], []
        self.verdict = SimpleNamespace(ok=True, breaks=[], frozen_symbols=(), halt=False)
        latches = SimpleNamespace(trip=lambda why, _ns, _level: self.halted.append(why))
        self.broker = SimpleNamespace(
            charged=[], activities=list, account_book=SimpleNamespace(settled_quanta=0)
        )
        self.connector = SimpleNamespace(
            n_updates=0, take_activities=lambda entries: None, fill_activity=lambda entry: None
        )  # fmt: skip
        self.reconciler = Reconciler(
            self, self.connector, self.broker, SimpleNamespace(latches=latches), 1
        )
        self.reconciler._wall = SimpleNamespace(monotonic_ns=lambda: self.now)
        self.reconciler._reconciliation = SimpleNamespace(compare=self._compare)
        monkeypatch.setattr("mqd.live.chores.books_of", lambda _desk: None)
        self.engine = SimpleNamespace(n_sent=0, n_cancels=0)
        hearing = SimpleNamespace(fills=[], listen=lambda: None)
        journal = SimpleNamespace(write=lambda kind, words: self.written.append((kind, words)))
        clock = SimpleNamespace(now_ns=lambda: 1)
        self.desk = SimpleNamespace(
            parts=SimpleNamespace(
                engine=self.engine, hearing=hearing, journal=journal, clock=clock
            )
        )  # fmt: skip
        self.clock = SimpleNamespace(factor=1.0, skew_ns=0, tell=self._told)
        self.told, self.ages = [], []

    def _compare(self, _books, _fills):
        self.compared.append(self.now)
        return self.verdict

    def _told(self, venue_ns, *, age_ns, adopt=False):
        self.told.append((venue_ns, adopt))
        self.ages.append(age_ns)

    def ask_snapshot(self):
        self.asked.append(self.now)

    def take(self):
        found, self.snapshots = self.snapshots, []
        return found

    def turn(self, passed_s=0.1, *, tell=False):
        self.now += int(passed_s * NS_PER_S)
        if tell:
            account = SimpleNamespace(settled_quanta=0)
            self.snapshots = [VenueSnapshot(self.now, {}, [], account, [], 0, self.now)]
        self.reconciler(self)


@pytest.fixture
def world(monkeypatch):
    made = World(monkeypatch)
    made.turn()
    return made


def test_a_quiet_desk_is_compared_with_what_comes(world):
    world.turn(tell=True)
    assert len(world.compared) == 1
    assert world.asked == []
    assert world.reconciler.last_mono_ns == world.now


def test_a_snapshot_from_before_the_last_order_is_not_compared(world):
    world.engine.n_sent = 1
    asked_at = world.now
    account = SimpleNamespace(settled_quanta=0)
    world.snapshots = [VenueSnapshot(asked_at, {}, [], account, [], 0, world.now)]
    world.turn()
    assert world.compared == []


def test_a_busy_desk_asks_again_once_a_second_and_no_oftener(world):
    for _ in range(100):
        world.engine.n_sent += 1
        account = SimpleNamespace(settled_quanta=0)
        world.snapshots = [VenueSnapshot(world.now, {}, [], account, [], 0, world.now)]
        world.turn(0.1)
    assert world.compared == []
    gaps = [b - a for a, b in pairwise(world.asked)]
    assert 8 <= len(world.asked) <= 10
    assert min(gaps) >= NS_PER_S


def test_a_difference_counts_when_a_second_snapshot_shows_it(world):
    world.verdict = SimpleNamespace(ok=False, breaks=[], frozen_symbols={"MSFT"}, halt=True)
    world.turn(tell=True)
    assert (world.reconciler.frozen, world.halted) == (frozenset(), [])
    world.turn(1.1)
    assert len(world.asked) == 1
    world.turn(tell=True)
    assert world.reconciler.frozen == {"MSFT"}
    assert len(world.halted) == 1
    assert [kind for kind, _ in world.written] == ["reconcile"]
    world.turn(tell=True)
    assert len(world.written) == 1
    world.verdict = SimpleNamespace(ok=True, breaks=[], frozen_symbols=(), halt=False)
    world.turn(tell=True)
    assert world.reconciler.frozen == frozenset()


@pytest.mark.parametrize(
    ("behind_s", "factor", "adopts"),
    [(600, 1.0, True), (2.5, 1.0, True), (1.5, 1.0, False), (-600, 1.0, False), (90, 60.0, False)],
)
def test_a_clock_that_slept_goes_forward_to_the_venues(world, behind_s, factor, adopts):
    """Ten minutes of a closed lid: every bar would be decided on ten minutes late."""
    world.clock.skew_ns, world.clock.factor = int(behind_s * NS_PER_S), factor
    world.turn(tell=True)
    assert world.told == ([(0, False), (0, True)] if adopts else [(0, False)])
    assert [kind for kind, _ in world.written] == (["alert"] if adopts else [])


@pytest.mark.parametrize(
    ("behind_s", "took_s", "adopts"), [(3.0, 0.0, True), (3.0, 12.0, False), (9.0, 12.0, True)]
)
def test_a_slow_answer_moves_the_clock_only_by_what_it_proves(world, behind_s, took_s, adopts):
    """An answer of twelve seconds was said any time in them: six either way prove nothing."""
    world.clock.skew_ns = int(behind_s * NS_PER_S)
    account, told_ns = SimpleNamespace(settled_quanta=0), world.now
    world.snapshots = [
        VenueSnapshot(told_ns, {}, [], account, [], 7, told_ns, int(took_s * NS_PER_S))
    ]
    world.turn(0.5)
    assert world.told == ([(7, False), (7, True)] if adopts else [(7, False)])
    assert set(world.ages) == {int((0.5 + took_s / 2) * NS_PER_S)}
