"""Measure the exporter beside its peers, part by part, and print one table.

The rule: a part that fails is a row of the table, and the others go on. The exit code says whether everything was
measured, not whether every goal was met. ``python -m benchmarks.campaign --only=start`` runs one part.
"""

import argparse
import datetime as dt
import http.client
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from benchmarks import freshness, growth, memory, polls, scrapes, start
from benchmarks.processes import CORES
from benchmarks.table import Row, as_data, markdown

from exporter import __version__

Part = Callable[[Path, Callable[[Row], None]], None]

PARTS: Mapping[str, Part] = {
    "scrape": scrapes.scrape_rows,
    "memory": memory.memory_rows,
    "polls": polls.poll_rows,
    "tenants": polls.tenant_rows,
    "freshness": freshness.freshness_rows,
    "start": start.start_rows,
    "growth": growth.growth_rows,
}

_FAILURES = (
    *(OSError, AssertionError, EOFError, http.client.HTTPException, subprocess.SubprocessError),
    pytest.fail.Exception,
)
_PLOT = Path("docs/images/performance-growth.png")


def run(name: str, folder: Path, add: Callable[[Row], None]) -> bool:
    """Run a part, and tell whether it came to its end; one that does not has a row that says so."""
    folder.mkdir(parents=True)
    try:
        PARTS[name](folder, add)
    except _FAILURES as error:
        add(Row(what=f"{name}: failed", note=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
        return False
    return True


def header(only: str) -> dict[str, str]:
    """Say what was run, on what, and when."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = f" ({found[1]})" if found else ""
    return {
        "command": f"`make bench{f' ONLY={only}' if only else ''}`, exporter {__version__}",
        "machine": f"{len(CORES)} cores{model}, {platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "busy before": f"a load of {os.getloadavg()[0]:.1f}, by whatever else ran",
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
    }


def main() -> int:
    """Run the parts, print their table, and return the exit code: 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help=f"parts, with commas between: {','.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", default=_PLOT, help="draw how things grow: %(default)s"
    )
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"argument --only: no such part: {', '.join(sorted(unknown))}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # Through every context, which ends what it started.
    head = header(options.only)  # Now, as this run itself makes the machine busy.
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        _say("  " + " | ".join(row.cells))

    complete = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            began = time.monotonic()
            _say(f"{name}:")
            complete = run(name, Path(temporary) / name, add) and complete
            _say(f"  ({time.monotonic() - began:.0f} s)")
        plot = Path(temporary) / "growth" / growth.PLOT
        if plot.exists():
            shutil.copyfile(plot, options.plot)
    _say("\n" + markdown(head, rows))
    if options.json:
        options.json.write_text(json.dumps(as_data(head, rows), indent=1) + "\n")
    return 0 if complete else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
