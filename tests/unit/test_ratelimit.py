"""How fast a tenant may be asked: spacing, no burst, no saving up."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clock import Clock

from exporter.ratelimit import RateLimit


def test_first_request_may_leave_at_once() -> None:
    """A fresh limit holds nobody up."""
    assert RateLimit(5).ready_at == float("-inf")


def test_limit_is_kept_as_configured() -> None:
    """What is shown is the configured limit, not the slower pace."""
    assert RateLimit(2.5).requests_per_second == 2.5


@pytest.mark.parametrize(("rate", "spacing"), [(10, 0.1), (5, 0.2), (1, 1.0), (0.5, 2.0), (0.01, 100.0)])
def test_requests_are_spaced_two_percent_slower_than_the_limit(rate: float, spacing: float) -> None:
    """After a request the next waits the whole spacing: the burst is one."""
    limit = RateLimit(rate)
    limit.take(1_000.0)
    assert limit.ready_at == pytest.approx(1_000.0 + spacing / 0.98)


def test_unused_time_is_not_saved_up() -> None:
    """After an idle hour the second request waits as long as ever."""
    clock = Clock()
    limit = RateLimit(5)
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
    limit = RateLimit(rate)
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
    limit = RateLimit(rate)
    clock = Clock()
    sent = []
    while clock.now < 59.99:  # No multiple of a spacing, so that rounding decides nothing.
        sent.append(clock.now)
        limit.take(clock.now)
        clock.now = limit.ready_at
    assert len(sent) == math.ceil(59.99 * rate * 0.98)
    assert max(sum(start <= time < start + 1 for time in sent) for start in sent) == rate
