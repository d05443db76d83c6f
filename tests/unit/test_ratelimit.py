"""How fast a tenant may be asked: spacing, no burst, no saving up, and what throttling leaves of it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clock import Clock

from exporter.ratelimit import PACE, RateLimit


def test_first_request_may_leave_at_once() -> None:
    """A fresh limit holds nobody up."""
    assert RateLimit(5, longest_pause=60).ready_at == float("-inf")


def test_limit_is_kept_as_configured() -> None:
    """What is shown is the configured limit, not the slower pace."""
    assert RateLimit(2.5, longest_pause=60).requests_per_second == 2.5


@pytest.mark.parametrize(("rate", "spacing"), [(10, 0.1), (5, 0.2), (1, 1.0), (0.5, 2.0), (0.01, 100.0)])
def test_requests_are_spaced_two_percent_slower_than_the_limit(rate: float, spacing: float) -> None:
    """After a request the next waits the whole spacing: the burst is one."""
    limit = RateLimit(rate, longest_pause=60)
    limit.take(1_000.0)
    assert limit.ready_at == pytest.approx(1_000.0 + spacing / 0.98)


def test_unused_time_is_not_saved_up() -> None:
    """After an idle hour the second request waits as long as ever."""
    clock = Clock()
    limit = RateLimit(5, longest_pause=60)
    limit.take(clock.now)
    limit.take(clock.advance(3_600))
    assert limit.ready_at == pytest.approx(3_600 + 0.2 / 0.98)


@settings(deadline=None)  # A busy machine is no failure.
@given(
    st.floats(0, 10, exclude_min=True, allow_subnormal=False),
    st.lists(st.floats(0, 3) | st.just(0.0), min_size=20, max_size=80),
)
def test_no_second_holds_more_than_the_limit(rate: float, idle: list[float]) -> None:
    """Whatever the pauses between requests, a half-open second holds at most 0.98 of the rate, rounded up.

    Rounded up, since a rate of 1.5 has to have seconds with two requests; whole rates are never exceeded.
    """
    limit = RateLimit(rate, longest_pause=60)
    clock = Clock()
    sent = []
    for pause in idle:
        clock.now = max(clock.now, limit.ready_at) + pause
        sent.append(clock.now)
        limit.take(clock.now)
    most = math.ceil(0.98 * rate)
    assert most <= max(1, math.ceil(rate))
    # The first of any run of most + 1 requests is a whole second before its last, or they share no window.
    apart = [late - early for early, late in zip(sent, sent[most:], strict=False)]
    assert [seconds for seconds in apart if seconds < 1 - 1e-9] == []


@pytest.mark.parametrize("rate", [1, 2, 5, 10])
def test_full_load_uses_the_budget(rate: int) -> None:
    """Asked without a pause, a minute holds 98% of the limit, and no second more than the limit."""
    limit = RateLimit(rate, longest_pause=60)
    clock = Clock()
    sent = []
    while clock.now < 59.99:  # No multiple of a spacing, so that rounding decides nothing.
        sent.append(clock.now)
        limit.take(clock.now)
        clock.now = limit.ready_at
    assert len(sent) == math.ceil(59.99 * rate * 0.98)
    assert max(sum(start <= time < start + 1 for time in sent) for start in sent) == rate


# Under throttling, and after it.


class Bench:
    """A limit with its clock."""

    def __init__(self, rate: float, *, longest_pause: float = 600.0, jitter: float = 0.0) -> None:
        self.clock = Clock(1_000.0)
        self.limit = RateLimit(rate, longest_pause=longest_pause, jitter=lambda: jitter)

    def throttle(self) -> float:
        """Be throttled for a request that leaves and ends now, and return what is allowed then."""
        self.limit.throttled(self.clock.now, self.clock.now)
        return self.limit.requests_per_second

    def succeed(self) -> float:
        """Be answered well now, and return what is allowed then."""
        self.limit.succeeded(self.clock.now)
        return self.limit.requests_per_second


def test_throttling_halves_the_rate_down_to_a_floor() -> None:
    """Each throttled request that left after the last reduction halves the rate, until 0.1 a second is left."""
    bench = Bench(5)
    allowed = []
    for _ in range(8):
        allowed.append(bench.throttle())
        bench.clock.advance(1)
    assert allowed == [2.5, 1.25, 0.625, 0.3125, 0.15625, 0.1, 0.1, 0.1]
    assert bench.limit.reduced


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_rate_at_or_below_the_floor_stays(rate: float) -> None:
    """What is configured that slow is not reduced further, and above all not raised."""
    bench = Bench(rate)
    assert (bench.throttle(), bench.limit.reduced) == (rate, False)


def test_requests_that_were_under_way_together_halve_the_rate_once() -> None:
    """Of several that were one too many all are refused: only what left after the reduction counts anew."""
    limit = Bench(8).limit
    limit.throttled(100.0, 101.0)
    for left_at in (99.0, 100.2, 100.9):
        limit.throttled(left_at, 101.5)
    assert limit.requests_per_second == 4
    limit.throttled(101.0, 102.0)
    assert limit.requests_per_second == 2


def test_reduced_rate_is_the_spacing_at_once() -> None:
    """The request after a refusal waits by the new rate, counted from the last one that left."""
    bench = Bench(5)
    bench.limit.take(bench.clock.now)
    bench.throttle()
    assert bench.limit.ready_at == pytest.approx(1_000 + 1 / (2.5 * PACE))


def test_success_brings_the_rate_back_within_two_minutes() -> None:
    """With successes all along it grows evenly by the time that passes, whatever their number."""
    for step in (0.5, 2.0, 8.0):
        bench = Bench(6)
        bench.throttle()
        assert bench.limit.requests_per_second == 3
        for _ in range(int(40 / step)):
            bench.clock.advance(step)
            bench.succeed()
        assert bench.limit.requests_per_second == pytest.approx(3 + 6 * 40 / 120)
        for _ in range(int(24 / step)):
            bench.clock.advance(step)
            bench.succeed()
        assert (bench.limit.requests_per_second, bench.limit.reduced) == (6, False)


def test_success_after_a_silence_is_no_reason_to_leap() -> None:
    """One success is good for ten seconds of growth, also after an hour without one."""
    bench = Bench(6)
    bench.throttle()
    bench.clock.advance(3_600)
    assert bench.succeed() == 3 + 6 * 10 / 120


def test_throttling_of_a_request_from_before_starts_the_growth_anew() -> None:
    """A late refusal does not halve the rate again, but the time up to it earns nothing."""
    bench = Bench(6)
    bench.throttle()
    bench.clock.advance(9)
    bench.limit.throttled(999.0, bench.clock.now)
    bench.clock.advance(1)
    assert bench.succeed() == pytest.approx(3 + 6 * 1 / 120)


def test_success_at_the_configured_rate_changes_nothing() -> None:
    """There is nothing above what is configured."""
    bench = Bench(6)
    for _ in range(10):
        bench.clock.advance(10)
        assert bench.succeed() == 6


@pytest.mark.parametrize(("jitter", "until"), [(0.0, 1_030.0), (0.5, 1_031.5), (1.0, 1_033.0)])
def test_pause_is_kept_and_a_bit_more(jitter: float, until: float) -> None:
    """Nothing leaves for as long as a server asks for, and by chance for up to a tenth more."""
    bench = Bench(5, jitter=jitter)
    bench.limit.take(999.0)
    bench.limit.pause(30, bench.clock.now)
    assert bench.limit.ready_at == pytest.approx(until)
    assert (bench.limit.requests_per_second, bench.limit.reduced) == (5, False)


@pytest.mark.parametrize("seconds", [601.0, 1e9, float("inf")])
def test_pause_is_bounded(seconds: float) -> None:
    """A server that asks for a day, or for ever, is asked again after the longest pause."""
    bench = Bench(5)
    bench.limit.pause(seconds, bench.clock.now)
    assert bench.limit.ready_at == 1_600


def test_pause_is_never_shortened() -> None:
    """A shorter wish, as of a request that was under way, does not end a longer pause; a longer one extends it."""
    bench = Bench(5)
    bench.limit.pause(100, bench.clock.now)
    bench.limit.pause(0, bench.clock.now)
    assert bench.limit.ready_at == 1_100
    bench.limit.pause(50, bench.clock.advance(80))
    assert bench.limit.ready_at == 1_130


def test_pause_does_not_shorten_the_spacing() -> None:
    """A wish for nothing leaves the spacing as it is."""
    bench = Bench(0.01)
    bench.limit.take(bench.clock.now)
    bench.limit.pause(0, bench.clock.now)
    assert bench.limit.ready_at == pytest.approx(1_000 + 100 / PACE)


# Another configuration.


@pytest.mark.parametrize("rate", [0.05, 2, 10])
def test_other_limit_is_taken_over(rate: float) -> None:
    """Where nothing was throttled the new limit holds at once, also for the spacing."""
    bench = Bench(5)
    bench.limit.take(bench.clock.now)
    bench.limit.configure(rate, longest_pause=600, now=bench.clock.now)
    assert (bench.limit.requests_per_second, bench.limit.reduced) == (rate, False)
    assert bench.limit.ready_at == pytest.approx(1_000 + 1 / (rate * PACE))


@pytest.mark.parametrize(
    ("rate", "allowed", "reduced"), [(10, 2.5, True), (3, 2.5, True), (2.5, 2.5, False), (1, 1, False)]
)
def test_other_limit_does_not_undo_throttling(rate: float, allowed: float, *, reduced: bool) -> None:
    """What throttling has left stays the bound, from which success leads to the new limit."""
    bench = Bench(5)
    bench.throttle()
    bench.limit.configure(rate, longest_pause=600, now=bench.clock.now)
    assert (bench.limit.requests_per_second, bench.limit.reduced) == (allowed, reduced)
    for _ in range(12):
        bench.clock.advance(10)
        bench.succeed()
    assert (bench.limit.requests_per_second, bench.limit.reduced) == (rate, False)


def test_other_longest_pause_bounds_the_pause() -> None:
    """One that has begun, and the next."""
    bench = Bench(5)
    bench.limit.pause(500, bench.clock.now)
    bench.limit.configure(5, longest_pause=60, now=bench.clock.now)
    assert bench.limit.ready_at == 1_060
    bench.clock.now = 1_060
    bench.limit.pause(500, bench.clock.now)
    assert bench.limit.ready_at == 1_120


# How much of it was used of late.


def test_nothing_sent_is_nothing_used() -> None:
    """Before the first request, and long after the last."""
    bench = Bench(5)
    assert bench.limit.used(bench.clock.now) == 0.0
    bench.limit.take(bench.clock.now)
    assert bench.limit.used(bench.clock.advance(3600)) == pytest.approx(0.0)


@pytest.mark.parametrize("rate", [10, 5, 0.5])
def test_steady_requests_are_what_is_used(rate: float) -> None:
    """After a few minutes the use is the rate at which requests left."""
    bench = Bench(rate)
    for _ in range(math.ceil(600 * rate)):
        bench.clock.advance(1 / rate)
        bench.limit.take(bench.clock.now)
    assert bench.limit.used(bench.clock.advance(1 / rate / 2)) == pytest.approx(rate, rel=0.001)


def test_use_fades_within_minutes() -> None:
    """Without requests 1/e of it is left after a minute, and looking at it changes nothing."""
    bench = Bench(5)
    bench.limit.take(bench.clock.now)
    bench.limit.take(bench.clock.advance(3600))
    used = [bench.limit.used(bench.clock.now + seconds) for seconds in (0, 60, 120, 0)]
    assert used == pytest.approx([1 / 60, 1 / 60 / math.e, 1 / 60 / math.e**2, 1 / 60])


@pytest.mark.parametrize("rate", [10, 5, 1])
def test_use_is_known_soon_after_the_start(rate: float) -> None:
    """What was not counted yet is not taken for idle; and at once one request is no more than one per second."""
    bench = Bench(rate)
    bench.limit.take(bench.clock.now)
    assert bench.limit.used(bench.clock.now) == pytest.approx(1, rel=0.01)
    for _ in range(math.ceil(10 * rate)):
        bench.limit.take(bench.clock.advance(1 / rate))
    assert bench.limit.used(bench.clock.advance(1 / rate / 2)) == pytest.approx(rate, rel=0.1)


RATES = st.floats(0.001, 10)
EVENTS = st.one_of(
    st.tuples(st.just("send"), st.floats(0, 30)),
    st.tuples(st.just("throttled"), st.floats(0, 30)),
    st.tuples(st.just("succeeded"), st.floats(0, 300)),
    st.tuples(st.just("pause"), st.floats(0, 1e9)),
    st.tuples(st.just("configure"), RATES),
)


@settings(deadline=None)  # A busy machine is no failure.
@given(RATES, st.floats(0, 1, exclude_max=True), st.lists(EVENTS, max_size=60))
def test_rate_stays_between_floor_and_limit(rate: float, chance: float, events: list[tuple[str, float]]) -> None:
    """Whatever happens: never above the limit, never below 0.1 where the limit allows that, never bunched.

    A reduction is at most a half, success never lowers, and every wait ends.
    """
    bench = Bench(rate, jitter=chance)
    limit, clock = bench.limit, bench.clock
    left_at = clock.now
    for event, number in events:
        before = limit.requests_per_second
        if event == "send":
            clock.now = max(clock.now, limit.ready_at) + number
            left_at = clock.now
            limit.take(left_at)
        elif event == "throttled":
            limit.throttled(left_at, clock.advance(number))
            assert before / 2 <= limit.requests_per_second <= before
        elif event == "succeeded":
            clock.advance(number)
            assert bench.succeed() >= before
        elif event == "pause":
            limit.pause(number, clock.now)
        else:
            rate = number
            limit.configure(rate, longest_pause=600, now=clock.now)
        assert min(rate, before, 0.1) <= limit.requests_per_second <= rate
        assert limit.reduced is (limit.requests_per_second < rate)
        if left_at > 1_000:
            assert limit.ready_at >= left_at + 1 / (limit.requests_per_second * PACE) - 1e-6
        assert limit.ready_at <= max(clock.now + 660, left_at + 1 / (limit.requests_per_second * PACE)) + 1e-6
