"""Simulated tenants in a process of their own, so that what they cost is nobody's who is measured.

The rule: an action's counts differ at each poll, and what the tenants counted can be asked for at any time.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from soak.readings import busiest_second, cpu_seconds
from support import make_tenant
from support_arrivals import departures

from exporter.simulator.demo import FIRST_ACTION_ID
from exporter.simulator.lives import Counts, Life, Snapshot
from exporter.simulator.server import SimulatorServer

ENDPOINTS = 1000

_CHANGES_PER_SECOND = 20.0
_LIMIT = 100_000  # Far above what anybody asks for, the bare loop too: who is too fast is counted and not refused.


class Layout(NamedTuple):
    """How many tenants there are, how many actions each has, and how many of all actions are unfinished."""

    tenants: int
    actions: int
    unfinished: int

    @property
    def total(self) -> int:
        """How many actions there are in all."""
        return self.tenants * self.actions

    def unfinished_of(self, tenant: int) -> int:
        """Return how many of a tenant's actions are unfinished: as many as the others have, or one more."""
        each, left = divmod(self.unfinished, self.tenants)
        return each + (tenant < left)

    def name(self, tenant: int) -> str:
        """Return a tenant's name, which is also its path."""
        return f"t{tenant}"

    def action_ids(self, tenant: int) -> range:
        """Return the IDs of a tenant's actions, the unfinished ones first."""
        first = FIRST_ACTION_ID + tenant * self.actions
        return range(first, first + self.actions)


class Moving:
    """A life in which an endpoint finishes every twentieth of a second, and all begin anew in the end."""

    def at(self, age_seconds: float, /) -> Snapshot:
        """Say what the action looks like when it is that old."""
        finished = int(age_seconds * _CHANGES_PER_SECOND) % ENDPOINTS
        failed = finished // 50
        counts = Counts(pending=ENDPOINTS - finished, failed=failed, completed_successfully=finished - failed)
        return Snapshot("IN_PROGRESS", counts)


class Arrivals(NamedTuple):
    """What the tenants counted since a time by the monotonic clock, until now."""

    requests: int
    distinct: int
    """For how many actions."""
    busiest_second: int
    """The most that any tenant counted in any second."""
    busiest_departures: int
    """The most that left for any tenant in any second, by the times that they are signed with."""


class Tenants:
    """The process with simulated tenants; ``url`` and a tenant's name make its address."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self._connection = connection
        self.pid = pid
        self.url: str = connection.recv()

    def since(self, began: float) -> Arrivals:
        """Return what they have counted since a time."""
        self._connection.send(began)
        arrivals: Arrivals = self._connection.recv()
        return arrivals

    @property
    def cpu_seconds(self) -> float:
        """How much CPU time they have used."""
        return cpu_seconds(self.pid)


@contextmanager
def tenants(layout: Layout) -> Iterator[Tenants]:
    """Serve tenants until the context ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, layout), daemon=True)
    process.start()
    there.close()
    try:
        yield Tenants(here, process.pid or 0)
    finally:
        here.close()
        process.terminate()
        process.join()


def _serve(connection: Any, layout: Layout) -> None:
    """Serve until nobody asks any more."""
    moving: Life = Moving()
    simulated = {
        layout.name(tenant): make_tenant(
            {str(number): moving for number in layout.action_ids(tenant)}, requests_per_second=_LIMIT
        )
        for tenant in range(layout.tenants)
    }
    with SimulatorServer(simulated) as server:
        connection.send(server.url)
        while True:
            try:
                began = connection.recv()
            except EOFError:
                return
            kept = [[r for r in tenant.requests if r.arrived_at >= began] for tenant in simulated.values()]
            connection.send(
                Arrivals(
                    requests=sum(map(len, kept)),
                    distinct=len({request.action_id for one in kept for request in one}),
                    busiest_second=max(busiest_second([r.arrived_at for r in one])[0] for one in kept),
                    busiest_departures=max(busiest_second(departures(one))[0] for one in kept),
                )
            )


def now() -> float:
    """Tell the time by the clock of the arrivals."""
    return time.monotonic()
