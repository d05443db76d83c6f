"""How long it takes from the start of the process to the first answered scrape, beside the imports alone.

The rule: both are started in turn from the same virtual environment, after one start of each that is not counted.
"""

import subprocess
import time
from pathlib import Path

import yaml
from benchmarks.peers import IMPORTS, IMPORTS_COMMAND
from benchmarks.processes import Program, answers_well, exporter_command, free_port
from benchmarks.scrapes import Add
from benchmarks.setting import prepare
from benchmarks.table import Figure, Goal, times_the_peer
from benchmarks.tenants import Layout, now
from support import api_section

_TURNS = 12
_PAUSE_SECONDS = 0.002
_LONGEST_SECONDS = 60.0
_LARGE = Layout(1, 10_000, 0)
_NOBODY = "http://127.0.0.1:9"  # Nothing listens there, and no start waits for a tenant.


def start_rows(folder: Path, add: Add) -> None:
    """Measure starts with one action, and with 10,000 in the state file."""
    small = folder / "small"
    small.mkdir()
    config = small / "config.yaml"
    config.write_text(yaml.safe_dump({"api": api_section(_NOBODY), "actions": [1]}))
    large = prepare(folder / "large", _LARGE, _NOBODY)
    ours: dict[Path, list[float]] = {config: [], large: []}
    imports: list[float] = []
    for _ in range(_TURNS + 1):
        imports.append(_milliseconds_of_imports())
        for path, values in ours.items():
            values.append(_milliseconds_to_scrape(path))
    peer = Figure.of(imports[1:], "ms")
    for path, what, goal in (
        (config, "start to first scrape, one action", Goal("at most 2 x", at_most=2)),
        (large, "start to first scrape, 10,000 actions in the state file", None),
    ):
        add(times_the_peer(what, Figure.of(ours[path][1:], "ms"), IMPORTS, peer, goal=goal))


def _milliseconds_of_imports() -> float:
    began = time.perf_counter()
    subprocess.run(IMPORTS_COMMAND, check=True, timeout=_LONGEST_SECONDS)
    return 1000 * (time.perf_counter() - began)


def _milliseconds_to_scrape(config: Path) -> float:
    port = free_port()
    command = exporter_command(port, config)
    began = time.perf_counter()
    running = Program(command, config.parent, port)
    try:
        deadline = now() + _LONGEST_SECONDS
        while not answers_well(port, "/metrics"):
            assert now() < deadline, f"no scrape was answered:\n{running.log}"
            time.sleep(_PAUSE_SECONDS)
        return 1000 * (time.perf_counter() - began)
    finally:
        running.clean_up()
