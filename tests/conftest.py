"""Fixtures that tests share, and the marker ``needs``: what to do where a program is not installed."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("support", "support_helm", "support_prometheus")

from support import (  # noqa: E402 - only modules imported after the line above show what differed
    ROOT,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    exporter_arguments,
    find_program,
)
from support_prometheus import (  # noqa: E402 - as above
    PrometheusProcess,
    StartPrometheus,
    scrape_configuration,
)

from exporter.simulator.server import SimulatorServer  # noqa: E402 - as above
from exporter.simulator.tenant import SimulatedTenant  # noqa: E402 - as above

_LEFT_OUT = pytest.StashKey[dict[str, int]]()
_MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def exporter_process(tmp_path: Path) -> Iterator[StartExporter]:
    """Start exporters as processes of their own, which end with the test; a folder for each in tmp_path."""
    numbers = count(1)
    with contextlib.ExitStack() as stack:

        def start(
            configuration: Mapping[str, Any] | str | None = None,
            *arguments: str,
            environment: Mapping[str, str] | None = None,
            prefix: Sequence[str] = (),
        ) -> ExporterProcess:
            folder = tmp_path / f"exporter-{next(numbers)}"
            folder.mkdir()
            complete = exporter_arguments(configuration, arguments, folder)
            process = ExporterProcess(complete, folder, environment=environment, prefix=prefix)
            stack.callback(process.clean_up)
            return process

        yield start


@pytest.fixture
def simulator() -> Iterator[StartSimulator]:
    """Serve simulated tenants from this process, until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(tenants: Mapping[str, SimulatedTenant]) -> str:
            return stack.enter_context(SimulatorServer(tenants)).url

        yield start


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[StartPrometheus]:
    """Start a Prometheus, which ends with the test. Mark the test with ``needs("prometheus")``."""
    with contextlib.ExitStack() as stack:

        def start(targets: Sequence[str], **more: object) -> PrometheusProcess:
            process = PrometheusProcess(scrape_configuration(targets, **more), tmp_path / "prometheus")
            stack.callback(process.clean_up)
            return process

        yield start


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take a sentence that the run ends with: what was seen, and is no matter of passing or failing."""
    return request.config.stash[_MEASURED].append


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count the tests that are left out, by program, and to collect what was measured."""
    config.stash[_LEFT_OUT] = {}
    config.stash[_MEASURED] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests whose programs are not installed."""
    known = _remedies()
    for item in items:
        for mark in item.iter_markers("needs"):
            for program in mark.args:
                if program not in known:
                    raise pytest.UsageError(f"{item.nodeid} needs {program!r}, which .ci/programs does not name")
                if find_program(program) is None:
                    left_out = config.stash[_LEFT_OUT]
                    left_out[program] = left_out.get(program, 0) + 1
                    item.add_marker(pytest.mark.skip(f"{program} is not installed"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was measured, what was left out, and how to get it; after what others sum up."""
    if config.stash[_MEASURED]:
        terminalreporter.section("measured")
        for sentence in config.stash[_MEASURED]:
            terminalreporter.line(sentence)
    left_out = config.stash[_LEFT_OUT]
    if left_out:
        remedies = _remedies()
        terminalreporter.section("left out", yellow=True)
        for program, tests in sorted(left_out.items()):
            missing = f"{program} is not installed, which leaves out {tests} of the tests."
            terminalreporter.line(f"{missing} {remedies[program]}", yellow=True)
        if _in_ci():
            terminalreporter.line("With CI=true nothing may be left out: the run fails.", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that leaves something out."""
    left_out = session.config.stash[_LEFT_OUT] and not session.config.option.collectonly
    if left_out and _in_ci() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _remedies() -> dict[str, str]:
    """Return how to get each program that tests may need."""
    lines = (ROOT / ".ci" / "programs").read_text().splitlines()
    packages = dict(line.split() for line in lines if line and not line.startswith("#"))
    remedies = {program: f"On Debian: apt-get install {package}" for program, package in packages.items()}
    return remedies | {"helm": "With npm: .ci/helm"}
