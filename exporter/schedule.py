"""Which action of a tenant is due when, and why: pure, with time and chance handed in.

The rule: whoever was never polled comes first, then unfinished actions by due time, then finished ones with
what is left of the budget. An action is due, in flight or not tracked: never two of them.
"""

import heapq
import random
from collections.abc import Callable
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
        # By rank. What lies on top is valid at all times; a superseded place may lie below.
        self._heaps: tuple[list[tuple[float, int, str]], ...] = tuple([] for _ in Rank)
        self._in_flight: set[str] = set()
        self._settled = 0
        self._turn = 0

    def __len__(self) -> int:
        """Count the tracked actions."""
        return len(self._entries)

    def add(self, action_id: str, now: float) -> None:
        """Track an action that is not tracked and was never polled: due at once, after those added before it."""
        self._push(action_id, _Entry(Rank.NEVER_POLLED, now, 0))

    def restore(self, action_id: str, due: float, now: float, *, settled: bool, failures: int) -> None:
        """Track an action that was polled in an earlier process, and was then due at ``due``.

        A due time that is further off than the next poll may be, by a clock that was set, is brought back. What
        was missed by far is due now and spreads anew: give it in the order of due times.
        """
        entry = _Entry(Rank.SETTLED if settled else Rank.UNFINISHED, due, 0, failures)
        longest = self._longest_wait(entry)
        if due > now + longest:
            entry.due = now + longest * (1.0 - self._jitter())
        entry.phased = now - due <= self._period(entry) / 2
        if not entry.phased:
            entry.due = now
        self._push(action_id, entry)

    def configure(self, *, interval: float, settled_interval: float, now: float) -> None:
        """Take over other intervals: what is due later than they allow spreads over them, the rest when polled."""
        if (interval, settled_interval) == (self._interval, self._settled_interval):
            return
        self._interval = interval
        self._settled_interval = settled_interval
        for action_id, entry in self._entries.items():
            longest = self._longest_wait(entry)
            entry.phased = entry.due - now > longest and action_id not in self._in_flight
            if entry.phased:
                entry.due = now + longest * (1.0 - self._jitter())
                self._settled -= entry.rank is Rank.SETTLED
                self._push(action_id, entry)
        for heap in self._heaps:
            self._prune(heap)

    def remove(self, action_id: str) -> None:
        """Stop tracking an action. One in flight may still end, without effect, unless it is added again."""
        entry = self._entries.pop(action_id)
        self._settled -= entry.rank is Rank.SETTLED
        self._in_flight.discard(action_id)
        self._prune(self._heaps[entry.rank])

    def due_at(self) -> float:
        """Return when the next action is due; infinity when none will be, unless something changes."""
        return min((heap[0][0] for heap in self._heaps if heap), default=float("inf"))

    def take(self, now: float, *, early: bool = False) -> str | None:
        """Return the action to poll now, and count it as in flight; None when nothing is due.

        With ``early`` an action that is not due yet will do, the one that would be due first.
        """
        ready = next((heap for heap in self._heaps if heap and heap[0][0] <= now), None)
        if ready is None and early:
            ready = min((heap for heap in self._heaps if heap and heap[0][0] < float("inf")), default=None)
        if ready is None:
            return None
        _, _, action_id = heapq.heappop(ready)
        self._prune(ready)
        self._in_flight.add(action_id)
        return action_id

    def succeeded(self, action_id: str, started: float, *, settled: bool) -> None:
        """Plan the next poll of an action that was polled well by a poll that started at ``started``.

        The first time a random part of the interval passes, later the whole one, counted from when the poll
        was due: what was added together spreads over the interval and stays spread. A poll more than half an
        interval late is due a whole one later, so that all have their turn while the budget does not suffice,
        and spreads anew when it does. One that came early leaves the due time as it was.
        """
        entry = self._landed(action_id)
        if entry is None:
            return
        entry.failures = 0
        entry.rank = Rank.SETTLED if settled else Rank.UNFINISHED
        period = self._period(entry)
        if started < entry.due:
            entry.due = min(entry.due, started + period)
        elif started - entry.due > period / 2:
            entry.phased = False
            entry.due = started + period
        elif not entry.phased:
            entry.phased = True
            entry.due = started + period * (1.0 - self._jitter())
        else:
            entry.due += period
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
        cap = self._longest_wait(entry)
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

    def deferred(self, action_id: str, now: float, *, at_once: bool = False) -> None:
        """Plan the next poll of an action whose poll failed at ``now`` by no fault of its own.

        Within the interval, however often: it is the tenant that will be waited for. With ``at_once`` it is
        due again now.
        """
        entry = self._landed(action_id)
        if entry is None:
            return
        entry.rank = max(entry.rank, Rank.UNFINISHED)
        entry.due = now if at_once else now + self._interval * (1 - self._jitter() / 2)
        self._push(action_id, entry)

    def place(self, action_id: str) -> tuple[float, int]:
        """Return when a tracked action is due, or was if it is in flight, and its failures in a row."""
        entry = self._entries[action_id]
        return entry.due, entry.failures

    def lag(self, now: float) -> float:
        """Return by how many seconds the most overdue unfinished action is late; one in flight still is."""
        under_way = (self._entries[action_id] for action_id in self._in_flight)
        dues = [entry.due for entry in under_way if entry.rank is not Rank.SETTLED]
        for rank in (Rank.NEVER_POLLED, Rank.UNFINISHED):
            dues += [due for due, _, _ in self._heaps[rank][:1]]
        return max(0.0, now - min(dues, default=now))

    @property
    def demand(self) -> float:
        """Requests per second that the intervals ask for, were every poll on time."""
        unfinished = len(self._entries) - self._settled
        return unfinished / self._interval + self._settled / self._settled_interval

    def _period(self, entry: _Entry) -> float:
        return self._settled_interval if entry.rank is Rank.SETTLED else self._interval

    def _longest_wait(self, entry: _Entry) -> float:
        """Return how long after a poll the next may be due."""
        return max(self._interval, self._settled_interval) if entry.failures else self._period(entry)

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

    def _prune(self, heap: list[tuple[float, int, str]]) -> None:
        """Take superseded places off the top of a heap."""
        while heap:
            _, turn, action_id = heap[0]
            entry = self._entries.get(action_id)
            if entry is not None and entry.turn == turn:
                break
            heapq.heappop(heap)
