"""Runs a command under the system calls that a systemd unit leaves it: ``sandboxed.py UNIT COMMAND …``.

What of the unit is applied: SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute, as systemd does,
with libseccomp, which systemd depends on. The sets of system calls are those that systemd-analyze names.
"""

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_EQUAL, _MASKED_EQUAL = 4, 7  # Of libseccomp's scmp_compare.
_WRITE, _EXECUTE = 2, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def members(name: str) -> set[str]:
    """Return the system calls of a set, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, check=True, text=True
    ).stdout
    return set().union(*(members(line) for line in re.findall(r"^ +([@\w-]+)$", listed, re.MULTILINE)))


def allowed(unit: str) -> set[str]:
    """Return the system calls that a unit allows: a line that begins with ~ takes some away."""
    calls: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        named = set().union(*(members(word) for word in line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def confine(unit: str) -> None:
    """Refuse this process, and what it executes, everything else with EPERM."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_REFUSE)))

    def allow(call: str, *comparisons: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        array = (_Comparison * len(comparisons))(*comparisons)
        if number >= 0 and library.seccomp_rule_add_array(
            rules, ctypes.c_uint32(_ALLOW), number, len(comparisons), array
        ):
            sys.exit(f"libseccomp does not take a rule for {call}")

    for call in sorted(allowed(unit) - {"socket", "mmap", "mprotect", "pkey_mprotect", "shmat"}):
        allow(call)
    for family in re.findall(
        r"\bAF_\w+", "".join(re.findall(r"^RestrictAddressFamilies=.*$", unit, re.MULTILINE))
    ):
        allow("socket", _Comparison(0, _EQUAL, getattr(socket, family), 0))
    for protection in (0, _WRITE, _EXECUTE):
        allow("mmap", _Comparison(2, _MASKED_EQUAL, _WRITE | _EXECUTE, protection))
    for call in ("mprotect", "pkey_mprotect"):
        allow(call, _Comparison(2, _MASKED_EQUAL, _EXECUTE, 0))
    if library.seccomp_load(rules):
        sys.exit("the filter cannot be loaded")


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text())
    os.execvp(sys.argv[2], sys.argv[2:])
