"""How long a scrape of 10,000 actions takes by what has changed since the last one, beside the peers.

The rule: what is scraped has changed by real polls, and these are over when it is scraped.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import PLAIN, PUSHGATEWAY, Peers, count_series, peers
from benchmarks.processes import Program, exporter, timed_scrape
from benchmarks.setting import prepare
from benchmarks.table import Figure, Goal, Row, times_faster
from benchmarks.tenants import Layout, Tenants, now, tenants
from soak.readings import cpu_seconds

Add = Callable[[Row], None]

BESIDE_PLAIN = Goal("at least 100 x", at_least=100)
BESIDE_PUSHGATEWAY = Goal("at least 15 x", at_least=15)
NOT_INSTALLED = "prometheus-pushgateway is not installed"

_ACTIONS = 10_000
_SINGLE = Layout(1, _ACTIONS, 1)
_STILL = Layout(1, _ACTIONS, 0)
_SPREAD = Layout(20, _ACTIONS // 20, 0)
_TURNS = 15
_PUSHGATEWAY_TURNS = 10
_PLAIN_TURNS = 5
_WHOLE_TURNS = 3
_REST_SECONDS = 0.1  # Between the answer that a tenant has sent and the text that is rendered of it.
_TURN_SECONDS = 120.0
_CROWD = 20
_CROWD_SECONDS = 3.0
_REPEATS = 5


class Measured(NamedTuple):
    """The milliseconds that scrapes took, turn by turn; each peer has its turns first."""

    ours: list[float]
    plain: list[float]
    pushgateway: list[float]


def measure(
    ours: Program,
    theirs: Peers,
    wait: Callable[[], None],
    *,
    turns: int = _TURNS,
    most_of_peers: int = _TURNS,
    gzip: bool = True,
    warm_up: bool = True,
) -> Measured:
    """Scrape all in turn, each time after a wait; one scrape of each before is not counted."""
    measured = Measured([], [], [])
    sides = [
        (ours, measured.ours, turns),
        (theirs.pushgateway, measured.pushgateway, min(turns, most_of_peers, _PUSHGATEWAY_TURNS)),
        (theirs.plain, measured.plain, min(turns, most_of_peers, _PLAIN_TURNS)),
    ]
    if warm_up:
        for side, _, _ in sides:
            if side is not None:
                timed_scrape(side.port, gzip=gzip)
    for turn in range(turns):
        wait()
        for side, taken, most in sides:
            if side is not None and turn < most:
                taken.append(timed_scrape(side.port, gzip=gzip))
    return measured


def add_rows(add: Add, what: str, measured: Measured, *, goals: bool = False, note: str = "") -> None:
    """Add a row for each peer."""
    ours = Figure.of(measured.ours, "ms")
    add(
        times_faster(
            what, ours, PLAIN, Figure.of(measured.plain, "ms"), goal=BESIDE_PLAIN if goals else None, note=note
        )
    )
    goal = BESIDE_PUSHGATEWAY if goals else None
    if measured.pushgateway:
        add(times_faster(what, ours, PUSHGATEWAY, Figure.of(measured.pushgateway, "ms"), goal=goal, note=note))
    else:
        add(Row(what=what, beside=f"{PUSHGATEWAY}: {NOT_INSTALLED}", goal=goal, note=note))


def waiting_for(
    server: Tenants, layout: Layout, *, began: float | None = None, look_seconds: float = 0.05
) -> Callable[[], None]:
    """Return what waits until each unfinished action has been polled since it was waited the last time.

    The first time counts from ``began``, which is now where it is not given.
    """
    waited = [now() if began is None else began]

    def wait() -> None:
        deadline = now() + _TURN_SECONDS
        while server.since(waited[0]).distinct < layout.unfinished:
            assert now() < deadline, "not every action was polled"
            time.sleep(look_seconds)
        time.sleep(_REST_SECONDS)
        waited[0] = now()

    return wait


@contextmanager
def polled(folder: Path, layout: Layout) -> Iterator[tuple[Tenants, Program]]:
    """Run tenants, and an exporter that polls their unfinished actions every two seconds."""
    with tenants(layout) as server, exporter(prepare(folder, layout, server.url, interval="2s")) as ours:
        yield server, ours


def scrape_rows(folder: Path, add: Add) -> None:
    """Measure scrapes after changes of nothing, of one action, of a hundredth of all, and of all."""
    with polled(folder / "one", _SINGLE) as (server, ours), peers(ours.port, folder) as theirs:
        size = f"{_ACTIONS:,} actions, {count_series(ours.port):,} series"
        wait = waiting_for(server, _SINGLE)
        add_rows(add, "scrape, one action changed", measure(ours, theirs, wait), goals=True, note=size)
        plain_text = measure(ours, theirs, wait, turns=_PLAIN_TURNS, gzip=False)
        add_rows(add, "scrape, one action changed, without gzip", plain_text)
        with polled(folder / "still", _STILL) as (_, quiet):
            still = measure(quiet, theirs, lambda: None, turns=_PLAIN_TURNS)
            add_rows(add, "scrape, nothing changed", still)
            _crowd_rows(quiet, add)
    _spread_rows(folder, add)


def _spread_rows(folder: Path, add: Add) -> None:
    """Measure the same over 20 tenants, which have metrics of their own."""
    one, hundredth, whole = (
        _SPREAD._replace(unfinished=1),
        _SPREAD._replace(unfinished=_ACTIONS // 100),
        _SPREAD._replace(unfinished=_ACTIONS),
    )
    with polled(folder / "spread", one) as (server, ours), peers(ours.port, folder) as theirs:
        taken = measure(ours, theirs, waiting_for(server, one))
        add_rows(add, "scrape, one action changed, over 20 tenants", taken)
        with polled(folder / "hundredth", hundredth) as (server_of_more, more):
            taken = measure(more, theirs, waiting_for(server_of_more, hundredth))
            add_rows(add, "scrape, 1 % changed, over 20 tenants", taken)
        taken = Measured([], [], [])
        fewest = whole.total
        for turn in range(_WHOLE_TURNS):
            place = folder / f"whole-{turn}"
            with (
                tenants(whole) as tenants_of_all,
                exporter(prepare(place, whole, tenants_of_all.url, interval="1d", overdue=True)) as all_of_it,
            ):
                timed_scrape(all_of_it.port)
                began = now()
                wait = waiting_for(tenants_of_all, whole, began=0.0, look_seconds=0.5)
                once = measure(all_of_it, theirs, wait, turns=1, warm_up=False)
                fewest = min(fewest, tenants_of_all.since(began).distinct)
                for values, more_values in zip(taken, once, strict=True):
                    values.extend(more_values)
        note = f"{fewest:,} of {whole.total:,}"
        add_rows(add, "scrape, all changed, over 20 tenants", taken, note=note)


def _crowd_rows(quiet: Program, add: Add) -> None:
    """Measure the CPU time of a scrape for one client, and for 20 that ask at once."""
    costs: dict[int, list[float]] = {1: [], _CROWD: []}
    for _ in range(_REPEATS):
        for clients, values in costs.items():
            values.append(_cpu_milliseconds(quiet, clients))
    alone, together = (Figure.of(values, "ms") for values in costs.values())
    ratio = Figure.of([b / a for a, b in zip(alone.values, together.values, strict=True)], "x")
    add(
        Row(
            what=f"CPU per scrape, {_CROWD} clients at once, nothing changed",
            ours=together,
            beside="exporter, 1 client:",
            theirs=alone,
            ratio=ratio,
        )
    )


def _cpu_milliseconds(quiet: Program, clients: int) -> float:
    before, scrapes, ends = cpu_seconds(quiet.pid), 0, now() + _CROWD_SECONDS
    with ThreadPoolExecutor(clients) as pool:
        while now() < ends:
            scrapes += len(list(pool.map(timed_scrape, [quiet.port] * clients)))
    return 1000 * (cpu_seconds(quiet.pid) - before) / scrapes
