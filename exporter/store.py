"""The last known state of each action of one tenant, and its life from the first poll to retirement.

The rule: a state changes in one step from one consistent whole to the next, and whoever publishes states
hears of each change once. Old counts are withdrawn when they are stale, never repeated as if they were new.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from exporter.errors import Reason
from exporter.pace import Pace
from exporter.status import Status

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


Source = tuple[str, str]
"""Whose actions they are: a tenant's name, empty for the only, unnamed one, and the URL of its API.

What was counted at another URL is another tenant's.
"""


class Phase(StrEnum):
    """Where an action stands: each is in exactly one, the first in this order that fits."""

    RETIRED = "retired"
    FAILING = "failing"
    WAITING = "waiting"
    SETTLED = "settled"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class ActionState:
    """All that is known of an action. Timestamps are wall-clock seconds of the Unix epoch.

    ``status`` is that of the last successful poll, None before the first; ``failure`` is why the last poll
    failed, None if it succeeded or there was none. ``settled_at`` is when the counts were first seen to be
    final, None while they are not. ``stale`` says that the counts are too old to be shown.

    ``failure_detail`` is what the API, or the client, said of the failure, in one line. ``pace`` is how fast
    endpoints finish, None before the first success and once the counts are final; ``read_at`` is the time of the
    last success by the monotonic clock, which no step of the wall clock moves. States are compared by neither, and
    none of the three outlives a restart.
    """

    action_id: str
    labels: Labels
    polled: bool = False
    status: Status | None = None
    failure: Reason | None = None
    failure_detail: str | None = None
    last_success: float | None = None
    last_change: float | None = None
    settled_at: float | None = None
    stale: bool = False
    retired: bool = False
    pace: Pace | None = field(default=None, compare=False)
    read_at: float | None = field(default=None, compare=False)

    @property
    def settled(self) -> bool:
        """Whether the counts are final."""
        return self.status is not None and self.status.settled

    @property
    def phase(self) -> Phase:
        """The one phase that the action is in."""
        if self.retired:
            return Phase.RETIRED
        if self.failure is not None:
            return Phase.FAILING
        if not self.polled:
            return Phase.WAITING
        return Phase.SETTLED if self.settled else Phase.ACTIVE


@dataclass(frozen=True, slots=True)
class Record:
    """What of an action outlives a restart: its state, and its place in the schedule.

    ``due`` is the wall-clock time of the next poll; ``failures`` is how many polls in a row have failed.
    """

    state: ActionState
    due: float
    failures: int


class Audience(Protocol):
    """Who hears of a tenant's actions. All is called while a lock of its owner is held, and must not block."""

    def publish(self, state: ActionState) -> None:
        """Hear of a new state."""
        ...

    def remember(self, record: Record) -> None:
        """Hear of what should outlive a restart: after each poll, and when an action retires."""
        ...

    def withdraw(self, action_ids: Collection[str]) -> None:
        """Hear of actions that are not tracked any more."""
        ...


class Store:
    """The states of one tenant's actions. Not thread-safe: its owner holds a lock.

    ``stale_after`` and ``retire_after`` are in seconds, 0 for never. ``publish`` is called with each new
    state, while the owner's lock is held. ``now`` is a monotonic clock's time, so that a step of the wall
    clock neither retires an action nor hides its counts.
    """

    def __init__(self, *, stale_after: float, retire_after: float, publish: Callable[[ActionState], None]) -> None:
        self.configure(stale_after=stale_after, retire_after=retire_after)
        self._publish = publish
        self._states: dict[str, ActionState] = {}
        # In the order of time, the oldest first: appended to by polls, and put in order after a restoration.
        # A plain dict would look for its first key among the places of all that were taken out before it.
        self._fresh_since: OrderedDict[str, float] = OrderedDict()
        self._settled_since: OrderedDict[str, float] = OrderedDict()
        self._phases: Counter[Phase] = Counter()

    def configure(self, *, stale_after: float, retire_after: float) -> None:
        """Take over other times; what is stale or retired already stays so."""
        self._stale_after = stale_after or float("inf")
        self._retire_after = retire_after or float("inf")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the IDs of the tracked actions."""
        return iter(self._states)

    def __contains__(self, action_id: str) -> bool:
        """Tell whether an action is tracked."""
        return action_id in self._states

    def __getitem__(self, action_id: str) -> ActionState:
        """Return the state of a tracked action."""
        return self._states[action_id]

    @property
    def states(self) -> list[ActionState]:
        """The states of the tracked actions, as they are now."""
        return list(self._states.values())

    @property
    def phases(self) -> Mapping[Phase, int]:
        """How many actions are in each phase."""
        return {phase: self._phases[phase] for phase in Phase}

    def track(self, action_id: str, labels: Labels) -> None:
        """Begin to hold an action, or give one that is held other labels."""
        old = self._states.get(action_id)
        self._set(ActionState(action_id, labels) if old is None else replace(old, labels=labels))

    def restore(self, states: Iterable[ActionState], *, now: float, wall_now: float) -> None:
        """Begin to hold actions as an earlier process left them; what has become stale meanwhile is."""
        for state in states:
            stale = False
            if state.settled_at is not None and not state.retired:
                self._settled_since[state.action_id] = now - max(0.0, wall_now - state.settled_at)
            elif state.last_success is not None and not state.settled:
                age = max(0.0, wall_now - state.last_success)
                stale = age >= self._stale_after
                if not stale:
                    self._fresh_since[state.action_id] = now - age
            # Most are as they should be, and there may be many thousands.
            as_it_is = state.polled and state.stale == stale
            self._set(state if as_it_is else replace(state, polled=True, stale=stale))
        self._fresh_since = _in_order(self._fresh_since)
        self._settled_since = _in_order(self._settled_since)

    def remove(self, action_id: str) -> None:
        """Hold an action no more. Whoever publishes states hears nothing of it."""
        self._phases[self._states.pop(action_id).phase] -= 1
        self._fresh_since.pop(action_id, None)
        self._settled_since.pop(action_id, None)

    def succeeded(self, action_id: str, status: Status, *, now: float, wall_now: float) -> ActionState:
        """Record what a successful poll found, and return the new state."""
        old = self._states[action_id]
        changed = status != old.status
        settled_at = None
        if status.settled:
            settled_at = wall_now if old.settled_at is None else old.settled_at
        new = ActionState(
            action_id,
            old.labels,
            polled=True,
            status=status,
            last_success=wall_now,
            last_change=wall_now if changed else old.last_change,
            settled_at=settled_at,
            pace=None if status.settled else _pace(old, status, now),
            read_at=now,
        )
        self._fresh_since.pop(action_id, None)
        if not new.settled:
            self._settled_since.pop(action_id, None)
            self._fresh_since[action_id] = now
        else:
            self._settled_since.setdefault(action_id, now)
        self._set(new)
        return new

    def failed(self, action_id: str, reason: Reason, detail: str | None = None) -> None:
        """Record that a poll gave no status, and what was said of it; the counts stay as they were read."""
        self._set(replace(self._states[action_id], polled=True, failure=reason, failure_detail=detail))

    @property
    def expires_at(self) -> float:
        """When :meth:`expire` will next have something to do; infinity if never."""
        stale = next(iter(self._fresh_since.values()), float("inf")) + self._stale_after
        retired = next(iter(self._settled_since.values()), float("inf")) + self._retire_after
        return min(stale, retired)

    def expire(self, now: float) -> list[str]:
        """Withdraw counts that have become stale, retire what has been settled for long; return the retired."""
        for action_id in _older_than(self._fresh_since, now - self._stale_after):
            self._set(replace(self._states[action_id], stale=True))
        retired = _older_than(self._settled_since, now - self._retire_after)
        for action_id in retired:
            self._set(replace(self._states[action_id], retired=True))
        return retired

    def _set(self, new: ActionState) -> None:
        old = self._states.get(new.action_id)
        if old is not None:
            self._phases[old.phase] -= 1
        self._phases[new.phase] += 1
        self._states[new.action_id] = new
        self._publish(new)


def _pace(old: ActionState, status: Status, now: float) -> Pace:
    """Return the pace that a poll leaves, which the first one of this process, or of a new start, begins."""
    if old.pace is None or old.status is None:
        return Pace(now)
    finished = (status.total - status.unfinished) - (old.status.total - old.status.unfinished)
    return old.pace.after(finished, now)


def _older_than(since: dict[str, float], limit: float) -> list[str]:
    """Remove and return the keys whose time is at or before the limit, from a mapping in order of time."""
    old = []
    for action_id, time in since.items():
        if time > limit:
            break
        old.append(action_id)
    for action_id in old:
        del since[action_id]
    return old


def _in_order(since: dict[str, float]) -> OrderedDict[str, float]:
    return OrderedDict(sorted(since.items(), key=lambda item: item[1]))
