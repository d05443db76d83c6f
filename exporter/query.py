"""What a person asks of the overview: which actions, in which order, in which groups, read from query parameters.

The rule: a query is either whole and within bounds or a :class:`QueryError` that names everything wrong with it.
Nothing that comes in is taken on trust, nor dropped in silence.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from exporter.errors import ExporterError

_LONGEST_TEXT = 200
_LONGEST_LABEL = 2000  # A general status may have a thousand, and links lead to each group.
_LONGEST_SHOWN = 40
_MOST_PROBLEMS = 20
_LAST_PAGE = 100_000
_LARGEST_PAGE = 1000

_E = TypeVar("_E", bound=StrEnum)


class Sort(StrEnum):
    """What actions are ordered by; in each order those without such a value come last.

    ``attention``: failed and timed-out endpoints, the most first; then polls that fail and data that is stale;
    then unfinished actions, the least done first; then those that are not polled yet, settled, and retired ones.
    ``progress`` is the share done, ``failed`` the endpoints that failed or timed out, ``eta`` the estimated time
    left, ``age`` that of the data.
    """

    ATTENTION = "attention"
    PROGRESS = "progress"
    FAILED = "failed"
    TOTAL = "total"
    ETA = "eta"
    AGE = "age"
    ID = "id"

    @property
    def descends(self) -> bool:
        """Whether the largest comes first where nothing else is asked for."""
        return self in {Sort.FAILED, Sort.TOTAL, Sort.AGE}


class Show(StrEnum):
    """Which actions are shown: all, those that need attention, those in a phase, or those with stale data."""

    ALL = "all"
    ATTENTION = "attention"
    ACTIVE = "active"
    SETTLED = "settled"
    FAILING = "failing"
    WAITING = "waiting"
    STALE = "stale"
    RETIRED = "retired"


class QueryError(ExporterError):
    """The parameters are no query; ``problems`` has a line for each thing that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. The parameters are named like the fields, but for ``order``: ``asc`` or ``desc``.

    ``group`` is the name of a label, or ``tenant`` or ``general_status``. ``label`` is such a name with the value
    that actions must have, to the letter, None for those without; as a parameter ``name=value`` or ``name``.
    ``text`` is looked for in IDs, values of labels and general statuses; ``name=value`` finds labels with that
    value as well, ``name:value`` labels with a value that has it in it. There case never matters. ``page`` counts
    from 1.
    """

    group: str | None = None
    sort: Sort = Sort.ATTENTION
    descending: bool = False
    text: str = ""
    label: tuple[str, str | None] | None = None
    show: Show = Show.ALL
    tenant: str | None = None
    page: int = 1
    per_page: int = 100

    @classmethod
    def parse(cls, parameters: Iterable[tuple[str, str]]) -> "Query":
        """Read decoded query parameters; an empty value, as forms send it, counts as left out.

        ``refresh``, which is the page's own, is passed over. Raises QueryError.
        """
        problems = []
        seen = set()
        read: dict[str, Any] = {}
        for name, value in parameters:
            if name == "refresh":
                continue
            if name not in _READERS:
                problems.append(f"{_shown(name)}: unknown parameter; known are: {', '.join(_READERS)}")
            elif name in seen:
                problems.append(f"{name}: is given more than once; give one value")
            elif value:
                try:
                    read[name] = _READERS[name](value)
                except ValueError as error:
                    problems.append(f"{name}: {error}")
            seen.add(name)
        if problems:
            more = len(problems) - _MOST_PROBLEMS
            raise QueryError(problems[:_MOST_PROBLEMS] + ([f"… and {more} more"] if more > 0 else []))
        descending = read.pop("order", read.get("sort", Sort.ATTENTION).descends)
        return cls(descending=descending, **read)

    def parameters(self, **changes: Any) -> list[tuple[str, str]]:
        """Return the parameters that lead to this query with some fields changed; defaults are left out.

        Any change but that of the page leads to the first page, and another ``sort`` to its own direction.
        """
        if changes:
            changes = {"page": 1} | changes
        if "sort" in changes:
            changes = {"descending": changes["sort"].descends} | changes
        query = replace(self, **changes)
        values = {field.name: getattr(query, field.name) for field in fields(query)}
        defaults = {field.name: field.default for field in fields(query)} | {"descending": query.sort.descends}
        return [_parameter(name, value) for name, value in values.items() if value != defaults[name]]


def _parameter(field: str, value: Any) -> tuple[str, str]:
    if field == "descending":
        return "order", "desc" if value else "asc"
    if field == "label":
        return field, value[0] if value[1] is None else "=".join(value)
    return field, str(value)


def _group(text: str) -> str:
    if len(text) > _LONGEST_TEXT or not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", text):
        raise ValueError(
            f"{_shown(text)} is no label's name: letters, digits and underscores, not beginning with a digit"
        )
    return text


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = _bounded(text, _LONGEST_LABEL).partition("=")
    return _group(name), value if equals else None


def _bounded(text: str, longest: int = _LONGEST_TEXT) -> str:
    if len(text) > longest:
        raise ValueError(f"must not be longer than {longest} characters")
    return text


def _descending(text: str) -> bool:
    if text not in {"asc", "desc"}:
        raise ValueError(f"{_shown(text)} is neither asc nor desc")
    return text == "desc"


def _choice(choices: type[_E]) -> Callable[[str], _E]:
    def read(text: str) -> _E:
        if text not in list(choices):
            raise ValueError(f"{_shown(text)} is none of {', '.join(choices)}")
        return choices(text)

    return read


def _number(largest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        valid = text.isascii() and text.isdecimal() and len(text) <= len(str(largest))
        if not valid or not 1 <= int(text) <= largest:
            raise ValueError(f"{_shown(text)} is no number from 1 to {largest}")
        return int(text)

    return read


def _shown(text: str) -> str:
    """Quote what came in: short, and without anything that could not be printed."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")


_READERS: dict[str, Callable[[str], Any]] = {
    "group": _group,
    "sort": _choice(Sort),
    "order": _descending,
    "text": lambda text: _bounded(text).strip(),
    "label": _label,
    "show": _choice(Show),
    "tenant": _bounded,
    "page": _number(_LAST_PAGE),
    "per_page": _number(_LARGEST_PAGE),
}
