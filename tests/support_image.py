"""The image, built by buildah and run by runc, without a registry: its base comes from Debian's packages."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from support import ROOT, TIMEOUT_SECONDS, BackgroundProcess, find_program

BASE_NAME = "python:3.11-slim-bookworm"
"""What the Dockerfile has as its base."""
BUILD_ARGUMENTS = {"REVISION": "0123456789abcdef", "CREATED": "2026-01-02T03:04:05Z"}

_BASE_DOCKERFILE = """
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
# As small as Debian gets, and without the bytecode of Python's own modules, which the usual base lacks as well.
_BASE = [
    "--variant=essential",
    "--include=python3,python3-venv,ca-certificates",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    '--customize-hook=find "$1/usr/lib" -name "*.pyc" -delete',
    "bookworm",
]
_CACHE = ROOT / ".cache" / "image"
_SHELLS = ("/usr/bin/bash", "/usr/bin/dash")


def run(program: str, *arguments: object, text: str = "") -> str:
    """Run a program that has to succeed; return its output."""
    command = [find_program(program) or program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def _cached(name: str, key: str, make: Callable[[Path], object]) -> Path:
    """Return what was made for this key, or have it made; what was made for others goes."""
    path = _CACHE / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not path.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        for old in _CACHE.glob(f"*{name}-*"):
            shutil.rmtree(old)
        half = _CACHE / f"half-{path.name}"
        half.mkdir()
        make(half)
        half.rename(path)
    return path


def _make_base(folder: Path) -> None:
    lines = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    sources = run("apt-get", "indextargets", f"--format={lines}", "Created-By: Packages", "Origin: Debian")
    # From where this machine has its packages, if that is the same Debian.
    ours = "\n".join(sorted({line for line in sources.splitlines() if " bookworm" in line}))
    run("mmdebstrap", *_BASE, folder / "base.tar", *(["-"] if ours else []), text=ours)
    (folder / "Dockerfile").write_text(_BASE_DOCKERFILE)


def _download_wheels(folder: Path, locks: Sequence[Path]) -> None:
    wanted = ["--require-hashes", "--only-binary=:all:", "--python-version=3.11"]
    requirements = [word for lock in locks for word in ("-r", lock)]
    run(sys.executable, "-m", "pip", "download", "--quiet", *wanted, *requirements, f"--dest={folder}")


class Store:
    """A folder with images of its own, in which the base is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.base_folder = _cached("base", repr([_BASE, _BASE_DOCKERFILE]), _make_base)
        self.build(BASE_NAME, self.base_folder)

    def buildah(self, *arguments: object) -> str:
        """Run buildah; return its output."""
        places = [f"--root={self._folder / 'images'}", f"--runroot={self._folder / 'run'}"]
        return run("buildah", "--storage-driver=vfs", *places, *arguments)

    def build(self, name: str, folder: Path, *options: object) -> None:
        """Build the Dockerfile in a folder, or the one that an option names."""
        # Of the formats that there are, Docker's alone keeps the HEALTHCHECK.
        how = ["--isolation=chroot", "--pull-never", "--format=docker", "--identity-label=false", "--quiet"]
        self.buildah("build", *how, *options, f"--tag={name}", folder)

    def build_exporter(self, name: str) -> None:
        """Build the exporter's image, with the locked wheels in a folder instead of an index."""
        locks = sorted((ROOT / ".ci").glob("*.lock"))
        key = "".join(lock.read_text() for lock in locks)
        wheels = _cached("wheels", key, lambda folder: _download_wheels(folder, locks))
        settings = self._folder / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n")
        mounts = [f"--volume={wheels}:/wheels:ro", f"--volume={settings}:/etc/pip.conf:ro"]
        arguments = [f"--build-arg={key}={value}" for key, value in BUILD_ARGUMENTS.items()]
        self.build(name, ROOT, *mounts, *arguments)

    def mount(self, name: str) -> Path:
        """Return the folder that has the files of an image."""
        container = self.buildah("from", "--pull-never", name).strip()
        return Path(self.buildah("mount", container).strip())

    def configuration(self, name: str) -> dict[str, Any]:
        """Return how an image wants to be run, in the words of Docker."""
        inspected = json.loads(self.buildah("inspect", "--type=image", name))
        configuration: dict[str, Any] = inspected["Docker"]["config"]
        return configuration

    def size(self, name: str) -> str:
        """Return how large an image is, its base included."""
        return str(json.loads(self.buildah("images", "--json", name))[0]["size"])


class Container(BackgroundProcess):
    """An image that runs with a read-only root, no capabilities, no new privileges, and the user that it names.

    No shell can be executed in it. Its network is its own, and has loopback alone, unless it shares that of the
    host, or of another container, as in a pod.
    """

    _numbers = count(1)

    def __init__(
        self,
        rootfs: Path,
        configuration: Mapping[str, Any],
        arguments: Sequence[str],
        folder: Path,
        *,
        entrypoint: Sequence[str] | None = None,
        mounts: Mapping[str, Path] | None = None,
        host_network: bool = False,
        network_of: "Container | None" = None,
    ) -> None:
        runc = find_program("runc")
        assert runc
        number = next(self._numbers)
        bundle = folder / f"container-{number}"
        bundle.mkdir()
        self._runc = (runc, "--root", str(folder / "runc"))
        self._name = f"{folder.name}-{os.getpid()}-{number}"
        self._stop_signal = str(configuration["StopSignal"])
        run("runc", "spec", "--bundle", bundle)
        spec = json.loads((bundle / "config.json").read_text())
        user, _, group = configuration["User"].partition(":")
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*(configuration["Entrypoint"] if entrypoint is None else entrypoint), *arguments],
            "env": configuration["Env"],
            "cwd": configuration["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spec["root"] = {"path": str(rootfs), "readonly": True}
        nothing = bundle / "nothing"
        nothing.touch(0o444)
        bound = {**dict.fromkeys(_SHELLS, nothing), **(mounts or {})}
        spec["mounts"] += [
            {"destination": inside, "source": str(outside), "type": "bind", "options": ["bind", "ro"]}
            for inside, outside in bound.items()
        ]
        spaces = [space for space in spec["linux"]["namespaces"] if space["type"] != "network"]
        if network_of is not None:
            spaces.append({"type": "network", "path": f"/proc/{network_of.pid}/ns/net"})
        elif not host_network:
            spaces.append({"type": "network"})
        spec["linux"]["namespaces"] = spaces
        (bundle / "config.json").write_text(json.dumps(spec))
        super().__init__([*self._runc, "run", "--bundle", str(bundle), self._name], bundle)

    @property
    def pid(self) -> int:
        """The number of its first process, as the host has it."""
        return int(json.loads(run(*self._runc, "state", self._name))["pid"])

    def execute(self, *command: str) -> tuple[int, str, str]:
        """Run a command inside, as an exec probe does; return exit code, standard output and standard error."""
        done = subprocess.run(
            [*self._runc, "exec", self._name, *command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def halt(self) -> int:
        """Send the image's signal to stop to its first process; return its exit code."""
        run(*self._runc, "kill", self._name, self._stop_signal)
        return self.process.wait(TIMEOUT_SECONDS)

    def wait(self) -> tuple[int, str, str]:
        """Wait until it ends by itself; return exit code, standard output and standard error."""
        return self.process.wait(TIMEOUT_SECONDS), self.output, self.log

    def clean_up(self) -> None:
        """End it, whatever it takes."""
        subprocess.run([*self._runc, "delete", "--force", self._name], capture_output=True, check=False)
        super().clean_up()
