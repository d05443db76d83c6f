"""Programs that are measured: started, looked at from outside, and ended in any case.

The rule: nothing here knows what the readings should be.
"""

import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from abuse.watch import resident_bytes
from support import HttpProcess, wait_until

COMMAND = str(Path(sys.executable).with_name("cortex-xdr-exporter"))
CORES = sorted(os.sched_getaffinity(0))

_SILENCE_SECONDS = 180.0


class Program(HttpProcess):
    """A program that serves metrics on loopback at ``port``."""

    def __init__(self, command: Sequence[str], folder: Path, port: int) -> None:
        super().__init__(command, folder)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self.process.pid

    @property
    def resident_megabytes(self) -> float:
        """How much memory it holds."""
        return resident_bytes(self.pid) / 2**20


@contextmanager
def program(command: Sequence[str], folder: Path, port: int, *, path: str = "/metrics") -> Iterator[Program]:
    """Run a program and wait until it answers well at the path."""
    running = Program(command, folder, port)
    try:

        def answers() -> bool:
            assert running.process.poll() is None, f"{command[0]} has ended:\n{running.log}"
            return answers_well(port, path)

        wait_until(answers, f"{command[0]} answers", timeout=_SILENCE_SECONDS)
        yield running
    finally:
        running.clean_up()


def exporter_command(port: int, config: Path, *, core: int | None = None) -> list[str]:
    """Return the command that starts the exporter, on one core if one is named."""
    pinned = [] if core is None else pinned_to(core)
    return [*pinned, COMMAND, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]


def pinned_to(core: int) -> list[str]:
    """Return the command that executes what follows on one core."""
    return ["taskset", "-c", str(core)]


@contextmanager
def exporter(config: Path, *, core: int | None = None) -> Iterator[Program]:
    """Run the exporter until it is ready, with everything restored or polled."""
    port = free_port()
    with program(exporter_command(port, config, core=core), config.parent, port, path="/-/ready") as running:
        yield running


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Find a port that nobody listens on at the moment."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
    return port


def scrape(port: int, *, gzip: bool = True, path: str = "/metrics") -> bytes:
    """Return the body of a scrape as it comes, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SILENCE_SECONDS)
    with closing(connection):
        connection.request("GET", path, headers={"Accept-Encoding": "gzip" if gzip else "identity"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"status {answer.status}"
        assert bool(gzip) is (answer.headers["Content-Encoding"] == "gzip") or path != "/metrics"
    return body


def timed_scrape(port: int, *, gzip: bool = True) -> float:
    """Scrape, and return the milliseconds from the connect to the last byte."""
    began = time.perf_counter()
    scrape(port, gzip=gzip)
    return 1000 * (time.perf_counter() - began)


def answers_well(port: int, path: str) -> bool:
    """Tell whether a path answers 200 at the moment."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_SILENCE_SECONDS)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False
