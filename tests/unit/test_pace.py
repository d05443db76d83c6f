"""A tenant's poller in simulated time: how fresh data is, how even requests are, what a tenant in trouble gets.

The poller is the real one, with its schedule, rate, patience and store, but without its threads: a loop moves
the clock to the next event, has the poller take its step there, and lets answers come in when their time is.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count, pairwise
from random import Random
from typing import NoReturn

import pytest
import structlog
from support_clock import Clock

from exporter.cortex import timed_out
from exporter.errors import (
    AuthenticationError,
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)
from exporter.flights import Flight
from exporter.journal import Journal
from exporter.poller import Pacing, TenantPoller
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Phase, Record
from exporter.telemetry import Telemetry
from exporter.transport import Deadline
from exporter.workers import Workers

RATE = 5.0
PACE = 0.98 * RATE
INTERVAL = 60.0
SETTLED_INTERVAL = 3600.0
TIMEOUT = 10.0
LATENCY = 0.2
HOUR = 3600.0
DAY = 86_400.0
WALL = 1_700_000_000.0

SUCCEEDED = Status("IN_PROGRESS", (1,) * len(STATUSES))
SETTLED = Status("COMPLETED_SUCCESSFULLY", tuple(int(name == "completed_successfully") for name in STATUSES))
REFUSED = AuthenticationError(Reason.UNAUTHORIZED, "HTTP 401")
THROTTLED = ThrottledError(Reason.THROTTLED, "HTTP 429")
MISSING = UnexpectedReplyError(Reason.NOT_FOUND, "no such action")
UNREACHABLE = TransientError(Reason.CONNECTION, "Connection refused")
SILENT = timed_out()

Outcome = Status | PollError
Tenant = Callable[[str, float], Outcome]
"""Says how a request about an action, that arrives at some moment, is answered."""


def pacing(
    *,
    rate: float = RATE,
    interval: float = INTERVAL,
    settled_interval: float = SETTLED_INTERVAL,
    stale_after: float = 0.0,
    retire_after: float = 0.0,
    longest_probe_wait: float | None = None,
) -> Pacing:
    """Return how a tenant is polled; the longest wait of a probe is the interval, as the exporter has it."""
    return Pacing(
        requests_per_second=rate,
        timeout=TIMEOUT,
        interval=interval,
        settled_interval=settled_interval,
        stale_after=stale_after,
        retire_after=retire_after,
        longest_probe_wait=interval if longest_probe_wait is None else longest_probe_wait,
    )


class Hands(Workers[Flight]):
    """Workers without threads: what they are given lies there until somebody does it for them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.busy = 0
        self.jobs: list[Flight] = []

    @property
    def have_room(self) -> bool:
        """Whether another job can be taken."""
        return self.busy < self.most

    def take(self, job: Flight) -> None:
        """Note a job."""
        self.busy += 1
        self.jobs.append(job)


class Simulation:
    """One tenant's polling, and all that came of it. Chance is seeded, so that each run is the same.

    It is also the poller's client and its audience. An answer takes ``latency`` seconds, one that never comes
    until the timeout.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        at: Pacing | None = None,
        latency: float = LATENCY,
        start: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.clock = Clock(start)
        self.wall_offset = WALL
        self.tenant = tenant
        self.polls: list[tuple[float, str]] = []
        self.outcomes: list[tuple[float, str, Outcome]] = []
        self.states: dict[str, ActionState] = {}
        self.remembered: dict[str, Record] = {}
        self.key_is_new = False
        self._latency = latency
        self._numbers = count()
        self._answers: dict[Deadline, Outcome] = {}
        self._landings: list[tuple[float, int, Flight]] = []
        self._actions: dict[str, tuple[()]] = {}
        at = at or pacing()
        self.poller = TenantPoller(
            None,
            client=self,
            pacing=at,
            audience=self,
            telemetry=Telemetry(named=False).add_tenant(None),
            journal=Journal(structlog.wrap_logger(None, processors=[_drop])),
            on_crash=pytest.fail,
            clock=self.clock,
            wall_clock=self.wall_clock,
            jitter=Random(seed).random,
        )
        self._workers = Hands(self.poller._workers.most)
        self.poller._workers = self._workers

    def wall_clock(self) -> float:
        """Tell the time of day, which may be set."""
        return self.wall_offset + self.clock.now

    def add(self, action_ids: Iterable[str], remembered: Mapping[str, Record] | None = None) -> None:
        """Track new actions."""
        self._actions |= dict.fromkeys(action_ids, ())
        self.poller.track(self._actions, remembered or {})

    def run(self, seconds: float) -> None:
        """Let polling go on for so long."""
        end = self.clock.now + seconds
        while (event := self._next_event()) <= end:
            # A real clock does not stand still either, not even for a rounding.
            self.clock.now = max(event, self.clock.now + 1e-6)
            self._step(self.clock.now)
        self.clock.now = end

    def fetch(self, action_id: str, deadline: Deadline) -> Status:
        """Hand in the answer that a request got when it arrived."""
        outcome = self._answers.pop(deadline)
        self.outcomes.append((self.clock.now, action_id, outcome))
        if isinstance(outcome, AuthenticationError) and self.key_is_new:
            # As a key file does, and the client: it is read after a refusal.
            self.key_is_new = False
            self.poller.expedite()
            raise AuthenticationError(outcome.reason, outcome.detail, key_replaced=True)
        if isinstance(outcome, PollError):
            raise outcome
        return outcome

    def publish(self, state: ActionState) -> None:
        """Keep an action's last state."""
        self.states[state.action_id] = state

    def remember(self, record: Record) -> None:
        """Keep what should outlive a restart."""
        self.remembered[record.state.action_id] = record

    def withdraw(self, action_ids: Collection[str]) -> None:
        """Forget actions."""
        for action_id in action_ids:
            del self.states[action_id]

    def times(self, since: float = 0.0, until: float = math.inf) -> list[float]:
        """Return when polls started."""
        return [time for time, _ in self.polls if since <= time < until]

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

    def first_successes(self, since: float) -> dict[str, float]:
        """Return when each action was polled well first since then."""
        first: dict[str, float] = {}
        for time, action_id, outcome in self.outcomes:
            if time >= since and isinstance(outcome, Status):
                first.setdefault(action_id, time)
        return first

    def failures(self, since: float = 0.0, until: float = math.inf) -> Counter[str]:
        """Count how polls failed, by reason."""
        return Counter(
            outcome.reason.value
            for time, _, outcome in self.outcomes
            if since <= time < until and isinstance(outcome, PollError)
        )

    def _next_event(self) -> float:
        event = self.poller._next_event()
        return min(event, self._landings[0][0]) if self._landings else event

    def _step(self, now: float) -> None:
        while self._landings and self._landings[0][0] <= now:
            _, _, flight = heapq.heappop(self._landings)
            self.poller._carry(flight)
            self._workers.busy -= 1
        self.poller._step()
        while self._workers.jobs:
            launched = self._workers.jobs.pop()
            outcome = self.tenant(launched.action_id, now)
            self.polls.append((now, launched.action_id))
            self._answers[launched.deadline] = outcome
            seconds = TIMEOUT if outcome is SILENT else self._latency
            heapq.heappush(self._landings, (now + seconds, next(self._numbers), launched))


def _drop(*_: object) -> NoReturn:
    raise structlog.DropEvent


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


def always(outcome: Outcome) -> Tenant:
    """Return a tenant that gives one answer."""
    return lambda *_: outcome


def by_action(choose: Callable[[str], Outcome]) -> Tenant:
    """Return a tenant whose answers depend on the action alone."""
    return lambda action_id, _: choose(action_id)


def during(begin: float, end: float, outcome: Outcome, otherwise: Outcome = SUCCEEDED) -> Tenant:
    """Return a tenant that gives another answer for a while."""
    return lambda _, now: outcome if begin <= now < end else otherwise


def numbered(total: int, prefix: str = "") -> list[str]:
    """Return IDs of actions."""
    return [f"{prefix}{number}" for number in range(total)]


FLEET = numbered(10_000)
CAMPAIGN = numbered(500, "new-")


def of_the_fleet(action_id: str) -> Status:
    """Settle nine of ten actions; a new campaign is unfinished."""
    return SUCCEEDED if action_id.startswith("new-") or action_id.endswith("7") else SETTLED


class FleetRun:
    """Ten thousand actions for a first pass and two hours, then a campaign that comes in."""

    def __init__(self) -> None:
        self.simulation = Simulation(by_action(of_the_fleet))
        self.simulation.add(FLEET)
        self.simulation.run(len(FLEET) / PACE + LATENCY)
        self.first_pass_end = self.simulation.clock.now
        self.simulation.run(2 * HOUR)
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
    times = fleet_run.simulation.times()
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
        if action_id.endswith("7") and not action_id.startswith("new-")
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
    simulation = Simulation(always(SUCCEEDED), at=pacing(rate=rate), seed=seed)
    simulation.add(numbered(actions))
    simulation.run(HOUR)
    steady = actions / (0.98 * rate) + INTERVAL
    polled = simulation.starts_by_action(steady)
    gaps = [later - earlier for times in polled.values() for earlier, later in pairwise(times)]
    assert len(polled) == actions
    assert min(gaps) >= INTERVAL - 1
    assert max(gaps) <= INTERVAL + 1
    even_share = actions / INTERVAL * 5
    assert most_within(simulation.times(steady), 5.0) <= 3 * even_share


def test_failing_action_backs_off_and_slows_nobody() -> None:
    """An action that always times out is tried ever more rarely, while the others keep their minute."""
    simulation = Simulation(by_action(lambda action_id: SILENT if action_id == "50" else SUCCEEDED))
    simulation.add(numbered(100))
    simulation.run(4 * HOUR)
    waits = [later - earlier - TIMEOUT for earlier, later in pairwise(simulation.starts("50"))]
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
    simulation = Simulation(by_action(lambda action_id: SUCCEEDED if action_id.startswith("u") else SETTLED))
    simulation.add([*numbered(100, "u"), *numbered(3_600, "s")])
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
    simulation = Simulation(by_action(lambda action_id: SUCCEEDED if action_id.startswith("u") else SETTLED))
    simulation.add([*numbered(280, "u"), *numbered(3_600, "s")])
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


# A tenant that throttles.


class Throttling:
    """A tenant that grants 2 requests a second for ten minutes, and refuses what is above, which counts too."""

    begin, end = 300.0, 900.0
    granted = 2

    def __init__(self, retry_after: float | None = None) -> None:
        self._arrivals: deque[float] = deque(maxlen=self.granted)
        self._refusal = ThrottledError(Reason.THROTTLED, "HTTP 429", retry_after_seconds=retry_after)

    def __call__(self, _: str, now: float) -> Outcome:
        """Answer a request."""
        above = len(self._arrivals) == self.granted and now - self._arrivals[0] < 1.0
        self._arrivals.append(now)
        return self._refusal if above and self.begin <= now < self.end else SUCCEEDED


def test_throttled_tenant_gets_what_it_grants() -> None:
    """Under a limit of 2 a second the rate settles somewhat below it; hardly one request in thirty is too many."""
    simulation = Simulation(Throttling())
    simulation.add(numbered(400))
    simulation.run(Throttling.end)
    requests = simulation.times(Throttling.begin, Throttling.end)
    refused = simulation.failures(Throttling.begin)
    assert set(refused) == {"throttled"}
    assert 10 <= refused["throttled"] <= len(requests) / 30
    settled = len(simulation.times(Throttling.begin + 60, Throttling.end)) / (
        Throttling.end - Throttling.begin - 60
    )
    assert 0.65 * Throttling.granted <= settled <= Throttling.granted
    assert len(requests) >= 800
    assert simulation.poller.snapshot().rate_limit <= 2.2


def test_rate_comes_back_within_two_minutes_after_throttling() -> None:
    """With nothing throttled any more it grows to what is configured, and then the whole budget is used again."""
    simulation = Simulation(Throttling())
    simulation.add(numbered(400))
    simulation.run(Throttling.end)
    low = simulation.poller.snapshot().rate_limit
    rates = []
    while (allowed := simulation.poller.snapshot().rate_limit) < RATE:
        rates.append(allowed)
        simulation.run(1.0)
    took = simulation.clock.now - Throttling.end
    assert rates == sorted(rates)
    assert took == pytest.approx((RATE - low) / RATE * 120, abs=3)
    again = simulation.clock.now
    simulation.run(300)
    assert simulation.failures(again) == Counter()
    assert len(simulation.times(again)) == pytest.approx(300 * PACE, abs=2)
    # Whoever was refused has its minute again, or what the budget leaves of it.
    assert len(simulation.starts_by_action(again)) == 400


def test_pause_that_a_server_asks_for_is_granted() -> None:
    """After each refusal nothing leaves for as long as it says; no action is put off for longer than by that."""
    simulation = Simulation(Throttling(retry_after=30.0))
    simulation.add(numbered(400))
    simulation.run(Throttling.end)
    refused = [time for time, _, outcome in simulation.outcomes if isinstance(outcome, ThrottledError)]
    for time in refused:
        # One may be under way.
        assert simulation.times(time + 1e-9, time + 30.0) == []
    assert 5 <= len(refused) <= 20
    assert simulation.poller.snapshot().phases[Phase.FAILING] <= len(refused)
    simulation.run(300)
    assert simulation.poller.snapshot().phases[Phase.FAILING] == 0


@pytest.mark.parametrize("retry_after", [HOUR, 1e9])
def test_pause_that_a_server_asks_for_is_bounded(retry_after: float) -> None:
    """A server that asks for an hour, or for years, is asked again after a minute and a bit."""
    refusal = ThrottledError(Reason.THROTTLED, "HTTP 429", retry_after_seconds=retry_after)
    simulation = Simulation(during(300.0, 301.0, refusal))
    simulation.add(numbered(400))
    simulation.run(600.0)
    refused_at = next(time for time, _, outcome in simulation.outcomes if outcome is refusal)
    after = simulation.times(refused_at + 1e-9)
    assert 60.0 <= after[0] - refused_at <= 66.0 + 0.5


def test_throttled_actions_are_not_punished() -> None:
    """Being refused for the rate is nobody's own fault: each is asked again after 1.5 intervals."""
    simulation = Simulation(Throttling(), at=pacing(rate=2.5))
    simulation.add(numbered(60))
    simulation.run(Throttling.end + 300)
    gaps = [
        later - earlier
        for times in simulation.starts_by_action(INTERVAL).values()
        for earlier, later in pairwise(times)
    ]
    assert max(gaps) <= 1.5 * INTERVAL + 5


# A tenant that refuses, or is silent.


TROUBLES = [REFUSED, AuthenticationError(Reason.LICENSE, "HTTP 402"), SILENT, UNREACHABLE]
TROUBLE_IDS = ["unauthorized", "license", "timeout", "connection"]
BEGIN, END = 600.0, 600.0 + 6 * HOUR


class Trouble:
    """A thousand actions of a tenant that is well for ten minutes, then for six hours is not, then is again."""

    def __init__(self, trouble: PollError) -> None:
        self.trouble = trouble
        self.simulation = Simulation(during(BEGIN, END, trouble))
        self.simulation.add(numbered(1_000))
        self.simulation.run(END + HOUR)


@pytest.fixture(scope="module", params=TROUBLES, ids=TROUBLE_IDS)
def trouble(request: pytest.FixtureRequest) -> Trouble:
    """Run the simulation for each kind of trouble."""
    return Trouble(request.param)


def test_tenant_that_is_not_well_gets_single_probes(trouble: Trouble) -> None:
    """Once that is clear, one request at a time leaves, at waits that grow up to about a minute.

    It is clear after the first refusal, or the third silence: what left until then had all gone wrong.
    """
    reason = trouble.trouble.reason
    simulation = trouble.simulation
    bad = [time for time, _, outcome in simulation.outcomes if isinstance(outcome, PollError)]
    clear = bad[0 if isinstance(trouble.trouble, AuthenticationError) else 2]
    before = simulation.times(BEGIN, clear)
    probes = simulation.times(clear, END)
    assert len(before) <= math.ceil(PACE * (clear - BEGIN)) + 1
    assert clear - BEGIN <= (TIMEOUT if reason is Reason.TIMEOUT else LATENCY) + 3 / PACE
    assert simulation.failures() == {reason.value: len(before) + len(probes)}
    waits = [later - earlier for earlier, later in pairwise(probes)]
    assert min(waits[3:]) >= 0.75 * INTERVAL
    assert max(waits) <= INTERVAL + TIMEOUT + 1e-3
    # Chance takes an eighth of each wait on average.
    assert len(probes) <= 1.15 * (END - BEGIN) / INTERVAL + 5


def test_tenant_that_is_well_again_is_seen_and_polled_soon(trouble: Trouble) -> None:
    """The next probe, a minute later at most, finds it; then every action is polled as fast as the rate allows."""
    first = trouble.simulation.first_successes(END)
    assert min(first.values()) - END <= INTERVAL + TIMEOUT + LATENCY + 1e-3
    assert len(first) == 1_000
    assert max(first.values()) - min(first.values()) <= 1_000 / PACE + 1
    assert trouble.simulation.poller.snapshot().phases[Phase.ACTIVE] == 1_000


def test_trouble_leaves_nobody_behind(trouble: Trouble) -> None:
    """Afterwards all is as before: each action is polled in its turn, and none waits for its failures of then."""
    settled = END + INTERVAL + TIMEOUT + 2 * 1_000 / PACE
    polled = trouble.simulation.starts_by_action(settled)
    gaps = [later - earlier for times in polled.values() for earlier, later in pairwise(times)]
    assert len(polled) == 1_000
    assert max(gaps) <= 1.1 * 1_000 / PACE
    assert most_within(trouble.simulation.times(), 1.0) <= RATE


def test_probes_go_round_the_actions(trouble: Trouble) -> None:
    """It is not one and the same action that is asked about for hours, which may itself be the trouble."""
    probed = Counter(action_id for time, action_id in trouble.simulation.polls if BEGIN + 120 <= time < END)
    assert max(probed.values()) == 1
    assert len(probed) >= 250


@pytest.mark.parametrize("trouble_at_start", TROUBLES, ids=TROUBLE_IDS)
def test_tenant_that_was_never_well_gets_single_probes(trouble_at_start: PollError) -> None:
    """From the start of the process as later: and when it is well all are polled for the first time, in order."""
    simulation = Simulation(during(0.0, HOUR, trouble_at_start))
    simulation.add(numbered(1_000))
    simulation.run(HOUR)
    left_at_once = math.ceil(PACE * TIMEOUT) + 2 if trouble_at_start is SILENT else 4
    assert len(simulation.polls) <= left_at_once + 1.15 * 60 + 5
    assert simulation.poller.has_state
    simulation.run(INTERVAL + TIMEOUT + 1_000 / PACE + 1)
    assert len(simulation.first_successes(HOUR)) == 1_000


def test_single_action_is_a_probe_too() -> None:
    """A tenant with one action that is refused is asked about it no more often than with many."""
    simulation = Simulation(during(BEGIN, END, REFUSED))
    simulation.add(["a"])
    simulation.run(END)
    probes = simulation.times(BEGIN)
    assert len(probes) <= 1.15 * (END - BEGIN) / INTERVAL + 5
    simulation.run(INTERVAL)
    assert simulation.states["a"].failure is None


def test_missing_action_is_the_answer_of_a_tenant_that_is_well() -> None:
    """A tenant where no action exists is not probed: each backs off for itself."""
    missing = PollError(Reason.NOT_FOUND, "Action does not exist")
    simulation = Simulation(always(missing))
    simulation.add(numbered(100))
    simulation.run(HOUR)
    assert len(simulation.polls) == len(simulation.outcomes) >= 500
    assert simulation.poller.snapshot().up


# A key that changes.


def test_new_key_is_probed_at_once() -> None:
    """When the key file has changed nobody waits for the next probe, and if it is good all go on as ever."""
    simulation = Simulation(always(REFUSED))
    simulation.add(numbered(100))
    simulation.run(HOUR)
    simulation.run(30.0 - (simulation.clock.now - simulation.polls[-1][0]) % 30.0)
    simulation.tenant = always(SUCCEEDED)
    begin = simulation.clock.now
    simulation.poller.expedite()
    # An action that was refused just before has its turn when it would have had anyway.
    simulation.run(1.5 * INTERVAL + LATENCY)
    assert simulation.times(begin)[0] - begin <= 1e-3
    first = sorted(simulation.first_successes(begin).values())
    assert len(first) == 100
    assert first[97] - begin <= 100 / PACE + LATENCY + 1


def test_key_that_is_as_bad_as_the_one_before_is_probed_at_growing_intervals() -> None:
    """One more request for each new key, at once, and then it begins with small waits."""
    simulation = Simulation(always(REFUSED))
    simulation.add(numbered(100))
    simulation.run(HOUR)
    begin = simulation.clock.now
    simulation.poller.expedite()
    simulation.run(10 * INTERVAL)
    probes = simulation.times(begin)
    waits = [later - earlier - LATENCY for earlier, later in pairwise([begin, *probes])]
    assert waits[0] <= 0
    bounds = [7.5, 15.0, 30.0, 60.0, 60.0]
    assert [0.75 * most <= wait <= most + 1e-3 for wait, most in zip(waits[1:], bounds, strict=False)] == [
        True
    ] * 5


def test_rotated_key_costs_one_refusal_and_no_time() -> None:
    """A 401 that finds another key in its file is asked again at once; nobody else notices."""
    simulation = Simulation(always(SUCCEEDED))
    simulation.add(numbered(100))
    simulation.run(600.0)
    begin = simulation.clock.now
    key_is_old = True

    def tenant(_: str, now: float) -> Outcome:
        nonlocal key_is_old
        # The client reads the file after the first refusal, which is there a moment later.
        key_is_old = key_is_old and now <= refused_at + LATENCY
        return REFUSED if key_is_old else SUCCEEDED

    refused_at = simulation.poller._schedule.due_at()
    simulation.tenant = tenant
    simulation.key_is_new = True
    simulation.run(INTERVAL)
    refusals = [(time, action_id) for time, action_id, outcome in simulation.outcomes if outcome is REFUSED]
    assert [time - refused_at for time, _ in refusals] == [pytest.approx(LATENCY, abs=1e-3)]
    (refused,) = (action_id for _, action_id in refusals)
    again = simulation.starts(refused, begin)[1]
    assert again - refused_at <= LATENCY + 2 / PACE
    # A hundred a minute, and the one that was asked again.
    assert 99 <= len(simulation.times(begin)) <= 103


# A wall clock that is set.


@pytest.mark.parametrize("step", [-DAY, 365 * DAY])
def test_wall_clock_that_is_set_moves_no_poll(step: float) -> None:
    """Polls, staleness and retirement go on to the moment as if it had not been set; timestamps are as it says."""
    runs = []
    for offset in (0.0, step):
        simulation = Simulation(
            by_action(lambda action_id: SETTLED if action_id.endswith("7") else SUCCEEDED),
            at=pacing(stale_after=2 * INTERVAL, retire_after=2 * HOUR),
        )
        simulation.add(numbered(100))
        simulation.run(HOUR)
        simulation.wall_offset += offset
        simulation.run(0.5 * HOUR)
        simulation.tenant = always(REFUSED)
        simulation.run(HOUR)
        runs.append(simulation)
    as_ever, stepped = runs
    assert stepped.polls == as_ever.polls
    assert stepped.poller.snapshot() == as_ever.poller.snapshot()
    for action_id, state in stepped.states.items():
        as_it_was = as_ever.states[action_id]
        assert (state.stale, state.retired) == (as_it_was.stale, as_it_was.retired)
        read_at = as_it_was.last_success or 0.0
        assert state.last_success == read_at + (step if read_at > WALL + HOUR else 0.0)
    assert as_ever.poller.snapshot().phases[Phase.RETIRED] == 10
    assert sum(state.stale for state in as_ever.states.values()) == 90


@pytest.mark.parametrize("step", [-365 * DAY, HOUR])
def test_restart_with_a_wall_clock_that_was_set_stops_nothing(step: float) -> None:
    """Whatever the clock says after a restart, every action is polled within its interval, in its turn."""
    before = Simulation(by_action(lambda action_id: SETTLED if action_id.endswith("7") else SUCCEEDED))
    before.add(numbered(200))
    before.run(2 * HOUR)
    records = {record.state.action_id: record for record in before.poller.records()}
    simulation = Simulation(before.tenant, start=50.0, seed=2)
    simulation.wall_offset = before.wall_clock() + step - simulation.clock.now
    simulation.add(numbered(200), records)
    simulation.run(SETTLED_INTERVAL + INTERVAL)
    polled = simulation.starts_by_action()
    assert sorted(polled) == sorted(numbered(200))
    unfinished = {action_id: times for action_id, times in polled.items() if not action_id.endswith("7")}
    assert max(times[0] for times in unfinished.values()) - 50.0 <= INTERVAL + 1
    gaps = [later - earlier for times in unfinished.values() for earlier, later in pairwise(times)]
    assert max(gaps) <= INTERVAL + 5
    assert most_within(simulation.times(), 1.0) <= RATE
    # After what was due at once, it is spread: no more than three times the even share.
    steady = simulation.times(50.0 + 200 / PACE + INTERVAL)
    assert most_within(steady, 5.0) <= 3 * (180 / INTERVAL + 20 / SETTLED_INTERVAL) * 5


# A restart, a reload, a fleet.


class Restart:
    """Five thousand actions, one in ten unfinished, for an hour and a half; then another process goes on."""

    def __init__(self) -> None:
        at = pacing(interval=300.0)
        tenant = by_action(lambda action_id: SUCCEEDED if action_id.endswith("7") else SETTLED)
        self.actions = numbered(5_000)
        before = Simulation(tenant, at=at)
        before.add(self.actions)
        before.run(1.5 * HOUR)
        self.records = {record.state.action_id: record for record in before.poller.records()}
        self.remembered = before.remembered
        self.begin = 20.0
        self.simulation = Simulation(tenant, at=at, start=self.begin, seed=2)
        self.simulation.wall_offset = before.wall_clock() + 30.0 - self.begin
        self.due = {
            action_id: max(self.begin, record.due - self.simulation.wall_offset)
            for action_id, record in self.records.items()
        }
        self.simulation.add(self.actions, self.records)
        self.restored = dict(self.simulation.states)
        self.simulation.run(600.0)


@pytest.fixture(scope="module")
def restart() -> Restart:
    """Run the restart once for all tests that look at it."""
    return Restart()


def test_records_are_what_was_remembered(restart: Restart) -> None:
    """What is read from the poller at its end is what it said poll by poll."""
    assert {key: (record.state, record.failures) for key, record in restart.records.items()} == {
        key: (record.state, record.failures) for key, record in restart.remembered.items()
    }
    assert [restart.records[key].due for key in restart.actions] == pytest.approx(
        [restart.remembered[key].due for key in restart.actions]
    )


def test_restart_shows_what_was_known(restart: Restart) -> None:
    """Every state is there before the first poll, with its timestamps of before; and so the tenant has state."""
    assert restart.restored == {key: record.state for key, record in restart.records.items()}
    assert restart.simulation.poller.has_state


def test_restart_polls_only_what_is_due(restart: Restart) -> None:
    """No action is polled before its time of before, and none that was due is left out."""
    polls = restart.simulation.polls
    first: dict[str, float] = {}
    for time, action_id in polls:
        first.setdefault(action_id, time)
    end = restart.simulation.clock.now
    assert [action_id for action_id, time in first.items() if time < restart.due[action_id] - 1e-3] == []
    late = 60 + (end - restart.begin) / 20
    assert {action_id for action_id, due in restart.due.items() if due < end - late} <= first.keys()
    # 500 every five minutes, and the rest every hour.
    demand = 500 / 300 + 4_500 / SETTLED_INTERVAL
    assert len(polls) == pytest.approx(demand * 600, rel=0.15)


def test_restart_does_not_burst(restart: Restart) -> None:
    """No second holds more than the rate, and the first minute what is due in it and nothing else."""
    assert most_within(restart.simulation.times(), 1.0) <= RATE
    minute = restart.begin + 60
    due = sum(due < minute for due in restart.due.values())
    assert len(restart.simulation.times(until=minute)) == pytest.approx(due, abs=2)


def test_shorter_interval_takes_effect_within_itself() -> None:
    """After a reload from an hour to a minute every action is polled within the minute, spread over it."""
    simulation = Simulation(always(SUCCEEDED), at=pacing(interval=HOUR))
    simulation.add(numbered(200))
    simulation.run(1.5 * HOUR)
    begin = simulation.clock.now
    simulation.poller.configure(simulation, pacing(interval=60.0))
    simulation.run(30 * 60.0)
    first = {action_id: times[0] - begin for action_id, times in simulation.starts_by_action(begin).items()}
    assert len(first) == 200
    assert max(first.values()) <= 60.0 + 1
    assert most_within(sorted(first.values()), 10.0) <= 2 * 200 / 6
    gaps = [
        later - earlier
        for times in simulation.starts_by_action(begin).values()
        for earlier, later in pairwise(times)
    ]
    assert max(gaps) <= 60.0 + 2


def test_polls_spread_again_after_an_outage() -> None:
    """What was caught up with in one go after ten silent minutes is spread over the minute again soon after."""
    simulation = Simulation(during(600.0, 1_200.0, SILENT))
    simulation.add(numbered(100))
    simulation.run(HOUR)
    shares = [0] * 10
    for time in simulation.times(since=HOUR - 1_200):
        shares[int(time % INTERVAL / (INTERVAL / 10))] += 1
    assert sum(shares) == pytest.approx(2_000, abs=50)
    assert [60 <= share <= 400 for share in shares] == [True] * 10


def test_removed_action_is_polled_no_more() -> None:
    """What is tracked no more leaves at once, and what was on its way for it changes nothing."""
    simulation = Simulation(always(SUCCEEDED))
    simulation.add(numbered(100))
    simulation.run(LATENCY / 2)
    assert simulation.poller.track(dict.fromkeys(numbered(100)[50:], ()), {}).removed == tuple(numbered(50))
    begin = simulation.clock.now
    simulation.run(HOUR)
    assert sorted(simulation.states) == sorted(simulation.starts_by_action(begin)) == sorted(numbered(100)[50:])


def test_census_has_the_tenant_and_its_actions() -> None:
    """The same as the snapshot and all that was published last; the whole budget is in use."""
    simulation = Simulation(by_action(lambda action_id: SUCCEEDED if action_id.endswith("7") else MISSING))
    simulation.add(numbered(1_000))
    simulation.run(1_000 / PACE + LATENCY)
    snapshot, states = simulation.poller.census()
    assert snapshot == simulation.poller.snapshot()
    assert states == list(simulation.states.values())
    assert (snapshot.up, snapshot.throttled, snapshot.phases[Phase.FAILING]) == (True, False, 900)
    assert snapshot.rate_used == pytest.approx(PACE, rel=0.05)
    assert {(state.failure, state.failure_detail) for state in states} == {
        (None, None),
        (Reason.NOT_FOUND, "no such action"),
    }


def test_why_a_tenant_is_not_well_is_told_until_it_is() -> None:
    """In the words of its last answer; of each action its own stay until it is polled well."""
    simulation = Simulation(during(600.0, 1_200.0, REFUSED))
    simulation.add(numbered(10))
    told = []
    for _ in range(3):
        simulation.run(599.0)
        snapshot = simulation.poller.snapshot()
        details = {state.failure_detail for state in simulation.states.values() if state.failure is not None}
        told.append((snapshot.up, snapshot.failure, snapshot.failure_detail, details))
    well = (True, None, None, set[str]())
    assert told == [well, (False, Reason.UNAUTHORIZED, "HTTP 401", {"HTTP 401"}), well]


def test_throttled_tenant_says_so() -> None:
    """As long as its rate is less than the configured one; what is used shrinks and grows with it."""
    simulation = Simulation(during(300.0, 500.0, THROTTLED))
    simulation.add(numbered(600))
    told = []
    for seconds in (290.0, 200.0, 410.0):
        simulation.run(seconds)
        snapshot = simulation.poller.snapshot()
        told.append((snapshot.throttled, snapshot.failure, round(snapshot.rate_used, 1)))
    assert told == [(False, None, 4.9), (True, Reason.THROTTLED, 0.3), (False, None, 4.9)]


@pytest.mark.parametrize("tenant", [always(SUCCEEDED), during(0.0, 1_200.0, REFUSED)], ids=["well", "refusing"])
def test_exporters_that_start_together_do_not_stay_together(tenant: Tenant) -> None:
    """Of a hundred with the same actions each tenth of a minute gets a tenth of the polls, or of the probes."""
    shares = [0] * 10
    by_action_shares: dict[str, list[int]] = defaultdict(lambda: [0] * 10)
    for seed in range(100):
        simulation = Simulation(tenant, seed=seed)
        simulation.add(numbered(10))
        simulation.run(1_200.0)
        for time, action_id in simulation.polls:
            if time >= 600.0:
                tenth = int(time % INTERVAL / (INTERVAL / 10))
                shares[tenth] += 1
                by_action_shares[action_id][tenth] += 1
    even_share = sum(shares) / 10
    assert [0.8 * even_share <= share <= 1.2 * even_share for share in shares] == [True] * 10
    for of_one in by_action_shares.values():
        assert max(of_one) <= 0.3 * sum(of_one)
