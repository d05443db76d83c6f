"""Every query of the dashboards, asked of the real Prometheus that scrapes an exporter and evaluates the rules."""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import StartExporter, StartSimulator, api_section, make_tenant, wait_until_equal
from support_dashboards import EVERYTHING, dashboards, expressions, filled
from support_prometheus import PrometheusProcess, StartPrometheus
from support_rules import RULES, load, loading

from exporter.simulator.lives import slow_rollout

pytestmark = pytest.mark.needs("prometheus")

MOVING, MISSING = "22519813685366", "22519813685367"
CAMPAIGN = "disable-smbv1"
HURRIED = {"__rate_interval": "10s", "__range": "60s", "__interval": "1s"}


class Query(NamedTuple):
    """What is asked of Prometheus, and where on the dashboards."""

    dashboard: str
    place: str
    expr: str
    instant: bool


def queries(variables: Mapping[str, str]) -> Iterator[Query]:
    """Yield every panel's queries, with the variables filled in."""
    for name, dashboard in dashboards().items():
        for panel, expr, instant in expressions(dashboard):
            yield Query(name, panel, filled(expr, variables), instant)


def options(server: PrometheusProcess, variables: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return what can be chosen on each dashboard for each variable that Prometheus is asked for."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert asked, variable["query"]
                parameters = {"match[]": filled(asked[1], variables)}
                found.setdefault(name, {})[variable["name"]] = server.api(f"label/{asked[2]}/values", **parameters)
    return found


def ask(server: PrometheusProcess, query: Query) -> list[dict[str, Any]]:
    """Return the series that a query finds, now or over the last seconds."""
    if query.instant:
        result: list[dict[str, Any]] = server.api("query", query=query.expr)["result"]
    else:
        now = time.time()
        span = {"start": f"{now - 30:.3f}", "end": f"{now:.3f}", "step": "2"}
        result = server.api("query_range", query=query.expr, **span)["result"]
    return result


def missing_in(server: PrometheusProcess, *variables: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Return the queries, by dashboard and panel, that find nothing with any of these values of the variables."""
    empty = dict(enumerate(queries(variables[0])))
    for values in variables:
        asked = list(queries(values))
        empty = {number: query for number, query in empty.items() if not ask(server, asked[number])}
    return {(query.dashboard, query.place, query.expr) for query in empty.values()}


@pytest.mark.parametrize("tenant", ["", "acme"], ids=["unnamed", "named"])
def test_dashboards_show_data(
    simulator: StartSimulator,
    exporter_process: StartExporter,
    prometheus: StartPrometheus,
    tmp_path: Path,
    tenant: str,
) -> None:
    """Each query finds something for an action that moves or one that fails, with all and with one chosen."""
    simulated = make_tenant({MOVING: slow_rollout(1)}, speed=60)
    (tmp_path / "more.yaml").write_text(f"- {MISSING}\n")
    (tmp_path / "web.yaml").write_text("basic_auth_users: {}\n")
    section: dict[str, object] = {
        "api": api_section(simulator({"": simulated}), requests_per_second=10),
        "actions": [{"id": MOVING, "labels": {"campaign": CAMPAIGN, "team": "endpoint-ops"}}],
        "action_files": [str(tmp_path / "more.yaml")],
    }
    sections = {"tenants": [{"name": tenant} | section]} if tenant else section
    exporter = exporter_process(
        {"poll": {"interval": "1s"}} | sections, f"--web.config.file={tmp_path / 'web.yaml'}"
    )
    server = prometheus([exporter.url], **loading(load(RULES), tmp_path))
    instance = exporter.url.removeprefix("http://")

    everything = EVERYTHING | HURRIED | {"job": "cortex-xdr-exporter"}
    # As Grafana does for a variable with several values: a regular expression, within quotes.
    escaped = re.escape(instance).replace("\\", "\\\\")
    chosen = everything | {"instance": escaped, "tenant": tenant, "campaign": CAMPAIGN}
    moving, missing = {"action_id": MOVING}, {"action_id": MISSING}
    wait_until_equal(lambda: missing_in(server, everything | moving, everything | missing), set())
    assert missing_in(server, chosen | moving, everything | missing) == set()
    common = {
        "job": ["cortex-xdr-exporter"],
        "instance": [instance],
        "tenant": [tenant] if tenant else [],
        "campaign": [CAMPAIGN],
    }
    assert options(server, everything) == {
        "cortex-xdr-overview": common,
        "cortex-xdr-action": common | {"action_id": [MOVING, MISSING]},
    }
