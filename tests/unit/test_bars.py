"""How a bar of nine counts is laid out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.status import STATUSES
from exporter.web.bars import SEGMENTS, Segment, counted, segments


def counts(**given_counts: int) -> tuple[int, ...]:
    """Return nine counts, by name."""
    return tuple(given_counts.get(status, 0) for status in STATUSES)


def test_every_status_has_a_place() -> None:
    """The bar knows each status once, those that somebody must look at first and those that wait last."""
    assert sorted(SEGMENTS) == sorted(STATUSES)
    assert list(SEGMENTS)[:2] == ["failed", "timeout"]
    assert list(SEGMENTS)[-1] == "pending"


def test_counted_is_in_the_order_of_a_bar() -> None:
    """Counts are told in the order in which they are drawn."""
    assert counted(range(9)) == [
        *(("failed", 4), ("timeout", 3), ("expired", 8), ("aborted", 7), ("canceled", 1)),
        *(("completed_successfully", 5), ("in_progress", 2), ("pending_abort", 6), ("pending", 0)),
    ]


@pytest.mark.parametrize(
    ("given_counts", "laid"),
    [
        (counts(), []),
        (counts(pending=5), []),
        (
            counts(failed=2, completed_successfully=5, pending=3),
            [("failed", 0, 20), ("completed_successfully", 20, 50)],
        ),
        (
            counts(timeout=1, completed_successfully=999),
            [("timeout", 0, 1.5), ("completed_successfully", 1.5, 98.5)],
        ),
        (counts(in_progress=1, pending=2**53), [("in_progress", 0, 1.5)]),
    ],
)
def test_segments_are_shares_side_by_side(
    given_counts: tuple[int, ...], laid: list[tuple[str, float, float]]
) -> None:
    """Widths are shares of the whole, but one endpoint of a thousand is seen; whoever is pending is not drawn."""
    assert segments(given_counts) == [Segment(status, f"{x:g}%", f"{width:g}%") for status, x, width in laid]


@given(st.tuples(*[st.integers(0, 2**53) | st.integers(0, 3)] * 9))
def test_segments_fill_the_bar_and_no_more(given_counts: tuple[int, ...]) -> None:
    """Whatever the counts, the parts follow each other without a gap, each can be seen, and they end at 100 %."""
    laid = segments(given_counts)
    numbers = [(float(part.x[:-1]), float(part.width[:-1])) for part in laid]
    end = 0.0
    for x, width in numbers:
        assert x == pytest.approx(end, abs=0.05)
        assert width >= 1.2
        end = x + width
    assert end <= 100.05
    present = [status for status, count in counted(given_counts) if count]
    assert [part.status for part in laid] == [status for status in present if status != "pending"]
    if present and "pending" not in present:
        assert end == pytest.approx(100, abs=0.05)
