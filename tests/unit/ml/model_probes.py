"""Models that do harm, and a worker that holds them in place of a file's: only tests start it.

A probe is named by the bytes of its "file". The library's own worker knows no probe: these are
reached by a subclass of `Child` whose entry is here.
"""

# ruff: noqa: PTH102, PTH108, PTH109, PTH115, PTH123, PTH208, SIM115 - plainly hostile

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np

from mqd.errors import ModelRefused
from mqd.ml.errors import NoSandbox
from mqd.ml.sandbox import limits as sandbox
from mqd.ml.sandbox import seccomp, worker
from mqd.ml.sandbox.child import Child
from mqd.ml.sandbox.loading import Loaded, one_by_one
from mqd.ml.sandbox.wire import ANSWER, FAILED, MAGIC


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


SECRET_FILE = "/etc/hostname"
LIBC = ctypes.CDLL(None, use_errno=True)
MEMORY_FILE = os.memfd_create("open")
AT_START = {
    "environ": dict(os.environ),
    "folder": os.getcwd(),
    "beside": os.listdir("."),
    "open": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(32) if _is_open(fd)],
}
"""What a process is born with, seen before it shuts itself off."""


class Probe(Child):
    """A child that runs a probe behind both walls."""

    entry = "from tests.unit.ml.model_probes import main; main()"


class FilterAlone(Probe):
    """Behind the filter of system calls, without the audit hook."""

    entry = "from tests.unit.ml.model_probes import main; main(hook=False)"


class HookAlone(Probe):
    """Behind the audit hook, without the filter."""

    entry = "from tests.unit.ml.model_probes import main; main(filtered=False)"


class NoFilter(Probe):
    """The kernel takes no filter."""

    entry = "from tests.unit.ml.model_probes import main; main(filtered=None)"


class FilterThatLetsThrough(Probe):
    """The filter is taken and does nothing."""

    entry = "from tests.unit.ml.model_probes import main; main(filtered=False, tried=True)"


def refuse(_libc):
    """Stand in for a kernel without filters."""
    raise NoSandbox("the kernel refuses the filter (Function not implemented)")


def main(*, hook=True, filtered=True, tried=False):
    """Serve a probe; a wall that a test is not about is left out."""
    worker.import_libraries = lambda _: None
    if not hook:
        sandbox._refuse = lambda *_: None
    if filtered is None:
        seccomp.install = refuse
    elif not filtered:
        seccomp.install = lambda _: None
        sandbox._try_the_walls = sandbox._try_the_walls if tried else lambda: None
    worker.serve(load_probe)


def load_probe(job, data):
    """Return the probe that the bytes name."""
    name = data.decode()
    facts = {"types": [], "n_features": 2, "output": "probability", "row_exact": False}
    if name == "walls":
        walls = {deed: tried(deed) for deed in DEEDS}
        facts |= AT_START | {"walls": walls, "environ later": dict(os.environ)}
        return Loaded(half, facts, half)
    if name == "refused":
        raise ModelRefused("it", "it is wrong")
    if name == "crashes while it loads":
        os._exit(3)
    if name == "hangs while it loads":
        time.sleep(60)
    return Loaded(MODELS[name], facts, one_by_one(MODELS[name]))


def half(rows):
    """Say a half of every row."""
    return np.full(len(rows), 0.5)


def sleeps(rows):
    """Answer too late."""
    time.sleep(30)
    return half(rows)


def eats_memory(rows):
    """Ask for more and more."""
    kept = []
    while True:
        kept.append(np.empty(32 << 20, dtype=np.uint8))


def leaves(rows):
    """End the process without a word."""
    os._exit(7)


def breaks(rows):
    """Read where nothing is."""
    np.lib.stride_tricks.as_strided(rows, (2, 1), (1 << 45, 8)).sum()


def prints(rows):
    """Flood both streams, by Python and past it."""
    for fd in (1, 2):
        os.write(fd, b"x" * 300_000)
    print("y" * 300_000)
    print("z" * 300_000, file=sys.stderr)
    return half(rows)


def writing(data):
    """Return a model that answers by itself, ahead of the worker."""

    def write(rows):
        for fd in range(3, 12):
            try:
                os.write(fd, data)
            except OSError:
                continue
        return half(rows)

    return write


def closes_its_pipes(rows):
    """Let go of the worker's pipes and stay."""
    for fd in range(3, 12):
        try:
            os.close(fd)
        except OSError:
            continue
    time.sleep(30)


def forged(text):
    """Return a failure of the first request with ``text`` in place of cause and reason."""
    return ANSWER.pack(MAGIC, FAILED, 1, len(text)) + text


def raises(rows):
    """Raise what is no ordinary error."""
    raise SystemExit("enough")


def sums(rows):
    """Give a score that depends on the whole batch."""
    return np.full(len(rows), 1.0 / (1.0 + len(rows)))


def sometimes(rows):
    """End the process when the first feature is negative."""
    if rows[0, 0] < 0:
        os._exit(7)
    return half(rows)


MODELS = {
    "half": half,
    "another half": half,
    "sleeps": sleeps,
    "eats memory": eats_memory,
    "leaves": leaves,
    "breaks": breaks,
    "prints": prints,
    "writes to the pipe": writing(b"x" * 64),
    "forges no JSON": writing(forged(b"x{")),
    "forges a list": writing(forged(b"[1]")),
    "forges no reason": writing(forged(b'{"cause": "raised"}')),
    "forges a cause": writing(forged(b'{"cause": "starting", "why": "wait"}')),
    "closes its pipes": closes_its_pipes,
    "forges deep JSON": writing(forged(b"[" * 200_000)),
    "raises": raises,
    "sums": sums,
    "sometimes": sometimes,
    "not a number": lambda rows: np.full(len(rows), np.nan),
    "above one": lambda rows: np.full(len(rows), 1.5),
    "too many": lambda rows: np.full(len(rows) + 1, 0.5),
    "too few": lambda rows: np.full(len(rows) - 1, 0.5),
    "echo": lambda rows: rows[:, 0],
}

DEEDS = {
    "open a file": lambda: open(SECRET_FILE),
    "write a file": lambda: open("made", "w"),
    "list a folder": lambda: os.listdir("/"),
    "make a folder": lambda: os.mkdir("made"),
    "remove a file": lambda: os.unlink("made"),
    "grow an open file": lambda: os.ftruncate(MEMORY_FILE, 100),
    "make a socket": socket.socket,
    "make a pair of sockets": socket.socketpair,
    "look a host up": lambda: socket.create_connection(("127.0.0.1", 9)),
    "run a program": lambda: subprocess.run(["/bin/true"]),
    "run a shell": lambda: shell("true"),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": lambda: os.fork() or os._exit(0),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "start a thread": lambda: threading.Thread(target=int).start(),
    "kill the parent": lambda: os.kill(os.getppid(), signal.SIGCONT),
    "memory to execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "trace": lambda: called(101 if os.uname().machine == "x86_64" else 117),
    "another memory file": lambda: os.memfd_create("more"),
    "import what is not there yet": lambda: __import__("sqlite3"),
    "rename itself": os.setsid,
}


def shell(command):
    """Run a command; raise when it could not be."""
    if os.system(command) != 0:
        raise OSError("no shell")


def called(number):
    """Make a system call by its number."""
    if LIBC.syscall(number, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def tried(deed):
    """Return what came of a deed: the name of its error, or "done"."""
    try:
        DEEDS[deed]()
    except BaseException as error:  # noqa: BLE001 - whatever stops it is the answer
        return type(error).__name__
    return "done"
