"""The state folder: one process, private, bound to an account; a full disk gives room back."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mqd.core.clock import WallClock
from mqd.errors import LogWriteFailed, RunFolderUnusable, StateFolderTaken
from mqd.live.errors import StateFolderUnsafe
from mqd.live.folder import (
    FREE_BYTES_MIN,
    RESERVE_BYTES,
    ReserveCalls,
    StateFolder,
    account_sha256,
)
from mqd.live.status import read_heartbeat, read_latches
from mqd.log_files import SystemCalls
from mqd.log_reader import read
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.transaction_log import Tier, TransactionLog

ACCOUNT = account_sha256("904837e3-3b76-47ec-b432-046db621571b")


def opened(path, **words):
    """Open a folder of the test account."""
    return StateFolder.open(path, **({"account": ACCOUNT, "mode": "paper"} | words))


def test_the_hash_is_that_of_sha256sum():
    # printf %s abc | sha256sum
    assert account_sha256(" abc\n") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_new_folder_is_ours_alone(tmp_path):
    with opened(tmp_path / "a/state") as held:
        assert held.path.stat().st_mode & 0o777 == 0o700
        assert (held.path / "latches").stat().st_mode & 0o777 == 0o700
        assert not held.has_log
        for name in ("account.json", "reserve"):
            assert (held.path / name).stat().st_mode & 0o777 == 0o600, name
        said = json.loads((held.path / "account.json").read_text())
    assert said == {"account_sha256": ACCOUNT, "mode": "paper"}


def test_a_second_holder_is_refused_until_the_first_is_gone(tmp_path):
    with opened(tmp_path / "state"), pytest.raises(StateFolderTaken) as caught:
        opened(tmp_path / "state")
    assert caught.value.exit_code == 3
    opened(tmp_path / "state").close()


def test_a_second_process_exits_with_3(tmp_path):
    code = (
        "import sys; from mqd.cli.main import explain; from mqd.live.folder import StateFolder\n"
        f"try: StateFolder.open({str(tmp_path / 'state')!r}, account={ACCOUNT!r}, mode='paper')\n"
        "except Exception as error: print(explain(error)[0]); sys.exit(explain(error)[1])"
    )
    with opened(tmp_path / "state"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert done.returncode == 3, done.stderr
    assert "Another process holds" in done.stdout


def test_the_lock_dies_with_a_killed_process(tmp_path):
    code = (
        "import sys; from mqd.live.folder import StateFolder\n"
        f"StateFolder.open({str(tmp_path / 'state')!r}, account={ACCOUNT!r}, mode='paper')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StateFolderTaken):
            opened(tmp_path / "state")
        process.kill()
    opened(tmp_path / "state").close()


def test_the_log_has_its_place_beside_the_lock(tmp_path):
    with opened(tmp_path / "state") as held:
        log = TransactionLog.create(held.path, {"mode": "paper"}, durable=True)
        log.append("run.start", 1, {}, Tier.D0)
        log.close("stopped")
        assert held.has_log
    with opened(tmp_path / "state") as held:
        TransactionLog.resume(held.path, {"mode": "paper"}, durable=True).close("stopped")
        assert [record.kind for record in read(held.path)].count("segment.open") == 2


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777, 0o740])
def test_a_folder_that_others_may_enter_is_refused(tmp_path, mode):
    opened(tmp_path / "state").close()
    (tmp_path / "state").chmod(mode)
    with pytest.raises(StateFolderUnsafe, match="chmod 700"):
        opened(tmp_path / "state")


def test_latches_that_others_may_change_are_refused(tmp_path):
    opened(tmp_path / "state").close()
    (tmp_path / "state/latches").chmod(0o777)
    with pytest.raises(StateFolderUnsafe, match="latches"):
        opened(tmp_path / "state")


def test_a_link_is_refused(tmp_path):
    opened(tmp_path / "real").close()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StateFolderUnsafe, match="symbolic link"):
        opened(tmp_path / "link")


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StateFolderUnsafe, match="no folder"):
        opened(tmp_path / "state")
    with pytest.raises(RunFolderUnusable):
        opened(tmp_path / "state/below")


def test_another_owner_is_refused(tmp_path, monkeypatch):
    opened(tmp_path / "state").close()
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StateFolderUnsafe, match="owner"):
        opened(tmp_path / "state")


@pytest.mark.parametrize("other", [{"account": account_sha256("other")}, {"mode": "live"}])
def test_each_account_and_mode_has_a_folder_of_its_own(tmp_path, other):
    opened(tmp_path / "state").close()
    with pytest.raises(StateFolderUnsafe, match="says another"):
        opened(tmp_path / "state", **other)
    opened(tmp_path / "state").close()  # the refusal gave the lock back


def test_a_damaged_account_file_is_refused(tmp_path):
    opened(tmp_path / "state").close()
    (tmp_path / "state/account.json").write_text("{")
    with pytest.raises(StateFolderUnsafe, match="no JSON"):
        opened(tmp_path / "state")


@pytest.mark.parametrize(
    ("free_bytes", "enough"), [(FREE_BYTES_MIN, True), (FREE_BYTES_MIN - 1, False), (0, False)]
)
def test_below_one_gibibyte_opening_stops(tmp_path, free_bytes, enough):
    with opened(tmp_path / "state", free_bytes=lambda _: free_bytes) as held:
        assert held.space().enough is enough
    assert FREE_BYTES_MIN == 1_073_741_824


def test_the_reserve_is_real_room_and_is_given_back_once(tmp_path):
    with opened(tmp_path / "state") as held:
        found = (held.path / "reserve").stat()
        assert found.st_size == RESERVE_BYTES
        assert found.st_blocks * 512 >= RESERVE_BYTES
        assert held.free_reserve()
        assert not held.free_reserve()
        assert held.fill_reserve()


def test_without_room_no_reserve_is_set_aside(tmp_path):
    with opened(tmp_path / "state", free_bytes=lambda _: RESERVE_BYTES) as held:
        assert not (held.path / "reserve").exists()


class FullDisk(SystemCalls):
    """A disk that takes ``room`` bytes more; what is freed is added."""

    def __init__(self, room):
        self.room = room
        self.write = self.take

    def take(self, fd, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self.room, len(data))
        self.room -= taken
        return os.write(fd, data[:taken])


@pytest.mark.parametrize("room", range(400, 1_300, 90))
def test_a_fill_on_a_full_disk_is_logged_on_the_reserve(tmp_path, room):
    (tmp_path / "run").mkdir()
    disk, reserve = FullDisk(room), [10_000]

    def free():
        disk.room += sum(reserve)
        return bool(reserve.clear() or disk.room)

    log = TransactionLog.create(tmp_path / "run", {}, durable=False, io=ReserveCalls(free, disk))
    _append_fills(log)
    log.close("done")
    assert [r.ts_ns for r in read(tmp_path / "run") if r.kind == "fill"] == list(range(10))


def _append_fills(log):
    for number in range(10):
        log.append("fill", number, {"id": f"order {number}", "pad": "x" * 100})


def test_when_the_reserve_is_used_up_the_log_says_so(tmp_path):
    (tmp_path / "run").mkdir()
    disk = FullDisk(800)
    log = TransactionLog.create(
        tmp_path / "run", {}, durable=False, io=ReserveCalls(lambda: False, disk)
    )
    with pytest.raises(LogWriteFailed, match="written"):
        _append_fills(log)
    log.close("done")


def test_another_error_of_the_disk_does_not_touch_the_reserve():
    class Broken(SystemCalls):
        def __init__(self):
            self.write = self.refuse

        def refuse(self, fd, data):
            raise OSError(errno.EIO, "Input/output error")

    freed = []
    with pytest.raises(OSError, match="Input/output"):
        ReserveCalls(lambda: bool(freed.append(1)), Broken()).write(1, b"x")
    assert freed == []


def test_the_heartbeat_tells_its_age(tmp_path):
    with opened(tmp_path / "state") as held:
        assert read_heartbeat(held.path, 0) is None
        held.beat(1_000, run_id="r1")
        beat = read_heartbeat(held.path, 60_000_001_001)
        assert (beat.age_ns, beat.alive) == (60_000_000_001, False)
        assert beat.said["run_id"] == "r1"
        assert beat.said["pid"] == os.getpid()
        held.beat(2_000)
        assert read_heartbeat(held.path, 60_000_002_000).alive
    assert not read_heartbeat(tmp_path / "state", 60_000_002_000).stopped


def test_a_desk_that_gives_its_folder_back_has_ended_and_its_counts_stay(tmp_path):
    held = opened(tmp_path / "state")
    held.beat(1_000, state="running", bars=7)
    held.beat(2_000, state="running", open_orders=1)
    assert read_heartbeat(held.path, 2_000).alive
    held.close()
    now = WallClock().now_ns()
    beat = read_heartbeat(held.path, now)
    assert (beat.alive, beat.stopped) == (False, True)
    assert 0 <= beat.age_ns < 60_000_000_000
    assert (beat.counted("bars"), beat.counted("open_orders")) == (7, 1)
    assert beat.counted("state") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"now_ns": "soon"}'])
def test_a_heartbeat_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "heartbeat.json").write_text(text)
    assert read_heartbeat(tmp_path, 0) is None


def test_latches_are_seen_by_others(tmp_path):
    with opened(tmp_path / "state") as held:
        assert read_latches(held.path) == ()
        KillSwitch(held.path / "latches").trip("drawdown", 7, LatchLevel.HALT)
        assert held.latches.level is LatchLevel.HALT
        KillSwitch(held.path / "latches").trip("by hand", 9)
        assert held.latches.tripped
        found = read_latches(held.path)
    assert found == ((LatchLevel.KILL, 9, "by hand"), (LatchLevel.HALT, 7, "drawdown"))


def test_a_latch_that_cannot_be_read_is_set(tmp_path):
    (tmp_path / "latches/kill.latch").mkdir(parents=True)
    found = read_latches(Path(tmp_path))
    assert [latch.level for latch in found] == [LatchLevel.KILL]
    assert "cannot be read" in found[0].reason
