"""What was measured beside a peer and its goal: rows, and how they are written as a table and as data.

The rule: a goal is met or missed by a row's own numbers; nothing here measures.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

_HEADS = ("what", "exporter", "beside", "ratio", "goal", "", "note")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured several times, in a unit; shown as the median with the least and the greatest."""

    values: tuple[float, ...]
    unit: str = ""

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "") -> Self:
        """Take over values; there has to be one."""
        assert values, "nothing was measured"
        return cls(tuple(values), unit)

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Show it, as in ``58.1 (55.0-61.2) ms``; what was measured once has no spread."""
        shown = number(self.median)
        if len(self.values) > 1:
            shown += f" ({number(min(self.values))}-{number(max(self.values))})"
        return f"{shown} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of a row's ratio, or of the exporter's figure where the row has none.

    The median is held against it, or the worst value with ``worst``. ``words`` are how it is said.
    """

    words: str
    at_least: float | None = None
    at_most: float | None = None
    worst: bool = False

    def met(self, figure: Figure) -> bool:
        """Tell whether a figure reaches it."""
        low = min(figure.values) if self.worst else figure.median
        high = max(figure.values) if self.worst else figure.median
        return (self.at_least is None or low >= self.at_least) and (self.at_most is None or high <= self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured; what there is not is None, and ``note`` says what one has to know of it."""

    what: str
    ours: Figure | None = None
    beside: str = ""
    theirs: Figure | None = None
    ratio: Figure | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is no goal, or nothing to hold against it."""
        judged = self.ratio or (None if self.theirs else self.ours)
        return None if self.goal is None or judged is None else self.goal.met(judged)

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        theirs = " ".join(filter(None, (self.beside, str(self.theirs or ""))))
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        if self.goal is not None and self.met is None:
            verdict = "not measured"
        goal = self.goal.words if self.goal else ""
        return self.what, str(self.ours or ""), theirs, str(self.ratio or ""), goal, verdict, self.note


def number(value: float) -> str:
    """Show three digits or, of a large number, all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def times_faster(
    what: str, ours: Figure, beside: str, theirs: Figure, *, goal: Goal | None = None, note: str = ""
) -> Row:
    """Make a row whose ratio says how many times as long the peer took, pair by pair."""
    ratio = Figure.of(_quotients(theirs, ours), "x faster")
    return Row(what=what, ours=ours, beside=beside, theirs=theirs, ratio=ratio, goal=goal, note=note)


def times_the_peer(
    what: str, ours: Figure, beside: str, theirs: Figure, *, goal: Goal | None = None, note: str = ""
) -> Row:
    """Make a row whose ratio says how much of the peer's figure ours is, pair by pair."""
    ratio = Figure.of(_quotients(ours, theirs), "x")
    return Row(what=what, ours=ours, beside=beside, theirs=theirs, ratio=ratio, goal=goal, note=note)


def _quotients(above: Figure, below: Figure) -> list[float]:
    """Divide what was measured in the same turn; one that was measured in fewer turns ends the list."""
    return [high / low for high, low in zip(above.values, below.values, strict=False)]


def markdown(header: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Write the header as a list and the rows as a table."""
    lines = [f"- {name}: {value}" for name, value in header.items()]
    cells = [_HEADS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[-1] = 0  # Notes are as long as they are.
    table = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    table.insert(1, "|" + "|".join("-" * max(width + 2, 3) for width in widths) + "|")
    return "\n".join([*lines, "", *table])


def as_data(header: Mapping[str, str], rows: Sequence[Row]) -> dict[str, object]:
    """Return header and rows as plain values, for JSON."""
    return {"header": dict(header), "rows": [{**asdict(row), "met": row.met} for row in rows]}
