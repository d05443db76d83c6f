"""Numbers, times and texts of others as a person reads them on the page.

The rule: what is shown is never more exact, finished or harmless than the value is. Pure, and plain text: the
template escapes it.
"""

import math
import re
from datetime import UTC, datetime

_THIN_SPACE = "\u202f"
_LATEST = 253_402_300_799.0  # The end of the year 9999, which is the last that a datetime can hold.

# What has no picture, breaks the line, or turns the order of what follows: controls, marks of direction, spaces
# without width, the blank of Braille, and halves of surrogate pairs. Joiners stay, as emoji and several scripts
# need them.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_NEW_LINE = "↵"


def number(value: float) -> str:
    """Write a whole number with thin spaces between thousands: ``12 345``."""
    return f"{round(value):,}".replace(",", _THIN_SPACE)


def percent(part: float, whole: float) -> str:
    """Write a share such as ``64 %``: 100 % only for the whole, 0 % only for nothing."""
    if part >= whole:
        return f"100{_THIN_SPACE}%"
    share = 100 * part / whole
    if 0 < share < 1:
        return f"<1{_THIN_SPACE}%"
    return f"{min(99, math.floor(share))}{_THIN_SPACE}%"


def share(part: float, whole: float, unknown: int) -> str:
    """Write a percentage of what is known: never 100 % while something is unknown, but ``all``."""
    return "all" if unknown and part >= whole else percent(part, whole)


def rate(per_second: float) -> str:
    """Write requests per second to two digits, which may be few: ``4.9``, ``0.33``, ``<0.01``."""
    if 0 < per_second < 0.01:
        return "<0.01"
    return f"{per_second:.2f}".rstrip("0").rstrip(".") if per_second < 10 else number(per_second)


def pace(per_hour: float) -> str:
    """Write endpoints per hour: ``310``, ``2.5``, ``<0.1``; one digit after the point only below ten."""
    if 0 < per_hour < 0.1:
        return "<0.1"
    return f"{per_hour:.1f}".removesuffix(".0") if per_hour < 9.95 else number(per_hour)


def span(seconds: float) -> str:
    """Write a length of time in its two largest units, rounded down: ``42 s``, ``1 h 20 min``, ``3 d 4 h``."""
    seconds = max(0, int(seconds))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days >= 30:
        return f"{number(days)} d"
    if days:
        return _units(days, "d", hours % 24, "h")
    if hours:
        return _units(hours, "h", minutes % 60, "min")
    return f"{minutes} min" if minutes else f"{seconds} s"


def _units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def age(seconds: float) -> str:
    """Say how long ago something was: ``just now``, ``2 min ago``. The page's script says it in the same words."""
    return "just now" if seconds < 2 else f"{span(seconds)} ago"


def clock(timestamp: float, now: float) -> str:
    """Write a time of the day in UTC, with its date unless that is now's: ``18:40``, ``Wed 25 Nov, 02:13``."""
    time, today = _utc(timestamp), _utc(now)
    if time.date() == today.date():
        return f"{time:%H:%M}"
    return f"{time:%a} {time.day} {time:%b}{f' {time.year}' if time.year != today.year else ''}, {time:%H:%M}"


def moment(timestamp: float) -> str:
    """Write a time in UTC to the second, with its day: ``24 Nov 18:40:07 UTC``."""
    time = _utc(timestamp)
    return f"{time.day} {time:%b %H:%M:%S} UTC"


def iso(timestamp: float, *, timespec: str = "seconds") -> str:
    """Write a time for machines, in UTC as RFC 3339 has it: ``2026-11-24T18:40:07Z``."""
    return f"{_utc(timestamp).replace(tzinfo=None).isoformat(timespec=timespec)}Z"


def visible(text: str) -> str:
    """Return a text of unknown origin with what cannot be seen in it made visible: ``a↵b``, ``⟨U+202E⟩``."""
    shown = _INVISIBLE.sub(_picture, text)
    return shown if shown.strip() else "␣" * len(shown)


def _picture(match: re.Match[str]) -> str:
    return _NEW_LINE if match[0] == "\n" else f"⟨U+{ord(match[0]):04X}⟩"


def _utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(min(max(timestamp, 0.0), _LATEST), UTC)
