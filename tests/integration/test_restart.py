"""Restarts: what a state file carries from one exporter process to the next, and what becomes of a bad one."""

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import (
    KEY,
    ROOT,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    api_section,
    exporter_arguments,
    make_tenant,
    wait_until,
    wait_until_equal,
)
from support_arrivals import departures, longest_run
from support_metrics import Sample, scrape
from support_namespaces import needs_namespaces
from support_state import Row, change_state, locked_state, state_rows, wait_for_rows

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault, SimulatedTenant

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
DONE = Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=5))
SECONDS_PER_DAY = 86_400
FAILURES = "exporter_state_write_failures_total"


class World:
    """A simulated tenant, and exporters for it that share a state file and poll once an hour."""

    def __init__(self, start: StartExporter, tenant: SimulatedTenant, url: str, folder: Path) -> None:
        self.tenant = tenant
        self.url = url
        self.state = folder / "state.db"
        self._start = start

    def configuration(self, *actions: object, **more: Any) -> dict[str, Any]:
        """Return a configuration for these actions; ``api`` and ``poll`` are added to what is there."""
        configuration: dict[str, Any] = {
            "api": api_section(self.url, requests_per_second=10) | more.pop("api", {}),
            "actions": list(actions),
            "poll": {"interval": "1h", "stale_after": "3h"} | more.pop("poll", {}),
            "state": {"path": str(self.state)},
        }
        return configuration | more

    def start(self, *actions: object, **more: Any) -> ExporterProcess:
        """Start an exporter for these actions."""
        return self._start(self.configuration(*actions, **more))

    def polled_once(self, *actions: str, **more: Any) -> None:
        """Have an exporter poll these actions, and end it when their rows are in the file."""
        process = self.start(*actions, **more)
        wait_for_rows(self.state, *actions)
        assert process.stop() == 0
        self.not_due()
        self.forget_requests()

    def not_due(self) -> None:
        """Have no action due soon: the first poll spreads them over the hour, so one might be."""
        change_state(self.state, "due = written_at + 1800")

    def forget_requests(self) -> None:
        """Count requests anew from here."""
        self._before = len(self.tenant.requests)

    @property
    def asked(self) -> list[str | None]:
        """For which actions there were requests since they were forgotten."""
        return [request.action_id for request in self.tenant.requests[self._before :]]

    def row(self, action_id: str) -> Row:
        """Return an action's row in the file."""
        return state_rows(self.state)[action_id]


@pytest.fixture
def world(exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path) -> World:
    """Make a tenant with eight unfinished actions, 1 to 8, and a finished one."""
    tenant = make_tenant({**dict.fromkeys("12345678", RUNNING), "done": DONE})
    return World(exporter_process, tenant, simulator({"": tenant}), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restart_shows_what_was_known_before_any_poll(world: World, number: signal.Signals) -> None:
    """Counts, status, errors and true timestamps are there at once; only an action that is new is polled."""
    process = world.start({"id": 1, "labels": {"campaign": "patch-tuesday"}}, "done", "missing")
    rows = wait_for_rows(world.state, "1", "done", "missing")
    process.stop(number)
    # What was known is ten minutes old, and has not changed for twenty.
    change_state(world.state, "last_success = last_success - 600, last_change = last_change - 1200")
    world.not_due()
    world.tenant.inject(Fault(hang=True))
    world.forget_requests()
    # Labels are those of the configuration that is in force.
    labeled = {"id": 1, "labels": {"campaign": "patch-wednesday"}}
    process = world.start(labeled, "done", "missing", "new", api={"timeout": "1s"})
    assert process.get("/-/ready").status_code == 200
    expected: dict[Sample, object] = {
        ("labels", (("action_id", "1"), ("campaign", "patch-wednesday"))): 1.0,
        ("labels", (("action_id", "done"),)): 1.0,
        ("labels", (("action_id", "missing"),)): 1.0,
        ("labels", (("action_id", "new"),)): 1.0,
        ("poll_success", (("action_id", "1"),)): 1.0,
        ("poll_success", (("action_id", "done"),)): 1.0,
        ("poll_success", (("action_id", "missing"),)): 0.0,
        ("poll_error_info", (("action_id", "missing"), ("reason", "not_found"))): 1.0,
    }
    for action_id, (general_status, counts) in (("1", RUNNING.at(0)), ("done", DONE.at(0))):
        identity = ("action_id", action_id)
        read = rows[action_id]["last_success"]
        expected |= {
            ("info", (identity, ("general_status", general_status))): 1.0,
            ("last_success_timestamp_seconds", (identity,)): pytest.approx(read - 600, abs=0.001, rel=0),
            ("last_change_timestamp_seconds", (identity,)): pytest.approx(read - 1200, abs=0.001, rel=0),
        }
        expected |= {("endpoints", (identity, ("status", name))): n for name, n in counts._asdict().items()}
    seen = scrape(process)
    assert seen.executions() == expected
    assert seen.phases() == {"active": 1, "settled": 1, "failing": 1, "waiting": 1}
    wait_until_equal(lambda: scrape(process).value("script_execution_poll_success", action_id="new"), 0.0)
    assert world.asked == ["new"]
    content = world.state.read_bytes()
    assert world.state.stat().st_mode & 0o777 == 0o600
    assert (KEY.encode() in content, b"patch-" in content) == (False, False)


def test_restart_polls_what_is_new_first_and_what_is_overdue_at_the_rate(world: World) -> None:
    """After a long pause the longest overdue comes first, nothing comes in a burst, and what is not due waits."""
    world.polled_once(*"1234567")
    for minutes, action_id in enumerate("543216", start=1):
        change_state(world.state, f"due = written_at - {60 * minutes}", action_id)
    process = world.start(*"12345678", api={"requests_per_second": 8}, poll={"interval": "30m"})
    wait_until(lambda: len(world.asked) == 7, "all but one are polled")
    requests = world.tenant.requests[-7:]
    assert [request.action_id for request in requests] == ["8", *"612345"]
    assert longest_run(departures(requests), 8) == 0
    assert process.stop() == 0
    assert len(world.asked) == 7


def test_retirement_counts_over_restarts_and_stays(world: World) -> None:
    """What was settled for longer than retire_after retires at the start, and is neither shown nor asked again."""
    world.polled_once("1", "done")
    change_state(world.state, f"settled_at = settled_at - {8 * SECONDS_PER_DAY}", "done")
    process = world.start("1", "done")
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1, "retired": 1})
    assert process.stop() == 0
    assert 'msg="action retired" action_id=done\n' in process.log
    assert world.row("done")["retired"] == 1
    change_state(world.state, f"due = due - {SECONDS_PER_DAY}")
    process = world.start("1", "done")
    assert scrape(process).phases() == {"active": 1, "retired": 1}
    wait_until(lambda: world.asked, "what is overdue is polled")
    assert not [labels for _, labels in scrape(process).executions() if ("action_id", "done") in labels]
    assert process.stop() == 0
    assert world.asked == ["1"]
    assert "action retired" not in process.log


def test_counts_that_became_stale_while_it_was_down_are_not_shown(world: World) -> None:
    """An unfinished action has no counts until the next good poll; final counts have no age."""
    world.polled_once("1", "done")
    change_state(world.state, "last_success = last_success - 10801, last_change = last_change - 10801")
    change_state(world.state, "due = due - 3600", "1")
    world.tenant.inject(Fault(hang=True))
    process = world.start("1", "done")
    seen = scrape(process)
    assert (seen.counts(action_id="1"), seen.counts(action_id="done")) == ({}, DONE.counts._asdict())
    read = world.row("1")["last_success"]
    assert seen.value("script_execution_last_success_timestamp_seconds", action_id="1") == pytest.approx(
        read, abs=0.001
    )
    assert process.stop() == 0
    world.tenant.clear()
    process = world.start("1", "done")
    wait_until_equal(lambda: scrape(process).counts(action_id="1"), RUNNING.counts._asdict())


def test_backoff_goes_on_after_a_restart(world: World) -> None:
    """An action that failed often is not asked at once, and its next failure counts on."""
    for action_id in ("1", "2"):
        world.tenant.inject(Fault(body=b"nonsense"), action_id)
    short = {"interval": "500ms", "settled_interval": "1h"}
    world.polled_once("1", "2", poll=short)
    change_state(world.state, "failures = 10, due = written_at + 1000", "1")
    change_state(world.state, "failures = 3, due = written_at", "2")
    process = world.start("1", "2", "3", poll=short)
    wait_until(lambda: world.asked.count("3") >= 4, "the healthy action is polled on")
    assert process.stop() == 0
    assert (world.asked.count("1"), world.asked.count("2")) == (0, 1)
    row = world.row("2")
    assert row["failures"] == 4
    assert 3.7 < row["due"] - row["written_at"] < 6.3


def test_rows_of_actions_that_are_not_tracked_go(
    exporter_process: StartExporter, world: World, tmp_path: Path
) -> None:
    """What a reload takes out leaves the file, and so does what is gone at the next start."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(world.configuration("1", "2", "3")))
    arguments = (f"--config.file={path}", "--web.listen-address=127.0.0.1:0")
    process = exporter_process(None, *arguments)
    wait_for_rows(world.state, "1", "2", "3")
    path.write_text(yaml.safe_dump(world.configuration("1", "2")))
    process.process.send_signal(signal.SIGHUP)
    wait_for_rows(world.state, "1", "2")
    assert process.stop() == 0
    path.write_text(yaml.safe_dump(world.configuration("2")))
    exporter_process(None, *arguments)
    wait_for_rows(world.state, "2")


def test_action_whose_file_is_broken_at_the_start_comes_back_with_its_state(world: World, tmp_path: Path) -> None:
    """Its row waits until the file is good again, and then it is shown as before, without a poll."""
    listed = tmp_path / "listed.yaml"
    listed.write_text("[2]\n")
    process = world.start("1", action_files=[str(listed)])
    rows = wait_for_rows(world.state, "1", "2")
    assert process.stop() == 0
    world.not_due()
    listed.write_text("[2\n")
    world.forget_requests()
    process = world.start("1", action_files=[str(listed)])
    assert scrape(process).phases() == {"active": 1}
    listed.write_text("[2, 3]\n")
    wait_until(lambda: "3" in world.asked, "the file is read")
    wait_until_equal(lambda: scrape(process).phases(), {"active": 3})
    seen = scrape(process)
    assert seen.counts(action_id="2") == RUNNING.counts._asdict()
    shown = seen.value("script_execution_last_success_timestamp_seconds", action_id="2")
    assert shown == pytest.approx(rows["2"]["last_success"], abs=0.001, rel=0)
    assert process.stop() == 0
    assert world.asked == ["3"]


def test_actions_of_a_folder_that_comes_late_keep_their_state(world: World, tmp_path: Path) -> None:
    """A volume that is mounted after the start costs nothing: what retired stays so, what is known is shown."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "listed.yaml").write_text("[1, done]\n")
    pattern = [str(folder / "*.yaml")]
    process = world.start(action_files=pattern)
    wait_for_rows(world.state, "1", "done")
    assert process.stop() == 0
    world.not_due()
    change_state(world.state, "retired = 1", "done")
    world.forget_requests()
    folder.rename(tmp_path / "away")
    process = world.start("2", action_files=pattern)
    wait_for_rows(world.state, "1", "2", "done")
    (tmp_path / "away").rename(folder)
    wait_until_equal(lambda: scrape(process).phases(), {"active": 2, "retired": 1})
    assert scrape(process).counts(action_id="1") == RUNNING.counts._asdict()
    # Once every pattern has files, what is in none of them is given up.
    (folder / "listed.yaml").write_text("[1]\n")
    wait_for_rows(world.state, "1", "2")
    assert process.stop() == 0
    assert world.asked == ["2"]


def test_budget_is_not_warned_about_for_what_is_finished(world: World) -> None:
    """Retired and settled actions ask for little: a budget that suffices for the others is no matter."""
    world.polled_once("1", "done")
    change_state(world.state, "retired = 1", "done")
    small = {"api": {"requests_per_second": 0.0001}}
    process = world.start("1", "done", **small)
    assert process.stop() == 0
    assert "requests_per_second" not in process.log
    process = world.start("1", "2", "done", **small)
    assert process.stop() == 0
    assert process.log.count("polling 2 actions once") == 1


def test_tenant_at_another_url_gets_nothing_of_the_old_one(world: World, simulator: StartSimulator) -> None:
    """The same action elsewhere is another action: nothing is shown of the old one, and its row goes."""
    world.polled_once("1")
    elsewhere = make_tenant({"1": DONE})
    elsewhere.inject(Fault(hang=True))
    world.url = simulator({"": elsewhere})
    process = world.start("1")
    assert process.get("/-/ready").status_code == 503
    assert scrape(process).executions() == {("labels", (("action_id", "1"),)): 1.0}
    wait_for_rows(world.state)


def test_tenants_share_a_file(exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path) -> None:
    """The same action ID of two tenants is two actions, before and after a restart."""
    tenants = {"acme": make_tenant({"1": RUNNING}), "globex": make_tenant({"1": DONE})}
    url = simulator(tenants)
    configuration = {
        "tenants": [{"name": name, "api": api_section(f"{url}/{name}"), "actions": [1]} for name in tenants],
        "state": {"path": str(tmp_path / "state.db")},
    }
    expected = {"acme": RUNNING.counts._asdict(), "globex": DONE.counts._asdict()}

    def shown(process: ExporterProcess) -> dict[str, dict[str, float]]:
        seen = scrape(process)
        return {name: seen.counts(tenant=name, action_id="1") for name in tenants}

    process = exporter_process(configuration)
    wait_until_equal(lambda: shown(process), expected)
    assert process.stop() == 0
    for tenant in tenants.values():
        tenant.inject(Fault(hang=True))
    assert shown(exporter_process(configuration)) == expected


def test_second_process_on_the_same_file_exits_with_1(world: World, tmp_path: Path) -> None:
    """It says which file, and who has it; the first one is not disturbed, and its end gives the file free."""
    first = world.start("1")
    wait_for_rows(world.state, "1")
    command = [sys.executable, "-m", "exporter", *exporter_arguments(world.configuration("1"), [], tmp_path)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (second.returncode, second.stdout) == (1, "")
    assert re.fullmatch(
        rf'ts=\S+ level=error msg="{world.state}: is in use by another cortex-xdr-exporter '
        rf'\(process {first.process.pid}\); each needs a state file of its own"\n',
        second.stderr,
    )
    assert scrape(first).value(FAILURES) == 0
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert scrape(world.start("1")).counts(action_id="1")


def test_state_path_is_relative_to_the_configuration(
    exporter_process: StartExporter, world: World, tmp_path: Path
) -> None:
    """It is the configuration's folder that counts, and not the one that the process was started in."""
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(world.configuration("1") | {"state": {"path": "known.db"}}))
    exporter_process(None, f"--config.file={path}", "--web.listen-address=127.0.0.1:0")
    wait_for_rows(folder / "known.db", "1")


def write_garbage(path: Path) -> None:
    """Write what is no database."""
    path.write_bytes(b"no database at all, but long enough to be looked at for one\n" * 50)


def write_foreign_database(path: Path) -> None:
    """Write what is another program's database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


@pytest.mark.parametrize("write", [write_garbage, write_foreign_database])
def test_file_that_is_of_no_use_is_moved_aside(world: World, write: Any) -> None:
    """It is kept as it was under another name, said once and counted, and a new file takes its place."""
    write(world.state)
    content = world.state.read_bytes()
    process = world.start("1")
    wait_until_equal(lambda: scrape(process).counts(action_id="1"), RUNNING.counts._asdict())
    wait_for_rows(world.state, "1")
    (aside,) = world.state.parent.glob("state.db.broken-*")
    assert aside.read_bytes() == content
    assert process.log.count("state file") == 1
    assert f"to={aside}" in process.log
    assert scrape(process).value(FAILURES) == 1


def test_file_that_cannot_be_made_is_tried_again(world: World) -> None:
    """Without its folder everything else goes on, said once; when it is there, all that is known goes in."""
    folder = world.state.parent / "volume"
    world.state = folder / "state.db"
    process = world.start("1", "2")
    wait_until(lambda: (scrape(process).value(FAILURES) or 0) >= 3, "several attempts")
    seen = scrape(process)
    assert (seen.phases(), process.get("/-/ready").status_code) == ({"active": 2}, 200)
    assert process.log.count("state file") == 2, "one line for the lock, one for the file"
    folder.mkdir()
    wait_for_rows(world.state, "1", "2")
    assert process.stop() == 0
    assert process.log.count("state file is written again") == 1


@contextlib.contextmanager
def trouble(process: ExporterProcess, tenant: SimulatedTenant, reason: str) -> Iterator[None]:
    """While the file is in trouble: expect that it is said once, each attempt counted, and that polls go on."""
    failures = scrape(process).value(FAILURES) or 0
    said = process.log.count("state file cannot be written")
    polls = len(tenant.requests)
    wait_until(lambda: (scrape(process).value(FAILURES) or 0) >= failures + 2, f"attempts that fail: {reason}")
    wait_until(lambda: len(tenant.requests) >= polls + 3, "polls go on")
    assert process.get("/-/ready").status_code == 200
    assert process.log.count("state file cannot be written") == said + 1
    assert reason in process.log.splitlines()[-1]
    yield


def test_file_that_another_program_locks_is_written_later(world: World) -> None:
    """A lock of sqlite3's holds neither polls nor scrapes, and what was learnt meanwhile is written after it."""
    process = world.start("1", poll={"interval": "300ms"})
    wait_for_rows(world.state, "1")
    with locked_state(world.state), trouble(process, world.tenant, "database is locked"):
        world.tenant.add("1", DONE)
        wait_until_equal(lambda: scrape(process).counts(action_id="1"), DONE.counts._asdict())
    wait_until_equal(lambda: world.row("1")["general_status"], "COMPLETED_SUCCESSFULLY")
    assert process.stop() == 0
    assert process.log.count("state file is written again") == 1


def test_stop_does_not_wait_for_a_locked_file(world: World) -> None:
    """The process ends well, and says that the end of its state is not in the file."""
    process = world.start("1", poll={"interval": "300ms"})
    wait_for_rows(world.state, "1")
    with locked_state(world.state):
        wait_until(lambda: scrape(process).value(FAILURES), "an attempt has failed")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(10) == 0


@needs_namespaces
def test_disk_that_is_full_is_lived_with(exporter_process: StartExporter, world: World, tmp_path: Path) -> None:
    """While the disk takes nothing everything else goes on, and what could not be written is, once it does."""
    volume = tmp_path / "volume"
    volume.mkdir()
    world.state = volume / "state.db"
    process = exporter_process(
        world.configuration("1", poll={"interval": "300ms"}),
        prefix=apart(f"mount -t tmpfs -o size=128k tmpfs {volume}"),
    )
    inside = Path(f"/proc/{process.process.pid}/root{volume}")
    wait_until((inside / "state.db").exists, "the file is made")
    filler = inside / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x")
    with trouble(process, world.tenant, "full"):
        filler.unlink()
    wait_until(lambda: process.log.count("state file is written again") == 1, "written again")


@needs_namespaces
def test_read_only_file_is_read_and_lived_with(
    exporter_process: StartExporter, world: World, tmp_path: Path
) -> None:
    """What is in it is shown; that nothing is added to it is said once, until it may be written."""
    volume = tmp_path / "volume"
    volume.mkdir()
    world.state = volume / "state.db"
    world.polled_once("1", "done")
    read = world.row("done")["last_success"]
    change_state(world.state, "due = 0", "1")
    process = exporter_process(
        world.configuration("1", "done", poll={"interval": "300ms"}),
        prefix=apart(f"mount --bind {volume} {volume} && mount -o remount,ro,bind {volume}"),
    )
    seen = scrape(process)
    assert seen.counts(action_id="done") == DONE.counts._asdict()
    shown = seen.value("script_execution_last_success_timestamp_seconds", action_id="done")
    assert shown == pytest.approx(read, abs=0.001, rel=0)
    with trouble(process, world.tenant, "readonly"):
        world.tenant.add("1", DONE)
        inside = ["nsenter", f"--target={process.process.pid}", "--mount"]
        subprocess.run([*inside, "mount", "-o", "remount,rw,bind", str(volume)], check=True)
    wait_until_equal(lambda: world.row("1")["general_status"], "COMPLETED_SUCCESSFULLY")


def apart(mount: str) -> list[str]:
    """Return a command that mounts something for itself alone, and executes what follows it."""
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
