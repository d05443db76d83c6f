"""What a start loads, and what it leaves until somebody needs it."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from support import ExporterProcess, StartExporter, api_section, wait_until

LISTING_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
COSTLY = {
    *("bcrypt", "exporter.simulator", "exporter.state_file", "exporter.survey", "exporter.web.page"),
    *("exporter.web_file", "jinja2"),
}
"""Modules that take time and memory, and that many a run does without.

SQLite, which the state file takes, is not among them: what measures the tests' coverage loads it.
"""


def loaded(exporter: ExporterProcess) -> set[str]:
    """Return which of the costly modules a process that lists its imports has loaded so far."""
    return COSTLY & set(re.findall(r"^import time: .*\| +(\S+)$", exporter.log, re.MULTILINE))


def collections(exporter: ExporterProcess) -> float:
    """Return how often the youngest garbage was collected."""
    for family in text_string_to_metric_families(exporter.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "python_gc_collections_total" and sample.labels == {"generation": "0"}:
                return sample.value
    raise AssertionError("there is no such metric")


def test_scrape_needs_nothing_of_the_page(exporter_process: StartExporter, url: str) -> None:
    """With an API and actions alone, what other runs need is not loaded, and the page when it is opened."""
    exporter = exporter_process({"api": api_section(url), "actions": [1]}, environment=LISTING_IMPORTS)
    assert exporter.get("/metrics").status_code == 200
    assert loaded(exporter) == set()
    assert exporter.get("/").status_code == 200
    assert loaded(exporter) == {"exporter.survey", "exporter.web.page", "jinja2"}


def test_start_loads_what_files_ask_for(exporter_process: StartExporter, url: str, tmp_path: Path) -> None:
    """A state file and a web configuration bring their modules, and nothing of the page."""
    web = tmp_path / "web.yaml"
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    exporter = exporter_process(
        {"api": api_section(url), "actions": [1], "state": {"path": str(tmp_path / "state.db")}},
        f"--web.config.file={web}",
        environment=LISTING_IMPORTS,
    )
    assert exporter.get("/metrics").status_code == 200
    assert loaded(exporter) == {"bcrypt", "exporter.state_file", "exporter.web_file"}


def test_garbage_is_collected_after_the_start(exporter_process: StartExporter, url: str) -> None:
    """Nothing is collected while it starts; while it runs, garbage is as in any program."""
    exporter = exporter_process({"api": api_section(url), "actions": [1]})
    at_first = collections(exporter)
    wait_until(lambda: collections(exporter) > at_first + 1, "garbage is collected")
