"""docs/metrics.md, held against what exporters really serve, both ways."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support import (
    ROOT,
    RUNNING,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until_equal,
)
from support_metrics import scrape

from exporter.sharding import Shard

TEXT = (ROOT / "docs" / "metrics.md").read_text()
SECTIONS = dict(re.findall(r"^## `?(.*?)`?\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
OF_TENANTS = ("Of each action", "Of each tenant")
OWN_LABEL = "campaign"
SUFFIXES = {"counter": "_total", "info": "_info"}


class Metric(NamedTuple):
    """What the document, or an exposition, says of a metric."""

    name: str
    kind: str
    labels: frozenset[str]


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = re.findall(r"^\| (`.*) \|$", SECTIONS[section], re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def quoted(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def documented(*, named: bool, plain: bool = False) -> set[Metric]:
    """Return the metrics of all tables; of a ``plain`` exporter, without those that are for those with more."""
    found = set()
    for section in (*OF_TENANTS, "Of the exporter"):
        for name, kind, labels, _, absent in rows(section):
            if not (plain and absent.startswith("with")):
                tenant = ["tenant"] if named and section in OF_TENANTS else []
                found.add(Metric(name.strip("`"), kind, frozenset([*quoted(labels), *tenant])))
    return found


def samples(process: ExporterProcess) -> list[tuple[Metric, dict[str, str]]]:
    """Return what an exporter serves, each sample with its labels, but for what the client library brings."""
    text = process.get("/metrics", accept="application/openmetrics-text").text
    return [
        (
            Metric(
                family.name + SUFFIXES.get(family.type, ""),
                family.type,
                frozenset(sample.labels) - {"le", OWN_LABEL},
            ),
            sample.labels,
        )
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # The library's.
        for sample in family.samples
        if not family.name.startswith(("python", "process"))
    ]


def metrics(process: ExporterProcess) -> set[Metric]:
    """Return the metrics that an exporter serves."""
    return {metric for metric, _ in samples(process)}


def start(
    exporter_process: StartExporter, configuration: dict[str, Any], *arguments: str, states: dict[str, float]
) -> ExporterProcess:
    """Start an exporter, and wait until the actions of its tenant are in these states."""
    poll = {"interval": "1h", "stale_after": "0s"}
    process = exporter_process({**configuration, "poll": poll}, *arguments)
    wait_until_equal(lambda: scrape(process).phases(), states)
    return process


@pytest.mark.parametrize("named", [False, True], ids=["without names", "with names"])
def test_document_has_the_metrics_that_are_served(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path, *, named: bool
) -> None:
    """An exporter with everything serves what the document has, by name, type and labels, and nothing else."""
    (tmp_path / "actions.yaml").write_text("[2]")
    (tmp_path / "web.yaml").write_text("http_server_config: {http2: false}")
    name = "acme" if named else None
    tenant = {
        "api": api_section(simulator({"": make_tenant({"1": RUNNING})})),
        "actions": [{"id": 1, "labels": {OWN_LABEL: "disable-smbv1"}}],
        "action_files": [str(tmp_path / "actions.yaml")],
    }
    process = start(
        exporter_process,
        {
            **({"tenants": [{"name": name, **tenant}]} if named else tenant),
            "state": {"path": str(tmp_path / "state.db")},
        },
        f"--web.config.file={tmp_path / 'web.yaml'}",
        f"--shard.index={next(index for index in range(2) if Shard(index, 2).owns(name))}",
        "--shard.total=2",
        states={"active": 1, "failing": 1},
    )
    assert metrics(process) == documented(named=named)
    for label in ("status", "state", "reason"):
        served = {labels[label] for _, labels in samples(process) if label in labels}
        assert served == {value for cell, *_ in rows(label) for value in quoted(cell)}


def test_document_tells_what_is_absent(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """An exporter without anything more lacks what the document says, and nothing else, while no poll fails."""
    url = simulator({"": make_tenant({"1": RUNNING})})
    process = start(exporter_process, {"api": api_section(url), "actions": [1]}, states={"active": 1})
    failed = {metric for metric in documented(named=False) if metric.name.endswith("_poll_error_info")}
    assert metrics(process) == documented(named=False, plain=True) - failed
