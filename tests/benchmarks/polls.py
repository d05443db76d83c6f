"""What polls cost and how many there are: beside a bare loop, beside what was asked for, and beside scrapes.

The rule: polls are counted by the tenants. The exporter has one core, the tenants and whoever measures another.
"""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import BARE, bare_cpu_milliseconds
from benchmarks.processes import CORES, Program, exporter, on_core, timed_scrape
from benchmarks.scrapes import Add
from benchmarks.setting import prepare
from benchmarks.table import Figure, Goal, Row, number, times_the_peer
from benchmarks.tenants import Layout, Tenants, now, tenants
from soak.readings import cpu_seconds

PER_SECOND = 10

_CPU_GOAL = Goal("at most 1.5 x", at_most=1.5)
_WINDOWS = 3
_WINDOW_SECONDS = 15.0
_SINGLE_WINDOW_SECONDS = 20.0
_WARM_UP_SECONDS = 3.0
_BARE_REQUESTS = 2000
_BARE_PACED_REQUESTS = 100
_BUSY = 0.9
_MANY = 50
_ACTIONS = 20  # Of each of many tenants, so that each is always due.
_LARGE_ACTIONS = 200
_STEPS = (10, 25, 50, 75, 100, 125, 150, 175)
_STEP_SECONDS = 10.0


class Window(NamedTuple):
    """What was seen while polls ran for a while."""

    rate: float
    milliseconds: float
    """Of the exporter's CPU time, for each poll; with scrapes it holds their share, too."""
    core: float
    """Which share of its core the exporter used."""
    tenants_core: float
    """And the tenants of theirs."""
    busiest_second: int
    busiest_departures: int
    scrapes: list[float]


def watch(server: Tenants, running: Program, seconds: float, *, scraped: bool) -> Window:
    """Let polls run, and scrape each second if that is wanted."""
    began = now()
    before, tenants_before = cpu_seconds(running.pid), server.cpu_seconds
    scrapes = []
    while (left := began + seconds - now()) > 0:
        beat = now()
        if scraped:
            scrapes.append(timed_scrape(running.port))
        time.sleep(max(0.0, min(left, beat + 1.0 - now())))
    arrived, lasted = server.since(began), now() - began
    cpu, tenants_cpu = cpu_seconds(running.pid) - before, server.cpu_seconds - tenants_before
    return Window(
        rate=arrived.requests / lasted,
        milliseconds=1000 * cpu / arrived.requests,
        core=cpu / lasted,
        tenants_core=tenants_cpu / lasted,
        busiest_second=arrived.busiest_second,
        busiest_departures=arrived.busiest_departures,
        scrapes=scrapes,
    )


def poll_rows(folder: Path, add: Add) -> None:
    """Measure the cost of polls for one tenant and for many, how many there are, and how they bear scrapes."""
    with on_core(CORES[-1]):
        _single_rows(folder, add)
        _many_rows(folder, add)
        _scraped_rows(folder, add)


def _single_rows(folder: Path, add: Add) -> None:
    layout = Layout(1, 100, 100)
    windows, bare, paced = [], [], []
    for turn in range(_WINDOWS):
        with tenants(layout) as server:
            with _polling(folder / f"single-{turn}", layout, server) as running:
                windows.append(watch(server, running, _SINGLE_WINDOW_SECONDS, scraped=False))
            bare.append(_bare(server, layout, _BARE_REQUESTS))
            paced.append(_bare(server, layout, _BARE_PACED_REQUESTS, pause_seconds=1 / PER_SECOND))
    what = f"CPU per poll, 1 tenant at {PER_SECOND}/s"
    ours = Figure.of([window.milliseconds for window in windows], "ms")
    add(times_the_peer(what, ours, f"{BARE}, at full speed,", Figure.of(bare, "ms"), goal=_CPU_GOAL))
    add(times_the_peer(what, ours, f"{BARE}, with 0.1 s between,", Figure.of(paced, "ms")))
    _busiest_row(add, "1 tenant", windows)


def _many_rows(folder: Path, add: Add) -> None:
    layout = Layout(_MANY, _ACTIONS, _MANY * _ACTIONS)
    silent, scraped, bare = [], [], []
    for turn in range(_WINDOWS):
        with tenants(layout) as server:
            with _polling(folder / f"many-{turn}", layout, server) as running:
                silent.append(watch(server, running, _WINDOW_SECONDS, scraped=False))
                scraped.append(watch(server, running, _WINDOW_SECONDS, scraped=True))
            bare.append(_bare(server, layout, _BARE_REQUESTS))
    ours = Figure.of([window.milliseconds for window in silent], "ms")
    what = f"CPU per poll, {_MANY} tenants at {PER_SECOND}/s"
    add(times_the_peer(what, ours, f"{BARE}, at full speed,", Figure.of(bare, "ms"), goal=_CPU_GOAL))
    add(
        Row(
            what=f"polls per second, {_MANY} tenants at {PER_SECOND}/s, on one core, scraped each second",
            ours=Figure.of([window.rate for window in scraped], "/s"),
            beside=f"asked: {_MANY * PER_SECOND}/s",
            goal=Goal("at least 480/s", at_least=480),
            note=f"{_share(scraped)}; scrapes {_latencies(scraped)}",
        )
    )
    _busiest_row(add, f"{_MANY} tenants", silent + scraped)


def _scraped_rows(folder: Path, add: Add) -> None:
    """Compare polls with and without scrapes where these are large."""
    layout = Layout(_MANY, _LARGE_ACTIONS, _MANY * _LARGE_ACTIONS)
    silent, scraped = [], []
    with tenants(layout) as server, _polling(folder / "scraped", layout, server) as running:
        for _ in range(_WINDOWS):
            silent.append(watch(server, running, _WINDOW_SECONDS, scraped=False))
            scraped.append(watch(server, running, _WINDOW_SECONDS, scraped=True))
    add(
        times_the_peer(
            f"polls per second, {layout.total:,} actions of {_MANY} tenants, on one core, scraped each second",
            Figure.of([window.rate for window in scraped], "/s"),
            "exporter, not scraped:",
            Figure.of([window.rate for window in silent], "/s"),
            goal=Goal("polls do not wait: at least 0.98 x", at_least=0.98),
            note=f"{_share(scraped)}, {_share(silent)} without scrapes",
        )
    )
    taken = sorted(scrape for window in scraped for scrape in window.scrapes)
    add(
        Row(
            what="scrape beside these polls",
            ours=Figure.of(taken, "ms"),
            note=f"99 % within {number(taken[math.ceil(0.99 * len(taken)) - 1])} ms",
        )
    )


def tenant_rows(folder: Path, add: Add) -> None:
    """Measure how many polls there are as tenants are added, until one core is full."""
    with on_core(CORES[-1]):
        for count in _STEPS:
            layout = Layout(count, _ACTIONS, count * _ACTIONS)
            with tenants(layout) as server, _polling(folder / f"{count}", layout, server) as running:
                window = watch(server, running, _STEP_SECONDS, scraped=True)
            add(
                Row(
                    what=f"polls per second, {count} tenants at {PER_SECOND}/s, on one core",
                    ours=Figure.of([window.rate], "/s"),
                    beside=f"asked: {count * PER_SECOND}/s",
                    note=f"{_share([window])}; scrapes {_latencies([window])}",
                )
            )


@contextmanager
def _polling(folder: Path, layout: Layout, server: Tenants) -> Iterator[Program]:
    """Run an exporter on the first core, and give it when its polls have come into their stride."""
    with exporter(prepare(folder, layout, server.url), core=CORES[0]) as running:
        time.sleep(_WARM_UP_SECONDS)
        yield running


def _bare(server: Tenants, layout: Layout, requests: int, *, pause_seconds: float = 0.0) -> float:
    url = f"{server.url}/{layout.name(0)}"
    return bare_cpu_milliseconds(
        url, layout.action_ids(0)[0], requests, core=CORES[0], pause_seconds=pause_seconds
    )


def _busiest_row(add: Add, whose: str, windows: Sequence[Window]) -> None:
    add(
        Row(
            what=f"requests in any one second, {whose}, limit {PER_SECOND}",
            ours=Figure.of([window.busiest_second for window in windows]),
            goal=Goal(f"never more than {PER_SECOND + 1}", at_most=PER_SECOND + 1, worst=True),
            note=f"{max(window.busiest_departures for window in windows)} by when they left",
        )
    )


def _share(windows: Sequence[Window]) -> str:
    """Say how busy the cores were, and that the tenants held up the polls if they might have."""
    ours = statistics.median(window.core for window in windows)
    theirs = max(window.tenants_core for window in windows)
    doubt = ", which may have held polls up" if theirs > _BUSY else ""
    return f"{100 * ours:.0f} % of the core, the tenants {100 * theirs:.0f} % of theirs{doubt}"


def _latencies(windows: Sequence[Window]) -> str:
    return str(Figure.of([scrape for window in windows for scrape in window.scrapes], "ms"))
