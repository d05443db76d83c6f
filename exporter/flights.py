"""The requests of one tenant that are under way: what each is for, how many there may be, when they have to end.

The rule: a flight ends once, by its worker or given up at its deadline, whichever comes first.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.status import Status
from exporter.transport import Deadline

_MOST_WORKERS = 128


class Client(Protocol):
    """What a poller needs of :class:`exporter.cortex.CortexClient`."""

    def fetch(self, action_id: str, deadline: Deadline) -> Status:
        """Ask for an action's status, or raise a PollError."""
        ...


@dataclass(slots=True, eq=False)
class Flight:
    """One poll on its way; ``wanted`` until its action is tracked no more."""

    action_id: str
    client: Client
    started: float
    deadline: Deadline
    wanted: bool = True


class Flights(dict[Flight, None]):
    """What is under way, in the order of the starts. Not thread-safe: its owner holds a lock."""

    def disown(self, action_ids: Collection[str]) -> None:
        """Let the flights of these actions end without effect."""
        for flight in self:
            flight.wanted = flight.wanted and flight.action_id not in action_ids

    @property
    def ends_at(self) -> float:
        """When the first deadline of them is; infinity if nothing is under way."""
        return min((flight.deadline.at for flight in self), default=math.inf)

    def overdue(self, now: float) -> list[Flight]:
        """Return those that should have ended by now."""
        return [flight for flight in self if flight.deadline.at <= now]


def max_workers(requests_per_second: float, timeout: float) -> int:
    """Return how many requests of a tenant may be under way at once.

    As many as the rate can start within the timeout, which each outlives only where a resolver hangs; but not
    so many that one silent tenant uses up the threads of the process.
    """
    return min(math.ceil(requests_per_second * timeout) + 1, _MOST_WORKERS)
