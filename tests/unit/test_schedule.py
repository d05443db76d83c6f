"""Which action is due when: ranks, spreading, backoff, removal, lag and demand, and a naive model of it all."""

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support_clock import Clock

from exporter.schedule import Schedule

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


class ScheduleMachine(RuleBasedStateMachine):
    """A schedule beside a naive model: a dictionary of what waits, and one of what is in flight.

    The model keeps ranks and who is where. Due times are learnt from the bounds that the contract sets: an
    action may be taken once the earliest of them has passed, and has to be before the latest.
    """

    actions = st.sampled_from("abcdef")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.schedule = make(Random(7).random)
        self.waiting: dict[str, tuple[int, float, float]] = {}  # Rank, and the earliest and latest due time.
        self.in_flight: dict[str, tuple[int, float]] = {}  # Rank, and when it was taken.
        self.phased: set[str] = set()
        self.failures: dict[str, int] = {}

    @rule(action_id=actions)
    def add_or_remove(self, action_id: str) -> None:
        """Track an action that is not, or stop."""
        if action_id in self.waiting or action_id in self.in_flight:
            self.schedule.remove(action_id)
            self.waiting.pop(action_id, None)
            self.in_flight.pop(action_id, None)
        else:
            self.schedule.add(action_id, self.clock.now)
            self.waiting[action_id] = (0, self.clock.now, self.clock.now)
        self.phased.discard(action_id)
        self.failures.pop(action_id, None)

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 60.0, 200.0, 3600.0, 10_000.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @rule()
    def advance_to_the_next(self) -> None:
        """Let exactly as much time pass as the schedule says that it needs."""
        if self.schedule.due_at() < NEVER:
            self.clock.now = max(self.clock.now, self.schedule.due_at())

    @rule()
    def take(self) -> None:
        """Take what is due."""
        now = self.clock.now
        action_id = self.schedule.take(now)
        certainly_due = [rank for rank, _, latest in self.waiting.values() if latest <= now]
        if action_id is None:
            assert certainly_due == []
            assert self.schedule.due_at() > now
            return
        rank, earliest, _ = self.waiting.pop(action_id)
        assert earliest <= now
        assert rank <= min(certainly_due, default=2)
        self.in_flight[action_id] = (rank, now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), settled=st.booleans())
    def succeed(self, data: st.DataObject, *, settled: bool) -> None:
        """End a poll well."""
        action_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        _, started = self.in_flight.pop(action_id)
        self.schedule.succeeded(action_id, started, settled=settled)
        period = SETTLED_INTERVAL if settled else INTERVAL
        earliest = started + (period / 2 if action_id in self.phased else 0.0)
        self.waiting[action_id] = (2 if settled else 1, earliest, started + period)
        self.phased.add(action_id)
        self.failures[action_id] = 0

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """End a poll badly."""
        action_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        rank, _ = self.in_flight.pop(action_id)
        self.schedule.failed(action_id, self.clock.now)
        failures = self.failures[action_id] = self.failures.get(action_id, 0) + 1
        shortest = SETTLED_INTERVAL if rank == 2 else min(INTERVAL * 2 ** (failures - 1), 0.75 * SETTLED_INTERVAL)
        self.waiting[action_id] = (max(rank, 1), self.clock.now + shortest, self.clock.now + SETTLED_INTERVAL)

    @rule(action_id=actions)
    def end_what_is_not_in_flight(self, action_id: str) -> None:
        """The end of a poll that is not under way has no effect."""
        if action_id not in self.in_flight:
            self.schedule.succeeded(action_id, self.clock.now, settled=True)
            self.schedule.failed(action_id, self.clock.now)

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        """What is tracked is counted, and due times, lag and demand are within the model's bounds."""
        now = self.clock.now
        ranks = [rank for rank, *_ in (*self.waiting.values(), *self.in_flight.values())]
        settled = ranks.count(2)
        assert len(self.schedule) == len(ranks)
        assert self.schedule.demand == pytest.approx(
            (len(ranks) - settled) / INTERVAL + settled / SETTLED_INTERVAL
        )
        earliest = min((earliest for _, earliest, _ in self.waiting.values()), default=NEVER)
        latest = min((latest for _, _, latest in self.waiting.values()), default=NEVER)
        assert earliest <= self.schedule.due_at() <= latest
        overdue = max((now - latest for rank, _, latest in self.waiting.values() if rank < 2), default=0.0)
        assert self.schedule.lag(now) >= max(0.0, overdue)


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
