"""What a process gives up before it reads a model: memory, files, network, programs, keys.

Two steps, in the child alone: `begin` before the libraries are imported, `lock_down` after it and
before a byte of the model is parsed. Nothing of it can be taken back. Whatever cannot be put in
place raises ``NoSandbox``, and the model is refused. The filter of system calls is the wall; the
audit hook behind it stops the same deeds one layer higher.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
from errno import EPERM
from typing import Final

from mqd.ml.errors import NoSandbox
from mqd.ml.sandbox import seccomp

CPU_S_MAX: Final = 3600
"""The processor time of one child's whole life; a batch takes milliseconds of it."""

_SET_PARENT_DEATH, _SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 1, 4, 38
_FORBIDDEN: Final = (
    "open", "socket.", "subprocess.", "os.", "shutil.", "tempfile.", "pickle.", "ctypes.",
    "pty.", "fcntl.", "glob.", "urllib.", "ftplib.", "http.", "smtplib.", "syslog.", "webbrowser.",
    "mmap.", "signal.", "resource.", "sys.addaudithook", "sys.settrace", "sys.setprofile",
    "_posixsubprocess.", "_winapi.", "winreg.",
)  # fmt: skip


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise NoSandbox(f"prctl({option}) failed ({os.strerror(ctypes.get_errno())})")


def begin(parent_pid: int) -> None:
    """Die with the parent, leave no core, hide from tracers, and never gain a privilege."""
    seccomp.this_machine()
    libc = _libc()
    _prctl(libc, _SET_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise NoSandbox("the process that asked has ended")
    _limit(resource.RLIMIT_CORE, 0)
    _prctl(libc, _SET_DUMPABLE, 0)
    _prctl(libc, _SET_NO_NEW_PRIVILEGES, 1)


def lock_down(memory_bytes: int) -> None:
    """Limit memory to ``memory_bytes`` in all and close every way out; for good.

    Raises ``NoSandbox`` when a limit or the filter cannot be set, or does not hold when tried.
    """
    os.environ.clear()
    libc = _libc()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_DATA, memory_bytes)
    _limit(resource.RLIMIT_CPU, CPU_S_MAX)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    seccomp.install(libc)
    _try_the_walls()
    sys.addaudithook(_refuse)


def _limit(which: int, most: int) -> None:
    """Set a limit for good; one that is tighter already stays."""
    _, hard = resource.getrlimit(which)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(which, (bound, bound))
    except (OSError, ValueError) as error:
        raise NoSandbox(f"a limit cannot be set ({error})") from error


def _try_the_walls() -> None:
    """Try what must fail: a filter that was taken but does not filter is none."""
    for deed, name in ((_open_a_file, "files"), (_open_a_socket, "sockets"), (_fork, "processes")):
        try:
            deed()
        except OSError as error:
            if error.errno == EPERM:
                continue
        raise NoSandbox(f"the filter is in place, yet {name} can be made")


def _open_a_file() -> None:
    os.close(os.open(os.devnull, os.O_RDONLY))


def _open_a_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"a model may not do this: {event}")
