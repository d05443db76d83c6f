"""Durations, as Prometheus reads and writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import durations

LONGEST_MILLISECONDS = (2**63 - 1) // 1_000_000


@pytest.mark.parametrize(
    ("text", "seconds", "rendered"),
    [
        ("0", 0.0, "0s"),
        ("0s", 0.0, "0s"),
        ("500ms", 0.5, "500ms"),
        ("90s", 90.0, "1m30s"),
        ("1h30m", 5400.0, "1h30m"),
        ("7d", 604_800.0, "1w"),
        ("8d", 691_200.0, "8d"),
        ("1y2w", 32_745_600.0, "379d"),
        ("1y", 31_536_000.0, "1y"),
        ("1d2h3m4s5ms", 93_784.005, "1d2h3m4s5ms"),
        ("007s", 7.0, "7s"),
        ("292y", 9_208_512_000.0, "292y"),
    ],
)
def test_duration_is_read_and_written(text: str, seconds: float, rendered: str) -> None:
    """Units go from years to milliseconds, each at most once."""
    assert durations.parse(text) == seconds
    assert durations.render(seconds) == rendered


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1s1h", "1s1s", "1.5h", "-1s", "+1s", "1 s", "1s\n", "1S", "00", "\u0667s"]
)
def test_other_text_is_refused(text: str) -> None:
    """A number without a unit, a fraction or a wrong order is no duration."""
    with pytest.raises(ValueError, match=r"^must be a duration such as 90s, 1h30m or 7d \(units: .*\)$"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["293y", "9" * 60 + "ms"])
def test_longer_than_prometheus_can_hold_is_refused(text: str) -> None:
    """64 bits of nanoseconds are the bound."""
    with pytest.raises(ValueError, match=r"^must be a duration of at most 292y$"):
        durations.parse(text)


@given(st.integers(0, LONGEST_MILLISECONDS))
def test_rendered_duration_reads_as_itself(milliseconds: int) -> None:
    """Nothing is lost on the way, down to the millisecond."""
    assert durations.parse(durations.render(milliseconds / 1000)) == milliseconds / 1000
