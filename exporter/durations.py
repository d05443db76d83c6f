"""Prometheus durations: ``90s``, ``1h30m``, ``7d``. Read and written as Prometheus does."""

import re

# A year is 365 days and a week 7, as in Prometheus' model.ParseDuration.
_UNITS_MILLISECONDS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_GRAMMAR = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in _UNITS_MILLISECONDS))
# Prometheus holds nanoseconds in 64 bits: about 292 years.
_LONGEST_MILLISECONDS = (2**63 - 1) // 1_000_000
_LONGEST_TEXT = 64


def parse(text: str) -> float:
    """Return the seconds that a duration stands for; raise ValueError, which never quotes the text."""
    if text == "0":
        return 0.0
    match = _GRAMMAR.fullmatch(text) if 0 < len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError("must be a duration such as 90s, 1h30m or 7d (units: y w d h m s ms, in this order)")
    amounts = zip(match.groups(default="0"), _UNITS_MILLISECONDS.values(), strict=True)
    milliseconds = sum(int(amount) * unit for amount, unit in amounts)
    if milliseconds > _LONGEST_MILLISECONDS:
        raise ValueError("must be a duration of at most 292y")
    return milliseconds / 1000


def render(seconds: float) -> str:
    """Write seconds as a duration: ``5400`` is ``1h30m``, ``0.25`` is ``250ms``, ``0`` is ``0s``."""
    rest = round(seconds * 1000)
    parts = []
    for unit, size in _UNITS_MILLISECONDS.items():
        # As Prometheus does: years and weeks only where nothing is left over, 8d rather than 1w1d.
        if rest >= size and not (unit in "yw" and rest % size):
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts) or "0s"
