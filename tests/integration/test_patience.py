"""Tenants that throttle, ask for a pause, refuse or are silent: how an exporter process goes about them."""

import email.utils
import time
from collections.abc import Iterable
from pathlib import Path

from support import (
    KEY,
    KEY_ID,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
    wait_until_equal,
)
from support_arrivals import arrivals, departures, gaps, longest_run
from support_metrics import scrape

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Fault

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
ACTIONS = list("12345")
LIMIT = "exporter_request_rate_limit"


def tenant_list(url: str, names: Iterable[str], **api: object) -> list[dict[str, object]]:
    """Return the configuration's ``tenants``, for those served by path prefix below that URL."""
    return [{"name": name, "api": api_section(f"{url}/{name}", **api), "actions": list(ACTIONS)} for name in names]


def test_throttling_lowers_the_rate_and_success_brings_it_back_slowly(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """Each 429 halves it, requests are spaced by what is left, and good answers add a little at a time."""
    tenant = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    tenant.inject(Fault(status=429, times=3))
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": ACTIONS,
            "poll": {"interval": "200ms"},
        }
    )
    wait_until(lambda: [request.status for request in tenant.requests[2:]] == [429], "three refusals")
    wait_until(lambda: (scrape(process).value(LIMIT) or 10) < 2, "the rate is low")
    wait_until(lambda: len(tenant.requests) >= 8, "good answers")
    limit = scrape(process).value(LIMIT)
    times = departures(tenant.requests)
    assert limit
    assert 1.25 < limit <= 1.25 + 10 / 120 * (times[-1] - times[0] + 1)
    # Of 0.2, 0.4 and 0.8 seconds, and then no faster than the rate that is shown.
    assert [gap > shortest for gap, shortest in zip(gaps(times), (0.15, 0.3, 0.6), strict=False)] == [True] * 3
    assert longest_run(times[3:], limit) == 0
    assert scrape(process).value("exporter_request_failures_total", reason="throttled") == 3


def test_retry_after_is_waited_for(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """As seconds or as a date, with 429 or 503: until then no request leaves, for whichever action."""
    names = [f"{form}-{status}" for form in ("seconds", "date") for status in (429, 503)]
    tenants = {name: make_tenant(dict.fromkeys(ACTIONS, RUNNING)) for name in names}
    url = simulator(tenants)
    process = exporter_process(
        {"tenants": tenant_list(url, names, requests_per_second=4), "poll": {"interval": "500ms"}}
    )
    for name, tenant in tenants.items():
        wait_until(lambda tenant=tenant: len(tenant.requests) >= 2, f"{name} is polled")  # type: ignore[misc]
    until = int(time.time()) + 4
    for name, tenant in tenants.items():
        header = "2" if name.startswith("seconds") else email.utils.formatdate(until, usegmt=True)
        tenant.inject(Fault(status=int(name[-3:]), headers={"Retry-After": header}, times=1))
    for name, tenant in tenants.items():
        wait_until_equal(lambda name=name: scrape(process).phases(tenant=name), {"active": 5})  # type: ignore[misc]
        statuses = [request.status for request in tenant.requests]
        times = arrivals(tenant)
        refused = statuses.index(int(name[-3:]))
        if name.startswith("seconds"):
            assert times[refused + 1] - times[refused] >= 2, name
        else:
            assert times[refused + 1] - time.monotonic() + time.time() > until - 0.01, name


def test_tenant_that_refuses_is_probed_more_and_more_rarely(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """After a refusal one request at a time is under way, at gaps that grow up to the interval."""
    reasons = {401: "unauthorized", 402: "license", 403: "forbidden"}
    tenants = {reason: make_tenant(dict.fromkeys(ACTIONS, RUNNING)) for reason in reasons.values()}
    for status, reason in reasons.items():
        tenants[reason].inject(Fault(status=status, delay_seconds=0.3))
    url = simulator(tenants)
    process = exporter_process(
        {
            "tenants": tenant_list(url, tenants, requests_per_second=10),
            "poll": {"interval": "1200ms"},
        }
    )
    probes: dict[str, list[float]] = {}

    def probed() -> bool:
        for name, tenant in tenants.items():
            times = departures(tenant.requests)
            # What left before the first refusal was known says nothing, however late that was.
            probes[name] = [time for time in times if time > times[0] + 0.8] if times else []
        return all(len(times) >= 6 for times in probes.values())

    wait_until(probed, lambda: f"five gaps: {probes}")
    seen = scrape(process)
    for name, times in probes.items():
        # The answer's time and an eighth of the interval, then a quarter; each wait a quarter less by chance.
        between = gaps(times)
        assert all(gap > 0.3 for gap in between), name
        assert [gap > shortest for gap, shortest in zip(between, (0.5, 0.7, 1.1, 1.1), strict=False)] == [True] * 4
        assert min(between[3:]) < 2.1, "not beyond the interval"
        assert len(tenants[name].requests) - len(times) <= 7, name
        assert (seen.value("up", tenant=name), seen.phases(tenant=name).get("active")) == (0.0, None)
        assert seen.values("script_execution_poll_error_info", tenant=name, reason=name)
    for tenant in tenants.values():
        tenant.clear()
    for name, tenant in tenants.items():
        wait_until_equal(lambda name=name: scrape(process).phases(tenant=name), {"active": 5})  # type: ignore[misc]
        assert scrape(process).value("up", tenant=name) == 1.0
        assert process.log.count(f'msg="tenant failing" tenant={name} ') == 1
        assert "action failing" not in process.log
        assert longest_run(departures(tenant.requests), 10) == 0


def test_rotated_key_is_used_at_once(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """A tenant that refused the old key is asked as soon as the file has another, however long the wait was."""
    tenant = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    key_file = tmp_path / "key"
    key_file.write_text("an-old-key")
    process = exporter_process(
        {
            "api": {
                "url": simulator({"": tenant}),
                "key_id": KEY_ID,
                "key_file": str(key_file),
                "requests_per_second": 10,
            },
            "actions": ACTIONS,
            "poll": {"interval": "1d", "settled_interval": "1d", "stale_after": "0s"},
        }
    )
    wait_until_equal(lambda: scrape(process).value("up"), 0.0)
    assert process.get("/-/ready").status_code == 200
    key_file.write_text(KEY)
    wait_until_equal(lambda: scrape(process).value("up"), 1.0)


def test_silent_tenant_is_probed_one_at_a_time_and_recovers(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """When requests hang in a row no others join them, and when answers come again every action is polled."""
    tenant = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    tenant.inject(Fault(hang=True))
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10, timeout="300ms"),
            "actions": ACTIONS,
            "poll": {"interval": "500ms"},
        }
    )
    # By the third one's end there may be five under way.
    wait_until(lambda: len(tenant.requests) >= 11, "probes")
    assert min(gaps(departures(tenant.requests)[7:])) > 0.25
    assert process.log.count("tenant failing") == 1
    seen = scrape(process)
    assert (seen.value("up"), process.get("/-/ready").status_code) == (0.0, 200)
    tenant.clear()
    wait_until_equal(lambda: scrape(process).phases(), {"active": 5})
    assert scrape(process).value("up") == 1.0


def test_tenant_that_is_not_there_is_polled_once_it_is(exporter_process: StartExporter) -> None:
    """Refused connections are not answered with a flood, and every action is polled when there is a server."""
    tenant = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    with SimulatorServer({"": tenant}) as server:
        server.stop()
        process = exporter_process(
            {
                "api": api_section(server.url, requests_per_second=10),
                "actions": ACTIONS,
                "poll": {"interval": "3s"},
            }
        )
        wait_until(lambda: scrape(process).phases().get("failing"), "polls fail")
        wait_until(lambda: "tenant failing" in process.log, "and are said to")
        seen = scrape(process)
        assert seen.values("script_execution_poll_error_info", reason="connection")
        assert not seen.values("script_execution_poll_error_info", reason="timeout")
        server.start()
        wait_until_equal(lambda: scrape(process).phases(), {"active": 5})
    assert longest_run(departures(tenant.requests), 10) == 0


def test_failing_action_is_asked_more_and_more_rarely(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """Its gaps double while the others keep their pace."""
    tenant = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    tenant.inject(Fault(status=500), "1")
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": ACTIONS[:3],
            "poll": {"interval": "300ms"},
        }
    )

    wait_until(lambda: len(arrivals(tenant, "1")) >= 4, "three failures in a row")
    between = gaps(departures(tenant.requests, "1"))
    assert [gap > shortest for gap, shortest in zip(between, (0.25, 0.5, 1.1), strict=False)] == [True] * 3
    for other in ("2", "3"):
        assert len(arrivals(tenant, other)) > 1.5 * len(arrivals(tenant, "1"))
    assert scrape(process).phases() == {"active": 2, "failing": 1}
