"""The last known state of actions: phases, change, staleness, retirement, restoration, and what is published."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clock import Clock

from exporter.errors import Reason
from exporter.pace import Pace
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
        for action_id in actions:
            self.store.track(action_id, ())

    def succeed(self, action_id: str, found: Status) -> ActionState:
        """Record a poll that ends well now."""
        return self.store.succeeded(action_id, found, now=self.clock.now, wall_now=self.clock.wall_now)

    def restore(self, *states: ActionState) -> None:
        """Restore states now."""
        self.store.restore(states, now=self.clock.now, wall_now=self.clock.wall_now)

    def expire(self) -> list[str]:
        """Withdraw and retire what is old enough by now."""
        return self.store.expire(self.clock.now)


def phases(**counts: int) -> dict[Phase, int]:
    """Return these numbers of actions, and 0 in the other phases."""
    return {phase: counts.get(phase, 0) for phase in Phase}


def test_tracked_action_is_waiting() -> None:
    """An action begins with its labels and nothing known."""
    bench = Bench()
    bench.store.track("a", (("team", "x"), ("wave", "1")))
    bench.store.track("b", ())
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
        settled_at=WALL + 60 if found is DONE else None,
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


def test_failure_keeps_what_was_said_of_it() -> None:
    """The detail of the last failure is kept until a poll succeeds, or fails otherwise."""
    bench = Bench("a")
    bench.store.failed("a", Reason.SERVER_ERROR, "HTTP 500: busy")
    assert bench.store["a"] == ActionState(
        "a", (), polled=True, failure=Reason.SERVER_ERROR, failure_detail="HTTP 500: busy"
    )
    bench.store.failed("a", Reason.TIMEOUT)
    assert bench.store["a"].failure_detail is None
    bench.store.failed("a", Reason.TIMEOUT, "no answer")
    assert (bench.succeed("a", RUNNING).failure, bench.store["a"].failure_detail) == (None, None)


def test_states_are_a_copy() -> None:
    """Whoever has asked for the states keeps them as they were."""
    bench = Bench("a", "b")
    before = bench.store.states
    bench.succeed("a", RUNNING)
    assert before == [ActionState("a", ()), ActionState("b", ())]
    assert bench.store.states == [bench.store["a"], bench.store["b"]]


# The pace of an action's endpoints.


def test_pace_begins_with_the_first_success() -> None:
    """One success gives no pace yet, the second one does, failures between them or not."""
    bench = Bench("a")
    assert bench.store["a"].pace is None
    bench.store.failed("a", Reason.TIMEOUT)
    assert bench.store["a"].pace is None
    bench.clock.advance(100)
    assert bench.succeed("a", RUNNING).pace == Pace(100.0)
    bench.clock.advance(10)
    bench.store.failed("a", Reason.TIMEOUT)
    bench.clock.advance(10)
    pace = bench.succeed("a", FURTHER).pace
    assert pace == Pace(100.0).after(1, 120.0)
    assert pace.per_second == pytest.approx(1 / 20)


def test_pace_goes_by_the_monotonic_clock() -> None:
    """A step of the wall clock makes nothing faster or slower."""
    bench = Bench("a")
    bench.store.succeeded("a", RUNNING, now=0.0, wall_now=WALL)
    bench.store.succeeded("a", FURTHER, now=60.0, wall_now=WALL - 1e6)
    assert bench.store["a"].pace == Pace(0.0).after(1, 60.0)


def test_pace_outlives_staleness_and_other_labels() -> None:
    """Nothing but polls changes it: after a gap the whole gap is what endpoints took."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(STALE_AFTER)
    bench.expire()
    bench.store.track("a", (("team", "x"),))
    assert bench.store["a"].pace == Pace(0.0)
    assert bench.succeed("a", FURTHER).pace == Pace(0.0).after(1, STALE_AFTER)


def test_final_counts_have_no_pace() -> None:
    """It ends with the action, and begins anew if the action moves on."""
    bench = Bench("a")
    bench.succeed("a", RUNNING)
    bench.clock.advance(60)
    assert bench.succeed("a", DONE).pace is None
    bench.clock.advance(60)
    assert bench.succeed("a", RUNNING).pace == Pace(120.0)


def test_pace_begins_anew_after_a_restart() -> None:
    """What happened while nobody polled is not measured by clocks of two processes."""
    bench = Bench()
    bench.restore(left_behind("a", RUNNING, age=100))
    assert bench.store["a"].pace is None
    bench.clock.advance(60)
    assert bench.succeed("a", FURTHER).pace == Pace(60.0)


def test_states_are_not_compared_by_their_pace() -> None:
    """The same counts, read at the same time, are the same state."""
    state = ActionState("a", (), status=RUNNING)
    assert state == replace(state, pace=Pace(0.0))


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
        "a",
        (),
        polled=True,
        status=DONE,
        last_success=WALL + 100,
        last_change=WALL,
        settled_at=WALL,
        retired=True,
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
    done: dict[str, Any] = known | dict.fromkeys(("last_success", "last_change", "settled_at"), WALL + 100)
    assert bench.published == [
        ActionState("a", ()),
        ActionState("b", ()),
        ActionState("a", (), status=RUNNING, **known),
        ActionState("a", (), status=RUNNING, failure=Reason.TIMEOUT, **known),
        ActionState("a", (), status=RUNNING, failure=Reason.TIMEOUT, stale=True, **known),
        ActionState("a", (), status=DONE, **done),
        ActionState("a", (), status=DONE, retired=True, **done),
    ]


# Changes of what is tracked, and of the times.


def test_relabelled_action_keeps_its_state() -> None:
    """Other labels replace the old ones in the state as it is, which is published anew."""
    bench = Bench("a", "b")
    bench.succeed("a", RUNNING)
    bench.store.failed("a", Reason.TIMEOUT)
    bench.store.track("a", (("team", "x"),))
    relabelled = ActionState(
        "a",
        (("team", "x"),),
        polled=True,
        status=RUNNING,
        failure=Reason.TIMEOUT,
        last_success=WALL,
        last_change=WALL,
    )
    assert bench.store["a"] == bench.published[-1] == relabelled
    assert (list(bench.store), bench.store.phases) == (["a", "b"], phases(failing=1, waiting=1))
    assert bench.store.expires_at == STALE_AFTER


@pytest.mark.parametrize("age", [STALE_AFTER, RETIRE_AFTER])
def test_relabelled_action_stays_stale_or_retired(age: float) -> None:
    """Other labels bring back neither counts that were withdrawn nor an action that retired."""
    bench = Bench("a")
    bench.succeed("a", RUNNING if age == STALE_AFTER else DONE)
    bench.clock.advance(age)
    bench.expire()
    before = bench.store["a"]
    bench.store.track("a", (("team", "x"),))
    assert bench.store["a"] == replace(before, labels=(("team", "x"),))
    assert (before.stale, before.retired) == (age == STALE_AFTER, age == RETIRE_AFTER)


@pytest.mark.parametrize("found", [None, RUNNING, DONE])
@pytest.mark.parametrize("failing", [False, True])
def test_removed_action_leaves_nothing(found: Status | None, *, failing: bool) -> None:
    """Whatever its phase, it is counted and expires no more, in silence; the others stay."""
    bench = Bench("a", "b")
    if found is not None:
        bench.succeed("a", found)
    if failing:
        bench.store.failed("a", Reason.TIMEOUT)
    published = list(bench.published)
    bench.store.remove("a")
    assert ("a" in bench.store, "b" in bench.store, list(bench.store)) == (False, True, ["b"])
    assert (bench.store.phases, bench.store.expires_at) == (phases(waiting=1), NEVER)
    bench.clock.advance(10 * RETIRE_AFTER)
    assert bench.expire() == []
    assert bench.published == published


def test_removed_action_that_had_retired_is_counted_no_more() -> None:
    """A retired action can be removed too."""
    bench = Bench("a")
    bench.succeed("a", DONE)
    bench.clock.advance(RETIRE_AFTER)
    bench.expire()
    bench.store.remove("a")
    assert bench.store.phases == phases()


def test_removal_of_an_untracked_action_is_an_error() -> None:
    """Whoever removes an action has to know that it is tracked."""
    with pytest.raises(KeyError):
        Bench().store.remove("a")


def test_action_tracked_again_is_new() -> None:
    """After its removal an action begins as one that nothing is known of."""
    bench = Bench("a")
    bench.succeed("a", DONE)
    bench.store.remove("a")
    bench.store.track("a", ())
    assert (bench.store["a"], bench.store.expires_at) == (ActionState("a", ()), NEVER)


def test_shorter_times_take_effect_at_once() -> None:
    """What is older than the new times allow goes stale or retires at the next look."""
    bench = Bench("a", "b")
    bench.succeed("a", RUNNING)
    bench.succeed("b", DONE)
    bench.clock.advance(200)
    bench.store.configure(stale_after=150, retire_after=200)
    assert bench.store.expires_at == 150
    assert (bench.expire(), bench.store["a"].stale) == (["b"], True)


def test_longer_times_bring_nothing_back() -> None:
    """What is stale or retired already stays so; what is not has the new time."""
    bench = Bench("a", "b", "c", stale_after=100, retire_after=100)
    bench.succeed("a", RUNNING)
    bench.succeed("b", DONE)
    bench.clock.advance(50)
    bench.succeed("c", RUNNING)
    bench.clock.advance(50)
    bench.expire()
    bench.store.configure(stale_after=1_000, retire_after=0)
    assert (bench.expire(), bench.store.expires_at) == ([], 50 + 1_000)
    assert (bench.store["a"].stale, bench.store["b"].retired, bench.store["c"].stale) == (True, True, False)


# What an earlier process left behind.


def left_behind(action_id: str, status: Status | None, *, age: float = 0.0, **more: Any) -> ActionState:
    """Return a state as an earlier process left it: polled well last, and, if settled, first, that long ago."""
    then = WALL - age
    settled_at = then if status is not None and status.settled else None
    known: dict[str, Any] = {"last_success": then, "last_change": then} if status is not None else {}
    return ActionState(
        action_id, (("team", "x"),), **{"polled": True, "status": status, "settled_at": settled_at} | known | more
    )


@pytest.mark.parametrize(
    "state",
    [
        left_behind("a", RUNNING, age=STALE_AFTER - 1),
        left_behind("a", RUNNING, age=10, failure=Reason.TIMEOUT),
        left_behind("a", None, failure=Reason.NOT_FOUND),
        left_behind("a", DONE, age=RETIRE_AFTER - 1),
        left_behind("a", DONE, age=10, failure=Reason.TIMEOUT),
        left_behind("a", DONE, age=2 * RETIRE_AFTER, retired=True),
    ],
    ids=["active", "failing", "never well", "settled", "settled and failing", "retired"],
)
def test_restored_action_is_as_it_was_left(state: ActionState) -> None:
    """State and timestamps come back as they were, are published once, and are counted in their phase."""
    bench = Bench()
    bench.restore(state)
    assert bench.store["a"] == state
    assert bench.published == [state]
    assert bench.store.phases == phases(**{state.phase.value: 1})


@pytest.mark.parametrize(
    ("state", "stale"),
    [
        (left_behind("a", RUNNING, age=STALE_AFTER - 0.001), False),
        (left_behind("a", RUNNING, age=STALE_AFTER), True),
        (left_behind("a", RUNNING, age=1e9), True),
        (left_behind("a", RUNNING, age=1e9, failure=Reason.TIMEOUT, stale=True), True),
        # A clock that was set back, or ahead while the earlier process ran: nothing is older than it is.
        (left_behind("a", RUNNING, age=-86_400), False),
        # stale_after may be longer than it was: the counts are young enough now.
        (left_behind("a", RUNNING, age=10, stale=True), False),
        (left_behind("a", DONE, age=2 * STALE_AFTER), False),
        (left_behind("a", None, failure=Reason.TIMEOUT), False),
    ],
)
def test_restored_counts_are_stale_if_they_are_too_old_by_now(state: ActionState, *, stale: bool) -> None:
    """The time that nobody polled counts; final counts are never stale."""
    bench = Bench()
    bench.restore(state)
    assert bench.published == [replace(state, stale=stale)]
    assert bench.store["a"] == replace(state, stale=stale)


@pytest.mark.parametrize(("age", "left"), [(0.0, 3_600.0), (600.0, 3_000.0), (-1e6, 3_600.0)])
def test_restored_counts_become_stale_after_what_is_left(age: float, left: float) -> None:
    """Staleness is counted from the last good poll, in whichever process that was."""
    bench = Bench()
    bench.clock.now = 5_000.0
    bench.restore(left_behind("a", RUNNING, age=age - 5_000))
    assert bench.store.expires_at == 5_000 + left
    bench.clock.now = 5_000 + left
    assert (bench.expire(), bench.store["a"].stale) == ([], True)


@pytest.mark.parametrize("failure", [None, Reason.TIMEOUT])
@pytest.mark.parametrize(
    ("age", "left"), [(0.0, RETIRE_AFTER), (86_400.0, 6 * 86_400.0), (1e9, 0.0), (-1e6, RETIRE_AFTER)]
)
def test_restored_settled_action_retires_after_what_is_left(
    age: float, left: float, failure: Reason | None
) -> None:
    """Retirement is counted from when the action settled, in whichever process that was."""
    bench = Bench()
    bench.restore(left_behind("a", DONE, age=age, failure=failure))
    if left:
        assert bench.store.expires_at == left
        bench.clock.now = left - 1
        assert bench.expire() == []
        bench.clock.now = left
    assert bench.expire() == ["a"]
    assert bench.store.phases == phases(retired=1)


def test_poll_of_a_restored_settled_action_does_not_delay_its_retirement() -> None:
    """The time goes on from when it settled first, also where that was before the restart."""
    bench = Bench()
    bench.restore(left_behind("a", DONE, age=86_400))
    bench.clock.advance(100)
    assert bench.succeed("a", DONE).settled_at == WALL - 86_400
    assert bench.store.expires_at == RETIRE_AFTER - 86_400


def test_restored_action_that_had_retired_stays_so() -> None:
    """It is neither shown nor retired a second time."""
    bench = Bench()
    bench.restore(left_behind("a", DONE, age=2 * RETIRE_AFTER, retired=True))
    assert (bench.store.phases, bench.store.expires_at) == (phases(retired=1), NEVER)
    bench.clock.advance(10 * RETIRE_AFTER)
    assert bench.expire() == []


def test_restored_actions_expire_in_the_order_of_their_age() -> None:
    """Among each other and among those that were polled since, whatever the order of restoration."""
    bench = Bench("new", "late", stale_after=100, retire_after=100)
    bench.succeed("new", RUNNING)
    bench.clock.advance(10)
    bench.restore(
        left_behind("middle", RUNNING, age=20 - 10),
        left_behind("young", DONE, age=0 - 10),
        left_behind("oldest", RUNNING, age=60 - 10),
        left_behind("old", DONE, age=40 - 10),
    )
    bench.clock.advance(5)
    bench.succeed("late", DONE)
    events = []
    while (at := bench.store.expires_at) < NEVER:
        bench.clock.now = at
        retired = bench.expire()
        events += [(at, action_id, "retired") for action_id in retired]
        events += [(at, state.action_id, "stale") for state in bench.published if state.stale]
        bench.published.clear()
    assert events == [
        (50, "oldest", "stale"),
        (70, "old", "retired"),
        (90, "middle", "stale"),
        (100, "new", "stale"),
        (110, "young", "retired"),
        (115, "late", "retired"),
    ]


def test_restored_action_goes_on_with_its_next_poll() -> None:
    """What does not differ from before the restart is no change."""
    bench = Bench()
    bench.restore(left_behind("a", RUNNING, age=2 * STALE_AFTER, failure=Reason.TIMEOUT))
    assert bench.store["a"].stale
    assert bench.succeed("a", RUNNING) == ActionState(
        "a",
        (("team", "x"),),
        polled=True,
        status=RUNNING,
        last_success=WALL,
        last_change=WALL - 2 * STALE_AFTER,
    )
    assert bench.store.expires_at == STALE_AFTER


OPERATIONS = st.sampled_from(["track", "remove", "restore", "run", "settle", "fail", "expire", "configure"])


@settings(deadline=None)  # A busy machine is no failure.
@given(st.lists(st.tuples(OPERATIONS, st.sampled_from("abcd"), st.floats(0, 200)), max_size=40))
def test_phases_are_those_of_the_states(steps: list[tuple[str, str, float]]) -> None:
    """Whatever happens, phases equal a recount, and what was published last of each action is its state."""
    bench = Bench(stale_after=100, retire_after=150)
    for operation, action_id, number in steps:
        bench.clock.advance(number)
        held = action_id in bench.store
        if operation == "track":
            bench.store.track(action_id, (("team", str(number)),))
        elif operation == "restore" and not held:
            age = 2 * number - bench.clock.now
            bench.restore(left_behind(action_id, DONE if number > 100 else RUNNING, age=age))
        elif operation == "expire":
            bench.expire()
            # Half a second off, which no rounding reaches.
            assert bench.store.expires_at > bench.clock.now - 0.5
        elif operation == "configure":
            bench.store.configure(stale_after=number, retire_after=200 - number)
        elif held and operation == "remove":
            bench.store.remove(action_id)
        elif held and operation == "fail" and not bench.store[action_id].retired:
            bench.store.failed(action_id, Reason.TIMEOUT)
        elif held and operation in {"run", "settle"} and not bench.store[action_id].retired:
            bench.succeed(action_id, RUNNING if operation == "run" else DONE)
        recount = Counter(bench.store[each].phase.value for each in bench.store)
        assert bench.store.phases == phases(**recount)
        last = {state.action_id: state for state in bench.published}
        assert {each: last[each] for each in bench.store} == {each: bench.store[each] for each in bench.store}
        for since in (bench.store._fresh_since, bench.store._settled_since):
            assert list(since.values()) == sorted(since.values())
            assert since.keys() <= set(bench.store)


def test_moment_of_the_last_success_is_told_by_the_monotonic_clock() -> None:
    """A failure does not move it; a state of an earlier process has none."""
    store = Store(stale_after=0, retire_after=0, publish=lambda _: None)
    store.track("1", ())
    assert store["1"].read_at is None
    store.succeeded("1", Status("IN_PROGRESS", (1,) * len(STATUSES)), now=7.0, wall_now=1_700_000_000.0)
    store.failed("1", Reason.TIMEOUT)
    assert store["1"].read_at == 7.0
