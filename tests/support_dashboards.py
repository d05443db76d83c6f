"""The dashboards' JSON files as tests look at them: panels, queries, and Grafana's variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dashboards.__main__ import FILES

EVERYTHING = {
    "job": ".+",
    "instance": ".+",
    "tenant": ".*",
    "campaign": ".*",
    "action_id": "1",
    "__rate_interval": "1m",
    "__range": "1h",
    "__interval": "15s",
}
"""Values for every variable: all that a dashboard can show."""

Json = dict[str, Any]


class Expression(NamedTuple):
    """A query of a panel; an instant one is asked for its values of now, else for those of a range."""

    panel: str
    expr: str
    instant: bool


def dashboards() -> dict[str, Json]:
    """Read every dashboard, by its file's name without the ending."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(FILES.glob("*.json"))}


def panels(dashboard: Json) -> Iterator[Json]:
    """Yield every panel, those in collapsed rows too, but no rows and texts."""
    for panel in dashboard["panels"]:
        yield from panels({"panels": panel.get("panels", [])})
        if panel["type"] not in {"row", "text"}:
            yield panel


def expressions(dashboard: Json) -> Iterator[Expression]:
    """Yield every query of every panel."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield Expression(panel["title"], target["expr"], target.get("instant", False))


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """Put values in the place of ``$name``, ``${name}`` and ``${name:format}``; each has to have one."""
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", lambda found: variables[found[1] or found[2]], expr)
