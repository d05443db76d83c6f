"""How fast endpoints finish: no bias, no memory beyond the time constant, nothing that cannot be shown."""

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pace import TIME_CONSTANT_SECONDS, Pace

GAPS = st.lists(st.floats(0.001, 20_000), min_size=1, max_size=40)


def polled(*polls: tuple[float, int], begin: float = 1000.0) -> Pace:
    """Return the pace after polls, each so long after the one before, that found that many more finished."""
    pace = Pace(begin)
    for gap, finished in polls:
        pace = pace.after(finished, pace.at + gap)
    return pace


def test_first_poll_gives_no_pace() -> None:
    """One look at counts says nothing of their pace."""
    assert Pace(1000.0).per_second is None


def test_second_poll_gives_the_whole_pace() -> None:
    """There is no bias to 0: what was measured first counts in full."""
    assert polled((60, 30)).per_second == pytest.approx(0.5)


def test_polls_within_a_second_give_no_pace() -> None:
    """A moment is too short to measure; what finished in it is not lost."""
    assert polled((0.5, 30)).per_second is None
    assert polled((0.5, 30), (59.5, 0)).per_second == pytest.approx(0.5, rel=0.04)


def test_polls_at_one_moment_lose_nothing() -> None:
    """A clock that stood still, or was read in another order, divides nothing by zero."""
    assert polled((0, 10), (60, 20)).per_second == pytest.approx(0.5, rel=0.04)
    assert Pace(1000.0).after(10, 400.0).after(20, 460.0).per_second == pytest.approx(0.5, rel=0.04)


def test_time_constant_is_fifteen_minutes() -> None:
    """When the pace has changed, 1/e of the difference is left after that long."""
    steady = [(60, 60)] * 1000
    slower = [(60, 6)] * 15
    assert TIME_CONSTANT_SECONDS == 15 * 60
    assert polled(*steady).per_second == pytest.approx(1.0)
    assert polled(*steady, *slower).per_second == pytest.approx(0.1 + 0.9 / math.e)


def test_stalled_action_loses_its_pace() -> None:
    """While nothing finishes the pace falls, up to nothing."""
    paces = [polled((60, 60), *[(60, 0)] * polls).per_second for polls in (0, 15, 30, 100_000)]
    assert paces == [1.0, pytest.approx(0.0362, rel=0.01), pytest.approx(0.00999, rel=0.01), 0.0]


def test_counts_that_drop_and_come_back_are_no_progress() -> None:
    """A reply without its counts, and the next one with them, change little; what really went back does."""
    steady = [(60, 6)] * 30
    assert polled(*steady, (60, -180), (60, 192)).per_second == pytest.approx(0.1, rel=0.2)
    assert polled(*steady, (60, -180)).per_second == 0.0


@settings(deadline=None)  # A busy machine is no failure.
@given(GAPS, st.floats(0.01, 50))
def test_steady_pace_is_found_whatever_the_intervals(gaps: list[float], rate: float) -> None:
    """Polls may come at any time: a pace that never changes is what they find."""
    pace = Pace(0.0)
    for now, gap in zip(accumulate(gaps), gaps, strict=True):
        # Fractions of endpoints stand for what rounding to whole ones would blur.
        pace = pace.after(rate * gap, now)  # type: ignore[arg-type]
    assert pace.per_second == (None if pace.seconds < 1 else pytest.approx(rate))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(-(2**53), 2**53)), max_size=40))
def test_pace_is_a_number_whatever_counts_do(polls: list[tuple[float, int]]) -> None:
    """It is never negative, infinite or no number, and no sum grows without bounds."""
    pace = polled(*polls)
    assert pace.per_second is None or 0 <= pace.per_second < 2**60
    assert 0 <= pace.seconds <= TIME_CONSTANT_SECONDS * (1 + 1e-9)
    assert math.isfinite(pace.endpoints)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 20_000), st.integers(0, 10_000)), min_size=1, max_size=40))
def test_pace_lies_between_the_slowest_and_the_fastest_interval(polls: list[tuple[float, int]]) -> None:
    """An average is never outside of what it averages."""
    rates = [finished / gap for gap, finished in polls]
    pace = polled(*polls, begin=0.0).per_second
    assert pace is None or min(rates) * 0.999999 <= pace <= max(rates) * 1.000001
