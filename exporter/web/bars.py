"""Bars of nine counts: which status lies where, what it is called, and how wide it is drawn.

The rule: what somebody must look at comes first and is never too narrow to be seen. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.status import STATUSES

SEGMENTS: Mapping[str, str] = {
    "failed": "failed",
    "timeout": "timed out",
    "expired": "expired",
    "aborted": "aborted",
    "canceled": "canceled",
    "completed_successfully": "succeeded",
    "in_progress": "running",
    "pending_abort": "aborting",
    "pending": "pending",
}
"""The statuses in a bar's order, and what each is called: failures, other ends, what moves, what waits."""

_LEAST_PERCENT = 1.5  # One endpoint of a thousand has to be seen, too.


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar, as the attributes of an SVG rectangle."""

    status: str
    x: str
    width: str


def counted(counts: Sequence[int]) -> list[tuple[str, int]]:
    """Pair counts, in the order of :data:`~exporter.status.STATUSES`, with their statuses, in a bar's order."""
    by_status = dict(zip(STATUSES, counts, strict=True))
    return [(status, by_status[status]) for status in SEGMENTS]


def segments(counts: Sequence[int]) -> list[Segment]:
    """Lay out a bar of counts in the order of :data:`~exporter.status.STATUSES`, from left to right.

    Whoever is pending is the empty rest. A status with few endpoints gets more than its share, at others' cost;
    the numbers beside the bar are exact.
    """
    total = sum(counts)
    if not total:
        return []
    shares = {status: 100 * count / total for status, count in counted(counts) if count}
    small = [status for status, share in shares.items() if share < _LEAST_PERCENT]
    left = 100 - _LEAST_PERCENT * len(small)
    divided = sum(share for status, share in shares.items() if status not in small)
    laid = []
    x = 0.0
    for status, share in shares.items():
        width = _LEAST_PERCENT if status in small else share * left / divided
        if status != "pending":
            laid.append(Segment(status, f"{x:.4g}%", f"{width:.4g}%"))
        x += width
    return laid
