"""Measure a scrape of 10,000 actions beside the same series in plain prometheus-client objects.

Both run as processes of their own and are scraped in turn over loopback, with gzip; the table gives medians
with their spread, the ratio of each pair of scrapes, and memory after all of them.
"""

import argparse
import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import ExporterProcess, api_section, exporter_arguments, make_tenant, wait_until

from exporter.simulator.demo import FIRST_ACTION_ID
from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--actions", type=int, default=10_000, help="over all tenants")
    parser.add_argument("--scrapes", type=int, default=15)
    options = parser.parse_args()
    each = options.actions // options.tenants
    with exporter(options.tenants, each) as (ours, our_port):
        text = scrape(our_port, gzip=False).decode()
        with plain_client(text) as (theirs, their_port):
            series = sum(line.startswith("cortex_xdr_script_execution") for line in text.splitlines())
            rows = {
                "with gzip": measure(our_port, their_port, options.scrapes, gzip=True),
                "without": measure(our_port, their_port, options.scrapes, gzip=False),
            }
            memory = [resident_megabytes(pid) for pid in (ours, theirs)]
    print(f"{options.actions:,} actions over {options.tenants} tenants, {series:,} series of actions")
    print(f"{'':24}{'exporter':>22}{'prometheus-client':>22}{'ratio':>22}")
    for name, (mine, plain) in rows.items():
        ratios = [theirs / ours for ours, theirs in zip(mine, plain, strict=True)]
        cells = [
            spread([1000 * t for t in mine], "ms"),
            spread([1000 * t for t in plain], "ms"),
            spread(ratios, "x"),
        ]
        print(f"{'scrape ' + name:24}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"{'memory':24}{memory[0]:19.0f} MB{memory[1]:19.0f} MB{memory[0] / memory[1]:21.2f}x")


def spread(values: list[float], unit: str) -> str:
    """Return the median with the least and the greatest."""
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f}) {unit}"


def measure(our_port: int, their_port: int, scrapes: int, *, gzip: bool) -> tuple[list[float], list[float]]:
    """Scrape both in turn, after one of each that is not counted; return the seconds that each took."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(scrapes + 1):
        for port, taken in zip((our_port, their_port), times, strict=True):
            started = time.perf_counter()
            scrape(port, gzip=gzip)
            taken.append(time.perf_counter() - started)
    return times[0][1:], times[1][1:]


def scrape(port: int, *, gzip: bool) -> bytes:
    """Return a scrape's body as it comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip" if gzip else "identity"})
        return connection.getresponse().read()
    finally:
        connection.close()


@contextmanager
def exporter(tenants: int, actions: int) -> Iterator[tuple[int, int]]:
    """Run the exporter against simulated tenants until each action has been polled; give process ID and port."""
    simulated = {}
    for tenant in range(tenants):
        lives = {
            str(FIRST_ACTION_ID + action): Fixed(
                "IN_PROGRESS", Counts(pending=action, failed=tenant, completed_successfully=1000 - action)
            )
            for action in range(actions)
        }
        simulated[f"t{tenant}"] = make_tenant(lives)
    with SimulatorServer(simulated) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration = {
            "tenants": [
                {
                    "name": name,
                    "api": api_section(f"{server.url}/{name}", requests_per_second=10),
                    "actions": [
                        {"id": int(action_id), "labels": {"campaign": f"c{name}", "team": "endpoint-ops"}}
                        for action_id in tenant.actions
                    ],
                }
                for name, tenant in simulated.items()
            ],
            "poll": {"interval": "1d", "stale_after": "0s"},
        }
        process = ExporterProcess(exporter_arguments(configuration, [], folder), folder)
        try:
            wait_until(lambda: process.get("/-/ready").status_code == 200, "each action is polled", timeout=300)
            yield process.process.pid, int(process.url.rpartition(":")[2])
        finally:
            process.clean_up()


@contextmanager
def plain_client(text: str) -> Iterator[tuple[int, int]]:
    """Run the peer with the same series; give process ID and port."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("plain_client.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text)
        process.stdin.close()
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def resident_megabytes(pid: int) -> float:
    """Read how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
