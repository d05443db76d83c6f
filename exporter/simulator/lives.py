"""What becomes of an action's endpoints, as a function of the action's age: pure, and fixed by a seed.

The rule: what a life answers depends on the age alone, so that any thread may ask for any age at any time,
and lives may be shared between actions.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

Step = tuple[float, str]
"""At which age in seconds an endpoint enters a status."""

_HOUR = 3600.0
_DAY = 24 * _HOUR


class Counts(NamedTuple):
    """How many endpoints are in each of the nine statuses."""

    pending: int = 0
    canceled: int = 0
    in_progress: int = 0
    timeout: int = 0
    failed: int = 0
    completed_successfully: int = 0
    pending_abort: int = 0
    aborted: int = 0
    expired: int = 0


STATUSES = Counts._fields


class Snapshot(NamedTuple):
    """What an action looks like at one moment; ``general_status`` in the vendor's spelling."""

    general_status: str
    counts: Counts


class Life(Protocol):
    """What an action looks like at any age."""

    def at(self, age_seconds: float, /) -> Snapshot:
        """Say what the action looks like when it is that old; it is all pending below zero."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A life in which nothing ever happens, for exact expectations."""

    general_status: str
    counts: Counts

    def at(self, _age_seconds: float, /) -> Snapshot:
        """Say what the action looks like, always the same."""
        return Snapshot(self.general_status, self.counts)


class Rollout:
    """A life made of its endpoints' own: the steps of each, in order of age, after it began as pending.

    ``story`` is a few words on it for a person.
    """

    def __init__(self, story: str, endpoints: Iterable[Sequence[Step]]) -> None:
        self.story = story
        self.endpoints = 0
        entered: dict[str, list[float]] = {status: [] for status in STATUSES}
        left: dict[str, list[float]] = {status: [] for status in STATUSES}
        for steps in endpoints:
            self.endpoints += 1
            before = "pending"
            entered[before].append(float("-inf"))
            for age_seconds, status in steps:
                left[before].append(age_seconds)
                entered[status].append(age_seconds)
                before = status
        self._ages = [(array("d", sorted(entered[s])), array("d", sorted(left[s]))) for s in STATUSES]

    def at(self, age_seconds: float, /) -> Snapshot:
        """Say what the action looks like when it is that old."""
        counts = Counts(
            *(bisect_right(came, age_seconds) - bisect_right(went, age_seconds) for came, went in self._ages)
        )
        return Snapshot(general_status(counts), counts)

    def __str__(self) -> str:
        """Tell the story, with the number of endpoints."""
        return f"{self.endpoints} endpoints, {self.story}"


def general_status(counts: Counts) -> str:
    """Sum nine counts up in one word, as the service seems to: the vendor documents no rule."""
    endpoints = sum(counts)
    if counts.pending_abort:
        return "PENDING_ABORT"
    if counts.pending == endpoints:
        return "PENDING"
    if counts.pending or counts.in_progress:
        return "IN_PROGRESS"
    for status in ("aborted", "canceled", "expired"):
        if getattr(counts, status):
            return status.upper()
    for status in ("completed_successfully", "failed", "timeout"):
        if getattr(counts, status) == endpoints:
            return status.upper()
    return "COMPLETED_PARTIAL"


def quick_success(seed: int, *, endpoints: int = 40) -> Rollout:
    """Make a life in which all endpoints are online and done within two minutes."""
    chance = _chance(seed)
    return Rollout(
        "all done within two minutes",
        [_run(chance.uniform(2, 50), chance.uniform(5, 60)) for _ in range(endpoints)],
    )


def slow_rollout(
    seed: int, *, endpoints: int = 1000, spread_seconds: float = 4 * _HOUR, offline_share: float = 0.04
) -> Rollout:
    """Make a life in which endpoints are reached over hours, a few fail, and the offline ones take days."""
    chance = _chance(seed)
    stragglers = _share(chance, endpoints, offline_share)
    failures = _share(chance, endpoints, 0.01)

    def endpoint(number: int) -> list[Step]:
        if number in stragglers:
            picked_up = chance.uniform(_DAY, 5 * _DAY)
        else:
            picked_up = chance.triangular(5, spread_seconds, spread_seconds / 8)
        return _run(
            picked_up, chance.uniform(20, 300), "failed" if number in failures else "completed_successfully"
        )

    return Rollout(
        f"reached over {spread_seconds / _HOUR:g} hours, the offline ones pending for days",
        [endpoint(number) for number in range(endpoints)],
    )


def failing(seed: int, *, endpoints: int = 60, share: float = 1 / 3) -> Rollout:
    """Make a life of an hour at most in which the script fails on that share of the endpoints."""
    chance = _chance(seed)
    failures = _share(chance, endpoints, share)
    return Rollout(
        f"{len(failures)} of them fail within the hour",
        [
            _run(
                chance.triangular(10, 0.9 * _HOUR, 300),
                chance.uniform(5, 240),
                "failed" if number in failures else "completed_successfully",
            )
            for number in range(endpoints)
        ],
    )


def timing_out(seed: int, *, endpoints: int = 50, share: float = 0.3, timeout_seconds: float = 600) -> Rollout:
    """Make a life in which the script hangs on that share of the endpoints, until it is stopped there."""
    chance = _chance(seed)
    hung = _share(chance, endpoints, share)
    return Rollout(
        f"{len(hung)} of them time out after {timeout_seconds:g} s",
        [
            _run(chance.uniform(5, 900), timeout_seconds, "timeout")
            if number in hung
            else _run(chance.uniform(5, 900), chance.uniform(20, 0.8 * timeout_seconds))
            for number in range(endpoints)
        ],
    )


def aborted(seed: int, *, endpoints: int = 200, after_seconds: float = 1800) -> Rollout:
    """Make a life that is aborted midway: the unfinished endpoints confirm within ten minutes."""
    chance = _chance(seed)

    def endpoint() -> list[Step]:
        steps = _run(chance.uniform(10, 2 * after_seconds), chance.uniform(30, 300))
        confirmed = after_seconds + chance.uniform(20, 600)
        if steps[-1][0] <= after_seconds:
            return steps
        done = [step for step in steps if step[0] <= after_seconds]
        return [*done, (after_seconds, "pending_abort"), (confirmed, "aborted")]

    return Rollout(f"aborted after {after_seconds / 60:g} minutes", [endpoint() for _ in range(endpoints)])


def cancelled(seed: int, *, endpoints: int = 120, after_seconds: float = 1200) -> Rollout:
    """Make a life whose pending endpoints are cancelled at that age, while the others run to their end."""
    chance = _chance(seed)
    return Rollout(
        f"cancelled after {after_seconds / 60:g} minutes",
        [
            _unless_picked_up(
                _run(chance.uniform(10, 2 * after_seconds), chance.uniform(30, 300)),
                after_seconds,
                "canceled",
            )
            for _ in range(endpoints)
        ],
    )


def expiring(
    seed: int, *, endpoints: int = 80, offline_share: float = 0.3, after_seconds: float = 3 * _DAY
) -> Rollout:
    """Make a life whose offline endpoints never report, and expire at that age."""
    chance = _chance(seed)
    offline = _share(chance, endpoints, offline_share)
    return Rollout(
        f"{len(offline)} of them offline until they expire after {after_seconds / _HOUR:g} hours",
        [
            [(after_seconds, "expired")]
            if number in offline
            else _unless_picked_up(
                _run(chance.triangular(10, _HOUR, 300), chance.uniform(20, 240)), after_seconds, "expired"
            )
            for number in range(endpoints)
        ],
    )


def _chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - it draws delays that must come out the same again, not secrets


def _share(chance: Random, endpoints: int, share: float) -> frozenset[int]:
    """Draw which endpoints belong to a share that is exact, not only likely."""
    return frozenset(chance.sample(range(endpoints), round(endpoints * share)))


def _run(picked_up: float, seconds: float, outcome: str = "completed_successfully") -> list[Step]:
    return [(picked_up, "in_progress"), (picked_up + seconds, outcome)]


def _unless_picked_up(steps: list[Step], before: float, status: str) -> list[Step]:
    return steps if steps[0][0] <= before else [(before, status)]
