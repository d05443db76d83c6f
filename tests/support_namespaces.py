"""Processes with files or a network of their own, which takes root: what no other test could have to itself."""

import subprocess
from pathlib import Path

import pytest
from support import ROOT, find_program

_MAY_UNSHARE = (
    find_program("unshare") is not None
    and subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode == 0
)

needs_namespaces = pytest.mark.skipif(
    not _MAY_UNSHARE, reason="needs the right to make namespaces, as root has it"
)


def run_apart(
    command: str, *, instead: dict[str, Path] | None = None, net: bool = False, timeout: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run a shell command that sees other files at these paths, or with ``net`` a network of loopback alone.

    There, loopback is still down: the command has to raise it.
    """
    mounts = "".join(f"mount --bind {file} {path} && " for path, file in (instead or {}).items())
    return subprocess.run(
        ["unshare", "--mount", *(["--net"] if net else []), "sh", "-c", f"{mounts}exec {command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
