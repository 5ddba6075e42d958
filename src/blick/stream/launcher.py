"""Takes rights and room away from its own process, then becomes the program that is to run so.

A script, started by its path in a Python of its own that knows nothing of Blick (see `confined`): Python code between
fork and exec of a process with threads could hang it. Its arguments are a JSON document and the program's command.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

CANNOT_START = 125
"""Exit status where the program never ran."""

SOURCE_DESCRIPTOR = 9
"""Where the program finds the file that it may read: /proc/self/fd/9, in whose folder it meets no other files."""

_NICENESS = 10
_OPEN_FILES = 256

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

# Landlock, from linux/landlock.h. The numbers of its calls are the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_PLEASE = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = (1 << bit for bit in (0, 1, 2, 3, 14))
_RIGHTS_BY_VERSION = ((3, (1 << 15) - 1), (2, (1 << 14) - 1), (1, (1 << 13) - 1))
_TCP_SINCE, _TCP = 4, 3

# Programs and libraries, and what these read when they are loaded.
_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store", "/etc/ld.so.cache",
    "/etc/crypto-policies", "/etc/gnutls", "/etc/ssl", "/proc/sys/crypto", "/dev/urandom",
)  # fmt: skip


def main() -> NoReturn:
    """Do what the arguments say; there is no way back."""
    given, command = json.loads(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _end_with(libc, given["parent"])
        source = os.open(given["reads"], os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(source, SOURCE_DESCRIPTOR, inheritable=True)
        _confine(libc, command[0], given)
        _limit(given)
        os.execv(command[0], command)  # noqa: S606 - no shell, by design
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)  # noqa: T201 - the parent reads it
        sys.exit(CANNOT_START)


def _end_with(libc: ctypes.CDLL, parent: int) -> None:
    """Be killed when the parent ends, in whatever way."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was faster
        sys.exit(CANNOT_START)


def _limit(given: dict[str, Any]) -> None:
    for signal_number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what it becomes would too
        signal.signal(signal_number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.nice(_NICENESS)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # At the soft limit the program is told, by a signal that ends it; at the hard one it is killed.
    _lower(resource.RLIMIT_CPU, given["cpu_time_s"], given["cpu_time_s"] + 1)
    _lower(resource.RLIMIT_FSIZE, given["file_bytes"])
    _lower(resource.RLIMIT_AS, given["memory_bytes"])  # the last: this interpreter needs some itself


def _lower(limit: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(limit)
    wanted = soft if hard is None else hard
    hard = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(limit, (min(soft, hard), hard))


def _confine(libc: ctypes.CDLL, program: str, given: dict[str, Any]) -> None:
    """Leave it no other files than the system's, to read, and the two that it is about; and no TCP.

    A kernel without Landlock, or one where it is switched off, is no hindrance: it is the second line of defence.
    """
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_PLEASE))
    if version < 1:
        return
    handled = next(rights for since, rights in _RIGHTS_BY_VERSION if version >= since)
    attributes = struct.pack("=QQ", handled, _TCP) if version >= _TCP_SINCE else struct.pack("=Q", handled)
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if rules < 0:
        return
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    _allow(libc, rules, (*_SYSTEM, *_prefix(program)), reading & handled)
    _allow(libc, rules, [given["reads"]], _READ_FILE)
    writing = _READ_FILE | _WRITE_FILE | _TRUNCATE
    _allow(libc, rules, ["/dev/null", *([given["writes"]] if given["writes"] else [])], writing & handled)
    if libc.syscall(_RESTRICT_SELF, rules, ctypes.c_uint32(0)) != 0:
        raise OSError(ctypes.get_errno(), "it cannot be confined")
    os.close(rules)


def _prefix(program: str) -> list[str]:
    """Where a program that is none of the system's has its libraries: lib beside bin."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(program)))  # noqa: PTH120
    return [] if prefix == "/" else [prefix]


def _allow(libc: ctypes.CDLL, rules: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = rights if os.path.isdir(path) else rights & ~_READ_DIR  # noqa: PTH112 - pathlib takes 10 ms to load
        rule = struct.pack("=Qi", allowed, place)
        done = libc.syscall(_ADD_RULE, rules, ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
        os.close(place)
        if done != 0:
            raise OSError(ctypes.get_errno(), "it cannot be confined", path)


if __name__ == "__main__":
    main()
