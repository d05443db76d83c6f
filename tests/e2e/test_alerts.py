"""From the simulated tenant to a notification: shipped rules, the real Prometheus, the real Alertmanager."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import StartExporter, StartSimulator, api_section, find_program, make_tenant, wait_until_equal
from support_alertmanager import (
    EXAMPLE,
    AlertmanagerProcess,
    Notified,
    alerting,
    example_configuration,
)
from support_prometheus import PrometheusProcess, StartPrometheus
from support_rules import loading, shortened_rules

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault

FEW, MANY, OTHER = "22519813685366", "22519813685367", "22519813685368"
SOME_FAILED = Counts(in_progress=92, failed=3, completed_successfully=5)
LIVES = {
    FEW: Fixed("IN_PROGRESS", SOME_FAILED),
    MANY: Fixed("IN_PROGRESS", Counts(in_progress=10, failed=1, timeout=1)),
    OTHER: Fixed("IN_PROGRESS", SOME_FAILED),
}
OPS = {"campaign": "disable-smbv1", "team": "endpoint-ops"}
RUNBOOK = "https://github.com/cortex-xdr-exporter/cortex-xdr-exporter/blob/main/docs/runbook.md#"

BEGIN = {
    ("endpoint-ops", "CortexXDRScriptEndpointsFailed", FEW): "firing",
    ("endpoint-ops-pager", "CortexXDRScriptFailureRatioHigh", MANY): "firing",
    ("security-operations", "CortexXDRScriptEndpointsFailed", OTHER): "firing",
}
CONSEQUENCES = {
    "CortexXDRApiCredentialsRejected",
    "CortexXDRApiDown",
    "CortexXDRScriptPollFailing",
    "CortexXDRScriptDataStale",
    "CortexXDRScriptEndpointsFailed",
    "CortexXDRScriptEndpointsTimedOut",
}
REFUSED = ("exporter-operators-pager", "CortexXDRApiCredentialsRejected", "")


def firing(server: PrometheusProcess) -> set[str]:
    """Return the names of the alerts that Prometheus tells Alertmanager of."""
    return {alert for (alert,) in server.query('count by (alertname) (ALERTS{alertstate="firing"})', "alertname")}


@pytest.mark.needs("prometheus", "prometheus-alertmanager")
def test_failing_endpoints_notify_the_team_until_the_action_retires(
    simulator: StartSimulator, exporter_process: StartExporter, prometheus: StartPrometheus, tmp_path: Path
) -> None:
    """Each failing action reaches its team with its labels, none silences another, and retiring ends it."""
    tenant = make_tenant(LIVES)
    exporter = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": [{"id": FEW, "labels": {**OPS}}, {"id": MANY, "labels": {**OPS}}, OTHER],
            "poll": {"interval": "1s", "settled_interval": "1s", "retire_after": "1s", "stale_after": "0s"},
        }
    )
    with ExitStack() as stack:
        notified = stack.enter_context(Notified())
        alertmanager = AlertmanagerProcess(example_configuration(notified), tmp_path / "alertmanager")
        stack.callback(alertmanager.clean_up)
        server = prometheus([exporter.url], **loading(shortened_rules(60), tmp_path), **alerting(alertmanager))

        wait_until_equal(notified.statuses, BEGIN)
        alert = notified.alerts["endpoint-ops", "CortexXDRScriptEndpointsFailed", FEW]
        assert alert["labels"] == OPS | {
            "alertname": "CortexXDRScriptEndpointsFailed",
            "severity": "warning",
            "job": "cortex-xdr-exporter",
            "action_id": FEW,
        }
        assert alert["annotations"] == {
            "summary": "A script failed on endpoints.",
            "description": f"Endpoints on which action {FEW} (campaign disable-smbv1) failed: 3. "
            "General status: IN_PROGRESS.",
            "runbook_url": RUNBOOK + "cortexxdrscriptendpointsfailed",
        }

        for action_id in (FEW, OTHER):
            tenant.add(action_id, Fixed("COMPLETED_PARTIAL", Counts(failed=3, completed_successfully=97)))
        resolved = {key: "resolved" if key[2] in {FEW, OTHER} else "firing" for key in BEGIN}
        wait_until_equal(notified.statuses, resolved)
        metrics = exporter.get("/metrics").text
        assert MANY in metrics
        assert FEW not in metrics

        # The key is refused: one alert for the tenant, and none of what that makes of its action.
        tenant.inject(Fault(status=401))
        wait_until_equal(
            lambda: firing(server), {*CONSEQUENCES, *(alert for _, alert, key in BEGIN if key == MANY)}
        )
        assert notified.statuses() == resolved | {REFUSED: "firing"}


@pytest.mark.needs("amtool")
def test_example_of_an_alertmanager_configuration_is_valid() -> None:
    """Alertmanager's own tool takes the documentation's example, as it is."""
    program = find_program("amtool")
    assert program
    ran = subprocess.run([program, "check-config", EXAMPLE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran


@pytest.mark.needs("amtool")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=CortexXDRScriptStalled team=endpoint-ops severity=warning", "endpoint-ops"),
        ("alertname=CortexXDRScriptFailureRatioHigh team=endpoint-ops severity=critical", "endpoint-ops-pager"),
        ("alertname=CortexXDRScriptFailureRatioHigh team=identity severity=critical", "identity"),
        ("alertname=CortexXDRScriptStalled team=unheard-of severity=warning", "security-operations"),
        ("alertname=CortexXDRScriptFailureRatioHigh severity=critical", "security-operations"),
        ("alertname=CortexXDRApiDown severity=critical", "exporter-operators-pager"),
        ("alertname=CortexXDRPollingBehind severity=warning", "exporter-operators"),
    ],
)
def test_example_routes_by_team(labels: str, receiver: str) -> None:
    """A team's alerts reach the team, and what has no team that is routed reaches somebody."""
    program = find_program("amtool")
    assert program
    command = [program, "config", "routes", "test", f"--config.file={EXAMPLE}", *labels.split()]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == receiver
