"""What a process that runs models may do: compute, and answer on the pipes it has.

Called in the child before a byte of a model is parsed. Limits of memory, time and files; no new
privileges; a system-call filter (seccomp) under which sockets, programs, processes, and any
opening or changing of files for writing are refused. Where the filter cannot be had the model is
not run: there is no weaker mode. Linux on x86_64 and aarch64.

Sources: seccomp(2), prctl(2), and the tables of system calls of both machines.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from typing import Final, NamedTuple


class _Machine(NamedTuple):
    """Numbers of one machine: its audit code, seccomp, and the calls that are looked at."""

    audit: int
    seccomp: int
    clone: int
    openat: int
    refused: dict[str, int]


_X86_64: Final = _Machine(
    audit=0xC000003E, seccomp=317, clone=56, openat=257,
    refused={
        "open": 2, "creat": 85, "socket": 41, "connect": 42, "accept": 43, "sendto": 44,
        "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "bind": 49, "listen": 50, "socketpair": 53,
        "accept4": 288, "sendmmsg": 307, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
        "kill": 62, "tkill": 200, "tgkill": 234, "rename": 82, "mkdir": 83, "rmdir": 84,
        "link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92,
        "truncate": 76, "ftruncate": 77, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "mount": 165, "umount2": 166, "mknod": 133, "mknodat": 259,
        "mkdirat": 258, "unlinkat": 263, "renameat": 264, "renameat2": 316, "linkat": 265,
        "symlinkat": 266, "fchmodat": 268, "fchownat": 260, "setsid": 112, "unshare": 272,
        "setns": 308, "bpf": 321, "perf_event_open": 298, "memfd_create": 319, "userfaultfd": 323,
        "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440,
        "keyctl": 250, "add_key": 248, "request_key": 249, "shmget": 29, "msgget": 68,
    },
)  # fmt: skip
_AARCH64: Final = _Machine(
    audit=0xC00000B7, seccomp=277, clone=220, openat=56,
    refused={
        "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202,
        "connect": 203, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212,
        "accept4": 242, "sendmmsg": 269, "execve": 221, "execveat": 281, "kill": 129, "tkill": 130,
        "tgkill": 131, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
        "renameat": 38, "renameat2": 276, "umount2": 39, "mount": 40, "truncate": 45,
        "ftruncate": 46, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55,
        "ptrace": 117, "setsid": 157, "unshare": 97, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "bpf": 280, "perf_event_open": 241, "memfd_create": 279,
        "userfaultfd": 282, "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438,
        "process_madvise": 440, "keyctl": 219, "add_key": 217, "request_key": 218, "shmget": 194,
        "msgget": 186,
    },
)  # fmt: skip
MACHINES: Final = {"x86_64": _X86_64, "aarch64": _AARCH64}

_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
_KILL: Final = 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32
_X32: Final = 0x40000000
_CLONE_THREAD: Final = 0x10000
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE3, _OPENAT2 = 435, 437
_NO_NEW_PRIVS, _DUMPABLE, _DIES_WITH_PARENT = 38, 4, 1


class SandboxUnavailable(OSError):
    """This machine cannot shut a process off."""


def limit(memory_mb: int, cpu_s: int) -> None:
    """Bound what this process takes: address space, processor time, files, core dumps."""
    space = memory_mb << 20
    for kind, bound in (
        (resource.RLIMIT_AS, space), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64),
    ):  # fmt: skip
        _, hard = resource.getrlimit(kind)
        allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (allowed, allowed))


def shut_off() -> None:
    """Install the filter on all threads of this process; raise ``SandboxUnavailable``."""
    machine = MACHINES.get(platform.machine())
    if not sys.platform.startswith("linux") or machine is None:
        raise SandboxUnavailable(f"no sandbox for models on {sys.platform} {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_NO_NEW_PRIVS, 1), (_DUMPABLE, 0), (_DIES_WITH_PARENT, int(signal.SIGKILL)),
    ):  # fmt: skip
        if libc.prctl(option, value, 0, 0, 0):
            raise SandboxUnavailable(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
    code = filter_code(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    if libc.syscall(machine.seccomp, 1, 1, program):
        raise SandboxUnavailable(f"seccomp: {os.strerror(ctypes.get_errno())}")


def filter_code(machine: _Machine) -> bytes:
    """Return the filter's program: each refused call fails with EPERM, all else passes."""
    refuse = _one(_RETURN, _REFUSE | errno.EPERM)
    unknown = _one(_RETURN, _REFUSE | errno.ENOSYS)
    allow = _one(_RETURN, _ALLOW)
    number = _one(_LOAD, _NUMBER)
    code = [
        _one(_LOAD, _ARCHITECTURE), _one(_EQUAL, machine.audit, 1, 0), _one(_RETURN, _KILL), number,
        _one(_AT_LEAST, _X32, 0, 1), refuse,
    ]  # fmt: skip
    for call in machine.refused.values():
        code += [_one(_EQUAL, call, 0, 1), refuse]
    for call in (_CLONE3, _OPENAT2):  # the C library then takes the call that can be looked into
        code += [_one(_EQUAL, call, 0, 1), unknown]
    code += [
        _one(_EQUAL, machine.clone, 0, 4), _one(_LOAD, _FIRST_ARGUMENT),
        _one(_ANY_BIT, _CLONE_THREAD, 0, 1), allow, refuse,
        _one(_EQUAL, machine.openat, 0, 4), _one(_LOAD, _THIRD_ARGUMENT),
        _one(_ANY_BIT, _WRITES, 0, 1), refuse, allow,
        allow,
    ]  # fmt: skip
    return b"".join(code)


def _one(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
