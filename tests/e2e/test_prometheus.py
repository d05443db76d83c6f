"""The real Prometheus scrapes the real exporter, and PromQL finds what the simulated tenants hold."""

import re
from collections.abc import Mapping

import pytest
from support import StartExporter, StartSimulator, api_section, make_tenant, wait_until_equal
from support_prometheus import PrometheusProcess, StartPrometheus

from exporter.simulator.lives import STATUSES, Counts, Fixed
from exporter.simulator.tenant import Fault, SimulatedTenant

pytestmark = pytest.mark.needs("prometheus")

ENDPOINTS = "cortex_xdr_script_execution_endpoints"
POLL = {"interval": "1s"}
LIVES = {
    "22519813685366": Fixed("IN_PROGRESS", Counts(1, 2, 3, 4, 5, 6, 7, 8, 9)),
    "22519813685370": Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=12_345_678)),
    "a-text-as-id": Fixed("PENDING", Counts(pending=1)),
    "22519813685372": Fixed("COMPLETED_PARTIAL", Counts(timeout=40, failed=2, expired=100)),
}
ACTIONS = [
    {"id": "22519813685366", "labels": {"campaign": "disable-smbv1", "team": "endpoint-ops"}},
    {"id": "22519813685370", "labels": {"campaign": 'rotate "local" admin\\ü'}},
    "a-text-as-id",
    {"id": "22519813685372", "labels": {"campaign": "disable-smbv1"}},
]
CAMPAIGNS = {
    "22519813685366": "disable-smbv1",
    "22519813685370": 'rotate "local" admin\\ü',
    "a-text-as-id": "",
    "22519813685372": "disable-smbv1",
}


def endpoints_of(tenants: Mapping[str, SimulatedTenant]) -> dict[tuple[str, ...], float]:
    """Return what the tenants hold, by tenant, action ID and status."""
    return {
        (name, action_id, status): count
        for name, tenant in tenants.items()
        for action_id in tenant.actions
        for status, count in zip(STATUSES, tenant.counts(action_id), strict=True)
    }


def infos_of(tenants: Mapping[str, SimulatedTenant]) -> dict[tuple[str, ...], float]:
    """Return what the tenants hold, by tenant, action ID and general status."""
    return {
        (name, action_id, tenant.snapshot(action_id).general_status): 1
        for name, tenant in tenants.items()
        for action_id in tenant.actions
    }


def assert_content(prometheus: PrometheusProcess) -> None:
    """Assert that Prometheus had no reason to complain of its only target, neither there nor in its log."""
    prometheus.wait_for_scrapes(2)
    wait_until_equal(
        lambda: [(target["health"], target["lastError"]) for target in prometheus.targets()], [("up", "")]
    )
    complaints = [
        line
        for line in prometheus.log.splitlines()
        if re.search(r"level=(warn|error)|Append failed|parse", line, re.IGNORECASE)
    ]
    assert complaints == []


def test_prometheus_finds_what_a_tenant_holds_and_follows_it(
    simulator: StartSimulator, exporter_process: StartExporter, prometheus: StartPrometheus
) -> None:
    """PromQL has every count of every action, joins them with the labels, and has new counts after a poll."""
    tenant = make_tenant(LIVES)
    tenants = {"": tenant}
    api = api_section(simulator({"": tenant}), requests_per_second=10)
    exporter = exporter_process({"api": api, "actions": ACTIONS, "poll": POLL})
    server = prometheus([exporter.url])

    wait_until_equal(lambda: server.query(ENDPOINTS, "tenant", "action_id", "status"), endpoints_of(tenants))
    assert server.query("up", "job") == {("cortex-xdr-exporter",): 1}
    assert server.query("cortex_xdr_up", "tenant") == {("",): 1}
    info = server.query("cortex_xdr_script_execution_info", "tenant", "action_id", "general_status")
    assert info == infos_of(tenants)
    joined = server.query(
        f"{ENDPOINTS} * on(action_id) group_left(campaign) cortex_xdr_script_execution_labels",
        "campaign",
        "action_id",
        "status",
    )
    assert joined == {
        (CAMPAIGNS[action_id], action_id, status): count
        for (_, action_id, status), count in endpoints_of(tenants).items()
    }

    tenant.add("22519813685366", Fixed("COMPLETED_PARTIAL", Counts(0, 0, 0, 5, 6, 34, 0, 0, 0)))
    tenant.add("a-text-as-id", Fixed("IN_PROGRESS", Counts(pending=3, in_progress=1)))
    wait_until_equal(lambda: server.query(ENDPOINTS, "tenant", "action_id", "status"), endpoints_of(tenants))
    wait_until_equal(
        lambda: server.query("cortex_xdr_script_execution_info", "tenant", "action_id", "general_status"),
        infos_of(tenants),
    )
    assert_content(server)


def test_prometheus_tells_named_tenants_apart(
    simulator: StartSimulator, exporter_process: StartExporter, prometheus: StartPrometheus
) -> None:
    """The same action ID in two tenants is two sets of series, each joined with its own labels."""
    tenants = {
        "acme": make_tenant(LIVES),
        "globex": make_tenant({"22519813685366": Fixed("PENDING", Counts(pending=99))}),
    }
    url = simulator(tenants)
    configuration = {
        "tenants": [
            {"name": "acme", "api": api_section(f"{url}/acme"), "actions": ACTIONS},
            {
                "name": "globex",
                "api": api_section(f"{url}/globex"),
                "actions": [{"id": 22519813685366, "labels": {"campaign": "other"}}],
            },
        ],
        "poll": POLL,
    }
    server = prometheus([exporter_process(configuration).url])

    wait_until_equal(lambda: server.query(ENDPOINTS, "tenant", "action_id", "status"), endpoints_of(tenants))
    info = server.query("cortex_xdr_script_execution_info", "tenant", "action_id", "general_status")
    assert info == infos_of(tenants)
    assert server.query("cortex_xdr_up", "tenant") == {("acme",): 1, ("globex",): 1}
    campaigns = {"acme": CAMPAIGNS, "globex": {"22519813685366": "other"}}
    joined = server.query(
        f"{ENDPOINTS} * on(tenant, action_id) group_left(campaign) cortex_xdr_script_execution_labels",
        "campaign",
        "tenant",
        "action_id",
        "status",
    )
    assert joined == {
        (campaigns[name][action_id], name, action_id, status): count
        for (name, action_id, status), count in endpoints_of(tenants).items()
    }
    assert_content(server)


def test_prometheus_sees_a_failing_action_and_its_recovery(
    simulator: StartSimulator, exporter_process: StartExporter, prometheus: StartPrometheus
) -> None:
    """A failing action keeps its counts and has a reason, until a poll succeeds; no other one is touched."""
    first, second = "22519813685366", "22519813685370"
    tenant = make_tenant({first: LIVES[first], second: Fixed("IN_PROGRESS", Counts(in_progress=3))})
    tenants = {"": tenant}
    tenant.inject(Fault(status=500), second)
    configuration = {
        "api": api_section(simulator({"": tenant}), requests_per_second=10),
        "actions": [first, second, "never-existed"],
        "poll": POLL | {"settled_interval": "2s"},
    }
    exporter = exporter_process(configuration)
    server = prometheus([exporter.url])

    def success() -> dict[tuple[str, ...], float]:
        return server.query("cortex_xdr_script_execution_poll_success", "action_id")

    def errors() -> dict[tuple[str, ...], float]:
        return server.query("cortex_xdr_script_execution_poll_error_info", "action_id", "reason")

    wait_until_equal(success, {(first,): 1, (second,): 0, ("never-existed",): 0})
    assert errors() == {(second, "server_error"): 1, ("never-existed", "not_found"): 1}
    assert {action_id for action_id, _ in server.query(ENDPOINTS, "action_id", "status")} == {first}
    assert server.query("up", "job") == {("cortex-xdr-exporter",): 1}

    tenant.clear(second)
    wait_until_equal(errors, {("never-existed", "not_found"): 1})
    assert success() == {(first,): 1, (second,): 1, ("never-existed",): 0}

    tenant.inject(Fault(status=429), first)
    wait_until_equal(errors, {(first, "throttled"): 1, ("never-existed", "not_found"): 1})
    endpoints = server.query(ENDPOINTS, "tenant", "action_id", "status")
    assert endpoints == endpoints_of(tenants)
    assert_content(server)


def test_prometheus_negotiates_openmetrics(
    simulator: StartSimulator, exporter_process: StartExporter, prometheus: StartPrometheus
) -> None:
    """Prometheus has a family of type info, which only OpenMetrics can say."""
    tenant = make_tenant(LIVES)
    exporter = exporter_process({"api": api_section(simulator({"": tenant})), "actions": ACTIONS})
    server = prometheus([exporter.url])

    def types() -> dict[str, str]:
        return {family["metric"]: family["type"] for family in server.api("targets/metadata")}

    wait_until_equal(lambda: types().get("cortex_xdr_script_execution"), "info")
    assert_content(server)
