"""Tenants and actions that fail, beside ones that are well, in one exporter process."""

from support import (
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
    wait_until_equal,
)
from support_arrivals import arrivals
from support_metrics import scrape

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Fault

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
ABORTED = Fixed("ABORTED", Counts(aborted=5))
ACTIONS = list("1234")


def mean_gap(times: list[float]) -> float:
    """Return the seconds from one time to the next, on average."""
    return (times[-1] - times[0]) / (len(times) - 1)


def test_bad_tenants_do_not_touch_a_good_one(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """Beside tenants that hang, drip, refuse and throttle, a good one keeps its pace and its metrics."""
    names = ("well", "hangs", "drips", "forbids", "throttles")
    tenants = {name: make_tenant(dict.fromkeys(ACTIONS, RUNNING)) for name in names}
    tenants["hangs"].inject(Fault(hang=True))
    tenants["drips"].inject(Fault(drip_bytes_per_second=5, drip_from="head"))
    tenants["forbids"].inject(Fault(status=403))
    tenants["throttles"].inject(Fault(status=429))
    url = simulator(tenants)
    with SimulatorServer({"": make_tenant({})}) as server:
        server.stop()
        urls = {name: f"{url}/{name}" for name in names} | {"refuses": server.url}
        process = exporter_process(
            {
                "tenants": [
                    {
                        "name": name,
                        "api": api_section(urls[name], requests_per_second=10, timeout="1s"),
                        "actions": list(ACTIONS),
                    }
                    for name in urls
                ],
                "poll": {"interval": "500ms", "settled_interval": "1m"},
            }
        )
        well = tenants["well"]
        wait_until(lambda: all(len(arrivals(well, action_id)) >= 7 for action_id in ACTIONS), "seven rounds")
    for action_id in ACTIONS:
        # From the third on: the first round spreads them over the interval.
        assert mean_gap(arrivals(well, action_id)[2:]) < 0.6
        assert max(len(arrivals(tenants[name], action_id)) for name in names[1:]) < 7
    seen = scrape(process)
    states = {
        name: (seen.value("up", tenant=name), seen.phases(tenant=name), failures(process, name)) for name in urls
    }
    # Where requests are slow or few, some actions still wait for their first poll.
    assert states.pop("well") == (1.0, {"active": 4.0}, set())
    assert seen.counts(tenant="well", action_id="1") == RUNNING.counts._asdict()
    assert {name: (up, reasons) for name, (up, _, reasons) in states.items()} == {
        "hangs": (0.0, {"timeout"}),
        "drips": (0.0, {"timeout"}),
        "forbids": (0.0, {"forbidden"}),
        "throttles": (0.0, {"throttled"}),
        "refuses": (0.0, {"connection"}),
    }
    for name, (_, phases, reasons) in states.items():
        assert phases["failing"] + phases.get("waiting", 0) == 4, name
        (reason,) = reasons
        assert seen.values("script_execution_poll_error_info", tenant=name, reason=reason) == (
            [1.0] * int(phases["failing"])
        )
        assert seen.counts(tenant=name) == {}
    assert process.get("/-/ready").status_code == 200
    limits = {name: seen.value("exporter_request_rate_limit", tenant=name) for name in urls}
    assert [name for name, limit in limits.items() if limit != 10] == ["throttles"]


def failures(process: ExporterProcess, tenant: str) -> set[str]:
    """Return the reasons for which requests to a tenant have failed."""
    reasons = ("timeout", "connection", "throttled", "forbidden", "unauthorized", "server_error", "bad_response")
    seen = scrape(process)
    return {
        reason for reason in reasons if seen.value("exporter_request_failures_total", tenant=tenant, reason=reason)
    }


def test_bad_actions_do_not_touch_good_ones(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """Beside actions that hang, are not there, fail or answer nonsense, good ones keep their pace and counts."""
    tenant = make_tenant({"1": RUNNING, "2": ABORTED, **dict.fromkeys(("hangs", "nonsense", "fails"), RUNNING)})
    tenant.inject(Fault(hang=True), "hangs")
    tenant.inject(Fault(body=b'{"reply": {"general_status": []}}'), "nonsense")
    tenant.inject(Fault(status=500), "fails")
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10, timeout="2s"),
            "actions": ["hangs", "nonsense", "missing", "fails", "1", "2"],
            "poll": {"interval": "500ms", "settled_interval": "5s"},
        }
    )
    wait_until(lambda: len(arrivals(tenant, "1")) >= 10, "ten polls")
    assert mean_gap(arrivals(tenant, "1")[2:]) < 0.6
    expected = {"failing": 4.0, "active": 1.0, "settled": 1.0}
    wait_until_equal(lambda: scrape(process).phases(), expected)
    seen = scrape(process)
    reasons = {"hangs": "timeout", "nonsense": "bad_response", "missing": "not_found", "fails": "server_error"}
    for action_id, reason in reasons.items():
        assert seen.values("script_execution_poll_error_info", action_id=action_id) == [1.0]
        assert seen.value("script_execution_poll_error_info", action_id=action_id, reason=reason) == 1.0
        assert seen.counts(action_id=action_id) == {}
    for action_id in ("1", "2"):
        assert seen.value("script_execution_poll_success", action_id=action_id) == 1.0
        assert seen.counts(action_id=action_id) == tenant.counts(action_id)._asdict()
