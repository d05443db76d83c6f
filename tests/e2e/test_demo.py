"""The demo, as somebody starts it who has no tenant."""

import re
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import ExporterProcess, StartExporter, find_program, wait_until

from exporter.simulator.lives import STATUSES


@pytest.fixture
def demo(exporter_process: StartExporter) -> ExporterProcess:
    """Start the demo, and wait until every action has been polled."""
    process = exporter_process(None, "--demo")
    wait_until(lambda: process.get("/-/ready").status_code == 200, "every action polled")
    return process


def endpoints(demo: ExporterProcess) -> dict[tuple[str, str], float]:
    """Read the counts, by action ID and status."""
    return {
        (sample.labels["action_id"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(demo.get("/metrics").text)
        for sample in family.samples
        if sample.name == "cortex_xdr_script_execution_endpoints"
    }


def test_demo_prints_an_address_that_answers_and_stops_as_asked(demo: ExporterProcess) -> None:
    """What the demo prints can be opened as it is, and SIGTERM ends it with exit code 0."""
    addresses = re.findall(r"^  (http://127\.0\.0\.1:[0-9]+)(/\S*)", demo.output, re.MULTILINE)
    assert addresses == [(demo.url, "/"), (demo.url, "/metrics")]
    assert [demo.get(path).status_code for _, path in addresses] == [200, 200]
    assert demo.stop() == 0
    assert "Traceback" not in demo.log


@pytest.mark.needs("promtool")
def test_demo_metrics_please_promtool(demo: ExporterProcess) -> None:
    """What is exposed has no mistake of format, and nothing that the linter would name otherwise."""
    program = find_program("promtool")
    assert program
    check = subprocess.run(
        [program, "check", "metrics"],
        input=demo.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_demo_shows_a_dozen_actions_that_move(demo: ExporterProcess) -> None:
    """Each of the dozen actions has all nine statuses, and the counts change from poll to poll."""
    first = endpoints(demo)
    action_ids = {action_id for action_id, _ in first}
    assert len(action_ids) == 12
    assert set(first) == {(action_id, status) for action_id in action_ids for status in STATUSES}
    wait_until(lambda: endpoints(demo) != first, "other counts than at first")
    assert set(endpoints(demo)) == set(first)
