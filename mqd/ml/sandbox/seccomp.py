"""The list of system calls that a model's process keeps, as a filter in the kernel.

Everything that is not on the list answers EPERM: no file can be opened, no socket made, no program
or process started, nothing traced. Memory cannot be made executable. Linux on x86-64 and aarch64;
elsewhere, and where the kernel refuses the filter, there is no sandbox and so no model
(seccomp(2); the numbers are those of the kernel's tables).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable, Mapping
from errno import EPERM
from typing import Final, NamedTuple

from mqd.ml.errors import NoSandbox


class Machine(NamedTuple):
    """An architecture as the kernel's audit calls it, and its numbers of system calls."""

    audit_arch: int
    calls: Mapping[str, int]


KEPT: Final = [
    "read",
    "write",
    "readv",
    "writev",
    "close",
    "fstat",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "mremap",
    "madvise",
    "futex",
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "exit",
    "exit_group",
    "getpid",
    "gettid",
    "getrandom",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "getrusage",
    "restart_syscall",
]
"""What computing needs: memory, time, the open pipes, and an end."""

MACHINES: Final = {
    "x86_64": Machine(
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
            "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
            "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
            "nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96, "getrusage": 98,
            "sigaltstack": 131, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
            "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
            "clock_nanosleep": 230, "exit_group": 231, "getcpu": 309, "seccomp": 317,
            "getrandom": 318,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
            "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
            "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
            "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
            "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
            "getrusage": 165, "getcpu": 168, "gettimeofday": 169, "getpid": 172, "gettid": 178,
            "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
            "madvise": 233, "seccomp": 277, "getrandom": 278,
        },
    ),
}  # fmt: skip

_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ, |JSET, BPF_RET
_AT_NUMBER, _AT_ARCH, _AT_THIRD_ARGUMENT = 0, 4, 32  # struct seccomp_data, low word first
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000 | EPERM, 0x80000000
_PROT_EXEC = 4
_SET_MODE_FILTER, _ALL_THREADS = 1, 1


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def filter_program(machine: Machine, kept: Iterable[str] = KEPT) -> bytes:
    """Return the filter as the kernel reads it: kept calls pass, others answer EPERM.

    A call made through another architecture's table ends the process.
    """
    steps = [
        _step(_LOAD, _AT_ARCH),
        _step(_EQUAL, machine.audit_arch, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _AT_NUMBER),
    ]
    for name in kept:
        number = machine.calls[name]
        if name in {"mmap", "mprotect"}:
            steps += [
                _step(_EQUAL, number, 0, 4),
                _step(_LOAD, _AT_THIRD_ARGUMENT),
                _step(_SET, _PROT_EXEC, 0, 1),
                _step(_RETURN, _DENY),
                _step(_RETURN, _ALLOW),
            ]
        else:
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    return b"".join([*steps, _step(_RETURN, _DENY)])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def this_machine() -> Machine:
    """Return the table of the machine that runs this; raises ``NoSandbox`` for one it lacks."""
    name = platform.machine()
    if platform.system() != "Linux" or name not in MACHINES:
        raise NoSandbox(f"no filter is written for {platform.system()} on {name}")
    return MACHINES[name]


def install(libc: ctypes.CDLL) -> None:
    """Put the filter on all threads of this process, for good. Raises ``NoSandbox``.

    The process must have given up new privileges before (``PR_SET_NO_NEW_PRIVS``).
    """
    machine = this_machine()
    steps = filter_program(machine)
    program = _Program(len(steps) // 8, steps)
    answer = libc.syscall(
        ctypes.c_long(machine.calls["seccomp"]), ctypes.c_ulong(_SET_MODE_FILTER),
        ctypes.c_ulong(_ALL_THREADS), ctypes.byref(program),
    )  # fmt: skip
    if answer != 0:
        raise NoSandbox(f"the kernel refuses the filter ({os.strerror(ctypes.get_errno())})")
