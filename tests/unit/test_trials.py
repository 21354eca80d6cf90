"""The count of a study: repeats, restarts, two processes at once, a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mqd import trials
from mqd.errors import RunFolderUnusable, UsageError


def test_each_identity_counts_once(tmp_path: Path) -> None:
    study = tmp_path / "studies" / "gap"
    assert trials.count(study) == 0
    assert trials.record(study, "sweep", 500, "grid a").n == 500
    assert trials.record(study, "backtest", 1, "one").n == 501
    assert trials.record(study, "sweep", 500, "grid a").n == 501  # the same cell again
    assert trials.record(study, "sweep", 40, "grid b").n == 541
    found = trials.read(study)
    assert found.n_by_kind == {"sweep": 540, "backtest": 1}
    assert found.damaged == ()
    assert len((study / trials.FILE).read_text().splitlines()) == 3


def test_a_resumed_sweep_counts_with_its_largest_number(tmp_path: Path) -> None:
    for n in (300, 1_000, 700):
        trials.record(tmp_path, "sweep", n, "grid")
    assert trials.count(tmp_path) == 1_000


def test_a_kind_has_identities_of_its_own(tmp_path: Path) -> None:
    trials.record(tmp_path, "sweep", 10, "x")
    assert trials.record(tmp_path, "backtest", 1, "x").n == 11


def test_any_text_is_an_identity(tmp_path: Path) -> None:
    for text in ('say "no"', "two\nlines", "Größe\u2028", "{}"):
        trials.record(tmp_path, "backtest", 1, text)
        trials.record(tmp_path, "backtest", 1, text)
    assert trials.read(tmp_path) == trials.Trials(4, {"backtest": 4}, ())


WRITER = """
import sys
from mqd import trials
folder, name = sys.argv[1:]
for turn in range(40):
    trials.record(folder, "sweep", 3, f"{name} {turn}")
    trials.record(folder, "sweep", 5, f"shared {turn}")
"""


def test_two_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name])
        for name in ("left", "right")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    found = trials.read(tmp_path)
    assert found.damaged == ()
    assert found.n == 2 * 40 * 3 + 40 * 5
    assert len((tmp_path / trials.FILE).read_text().splitlines()) == 120


KILLED = """
import os, signal, sys
from mqd import trials
trials.record(sys.argv[1], "sweep", 7, "before")
whole = os.write
def half(fd, data):
    whole(fd, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = half
trials.record(sys.argv[1], "sweep", 9, "in the middle")
"""


def test_a_kill_in_the_middle_is_told_and_heals(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    found = trials.read(tmp_path)
    assert found.n == 7
    assert len(found.damaged) == 1
    assert f"{tmp_path / trials.FILE}, line 2 is no whole record" in found.damaged[0]
    after = trials.record(tmp_path, "sweep", 9, "in the middle")
    assert after.n == 16
    assert after.damaged == found.damaged  # the torn line stays, and stays uncounted
    lines = (tmp_path / trials.FILE).read_bytes().split(b"\n")
    assert json.loads(lines[2]) == {"kind": "sweep", "identity": "in the middle", "n": 9}


def test_every_prefix_of_the_file_can_be_read_and_continued(tmp_path: Path) -> None:
    for n in (5, 6, 7):
        trials.record(tmp_path, "sweep", n, f"grid {n}")
    path = tmp_path / trials.FILE
    content = path.read_bytes()
    ends = [end for end in range(len(content) + 1) if content[:end].endswith(b"}")]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        expected = sum((5, 6, 7)[: sum(end <= cut for end in ends)])
        assert trials.count(tmp_path) == expected
        assert trials.record(tmp_path, "backtest", 1, "next").n == expected + 1


def test_a_full_disk_takes_nothing_back_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials.record(tmp_path, "sweep", 7, "before")
    before = (tmp_path / trials.FILE).read_bytes()
    whole = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return whole(fd, data[:-5])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(RunFolderUnusable, match="No space left on device"):
            trials.record(tmp_path, "sweep", 9, "too much")
    assert (tmp_path / trials.FILE).read_bytes() == before


@pytest.mark.parametrize(
    "line", [b"[]", b'{"kind": "sweep"}', b'{"kind":"sweep","identity":"x","n":-4}', b"\xff\xfe"]
)
def test_lines_that_are_no_record_are_told(tmp_path: Path, line: bytes) -> None:
    (tmp_path / trials.FILE).write_bytes(line + b"\n")
    assert len(trials.read(tmp_path).damaged) == 1
    assert trials.record(tmp_path, "sweep", 2, "x").n == 2


@pytest.mark.parametrize(
    ("kind", "n", "identity"), [("", 1, "x"), ("sweep", -1, "x"), ("s", 1, "")]
)
def test_what_says_nothing_is_refused(tmp_path: Path, kind: str, n: int, identity: str) -> None:
    with pytest.raises(UsageError, match="a kind, an identity and a number"):
        trials.record(tmp_path, kind, n, identity)
    assert not (tmp_path / trials.FILE).exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("")
    with pytest.raises(RunFolderUnusable, match="study cannot be used"):
        trials.record(tmp_path / "study", "sweep", 1, "x")
    with pytest.raises(RunFolderUnusable, match="Not a directory"):
        trials.count(tmp_path / "study")
