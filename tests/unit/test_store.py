"""The last known state of actions: phases, change, staleness, retirement, and what is published."""

from typing import Any

import pytest
from support_clock import Clock

from exporter.errors import Reason
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Phase, Store

STALE_AFTER = 3_600.0
RETIRE_AFTER = 7 * 86_400.0
WALL = 1_700_000_000.0
NEVER = float("inf")


def status(general_status: str, **counts: int) -> Status:
    """Return a status with these counts, and 0 for the others."""
    return Status(general_status, tuple(counts.get(name, 0) for name in STATUSES))


RUNNING = status("IN_PROGRESS", in_progress=3)
FURTHER = status("IN_PROGRESS", in_progress=2, failed=1)
DONE = status("COMPLETED_PARTIAL", failed=1, completed_successfully=2)


class Clocks(Clock):
    """A monotonic clock, and a wall clock that goes with it."""

    @property
    def wall_now(self) -> float:
        """The wall clock's time."""
        return WALL + self.now


class Bench:
    """A store with actions in it, its clock, and all that it published."""

    def __init__(
        self, *actions: str, stale_after: float = STALE_AFTER, retire_after: float = RETIRE_AFTER
    ) -> None:
        self.clock = Clocks()
        self.published: list[ActionState] = []
        self.store = Store(stale_after=stale_after, retire_after=retire_after, publish=self.published.append)
        self.store.track((action_id, ()) for action_id in actions)

    def succeed(self, action_id: str, found: Status) -> ActionState:
        """Record a poll that ends well now."""
        return self.store.succeeded(action_id, found, now=self.clock.now, wall_now=self.clock.wall_now)

    def expire(self) -> list[str]:
        """Withdraw and retire what is old enough by now."""
        return self.store.expire(self.clock.now)


def phases(**counts: int) -> dict[Phase, int]:
    """Return these numbers of actions, and 0 in the other phases."""
    return {phase: counts.get(phase, 0) for phase in Phase}


def test_tracked_action_is_waiting() -> None:
    """An action begins with its labels and nothing known."""
    bench = Bench()
    bench.store.track([("a", (("team", "x"), ("wave", "1"))), ("b", ())])
    first, second = ActionState("a", (("team", "x"), ("wave", "1"))), ActionState("b", ())
    assert (bench.store["a"], bench.store["b"]) == (first, second)
    assert bench.published == [first, second]
    assert bench.store.phases == phases(waiting=2)
    assert bench.store.expires_at == NEVER


def test_untracked_action_is_an_error() -> None:
    """Whoever asks for an action has to know that it is tracked."""
    with pytest.raises(KeyError):
        Bench("a").store["b"]


@pytest.mark.parametrize("retired", [False, True])
@pytest.mark.parametrize("failure", [None, Reason.TIMEOUT])
@pytest.mark.parametrize("polled", [False, True])
@pytest.mark.parametrize("known", [None, RUNNING, DONE])
def test_phase_is_the_first_that_fits(
    known: Status | None, failure: Reason | None, *, polled: bool, retired: bool
) -> None:
    """Of retired, failing, waiting, settled and active an action is in the first whose condition holds."""
    state = ActionState("a", (), polled=polled, status=known, failure=failure, retired=retired)
    conditions = {
        Phase.RETIRED: retired,
        Phase.FAILING: failure is not None,
        Phase.WAITING: not polled,
        Phase.SETTLED: known is DONE,
        Phase.ACTIVE: True,
    }
    assert state.phase is next(phase for phase in Phase if conditions[phase])


def test_phases_count_each_action_once() -> None:
    """Through all that can happen to them, the phases add up to the tracked actions."""
    bench = Bench("a", "b", "c", "d")
    seen = [dict(bench.store.phases)]
    bench.succeed("a", RUNNING)
    seen.append(dict(bench.store.phases))
    bench.store.failed("b", Reason.NOT_FOUND)
    bench.store.failed("a", Reason.TIMEOUT)
    seen.append(dict(bench.store.phases))
    bench.succeed("c", DONE)
    bench.succeed("a", FURTHER)
    seen.append(dict(bench.store.phases))
    bench.store.failed("c", Reason.TIMEOUT)
    seen.append(dict(bench.store.phases))
    bench.clock.advance(RETIRE_AFTER)
    bench.expire()
    seen.append(dict(bench.store.phases))
    assert seen == [
        phases(waiting=4),
        phases(waiting=3, active=1),
        phases(waiting=2, failing=2),
        phases(waiting=1, failing=1, settled=1, active=1),
        phases(waiting=1, failing=2, active=1),
        phases(waiting=1, failing=1, active=1, retired=1),
    ]


def test_first_success_is_a_change() -> None:
    """The first good poll sets both timestamps."""
    bench = Bench("a")
    bench.clock.advance(5)
    expected = ActionState("a", (), polled=True, status=RUNNING, last_success=WALL + 5, last_change=WALL + 5)
    assert bench.succeed("a", RUNNING) == expected
    assert bench.store["a"] == expected


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (RUNNING, False),
        (status("IN_PROGRESS", in_progress=3), False),
        (FURTHER, True),
        (status("PENDING_ABORT", in_progress=3), True),
        (DONE, True),
    ],
)
def test_last_change_moves_with_counts_and_general_status(found: Status, *, changes: bool) -> None:
    """A different count or word is a change; the same reply again is none."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(60)
    assert bench.succeed("a", found) == ActionState(
        "a",
        (),
        polled=True,
        status=found,
        last_success=WALL + 60,
        last_change=WALL + (60 if changes else 0),
    )


def test_failure_keeps_what_was_read() -> None:
    """A failed poll leaves counts and timestamps as they were; the next success clears the failure."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(60)
    failing = ActionState(
        "a", (), polled=True, status=RUNNING, failure=Reason.TIMEOUT, last_success=WALL, last_change=WALL
    )
    bench.store.failed("a", Reason.TIMEOUT)
    assert bench.store["a"] == failing
    bench.clock.advance(60)
    assert bench.succeed("a", RUNNING) == ActionState(
        "a", (), polled=True, status=RUNNING, last_success=WALL + 120, last_change=WALL
    )


def test_failure_before_any_success_knows_nothing() -> None:
    """An action whose first poll failed has been polled, and has no counts and no timestamps."""
    bench = Bench("a")
    bench.store.failed("a", Reason.NOT_FOUND)
    assert bench.store["a"] == ActionState("a", (), polled=True, failure=Reason.NOT_FOUND)
    assert bench.store.expires_at == NEVER


def test_counts_become_stale_without_a_success() -> None:
    """After stale_after without a good poll the counts are withdrawn, once; all else stays."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(10)
    bench.store.failed("a", Reason.TIMEOUT)
    assert bench.store.expires_at == STALE_AFTER
    bench.clock.now = STALE_AFTER - 0.001
    assert (bench.expire(), bench.store["a"].stale) == ([], False)
    bench.clock.now = STALE_AFTER
    assert bench.expire() == []
    stale = ActionState(
        "a",
        (),
        polled=True,
        status=RUNNING,
        failure=Reason.TIMEOUT,
        last_success=WALL,
        last_change=WALL,
        stale=True,
    )
    assert bench.store["a"] == stale
    assert bench.published[-1] == stale
    assert bench.store.expires_at == NEVER
    published = len(bench.published)
    bench.clock.advance(STALE_AFTER)
    assert bench.expire() == []
    assert len(bench.published) == published


def test_stale_counts_stay_withdrawn_while_polls_fail() -> None:
    """A further failure does not bring old counts back."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(STALE_AFTER)
    bench.expire()
    bench.store.failed("a", Reason.CONNECTION)
    assert bench.store["a"].stale


def test_stale_counts_come_back_with_the_next_success() -> None:
    """A good poll ends staleness; that nothing changed meanwhile is seen."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(STALE_AFTER)
    bench.expire()
    assert bench.succeed("a", RUNNING) == ActionState(
        "a", (), polled=True, status=RUNNING, last_success=WALL + STALE_AFTER, last_change=WALL
    )
    assert bench.store.expires_at == 2 * STALE_AFTER


def test_each_success_starts_the_time_to_staleness_anew() -> None:
    """The action whose last success is oldest is the next to become stale."""
    bench = Bench("a", "b")
    bench.succeed("a", RUNNING)
    bench.clock.advance(10)
    bench.succeed("b", RUNNING)
    bench.clock.advance(10)
    bench.succeed("a", RUNNING)
    assert bench.store.expires_at == 10 + STALE_AFTER
    bench.clock.now = 10 + STALE_AFTER
    bench.expire()
    assert (bench.store["a"].stale, bench.store["b"].stale) == (False, True)
    assert bench.store.expires_at == 20 + STALE_AFTER


def test_settled_counts_are_never_stale() -> None:
    """Final counts are shown until the action retires, whether polls succeed or not."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.succeed("a", DONE)
    bench.store.failed("a", Reason.TIMEOUT)
    bench.clock.advance(RETIRE_AFTER - 1)
    assert bench.expire() == []
    assert not bench.store["a"].stale


def test_stale_after_zero_is_never() -> None:
    """Without stale_after unfinished counts are kept for good."""
    bench = Bench("a", stale_after=0)
    bench.succeed("a", RUNNING)
    assert bench.store.expires_at == NEVER
    bench.clock.advance(1e12)
    bench.expire()
    assert not bench.store["a"].stale


def test_settled_action_retires() -> None:
    """An action retires when it has been settled for retire_after, however often it was polled since."""
    bench = Bench("a", "b")
    bench.succeed("a", DONE)
    bench.clock.advance(100)
    bench.succeed("b", DONE)
    bench.succeed("a", DONE)
    assert bench.store.expires_at == RETIRE_AFTER
    bench.clock.now = RETIRE_AFTER - 0.001
    assert bench.expire() == []
    bench.clock.now = RETIRE_AFTER
    assert bench.expire() == ["a"]
    retired = ActionState(
        "a", (), polled=True, status=DONE, last_success=WALL + 100, last_change=WALL, retired=True
    )
    assert bench.store["a"] == retired
    assert bench.published[-1] == retired
    assert bench.store.expires_at == 100 + RETIRE_AFTER
    bench.clock.advance(100)
    assert bench.expire() == ["b"]
    assert (bench.expire(), bench.store.expires_at, bench.store.phases) == ([], NEVER, phases(retired=2))


def test_action_that_moves_on_does_not_retire() -> None:
    """An action that is unfinished again retires only when it has settled anew, for the whole time."""
    bench = Bench("a", stale_after=0)
    bench.succeed("a", DONE)
    bench.clock.advance(100)
    bench.succeed("a", RUNNING)
    assert bench.store.expires_at == NEVER
    bench.clock.advance(RETIRE_AFTER)
    assert bench.expire() == []
    bench.succeed("a", DONE)
    assert bench.store.expires_at == 100 + 2 * RETIRE_AFTER


def test_failing_settled_action_retires_all_the_same() -> None:
    """Failures after the end do not keep an action."""
    bench = Bench("a")
    bench.succeed("a", DONE)
    bench.store.failed("a", Reason.NOT_FOUND)
    bench.clock.advance(RETIRE_AFTER)
    assert bench.expire() == ["a"]


def test_unfinished_action_never_retires() -> None:
    """Neither a failing action nor a running one retires, however old."""
    bench = Bench("a", "b", "c")
    bench.succeed("a", RUNNING)
    bench.store.failed("b", Reason.NOT_FOUND)
    bench.clock.advance(10 * RETIRE_AFTER)
    assert bench.expire() == []


def test_retire_after_zero_is_never() -> None:
    """Without retire_after settled actions are kept for good."""
    bench = Bench("a", retire_after=0)
    bench.succeed("a", DONE)
    assert bench.store.expires_at == NEVER
    bench.clock.advance(1e12)
    assert bench.expire() == []


def test_expiry_is_the_earlier_of_staleness_and_retirement() -> None:
    """What comes first is told first, whichever it is."""
    bench = Bench("a", "b", stale_after=100, retire_after=150)
    bench.succeed("a", DONE)
    bench.clock.advance(20)
    bench.succeed("b", RUNNING)
    assert bench.store.expires_at == 120
    bench.clock.now = 200
    assert bench.expire() == ["a"]
    assert (bench.store["b"].stale, bench.store.expires_at) == (True, NEVER)


def test_step_of_the_wall_clock_changes_no_expiry() -> None:
    """Staleness and retirement go by the monotonic clock; timestamps are the wall clock's, as they are."""
    bench = Bench("a")
    bench.store.succeeded("a", RUNNING, now=0.0, wall_now=WALL + 1e9)
    assert bench.store.succeeded("a", FURTHER, now=60.0, wall_now=WALL) == ActionState(
        "a", (), polled=True, status=FURTHER, last_success=WALL, last_change=WALL
    )
    assert bench.store.expires_at == 60 + STALE_AFTER


def test_every_change_is_published_once() -> None:
    """Each step of an action's life is published as the whole new state, and nothing else is."""
    bench = Bench("a", "b", stale_after=100, retire_after=200)
    bench.succeed("a", RUNNING)
    bench.store.failed("a", Reason.TIMEOUT)
    bench.clock.advance(100)
    bench.expire()
    bench.succeed("a", DONE)
    bench.clock.advance(200)
    bench.expire()
    bench.expire()
    known: dict[str, Any] = {"polled": True, "last_success": WALL, "last_change": WALL}
    done: dict[str, Any] = {"polled": True, "last_success": WALL + 100, "last_change": WALL + 100}
    assert bench.published == [
        ActionState("a", ()),
        ActionState("b", ()),
        ActionState("a", (), status=RUNNING, **known),
        ActionState("a", (), status=RUNNING, failure=Reason.TIMEOUT, **known),
        ActionState("a", (), status=RUNNING, failure=Reason.TIMEOUT, stale=True, **known),
        ActionState("a", (), status=DONE, **done),
        ActionState("a", (), status=DONE, retired=True, **done),
    ]
