"""The last known state of each action of one tenant, and its life from the first poll to retirement.

The rule: a state changes in one step from one consistent whole to the next, and whoever publishes states
hears of each change once. Old counts are withdrawn when they are stale, never repeated as if they were new.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from exporter.errors import Reason
from exporter.status import Status


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
    failed, None if it succeeded or there was none. ``stale`` says that the counts are too old to be shown.
    """

    action_id: str
    labels: tuple[tuple[str, str], ...]
    polled: bool = False
    status: Status | None = None
    failure: Reason | None = None
    last_success: float | None = None
    last_change: float | None = None
    stale: bool = False
    retired: bool = False

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


class Store:
    """The states of one tenant's actions. Not thread-safe: its owner holds a lock.

    ``stale_after`` and ``retire_after`` are in seconds, 0 for never. ``publish`` is called with each new
    state, while the owner's lock is held. ``now`` is a monotonic clock's time, so that a step of the wall
    clock neither retires an action nor hides its counts.
    """

    def __init__(self, *, stale_after: float, retire_after: float, publish: Callable[[ActionState], None]) -> None:
        self._stale_after = stale_after or float("inf")
        self._retire_after = retire_after or float("inf")
        self._publish = publish
        self._states: dict[str, ActionState] = {}
        # In the order of time, since both are only ever appended to: the oldest is the first.
        self._fresh_since: dict[str, float] = {}
        self._settled_since: dict[str, float] = {}
        self._phases: Counter[Phase] = Counter()

    def __getitem__(self, action_id: str) -> ActionState:
        """Return the state of a tracked action."""
        return self._states[action_id]

    @property
    def phases(self) -> Mapping[Phase, int]:
        """How many actions are in each phase."""
        return {phase: self._phases[phase] for phase in Phase}

    def track(self, actions: Iterable[tuple[str, tuple[tuple[str, str], ...]]]) -> None:
        """Begin to hold actions, each an ID and its labels."""
        for action_id, labels in actions:
            self._set(ActionState(action_id, labels))

    def succeeded(self, action_id: str, status: Status, *, now: float, wall_now: float) -> ActionState:
        """Record what a successful poll found, and return the new state."""
        old = self._states[action_id]
        changed = status != old.status
        new = replace(
            old,
            polled=True,
            status=status,
            failure=None,
            last_success=wall_now,
            last_change=wall_now if changed else old.last_change,
            stale=False,
        )
        self._fresh_since.pop(action_id, None)
        if not new.settled:
            self._settled_since.pop(action_id, None)
            self._fresh_since[action_id] = now
        else:
            self._settled_since.setdefault(action_id, now)
        self._set(new)
        return new

    def failed(self, action_id: str, reason: Reason) -> None:
        """Record that a poll gave no status; the counts stay as they were read."""
        self._set(replace(self._states[action_id], polled=True, failure=reason))

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
