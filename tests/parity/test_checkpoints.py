"""Reading a checkpoint and what follows comes to what reading the whole log comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mqd
from mqd.core.clock import iso
from mqd.live.checkpoints import FOLDER, KIND, Checkpoints
from mqd.live.desk_memory import memory_of, row_of
from mqd.live.errors import DeskRefused
from mqd.live.recovery import Recovery
from mqd.log_files import SEGMENT_OPEN
from mqd.log_reader import read
from mqd.transaction_log import TransactionLog, new_run_folder
from tests.parity.stepwise import build_stepwise
from tests.parity.test_carry_over import SIZES, THIN, driven, limits
from tests.parity.test_stepwise_desk import DATASETS, Armed, Exits

ENVELOPE = ("segment.open", "segment.close")
WORDS = {"run_id": "stepwise", "mode": "rehearsal"}


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-24"
    )


class Written:
    """A log of 800 minutes, its records as text, and how a desk for it is built."""

    def __init__(self, minutes, folder, words):
        self.minutes, self.words, self.folder = minutes, words, folder
        self.until_ns = driven(minutes, folder / "run", 800, words).growing.ts_close[-1]
        self.records = [one for one in read(folder / "run") if one.kind not in ENVELOPE]

    def desk(self, log=None):
        """Return a desk that has just been built, its history known, its log ``log``."""
        built = build_stepwise(Exits(), self.minutes, limits=limits(self.folder), **self.words)
        built.growing.preload(self.minutes.between(None, iso(self.until_ns)))
        if log is not None:
            built.desk.parts.journal.log = log
        return built

    def begin(self, folder):
        new_run_folder(folder)
        return TransactionLog.create(folder, WORDS, durable=False)

    def add(self, log, start, stop):
        for one in self.records[start:stop]:
            log.append(one.kind, one.ts_ns, one.payload)

    def restart(self, folder, tail_min):
        """Restart on a folder's log; return the desk and what was recovered."""
        log = TransactionLog.resume(folder, WORDS, durable=False)
        built = self.desk(log)
        found = Checkpoints(folder, tail_min=tail_min).recover(
            built.desk, built.growing, built.desk.parts.journal
        )
        return built, found, log

    def whole(self, folder):
        """Return a desk rebuilt from all of a folder's log."""
        built = self.desk()
        return built, Recovery(built.desk, built.growing).take(read(folder))


@pytest.fixture(scope="module", params=[SIZES, THIN], ids=["sizes", "thin"])
def written(minutes, tmp_path_factory, request):
    return Written(minutes, tmp_path_factory.mktemp("written"), request.param)


def known(built):
    """Return all that a desk knows, as JSON would hold it."""
    parts = built.desk.parts
    orders = [row_of(state) for state in parts.machine.states()]
    memory = memory_of(built.desk, built.growing)
    blotter = [s.order.client_order_id for s in parts.blotter.open_orders()]
    ids = sorted(parts.risk._history._ids)
    working = [s.order.client_order_id for s in parts.machine.working()]
    guards = [sorted(guard.ids) for guard in parts.protection._guards.values()]
    said = [trader.runner._standing for trader in built.desk.traders]
    return json.loads(json.dumps([orders, memory, blotter, ids, working, guards, said]))


def same(one, two):
    (first, found_one), (second, found_two) = one, two
    assert known(first) == known(second)
    for name in ("n_charges", "charges", "since_ns", "last_ns", "open_orders"):
        assert getattr(found_one, name) == getattr(found_two, name), name


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), min_size=2, max_size=4))
def test_any_restarts_in_between_change_nothing(written, cuts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuts") / "run"
    log, before = written.begin(folder), 0
    for number, cut in enumerate(sorted(at % (len(written.records) + 1) for at in cuts), 1):
        written.add(log, before, cut)
        log.close("stopped")
        built, found, log = written.restart(folder, tail_min=0)
        same((built, found), written.whole(folder))
        assert len(list((folder / FOLDER).iterdir())) == number
        before = cut
    log.close("stopped")


def test_at_every_record_around_a_protective_exit(written, tmp_path):
    exits = {
        one.payload["id"]
        for one in written.records
        if one.kind == "intent" and one.payload["reason"] == "take_profit"
    }
    filled = [
        at
        for at, one in enumerate(written.records)
        if one.kind == "fill" and one.payload["id"] in exits
    ]
    assert filled
    for at in (filled[0] - 1, filled[0], filled[0] + 1, filled[0] + 2):
        folder = tmp_path / str(at)
        log = written.begin(folder)
        written.add(log, 0, at)
        log.close("stopped")
        for _ in range(2):  # the second one reads the checkpoint alone
            built, found, log = written.restart(folder, tail_min=0)
            log.close("stopped")
            same((built, found), written.whole(folder))


def test_only_what_follows_the_last_one_is_read(written, tmp_path):
    folder = tmp_path / "run"
    log = written.begin(folder)
    written.add(log, 0, None)
    log.close("stopped")
    first, found, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    second, again, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    same((first, found), (second, again))
    assert len(first.desk.parts.hearing.fills) > 20
    assert not second.desk.parts.hearing.fills  # none was read again
    kinds = [one.kind for one in read(folder)]
    assert kinds.count(KIND) == 2  # the second start found a record more
    sizes = [len(file.read_bytes().splitlines()) for file in sorted((folder / FOLDER).iterdir())]
    assert sizes[0] > 20
    assert sizes[1] == 1  # no order had changed


def damaged(name, data):
    match name:
        case "a byte":
            return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        case "cut":
            return data[: len(data) // 2]
        case "empty":
            return b""
        case "another schema":
            return data.replace(b'"schema":"1.0"', b'"schema":"2.0"', 1)
    raise AssertionError(name)


@pytest.mark.parametrize("number", ["000001", "000002"])
@pytest.mark.parametrize("how", ["a byte", "cut", "empty", "another schema", "gone"])
def test_a_file_that_was_changed_is_passed_over(written, tmp_path, how, number):
    folder = tmp_path / "run"
    log = written.begin(folder)
    half = len(written.records) // 2
    written.add(log, 0, half)
    log.close("stopped")
    _, _, log = written.restart(folder, tail_min=1)
    written.add(log, half, None)
    log.close("stopped")
    _, _, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    path = folder / FOLDER / f"{number}.ndjson"
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged(how, path.read_bytes()))
    built, found, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    same((built, found), written.whole(folder))
    heard = len(built.desk.parts.hearing.fills)
    assert heard  # something was read again
    again, _, log = written.restart(folder, tail_min=10**9)
    log.close("stopped")
    assert not again.desk.parts.hearing.fills  # what was passed over was written anew


def test_a_file_that_the_log_does_not_vouch_for_is_passed_over(written, tmp_path):
    folder = tmp_path / "run"
    log = written.begin(folder)
    written.add(log, 0, None)
    log.close("stopped")
    built, _, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    path = folder / FOLDER / "000001.ndjson"
    header, _, rows = path.read_bytes().partition(b"\n")
    cash = built.desk.parts.valuation.ledger.cash
    path.write_bytes(header.replace(b'"cash":%d' % cash, b'"cash":%d' % (cash + 1)) + b"\n" + rows)
    assert b'"cash":%d' % (cash + 1) in path.read_bytes()
    again, _, log = written.restart(folder, tail_min=10**9)
    log.close("stopped")
    assert again.desk.parts.valuation.ledger.cash == cash


def test_limits_that_do_not_bind_are_kept_too(written, minutes, tmp_path):
    folder = tmp_path / "run"
    log = written.begin(folder)
    written.add(log, 0, None)
    log.close("stopped")
    left = []
    for _ in range(2):
        log = TransactionLog.resume(folder, WORDS, durable=False)
        built = build_stepwise(Exits(), minutes, **written.words)
        built.growing.preload(minutes.between(None, iso(written.until_ns)))
        built.desk.parts.journal.log = log
        Checkpoints(folder, tail_min=1).recover(built.desk, built.growing, built.desk.parts.journal)
        log.close("stopped")
        left.append(built.desk.parts.risk._history._bucket.tokens(written.until_ns))
    assert left == [float("inf")] * 2


def test_another_ground_reads_the_whole_log(written, minutes, tmp_path):
    folder = tmp_path / "run"
    log = written.begin(folder)
    written.add(log, 0, None)
    log.close("stopped")
    _, _, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    file = Path(folder / FOLDER / "000001.ndjson")
    assert file.exists()
    log = TransactionLog.resume(folder, WORDS, durable=False)
    built = build_stepwise(Armed(), minutes, limits=limits(written.folder), **written.words)
    built.growing.preload(minutes.between(None, iso(written.until_ns)))
    built.desk.parts.journal.log = log
    with pytest.raises(DeskRefused, match="the log is of the strategy Exits"):
        Checkpoints(folder).recover(built.desk, built.growing, built.desk.parts.journal)
    log.close("stopped")


def test_a_checkpoint_that_cannot_be_written_is_left_out(written, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    log = written.begin(folder)
    written.add(log, 0, None)
    log.close("stopped")

    def full(*_words, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mqd.live.checkpoints.write_atomically", full)
    built, found, log = written.restart(folder, tail_min=1)
    log.close("stopped")
    same((built, found), written.whole(folder))
    kinds = [one.kind for one in read(folder)]
    assert KIND not in kinds
    assert kinds.count(SEGMENT_OPEN) == 2
