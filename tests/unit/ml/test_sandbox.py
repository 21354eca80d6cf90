"""What a model's process cannot do. Each wall is tried from inside, by a model that means harm."""

import csv
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mqd.ml.errors import NoSandbox
from mqd.ml.sandbox import child as child_module
from mqd.ml.sandbox import seccomp
from mqd.ml.sandbox.child import Child, ChildFailed, inspect_model
from tests.unit.ml import model_probes
from tests.unit.ml.model_probes import (
    DEEDS,
    FilterAlone,
    FilterThatLetsThrough,
    HookAlone,
    NoFilter,
    Probe,
)

TABLES = Path(__file__).parents[2] / "tables"
UNSEEN_BY_THE_HOOK = {"start a thread", "trace", "grow an open file", "memory to execute",
                      "rename itself", "list a folder", "another memory file", "make a folder",
                      "import what is not there yet", "make a pair of sockets"}  # fmt: skip
"""Deeds without an audit event, or with one that says nothing of harm; the filter stops them."""


def facts_of(kind, probe=b"walls"):
    process = kind(probe, "skops")
    try:
        return process.facts()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def seen():
    """What a probe behind all walls met, and what /proc says of its process."""
    process = Probe(b"walls", "skops", memory_mb=1024)
    try:
        facts = process.facts()
        place = Path(f"/proc/{process.pid}")
        told = {name: (place / name).read_text() for name in ("status", "limits")}
        return facts["walls"], facts | told | {"folder there": Path(facts["folder"]).exists()}
    finally:
        process.kill()


@pytest.mark.parametrize("deed", DEEDS)
def test_a_model_can_do_nothing_but_compute(seen, deed):
    assert seen[0][deed] != "done"


def test_the_filter_alone_stops_every_deed():
    walls = facts_of(FilterAlone)["walls"]
    assert not [deed for deed in DEEDS if walls[deed] == "done"]


def test_the_hook_alone_stops_the_deeds_that_python_tells_of():
    walls = facts_of(HookAlone)["walls"]
    stopped = {deed for deed in DEEDS if walls[deed] == "PermissionError"}
    assert stopped >= set(DEEDS) - UNSEEN_BY_THE_HOOK


def test_its_environment_has_no_key_and_none_is_left_when_the_model_is_read(seen):
    _, told = seen
    assert "HOME" in os.environ
    assert told["environ"] == child_module.ENVIRONMENT
    assert told["environ later"] == {}
    assert set(child_module.ENVIRONMENT) == {
        "LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "JOBLIB_MULTIPROCESSING",
    }  # fmt: skip


def test_its_folder_is_empty_its_own_and_gone_afterwards(seen):
    _, told = seen
    assert told["beside"] == []
    assert told["folder there"]
    assert not Path(told["folder"]).exists()


def test_it_is_born_with_its_pipes_and_the_memory_file_alone(seen):
    kinds = {name.split(":")[0] for name in seen[1]["open"]}
    assert kinds <= {"pipe", "/dev/null", "/memfd"}


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("Max address space", 1024 << 20),
        ("Max data size", 1024 << 20),
        ("Max file size", 0),
        ("Max core file size", 0),
        ("Max open files", 0),
        ("Max processes", 0),
        ("Max cpu time", 3600),
    ],
)
def test_its_limits_are_set_soft_and_hard(seen, limit, most):
    (line,) = [line for line in seen[1]["limits"].splitlines() if line.startswith(limit)]
    assert line[len(limit) :].split()[:2] == [str(most), str(most)]


def test_it_has_one_thread_no_new_privileges_and_a_filter(seen):
    status = dict(line.split(":\t") for line in seen[1]["status"].splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")


@pytest.mark.parametrize("kind", [NoFilter, FilterThatLetsThrough])
def test_without_a_filter_that_holds_no_model_is_read(kind):
    with pytest.raises(ChildFailed, match="refused") as failed:
        facts_of(kind, b"half")
    assert failed.value.why in {
        "the kernel refuses the filter (Function not implemented)",
        "the filter is in place, yet files can be made",
    }


def test_a_machine_without_a_table_has_no_sandbox(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(NoSandbox, match="no filter is written for Linux on riscv64"):
        seccomp.this_machine()


def test_the_librarys_own_worker_knows_no_probe():
    with pytest.raises(ChildFailed, match="refused: damaged or no skops file"):
        facts_of(Child, b"half")


def test_the_bytes_that_were_checked_cannot_be_changed_any_more():
    fd = child_module._sealed(b"a model")
    try:
        for deed in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 1)):
            with pytest.raises(PermissionError):
                deed()
        assert os.pread(fd, 100, 0) == b"a model"
    finally:
        os.close(fd)


def test_it_outlives_the_thread_that_asked_for_it_but_not_the_process(tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(Probe(b"half", "skops")))
    thread.start()
    thread.join()
    assert made[0].facts() is not None
    made[0].kill()
    program = (
        "import os, sys; from tests.unit.ml.model_probes import Probe;"
        "child = Probe(b'sleeps', 'skops'); child.facts(); print(child.pid, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert not alive(int(done.stdout))


def alive(pid):
    """Return whether a process still runs a second from now."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        threading.Event().wait(0.01)
    return True


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (b"refused", "it is wrong"),
        (b"crashes while it loads", "breaks its process: its process ended with code 3"),
    ],
)
def test_a_file_that_breaks_its_process_while_it_is_read_is_refused(probe, said):
    from mqd.errors import ModelRefused

    with pytest.raises(ModelRefused, match=said):
        inspect_model(probe, "skops", child=Probe)


def numbers():
    """Return the kernel's numbers: name, x86_64, aarch64."""
    with (TABLES / "system_calls.csv").open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_those_of_the_kernels_tables(machine):
    told = {row["name"]: int(row[machine]) for row in numbers() if row[machine]}
    mine = seccomp.MACHINES[machine].calls
    assert mine == {name: told[name] for name in mine}
    assert set(mine) == {*seccomp.KEPT, "seccomp"}


def answer(program, arch, number, third=0):
    """Run a filter as the kernel does, on one call; return what it answers."""
    import struct

    data = struct.pack("<iIQ6Q", number, arch, 0, 0, 0, third, 0, 0, 0)
    steps = list(struct.iter_unpack("=HBBI", program))
    at = held = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:
            at += yes if held == value else no
        elif code == 0x45:
            at += yes if held & value else no
        else:
            assert code == 0x06
            return value


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_only_the_kept_calls_pass_on_either_machine(machine):
    table = seccomp.MACHINES[machine]
    program = seccomp.filter_program(table)
    kept = {table.calls[name] for name in seccomp.KEPT}
    allowed = {n for n in range(600) if answer(program, table.audit_arch, n) == 0x7FFF0000}
    assert allowed == kept
    for name in ("mmap", "mprotect"):
        assert answer(program, table.audit_arch, table.calls[name], third=3) == 0x7FFF0000
        assert answer(program, table.audit_arch, table.calls[name], third=5) == 0x00050001
    assert answer(program, table.audit_arch, 0x40000000 | 1) == 0x00050001
    assert answer(program, 0x40000003, table.calls["read"]) == 0x80000000


def test_a_probe_that_is_missing_here_would_prove_nothing():
    assert Path(model_probes.SECRET_FILE).read_text()
