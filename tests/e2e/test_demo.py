"""The demo, as somebody starts it who has no tenant."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import (
    TIMEOUT_SECONDS,
    ExporterProcess,
    StartExporter,
    find_program,
    replace_file,
    wait_until,
    wait_until_equal,
)

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


def test_demo_takes_up_another_web_configuration(exporter_process: StartExporter, tmp_path: Path) -> None:
    """By itself when the file changes, and when it is asked to; it has nothing else to reload."""
    web = tmp_path / "web.yaml"

    def write(value: str) -> None:
        replace_file(web, f"http_server_config: {{headers: {{X-XSS-Protection: '{value}'}}}}\n")

    def told() -> str:
        return process.get("/-/healthy").headers["X-XSS-Protection"]

    write("1")
    process = exporter_process(None, "--demo", f"--web.config.file={web}", "--web.enable-lifecycle")
    assert told() == "1"
    write("0")
    wait_until_equal(told, "0")
    write("1; mode=block")
    assert process.post("/-/reload").status_code == 200
    assert told() == "1; mode=block"


def test_demo_ends_with_its_terminal(demo: ExporterProcess) -> None:
    """A hangup is no wish for a reload there: who closes the window has seen enough."""
    demo.process.send_signal(signal.SIGHUP)
    assert demo.process.wait(TIMEOUT_SECONDS) == -signal.SIGHUP


def test_demo_shows_a_dozen_actions_that_move(demo: ExporterProcess) -> None:
    """Each of the dozen actions has all nine statuses, and the counts change from poll to poll."""
    first = endpoints(demo)
    action_ids = {action_id for action_id, _ in first}
    assert len(action_ids) == 12
    assert set(first) == {(action_id, status) for action_id in action_ids for status in STATUSES}
    wait_until(lambda: endpoints(demo) != first, "other counts than at first")
    assert set(endpoints(demo)) == set(first)
