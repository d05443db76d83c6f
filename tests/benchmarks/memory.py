"""How much memory 10,000 actions take beside the plain client, and whether it grows with scrapes and polls.

The rule: memory is what the kernel says a process holds, read after scrapes and never before.
"""

import statistics
import time
from pathlib import Path

from benchmarks.peers import PLAIN, plain_client, series_of
from benchmarks.processes import Program, exporter, scrape
from benchmarks.scrapes import Add
from benchmarks.setting import prepare
from benchmarks.table import Figure, Goal, times_the_peer
from benchmarks.tenants import Layout, now, tenants

_LAYOUT = Layout(1, 10_000, 1)
_SCRAPES = 100
_PLAIN_SCRAPES = 12  # A hundred take minutes, and leave as much.
_LAST = 5
_REPEATS = 3

_TURNING = Layout(20, 50, 1000)
_TURN_SECONDS = 5.3  # 50 requests at 98 % of 10 per second.
_TURNS = 10
_FIRST_TURNS = 2
_SCRAPES_IN_ALL = 1000


def memory_rows(folder: Path, add: Add) -> None:
    """Measure memory beside the plain client's, several times, and once over many scrapes and polls."""
    ours, theirs, spans = [], [], []
    for turn in range(_REPEATS):
        place = folder / f"run-{turn}"
        with tenants(_LAYOUT) as server, exporter(prepare(place, _LAYOUT, server.url)) as running:
            text = series_of(running.port, place)
            ours.append(statistics.median(after_scrapes(running, _SCRAPES)[-_LAST:]))
            with plain_client(text, place) as plain:
                levels = after_scrapes(plain, _PLAIN_SCRAPES)[-_LAST:]
        theirs.append(statistics.median(levels))
        spans.append(max(levels) - min(levels))
    note = (
        f"median of the last {_LAST}; the peer after {_PLAIN_SCRAPES}, which they differ in by {max(spans):.0f} MB"
    )
    add(
        times_the_peer(
            f"memory, 10,000 actions, after {_SCRAPES} scrapes",
            Figure.of(ours, "MB"),
            PLAIN,
            Figure.of(theirs, "MB"),
            goal=Goal("at most 0.6 x", at_most=0.6),
            note=note,
        )
    )
    _growth_row(folder / "turns", add)


def after_scrapes(running: Program, scrapes: int) -> list[float]:
    """Scrape, and return the megabytes that are held after each."""
    levels = []
    for _ in range(scrapes):
        scrape(running.port)
        levels.append(running.resident_megabytes)
    return levels


def _growth_row(folder: Path, add: Add) -> None:
    """Scrape a thousand times while each of a thousand actions is polled ten times."""
    pause_seconds = _TURNS * _TURN_SECONDS / _SCRAPES_IN_ALL
    with tenants(_TURNING) as server, exporter(prepare(folder, _TURNING, server.url)) as running:
        _scrape_for(running, _FIRST_TURNS * _TURN_SECONDS, pause_seconds)
        levels, began, scrapes = [running.resident_megabytes], now(), 0
        for _ in range(2):
            scrapes += _scrape_for(running, _TURNS / 2 * _TURN_SECONDS, pause_seconds)
            levels.append(running.resident_megabytes)
        polls = server.since(began).requests
    first, middle, last = levels
    add(
        times_the_peer(
            f"memory after {scrapes:,} more scrapes and {polls:,} polls of {_TURNING.total:,} actions",
            Figure.of([last], "MB"),
            f"exporter, after {_FIRST_TURNS} turns:",
            Figure.of([first], "MB"),
            goal=Goal("does not grow: at most 1.05 x", at_most=1.05),
            note=f"first half {middle - first:+.1f} MB, second half {last - middle:+.1f} MB",
        )
    )


def _scrape_for(running: Program, seconds: float, pause_seconds: float) -> int:
    began, scrapes = now(), 0
    while now() < began + seconds:
        scrape(running.port)
        scrapes += 1
        time.sleep(max(0.0, began + scrapes * pause_seconds - now()))
    return scrapes
