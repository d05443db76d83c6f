"""How scrapes, memory and freshness grow with the number of actions, beside the peers; the numbers and their plot.

The rule: the exporter goes on to the end, a peer as long as its turn is a matter of minutes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.freshness import RATE, bound, steady
from benchmarks.peers import PLAIN, PUSHGATEWAY, peers
from benchmarks.plot import Line, Panel, draw
from benchmarks.processes import exporter
from benchmarks.scrapes import Add, measure, waiting_for
from benchmarks.setting import prepare
from benchmarks.table import Figure, Row, times_faster, times_the_peer
from benchmarks.tenants import Layout, tenants

EXPORTER = "exporter"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
PLOT = "growth.png"

_TURNS = 5
_PEERS_TURNS = 2
_ADDED_PER_ACTION = (1_000, 10_000, 100_000)


class Point(NamedTuple):
    """What was measured of one program with one number of actions."""

    scrapes: Figure
    memory: Figure


Curves = Mapping[str, dict[int, Point]]


def growth_rows(folder: Path, add: Add) -> None:
    """Measure all with more and more actions, and draw the plot."""
    curves: Curves = {EXPORTER: {}, PLAIN: {}, PUSHGATEWAY: {}}
    for actions in (1, *SIZES):
        for name, point in _points(folder / f"{actions}", actions).items():
            curves[name][actions] = point
        if actions > 1:
            _add_rows(add, actions, curves)
    ages = {actions: steady(actions, 1).replaced for actions in SIZES}
    draw(_panels(curves, ages), folder / PLOT)


def _points(folder: Path, actions: int) -> dict[str, Point]:
    layout = Layout(1, actions, 1)
    with (
        tenants(layout) as server,
        exporter(prepare(folder, layout, server.url)) as ours,
        peers(ours.port, folder) as theirs,
    ):
        wait = waiting_for(server, layout)
        measured = measure(ours, theirs, wait, turns=_TURNS, most_of_peers=_PEERS_TURNS)
        sides = {
            EXPORTER: (ours, measured.ours),
            PLAIN: (theirs.plain, measured.plain),
            PUSHGATEWAY: (theirs.pushgateway, measured.pushgateway),
        }
        return {
            name: Point(Figure.of(taken, "ms"), Figure.of([program.resident_megabytes], "MB"))
            for name, (program, taken) in sides.items()
            if program is not None
        }


def _add_rows(add: Add, actions: int, curves: Curves) -> None:
    ours = curves[EXPORTER][actions]
    for name in (PLAIN, PUSHGATEWAY):
        theirs = curves[name].get(actions)
        if theirs is not None:
            add(times_faster(f"scrape, {actions:,} actions, one changed", ours.scrapes, name, theirs.scrapes))
            add(times_the_peer(f"memory, {actions:,} actions", ours.memory, name, theirs.memory))
    if actions in _ADDED_PER_ACTION:
        add(
            Row(
                what=f"memory per action, {actions:,} actions",
                ours=_per_action(curves[EXPORTER], actions),
                beside=f"{PLAIN} {_per_action(curves[PLAIN], actions)}",
            )
        )


def _per_action(points: Mapping[int, Point], actions: int) -> Figure:
    """Return how much memory each action adds to what one takes."""
    added = points[actions].memory.median - points[1].memory.median
    return Figure.of([1024 * added / (actions - 1)], "KB")


def _panels(curves: Curves, ages: Mapping[int, float]) -> Sequence[Panel]:
    sized = {
        name: {actions: point for actions, point in points.items() if actions > 1}
        for name, points in curves.items()
        if points
    }
    return (
        Panel(
            "Scrape with gzip, one action changed",
            "milliseconds",
            [Line(name, {a: p.scrapes.median for a, p in points.items()}) for name, points in sized.items()],
        ),
        Panel(
            "Memory after scrapes",
            "megabytes",
            [Line(name, {a: p.memory.median for a, p in points.items()}) for name, points in sized.items()],
        ),
        Panel(
            f"Age of counts when replaced,\n10 % unfinished, {RATE:g} requests/s (simulated)",
            "seconds",
            [
                Line(EXPORTER, ages),
                Line("bound: interval, or unfinished / rate", {a: bound(a) for a in ages}, dashed=True),
            ],
        ),
    )
