"""The abuse campaign: hostile clients against the exporter's process, and what was measured beside its bound.

The rule: a case that fails is a row of the table, and the run goes on. ``python -m abuse.campaign --only=drip``
runs one case.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from abuse import hasty, refused, slow
from abuse.scale import FULL, SHORT, Scale
from abuse.verdict import Findings, as_data, table

Case = Callable[[Path, Scale, Findings], None]

CASES: Mapping[str, Case] = {
    "drip": slow.drip_requests,
    "idle": slow.stay_idle,
    "readers": slow.read_large_answers_slowly,
    "handshakes": slow.leave_handshakes_open,
    "handles": slow.take_all_handles,
    "malformed": refused.send_malformed_requests,
    "large": refused.send_too_much,
    "stop": hasty.stop_beside_clients,
    "busy": hasty.scrape_beside_a_busy_thread,
    "hammer": hasty.hammer,
    "passwords": hasty.guess,
    "connections": hasty.use_connections_badly,
}


def run(case: Case, folder: Path, scale: Scale, say: Callable[[str], None]) -> Findings:
    """Run a case; one that ends early, because the exporter did or does not start, has a row that says so."""
    findings = Findings(say)
    try:
        case(folder, scale, findings)
    except (OSError, AssertionError, EOFError, pytest.fail.Exception) as error:
        findings.require("case completed", [f"{type(error).__name__}: {error}"], 1)
    return findings


def main() -> int:
    """Run the cases, print their table, and return the exit code: 1 if a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CASES), help="cases by name, with commas between: %(default)s")
    parser.add_argument("--short", action="store_true", help="few clients, as the tests have them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument(
        "--folder", type=Path, help="an empty one, to keep logs and files in; else a temporary one"
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(CASES):
        parser.error(f"argument --only: no such case: {', '.join(sorted(unknown))}")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            began = time.monotonic()
            folder = (options.folder or Path(temporary)) / name
            rows += run(CASES[name], folder, SHORT if options.short else FULL, _print).rows
            _print(f"({name}: {time.monotonic() - began:.0f} s)\n")
    _print(table(rows))
    missed = sum(not row.kept for row in rows)
    _print(f"{sum(bool(row.bound) for row in rows)} bounds, {missed} missed")
    if options.json:
        options.json.write_text(json.dumps(as_data(rows), indent=1) + "\n")
    return 1 if missed else 0


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the table is what this is for


if __name__ == "__main__":
    sys.exit(main())
