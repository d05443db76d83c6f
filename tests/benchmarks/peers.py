"""The programs that the exporter is measured beside, each with the exporter's own series or task.

The rule: a peer does what it does as it comes, with nothing disabled; what is not installed is left out and said.
"""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import Program, free_port, pinned_to, program, scrape
from support import KEY, KEY_ID, find_program

from exporter.simulator.tenant import PATH

PLAIN = "prometheus-client"
PUSHGATEWAY = "pushgateway"
BARE = "bare loop"
IMPORTS = "imports"
IMPORTS_COMMAND = [sys.executable, "-c", "import requests, prometheus_client, yaml, pydantic"]

_FAMILIES = b"cortex_xdr_script_execution"
_PUSH_SECONDS = 300.0


class Peers(NamedTuple):
    """Those that serve the same series; None where one is not there."""

    plain: Program | None
    pushgateway: Program | None


@contextmanager
def peers(port: int, folder: Path, *, wanted: bool = True) -> Iterator[Peers]:
    """Run the peers that serve series, with those of actions that the exporter at the port has."""
    text = series_of(port, folder)
    with (
        plain_client(text, folder) if wanted else nullcontext(None) as plain,
        pushgateway(text, folder)
        if wanted and find_program("prometheus-pushgateway")
        else nullcontext(None) as push,
    ):
        yield Peers(plain, push)


def series_of(port: int, folder: Path) -> Path:
    """Write the series of actions that the exporter at the port has into a file, and return its path."""
    path = folder / "series"
    path.write_bytes(_of_actions(scrape(port, gzip=False)))
    return path


def _of_actions(exposition: bytes) -> bytes:
    """Leave out the exporter's own metrics, which a peer has of its own."""
    wanted = (_FAMILIES, b"# HELP " + _FAMILIES, b"# TYPE " + _FAMILIES)
    return b"".join(line for line in exposition.splitlines(keepends=True) if line.startswith(wanted))


def count_series(port: int) -> int:
    """Count the series of actions that the exporter at the port has."""
    return sum(line.startswith(_FAMILIES) for line in scrape(port, gzip=False).splitlines())


@contextmanager
def plain_client(text: Path, folder: Path) -> Iterator[Program]:
    """Run a program with the series of a file as plain prometheus-client objects."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("plain_client.py")), str(text), str(port)]
    with program(command, folder / "plain", port) as running:
        yield running


@contextmanager
def pushgateway(text: Path, folder: Path) -> Iterator[Program]:
    """Run Debian's pushgateway, and push the series of a file as one group."""
    port = free_port()
    path = find_program("prometheus-pushgateway")
    assert path, "prometheus-pushgateway is not installed"
    with program([path, f"--web.listen-address=127.0.0.1:{port}"], folder / "pushgateway", port) as running:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PUSH_SECONDS)
        with closing(connection):
            connection.request("PUT", "/metrics/job/bench", body=text.read_bytes())
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
        yield running


def bare_cpu_milliseconds(
    url: str, action_id: int, requests: int, *, core: int, pause_seconds: float = 0.0
) -> float:
    """Return the CPU time of a request in a loop of its own process that does nothing else, on one core."""
    command = [*pinned_to(core), sys.executable, str(Path(__file__).with_name("bare_loop.py")), f"{url}{PATH}"]
    arguments = [str(KEY_ID), KEY, str(action_id), str(requests), str(pause_seconds)]
    output = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=120).stdout
    return float(output)
