"""Which action of a tenant is due when, and why: pure, with time and chance handed in.

The rule: whoever was never polled comes first, then unfinished actions by due time, then finished ones with
what is left of the budget. An action is due, in flight or not tracked: never two of them.
"""

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum


class Rank(IntEnum):
    """What goes first when the budget does not suffice for all."""

    NEVER_POLLED = 0
    UNFINISHED = 1
    SETTLED = 2


@dataclass(slots=True, eq=False)
class _Entry:
    """Where an action stands in the plan; a superseded place in a heap is told by its ``turn``."""

    rank: Rank
    due: float
    turn: int
    failures: int = 0
    phased: bool = False


class Schedule:
    """The due times of one tenant's actions. Not thread-safe: its owner holds a lock.

    ``interval`` and ``settled_interval`` are in seconds; times are those of a monotonic clock, and infinite
    intervals mean that nothing is polled twice. ``jitter`` returns a number from 0 up to 1.
    """

    def __init__(
        self, *, interval: float, settled_interval: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._interval = interval
        self._settled_interval = settled_interval
        self._jitter = jitter
        self._entries: dict[str, _Entry] = {}
        self._heaps: dict[Rank, list[tuple[float, int, str]]] = {rank: [] for rank in Rank}
        self._in_flight: set[str] = set()
        self._settled = 0
        self._turn = 0

    def __len__(self) -> int:
        """Count the tracked actions."""
        return len(self._entries)

    def add(self, action_id: str, now: float) -> None:
        """Track an action that is not tracked and was never polled: due at once, after those added before it."""
        self._push(action_id, _Entry(Rank.NEVER_POLLED, now, 0))

    def remove(self, action_id: str) -> None:
        """Stop tracking an action. One in flight may still end, without effect, unless it is added again."""
        entry = self._entries.pop(action_id)
        self._settled -= entry.rank is Rank.SETTLED
        self._in_flight.discard(action_id)

    def due_at(self) -> float:
        """Return when the next action is due; infinity when none will be, unless something changes."""
        return min((heap[0][0] for heap in self._pruned_heaps()), default=float("inf"))

    def take(self, now: float) -> str | None:
        """Return the action to poll now, and count it as in flight; None when nothing is due."""
        for heap in self._pruned_heaps():
            due, _, action_id = heap[0]
            if due <= now:
                heapq.heappop(heap)
                self._in_flight.add(action_id)
                return action_id
        return None

    def succeeded(self, action_id: str, started: float, *, settled: bool) -> None:
        """Plan the next poll of an action that was polled well by a poll that started at ``started``.

        The first time a random part of the interval passes, later the whole one, counted from when the poll
        was due: what was added together spreads over the interval and stays spread, also where the first
        round took longer. Only a poll more than half an interval late starts a new count.
        """
        entry = self._landed(action_id)
        if entry is None:
            return
        entry.failures = 0
        entry.rank = Rank.SETTLED if settled else Rank.UNFINISHED
        period = self._settled_interval if settled else self._interval
        if not entry.phased:
            entry.phased = True
            entry.due = started + period * (1.0 - self._jitter())
        elif started - entry.due <= period / 2:
            entry.due += period
        else:
            entry.due = started + period
        self._push(action_id, entry)

    def failed(self, action_id: str, now: float) -> None:
        """Plan the next poll of an action whose poll failed at ``now``: later with each failure in a row.

        From the interval, doubled each time, up to ``settled_interval``. A finished action's counts are
        final, so its next try has that much time at once.
        """
        entry = self._landed(action_id)
        if entry is None:
            return
        entry.failures += 1
        cap = max(self._interval, self._settled_interval)
        if entry.rank is Rank.SETTLED:
            delay = cap
        else:
            entry.rank = Rank.UNFINISHED
            chance = self._jitter()
            # The exponent is bounded: a float ends at 2 to the 1024.
            backoff = self._interval * 2.0 ** min(entry.failures - 1, 64) * (1 + chance / 2)
            delay = max(self._interval, min(backoff, cap * (1 - chance / 4)))
        entry.due = now + delay
        self._push(action_id, entry)

    def lag(self, now: float) -> float:
        """Return by how many seconds the most overdue unfinished action is late; one in flight still is."""
        under_way = (self._entries[action_id] for action_id in self._in_flight)
        dues = [entry.due for entry in under_way if entry.rank is not Rank.SETTLED]
        for rank in (Rank.NEVER_POLLED, Rank.UNFINISHED):
            heap = self._prune(self._heaps[rank])
            if heap:
                dues.append(heap[0][0])
        return max(0.0, now - min(dues, default=now))

    @property
    def demand(self) -> float:
        """Requests per second that the intervals ask for, were every poll on time."""
        unfinished = len(self._entries) - self._settled
        return unfinished / self._interval + self._settled / self._settled_interval

    def _landed(self, action_id: str) -> _Entry | None:
        """Take an action out of flight for a new place in the plan; None if it is not tracked any more."""
        entry = self._entries.get(action_id)
        if entry is None or action_id not in self._in_flight:
            return None
        self._in_flight.remove(action_id)
        self._settled -= entry.rank is Rank.SETTLED
        return entry

    def _push(self, action_id: str, entry: _Entry) -> None:
        self._turn += 1
        entry.turn = self._turn
        self._entries[action_id] = entry
        self._settled += entry.rank is Rank.SETTLED
        heapq.heappush(self._heaps[entry.rank], (entry.due, entry.turn, action_id))

    def _pruned_heaps(self) -> Iterable[list[tuple[float, int, str]]]:
        """Give the heaps that are not empty, the first rank first, each with a valid action on top."""
        return [heap for rank in Rank if (heap := self._prune(self._heaps[rank]))]

    def _prune(self, heap: list[tuple[float, int, str]]) -> list[tuple[float, int, str]]:
        while heap:
            _, turn, action_id = heap[0]
            entry = self._entries.get(action_id)
            if entry is not None and entry.turn == turn:
                break
            heapq.heappop(heap)
        return heap
