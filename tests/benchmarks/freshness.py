"""How old the counts of unfinished actions are, from the exporter's own plan and rate, in simulated time.

The rule: schedule and rate limit are the exporter's, nothing sleeps, and all requests take the same time.
"""

import heapq
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.scrapes import Add
from benchmarks.table import Figure, Goal, Row

from exporter.ratelimit import RateLimit
from exporter.schedule import Schedule

RATE = 5.0
SIZES = (100, 1_000, 10_000, 100_000)

_INTERVAL_SECONDS = 60.0
_SETTLED_INTERVAL_SECONDS = 3600.0
_REQUEST_SECONDS = 0.2
_SEEDS = (1, 2, 3)
_BOUNDS_BEFORE = 3
_BOUNDS_MEASURED = 3
_NEW = 500


class Ages(NamedTuple):
    """Ages of unfinished actions' counts in seconds."""

    mean: float
    """At a moment, over all moments and actions."""
    replaced: float
    """When newer counts replace them: the most that each gets, on average."""
    most: float


class Simulation:
    """One tenant's plan: takes what is due as the rate allows, and ends each poll well after a while."""

    def __init__(self, actions: int, seed: int) -> None:
        chance = random.Random(seed)
        self._schedule = Schedule(
            interval=_INTERVAL_SECONDS, settled_interval=_SETTLED_INTERVAL_SECONDS, jitter=chance.random
        )
        self._rate = RateLimit(RATE, longest_pause=60.0, jitter=chance.random)
        self._flights: list[tuple[float, float, str]] = []
        self._unfinished = actions // 10
        self.bound = bound(actions)
        self.now = 0.0
        for number in range(actions):
            settled = number >= self._unfinished
            period = _SETTLED_INTERVAL_SECONDS if settled else self.bound
            self._schedule.restore(str(number), chance.random() * period, 0.0, settled=settled, failures=0)

    def add(self, count: int) -> frozenset[str]:
        """Begin to track new actions now, and return their IDs."""
        added = frozenset(f"new-{number}" for number in range(count))
        for action_id in sorted(added):
            self._schedule.add(action_id, self.now)
        return added

    def until(self, end: float) -> Iterator[tuple[str, float, float]]:
        """Go on, and yield each poll of an unfinished action: whose it was, when it was sent, when it ended."""
        while True:
            departs = max(self._rate.ready_at, self._schedule.due_at())
            lands = self._flights[0][0] if self._flights else float("inf")
            self.now = max(self.now, min(departs, lands))
            if self.now >= end:
                return
            if lands <= departs:
                _, started, action_id = heapq.heappop(self._flights)
                settled = action_id.isdigit() and int(action_id) >= self._unfinished
                self._schedule.succeeded(action_id, started, settled=settled)
                if not settled:
                    yield action_id, started, self.now
            else:
                taken = self._schedule.take(self.now)
                assert taken is not None
                self._rate.take(self.now)
                heapq.heappush(self._flights, (self.now + _REQUEST_SECONDS, self.now, taken))


def bound(actions: int) -> float:
    """Return the least time that polls of all unfinished actions take, or the interval if it is longer."""
    return max(_INTERVAL_SECONDS, actions // 10 / RATE)


def steady(actions: int, seed: int) -> Ages:
    """Return the ages while nothing is added."""
    simulation = Simulation(actions, seed)
    known = {action_id: ended for action_id, _, ended in simulation.until(_BOUNDS_BEFORE * simulation.bound)}
    return _ages(simulation, known, _BOUNDS_MEASURED * simulation.bound)[0]


def campaign(actions: int, seed: int) -> tuple[Ages, float]:
    """Return the ages from the arrival of new actions on, and after how many seconds each had its first poll."""
    simulation = Simulation(actions, seed)
    known = {action_id: ended for action_id, _, ended in simulation.until(_BOUNDS_BEFORE * simulation.bound)}
    began = simulation.now
    added = simulation.add(_NEW)
    ages, first_polls = _ages(simulation, known, _NEW / RATE + simulation.bound)
    return ages, max(first_polls[action_id] for action_id in added) - began


def _ages(simulation: Simulation, known: dict[str, float], seconds: float) -> tuple[Ages, dict[str, float]]:
    """Go on for a while from when each action's counts are known; also return when each of the others had some."""
    began = simulation.now
    read = dict(known)
    first_polls: dict[str, float] = {}
    replaced: list[float] = []
    area = 0.0
    for action_id, _, ended in simulation.until(began + seconds):
        if action_id not in known:
            first_polls.setdefault(action_id, ended)
            continue
        replaced.append(ended - read[action_id])
        area += _area(read[action_id], max(began, read[action_id]), ended)
        read[action_id] = ended
    end = began + seconds
    for last in read.values():
        area += _area(last, max(began, last), end)
    most = max(*replaced, *(end - last for last in read.values()))
    return Ages(area / seconds / len(read), sum(replaced) / len(replaced), most), first_polls


def _area(read_at: float, first: float, last: float) -> float:
    """Integrate the age of counts that were read once over a time."""
    return ((last - read_at) ** 2 - (first - read_at) ** 2) / 2


def freshness_rows(_folder: Path, add: Add) -> None:
    """Measure ages for growing numbers of actions, a tenth of them unfinished, and when a campaign begins."""
    for actions in SIZES:
        limit = bound(actions)
        runs = [steady(actions, seed) for seed in _SEEDS]
        ratios = [ages.replaced / limit for ages in runs]
        unfinished = f"{actions:,} actions, {actions // 10:,} unfinished"
        add(
            Row(
                what=f"freshness, {unfinished}, {RATE:g} requests/s: age of counts when they are replaced",
                ours=Figure.of([ages.replaced for ages in runs], "s"),
                beside=f"bound {limit:,.0f} s",
                ratio=Figure.of(ratios, "x"),
                goal=Goal("at most 1.1 x", at_most=1.1) if actions == 10_000 else None,
                note=f"mean at any moment {max(ages.mean for ages in runs):.0f} s,"
                f" oldest {max(ages.most for ages in runs):.0f} s",
            )
        )
    for actions in SIZES:
        campaigns = [campaign(actions, seed) for seed in _SEEDS]
        add(
            Row(
                what=f"freshness, {actions:,} actions, {_NEW} new at once: each polled once",
                ours=Figure.of([seconds for _, seconds in campaigns], "s"),
                beside=f"bound {_NEW / RATE:.0f} s",
                ratio=Figure.of([seconds / (_NEW / RATE) for _, seconds in campaigns], "x"),
                note="of the others meanwhile the mean at any moment"
                f" {max(ages.mean for ages, _ in campaigns):.0f} s,"
                f" oldest {max(ages.most for ages, _ in campaigns):.0f} s",
            )
        )
