"""Which action is due when: ranks, spreading, backoff, removal, restoration, other intervals, lag and demand.

And all of it in any order, beside a naive model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support_clock import Clock

from exporter.schedule import Rank, Schedule

INTERVAL = 60.0
SETTLED_INTERVAL = 3600.0
NEVER = float("inf")


def make(jitter: Callable[[], float] = lambda: 0.0) -> Schedule:
    """Return a schedule of the default intervals, without chance unless it is given."""
    return Schedule(interval=INTERVAL, settled_interval=SETTLED_INTERVAL, jitter=jitter)


def take_all(schedule: Schedule, now: float) -> list[str]:
    """Take everything that is due at a moment."""
    taken = []
    while (action_id := schedule.take(now)) is not None:
        taken.append(action_id)
    return taken


def add_polled(schedule: Schedule, action_id: str, started: float, *, settled: bool = False) -> None:
    """Track an action and poll it well once."""
    schedule.add(action_id, started)
    assert schedule.take(started) == action_id
    schedule.succeeded(action_id, started, settled=settled)


def due_after_failures(failures: int, jitter: float = 0.0) -> float:
    """Return how long an action waits after its last failure of several in a row."""
    schedule = make(lambda: jitter)
    clock = Clock(1_000.0)
    schedule.add("a", clock.now)
    for _ in range(failures):
        clock.now = max(clock.now, schedule.due_at())
        assert schedule.take(clock.now) == "a"
        schedule.failed("a", clock.now)
    return schedule.due_at() - clock.now


def test_empty_schedule_has_nothing_to_do() -> None:
    """Nothing tracked is nothing due, ever."""
    schedule = make()
    assert (len(schedule), schedule.take(0.0), schedule.due_at()) == (0, None, NEVER)
    assert (schedule.lag(0.0), schedule.demand) == (0.0, 0.0)


def test_actions_never_polled_go_in_the_order_added() -> None:
    """New actions are due at once, the oldest first, whatever their IDs."""
    schedule = make()
    for action_id in ("b", "a", "10", "9"):
        schedule.add(action_id, 5.0)
    schedule.add("0", 6.0)
    assert len(schedule) == 5
    assert schedule.due_at() == 5.0
    assert take_all(schedule, 6.0) == ["b", "a", "10", "9", "0"]


def test_ranks_go_before_due_times() -> None:
    """Never polled comes first, then unfinished, then settled, however long the lower ranks are due."""
    schedule = make()
    add_polled(schedule, "settled", 0.0, settled=True)
    add_polled(schedule, "late", 10.0)
    add_polled(schedule, "early", 5.0)
    schedule.add("new", SETTLED_INTERVAL + 100)
    assert take_all(schedule, SETTLED_INTERVAL + 100) == ["new", "early", "late", "settled"]


def test_failed_first_poll_makes_an_action_unfinished() -> None:
    """An action whose only poll failed does not go before those that wait for their first."""
    schedule = make()
    schedule.add("failed", 0.0)
    assert schedule.take(0.0) == "failed"
    schedule.failed("failed", 0.0)
    schedule.add("new", INTERVAL)
    assert take_all(schedule, INTERVAL) == ["new", "failed"]


def test_action_is_not_due_before_its_time() -> None:
    """A poll comes with its due time, not a moment before."""
    schedule = make()
    add_polled(schedule, "a", 100.0)
    due = 100.0 + INTERVAL
    assert schedule.due_at() == due
    assert schedule.take(math.nextafter(due, 0)) is None
    assert schedule.take(due) == "a"
    assert schedule.take(NEVER) is None


@pytest.mark.parametrize(("settled", "period"), [(False, INTERVAL), (True, SETTLED_INTERVAL)])
def test_period_is_kept_from_the_start_of_each_poll(*, settled: bool, period: float) -> None:
    """After the first, polls are one whole interval apart, however long an answer takes."""
    schedule = make(Random(1).random)
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.succeeded("a", 0.0, settled=settled)
    first = schedule.due_at()
    assert 0.0 < first <= period
    for turn in range(1, 5):
        started = first + (turn - 1) * period
        assert schedule.take(started) == "a"
        schedule.succeeded("a", started, settled=settled)
        assert schedule.due_at() == pytest.approx(first + turn * period)


@pytest.mark.parametrize(
    ("late", "due_after"), [(0.0, INTERVAL), (INTERVAL / 2, INTERVAL), (INTERVAL / 2 + 1, INTERVAL * 1.5 + 1)]
)
def test_late_poll_keeps_the_phase_up_to_half_an_interval(late: float, due_after: float) -> None:
    """The next poll counts from when this one was due; one that is later than that from when it started."""
    schedule = make(Random(1).random)
    add_polled(schedule, "a", 0.0)
    due = schedule.due_at()
    assert schedule.take(due + late) == "a"
    schedule.succeeded("a", due + late, settled=False)
    assert schedule.due_at() == pytest.approx(due + due_after)


@pytest.mark.parametrize(
    ("chance", "after"), [(0.0, INTERVAL), (0.25, 0.75 * INTERVAL), (0.999, pytest.approx(0.001 * INTERVAL))]
)
def test_first_period_is_a_random_part_of_the_interval(chance: float, after: float) -> None:
    """After its first good poll an action waits a random part of the interval, and the whole of it later."""
    schedule = make(lambda: chance)
    add_polled(schedule, "a", 0.0)
    first = schedule.due_at()
    assert first == after
    assert schedule.take(first) == "a"
    schedule.succeeded("a", first, settled=False)
    assert schedule.due_at() == first + INTERVAL


def test_spreading_waits_for_the_first_good_poll() -> None:
    """An action that failed first is spread over the interval once it succeeds."""
    schedule = make(lambda: 0.5)
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.failed("a", 0.0)
    due = schedule.due_at()
    assert schedule.take(due) == "a"
    schedule.succeeded("a", due, settled=False)
    assert schedule.due_at() == due + 0.5 * INTERVAL


@pytest.mark.parametrize("seed", range(5))
def test_burst_is_spread_evenly_over_the_interval(seed: int) -> None:
    """Of 600 actions polled at one moment, each tenth of the interval gets about 60, and so it stays."""
    schedule = make(Random(seed).random)
    for number in range(600):
        schedule.add(str(number), 0.0)
    for action_id in take_all(schedule, 0.0):
        schedule.succeeded(action_id, 0.0, settled=False)
    for turn in range(3):
        shares = [0] * 10
        for _ in range(600):
            due = schedule.due_at()
            taken = schedule.take(due)
            assert taken is not None
            schedule.succeeded(taken, due, settled=False)
            shares[min(9, int((due - turn * INTERVAL) / (INTERVAL / 10)))] += 1
        # 60 expected, with a standard deviation of 7.3: four of them to each side.
        assert [30 <= share <= 90 for share in shares] == [True] * 10


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(1, 60), (2, 120), (3, 240), (4, 480), (5, 960), (6, 1920), (7, 3600), (8, 3600), (2_000, 3600)],
)
def test_backoff_doubles_up_to_the_settled_interval(failures: int, delay: float) -> None:
    """Without chance, failures in a row double the wait, from the interval to the settled interval."""
    assert due_after_failures(failures) == pytest.approx(delay)


@pytest.mark.parametrize(("failures", "delay"), [(1, 75), (2, 150), (6, 2400), (7, 3150), (50, 3150)])
def test_backoff_is_jittered(failures: int, delay: float) -> None:
    """Chance lengthens the wait by up to a half, and shortens the longest by up to a quarter."""
    assert due_after_failures(failures, jitter=0.5) == pytest.approx(delay)


@settings(deadline=None)  # A busy machine is no failure.
@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_the_intervals(failures: int, chance: float) -> None:
    """Whatever chance says, a failed action waits from the interval up to the settled interval."""
    delay = due_after_failures(failures, jitter=chance)
    assert INTERVAL - 1e-6 <= delay <= SETTLED_INTERVAL + 1e-6


@settings(deadline=None)  # A busy machine is no failure.
@given(st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_backoff_is_never_below_an_interval_longer_than_the_settled_one(failures: int, chance: float) -> None:
    """With an interval beyond the settled interval, every failure waits exactly the interval."""
    schedule = Schedule(interval=100.0, settled_interval=10.0, jitter=lambda: chance)
    schedule.add("a", 0.0)
    now = 0.0
    for _ in range(failures):
        assert schedule.take(now) == "a"
        schedule.failed("a", now)
        assert schedule.due_at() == now + 100.0
        now = schedule.due_at()


def test_success_ends_the_backoff() -> None:
    """After a good poll the next failure waits the interval again."""
    schedule = make()
    clock = Clock(0.0)
    schedule.add("a", clock.now)
    for _ in range(5):
        clock.now = schedule.due_at()
        assert schedule.take(clock.now) == "a"
        schedule.failed("a", clock.now)
    clock.now = schedule.due_at()
    assert schedule.take(clock.now) == "a"
    schedule.succeeded("a", clock.now, settled=False)
    clock.now = schedule.due_at()
    assert schedule.take(clock.now) == "a"
    schedule.failed("a", clock.now)
    assert schedule.due_at() == clock.now + INTERVAL


def test_backoff_counts_from_the_end_of_the_failed_poll() -> None:
    """A poll that took 10 s to fail is followed by the whole wait."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.failed("a", 10.0)
    assert schedule.due_at() == 10.0 + INTERVAL


@pytest.mark.parametrize("failures", [1, 2, 10])
def test_settled_action_that_fails_waits_the_settled_interval(failures: int) -> None:
    """A finished action's counts are final: it stays settled and its next try has time."""
    schedule = make()
    add_polled(schedule, "a", 0.0, settled=True)
    for turn in range(1, failures + 1):
        now = turn * SETTLED_INTERVAL
        assert schedule.take(now) == "a"
        schedule.failed("a", now)
        assert schedule.due_at() == now + SETTLED_INTERVAL
    assert schedule.demand == 1 / SETTLED_INTERVAL


def test_settled_action_can_become_unfinished() -> None:
    """An action that moves on after all is polled on the interval again."""
    schedule = make()
    add_polled(schedule, "a", 0.0, settled=True)
    assert schedule.take(SETTLED_INTERVAL) == "a"
    schedule.succeeded("a", SETTLED_INTERVAL, settled=False)
    assert (schedule.due_at(), schedule.demand) == (SETTLED_INTERVAL + INTERVAL, 1 / INTERVAL)


@pytest.mark.parametrize("outcome", ["succeeded", "settled", "failed"])
def test_action_removed_in_flight_does_not_come_back(outcome: str) -> None:
    """The end of a poll whose action was removed has no effect."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.remove("a")
    if outcome == "failed":
        schedule.failed("a", 1.0)
    else:
        schedule.succeeded("a", 0.0, settled=outcome == "settled")
    assert (len(schedule), schedule.due_at(), schedule.take(1e9)) == (0, NEVER, None)
    assert (schedule.lag(1e9), schedule.demand) == (0.0, 0.0)


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("polled", [False, True])
def test_action_removed_while_waiting_is_not_taken(*, polled: bool, settled: bool) -> None:
    """A removed action leaves no trace, whatever its rank; the others stay in order."""
    schedule = make()
    for action_id in ("a", "b", "c"):
        if polled:
            add_polled(schedule, action_id, 0.0, settled=settled)
        else:
            schedule.add(action_id, 0.0)
    schedule.remove("a")
    schedule.remove("b")
    assert len(schedule) == 1
    assert schedule.demand == 1 / (SETTLED_INTERVAL if polled and settled else INTERVAL)
    assert take_all(schedule, 1e9) == ["c"]


def test_removal_of_an_untracked_action_is_an_error() -> None:
    """Whoever removes an action has to know that it is tracked."""
    with pytest.raises(KeyError):
        make().remove("a")


def test_action_added_again_is_new() -> None:
    """After its removal an action may come back: never polled, at the end of the line, taken once."""
    schedule = make()
    add_polled(schedule, "a", 0.0, settled=True)
    schedule.remove("a")
    schedule.add("b", 1.0)
    schedule.add("a", 1.0)
    assert schedule.demand == 2 / INTERVAL
    assert take_all(schedule, 1e9) == ["b", "a"]


@pytest.mark.parametrize("settled", [False, True])
def test_action_added_again_in_flight_is_not_planned_by_the_old_poll(*, settled: bool) -> None:
    """The poll of a removed action says nothing about the one that was added after it under the same ID."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.remove("a")
    schedule.add("a", 1.0)
    schedule.succeeded("a", 0.0, settled=settled)
    schedule.failed("a", 1.0)
    assert (len(schedule), schedule.demand) == (1, 1 / INTERVAL)
    assert take_all(schedule, 1.0) == ["a"]


def test_lag_is_that_of_the_most_overdue_unfinished_action() -> None:
    """Before the due time there is no lag, afterwards it grows with the oldest."""
    schedule = make()
    add_polled(schedule, "a", 0.0)
    add_polled(schedule, "b", 10.0)
    assert [schedule.lag(now) for now in (10.0, INTERVAL, INTERVAL + 5, INTERVAL + 20)] == [0.0, 0.0, 5.0, 20.0]


def test_lag_goes_on_while_the_poll_is_in_flight() -> None:
    """An action that waits for its answer is still late, until the answer is there."""
    schedule = make()
    add_polled(schedule, "a", 0.0)
    assert schedule.take(INTERVAL + 3) == "a"
    assert schedule.lag(INTERVAL + 10) == 10.0
    schedule.succeeded("a", INTERVAL + 3, settled=False)
    assert schedule.lag(INTERVAL + 10) == 0.0


def test_lag_counts_actions_never_polled() -> None:
    """An action that waits for its first poll is late from the moment it was added, in flight too."""
    schedule = make()
    schedule.add("a", 100.0)
    assert schedule.lag(130.0) == 30.0
    assert schedule.take(130.0) == "a"
    assert schedule.lag(131.0) == 31.0


def test_lag_leaves_out_settled_and_removed_actions() -> None:
    """A late settled action is no lag, nor in flight; a removed one is none either."""
    schedule = make()
    add_polled(schedule, "settled", 0.0, settled=True)
    assert schedule.lag(1e6) == 0.0
    assert schedule.take(1e6) == "settled"
    assert schedule.lag(2e6) == 0.0
    add_polled(schedule, "a", 2e6)
    assert schedule.take(2e6 + INTERVAL) == "a"
    schedule.remove("a")
    assert schedule.lag(3e6) == 0.0


def test_lag_of_a_failing_action_follows_its_backoff() -> None:
    """A failed action is late only when its next try is."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.failed("a", 0.0)
    assert (schedule.lag(INTERVAL), schedule.lag(INTERVAL + 1)) == (0.0, 1.0)


def test_demand_is_what_the_intervals_ask_for() -> None:
    """Each unfinished action asks for a poll per interval, each settled one per settled interval."""
    schedule = make()
    schedule.add("new", 0.0)
    assert schedule.demand == 1 / 60
    assert schedule.take(0.0) == "new"
    assert schedule.demand == 1 / 60
    schedule.failed("new", 0.0)
    assert schedule.demand == 1 / 60
    add_polled(schedule, "unfinished", 0.0)
    assert schedule.demand == 2 / 60
    add_polled(schedule, "settled", 0.0, settled=True)
    assert schedule.demand == 2 / 60 + 1 / 3600
    assert schedule.take(SETTLED_INTERVAL) == "new"
    schedule.succeeded("new", SETTLED_INTERVAL, settled=True)
    assert schedule.demand == 1 / 60 + 2 / 3600


@pytest.mark.parametrize("outcome", ["succeeded", "settled", "failed"])
def test_infinite_intervals_poll_once(outcome: str) -> None:
    """With infinite intervals an action is polled once, well or not, and is never late."""
    schedule = Schedule(interval=NEVER, settled_interval=NEVER, jitter=Random(1).random)
    schedule.add("a", 0.0)
    assert (schedule.take(0.0), schedule.demand) == ("a", 0.0)
    if outcome == "failed":
        schedule.failed("a", 1.0)
    else:
        schedule.succeeded("a", 0.0, settled=outcome == "settled")
    assert (schedule.due_at(), schedule.take(1e300), schedule.lag(1e300), schedule.demand) == (
        NEVER,
        None,
        0.0,
        0.0,
    )


# Deferral: polls that failed by no fault of the action's.


@pytest.mark.parametrize(
    ("chance", "delay"), [(0.0, INTERVAL), (0.5, 0.75 * INTERVAL), (0.999, 0.5005 * INTERVAL)]
)
def test_deferred_action_waits_an_interval_at_most(chance: float, delay: float) -> None:
    """However often it is deferred, an action waits for half to a whole interval, counted from the end."""
    schedule = make(lambda: chance)
    schedule.add("a", 0.0)
    now = 0.0
    for _ in range(20):
        now = max(now, schedule.due_at())
        assert schedule.take(now) == "a"
        now += 10.0
        schedule.deferred("a", now)
        due, failures = schedule.place("a")
        assert due - now == pytest.approx(delay)
        assert failures == 0


def test_action_deferred_at_once_is_due_at_once() -> None:
    """After a new key nobody waits: it is due now, behind what was due before and what was never polled."""
    schedule = make()
    add_polled(schedule, "before", 0.0)
    schedule.add("a", INTERVAL)
    assert schedule.take(INTERVAL) == "a"
    schedule.add("new", INTERVAL)
    schedule.deferred("a", INTERVAL + 5, at_once=True)
    assert schedule.place("a") == (INTERVAL + 5, 0)
    assert take_all(schedule, INTERVAL + 5) == ["new", "before", "a"]


def test_deferral_keeps_the_count_of_failures() -> None:
    """It neither lengthens the backoff nor ends it."""
    schedule = make()
    schedule.add("a", 0.0)
    for number in range(6):
        now = schedule.due_at()
        assert schedule.take(now) == "a"
        if number % 2:
            schedule.deferred("a", now)
        else:
            schedule.failed("a", now)
        assert schedule.place("a") == (
            now + (INTERVAL if number % 2 else INTERVAL * 2 ** (number // 2)),
            1 + number // 2,
        )


def test_deferred_action_that_was_never_polled_goes_behind_those() -> None:
    """It is unfinished now: whoever waits for a first poll goes first."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.deferred("a", 0.0, at_once=True)
    schedule.add("new", 1.0)
    assert take_all(schedule, 1.0) == ["new", "a"]


def test_deferred_settled_action_stays_settled() -> None:
    """Its turn comes after the unfinished ones, and the interval, not the settled one, is what it missed."""
    schedule = make()
    add_polled(schedule, "a", 0.0, settled=True)
    assert schedule.take(SETTLED_INTERVAL) == "a"
    schedule.deferred("a", SETTLED_INTERVAL)
    assert (schedule.due_at(), schedule.demand) == (SETTLED_INTERVAL + INTERVAL, 1 / SETTLED_INTERVAL)
    assert schedule.lag(1e9) == 0.0


def test_spreading_waits_for_the_first_good_poll_after_deferrals() -> None:
    """An action that was deferred first is spread over the interval once it succeeds."""
    schedule = make(lambda: 0.5)
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.deferred("a", 0.0)
    due = schedule.due_at()
    assert schedule.take(due) == "a"
    schedule.succeeded("a", due, settled=False)
    assert schedule.due_at() == due + 0.5 * INTERVAL


@pytest.mark.parametrize("at_once", [False, True])
def test_deferral_of_an_action_removed_in_flight_has_no_effect(*, at_once: bool) -> None:
    """It does not come back, nor is one planned that was added again under its ID."""
    schedule = make()
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.remove("a")
    schedule.deferred("a", 1.0, at_once=at_once)
    assert (len(schedule), schedule.due_at()) == (0, NEVER)
    schedule.add("a", 2.0)
    schedule.deferred("a", 3.0, at_once=at_once)
    assert (schedule.place("a"), take_all(schedule, 1e9)) == ((2.0, 0), ["a"])


# Probes: polls before their time.


def test_early_poll_is_of_what_would_be_due_first() -> None:
    """Where nothing is due, the earliest of all ranks goes; what is in flight does not."""
    schedule = make()
    add_polled(schedule, "c", 30.0)
    add_polled(schedule, "b", 20.0)
    add_polled(schedule, "a", 10.0)
    add_polled(schedule, "settled", 31.0 + INTERVAL - SETTLED_INTERVAL, settled=True)
    taken = [schedule.take(40.0, early=True) for _ in range(5)]
    assert taken == ["a", "b", "c", "settled", None]


def test_early_poll_is_of_what_is_due_if_anything_is() -> None:
    """Ranks go before due times as ever, and what is due before what is not."""
    schedule = make()
    add_polled(schedule, "settled", 0.0, settled=True)
    add_polled(schedule, "not due", SETTLED_INTERVAL)
    add_polled(schedule, "due", SETTLED_INTERVAL - INTERVAL)
    schedule.add("new", SETTLED_INTERVAL)
    taken = [schedule.take(SETTLED_INTERVAL, early=True) for _ in range(5)]
    assert taken == ["new", "due", "settled", "not due", None]


def test_early_poll_is_of_nothing_that_is_never_due() -> None:
    """With infinite intervals nothing is polled twice, not even early."""
    schedule = Schedule(interval=NEVER, settled_interval=NEVER)
    schedule.add("a", 0.0)
    schedule.add("b", 0.0)
    assert schedule.take(0.0, early=True) == "a"
    schedule.deferred("a", 0.0)
    assert [schedule.take(1e300, early=True) for _ in range(2)] == ["b", None]


@pytest.mark.parametrize(("settled", "period"), [(False, INTERVAL), (True, SETTLED_INTERVAL)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_early_poll_puts_the_next_off_by_no_more_than_the_interval(
    share: float, period: float, *, settled: bool
) -> None:
    """A poll that came before its time is no reason to wait longer than ever for the next one."""
    schedule = make()
    add_polled(schedule, "a", 0.0, settled=settled)
    early = period * (1 - share)
    assert schedule.take(early, early=True) == "a"
    schedule.succeeded("a", early, settled=settled)
    assert early < schedule.due_at() <= early + period


# What an earlier process left behind.


@pytest.mark.parametrize(
    ("settled", "failures", "due", "planned"),
    [
        (False, 0, 30.0, 30.0),
        (False, 0, 60.0, 60.0),
        (False, 0, 61.0, 60.0),
        (False, 0, 1e12, 60.0),
        (False, 0, NEVER, 60.0),
        (False, 0, 0.0, 0.0),
        (False, 0, -30.0, -30.0),
        (False, 0, -31.0, 0.0),
        (False, 0, -1e12, 0.0),
        (False, 3, 240.0, 240.0),
        (False, 3, 3600.0, 3600.0),
        (False, 3, 3601.0, 3600.0),
        (False, 3, -3601.0, 0.0),
        (True, 0, 3000.0, 3000.0),
        (True, 0, 3601.0, 3600.0),
        (True, 0, -1800.0, -1800.0),
        (True, 0, -1e12, 0.0),
        (True, 2, 86_400.0, 3600.0),
    ],
)
def test_restored_action_is_due_as_it_was_left(
    due: float, planned: float, failures: int, *, settled: bool
) -> None:
    """A due time stays where it was, if it is no farther off than a poll may put it; missed by far it is now."""
    now = 10_000.0
    schedule = make()
    schedule.restore("a", now + due, now, settled=settled, failures=failures)
    assert schedule.place("a") == (now + planned, failures)
    assert schedule.due_at() == now + planned
    assert schedule.demand == 1 / (SETTLED_INTERVAL if settled else INTERVAL)
    assert schedule.lag(now) == (0.0 if settled else max(0.0, -planned))


def test_longest_wait_is_the_longer_interval_after_failures() -> None:
    """A failing action may have waited for an interval that is longer than the settled one."""
    schedule = Schedule(interval=100.0, settled_interval=10.0, jitter=lambda: 0.0)
    schedule.restore("a", 1e9, 0.0, settled=False, failures=1)
    schedule.restore("b", 1e9, 0.0, settled=True, failures=0)
    assert (schedule.place("a"), schedule.place("b")) == ((100.0, 1), (10.0, 0))


@pytest.mark.parametrize("due", [-1e300, -1.0, 0.0, 5.0, 1e300, NEVER])
def test_restored_action_with_infinite_intervals_is_due_as_it_was_left(due: float) -> None:
    """Nothing is too far off for --once, and nothing breaks."""
    schedule = Schedule(interval=NEVER, settled_interval=NEVER)
    schedule.restore("a", due, 0.0, settled=False, failures=0)
    assert (schedule.place("a"), schedule.demand) == ((due, 0), 0.0)
    if due <= 0.0:
        assert schedule.take(0.0) == "a"
        schedule.succeeded("a", 0.0, settled=False)
        assert schedule.due_at() == NEVER


def test_restored_actions_go_behind_those_never_polled() -> None:
    """What is known can wait for what is not: then unfinished ones by due time, then settled ones."""
    schedule = make()
    schedule.restore("settled", -3_000.0, 0.0, settled=True, failures=0)
    schedule.restore("failing", -20.0, 0.0, settled=False, failures=4)
    schedule.restore("late", -1.0, 0.0, settled=False, failures=0)
    schedule.restore("later", 10.0, 0.0, settled=False, failures=0)
    schedule.add("new", 0.0)
    assert (len(schedule), schedule.demand) == (5, 4 / INTERVAL + 1 / SETTLED_INTERVAL)
    assert take_all(schedule, 0.0) == ["new", "failing", "late", "settled"]


@pytest.mark.parametrize(("settled", "period"), [(False, INTERVAL), (True, SETTLED_INTERVAL)])
@pytest.mark.parametrize(
    ("late", "keeps"), [(-0.9, True), (-0.1, True), (0.0, True), (0.5, True), (0.51, False), (10.0, False)]
)
def test_restored_action_keeps_its_phase_unless_it_was_missed_by_far(
    late: float, period: float, *, keeps: bool, settled: bool
) -> None:
    """A restart of a moment leaves polls spread as they were; after a long one they spread anew."""
    now = 10_000.0
    schedule = make(lambda: 0.25)
    schedule.restore("a", now - late * period, now, settled=settled, failures=0)
    started = max(now, schedule.due_at())
    assert schedule.take(started) == "a"
    schedule.succeeded("a", started, settled=settled)
    expected = (now - late * period) + period if keeps else now + 0.75 * period
    assert schedule.due_at() == pytest.approx(expected)


def test_backoff_goes_on_after_a_restart() -> None:
    """The failures of before count; a success ends them."""
    schedule = make()
    schedule.restore("a", 100.0, 0.0, settled=False, failures=3)
    assert schedule.take(100.0) == "a"
    schedule.failed("a", 100.0)
    assert schedule.place("a") == (100.0 + 8 * INTERVAL, 4)
    assert schedule.take(schedule.due_at()) == "a"
    schedule.succeeded("a", 580.0, settled=False)
    assert schedule.place("a")[1] == 0


@pytest.mark.parametrize("seed", range(3))
def test_restored_fleet_that_was_missed_by_far_spreads_over_the_interval(seed: int) -> None:
    """After a day of standstill 600 actions are due at once, and a round later no more than a few together."""
    schedule = make(Random(seed).random)
    for number in range(600):
        schedule.restore(str(number), number / 10 - 86_400, 0.0, settled=False, failures=0)
    for action_id in take_all(schedule, 0.0):
        schedule.succeeded(action_id, 0.0, settled=False)
    shares = [0] * 10
    for number in range(600):
        shares[min(9, int(schedule.place(str(number))[0] / (INTERVAL / 10)))] += 1
    # 60 expected, with a standard deviation of 7.3: four of them to each side.
    assert [30 <= share <= 90 for share in shares] == [True] * 10


@pytest.mark.parametrize("seed", range(3))
def test_restored_fleet_whose_clock_was_set_back_stays_spread(seed: int) -> None:
    """Where a clock that was ahead has left due times of tomorrow, 600 actions are not all due at one moment."""
    schedule = make(Random(seed).random)
    for number in range(600):
        schedule.restore(str(number), number / 10 + 86_400, 0.0, settled=False, failures=0)
    dues = [schedule.place(str(number))[0] for number in range(600)]
    shares = [sum(1 for due in dues if tenth * 6 < due <= tenth * 6 + 6) for tenth in range(10)]
    assert sum(shares) == 600
    assert [30 <= share <= 90 for share in shares] == [True] * 10


# Other intervals.


def test_place_is_where_an_action_stands() -> None:
    """Its due time and its failures in a row; in flight the due time is that of the poll under way."""
    schedule = make()
    schedule.add("a", 5.0)
    assert schedule.place("a") == (5.0, 0)
    assert schedule.take(7.0) == "a"
    assert schedule.place("a") == (5.0, 0)
    schedule.failed("a", 8.0)
    assert schedule.place("a") == (8.0 + INTERVAL, 1)
    with pytest.raises(KeyError):
        schedule.place("b")


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_shorter_interval_takes_effect_within_itself(chance: float) -> None:
    """What was due later spreads over the new interval, from now on; what was due sooner stays."""
    schedule = Schedule(interval=3_600.0, settled_interval=3_600.0, jitter=lambda: 0.0)
    add_polled(schedule, "sooner", 30.0)
    add_polled(schedule, "later", 2_000.0)
    schedule.add("waiting", 3_000.0)
    schedule._jitter = lambda: chance
    schedule.configure(interval=INTERVAL, settled_interval=3_600.0, now=3_600.0)
    assert [schedule.place(action_id)[0] for action_id in ("sooner", "later", "waiting")] == [
        3_630.0,
        pytest.approx(3_600.0 + INTERVAL * (1 - chance)),
        3_000.0,
    ]
    assert schedule.demand == 3 / INTERVAL
    assert len(take_all(schedule, 3_660.0)) == 3


def test_each_rank_has_its_own_bound_when_intervals_change() -> None:
    """Unfinished ones go by the interval, settled ones by theirs, failing ones by the longer of both."""
    schedule = Schedule(interval=500.0, settled_interval=3_600.0, jitter=lambda: 0.0)
    add_polled(schedule, "unfinished", 0.0)
    add_polled(schedule, "settled", 0.0, settled=True)
    schedule.restore("failing", 2_000.0, 0.0, settled=False, failures=5)
    schedule.configure(interval=100.0, settled_interval=1_000.0, now=0.0)
    places = [schedule.place(action_id) for action_id in ("unfinished", "settled", "failing")]
    assert places == [(100.0, 0), (1_000.0, 0), (1_000.0, 5)]
    assert (len(schedule), schedule.demand) == (3, 2 / 100 + 1 / 1_000)


def test_longer_interval_holds_from_the_next_poll_on() -> None:
    """What is due soon is polled once more as planned, and then waits for the new interval."""
    schedule = make()
    add_polled(schedule, "a", 0.0)
    schedule.configure(interval=600.0, settled_interval=SETTLED_INTERVAL, now=10.0)
    assert schedule.place("a") == (INTERVAL, 0)
    assert schedule.take(INTERVAL) == "a"
    schedule.succeeded("a", INTERVAL, settled=False)
    assert schedule.due_at() == INTERVAL + 600.0


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "deferred"])
def test_poll_under_way_ends_by_the_new_intervals(outcome: str) -> None:
    """What is in flight has no place yet: it is planned as the new intervals say."""
    schedule = make()
    add_polled(schedule, "a", 0.0)
    assert schedule.take(INTERVAL) == "a"
    schedule.configure(interval=5.0, settled_interval=50.0, now=INTERVAL + 1)
    assert (schedule.take(1e9), schedule.place("a")) == (None, (INTERVAL, 0))
    if outcome == "succeeded":
        schedule.succeeded("a", INTERVAL, settled=False)
    elif outcome == "failed":
        schedule.failed("a", INTERVAL)
    else:
        schedule.deferred("a", INTERVAL)
    assert schedule.due_at() == INTERVAL + 5.0


def test_same_intervals_change_nothing() -> None:
    """A reload that leaves the intervals as they are moves no poll."""
    schedule = make(Random(1).random)
    for number in range(100):
        add_polled(schedule, str(number), float(number), settled=number % 2 == 0)
    before = [schedule.place(str(number)) for number in range(100)]
    schedule.configure(interval=INTERVAL, settled_interval=SETTLED_INTERVAL, now=100.0)
    assert [schedule.place(str(number)) for number in range(100)] == before


@pytest.mark.parametrize("seed", range(3))
def test_fleet_spreads_over_a_shorter_interval(seed: int) -> None:
    """600 actions of an hourly round are polled evenly over the minute after the reload, each of them once."""
    schedule = Schedule(interval=3_600.0, settled_interval=3_600.0, jitter=Random(seed).random)
    for number in range(600):
        add_polled(schedule, str(number), 0.0)
    schedule.configure(interval=INTERVAL, settled_interval=3_600.0, now=0.0)
    dues = [schedule.place(str(number))[0] for number in range(600)]
    shares = [sum(1 for due in dues if tenth * 6 < due <= tenth * 6 + 6) for tenth in range(10)]
    assert sum(shares) == 600
    assert [30 <= share <= 90 for share in shares] == [True] * 10
    assert sorted(take_all(schedule, INTERVAL)) == sorted(str(number) for number in range(600))


@dataclass
class Modelled:
    """Where the model has an action."""

    rank: Rank
    due: float
    turn: int = 0
    failures: int = 0
    phased: bool = False
    taken_at: float | None = None


class ScheduleMachine(RuleBasedStateMachine):
    """A schedule beside a naive model, which sorts all that it has for each question.

    Where a due time is chance, the model checks that it is within the bounds of the contract, and learns it.
    """

    actions = st.sampled_from("abcdef")
    intervals = st.sampled_from([30.0, 60.0, 600.0, 3600.0])

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.schedule = make(Random(7).random)
        self.interval, self.settled_interval = INTERVAL, SETTLED_INTERVAL
        self.model: dict[str, Modelled] = {}
        self.turn = 0

    @property
    def in_flight(self) -> list[str]:
        """The actions whose polls are under way."""
        return sorted(action_id for action_id, entry in self.model.items() if entry.taken_at is not None)

    def period(self, entry: Modelled) -> float:
        """Return how far apart good polls are."""
        return self.settled_interval if entry.rank is Rank.SETTLED else self.interval

    def longest(self, entry: Modelled) -> float:
        """Return how long an action may have to wait."""
        return max(self.interval, self.settled_interval) if entry.failures else self.period(entry)

    def planned(self, action_id: str, earliest: float, latest: float) -> None:
        """Learn when an action is due next, which has to be within bounds."""
        entry = self.model[action_id]
        entry.due, failures = self.schedule.place(action_id)
        assert failures == entry.failures
        assert earliest - 1e-6 <= entry.due <= latest + 1e-6
        entry.taken_at = None
        self.turn += 1
        entry.turn = self.turn

    @rule(action_id=actions)
    def add_or_remove(self, action_id: str) -> None:
        """Track an action that is not, or stop."""
        if action_id in self.model:
            self.schedule.remove(action_id)
            del self.model[action_id]
        else:
            self.schedule.add(action_id, self.clock.now)
            self.model[action_id] = Modelled(Rank.NEVER_POLLED, self.clock.now)
            self.planned(action_id, self.clock.now, self.clock.now)

    @rule(
        action_id=actions,
        offset=st.sampled_from([-1e9, -4000.0, -100.0, -29.0, 0.0, 10.0, 100.0, 4000.0, 1e9]),
        settled=st.booleans(),
        failures=st.sampled_from([0, 0, 1, 5]),
    )
    def restore(self, action_id: str, offset: float, failures: int, *, settled: bool) -> None:
        """Track an action of an earlier process."""
        if action_id in self.model:
            return
        now = self.clock.now
        self.schedule.restore(action_id, now + offset, now, settled=settled, failures=failures)
        entry = Modelled(Rank.SETTLED if settled else Rank.UNFINISHED, 0.0, failures=failures)
        self.model[action_id] = entry
        longest = self.longest(entry)
        entry.phased = -offset <= self.period(entry) / 2
        if not entry.phased:
            self.planned(action_id, now, now)
        elif offset > longest:
            self.planned(action_id, now, now + longest)
        else:
            self.planned(action_id, now + offset, now + offset)

    @rule(interval=intervals, settled_interval=intervals)
    def configure(self, interval: float, settled_interval: float) -> None:
        """Take over other intervals."""
        now = self.clock.now
        changed = (interval, settled_interval) != (self.interval, self.settled_interval)
        self.interval, self.settled_interval = interval, settled_interval
        self.schedule.configure(interval=interval, settled_interval=settled_interval, now=now)
        for action_id, entry in self.model.items():
            beyond = entry.taken_at is None and entry.due - now > self.longest(entry)
            entry.phased = beyond if changed else entry.phased
            if changed and beyond:
                self.planned(action_id, now, now + self.longest(entry))

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 60.0, 200.0, 3600.0, 10_000.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @rule()
    def advance_to_the_next(self) -> None:
        """Let exactly as much time pass as the schedule says that it needs."""
        if self.schedule.due_at() < NEVER:
            self.clock.now = max(self.clock.now, self.schedule.due_at())

    @rule(early=st.booleans())
    def take(self, *, early: bool) -> None:
        """Take what is due, or, early, what would be first."""
        now = self.clock.now
        waiting = {key: entry for key, entry in self.model.items() if entry.taken_at is None}
        due = {key: entry for key, entry in waiting.items() if entry.due <= now}
        expected = min(due, key=lambda key: (due[key].rank, due[key].due, due[key].turn), default=None)
        if expected is None and early:
            expected = min(waiting, key=lambda key: (waiting[key].due, waiting[key].turn), default=None)
        assert self.schedule.take(now, early=early) == expected
        if expected is not None:
            self.model[expected].taken_at = now

    @rule(seconds=st.sampled_from([0.0, 60.0, 1e6]))
    def take_all(self, seconds: float) -> None:
        """Take all that is due after a while: each once, in the order of ranks and due times."""
        now = self.clock.advance(seconds)
        due = {key: entry for key, entry in self.model.items() if entry.taken_at is None and entry.due <= now}
        order = sorted(due, key=lambda key: (due[key].rank, due[key].due, due[key].turn))
        assert take_all(self.schedule, now) == order
        for entry in due.values():
            entry.taken_at = now

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), settled=st.booleans())
    def succeed(self, data: st.DataObject, *, settled: bool) -> None:
        """End a poll well."""
        action_id = data.draw(st.sampled_from(self.in_flight))
        entry = self.model[action_id]
        started = entry.taken_at
        assert started is not None
        self.schedule.succeeded(action_id, started, settled=settled)
        entry.rank = Rank.SETTLED if settled else Rank.UNFINISHED
        entry.failures = 0
        period = self.period(entry)
        if started < entry.due:
            due = min(entry.due, started + period)
            self.planned(action_id, due, due)
        elif started - entry.due > period / 2:
            self.planned(action_id, started + period, started + period)
            entry.phased = False
        elif entry.phased:
            self.planned(action_id, entry.due + period, entry.due + period)
        else:
            self.planned(action_id, started, started + period)
            entry.phased = True

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """End a poll badly."""
        action_id = data.draw(st.sampled_from(self.in_flight))
        entry = self.model[action_id]
        now = self.clock.now
        self.schedule.failed(action_id, now)
        entry.failures += 1
        longest = self.longest(entry)
        if entry.rank is Rank.SETTLED:
            self.planned(action_id, now + longest, now + longest)
        else:
            entry.rank = Rank.UNFINISHED
            shortest = max(self.interval, min(self.interval * 2 ** (entry.failures - 1), 0.75 * longest))
            self.planned(action_id, now + shortest, now + longest)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), at_once=st.booleans())
    def defer(self, data: st.DataObject, *, at_once: bool) -> None:
        """End a poll badly, which is not the action's fault."""
        action_id = data.draw(st.sampled_from(self.in_flight))
        entry = self.model[action_id]
        now = self.clock.now
        self.schedule.deferred(action_id, now, at_once=at_once)
        entry.rank = max(entry.rank, Rank.UNFINISHED)
        if at_once:
            self.planned(action_id, now, now)
        else:
            self.planned(action_id, now + self.interval / 2, now + self.interval)

    @rule(action_id=actions)
    def end_what_is_not_in_flight(self, action_id: str) -> None:
        """The end of a poll that is not under way has no effect."""
        if action_id not in self.in_flight:
            self.schedule.succeeded(action_id, self.clock.now, settled=True)
            self.schedule.failed(action_id, self.clock.now)
            self.schedule.deferred(action_id, self.clock.now)

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        """What is tracked is counted, and due times, lag and demand are the model's."""
        now = self.clock.now
        entries = self.model.values()
        settled = sum(entry.rank is Rank.SETTLED for entry in entries)
        assert len(self.schedule) == len(entries)
        demand = (len(entries) - settled) / self.interval + settled / self.settled_interval
        assert self.schedule.demand == pytest.approx(demand)
        assert self.schedule.due_at() == min((e.due for e in entries if e.taken_at is None), default=NEVER)
        late = max((now - entry.due for entry in entries if entry.rank is not Rank.SETTLED), default=0.0)
        assert self.schedule.lag(now) == max(0.0, late)
        assert {key: self.schedule.place(key) for key in self.model} == {
            key: (entry.due, entry.failures) for key, entry in self.model.items()
        }


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
