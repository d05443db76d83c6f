"""Where the page's links lead: the same page with another query, below whatever path a proxy puts it.

The rule: every URL is relative, and a link changes what it says and carries all else along.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from exporter.overview import Overview
from exporter.query import Query, QueryError, Sort

REFRESH_SECONDS = 15
"""How often the page fetches itself, where nothing else is asked for."""

_LONGEST_REFRESH_SECONDS = 86_400
_FORM_FIELDS = frozenset({"group", "show", "tenant", "text", "page"})


def refresh_seconds(parameter: str | None) -> int:
    """Read the page's own parameter ``refresh``: whole seconds, 0 for never, the default for anything else."""
    if parameter is None or not (parameter.isascii() and parameter.isdecimal() and len(parameter) <= 6):
        return REFRESH_SECONDS
    return min(int(parameter), _LONGEST_REFRESH_SECONDS)


def below(path: str) -> str:
    """Make a path of the exporter relative to the page's."""
    return f".{quote(path)}"


class Links:
    """Links from a page that answers this query and fetches itself every ``refresh`` seconds."""

    def __init__(self, query: Query, refresh: int) -> None:
        self._query = query
        self._refresh = refresh

    def to(self, **changes: object) -> str:
        """Link to the page with some fields of the query changed."""
        return self._link(self._query.parameters(**changes), self._refresh)

    def without_query(self) -> str:
        """Link to the page as it is when nothing is asked for."""
        return self._link([], self._refresh)

    def sorted_by(self, sort: Sort) -> str:
        """Link to another order, or to the other direction of the one that is in use."""
        if sort == self._query.sort:
            return self.to(descending=not self._query.descending)
        return self.to(sort=sort)

    def refreshing(self, seconds: int) -> str:
        """Link to the same page with another pace of its own refresh."""
        return self._link(self._query.parameters(), seconds)

    def api(self) -> str:
        """Link to the same query's answer for programs."""
        return f"./api/v1/actions{_query_string(self._query.parameters())}"

    def carried(self) -> list[tuple[str, str]]:
        """List what the form, which has group, show, tenant and text, must send besides."""
        besides = [(name, value) for name, value in self._query.parameters() if name not in _FORM_FIELDS]
        return besides + _refresh_parameter(self._refresh)

    def groups(self, overview: Overview) -> Mapping[str | None, str]:
        """Link to the actions of each group alone, by its value, where a query can say so besides all else."""
        name, label = self._query.group, self._query.label
        links: dict[str | None, str] = {}
        for value in (group.value for group in overview.groups):
            if name == "tenant":
                if value:
                    links[value] = self.to(tenant=value, group=None)
            # A query has one label: with another one the group alone cannot be asked for.
            elif name is not None and (label is None or label[0] == name) and _can_be_asked_for(name, value):
                links[value] = self.to(label=(name, value), group=None)
        return links

    def _link(self, parameters: Sequence[tuple[str, str]], refresh: int) -> str:
        return f"./{_query_string([*parameters, *_refresh_parameter(refresh)])}"


def _can_be_asked_for(name: str, value: str | None) -> bool:
    """Tell whether a query for that label is one: the value may be too long, or no Unicode."""
    label = (name, value)
    try:
        urlencode(parameters := Query(label=label).parameters())
        return Query.parse(parameters).label == label
    except (QueryError, UnicodeEncodeError):
        return False


def _refresh_parameter(seconds: int) -> list[tuple[str, str]]:
    return [] if seconds == REFRESH_SECONDS else [("refresh", str(seconds))]


def _query_string(parameters: Sequence[tuple[str, str]]) -> str:
    return f"?{urlencode(parameters)}" if parameters else ""
