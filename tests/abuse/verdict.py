"""What was measured beside its bound: rows, what makes them, and how they are printed.

The rule: a row is kept or missed by its own numbers alone; nothing here measures.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from soak.readings import busiest_second

MEGABYTE = 1 << 20

_TIME = re.compile(r"\bts=(\S+) ")
_SHOWN = 8
_NUMBER = re.compile(r"\d+")
_MINUTE_SECONDS = 59.0  # Lines come by another clock than the one that stamps them.


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured; ``bound`` is empty where there is none."""

    case: str
    what: str
    measured: str
    bound: str
    detail: str
    kept: bool = True

    def __str__(self) -> str:
        """Show it as a line of the table."""
        verdict = "" if not self.bound else "kept" if self.kept else "MISSED"
        return f"  {self.what:50} {self.measured:>14}   {self.bound:27} {verdict:6}  {self.detail}".rstrip()


class Findings:
    """The rows of cases, in order; ``say`` is told of each case, and of what is missed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.rows: list[Row] = []
        self._case = ""
        self._say = say

    def begin(self, case: str) -> None:
        """Say what the rows that follow are about."""
        self._case = case
        self._say(case)

    def at_most(
        self, what: str, value: float, bound: float, show: Callable[[float], str], detail: str = ""
    ) -> None:
        """Note a number and its upper bound."""
        self._add(what, show(value), f"at most {show(bound)}", detail, kept=value <= bound)

    def require(self, what: str, wrong: Sequence[str], total: int, bound: str = "all", detail: str = "") -> None:
        """Note of how many of a total something is true; ``wrong`` has a text for each of which it is not."""
        shown = f"not so: {'; '.join(filter(None, wrong[:_SHOWN]))}" if wrong else detail
        self._add(what, f"{total - len(wrong):,} of {total:,}", bound, shown, kept=not wrong)

    def note(self, what: str, measured: str, detail: str = "") -> None:
        """Note what has no bound."""
        self._add(what, measured, "", detail)

    def _add(self, what: str, measured: str, bound: str, detail: str, *, kept: bool = True) -> None:
        row = Row(self._case, what, measured, bound, detail, kept)
        self.rows.append(row)
        if not kept:
            self._say(str(row))


def milliseconds(seconds: float) -> str:
    """Show a short time."""
    return f"{1000 * seconds:.0f} ms"


def seconds(seconds: float) -> str:
    """Show a time."""
    return f"{seconds:.1f} s"


def percent(share: float) -> str:
    """Show a share of one core."""
    return f"{100 * share:.0f} %"


def megabytes(size: float) -> str:
    """Show how much more or less memory there is, or how large something is."""
    return f"{size / MEGABYTE:.1f} MB"


def kilobytes(size: float) -> str:
    """Show the size of something small."""
    return f"{size / 1000:.1f} KB"


def number(count: float) -> str:
    """Show a count."""
    return f"{count:,.0f}"


def kinds_in_a_minute(log: str) -> dict[str, int]:
    """Return of each kind of line the most that any minute has; lines of one kind differ in numbers only."""
    times = defaultdict(list)
    for line in log.splitlines():
        found = _TIME.match(line)
        at = datetime.fromisoformat(found[1]).timestamp() if found else 0.0
        times[_NUMBER.sub("N", _TIME.sub("", line))].append(at / _MINUTE_SECONDS)
    return {kind: busiest_second(minutes)[0] for kind, minutes in times.items()}


def table(rows: Sequence[Row]) -> str:
    """Return all rows below the names of their cases."""
    lines = []
    for previous, row in zip([None, *rows], rows, strict=False):
        if previous is None or previous.case != row.case:
            lines.append(row.case)
        lines.append(str(row))
    return "\n".join(lines)


def as_data(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return rows as plain values, for JSON."""
    return [asdict(row) for row in rows]
