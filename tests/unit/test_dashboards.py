"""The dashboards: their files are what the code makes, and keep the rules of the dashboard linter."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import promql_parser as promql
import pytest
from dashboards.__main__ import FILES, rendered
from dashboards.panels import STATUS_COLOURS
from dashboards.queries import FINISHED
from prometheus_client.parser import text_string_to_metric_families
from support_dashboards import EVERYTHING, Json, dashboards, expressions, filled, panels
from support_rules import RULES, rules_of
from support_tenant import tenant_snapshot

from exporter.exposition import FAMILIES
from exporter.status import STATUSES
from exporter.telemetry import Telemetry
from exporter.tracking import FileState

DASHBOARDS = dashboards()
RECORDED = {rule["record"] for rule in rules_of(RULES) if "record" in rule}


def walk(node: Any, inside: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every node of parsed PromQL with those around it, from the outermost in."""
    yield node, inside
    children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
    for child in [*children, *getattr(node, "args", [])]:
        if isinstance(child, promql.Expr):
            yield from walk(child, (*inside, node))


def selectors(expr: str) -> list[tuple[promql.VectorSelector, tuple[Any, ...]]]:
    """Return the selectors of an expression, each with the nodes around it."""
    return [
        (node, inside)
        for node, inside in walk(promql.parse(filled(expr, EVERYTHING)))
        if isinstance(node, promql.VectorSelector)
    ]


def name_of(selector: promql.VectorSelector) -> str:
    """Return the metric that is selected; every selector has to name one."""
    assert selector.name
    return selector.name


def variables(dashboard: Json) -> dict[str, Json]:
    """Return a dashboard's variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def breaks_title(panel: Json) -> bool:
    """Every panel has a title."""
    return not panel.get("title")


def breaks_description(panel: Json) -> bool:
    """Every panel has a description, which is a sentence."""
    return not panel.get("description", "").endswith(".")


def breaks_unit(panel: Json) -> bool:
    """Every panel has a unit."""
    return not panel["fieldConfig"]["defaults"].get("unit")


def breaks_targets(panel: Json) -> bool:
    """Every panel asks something."""
    return not panel.get("targets")


def breaks_datasource(panel: Json) -> bool:
    """Every panel and every target uses the data source that is chosen."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    return any(one.get("datasource") != chosen for one in [panel, *panel["targets"]])


def breaks_promql(panel: Json) -> bool:
    """Every query is PromQL."""
    try:
        for target in panel["targets"]:
            promql.parse(filled(target["expr"], EVERYTHING))
    except ValueError:
        return True
    return False


def breaks_matchers(panel: Json) -> bool:
    """Every selector is of the chosen jobs and instances; recorded series are of no instance."""
    found = [
        (name, braces)
        for target in panel["targets"]
        for name, braces in re.findall(r"([\w:]+)\{([^{}]*)\}", target["expr"])
    ]
    names = [name_of(selector) for target in panel["targets"] for selector, _ in selectors(target["expr"])]
    return sorted(name for name, _ in found) != sorted(names) or not all(
        'job=~"$job"' in braces and (name in RECORDED or 'instance=~"$instance"' in braces)
        for name, braces in found
    )


def breaks_counters(panel: Json) -> bool:
    """Counters are only looked at through rate or increase."""
    return any(
        name_of(selector).endswith(("_total", "_bucket", "_sum", "_count"))
        and not any(isinstance(node, promql.Call) and node.func.name in {"rate", "increase"} for node in inside)
        for target in panel["targets"]
        for selector, inside in selectors(target["expr"])
    )


def breaks_rate_interval(panel: Json) -> bool:
    """The ranges of rate and increase are those that fit the scrapes."""
    return any(
        window != "$__rate_interval"
        for target in panel["targets"]
        for window in re.findall(r"\b(?:rate|increase)\([^\[\]]*\[([^\]]*)\]", target["expr"])
    )


BREAKS: list[Callable[[Json], bool]] = [
    breaks_title,
    breaks_description,
    breaks_unit,
    breaks_targets,
    breaks_datasource,
    breaks_promql,
    breaks_matchers,
    breaks_counters,
    breaks_rate_interval,
]


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__.removeprefix("breaks_"))
@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_keep_each_rule(uid: str, breaks: Callable[[Json], bool]) -> None:
    """Each panel keeps each of the linter's rules."""
    assert [panel["title"] for panel in panels(DASHBOARDS[uid]) if breaks(panel)] == []


def test_files_are_what_the_code_makes() -> None:
    """The JSON files are those that ``make dashboards`` writes."""
    assert {file.name: file.read_text() for file in sorted(FILES.iterdir())} == dict(sorted(rendered().items()))


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_dashboard_has_the_settings_of_all(uid: str) -> None:
    """A dashboard keeps its address, cannot be edited, and refreshes what its links take along."""
    dashboard = DASHBOARDS[uid]
    names = ("uid", "editable", "tags", "timezone", "time", "refresh")
    assert {name: dashboard[name] for name in names} == {
        "uid": uid,
        "editable": False,
        "tags": ["cortex-xdr"],
        "timezone": "browser",
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
    }
    link = dashboard["links"][0]
    assert (link["tags"], link["includeVars"], link["keepTime"]) == (["cortex-xdr"], True, True)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_datasource_variable_is_a_prometheus(uid: str) -> None:
    """The data source can be chosen, among those that are a Prometheus."""
    variable = variables(DASHBOARDS[uid])["datasource"]
    assert (variable["label"], variable["type"], variable["query"]) == ("Data source", "datasource", "prometheus")


@pytest.mark.parametrize(
    ("name", "label", "all_value"),
    [
        ("job", "Job", ".+"),
        ("instance", "Instance", ".+"),
        ("tenant", "Tenant", ".*"),
        ("campaign", "Campaign", ".*"),
    ],
)
@pytest.mark.parametrize("uid", DASHBOARDS)
def test_filter_variables_choose_several_or_all(uid: str, name: str, label: str, all_value: str) -> None:
    """Jobs, instances, tenants and campaigns can be chosen, several or all of them."""
    variable = variables(DASHBOARDS[uid])[name]
    assert variable["query"]["query"].startswith("label_values(cortex_xdr_")
    assert variable["query"]["query"].endswith(f", {name})")
    names = ("label", "multi", "includeAll", "allValue")
    assert [variable[name] for name in names] == [label, True, True, all_value]


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_query_variables_follow_time_and_data_source(uid: str) -> None:
    """Every variable that is asked for is asked for anew when the time range changes, where the panels ask."""
    found = {name: one for name, one in variables(DASHBOARDS[uid]).items() if one["type"] == "query"}
    wanted = (2, {"type": "prometheus", "uid": "${datasource}"})
    assert {name: (one["refresh"], one["datasource"]) for name, one in found.items()} == dict.fromkeys(
        found, wanted
    )


def test_drill_down_chooses_one_action() -> None:
    """The drill-down has one variable more, of which one value is chosen."""
    overview, action = (set(variables(DASHBOARDS[f"cortex-xdr-{name}"])) for name in ("overview", "action"))
    variable = variables(DASHBOARDS["cortex-xdr-action"])["action_id"]
    assert (action - overview, variable.get("multi", False)) == ({"action_id"}, False)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_lie_side_by_side(uid: str) -> None:
    """No panel overlaps another, none sticks out of the 24 columns, and each has an ID of its own."""
    every = DASHBOARDS[uid]["panels"]
    places = [(panel["title"], *(panel["gridPos"][side] for side in "xywh")) for panel in every]
    assert [place for place in places if place[1] < 0 or place[1] + place[3] > 24] == []
    assert [
        (one[0], other[0])
        for one, other in combinations(places, 2)
        if one[1] < other[1] + other[3] and other[1] < one[1] + one[3]
        if one[2] < other[2] + other[4] and other[2] < one[2] + one[4]
    ] == []
    assert [panel["id"] for panel in every] == list(range(1, len(every) + 1))


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panel_titles_tell_panels_apart(uid: str) -> None:
    """No two panels of a dashboard have the same title."""
    titles = [panel["title"] for panel in panels(DASHBOARDS[uid])]
    assert sorted(set(titles)) == sorted(titles)


def exposed() -> set[str]:
    """Return the names of every sample that the exporter can expose."""
    telemetry = Telemetry()
    telemetry.add_tenant(None)
    telemetry.watch_tenant(None, lambda: tenant_snapshot(up=True))
    telemetry.watch_action_files(lambda: {"a.yaml": FileState(read_successfully=True, duplicates=0)})
    telemetry.web_configuration_loaded(True)  # noqa: FBT003 - handed on as a callable elsewhere
    text = telemetry.expose(openmetrics=False).decode()
    own = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    return own | {family.name for family in FAMILIES}


def used() -> dict[str, str]:
    """Return each metric that dashboards or rules name, with one place that does."""
    places = [(f"{uid}: {one.panel}", one.expr) for uid, each in DASHBOARDS.items() for one in expressions(each)]
    places += [(f"rules.yaml: {rule.get('record') or rule['alert']}", rule["expr"]) for rule in rules_of(RULES)]
    return {name_of(selector): place for place, expr in places for selector, _ in selectors(expr)}


def test_metrics_that_are_named_exist() -> None:
    """What dashboards and rules ask for is exposed by the exporter, recorded by a rule, or of Prometheus."""
    known = exposed() | RECORDED | {"up", "scrape_duration_seconds"}
    assert {name: place for name, place in used().items() if name not in known} == {}


def test_variables_ask_for_metrics_that_exist() -> None:
    """The values of variables come from metrics that the exporter exposes."""
    queries = [
        variable["query"]["query"]
        for dashboard in DASHBOARDS.values()
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert {re.findall(r"\((\w+)", query)[0] for query in queries} - exposed() == set()


def test_statuses_are_those_of_the_exporter_and_of_the_rules() -> None:
    """Each status of endpoints has a colour, and an action counts as finished where the rules say so."""
    assert sorted(STATUS_COLOURS) == sorted(STATUSES)
    assert [rule["record"] for rule in rules_of(RULES) if f'general_status=~"{FINISHED}"' in rule["expr"]] == [
        "action:cortex_xdr_unfinished:info"
    ]


@pytest.mark.parametrize(
    ("breaks", "expr"),
    [
        (breaks_promql, "sum("),
        (breaks_matchers, "up"),
        (breaks_matchers, 'up{job=~"$job"}'),
        (breaks_matchers, 'up{job=~"$job", instance=~"$instance"} + up{instance=~"$instance"}'),
        (breaks_counters, "sum(a_total)"),
        (breaks_counters, "rate(a_total[5m]) + max_over_time(b_bucket[5m])"),
        (breaks_rate_interval, "sum(rate(a_total[5m]))"),
        (breaks_rate_interval, 'increase(a_total{b="c"}[$__range])'),
    ],
)
def test_rules_on_queries_find_what_breaks_them(breaks: Callable[[Json], bool], expr: str) -> None:
    """The rules that look into PromQL see what is wrong in it."""
    assert breaks({"targets": [{"expr": expr}]})
