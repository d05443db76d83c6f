"""Schedule and rate limit together, in simulated time: how fresh the data is, and how even the requests.

No threads and no waiting: a loop moves the clock to the next event, as the poller's pacing thread does.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest
from support_clock import Clock

from exporter.ratelimit import RateLimit
from exporter.schedule import Schedule

RATE = 5.0
PACE = 0.98 * RATE
INTERVAL = 60.0
SETTLED_INTERVAL = 3600.0
LATENCY = 0.2

SUCCEEDED, SETTLED, FAILED = "succeeded", "settled", "failed"


class Simulation:
    """One tenant's polling. ``outcome`` says of an action how its polls end, ``latency`` how long they take."""

    def __init__(
        self,
        outcome: Callable[[str], str],
        *,
        latency: Callable[[str], float] = lambda _: LATENCY,
        rate: float = RATE,
        seed: int = 1,
    ) -> None:
        self.clock = Clock()
        self.schedule = Schedule(interval=INTERVAL, settled_interval=SETTLED_INTERVAL, jitter=Random(seed).random)
        self.polls: list[tuple[float, str]] = []
        self._rate = RateLimit(rate)
        self._outcome = outcome
        self._latency = latency
        self._landings: list[tuple[float, float, str]] = []

    def add(self, action_ids: Iterable[str]) -> None:
        """Track new actions."""
        for action_id in action_ids:
            self.schedule.add(action_id, self.clock.now)

    def run(self, seconds: float) -> None:
        """Let polling go on for so long."""
        end = self.clock.now + seconds
        while (event := self._next_event()) <= end:
            self.clock.advance(max(0.0, event - self.clock.now))
            self._step(self.clock.now)
        self.clock.advance(end - self.clock.now)

    def starts(self, action_id: str, since: float = 0.0) -> list[float]:
        """Return when polls of an action started."""
        return [time for time, polled in self.polls if polled == action_id and time >= since]

    def starts_by_action(self, since: float = 0.0) -> dict[str, list[float]]:
        """Return when polls started, of each action."""
        starts = defaultdict(list)
        for time, action_id in self.polls:
            if time >= since:
                starts[action_id].append(time)
        return starts

    def _next_event(self) -> float:
        request = max(self._rate.ready_at, self.schedule.due_at())
        return min(request, self._landings[0][0]) if self._landings else request

    def _step(self, now: float) -> None:
        while self._landings and self._landings[0][0] <= now:
            _, started, action_id = heapq.heappop(self._landings)
            outcome = self._outcome(action_id)
            if outcome is FAILED:
                self.schedule.failed(action_id, now)
            else:
                self.schedule.succeeded(action_id, started, settled=outcome is SETTLED)
        if self._rate.ready_at <= now and (action_id_or_none := self.schedule.take(now)) is not None:
            self._rate.take(now)
            self.polls.append((now, action_id_or_none))
            heapq.heappush(self._landings, (now + self._latency(action_id_or_none), now, action_id_or_none))


def most_within(times: list[float], seconds: float) -> int:
    """Return the most that any half-open window of that length holds."""
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def mean_age(starts: dict[str, list[float]], begin: float, end: float) -> float:
    """Return how old data is, averaged over actions and time.

    Data is as of the start of its poll, and is shown from the poll's end to that of the next.
    """
    areas = 0.0
    for times in starts.values():
        for start, following in pairwise([*times, float("inf")]):
            shown, hidden = max(begin, start + LATENCY), min(end, following + LATENCY)
            if shown < hidden:
                areas += ((hidden - start) ** 2 - (shown - start) ** 2) / 2
    return areas / (len(starts) * (end - begin))


FLEET = [str(number) for number in range(10_000)]
CAMPAIGN = [f"new-{number}" for number in range(500)]


def of_the_fleet(action_id: str) -> str:
    """Settle nine of ten actions; a new campaign is unfinished."""
    return SUCCEEDED if action_id in CAMPAIGN or action_id.endswith("7") else SETTLED


class FleetRun:
    """Ten thousand actions for a first pass and two hours, then a campaign that comes in."""

    def __init__(self) -> None:
        self.simulation = Simulation(of_the_fleet)
        self.simulation.add(FLEET)
        self.simulation.run(len(FLEET) / PACE + LATENCY)
        self.first_pass_end = self.simulation.clock.now
        self.simulation.run(2 * 3600)
        self.campaign_begin = self.simulation.clock.now
        self.simulation.add(CAMPAIGN)
        self.simulation.run(600)


@pytest.fixture(scope="module")
def fleet_run() -> FleetRun:
    """Run the large simulation once for all tests that look at it."""
    return FleetRun()


def test_fleet_is_polled_once_in_its_order_first(fleet_run: FleetRun) -> None:
    """The first pass polls each of 10,000 actions, in the order added, before anything is polled twice."""
    assert [action_id for _, action_id in fleet_run.simulation.polls[: len(FLEET)]] == FLEET


def test_fleet_never_exceeds_the_rate(fleet_run: FleetRun) -> None:
    """No second of more than two and a half hours holds more than 5 requests, and the budget is used."""
    times = [time for time, _ in fleet_run.simulation.polls]
    assert most_within(times, 1.0) == RATE
    assert len(times) == pytest.approx(PACE * fleet_run.simulation.clock.now, rel=0.001)


def test_fleet_data_is_fresh(fleet_run: FleetRun) -> None:
    """Unfinished data is on average no older than 1.1 times what the budget allows: 1,000 at 5 a second.

    Polled in turn each waits about 1,000/4.9 s for its next poll, and so its data is half that old on average.
    """
    begin, end = fleet_run.first_pass_end, fleet_run.campaign_begin
    unfinished = {
        action_id: times
        for action_id, times in fleet_run.simulation.starts_by_action().items()
        if action_id.endswith("7") and action_id not in CAMPAIGN
    }
    bound = len(unfinished) / RATE
    assert len(unfinished) == 1_000
    # From the first pass itself data may be as old as that took; each has been polled anew a round later.
    assert mean_age(unfinished, begin, end) <= 1.1 * bound
    assert mean_age(unfinished, begin + 1.1 * bound, end) <= 1.1 * bound / 2


def test_fleet_is_polled_in_turn(fleet_run: FleetRun) -> None:
    """No unfinished action waits longer than a fair round for its next poll, once all have had a second one."""
    begin, end = fleet_run.first_pass_end, fleet_run.campaign_begin
    round_seconds = 1_000 / PACE
    gaps = [
        later - earlier
        for times in fleet_run.simulation.starts_by_action(begin).values()
        for earlier, later in pairwise([time for time in times if time < end])
    ]
    assert 0.9 * round_seconds <= min(gaps)
    assert max(gaps) <= 1.1 * round_seconds


def test_settled_actions_give_way_where_the_budget_does_not_suffice(fleet_run: FleetRun) -> None:
    """With more unfinished actions than the budget has polls, finished ones are not polled again."""
    polled = fleet_run.simulation.starts_by_action(fleet_run.first_pass_end)
    assert {action_id for action_id in polled if of_the_fleet(action_id) is SETTLED} == set()


def test_new_campaign_is_polled_first(fleet_run: FleetRun) -> None:
    """500 new actions are polled at once and in order, before anything else, within 500/4.9 s."""
    begin = fleet_run.campaign_begin
    after = [(time, action_id) for time, action_id in fleet_run.simulation.polls if time > begin]
    assert [action_id for _, action_id in after[:500]] == CAMPAIGN
    assert after[499][0] - begin <= 500 / PACE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("actions", "rate"), [(100, 5.0), (60, 10.0)])
def test_polls_spread_over_the_interval(actions: int, rate: float, seed: int) -> None:
    """Actions that come at once are each polled once a minute, and not all in the same seconds of it.

    What chance puts before the end of the first pass goes right after it, as fast as the rate allows: hence
    up to three times the even share, where a burst would hold what the rate allows, or all.
    """
    simulation = Simulation(lambda _: SUCCEEDED, rate=rate, seed=seed)
    simulation.add(map(str, range(actions)))
    simulation.run(3600)
    steady = actions / (0.98 * rate) + INTERVAL
    polled = simulation.starts_by_action(steady)
    gaps = [later - earlier for times in polled.values() for earlier, later in pairwise(times)]
    assert len(polled) == actions
    assert min(gaps) >= INTERVAL - 1e-6
    assert max(gaps) <= INTERVAL + 1
    times = [time for time, _ in simulation.polls if time >= steady]
    even_share = actions / INTERVAL * 5
    assert most_within(times, 5.0) <= 3 * even_share


def test_failing_action_backs_off_and_slows_nobody() -> None:
    """An action that always times out is tried ever more rarely, while the others keep their minute."""
    simulation = Simulation(
        lambda action_id: FAILED if action_id == "50" else SUCCEEDED,
        latency=lambda action_id: 10.0 if action_id == "50" else LATENCY,
    )
    simulation.add(map(str, range(100)))
    simulation.run(4 * 3600)
    waits = [later - earlier - 10.0 for earlier, later in pairwise(simulation.starts("50"))]
    assert [
        lower - 1e-6 <= wait <= upper + 1
        for wait, lower, upper in zip(
            waits,
            [60, 120, 240, 480, 960, 1920, 2700],
            [90, 180, 360, 720, 1440, 2880, 3600],
            strict=False,
        )
    ] == [True] * min(len(waits), 7)
    assert 6 <= len(waits) <= 9
    others = simulation.starts_by_action(100 / PACE + INTERVAL)
    del others["50"]
    gaps = [later - earlier for times in others.values() for earlier, later in pairwise(times)]
    assert len(others) == 99
    assert max(gaps) <= INTERVAL + 2


def test_settled_actions_are_polled_once_per_settled_interval() -> None:
    """Where the budget suffices, each finished action is polled about once an hour, spread over the hour."""
    simulation = Simulation(lambda action_id: SUCCEEDED if action_id.startswith("u") else SETTLED)
    simulation.add([f"u{number}" for number in range(100)])
    simulation.add([f"s{number}" for number in range(3_600)])
    simulation.run(3 * SETTLED_INTERVAL)
    polled = simulation.starts_by_action(SETTLED_INTERVAL)
    gaps = {"u": [0.0], "s": [0.0]}
    for action_id, times in polled.items():
        gaps[action_id[0]] += [later - earlier for earlier, later in pairwise(times)]
    assert len(polled) == 3_700
    assert max(gaps["u"]) <= INTERVAL + 5
    assert min(gaps["s"][1:]) >= SETTLED_INTERVAL - 60
    assert max(gaps["s"]) <= SETTLED_INTERVAL + 60


def test_settled_actions_get_what_is_left() -> None:
    """Where the budget just suffices for the unfinished actions, those keep their minute, and the rest goes on."""
    simulation = Simulation(lambda action_id: SUCCEEDED if action_id.startswith("u") else SETTLED)
    simulation.add([f"u{number}" for number in range(280)])
    simulation.add([f"s{number}" for number in range(3_600)])
    simulation.run(2 * SETTLED_INTERVAL)
    steady = 3_880 / PACE + 10 * INTERVAL
    polled = simulation.starts_by_action(steady)
    unfinished = {action_id: times for action_id, times in polled.items() if action_id.startswith("u")}
    gaps = [later - earlier for times in unfinished.values() for earlier, later in pairwise(times)]
    settled_polls = sum(len(times) for action_id, times in polled.items() if action_id.startswith("s"))
    assert len(unfinished) == 280
    assert max(gaps) <= INTERVAL + 15
    assert sum(gaps) / len(gaps) == pytest.approx(INTERVAL, rel=0.02)
    left = PACE - 280 / INTERVAL
    assert settled_polls == pytest.approx(left * (simulation.clock.now - steady), rel=0.15)
