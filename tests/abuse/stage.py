"""The exporter under abuse: a process of its own with limits, and with all that a case asks for.

The rule: no abuse may take the machine with it, so that memory has a limit far above every bound.
"""

import json
import random
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import trustme
import yaml
from abuse.clients import Target, basic
from abuse.watch import Scrape, handles, resident_bytes, scrape
from support import RUNNING, ExporterProcess, api_section, exporter_arguments, make_tenant, wait_until

from exporter.simulator.demo import FIRST_ACTION_ID
from exporter.simulator.server import SimulatorServer
from exporter.web.app import READY_PATH

USER = "prometheus"
PASSWORD = "not-a-real-password"

_HASH = "$2b$10$abcdefghijklmnopqrstuuWZOWHCdnuOVFb9VpY4mOQM06pyJg9PK"  # Of PASSWORD, at bcrypt's cost 10.
_ADDRESS = "127.0.0.1"
_MOST_KILOBYTES = 4 << 20
_USUAL_HANDLES = 1024
_LARGE_ACTIONS = 10_000
_LARGE_BYTES = 10_000_000
_LARGE_FILES = 4  # None of which may have more than 8 MiB.
_LABELS = 10
_REST_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the exporter is like: ``large`` has an exposition of 10 MB, ``busy`` a thread at full CPU beside it."""

    large: bool = False
    tls: bool = False
    password: bool = False
    busy: bool = False
    handles: int | None = None
    """The limit of open files, which the process cannot raise; without one a common soft limit."""


class Held(NamedTuple):
    """What a process holds while nobody abuses it."""

    resident_bytes: int
    handles: int


@dataclass(frozen=True, slots=True)
class Subject:
    """The running exporter."""

    process: ExporterProcess
    target: Target
    log_before: int
    """How long the log was when it was ready."""

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self.process.process.pid

    @property
    def log(self) -> str:
        """What it has logged since it was ready."""
        return self.process.log[self.log_before :]

    def scrape(self, accept_encoding: str = "gzip") -> Scrape:
        """Scrape it."""
        return scrape(self.target, accept_encoding=accept_encoding)

    def held(self) -> Held:
        """Return what it holds once connections that have ended are closed there, too."""
        time.sleep(_REST_SECONDS)
        return Held(resident_bytes(self.pid), handles(self.pid))


@contextmanager
def exporter(folder: Path, setup: Setup) -> Iterator[Subject]:
    """Run the exporter, which tracks a few actions or many, and wait until it has something to say of each."""
    folder.mkdir(parents=True)
    files = f"-n {setup.handles}" if setup.handles else f"-Sn {_USUAL_HANDLES}"
    prefix = ["sh", "-c", f'ulimit -d {_MOST_KILOBYTES}; ulimit {files}; exec "$@"', "sh"]
    if setup.busy:
        prefix += [sys.executable, str(Path(__file__).with_name("busy.py"))]
    ca = trustme.CA()
    with SimulatorServer({"": make_tenant(dict.fromkeys("123456789", RUNNING))}) as server:
        api = api_section(server.url, requests_per_second=0.001 if setup.large else 10)
        configuration: dict[str, object] = {"api": api, "poll": {"interval": "1d", "stale_after": "0s"}}
        if setup.large:
            for number in range(_LARGE_FILES):
                actions = _large_actions()[number::_LARGE_FILES]
                (folder / f"actions-{number}.json").write_text(json.dumps(actions))
            configuration["action_files"] = ["actions-*.json"]
        else:
            configuration["actions"] = list(range(1, 10))
        arguments = exporter_arguments(configuration, _web_arguments(setup, ca, folder), folder)
        process = ExporterProcess(arguments, folder, prefix=prefix)
        try:
            target = Target(
                _ADDRESS,
                int(process.url.rpartition(":")[2]),
                folder / "ca.pem" if setup.tls else None,
                basic(USER, PASSWORD) if setup.password else None,
            )
            wait_until(lambda: _is_ready(target, setup), "the exporter is ready")
            yield Subject(process, target, len(process.log))
        finally:
            process.clean_up()


def _is_ready(target: Target, setup: Setup) -> bool:
    if setup.large:
        return scrape(target, accept_encoding="identity").size >= _LARGE_BYTES
    return not scrape(target, path=READY_PATH).problem


def _web_arguments(setup: Setup, ca: trustme.CA, folder: Path) -> list[str]:
    content: dict[str, object] = {}
    if setup.tls:
        ca.cert_pem.write_to_path(folder / "ca.pem")
        certificate = ca.issue_cert(_ADDRESS)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(folder / "cert.pem", append=bool(number))
        content["tls_server_config"] = {"cert_file": "cert.pem", "key_file": "key.pem"}
    if setup.password:
        content["basic_auth_users"] = {USER: _HASH}
    if not content:
        return []
    (folder / "web.yaml").write_text(yaml.safe_dump(content))
    return [f"--web.config.file={folder / 'web.yaml'}"]


def _large_actions() -> list[dict[str, object]]:
    """Return actions whose labels alone make an exposition of 10 MB, which gzip leaves most of."""
    chance = random.Random(0)
    return [
        {
            "id": FIRST_ACTION_ID + number,
            "labels": {f"l{label}": b64encode(chance.randbytes(72)).decode() for label in range(_LABELS)},
        }
        for number in range(_LARGE_ACTIONS)
    ]
