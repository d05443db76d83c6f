"""Stops: what a signal ends, whatever is under way just then, and what of the state is still written."""

import contextlib
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import (
    KEY_ID,
    BackgroundProcess,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
    wait_until_equal,
)
from support_metrics import scrape
from support_state import state_rows, wait_for_rows

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
DONE = Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=5))
STOPS = [signal.SIGTERM, signal.SIGINT]
STOP_SECONDS = 10
"""What a stop that hangs takes longer than; it should take below two seconds."""


def stopped(process: BackgroundProcess, number: signal.Signals = signal.SIGTERM) -> int:
    """Have a process stop, in time, and return its exit code."""
    process.process.send_signal(number)
    return process.process.wait(STOP_SECONDS)


def address(process: ExporterProcess) -> tuple[str, int]:
    """Return where an exporter listens."""
    parts = urlsplit(process.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@contextlib.contextmanager
def idle_scraper(process: ExporterProcess) -> Iterator[socket.socket]:
    """Keep a connection open that had an answer, and asks nothing more."""
    with socket.create_connection(address(process), timeout=STOP_SECONDS) as connection:
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\n\r\n")
        answer = b""
        while not answer.endswith(b"is healthy.\n"):
            answer += connection.recv(65536)
        yield connection


def open_when_read(path: Path) -> int:
    """Open a pipe for writing as soon as somebody reads it, and return the descriptor."""

    def opened() -> list[int]:
        try:
            return [os.open(path, os.O_WRONLY | os.O_NONBLOCK)]
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return []

    return wait_until(opened, "the pipe is read")[0]


def wait_until_asleep(process: BackgroundProcess) -> None:
    """Wait until a process has slept at five looks in a row, so that it does not wait for a moment only.

    A signal that comes just before a call that waits is seen when the call returns.
    """
    stat = Path(f"/proc/{process.process.pid}/stat")
    states: list[str] = []

    def asleep() -> bool:
        states.append(stat.read_text().rpartition(")")[2].split()[0])
        return states[-5:] == ["S"] * 5

    wait_until(asleep, "the process waits")


@pytest.mark.parametrize("number", STOPS)
def test_stop_waits_for_nothing_but_the_state(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path, number: signal.Signals
) -> None:
    """Requests that hang or drip and idle scrapers do not hold it, and the last polls are in the state file."""
    tenants = {name: make_tenant({"1": RUNNING}) for name in ("hangs", "drips", "well")}
    tenants["hangs"].inject(Fault(hang=True))
    tenants["drips"].inject(Fault(drip_bytes_per_second=1))
    url = simulator(tenants)
    state = tmp_path / "state.db"
    process = exporter_process(
        {
            "tenants": [
                {
                    "name": name,
                    "api": api_section(f"{url}/{name}", requests_per_second=10, timeout="1h"),
                    "actions": [1],
                }
                for name in tenants
            ],
            "poll": {"interval": "300ms"},
            "state": {"path": str(state)},
        }
    )
    wait_until(lambda: all(tenant.requests for tenant in tenants.values()), "requests are under way")
    wait_for_rows(state, "1")

    def pending() -> float | None:
        shown = scrape(process).value("script_execution_last_success_timestamp_seconds", tenant="well")
        return shown if shown and shown > state_rows(state)["1"]["last_success"] + 0.1 else None

    with idle_scraper(process) as connection:
        shown = wait_until(pending, "a poll is not in the file yet")
        assert stopped(process, number) == 0
        assert connection.recv(1) == b""
    assert state_rows(state)["1"]["last_success"] >= (shown or 0) - 0.001
    assert process.log.splitlines()[-1].endswith("level=info msg=stopped")
    assert "failing" not in process.log


def test_second_signal_ends_it_at_once(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """While the first stop waits for a reader of /metrics that is slow, another signal does not wait for it."""
    actions = [{"id": number, "labels": {"text": "x" * 4000}} for number in range(1900)]
    (tmp_path / "actions.json").write_text(json.dumps(actions))
    tenant = make_tenant({})
    tenant.inject(Fault(hang=True))
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=1),
            "action_files": [str(tmp_path / "actions.json")],
        }
    )
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(STOP_SECONDS)
        reader.connect(address(process))
        reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
        assert reader.recv(100).startswith(b"HTTP/1.1 200 ")
        process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(process), "the first signal is heard")
        assert stopped(process) == -signal.SIGTERM
    assert "Traceback" not in process.log


def listens(process: ExporterProcess) -> bool:
    """Tell whether an exporter takes connections."""
    try:
        socket.create_connection(address(process), timeout=STOP_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("number", STOPS)
def test_stop_during_the_start_is_a_stop(tmp_path: Path, number: signal.Signals) -> None:
    """A signal that comes while the configuration is read ends the process as later, and without a traceback."""
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "exporter", f"--config.file={pipe}", "--web.listen-address=127.0.0.1:0"]
    process = BackgroundProcess(command, tmp_path / "process")
    try:
        descriptor = open_when_read(pipe)
        wait_until_asleep(process)
        code = stopped(process, number)
        os.close(descriptor)
    finally:
        process.clean_up()
    assert (code, process.log, process.output) == (0, "", "")


def test_signal_for_a_reload_during_the_start_does_no_harm(tmp_path: Path) -> None:
    """SIGHUP that comes while the configuration is read does not end the process before it has begun."""
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "exporter", f"--config.file={pipe}", "--web.listen-address=127.0.0.1:0"]
    process = BackgroundProcess(command, tmp_path / "process")
    try:
        descriptor = open_when_read(pipe)
        process.process.send_signal(signal.SIGHUP)
        configuration = {"api": api_section("https://api-acme.example"), "actions": []}
        with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(configuration))
        process.wait_for_log("msg=started")
        assert stopped(process) == 0
    finally:
        process.clean_up()


def test_signals_for_reloads_do_no_harm(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """A hundred of SIGHUP while it polls: polls go on at their pace, and what is known stays."""
    tenant = make_tenant(dict.fromkeys("123", RUNNING))
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": ["1", "2", "3"],
            "poll": {"interval": "500ms"},
        }
    )
    wait_until_equal(lambda: scrape(process).phases(), {"active": 3})
    for number in range(100):
        process.process.send_signal(signal.SIGHUP)
        # Signals that wait to be handled are one: let some of them be told apart.
        if number % 10 == 0:
            assert scrape(process).phases() == {"active": 3}
    polls = len(tenant.requests)
    wait_until(lambda: len(tenant.requests) >= polls + 9, "polls go on")
    wait_until(lambda: "configuration reloaded" in process.log, "it was reloaded")
    seen = scrape(process)
    assert seen.counts(action_id="1") == RUNNING.counts._asdict()
    assert seen.value("exporter_config_last_reload_successful") == 1
    assert {request.status for request in tenant.requests} == {200}
    assert stopped(process) == 0
    assert "level=error" not in process.log
    assert "level=warn" not in process.log


@pytest.mark.parametrize("number", STOPS)
def test_stop_does_not_wait_for_a_reload(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path, number: signal.Signals
) -> None:
    """A reload that is under way, and hangs, holds neither the stop nor the end of the state."""
    tenant = make_tenant({"1": RUNNING})
    state = tmp_path / "state.db"
    url = simulator({"": tenant})
    configuration = {"actions": ["1"], "poll": {"interval": "300ms"}, "state": {"path": str(state)}}
    process = exporter_process({"api": api_section(url), **configuration})
    wait_for_rows(state, "1")
    pipe = tmp_path / "key"
    os.mkfifo(pipe)
    process.configure({"api": {"url": url, "key_id": KEY_ID, "key_file": str(pipe)}, **configuration})
    process.process.send_signal(signal.SIGHUP)
    descriptor = open_when_read(pipe)
    tenant.add("1", DONE)
    wait_until_equal(lambda: scrape(process).phases(), {"settled": 1})
    assert stopped(process, number) == 0
    os.close(descriptor)
    assert state_rows(state)["1"]["general_status"] == "COMPLETED_SUCCESSFULLY"
    assert process.log.splitlines()[-1].endswith("level=info msg=stopped")


def test_stop_among_signals_for_reloads_is_a_stop(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """SIGHUP before, with and after SIGTERM, up to the very end, is not what ends the process."""
    tenant = make_tenant({"1": RUNNING})
    process = exporter_process({"api": api_section(simulator({"": tenant})), "actions": ["1"]})
    for _ in range(50):
        process.process.send_signal(signal.SIGHUP)
    process.process.send_signal(signal.SIGTERM)

    def ended() -> bool:
        process.process.send_signal(signal.SIGHUP)
        return process.process.poll() is not None

    wait_until(ended, "the end", timeout=STOP_SECONDS)
    assert process.process.returncode == 0


def test_stop_answers_who_waits_for_a_reload(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """POST /-/reload, with the reload under way, gets its answer, and is no error in the log."""
    tenant = make_tenant({"1": RUNNING})
    url = simulator({"": tenant})
    process = exporter_process({"api": api_section(url), "actions": ["1"]}, "--web.enable-lifecycle")
    pipe = tmp_path / "key"
    os.mkfifo(pipe)
    process.configure({"api": {"url": url, "key_id": KEY_ID, "key_file": str(pipe)}, "actions": ["1"]})
    with socket.create_connection(address(process), timeout=STOP_SECONDS) as connection:
        connection.sendall(b"POST /-/reload HTTP/1.1\r\nHost: exporter\r\nContent-Length: 0\r\n\r\n")
        descriptor = open_when_read(pipe)
        assert stopped(process) == 0
        os.close(descriptor)
        assert connection.recv(100).startswith(b"HTTP/1.1 50")
    assert "level=error" not in process.log
