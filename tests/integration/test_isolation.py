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


def test_bad_tenants_do_not_touch_a_good_one(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """Beside tenants that hang, drip, refuse and throttle, a good one keeps its pace and its metrics.

    Its pace is that of one in a process of its own, whatever the machine is busy with.
    """
    names = ("well", "hangs", "drips", "forbids", "throttles")
    tenants = {name: make_tenant(dict.fromkeys(ACTIONS, RUNNING)) for name in names}
    tenants["hangs"].inject(Fault(hang=True))
    tenants["drips"].inject(Fault(drip_bytes_per_second=5, drip_from="head"))
    tenants["forbids"].inject(Fault(status=403))
    tenants["throttles"].inject(Fault(status=429))
    alone = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    url = simulator(tenants | {"alone": alone})
    poll = {"interval": "500ms", "settled_interval": "1m"}
    exporter_process(
        {"api": api_section(f"{url}/alone", requests_per_second=10), "actions": ACTIONS, "poll": poll}
    )
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
                "poll": poll,
            }
        )
        well = tenants["well"]
        wait_until(lambda: arrivals(well), "the first poll")
        begin = len(alone.requests)
        wait_until(lambda: all(len(arrivals(well, action_id)) >= 7 for action_id in ACTIONS), "seven rounds")
    assert len(well.requests) > 0.7 * (len(alone.requests) - begin)
    for action_id in ACTIONS:
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
    """Beside actions that hang, are not there, fail or answer nonsense, good ones keep their pace and counts.

    Their pace is that of one in a process of its own, whatever the machine is busy with.
    """
    tenant = make_tenant({"1": RUNNING, "2": ABORTED, **dict.fromkeys(("hangs", "nonsense", "fails"), RUNNING)})
    tenant.inject(Fault(hang=True), "hangs")
    tenant.inject(Fault(body=b'{"reply": {"general_status": []}}'), "nonsense")
    tenant.inject(Fault(status=500), "fails")
    alone = make_tenant({"1": RUNNING})
    url = simulator({"mixed": tenant, "alone": alone})
    poll = {"interval": "500ms", "settled_interval": "5s"}
    exporter_process({"api": api_section(f"{url}/alone", requests_per_second=10), "actions": ["1"], "poll": poll})
    process = exporter_process(
        {
            "api": api_section(f"{url}/mixed", requests_per_second=10, timeout="2s"),
            "actions": ["hangs", "nonsense", "missing", "fails", "1", "2"],
            "poll": poll,
        }
    )
    wait_until(lambda: arrivals(tenant, "1"), "the first poll")
    begin = len(alone.requests)
    wait_until(lambda: len(arrivals(tenant, "1")) >= 10, "nine more")
    assert len(arrivals(tenant, "1")) > 0.7 * (len(alone.requests) - begin)
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
