"""The simulated endpoints' lives."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator import lives
from exporter.simulator.lives import Counts, Fixed, Rollout, Snapshot, general_status

DAY = 24 * 3600.0
MAKERS: list[tuple[Callable[[int], Rollout], int, str]] = [
    (lives.quick_success, 40, "COMPLETED_SUCCESSFULLY"),
    (lives.slow_rollout, 1000, "COMPLETED_PARTIAL"),
    (lives.failing, 60, "COMPLETED_PARTIAL"),
    (lives.timing_out, 50, "COMPLETED_PARTIAL"),
    (lives.aborted, 200, "ABORTED"),
    (lives.cancelled, 120, "CANCELED"),
    (lives.expiring, 80, "EXPIRED"),
]
UNFINISHED = ("pending", "in_progress", "pending_abort")
FINAL = ("canceled", "timeout", "failed", "completed_successfully", "aborted", "expired")


def unfinished(counts: Counts) -> int:
    """Count the endpoints that are not through."""
    return sum(getattr(counts, status) for status in UNFINISHED)


@given(
    maker=st.sampled_from(MAKERS),
    seed=st.integers(0, 50),
    ages=st.lists(st.one_of(st.floats(0, 7200), st.floats(-DAY, 8 * DAY)), min_size=2, max_size=8),
)
@settings(deadline=None)
def test_lives_account_for_every_endpoint_and_go_one_way(
    maker: tuple[Callable[[int], Rollout], int, str], seed: int, ages: list[float]
) -> None:
    """The nine counts sum up at any age; pending only falls, and what is final only grows."""
    make, endpoints, _ = maker
    life = make(seed)
    history = [life.at(age).counts for age in sorted(ages)]
    assert [sum(counts) for counts in history] == [endpoints] * len(ages)
    assert min(map(min, history)) >= 0
    for earlier, later in pairwise(history):
        assert later.pending <= earlier.pending
        for status in FINAL:
            assert getattr(later, status) >= getattr(earlier, status)


@pytest.mark.parametrize(("make", "endpoints", "ending"), MAKERS)
def test_lives_begin_as_pending_and_end(make: Callable[[int], Rollout], endpoints: int, ending: str) -> None:
    """Every life is all pending at birth and before, and finished after eight days."""
    life = make(1)
    assert life.at(-60) == life.at(0) == Snapshot("PENDING", Counts(pending=endpoints))
    end = life.at(8 * DAY)
    assert (end.general_status, unfinished(end.counts)) == (ending, 0)


@pytest.mark.parametrize("make", [make for make, _, _ in MAKERS])
def test_lives_follow_from_their_seed(make: Callable[[int], Rollout]) -> None:
    """The same seed gives the same life, another one a different life."""
    ages = [60.0 * minute for minute in range(0, 240, 2)]

    def history(seed: int) -> list[Snapshot]:
        life = make(seed)
        return [life.at(age) for age in ages]

    assert history(3) == history(3)
    assert history(3) != history(4) or make is lives.quick_success


def test_quick_success_is_done_within_two_minutes() -> None:
    """Nothing is left of a quick action after 120 s."""
    life = lives.quick_success(0, endpoints=25)
    assert life.at(120) == Snapshot("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=25))


def test_slow_rollout_keeps_offline_endpoints_pending_for_days() -> None:
    """Only the offline endpoints are left once the rollout is through, and for a day after."""
    life = lives.slow_rollout(0, offline_share=0.05)
    assert life.at(5 * 3600) == life.at(0.99 * DAY)
    assert life.at(5 * 3600).general_status == "IN_PROGRESS"
    assert life.at(5 * 3600).counts.pending == 50


def test_failing_fails_on_exactly_its_share() -> None:
    """A third of the endpoints fails; with a share of one, so does the action."""
    assert lives.failing(0).at(DAY) == Snapshot("COMPLETED_PARTIAL", Counts(failed=20, completed_successfully=40))
    assert lives.failing(0, endpoints=6, share=1).at(DAY) == Snapshot("FAILED", Counts(failed=6))


def test_timing_out_takes_the_script_timeout() -> None:
    """No endpoint times out before 600 s have passed, and all have after the last one was reached."""
    life = lives.timing_out(0, endpoints=5, share=1)
    assert life.at(600).counts.timeout == 0
    assert life.at(1500) == Snapshot("TIMEOUT", Counts(timeout=5))


def test_aborted_passes_through_pending_abort() -> None:
    """At the abort every unfinished endpoint is pending abort, and ends aborted."""
    life = lives.aborted(0, after_seconds=1000)
    before, during, after = life.at(999.9), life.at(1000), life.at(1600)
    assert during.general_status == "PENDING_ABORT"
    assert during.counts.pending_abort == unfinished(before.counts)
    assert after == Snapshot(
        "ABORTED",
        Counts(completed_successfully=before.counts.completed_successfully, aborted=unfinished(before.counts)),
    )


def test_cancelled_lets_running_endpoints_finish() -> None:
    """Cancelling takes the pending endpoints only."""
    life = lives.cancelled(0, after_seconds=1000)
    before, at_once = life.at(999.99), life.at(1000)
    assert at_once.counts == before.counts._replace(pending=0, canceled=before.counts.pending)
    assert at_once.general_status == "IN_PROGRESS"
    assert life.at(1300).counts.completed_successfully == 120 - before.counts.pending


def test_expiring_waits_for_the_expiry() -> None:
    """Offline endpoints are pending until the very age at which they expire."""
    life = lives.expiring(0, endpoints=10, offline_share=0.3, after_seconds=DAY)
    assert life.at(DAY - 1) == Snapshot("IN_PROGRESS", Counts(pending=3, completed_successfully=7))
    assert life.at(DAY) == Snapshot("EXPIRED", Counts(expired=3, completed_successfully=7))


def test_fixed_never_changes() -> None:
    """A fixed life is what it was given, at any age."""
    life = Fixed("SOMETHING_NEW", Counts(failed=2))
    assert life.at(0) == life.at(9 * DAY) == Snapshot("SOMETHING_NEW", Counts(failed=2))


def test_rollout_tells_its_story() -> None:
    """A life can be told to a person in a few words."""
    assert str(Rollout("one that runs", [[(1.0, "in_progress")]])) == "1 endpoints, one that runs"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(pending=2), "PENDING"),
        (Counts(pending=1, failed=1), "IN_PROGRESS"),
        (Counts(in_progress=1, aborted=1), "IN_PROGRESS"),
        (Counts(pending=1, pending_abort=1), "PENDING_ABORT"),
        (Counts(aborted=1, completed_successfully=5), "ABORTED"),
        (Counts(canceled=1, completed_successfully=5), "CANCELED"),
        (Counts(expired=1, completed_successfully=5), "EXPIRED"),
        (Counts(completed_successfully=2), "COMPLETED_SUCCESSFULLY"),
        (Counts(failed=2), "FAILED"),
        (Counts(timeout=2), "TIMEOUT"),
        (Counts(timeout=1, failed=1), "COMPLETED_PARTIAL"),
    ],
)
def test_general_status_sums_counts_up(counts: Counts, expected: str) -> None:
    """Each general status stands for one kind of counts."""
    assert general_status(counts) == expected
