"""What is said of abuse in the log."""

import structlog
from structlog.testing import capture_logs
from support_clock import Clock

from exporter.web.complaints import Complaints


def line(kind: str, times: int, **detail: str) -> dict[str, object]:
    """Return a line as it is captured."""
    return {"event": "refused on the web port", "log_level": "warning", "kind": kind, "times": times, **detail}


def test_one_line_for_each_kind_and_minute() -> None:
    """The first is told at once; of those within a minute, how many there were comes with the next."""
    clock = Clock()
    with capture_logs() as lines:
        complaints = Complaints(structlog.get_logger(), clock=clock)
        for second in range(125):
            complaints.note("slow", client=f"192.0.2.{second}")
            if second % 100 == 0:
                complaints.note("malformed")
            clock.advance(1.0)
    assert lines == [
        line("slow", 1, client="192.0.2.0"),
        line("malformed", 1),
        line("slow", 60, client="192.0.2.60"),
        line("malformed", 1),
        line("slow", 60, client="192.0.2.120"),
    ]
