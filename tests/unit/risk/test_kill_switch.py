"""The latch: durable over kill and power loss, set when unreadable, reset only by a human."""

import errno

import pytest

from mqd.errors import UsageError
from mqd.risk import KillSwitch, LatchLevel
from mqd.risk.errors import LatchNotDurable
from mqd.testing import MemoryDisk

KILL = LatchLevel.KILL


def reset(switch, level=KILL, **terms):
    asked = {"reason": "checked", "account": "A1", "now_ns": 5, "n_open_orders": 0, **terms}
    switch.reset(level, **asked)


def test_a_latch_survives_a_restart(tmp_path):
    KillSwitch(tmp_path / "latches").trip("operator", 7)
    again = KillSwitch(tmp_path / "latches")
    assert again.tripped
    assert (tmp_path / "latches" / "kill.latch").read_text() == "7 operator\n"


def test_another_process_can_set_it(tmp_path):
    switch = KillSwitch(tmp_path)
    assert not switch.tripped
    KillSwitch(tmp_path).trip("from outside", 1)
    assert switch.tripped


def test_the_reason_that_another_process_wrote_is_told(tmp_path):
    ours, theirs = KillSwitch(tmp_path), KillSwitch(tmp_path)
    theirs.trip("fills that nobody ordered", 1_700_000_000_000_000_000)
    (tmp_path / "halt.latch").write_bytes(b"\xff")
    assert ours.level is LatchLevel.KILL
    assert ours.reasons == {
        LatchLevel.KILL: "fills that nobody ordered", LatchLevel.HALT: "set on disk",
    }  # fmt: skip


def test_a_latch_survives_power_loss():
    disk = MemoryDisk()
    KillSwitch("latches", io=disk).trip("operator", 1)
    disk.lose_power()
    assert KillSwitch("latches", io=disk).tripped


@pytest.mark.parametrize("fail_at", range(6))
def test_whatever_operation_fails_the_latch_is_set_and_the_failure_is_told(fail_at):
    disk = MemoryDisk(fail_at)
    switch = KillSwitch("latches", io=disk)
    told = switch.tripped
    try:
        switch.trip("operator", 1)
    except LatchNotDurable:
        told = True
    assert switch.tripped
    disk.lose_power()
    assert told or KillSwitch("latches", io=disk).tripped


def test_a_latch_that_cannot_be_read_is_set(tmp_path):
    class Unreadable(MemoryDisk):
        def exists(self, path):
            raise PermissionError(errno.EACCES, "no", str(path))

    assert KillSwitch(tmp_path, io=Unreadable()).tripped


def test_levels_are_separate_and_the_highest_counts(tmp_path):
    switch = KillSwitch(tmp_path, account="A1")
    switch.trip("loss", 1, LatchLevel.REDUCE_ONLY)
    switch.trip("drawdown", 2, LatchLevel.HALT)
    assert switch.level is LatchLevel.HALT
    assert not switch.tripped
    reset(switch, LatchLevel.HALT)
    assert switch.level is LatchLevel.REDUCE_ONLY
    assert KillSwitch(tmp_path).level is LatchLevel.REDUCE_ONLY


@pytest.mark.parametrize(
    "wrong", [{"reason": " "}, {"account": "A2"}, {"account": ""}, {"n_open_orders": 1}]
)
def test_a_reset_needs_reason_account_and_no_open_order(tmp_path, wrong):
    switch = KillSwitch(tmp_path, account="A1")
    switch.trip("operator", 1)
    with pytest.raises(UsageError):
        reset(switch, **wrong)
    assert switch.tripped
    assert KillSwitch(tmp_path).tripped


def test_a_reset_clears_for_good_and_keeps_the_evidence(tmp_path):
    switch = KillSwitch(tmp_path, account="A1")
    switch.trip("operator", 1)
    reset(switch)
    assert not switch.tripped
    assert not KillSwitch(tmp_path).tripped
    assert (tmp_path / "kill.latch.reset-5").read_text() == "1 operator\n"


def test_setting_it_twice_keeps_the_first_reason(tmp_path):
    switch = KillSwitch(tmp_path)
    switch.trip("first", 1)
    switch.trip("second", 2)
    KillSwitch(tmp_path).trip("third", 3)
    assert (tmp_path / "kill.latch").read_text() == "1 first\n"


def test_in_a_backtest_it_lives_in_memory():
    switch = KillSwitch(account="A1")
    switch.trip("operator", 1)
    assert switch.tripped
    reset(switch)
    assert not switch.tripped
